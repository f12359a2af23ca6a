//! The screen of a made-up server.

mod inputs;
mod screens;

use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::input::{Input, Key};
use super::state::{Effect, Setting, State, Tab};
use super::view;
use crate::live::snapshot::{
    Blocking, Detail, EdgeRow, HangRow, Judged, JudgedEntry, LockRow, Snapshot, Spread, StackRow, ThreadRow,
};
use crate::model::{Histogram, Kind};

const SECOND: u64 = 1_000_000_000;

fn spread(values: impl Iterator<Item = u64>) -> Spread {
    let mut histogram = Histogram::default();
    values.for_each(|value| histogram.record(value));
    Spread::from(&histogram)
}

fn lock(id: u32, name: &str, kind: Kind, waits: u64, wait_ns: u64) -> LockRow {
    LockRow {
        id,
        name: name.into(),
        class: format!("global:{name}"),
        kind: Kind::ALL.iter().position(|other| *other == kind).unwrap() as u8,
        pid: 4242,
        address: 0x5555_0000 + 64 * u64::from(id),
        acquisitions: waits * 10,
        contended: waits,
        wait: spread((0..waits).map(|at| wait_ns / 2 + at * wait_ns / waits)),
        hold: spread((0..waits * 10).map(|at| 400 + at * 13)),
        ..LockRow::default()
    }
}

fn thread(id: u32, name: &str, blocked_ns: u64) -> ThreadRow {
    ThreadRow {
        id,
        tid: 4242 + id,
        pid: 4242,
        name: name.into(),
        acquisitions: 5_000,
        blocked_ns,
        ..ThreadRow::default()
    }
}

/// A server after so many seconds.
fn server(seconds: u64) -> Snapshot {
    let mut journal = lock(0, "journal.mu", Kind::Mutex, 40 * seconds, 24_000_000);
    (journal.waiters, journal.owners) = (2, vec![3]);
    let mut cache = lock(1, "cache.shards[3].lock", Kind::Rwlock, 9 * seconds, 3_100_000);
    cache.owners = vec![1, 2];
    let counters = lock(2, "stats::Registry::counters_", Kind::Mutex, seconds, 90_000);
    let queue = lock(3, "queue.nonempty", Kind::Condvar, 30 * seconds, 900_000_000);
    let mut threads = vec![
        thread(0, "server", 0),
        thread(1, "worker-1", 240_000_000 * seconds),
        thread(2, "worker-2", 310_000_000 * seconds),
        thread(3, "flusher", 0),
    ];
    for at in [1, 2] {
        threads[at].waits_for = Some(0);
        threads[at].waits_for_name = "journal.mu".into();
        threads[at].is_blocked = true;
        threads[at].waits_since_ns = seconds * SECOND - 31_000_000;
        threads[at].blockers = vec![3];
        threads[at].held = vec!["cache.shards[3].lock".into()];
    }
    threads[0].waits_for = Some(3);
    threads[0].waits_for_name = "queue.nonempty".into();
    threads[3].held = vec!["journal.mu".into()];
    Snapshot {
        at_ns: seconds * SECOND,
        command: "./server -t 4 --config /etc/server.conf".into(),
        pid: 4242,
        processes: 1,
        cpu_ns: Some(seconds * SECOND / 2),
        acquisitions: 120_000 * seconds,
        recorded: 110_000 * seconds,
        folded: 9_000 * seconds,
        locks: vec![journal, cache, counters, queue],
        threads,
        ..Snapshot::default()
    }
}

fn detail() -> Detail {
    let stack =
        |count, ns, frames: &[&str]| StackRow { count, ns, frames: frames.iter().map(ToString::to_string).collect() };
    Detail {
        lock: 0,
        waiters: vec![
            stack(
                700,
                14 * SECOND,
                &["append_record (journal.cc:42)", "handle_request (server.cc:118)", "serve (server.cc:77)"],
            ),
            stack(100, 2 * SECOND, &["rotate (journal.cc:90)", "serve (server.cc:81)"]),
        ],
        holders: vec![stack(780, 15 * SECOND, &["flush (journal.cc:61)", "flusher (journal.cc:140)"])],
        unattributed_ns: SECOND,
        blocking: vec![
            Blocking { waiter: "worker-1 (4243)".into(), holder: "flusher (4245)".into(), count: 400, ns: 9 * SECOND },
            Blocking { waiter: "worker-2 (4244)".into(), holder: String::new(), count: 12, ns: 81_000_000 },
        ],
        advice:
            "flush (journal.cc:61) held journal.mu during 94% of the wait, 19.2 ms at a time. Move what does not need \
                 the lock out of that hold."
                .into(),
    }
}

fn judged() -> Judged {
    let text = "locks are taken in both orders by threads that can meet".to_owned();
    Judged {
        at_ns: 19 * SECOND,
        cycles: vec![
            JudgedEntry {
                class: "feasible".into(),
                fails: true,
                title: "journal.mu ↔ index.mu can deadlock".into(),
                text: vec![text],
            },
            JudgedEntry {
                class: "guarded".into(),
                title: "a ↔ b in both orders, under a common lock".into(),
                ..JudgedEntry::default()
            },
        ],
        findings: vec![JudgedEntry {
            class: "unlock-not-owner".into(),
            fails: true,
            title: "pool.mu is unlocked by a thread that does not hold it".into(),
            text: vec!["worker-2 unlocked pool.mu".into()],
        }],
        edges: vec![
            EdgeRow {
                held: "journal.mu".into(),
                wanted: "index.mu".into(),
                count: 12_345,
                threads: 2,
                cycle: "feasible".into(),
            },
            EdgeRow {
                held: "cache.shards[].lock".into(),
                wanted: "journal.mu".into(),
                count: 987,
                threads: 4,
                cycle: String::new(),
            },
        ],
        complete: true,
        ..Judged::default()
    }
}

fn state() -> State {
    let setting = Setting { own: true, log: "server.4242.log".into(), color: true, ascii: false };
    let mut state = State::new(setting);
    state.apply(Input::Cost(60.0));
    for seconds in [4, 8, 12, 16, 20] {
        state.apply(Input::Snapshot(Box::new(server(seconds))));
    }
    state
}

fn keys(state: &mut State, keys: &str) -> Effect {
    keys.chars().fold(Effect::None, |_, key| {
        state.apply(Input::Key(match key {
            '\n' => Key::Enter,
            '\x1b' => Key::Esc,
            '\t' => Key::Tab,
            key => Key::Char(key),
        }))
    })
}

/// The screen as text; the chosen row and other inverted cells are marked below by `^`.
fn drawn(state: &mut State, columns: u16, rows: u16) -> String {
    state.apply(Input::Resize(columns, rows));
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
    terminal.draw(|frame| view::draw(frame, state)).unwrap();
    let buffer = terminal.backend().buffer();
    let lines = buffer.content.chunks(usize::from(columns));
    lines.map(|line| line.iter().map(|cell| cell.symbol()).collect::<String>().trim_end().to_owned() + "\n").collect()
}

/// What a large program costs the viewer: `cargo test --lib tui::tests::cost -- --ignored --nocapture`.
#[test]
#[ignore = "measures"]
fn cost_of_a_large_program() {
    let snapshot = |seconds: u64| {
        let mut large = server(seconds);
        large.locks =
            (0..1000).map(|id| lock(id, &format!("pool.lock[{id}]"), Kind::Mutex, 200 + seconds, 20_000_000)).collect();
        large.threads = (0..200).map(|id| thread(id, &format!("worker-{id}"), id.into())).collect();
        large
    };
    let snapshots: Vec<Snapshot> = (1..=40).map(snapshot).collect();
    let mut state = State::new(Setting::default());
    state.apply(Input::Resize(160, 50));
    let mut terminal = Terminal::new(TestBackend::new(160, 50)).unwrap();
    let mut bytes = Vec::new();
    let mut times = [std::time::Duration::ZERO; 2];
    let frames = snapshots.len() as u32;
    // Of this thread alone: the machine may be busy with others.
    let cpu = || {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `time` is a valid `timespec` to write to.
        unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
        std::time::Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    };
    for snapshot in snapshots {
        let began = cpu();
        bytes.clear();
        crate::live::messages::send(&mut bytes, &snapshot).unwrap();
        let received: Snapshot = crate::live::messages::receive(&mut bytes.as_slice()).unwrap();
        times[0] += cpu() - began;
        let began = cpu();
        state.apply(Input::Snapshot(Box::new(received)));
        terminal.draw(|frame| view::draw(frame, &state)).unwrap();
        times[1] += cpu() - began;
    }
    let [wire, screen] = times.map(|time| time / frames);
    let share = (wire + screen).as_secs_f64() * 2.0 * 100.0;
    println!(
        "one frame: {wire:?} for the socket ({} bytes), {screen:?} for the screen; {share:.1} % of a core at 2 a second",
        bytes.len()
    );
}
