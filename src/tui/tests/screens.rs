//! Every screen on two sizes.

use super::*;
use crate::render::golden;
use crate::tui::state::rows;

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
fn golden_classes() {
    let with_shards = |seconds| {
        let mut server = server(seconds);
        server.locks.extend((4..20).map(|id| LockRow {
            class: "init:cache.cc:12".into(),
            ..lock(id, &format!("cache.shards_of_the_session_table[{}].lock", id - 4), Kind::Mutex, seconds, 1_000_000)
        }));
        Input::Snapshot(Box::new(server))
    };
    let mut state = state();
    for input in [with_shards(24), with_shards(28)] {
        state.apply(input);
    }
    check("classes", &mut state);
    assert_eq!(rows::locks(&state).len(), 5);
    keys(&mut state, "j\n");
    check("class-open", &mut state);
    assert_eq!((state.tab, rows::locks(&state).len()), (Tab::Locks, 5 + 16));
    keys(&mut state, "j\n");
    assert_eq!((state.tab, state.lock), (Tab::Lock, Some(4)), "a lock of the class");
    keys(&mut state, "\x1bk\n");
    assert_eq!(rows::locks(&state).len(), 5, "closed again");
    keys(&mut state, "x");
    assert_eq!(rows::locks(&state).len(), 4 + 16);
    keys(&mut state, "x/[7]\n");
    assert_eq!(
        rows::locks(&state).iter().map(|line| line.locks).collect::<Vec<_>>(),
        [16],
        "the class of a lock's name"
    );
    // Whatever comes first, its column is shown, marked.
    keys(&mut state, "\x1b");
    for _ in 0..7 {
        let heading = drawn(&mut state, 80, 24).lines().nth(3).unwrap().to_owned();
        assert!(heading.contains('↓'), "{:?}: {heading}", state.sort);
        keys(&mut state, "s");
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
