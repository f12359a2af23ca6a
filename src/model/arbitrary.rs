//! Random sessions for the tests of every room that takes one.
//!
//! They keep the model's invariants (references point at rows, keys are unique) but are not
//! plausible: counts do not add up, times overlap.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::order::arbitrary::raw_order;
use super::*;

/// Counts and times stay below this, so that sums of many stay within a `u64`.
const COUNT_LIMIT: u64 = 1 << 40;

fn count() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 0..300u64, 0..COUNT_LIMIT]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z_:<>/.]{0,12}",
        "\\PC{0,6}",
        select(vec!["main", "lib.rs", "Ünïcode→", ""]).prop_map(str::to_owned)
    ]
}

fn exit() -> impl Strategy<Value = Option<Exit>> {
    option::of(prop_oneof![any::<i32>().prop_map(Exit::Code), any::<i32>().prop_map(Exit::Signal)])
}

fn mode() -> impl Strategy<Value = Mode> {
    select(vec![Mode::Exclusive, Mode::Shared])
}

/// A histogram with buckets.
pub fn histogram() -> impl Strategy<Value = Histogram> {
    vec(prop_oneof![0..100u64, 0..COUNT_LIMIT, any::<u64>()], 0..6).prop_map(|values| {
        let mut histogram = Histogram::default();
        values.into_iter().for_each(|value| histogram.record(value));
        histogram
    })
}

prop_compose! {
    fn frame()(
        function in option::of(text()), file in option::of(text()), line in any::<u32>(),
        column in 0..200u32, inlined in any::<bool>(),
    ) -> Frame {
        Frame { function, file, line, column, inlined }
    }
}

prop_compose! {
    fn meta()(
        command in vec(text(), 0..4), exit in exit(), started_unix_ns in any::<u64>(),
        duration_ns in any::<u64>(), version in text(), host in text(),
    ) -> Meta {
        Meta { command, exit, started_unix_ns, duration_ns, version, host, cut: false }
    }
}

prop_compose! {
    fn coverage()(
        numbers in prop::array::uniform7(count()), notes in vec(text(), 0..3),
    ) -> Coverage {
        let [acquisitions, recorded, folded, lost, stack_hits, stack_misses, stacks_truncated] = numbers;
        let contended_only = false;
        Coverage {
            acquisitions, recorded, folded, lost, stack_hits, stack_misses, stacks_truncated, contended_only, notes,
        }
    }
}

prop_compose! {
    /// A stack tree: each node's caller is one before it.
    fn stacks()(
        modules in vec((text(), vec(any::<u8>(), 0..21)), 0..4),
        nodes in vec((any::<Index>(), option::of(any::<Index>()), prop_oneof![0..64u64, any::<u64>()],
                      vec(frame(), 0..3)), 0..24),
    ) -> Stacks {
        let mut stacks = Stacks::default();
        stacks.modules.extend(modules.into_iter().map(|(path, build_id)| Module { path, build_id }));
        for (caller, module, address, frames) in nodes {
            let caller = StackId::from(caller.index(stacks.len()));
            let known = stacks.modules.len();
            let module = module.filter(|_| known > 0).map(|module| ModuleId::from(module.index(known)));
            let stack = stacks.intern(caller, CodeAddress { module, address });
            stacks.node_mut(stack).frames = frames.into();
        }
        stacks
    }
}

prop_compose! {
    fn process()(
        pid in any::<u32>(), parent_pid in any::<u32>(), exe in text(), exit in exit(), threads in any::<u32>(),
    ) -> Process {
        Process { pid, parent_pid, exe, exit, threads }
    }
}

prop_compose! {
    fn thread()(
        process in any::<Index>(), tid in any::<u32>(), name in text(), start_ns in any::<u64>(),
        end_ns in option::of(any::<u64>()),
    ) -> (Index, Thread) {
        (process, Thread { process: ProcessId(0), tid, name, start_ns, end_ns })
    }
}

fn name() -> impl Strategy<Value = Option<LockName>> {
    use NameSource::*;
    let source = select(vec![User, Global, Source, Function, Address]);
    option::of((text(), source).prop_map(|(text, source)| LockName { text, source }))
}

prop_compose! {
    fn lock()(
        process in any::<Index>(), stack in any::<Index>(), address in any::<u64>(), kind in select(&Kind::ALL[..]),
        origin in select(vec![Origin::Initialised, Origin::FirstUsed]), name in name(), class in text(),
        max_waiters in any::<u32>(), owner_changes in count(), merged in count(), traits in any::<[bool; 5]>(),
        initial in any::<u32>(),
    ) -> (Index, Index, Lock) {
        let [recursive, robust, writers_first, binary, handed_over] = traits;
        let traits = Traits { recursive, robust, writers_first, binary, handed_over, initial };
        let lock = Lock {
            traits, origin, name, class, max_waiters, owner_changes, merged, ..Lock::new(ProcessId(0), address, kind)
        };
        (process, stack, lock)
    }
}

prop_compose! {
    fn site()(
        lock in any::<Index>(), stack in any::<Index>(), mode in mode(), numbers in prop::array::uniform10(count()),
        wait in histogram(), hold in histogram(),
    ) -> (Index, Index, Site) {
        let mut site = Site::new(SiteKey { lock: LockId(0), stack: StackId(0), mode });
        [site.acquisitions, site.contended, site.folded, site.reacquired, site.reentries, site.try_failures,
            site.timeouts, site.failures, site.wasted_wait_ns, site.still_held] = numbers;
        (site.wait, site.hold) = (wait, hold);
        (lock, stack, site)
    }
}

type Wait = ([Index; 4], Mode, Option<Index>, [u64; 3]);

fn wait() -> impl Strategy<Value = Wait> {
    (any::<[Index; 4]>(), mode(), option::of(any::<Index>()), prop::array::uniform3(count()))
}

fn wait_key(session: &Session, wait: &Wait) -> WaitKey {
    let ([lock, thread, waiter, holder], mode, holder_thread, _) = wait;
    let thread_id = |index: &Index| ThreadId::from(index.index(session.threads.len()));
    WaitKey {
        lock: LockId::from(lock.index(session.locks.len())),
        thread: thread_id(thread),
        waiter: StackId::from(waiter.index(session.stacks.len())),
        mode: *mode,
        holder: StackId::from(holder.index(session.stacks.len())),
        holder_thread: holder_thread.as_ref().map(thread_id),
    }
}

/// A wait of a hang: thread, lock and stack, the holders, and what it holds.
type HangWait = ([Index; 3], Mode, bool, u64, Vec<Index>, Vec<([Index; 2], Mode, u64)>);

fn hang_wait() -> impl Strategy<Value = HangWait> {
    let held = vec((any::<[Index; 2]>(), mode(), any::<u64>()), 0..3);
    (any::<[Index; 3]>(), mode(), any::<bool>(), any::<u64>(), vec(any::<Index>(), 0..3), held)
}

/// A hang: kind, process, time, threads that ran, the ring and the others.
type RawHang = (HangKind, Index, u64, u32, [Vec<HangWait>; 2]);

fn hang() -> impl Strategy<Value = RawHang> {
    let waits = [vec(hang_wait(), 0..3), vec(hang_wait(), 0..3)];
    (select(&HangKind::ALL[..]), any::<Index>(), any::<u64>(), any::<u32>(), waits)
}

fn add_hang(session: &mut Session, (kind, process, at_ns, running, waits): RawHang) {
    let stack = |index: &Index| StackId::from(index.index(session.stacks.len()));
    let lock = |index: &Index| LockId::from(index.index(session.locks.len()));
    let thread = |index: &Index| ThreadId::from(index.index(session.threads.len()));
    let waiting = |([who, what, place], mode, timed, since_ns, holders, held): &HangWait| Waiting {
        thread: thread(who),
        lock: lock(what),
        mode: *mode,
        timed: *timed,
        stack: stack(place),
        since_ns: *since_ns,
        holders: holders.iter().map(thread).collect(),
        held: held
            .iter()
            .map(|([what, place], mode, since_ns)| HeldLock {
                lock: lock(what),
                mode: *mode,
                stack: stack(place),
                since_ns: *since_ns,
            })
            .collect(),
    };
    let [cycle, others] = waits.map(|waits| waits.iter().map(waiting).collect());
    let process = ProcessId::from(process.index(session.processes.len()));
    session.hangs.push(Hang { kind, process, at_ns, cycle, others, running });
}

prop_compose! {
    /// A session that keeps the model's invariants, a few dozen rows in each table.
    pub fn arbitrary_session()(
        meta in meta(), coverage in coverage(), stacks in stacks(),
        processes in vec(process(), 0..4), threads in vec(thread(), 0..6), locks in vec(lock(), 0..8),
        sites in vec(site(), 0..16),
        shares in vec((any::<(Index, Index)>(), prop::array::uniform4(count())), 0..16),
        waits in vec(wait(), 0..12), events in vec((any::<bool>(), any::<Index>(), wait()), 0..12),
        counters in prop::array::uniform3(option::of(any::<u64>())),
        overhead in (0.0..1e6f64, 0.0..1.0f64), dropped in count(),
        order in raw_order(), hangs in vec(hang(), 0..3),
        calls in vec((any::<[Index; 3]>(), 0..3usize, prop::array::uniform6(count())), 0..6),
    ) -> Session {
        let [task_clock_ns, context_switches, cycles] = counters;
        let mut session = Session {
            meta, coverage, stacks, processes,
            overhead: Overhead { ns_per_pair: overhead.0, share_of_runtime: overhead.1 },
            counters: Counters { task_clock_ns, context_switches, cycles },
            ..Session::default()
        };
        session.profile.wait_events_dropped = dropped;
        if session.processes.is_empty() {
            return session;
        }
        let some_process = |index: Index| ProcessId::from(index.index(session.processes.len()));
        let some_stack = |index: Index| StackId::from(index.index(session.stacks.len()));
        session.threads = threads.into_iter()
            .map(|(process, thread)| Thread { process: some_process(process), ..thread })
            .collect();
        session.locks = locks.into_iter()
            .map(|(process, stack, lock)| Lock {
                process: some_process(process), origin_stack: some_stack(stack), ..lock
            })
            .collect();
        if session.locks.is_empty() {
            return session;
        }
        for (lock, stack, site) in sites {
            let lock = LockId::from(lock.index(session.locks.len()));
            let key = SiteKey { lock, stack: some_stack(stack), mode: site.key.mode };
            let id = session.profile.site(key);
            session.profile.sites[id.index()] = Site { key, ..site };
        }
        // In the order of their letters, as a file has them.
        const NAMES: [&str; 3] = ["fsync", "poll", "read"];
        session.profile.call_names = (0..NAMES.len())
            .filter(|name| calls.iter().any(|(_, call, _)| call == name))
            .map(|name| NAMES[name].to_owned())
            .collect();
        for ([lock, stack, taken], call, [count, took_ns, max_ns, folded, waits, blocked_ns]) in calls {
            let (lock, call) = (LockId::from(lock.index(session.locks.len())), session.profile.call(NAMES[call]));
            let key = CallKey { lock, call, stack: some_stack(stack), taken: some_stack(taken) };
            let stats = CallStats { count, took_ns, max_ns, folded, waits, blocked_ns };
            session.profile.calls.insert(key, stats);
        }
        if session.threads.is_empty() {
            return session;
        }
        session.order = order.of(&session);
        hangs.into_iter().for_each(|hang| add_hang(&mut session, hang));
        if !session.profile.sites.is_empty() {
            for ((thread, site), [acquisitions, contended, wait_ns, hold_ns]) in shares {
                let thread = ThreadId::from(thread.index(session.threads.len()));
                let site = SiteId::from(site.index(session.profile.sites.len()));
                let share = ThreadShare { acquisitions, contended, wait_ns, hold_ns };
                session.profile.by_thread.insert((thread, site), share);
            }
        }
        for wait in &waits {
            let [count, wait_ns, max_ns] = wait.3;
            let key = wait_key(&session, wait);
            session.profile.waits.insert(key, WaitStats { count, wait_ns, max_ns });
        }
        for (known, which, event) in &events {
            // Most events belong to a wait that has totals; one that does not must survive too.
            let of = if *known && !waits.is_empty() { which.get(&waits) } else { event };
            let [start_ns, wait_ns, hold_ns] = event.3;
            let key = wait_key(&session, of);
            session.profile.wait_events.push(WaitEvent { key, start_ns, wait_ns, hold_ns });
        }
        session
    }
}
