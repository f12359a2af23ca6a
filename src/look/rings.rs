//! Deadlocks among the threads of a look: rings of waits, locks that ended threads have, and programs in which nobody is left
//! to wake another.
//!
//! Only waits count that have no limit of time, of threads that did not run between the two looks, for what names its holder.

use crate::model::{HangKind, Holder, Kind, SeenThread, Standstill};

/// Whether a thread stays where it is until somebody does something.
fn stands(thread: &SeenThread) -> bool {
    !thread.moved && thread.wait.as_ref().is_some_and(|wait| !wait.timed)
}

/// Whom a thread waits for.
fn next(threads: &[SeenThread], at: usize) -> Option<usize> {
    let thread = threads.get(at).filter(|thread| stands(thread))?;
    thread.wait.as_ref()?.holder.thread()
}

/// Whether somebody from outside may wake a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outside {
    /// Nobody may.
    Nobody,
    /// That is not known, as in a core: a signal's handler could, but it gives no lock back.
    NotKnown,
    /// Somebody may.
    Somebody,
}

/// All that stands. `kind`: of what a thread waits for.
pub fn find(threads: &[SeenThread], kind: impl Fn(&SeenThread) -> Option<Kind>, outside: Outside) -> Vec<Standstill> {
    let mut found: Vec<Standstill> = Vec::new();
    let mut seen = vec![0usize; threads.len()];
    for start in 0..threads.len() {
        // Each way is walked once: it ends, meets an older one, or itself.
        let (mut at, mut way) = (start, Vec::new());
        while seen[at] == 0 {
            seen[at] = start + 1;
            way.push(at);
            match next(threads, at) {
                Some(to) if to < threads.len() => at = to,
                _ => break,
            }
        }
        let ring = way.iter().position(|member| *member == at && next(threads, way[way.len() - 1]) == Some(at));
        if let Some(first) = ring {
            let ring = way[first..].to_vec();
            let kind = if ring.len() == 1 { HangKind::SelfDeadlock } else { HangKind::Deadlock };
            found.push(Standstill { kind, threads: ring, behind: 0 });
        }
    }
    for at in 0..threads.len() {
        let of = threads[at].wait.as_ref().filter(|_| stands(&threads[at]));
        if let Some(wait) = of
            && matches!(wait.holder, Holder::Ended(_))
        {
            let same = |other: &&mut Standstill| {
                let first = other.threads.first().and_then(|first| threads[*first].wait.as_ref());
                other.kind == HangKind::Abandoned && first.is_some_and(|first| first.lock == wait.lock)
            };
            match found.iter_mut().find(same) {
                Some(other) => other.threads.push(at),
                None => found.push(Standstill { kind: HangKind::Abandoned, threads: vec![at], behind: 0 }),
            }
        }
    }
    for standstill in &mut found {
        let leads = |at: usize| {
            let (mut at, mut steps) = (at, 0);
            while let Some(to) = next(threads, at).filter(|_| steps <= threads.len()) {
                if standstill.threads.contains(&to) {
                    return true;
                }
                (at, steps) = (to, steps + 1);
            }
            false
        };
        let others = (0..threads.len()).filter(|at| !standstill.threads.contains(at));
        standstill.behind = others.filter(|at| leads(*at)).count();
    }
    let everybody = || threads.iter().all(|thread| stands(thread) && !thread.is_goroutine);
    let wants_lock = || threads.iter().any(|thread| kind(thread).is_some_and(Kind::is_lock));
    let is_alone = || match outside {
        Outside::Nobody => true,
        Outside::NotKnown => wants_lock(),
        Outside::Somebody => false,
    };
    if found.is_empty() && !threads.is_empty() && everybody() && is_alone() {
        let threads = (0..threads.len()).collect();
        found.push(Standstill { kind: HangKind::Stuck, threads, behind: 0 });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Activity, LockId, LockWait, Mode, StackId, ThreadId};

    fn thread(at: usize, holder: Option<Holder>) -> SeenThread {
        let wait = |holder| LockWait { lock: LockId(at as u32), noun: "", mode: Mode::Exclusive, timed: false, holder };
        SeenThread {
            thread: ThreadId(at as u32),
            is_goroutine: false,
            activity: Activity::Blocked,
            reason: None,
            moved: false,
            stack: StackId(0),
            cut: None,
            wait: holder.map(wait),
        }
    }

    fn all(holders: &[Option<Holder>]) -> Vec<SeenThread> {
        holders.iter().enumerate().map(|(at, holder)| thread(at, *holder)).collect()
    }

    fn found(threads: &[SeenThread]) -> Vec<(HangKind, Vec<usize>, usize)> {
        let mutex = |thread: &SeenThread| thread.wait.as_ref().map(|_| Kind::Mutex);
        find(threads, mutex, Outside::NotKnown).into_iter().map(|one| (one.kind, one.threads, one.behind)).collect()
    }

    #[test]
    fn rings_and_who_waits_behind() {
        let to = |at| Some(Holder::Thread(at));
        let mut threads = all(&[to(1), to(2), to(1), None, to(4), to(0)]);
        assert_eq!(found(&threads), [(HangKind::Deadlock, vec![1, 2], 2), (HangKind::SelfDeadlock, vec![4], 0)]);
        // One that ran meanwhile, and one with a limit, wait for nobody for ever.
        threads[2].moved = true;
        threads[4].wait.as_mut().expect("a wait").timed = true;
        assert_eq!(found(&threads), []);
    }

    #[test]
    fn locks_of_the_dead_and_nobody_left() {
        let mut threads = all(&[Some(Holder::Ended(9)), Some(Holder::Ended(9)), Some(Holder::Thread(0))]);
        threads[1].wait.as_mut().expect("a wait").lock = LockId(0);
        assert_eq!(found(&threads), [(HangKind::Abandoned, vec![0, 1], 1)]);
        let unknown = Some(Holder::NotRecorded);
        assert_eq!(found(&all(&[unknown, unknown])), [(HangKind::Stuck, vec![0, 1], 0)]);
        assert_eq!(found(&all(&[unknown, None])), []);
        assert_eq!(found(&[]), []);
    }
}
