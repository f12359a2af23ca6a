//! Several traces as one. Which one comes first, and how they were merged before, does not show in the result:
//! `docs/design/merge.md`.

use super::file::{self, WriteError};
use crate::model::Session;

/// Why traces cannot be merged.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// Rows of one run refer to another run's.
    #[error("the runs in trace {0} refer to each other, as no recording does: record again, or leave it out")]
    Tangled(usize),
    /// A run cannot be written to memory.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// No trace was given.
    #[error("there is nothing to merge: name the traces")]
    Nothing,
}

/// All runs of these traces in one.
///
/// The runs come in the order of their bytes, so the result depends only on which runs there are, and how often.
///
/// # Errors
/// Where a trace is tangled; the number counts from 1.
pub fn merge(traces: &[Session]) -> Result<Session, MergeError> {
    if traces.is_empty() {
        return Err(MergeError::Nothing);
    }
    let mut runs: Vec<(Vec<u8>, Session)> = Vec::new();
    for (number, trace) in (1..).zip(traces) {
        for run in 0..trace.runs() {
            let run = trace.run(run).ok_or(MergeError::Tangled(number))?;
            if run.has_rows() {
                let mut bytes = Vec::new();
                file::write(&run, &mut bytes)?;
                runs.push((bytes, run));
            }
        }
    }
    runs.sort_by(|a, b| a.0.cmp(&b.0));
    let mut sum = Session::totals(traces);
    for (_, run) in &runs {
        sum.absorb(run);
    }
    // The first one is not a later one.
    sum.later_runs.drain(..sum.later_runs.len().min(1));
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::arbitrary::arbitrary_session;
    use crate::model::{Kind, Lock, LockId, Mode, Process, ProcessId, SiteKey, Stacks, Thread, ThreadId, ThreadShare};

    fn bytes(session: &Session) -> Vec<u8> {
        let mut bytes = Vec::new();
        file::write(session, &mut bytes).expect("memory takes everything");
        bytes
    }

    /// As the command does it: from files to a file.
    fn merged(files: &[&[u8]]) -> Vec<u8> {
        let traces: Vec<_> = files.iter().map(|file| file::read_from(*file).expect("a trace")).collect();
        bytes(&merge(&traces).expect("whole traces"))
    }

    fn acquisitions(session: &Session) -> u128 {
        session.profile.sites.iter().map(|site| u128::from(site.acquisitions)).sum()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn the_order_does_not_show(sessions in prop::array::uniform4(arbitrary_session())) {
            let [a, b, c, d] = sessions.each_ref().map(bytes);
            let all = merged(&[&a, &b, &c, &d]);
            prop_assert_eq!(&merged(&[&d, &b, &a, &c]), &all);
            let (ab, bc, cd) = (merged(&[&a, &b]), merged(&[&b, &c]), merged(&[&c, &d]));
            prop_assert_eq!(&merged(&[&ab, &cd]), &all);
            prop_assert_eq!(&merged(&[&cd, &ab]), &all);
            prop_assert_eq!(&merged(&[&merged(&[&a, &bc]), &d]), &all);
            prop_assert_eq!(&merged(&[&d, &merged(&[&ab, &c])]), &all);
            prop_assert_eq!(&merged(&[&all]), &all);
        }

        #[test]
        fn nothing_is_lost(a in arbitrary_session(), b in arbitrary_session()) {
            let sum = file::read_from(&merged(&[&bytes(&a), &bytes(&b), &bytes(&a)])[..]).unwrap();
            prop_assert_eq!(acquisitions(&sum), 2 * acquisitions(&a) + acquisitions(&b));
            prop_assert_eq!(sum.locks.len(), 2 * a.locks.len() + b.locks.len());
            prop_assert_eq!(sum.profile.wait_events.len(), 2 * a.profile.wait_events.len() + b.profile.wait_events.len());
            prop_assert_eq!(sum.hangs.len(), 2 * a.hangs.len() + b.hangs.len());
            let runs = [&a, &b, &a].into_iter().filter(|session| session.has_rows()).count();
            prop_assert_eq!(sum.runs(), runs.max(1));
        }
    }

    #[test]
    fn runs_that_refer_to_each_other_are_refused() {
        let process = |pid| Process { pid, parent_pid: 0, exe: String::new(), exit: None, threads: 1 };
        let mut session = Session { processes: vec![process(1), process(2)], ..Session::default() };
        session.later_runs = vec![ProcessId(1)];
        session.locks.push(Lock::new(ProcessId(0), 8, Kind::Mutex));
        let thread = Thread { process: ProcessId(0), tid: 1, name: String::new(), start_ns: 0, end_ns: None };
        session.threads.push(thread);
        let key = SiteKey { lock: LockId(0), stack: Stacks::UNKNOWN, mode: Mode::Exclusive };
        let site = session.profile.site(key);
        session.profile.by_thread.insert((ThreadId(0), site), ThreadShare::default());
        assert!(merge(std::slice::from_ref(&session)).is_ok());
        session.threads[0].process = ProcessId(1);
        let error = merge(&[Session::default(), session]).unwrap_err();
        assert!(error.to_string().contains("trace 2"), "{error}");
    }
}
