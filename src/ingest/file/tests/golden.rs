//! One file per format version, kept for ever, and the example of the specification.
//!
//! `LOCKPROF_BLESS=1` writes the file of the current version anew. Once a version is released, its
//! file is only ever read.

use std::path::PathBuf;

use super::*;
use crate::model::order::{Event, Fold, How, Misuse, MisuseKind, Run, SyncPoint, SyncWhat, What};

fn path_of(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Something in every table, every enum value at least once, but for kinds of locks that came after the stored files.
pub fn golden_session() -> Session {
    let mut session = session_of_1_2();
    add_of_1_3(&mut session);
    session
}

/// What format 1.2 could say.
fn session_of_1_2() -> Session {
    let mut session = session_of_1_1();
    add_of_1_2(&mut session);
    session
}

/// The tables that format 1.3 added.
fn add_of_1_3(session: &mut Session) {
    let profile = &mut session.profile;
    let (fsync, read) = (profile.call("fsync"), profile.call("read"));
    for (call, lock, stack) in [(fsync, 0, 2), (read, 0, 1), (read, 1, 2)] {
        let key = CallKey { lock: LockId(lock), call, stack: StackId(stack), taken: StackId(1) };
        let stats = CallStats { count: 5, took_ns: 4_000, max_ns: 3_000, folded: 2, waits: 7, blocked_ns: 9_000 };
        profile.calls.insert(key, stats);
    }
}

/// What format 1.1 could say.
fn session_of_1_1() -> Session {
    let mut session = session_without_hangs();
    add_hangs(&mut session);
    session
}

/// The values that format 1.2 added.
fn add_of_1_2(session: &mut Session) {
    for kind in [HangKind::Abandoned, HangKind::Stuck] {
        let hang = Hang { kind, ..session.hangs[2].clone() };
        session.hangs.push(hang);
    }
    let order = &mut session.order;
    let stack = StackId(1);
    for kind in [MisuseKind::WaitNotOwner, MisuseKind::WaitNotLocked, MisuseKind::Refused] {
        order.misused(Misuse { kind, lock: LockId(1), stack, holder: Stacks::UNKNOWN }, ThreadId(0), 1);
    }
    let what = SyncWhat::Outlived(Some(ThreadId(1)));
    order.timelines[0].sync_points.push(SyncPoint { at_ns: 30, until_ns: 30, what, stack });
}

/// A ring and a standstill.
fn add_hangs(session: &mut Session) {
    let held = |lock, mode| HeldLock { lock: LockId(lock), mode, stack: StackId(2), since_ns: 1_500 };
    let waiting = |thread, lock, mode, held| Waiting {
        thread: ThreadId(thread),
        lock: LockId(lock),
        mode,
        timed: thread == 1,
        stack: StackId(1 + thread),
        since_ns: 2_000,
        holders: vec![ThreadId(1 - thread), ThreadId(thread)],
        held,
    };
    let ring = vec![
        waiting(0, 0, Mode::Exclusive, vec![held(1, Mode::Shared), held(2, Mode::Exclusive)]),
        waiting(1, 1, Mode::Shared, vec![held(0, Mode::Exclusive)]),
    ];
    let others = || vec![waiting(0, 7, Mode::Exclusive, Vec::new())];
    let hang = |kind, process, cycle: &[Waiting], others| Hang {
        kind,
        process: ProcessId(process),
        at_ns: 3_000_000,
        cycle: cycle.to_vec(),
        others,
        running: process,
    };
    session.hangs = vec![
        hang(HangKind::Deadlock, 0, &ring, others()),
        hang(HangKind::SelfDeadlock, 1, &ring[..1], Vec::new()),
        hang(HangKind::Waits, 1, &[], others()),
    ];
}

fn session_without_hangs() -> Session {
    let mut session = Session {
        meta: Meta {
            command: vec!["./server".into(), "-t".into(), "4".into()],
            exit: Some(Exit::Code(3)),
            started_unix_ns: 1_700_000_000_000_000_000,
            duration_ns: 2_500_000_000,
            version: "0.1.0".into(),
            host: "Linux 6.1 x86_64, 2 cores".into(),
            cut: false,
        },
        coverage: Coverage {
            acquisitions: 1_000,
            recorded: 900,
            folded: 90,
            lost: 10,
            stack_hits: 800,
            stack_misses: 100,
            stacks_truncated: 5,
            contended_only: false,
            notes: vec!["10 acquisitions were lost.".into()],
        },
        overhead: Overhead { ns_per_pair: 42.5, share_of_runtime: 0.0125 },
        counters: Counters { task_clock_ns: Some(4_000_000_000), context_switches: Some(77), cycles: None },
        ..Session::default()
    };
    let process = |pid, exit| Process { pid, parent_pid: pid - 1, exe: "/opt/server".into(), exit, threads: 2 };
    session.processes =
        vec![process(100, Some(Exit::Code(3))), process(101, Some(Exit::Signal(9))), process(102, None)];
    session.later_runs = vec![ProcessId(2)];
    let thread =
        |process, tid, end_ns| Thread { process: ProcessId(process), tid, name: "wörker".into(), start_ns: 5, end_ns };
    session.threads = vec![thread(0, 100, Some(2_000_000_000)), thread(1, 101, None)];

    let module = |path: &str, build_id: &[u8]| Module { path: path.into(), build_id: build_id.into() };
    session.stacks.modules = vec![module("/opt/server", &[0xAB; 20]), module("[vdso]", &[])];
    let place = |module: Option<u32>, address| CodeAddress { module: module.map(ModuleId), address };
    let main = session.stacks.intern(Stacks::UNKNOWN, place(Some(0), 0x1180));
    let work = session.stacks.intern(main, place(Some(0), 0x2240));
    let jit = session.stacks.intern(main, place(None, 0x7FFF_1234_5678));
    let frame = |function: &str, file: Option<&str>, inlined| Frame {
        function: Some(function.into()),
        file: file.map(str::to_owned),
        line: 10,
        column: 3,
        inlined,
    };
    session.stacks.node_mut(main).frames = vec![frame("main", Some("main.c"), false)].into();
    session.stacks.node_mut(work).frames =
        vec![frame("inner", Some("main.c"), true), frame("work", None, false)].into();

    use NameSource::*;
    let sources = [User, Global, Source, Function, Address];
    /// As many kinds as there were when the files were written; new ones come behind them.
    const KINDS: usize = 12;
    for (at, kind) in Kind::ALL.into_iter().take(KINDS).enumerate() {
        let name = sources.get(at).map(|source| LockName { text: format!("lock {at}"), source: *source });
        let is = |bit: usize| at == 2 * bit;
        session.locks.push(Lock {
            traits: Traits {
                recursive: is(0),
                robust: is(1),
                writers_first: is(2),
                binary: is(3),
                handed_over: is(4),
                initial: at as u32,
            },
            origin: if at % 2 == 0 { Origin::Initialised } else { Origin::FirstUsed },
            origin_stack: [main, work, Stacks::UNKNOWN][at % 3],
            name,
            class: format!("server+0x{at}"),
            max_waiters: at as u32,
            owner_changes: 12,
            ..Lock::new(ProcessId(at as u32 % 2), 0x5000 + 64 * at as u64, kind)
        });
    }
    for (lock, stack, mode) in [(0, work, Mode::Exclusive), (1, work, Mode::Shared), (1, jit, Mode::Exclusive)] {
        let id = session.profile.site(SiteKey { lock: LockId(lock), stack, mode });
        let site = &mut session.profile.sites[id.index()];
        [site.acquisitions, site.contended, site.folded, site.reacquired, site.reentries] = [330, 2, 30, 4, 5];
        [site.try_failures, site.timeouts, site.failures, site.wasted_wait_ns, site.still_held] = [6, 7, 8, 9, 1];
        [1_000, 1_000_000].into_iter().for_each(|ns| site.wait.record(ns));
        [0, 15, 16, 40, 41, u64::from(u32::MAX)].into_iter().for_each(|ns| site.hold.record(ns));
        let share = ThreadShare { acquisitions: 330, contended: 2, wait_ns: 1_001_000, hold_ns: 112 };
        session.profile.by_thread.insert((ThreadId(lock), id), share);
    }
    for (holder, holder_thread) in [(main, Some(ThreadId(0))), (Stacks::UNKNOWN, None)] {
        let key = WaitKey {
            lock: LockId(0),
            thread: ThreadId(1),
            waiter: work,
            mode: Mode::Exclusive,
            holder,
            holder_thread,
        };
        session.profile.waits.insert(key, WaitStats { count: 1, wait_ns: 1_000, max_ns: 1_000 });
        let start_ns = 1_000_000 + 7 * u64::from(holder.0);
        session.profile.wait_events.push(WaitEvent { key, start_ns, wait_ns: 1_000, hold_ns: 40 });
    }
    session.profile.wait_events_dropped = 3;
    session.order = golden_order(main, work);
    session
}

/// Two locks in both orders, the second one by a thread that the first created, guarded, and joined.
fn golden_order(main: StackId, work: StackId) -> Order {
    let mut order = Order::default();
    let (mut fold, parent, child) = (Fold::default(), ThreadId(0), ThreadId(1));
    let mut apply = |thread, at_ns, stack, what| fold.apply(&mut order, thread, Event { at_ns, stack, what });
    let take = |lock, mode, how, position, restart| What::Acquired {
        lock: LockId(lock),
        mode,
        how,
        reacquired: false,
        position,
        restart,
    };
    let (exclusive, shared, process) = (Mode::Exclusive, Mode::Shared, ProcessId(0));
    apply(parent, 1, main, What::Started { process, key: 70, token: 0 });
    apply(parent, 2, main, take(0, exclusive, How::Block, 0, false));
    apply(parent, 3, main, take(1, shared, How::Timed, 1, false));
    apply(parent, 4, main, take(2, exclusive, How::Try, 2, false));
    apply(parent, 5, work, What::Released { position: 1, lock: LockId(1) });
    apply(parent, 6, work, What::Released { position: 2, lock: LockId(2) });
    apply(parent, 7, work, What::Created { token: 9 });
    apply(child, 8, main, What::Started { process, key: 71, token: 9 });
    apply(child, 9, work, What::Barrier { lock: LockId(5), count: 2, until_ns: 11 });
    apply(child, 12, work, What::Posted { lock: LockId(3) });
    apply(child, 13, work, What::Section { lock: LockId(2), mode: exclusive, until_ns: 14 });
    apply(child, 15, work, take(1, shared, How::Block, 0, false));
    apply(child, 16, work, What::Wanted { lock: LockId(0), mode: exclusive, how: How::Block });
    apply(child, 17, work, What::Ended);
    apply(parent, 18, main, What::Taken { lock: LockId(3), until_ns: 19 });
    apply(parent, 20, main, What::Joined { lock: LockId(7), key: 71, until_ns: 21 });
    apply(parent, 22, work, What::Section { lock: LockId(2), mode: shared, until_ns: 23 });
    apply(parent, 24, main, What::Created { token: 10 });
    fold.flush(&mut order, true);
    order.requests[0].runs.push(Run { first: 1, last: 3, count: 5 });
    for (kind, holder) in [
        (MisuseKind::UnlockNotOwner, main),
        (MisuseKind::UnlockNotLocked, Stacks::UNKNOWN),
        (MisuseKind::DestroyedWhileHeld, main),
        (MisuseKind::HeldAtThreadExit, work),
    ] {
        order.misused(Misuse { kind, lock: LockId(1), stack: work, holder }, child, 2);
    }
    (order.timelines[1].soft_dropped, order.timelines[1].hard_dropped, order.timelines[1].key) = (6, 7, 0x7f00);
    (order.dropped, order.log.dropped, order.log.complete_from_ns) = (4, 5, 1);
    order
}

/// What the first version of the format could say.
fn first_session() -> Session {
    let mut session = session_of_1_1();
    session.locks.iter_mut().for_each(|lock| lock.traits = Traits::default());
    session.order = Order::default();
    session.hangs.clear();
    session.later_runs.clear();
    session
}

#[test]
fn version_1_is_still_read() {
    assert_eq!(read(&path_of("fixtures/traces/v1.lockprof")).unwrap(), first_session());
}

#[test]
fn version_1_1_is_still_read() {
    assert_eq!(read(&path_of("fixtures/traces/v1.1.lockprof")).unwrap(), session_of_1_1());
}

#[test]
fn version_1_2_is_still_read() {
    assert_eq!(read(&path_of("fixtures/traces/v1.2.lockprof")).unwrap(), session_of_1_2());
}

#[test]
fn the_current_version_is_read() {
    let path = path_of("fixtures/traces/v1.3.lockprof");
    if std::env::var_os("LOCKPROF_BLESS").is_some() {
        write_to_path(&golden_session(), &path).unwrap();
    }
    assert_eq!(read(&path).unwrap(), golden_session());
    assert!(!golden_session().order.log.is_empty() && !golden_session().order.timelines[1].guards.is_empty());
}

/// The session of the example in the specification.
fn tiny_session() -> Session {
    let mut session = Session::default();
    session.meta.version = "0.1.0".into();
    session.meta.command = vec!["./a.out".into()];
    session.meta.exit = Some(Exit::Code(0));
    session.meta.duration_ns = 1_000;
    session.processes.push(Process { pid: 7, parent_pid: 0, exe: "/a.out".into(), exit: None, threads: 1 });
    session
}

#[test]
fn the_example_of_the_specification_is_a_trace() {
    let path = path_of("docs/trace-format.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once("```hexdump\n").unwrap();
    let (dump, after) = rest.split_once("```").unwrap();
    if std::env::var_os("LOCKPROF_BLESS").is_some() {
        let dump = hexdump(&to_bytes(&tiny_session()));
        std::fs::write(&path, format!("{before}```hexdump\n{dump}```{after}")).unwrap();
        return;
    }
    let bytes: Vec<u8> = dump
        .lines()
        .flat_map(|line| line[6..54].split_whitespace())
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect();
    assert_eq!(read_from(&bytes[..]).unwrap(), tiny_session());
}

/// The row of the specification that numbers the kinds is written by `LOCKPROF_BLESS`, as the example is.
#[test]
fn the_kinds_of_the_specification_are_those_of_the_table() {
    let path = path_of("docs/trace-format.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once("| | | kind | u8 | 0 mutex").unwrap();
    let after = &rest[rest.find(" |\n").unwrap()..];
    let kinds: Vec<String> = Kind::ALL.iter().enumerate().map(|(at, kind)| format!("{at} {}", kind.name())).collect();
    let want = format!("{before}| | | kind | u8 | {}{after}", kinds.join(", "));
    if std::env::var_os("LOCKPROF_BLESS").is_some() {
        std::fs::write(&path, &want).unwrap();
    }
    assert!(
        text == want || std::env::var_os("LOCKPROF_BLESS").is_some(),
        "the kinds in {}: set LOCKPROF_BLESS=1",
        path.display()
    );
}

fn hexdump(bytes: &[u8]) -> String {
    let line = |(at, bytes): (usize, &[u8])| {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x} ")).collect();
        let text: String =
            bytes.iter().map(|byte| if byte.is_ascii_graphic() { char::from(*byte) } else { '.' }).collect();
        format!("{:04x}  {hex:<48} {text}\n", at * 16)
    };
    bytes.chunks(16).enumerate().map(line).collect()
}
