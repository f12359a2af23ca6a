//! Every screen on two sizes, and what keys do.

use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::input::{Input, Key};
use super::state::rows::{self, Sort};
use super::state::{Effect, Setting, State, Tab};
use super::view;
use crate::live::snapshot::{
    Blocking, Detail, EdgeRow, HangRow, Judged, JudgedEntry, LockRow, Snapshot, Spread, StackRow, ThreadRow,
};
use crate::model::{Histogram, Kind};
use crate::render::golden;

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

fn check(name: &str, state: &mut State) {
    for (columns, rows) in [(80, 24), (160, 50)] {
        golden::check(&format!("tui/{name}-{columns}.txt"), &drawn(state, columns, rows));
    }
}

#[test]
fn golden_screens() {
    check("locks", &mut state());
    let mut lock = state();
    keys(&mut lock, "\n");
    assert_eq!((lock.tab, lock.view_request().focus), (Tab::Lock, Some(0)));
    lock.apply(Input::Snapshot(Box::new(Snapshot { detail: Some(detail()), ..server(20) })));
    check("lock", &mut lock);
    for (key, name) in
        [("3", "threads"), ("4", "order"), ("5", "findings"), ("6", "help"), ("q", "quit"), ("/jour", "filter")]
    {
        let mut state = state();
        state.apply(Input::Snapshot(Box::new(Snapshot { judged: Some(judged()), ..server(20) })));
        keys(&mut state, key);
        check(name, &mut state);
    }
}

#[test]
fn golden_alarm() {
    let mut state = state();
    let hang = HangRow {
        title: "left wants index.mu, which right holds; right wants journal.mu, which left holds".into(),
        text: vec![
            "deadlock: 2 threads of server (pid 4242) wait for each other".into(),
            String::new(),
            "  left wants index.mu".into(),
        ],
        at_ns: 19 * SECOND,
    };
    state.apply(Input::Snapshot(Box::new(Snapshot { hangs: vec![hang], ..server(21) })));
    assert_eq!(state.alarm(), Some(0));
    check("alarm", &mut state);
    keys(&mut state, "\n");
    assert!(state.page.is_some() && state.alarm().is_none(), "Enter shows the stacks, whatever is chosen");
    check("alarm-open", &mut state);
    keys(&mut state, "\x1bd");
    assert!(state.page.is_some(), "and d shows them again");
}

#[test]
fn golden_without_colour_and_other_characters() {
    let mut state = state();
    (state.setting.ascii, state.setting.color) = (true, false);
    let text = drawn(&mut state, 80, 24);
    assert!(text.is_ascii());
    golden::check("tui/locks-ascii-80.txt", &text);
}

#[test]
fn golden_over() {
    let mut state = state();
    state.apply(Input::Over("exit code 0".into(), vec!["lockprof: 20.1 s, 1 process".into()]));
    check("over", &mut state);
    assert_eq!(keys(&mut state, "q"), Effect::Close);
}

#[test]
fn any_size_is_drawn() {
    let mut state = state();
    for key in "123456q\x1b".chars() {
        keys(&mut state, &key.to_string());
        for size in [(1, 1), (3, 2), (20, 5), (40, 10), (300, 4), (79, 24), (81, 25)] {
            drawn(&mut state, size.0, size.1);
        }
    }
}

#[test]
fn rows_are_sorted_and_filtered() {
    let mut state = state();
    let names = |state: &State| rows::locks(state).iter().map(|row| row.name.clone()).collect::<Vec<_>>();
    let by_wait = ["journal.mu", "cache.shards[3].lock", "stats::Registry::counters_", "queue.nonempty"];
    assert_eq!(names(&state), by_wait);
    keys(&mut state, "S");
    assert_eq!(names(&state)[0], "stats::Registry::counters_", "idle waiting stays last");
    assert_eq!(names(&state)[3], "queue.nonempty");
    keys(&mut state, "S/CACHE\n");
    assert_eq!(names(&state), ["cache.shards[3].lock"]);
    keys(&mut state, "\x1b");
    assert_eq!(names(&state), by_wait);
    let mut sorts = vec![state.sort];
    for _ in 0..6 {
        keys(&mut state, "s");
        assert!(!sorts.contains(&state.sort));
        sorts.push(state.sort);
    }
    keys(&mut state, "s");
    assert_eq!(state.sort, Sort::Wait);
}

#[test]
fn the_chosen_lock_stays_chosen() {
    let mut state = state();
    keys(&mut state, "j");
    assert_eq!((state.cursor().row, state.cursor().id), (1, Some(1)));
    let mut next = server(24);
    next.locks[1].wait = spread((0..5_000).map(|_| 50_000_000));
    state.apply(Input::Snapshot(Box::new(next)));
    assert_eq!((state.cursor().row, state.cursor().id), (0, Some(1)), "its row has moved up");
}

#[test]
fn the_tab_of_a_lock_shows_the_one_at_the_cursor() {
    for key in ["2", "\t"] {
        let mut state = state();
        keys(&mut state, "j");
        keys(&mut state, key);
        assert_eq!((state.tab, state.view_request().focus), (Tab::Lock, Some(1)), "{key:?}");
        // From elsewhere it is the one that was looked at last.
        keys(&mut state, "132");
        assert_eq!((state.tab, state.view_request().focus), (Tab::Lock, Some(1)));
    }
}

#[test]
fn windows_totals_and_resets() {
    let mut state = state();
    let journal = |state: &State| state.part.locks[0].contended;
    assert_eq!((journal(&state), state.part_ns), (40 * 12, 12 * SECOND), "from the last look before 10 s ago");
    keys(&mut state, "w");
    assert_eq!((journal(&state), state.part_ns), (40 * 20, 20 * SECOND));
    keys(&mut state, "r");
    assert_eq!(journal(&state), 40 * 20, "nothing has come yet");
    state.apply(Input::Snapshot(Box::new(server(22))));
    assert_eq!((journal(&state), state.part_ns), (80, 2 * SECOND));
}

#[test]
fn quitting_asks_once() {
    let mut state = state();
    assert_eq!(keys(&mut state, "q"), Effect::None);
    assert!(state.is_asking);
    assert_eq!(keys(&mut state, "\x1b"), Effect::None);
    assert!(!state.is_asking && !state.is_ending);
    assert_eq!(keys(&mut state, "ql"), Effect::Leave);
    assert_eq!(state.apply(Input::Over("recorded no more".into(), Vec::new())), Effect::Close);
    let mut other = self::state();
    assert_eq!(keys(&mut other, "qe"), Effect::End);
    let mut interrupted = self::state();
    assert_eq!(interrupted.apply(Input::Key(Key::Interrupt)), Effect::End);
    assert_eq!(interrupted.apply(Input::Key(Key::Interrupt)), Effect::Close);
    let mut viewer = State::new(Setting::default());
    assert_eq!(keys(&mut viewer, "q"), Effect::Close, "what somebody else records is not ours to end");
}

#[test]
fn the_mouse_chooses_and_opens() {
    let mut state = state();
    state.apply(Input::Click(5, state.list_top() + 1));
    assert_eq!(state.cursor().row, 1);
    state.apply(Input::Click(5, state.list_top() + 1));
    assert_eq!((state.tab, state.lock), (Tab::Lock, Some(1)));
    state.apply(Input::Click(1, 2));
    assert_eq!(state.tab, Tab::Locks);
    state.apply(Input::Wheel(3));
    assert_eq!(state.cursor().row, 3);
    state.apply(Input::Click(5, 23));
    state.apply(Input::Click(5, state.list_top() + 15));
    assert_eq!(state.cursor().row, 3, "no row there");
}

#[test]
fn what_is_paused_is_asked_for() {
    let mut state = state();
    keys(&mut state, " ");
    assert!(state.view_request().frozen && state.is_paused);
    keys(&mut state, "4");
    assert!(state.view_request().judged);
    assert_eq!(keys(&mut state, "e"), Effect::Export);
    keys(&mut state, " ");
    assert!(!state.view_request().frozen);
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
