//! Facts about small recordings, and what holds for any.

use proptest::prelude::*;

use super::*;
use crate::analysis::Glob;
use crate::analysis::blame;
use crate::analysis::groups::GroupKey;
use crate::analysis::testing::{Builder, server};
use crate::model::{Stacks, ThreadId};

fn view(session: &Session, query: &Query) -> Contention {
    Contention::of(session, query)
}

fn names(view: &Contention) -> Vec<&str> {
    view.locks.iter().map(|row| row.name.as_str()).collect()
}

#[test]
fn hottest_first_and_idle_waiting_apart() {
    let session = server();
    let all = view(&session, &Query::default());
    let want = ["journal.mu", "cache.shard[3].mu", "acct->lock", "server+0x105", "config_lock", "queue.not_empty"];
    assert_eq!(names(&all), want);
    let ids: Vec<_> = all.locks.iter().map(|row| row.id.as_str()).collect();
    assert_eq!(ids, ["L1", "L2", "L3", "L4", "L5", "L6"]);

    let journal = &all.locks[0];
    assert_eq!((journal.acquisitions, journal.contended), (8_251, 131));
    assert_eq!((journal.read_acquisitions, journal.write_acquisitions), (0, 8_251));
    assert_eq!(journal.holders[0].count, 90);
    assert_eq!((journal.unattributed.count, journal.unattributed.wait_ns), (1, 61_000));

    let condvar = &all.locks[5];
    assert!(condvar.wait.total > all.contention.wait_ns);
    assert_eq!(all.contention.wait_ns, all.lock_rows().map(|row| row.wait.total).sum::<u64>());
    assert_eq!((all.blocked.rows, all.blocked.contended), (1, 60));
    assert_eq!(all.contention.acquisitions + all.blocked.acquisitions, session.coverage.acquisitions);
}

#[test]
fn every_sort_key_sorts() {
    let session = server();
    for (sort, first) in [
        (SortKey::Wait, "journal.mu"),
        (SortKey::Max, "journal.mu"),
        (SortKey::P99, "journal.mu"),
        (SortKey::Count, "cache.shard[3].mu"),
        (SortKey::Hold, "journal.mu"),
    ] {
        let rows = view(&session, &Query { sort, ..Query::default() });
        assert_eq!(names(&rows)[0], first, "{sort:?}");
        // Ids do not depend on the order of the view.
        let id = if first == "journal.mu" { "L1" } else { "L2" };
        assert_eq!(rows.locks[0].id, id);
    }
}

#[test]
fn filters_leave_out_and_keep_ids() {
    let session = server();
    let filtered = |filter: Filter| view(&session, &Query { filter, ..Query::default() });
    let by_name = filtered(Filter { lock: Some(Glob::new("cache*")), ..Filter::default() });
    assert_eq!((names(&by_name), by_name.locks[0].id.as_str()), (vec!["cache.shard[3].mu"], "L2"));
    let by_id = filtered(Filter { lock: Some(Glob::new("L3")), ..Filter::default() });
    assert_eq!(names(&by_id), ["acct->lock"]);
    let by_kind = filtered(Filter { kinds: vec![Kind::Condvar, Kind::Spinlock], ..Filter::default() });
    assert_eq!(names(&by_kind), ["server+0x105", "queue.not_empty"]);
    let by_wait = filtered(Filter { min_wait_ns: 1_000_000, ..Filter::default() });
    assert_eq!(names(&by_wait), ["journal.mu", "cache.shard[3].mu", "queue.not_empty"]);
    assert!(filtered(Filter { lock: Some(Glob::new("no such")), ..Filter::default() }).locks.is_empty());
}

#[test]
fn a_thread_filter_keeps_that_threads_part() {
    let session = server();
    let of = |name: &str| {
        let filter = Filter { thread: Some(Glob::new(name)), ..Filter::default() };
        view(&session, &Query { filter, ..Query::default() })
    };
    let flusher = of("flusher");
    assert_eq!(names(&flusher), ["journal.mu", "cache.shard[3].mu"]);
    assert_eq!((flusher.locks[0].acquisitions, flusher.locks[0].contended), (121, 1));
    assert_eq!(flusher.locks[0].wait.max, 61_000);
    assert_eq!(flusher.locks[0].wait.total, 61_000);
    // The threads' parts add up to the whole.
    let all = view(&session, &Query::default());
    let parts: Vec<_> = ["worker-0", "worker-1", "worker-2", "flusher"].into_iter().map(of).collect();
    let sum = |f: fn(&Totals) -> u64| parts.iter().map(|part| f(&part.contention)).sum::<u64>();
    assert_eq!(sum(|t| t.acquisitions), all.contention.acquisitions);
    assert_eq!(sum(|t| t.wait_ns), all.contention.wait_ns);
    assert_eq!(sum(|t| t.hold_ns), all.contention.hold_ns);
    assert_eq!(of("worker-?").contention.contended, all.contention.contended - 1);
    assert!(of("nobody").locks.is_empty() && of("nobody").notes == [Note::NoSuchThread]);
}

#[test]
fn classes_merge_locks_of_one_origin() {
    let mut b = Builder::new();
    let thread = b.thread("t");
    let stack = b.stack(&[("use_account", "bank.c", 7)]);
    for at in 0..5u64 {
        let lock = b.lock("acct->lock", Kind::Mutex);
        b.session.locks[lock.index()].class = "bank+0x40".into();
        b.take(lock, thread, stack, Mode::Exclusive, at + 1, 100);
        b.wait(lock, thread, stack, Mode::Exclusive, 1_000, 100, None);
    }
    let classes = view(&b.session, &Query { by: GroupBy::Class, ..Query::default() });
    assert_eq!(classes.locks.len(), 1);
    let class = &classes.locks[0];
    assert_eq!((class.id.as_str(), class.name.as_str(), class.stands_for), ("C1", "acct->lock", 5));
    assert_eq!((class.acquisitions, class.contended, class.wait.total), (20, 5, 5_000));
    assert_eq!((class.sites.len(), class.waiters.len()), (1, 1));
}

#[test]
fn groups_by_call_site_and_thread_count_the_same() {
    let session = server();
    let sites = view(&session, &Query { by: GroupBy::Site, ..Query::default() });
    let threads = view(&session, &Query { by: GroupBy::Thread, ..Query::default() });
    for view in [&sites, &threads] {
        let sum = |f: fn(&GroupRow) -> u64| view.groups.iter().map(f).sum::<u64>();
        assert_eq!(sum(|row| row.acquisitions), view.contention.acquisitions);
        assert_eq!(sum(|row| row.contended), view.contention.contended);
        assert_eq!(sum(|row| row.wait.total), view.contention.wait_ns);
    }
    let flusher = threads.groups.iter().find(|row| row.key == GroupKey::Thread(ThreadId(3))).unwrap();
    assert_eq!(flusher.blocked_ns, 1_601_550_000 + 32_640_000);
}

/// What one thread did with one lock: lock, thread, stack, mode, wait (0: none), hold, holder.
type Step = (usize, usize, usize, bool, u64, u64, Option<(usize, usize)>);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let holder = proptest::option::of((0..3usize, 0..4usize));
    let wait = prop_oneof![Just(0), 1..5_000_000u64];
    proptest::collection::vec((0..5usize, 0..3usize, 0..4usize, any::<bool>(), wait, 0..1_000_000u64, holder), 0..60)
}

fn build(steps: &[Step]) -> Session {
    let mut b = Builder::new();
    let kinds = [Kind::Mutex, Kind::Rwlock, Kind::Mutex, Kind::Spinlock, Kind::Condvar];
    // Two locks share a name and a class.
    let locks: Vec<_> = kinds.iter().enumerate().map(|(at, kind)| b.lock(["a", "b"][at % 2], *kind)).collect();
    b.session.locks[2].class = b.session.locks[0].class.clone();
    let threads: Vec<_> = ["x", "y", "z"].map(|name| b.thread(name)).into();
    let mut stacks: Vec<_> = ["f", "g", "h"]
        .map(|name| b.stack(&[("std::mutex::lock()", "", 0), (name, "a.c", 1), ("main", "a.c", 9)]))
        .into();
    stacks.push(Stacks::UNKNOWN);
    for (lock, thread, stack, shared, wait, hold, holder) in steps {
        let mode = if *shared && kinds[*lock] == Kind::Rwlock { Mode::Shared } else { Mode::Exclusive };
        let (lock, thread, stack) = (locks[*lock], threads[*thread], stacks[*stack]);
        if *wait == 0 {
            b.take(lock, thread, stack, mode, 1, *hold);
        } else {
            b.wait(lock, thread, stack, mode, *wait, *hold, holder.map(|(t, s)| (threads[t], stacks[s])));
        }
    }
    b.session
}

proptest! {
    #[test]
    fn counts_add_up(steps in steps(), by_class in any::<bool>(), thread in proptest::option::of(0..3usize)) {
        let session = build(&steps);
        let by = if by_class { GroupBy::Class } else { GroupBy::Lock };
        let thread = thread.map(|at| Glob::new(["x", "y", "z"][at]));
        let filter = Filter { thread: thread.clone(), ..Filter::default() };
        let all = view(&session, &Query { by, filter, ..Query::default() });
        for row in &all.locks {
            prop_assert_eq!(row.sites.iter().map(|site| site.count).sum::<u64>(), row.acquisitions);
            prop_assert_eq!(row.sites.iter().map(|site| site.contended).sum::<u64>(), row.contended);
            prop_assert_eq!(row.waiters.iter().map(|w| w.count).sum::<u64>(), row.contended);
            prop_assert_eq!(row.waiters.iter().map(|w| w.wait_ns).sum::<u64>(), row.wait.total);
            prop_assert_eq!(row.read_acquisitions + row.write_acquisitions, row.acquisitions);
            if row.kind.is_lock() {
                let blamed: u64 = row.holders.iter().map(|h| h.blocked_ns).sum();
                prop_assert_eq!(blamed + row.unattributed.wait_ns, row.wait.total);
                prop_assert!(row.wait.max <= row.wait.total && row.wait.p99 <= row.wait.max);
            }
        }
        let pairs = blame::pairs(&session, &all);
        let waited = |row: usize| pairs.iter().filter(|p| p.row == row).map(|p| p.wait_ns).sum::<u64>();
        for (at, row) in all.locks.iter().enumerate().filter(|(_, row)| row.kind.is_lock()) {
            prop_assert_eq!(waited(at), row.wait.total);
        }
        if thread.is_none() {
            let acquisitions = all.contention.acquisitions + all.blocked.acquisitions;
            prop_assert_eq!(acquisitions, session.coverage.acquisitions);
        }
    }

    /// The tables of the model are hash maps: their order must not show.
    #[test]
    fn the_order_is_that_of_the_recording_not_of_the_hash_maps(steps in steps()) {
        let session = build(&steps);
        let mut other = session.clone();
        other.profile.waits = session.profile.waits.iter().map(|(k, v)| (*k, *v)).collect();
        other.profile.by_thread = session.profile.by_thread.iter().map(|(k, v)| (*k, *v)).collect();
        for by in [GroupBy::Lock, GroupBy::Class, GroupBy::Site, GroupBy::Thread] {
            let query = Query { by, ..Query::default() };
            let (a, b) = (view(&session, &query), view(&other, &query));
            prop_assert_eq!(&a.locks, &b.locks);
            prop_assert_eq!(&a.groups, &b.groups);
        }
    }
}
