//! What keys, the mouse and news do.

use super::*;
use crate::tui::state::rows::{self, Sort};

#[test]
fn rows_are_sorted_and_filtered() {
    let mut state = state();
    let names = |state: &State| rows::locks(state).iter().map(|line| line.row.name.clone()).collect::<Vec<_>>();
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
