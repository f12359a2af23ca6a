//! What is written is read back, byte for byte the same each time, small and quickly.

use proptest::prelude::*;

use super::*;
use crate::model::arbitrary::arbitrary_session;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_session_survives(session in arbitrary_session()) {
        let bytes = to_bytes(&session);
        let back = read_from(&bytes[..]).unwrap();
        exercise(&back);
        prop_assert_eq!(&back, &session);
        // The maps of `back` were filled in another order.
        prop_assert_eq!(to_bytes(&back), bytes);
    }
}

#[test]
fn an_empty_session_survives() {
    let session = Session::default();
    assert_eq!(read_from(&to_bytes(&session)[..]).unwrap(), session);
}

#[test]
fn what_was_cut_stays_cut() {
    let mut session = Session::default();
    session.meta.cut = true;
    assert_eq!(read_from(&to_bytes(&session)[..]).unwrap(), session);
}

#[test]
fn the_order_of_insertion_does_not_show() {
    let key = |thread| WaitKey {
        lock: LockId(0),
        thread: ThreadId(thread),
        waiter: StackId(0),
        mode: Mode::Exclusive,
        holder: StackId(0),
        holder_thread: None,
    };
    let session = |order: &mut dyn Iterator<Item = u32>| {
        let mut session = Session::default();
        for at in order {
            let stats = WaitStats { count: u64::from(at), ..WaitStats::default() };
            session.profile.waits.insert(key(at), stats);
            session.profile.by_thread.insert((ThreadId(at), SiteId(0)), ThreadShare::default());
        }
        to_bytes(&session)
    };
    assert_eq!(session(&mut (0..500)), session(&mut (0..500).rev()));
}

#[test]
fn long_strings_are_shortened_at_a_character() {
    let mut session = Session::default();
    session.meta.command = vec![format!("x{}", "é".repeat(1 << 20))];
    let back = read_from(&to_bytes(&session)[..]).unwrap();
    assert!(!back.meta.cut);
    let word = &back.meta.command[0];
    assert_eq!(word.len(), (1 << 20) - 1);
    assert!(session.meta.command[0].starts_with(word.as_str()));
}

/// 1,000 locks, 100,000 stack nodes, 200 threads, 30,000 sites.
pub fn large_session() -> Session {
    let mut session = Session::default();
    let mut random = 1u64;
    let mut next = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    session.processes.push(Process { pid: 1, parent_pid: 0, exe: "/usr/bin/server".into(), exit: None, threads: 200 });
    for at in 0..200 {
        let name = format!("worker-{at}");
        session.threads.push(Thread {
            process: ProcessId(0),
            tid: 100 + at,
            name,
            start_ns: next(1 << 30),
            end_ns: None,
        });
    }
    for at in 0..30 {
        let build_id = (0..20).map(|_| next(256) as u8).collect();
        session.stacks.modules.push(Module { path: format!("/usr/lib/libsome{at}.so.1"), build_id });
    }
    while session.stacks.len() < 100_000 {
        let len = session.stacks.len() as u64;
        let caller = if next(4) > 0 { len - 1 } else { next(len) };
        let place = next(8_000);
        let address =
            CodeAddress { module: Some(ModuleId((place % 30) as u32)), address: 0x1000 + place * 0x9E37 % 0x4_0000 };
        let node = session.stacks.intern(StackId(caller as u32), address);
        let frame = |part: &str| Frame {
            function: Some(format!("server::module_{}::Some<Generic>::function_{place}{part}", place % 97)),
            file: Some(format!("/build/server/src/module_{}/file_{}.rs", place % 97, place % 400)),
            line: place as u32 % 900 + 1,
            column: 7,
            inlined: !part.is_empty(),
        };
        let frames = if place % 3 == 0 { vec![frame("::inner"), frame("")] } else { vec![frame("")] };
        session.stacks.node_mut(node).frames = frames.into();
    }
    for at in 0..1_000 {
        session.locks.push(Lock {
            origin_stack: StackId(next(100_000) as u32),
            name: Some(LockName { text: format!("cache.shard[{at}].mu"), source: NameSource::Global }),
            class: format!("server+0x{at:x}"),
            max_waiters: 4,
            owner_changes: next(1000),
            ..Lock::new(ProcessId(0), 0x7F00_0000_0000 + next(1 << 30), Kind::ALL[at % 3])
        });
    }
    for _ in 0..30_000 {
        let (lock, stack) = (LockId(next(1_000) as u32), StackId(next(100_000) as u32));
        let id = session.profile.site(SiteKey { lock, stack, mode: Mode::Exclusive });
        let site = &mut session.profile.sites[id.index()];
        let (waits, holds) = (next(5), next(20) + 1);
        (0..waits).for_each(|_| site.wait.record(1_000 + next(1 << 22)));
        (0..holds).for_each(|_| site.hold.record(50 + next(5_000)));
        (site.acquisitions, site.contended) = (holds, waits);
        let share =
            ThreadShare { acquisitions: holds, contended: waits, wait_ns: next(1 << 24), hold_ns: next(1 << 14) };
        session.profile.by_thread.insert((ThreadId(next(200) as u32), id), share);
        let key = WaitKey {
            lock,
            thread: ThreadId(next(200) as u32),
            waiter: stack,
            mode: Mode::Exclusive,
            holder: StackId(next(100_000) as u32),
            holder_thread: Some(ThreadId(next(200) as u32)),
        };
        session.profile.waits.insert(key, WaitStats { count: 1, wait_ns: 5, max_ns: 5 });
        let (start_ns, wait_ns, hold_ns) = (next(1 << 31), next(1 << 22), next(1 << 12));
        session.profile.wait_events.push(WaitEvent { key, start_ns, wait_ns, hold_ns });
    }
    session
}

#[test]
fn a_large_session_is_a_few_megabytes_in_bounded_chunks() {
    let session = large_session();
    let bytes = to_bytes(&session);
    assert!(bytes.len() < 8 << 20, "{} bytes", bytes.len());
    let started = std::time::Instant::now();
    let back = read_from(&bytes[..]).unwrap();
    // For a person who asks with --nocapture; no test of time.
    println!("{} bytes, read in {:?}", bytes.len(), started.elapsed());
    assert_eq!(back, session);

    let mut at = container::FILE_HEADER_LEN;
    while at < bytes.len() {
        let word = |from: usize| u32::from_le_bytes(bytes[at + from..at + from + 4].try_into().unwrap()) as usize;
        assert!(word(8) <= container::CHUNK_TARGET + 16, "{} bytes of rows", word(8));
        at += container::CHUNK_HEADER_LEN + word(12);
    }
    assert_eq!(at, bytes.len());
}

/// Rows of alike locks pack to next to nothing, and what refers to them comes later in the file.
#[test]
fn a_million_locks_are_read_again() {
    let mut session = Session::default();
    session.processes.push(Process { pid: 1, parent_pid: 0, exe: String::new(), exit: None, threads: 1 });
    let process = ProcessId(0);
    for at in 0..1_000_000 {
        session.locks.push(Lock::new(process, 0x1000, Kind::Mutex));
        let key = SiteKey { lock: LockId(at), stack: Stacks::UNKNOWN, mode: Mode::Exclusive };
        let site = session.profile.site(key);
        session.profile.sites[site.index()].hold.record(u64::from(at));
    }
    let bytes = to_bytes(&session);
    assert!(read_sized(&bytes[..], bytes.len() as u64).is_ok_and(|read| read.locks.len() == 1_000_000));
}
