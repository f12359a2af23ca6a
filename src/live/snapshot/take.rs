//! Makes a snapshot of a session and the moment that belongs to it.

use rustc_hash::FxHashMap;

use super::detail::detail;
use super::{HangRow, LockRow, Snapshot, Spread, ThreadRow, ViewRequest};
use crate::analysis::lock_name;
use crate::model::{Histogram, Kind, LockId, Mode, Now, Session, ThreadId, ThreadNow};
use crate::render::explain;
use crate::render::style::{Layout, printable};
use crate::render::text::{HangOptions, hang};

/// Columns of the deadlock's text: it is shown on any screen.
const TEXT_WIDTH: usize = 78;

/// Sums of one lock's sites.
#[derive(Default)]
struct Sums {
    acquisitions: u64,
    contended: u64,
    wait: Histogram,
    hold: Histogram,
}

/// The session as a view shows it.
pub fn take(session: &Session, now: &Now, request: ViewRequest) -> Snapshot {
    let mut sums: Vec<Option<Sums>> = Vec::new();
    sums.resize_with(session.locks.len(), || None);
    for site in &session.profile.sites {
        let sum = sums[site.key.lock.index()].get_or_insert_default();
        sum.acquisitions = sum.acquisitions.saturating_add(site.acquisitions);
        sum.contended = sum.contended.saturating_add(site.contended);
        sum.wait.merge(&site.wait);
        sum.hold.merge(&site.hold);
    }
    for folds in &now.folds {
        let sum = sums[folds.lock.index()].get_or_insert_default();
        sum.acquisitions = sum.acquisitions.saturating_add(folds.acquisitions);
        sum.contended = sum.contended.saturating_add(folds.contended);
        sum.wait.merge(&folds.wait);
        sum.hold.merge(&folds.hold);
    }
    let standing = Standing::of(session, now);
    let ids = (0..session.locks.len()).map(LockId::from);
    let locks = ids
        .zip(sums)
        .filter(|(id, sums)| sums.is_some() || standing.waiters.contains_key(id))
        .map(|(id, sums)| lock_row(session, id, &sums.unwrap_or_default(), &standing))
        .collect();
    Snapshot {
        at_ns: now.at_ns,
        command: printable(&session.meta.command.join(" ")),
        pid: session.processes.first().map_or(0, |process| process.pid),
        processes: now.processes,
        cpu_ns: now.cpu_ns,
        acquisitions: now.acquisitions,
        recorded: now.recorded,
        folded: now.folded,
        notes: session.coverage.notes.iter().map(|note| printable(note)).collect(),
        locks,
        threads: now.threads.iter().map(|thread| thread_row(session, now, thread, &standing)).collect(),
        hangs: session.hangs.iter().filter(|hang| hang.is_deadlock()).map(|found| hang_row(session, found)).collect(),
        detail: request.focus.and_then(|lock| detail(session, lock)),
        judged: None,
        frozen: request.frozen,
        over: None,
    }
}

/// Who waits for and who holds each lock.
struct Standing {
    waiters: FxHashMap<LockId, u32>,
    owners: FxHashMap<LockId, Vec<(ThreadId, Mode)>>,
}

impl Standing {
    fn of(session: &Session, now: &Now) -> Self {
        let mut standing = Self { waiters: FxHashMap::default(), owners: FxHashMap::default() };
        for thread in &now.threads {
            if let Some(waits) = thread.waits {
                *standing.waiters.entry(waits.lock).or_default() += 1;
            }
            for (lock, mode) in &thread.held {
                // A semaphore's units have no owner that others wait for.
                if session.lock(*lock).kind.is_lock() {
                    standing.owners.entry(*lock).or_default().push((thread.thread, *mode));
                }
            }
        }
        standing
    }

    fn owners(&self, lock: LockId) -> Vec<u32> {
        /// More readers are not named.
        const MOST: usize = 16;
        self.owners.get(&lock).into_iter().flatten().take(MOST).map(|(thread, _)| thread.0).collect()
    }
}

fn lock_row(session: &Session, id: LockId, sums: &Sums, standing: &Standing) -> LockRow {
    let lock = session.lock(id);
    LockRow {
        id: id.0,
        name: printable(&lock_name(session, id)),
        class: printable(&lock.class),
        kind: Kind::ALL.iter().position(|kind| *kind == lock.kind).unwrap_or(0) as u8,
        pid: session.process(lock.process).pid,
        address: lock.address,
        acquisitions: sums.acquisitions,
        contended: sums.contended,
        wait: Spread::from(&sums.wait),
        hold: Spread::from(&sums.hold),
        waiters: standing.waiters.get(&id).copied().unwrap_or(0),
        owners: standing.owners(id),
    }
}

fn thread_row(session: &Session, now: &Now, of: &ThreadNow, standing: &Standing) -> ThreadRow {
    let thread = session.thread(of.thread);
    let blocks = of.waits.filter(|waits| session.lock(waits.lock).kind.is_lock());
    let goes_on = blocks.map_or(0, |waits| now.at_ns.saturating_sub(waits.since_ns));
    ThreadRow {
        id: of.thread.0,
        tid: thread.tid,
        pid: session.process(thread.process).pid,
        name: printable(&thread.name),
        start_ns: thread.start_ns,
        acquisitions: of.share.acquisitions,
        blocked_ns: of.share.wait_ns.saturating_add(goes_on),
        waits_for: of.waits.map(|waits| waits.lock.0),
        waits_for_name: of.waits.map_or_else(String::new, |waits| printable(&lock_name(session, waits.lock))),
        is_blocked: blocks.is_some(),
        waits_since_ns: of.waits.map_or(0, |waits| waits.since_ns),
        blockers: of.waits.map_or_else(Vec::new, |waits| standing.owners(waits.lock)),
        held: of.held.iter().map(|(lock, _)| printable(&lock_name(session, *lock))).collect(),
    }
}

fn hang_row(session: &Session, found: &crate::model::Hang) -> HangRow {
    let options = HangOptions { layout: Layout { color: false, width: TEXT_WIDTH }, verbose: true, note: "" };
    HangRow {
        title: explain::hang::title(session, found),
        text: hang(session, found, &options).lines().map(str::to_owned).collect(),
        at_ns: found.at_ns,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::contention::{Contention, Durations, Query};
    use crate::analysis::testing::server;

    /// What a screen shows of a session is what the report says of it.
    #[test]
    fn rows_are_those_of_the_report() {
        let session = server();
        let snapshot = take(&session, &Now::default(), ViewRequest { focus: Some(0), ..ViewRequest::default() });
        let contention = Contention::of(&session, &Query::default());
        assert_eq!(snapshot.locks.len(), contention.locks.len());
        for row in &snapshot.locks {
            let told = contention.row_of(LockId(row.id)).unwrap();
            assert_eq!((&row.name, row.kind()), (&told.name, told.kind));
            assert_eq!((row.acquisitions, row.contended), (told.acquisitions, told.contended));
            assert_eq!(Durations::from(&row.wait.histogram()), told.wait);
            assert_eq!(Durations::from(&row.hold.histogram()), told.hold);
        }
        let detail = snapshot.detail.unwrap();
        let told = contention.row_of(LockId(0)).unwrap();
        let waits: Vec<_> = told.waiters.iter().map(|waiter| (waiter.count, waiter.wait_ns)).collect();
        assert_eq!(detail.waiters.iter().map(|waiter| (waiter.count, waiter.ns)).collect::<Vec<_>>(), waits);
    }

    #[test]
    fn this_moment_is_shown() {
        use crate::model::{ThreadShare, WaitNow};
        let session = server();
        let thread = |id, waits, held: Vec<(LockId, Mode)>| ThreadNow {
            thread: ThreadId(id),
            share: ThreadShare { acquisitions: 3, wait_ns: 100, ..ThreadShare::default() },
            waits,
            held,
        };
        let waits = WaitNow { lock: LockId(0), since_ns: 400 };
        let now = Now {
            at_ns: 1_000,
            threads: vec![thread(0, Some(waits), Vec::new()), thread(1, None, vec![(LockId(0), Mode::Exclusive)])],
            ..Now::default()
        };
        let snapshot = take(&session, &now, ViewRequest::default());
        let lock = snapshot.locks.iter().find(|lock| lock.id == 0).unwrap();
        assert_eq!((lock.waiters, lock.owners.as_slice()), (1, &[1][..]));
        let waiter = &snapshot.threads[0];
        assert!(waiter.is_blocked && waiter.waits_for == Some(0));
        assert_eq!((waiter.blocked_ns, waiter.blockers.as_slice()), (700, &[1][..]));
    }
}
