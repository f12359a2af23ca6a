//! Locks used as they may not be are told, and what only looks so is not.

use lockprof_wire::Op;
use lockprof_wire::layout::note;
use lockprof_wire::lock::TraitBits;
use lockprof_wire::record::misuse::{DESTROYED_WHILE_HELD, UNLOCK_NOT_LOCKED, UNLOCK_NOT_OWNER};

use crate::util::story::Story;

fn story(name: &str) -> Story {
    Story::of("misuse", name)
}

/// (lock, what) in the order of the threads.
fn misuses(story: &Story) -> Vec<(&str, u64)> {
    let records = story.raw.all(Op::Misuse);
    assert!(records.iter().all(|record| record.stack != 0), "each with its stack");
    records.iter().map(|record| (story.name(record.lock), record.payload())).collect()
}

#[test]
fn unlocked_by_another_thread() {
    let story = story("owner");
    assert_eq!(misuses(&story), [("a", UNLOCK_NOT_OWNER)]);
    let told = story.raw.all(Op::Misuse)[0];
    let holder = story.raw.all(Op::Hold).into_iter().find(|hold| hold.lock == told.lock).expect("a hold of it");
    assert_eq!(told.extra, u64::from(holder.stack) | 1 << 32, "the first thread, and where it took the lock");
    assert!(story.has("a", TraitBits::HANDED_OVER));
    // From the next wait or nested acquisition on it does not count as held.
    let expected = [
        "threadstart",
        "created",
        "hold a0",
        "done ?",
        "earlyacquire b0",
        "earlyacquire c1",
        "hold c1 opened",
        "hold b0 opened",
    ];
    // It sleeps until the other thread is done, as often as that takes.
    let told: Vec<String> = story.told(0).into_iter().filter(|event| !event.starts_with("blocked")).collect();
    assert_eq!(told, expected);
}

#[test]
fn refused_by_an_error_checking_mutex() {
    let story = story("checked");
    assert_eq!(
        misuses(&story),
        [("checking", UNLOCK_NOT_LOCKED), ("checking", UNLOCK_NOT_OWNER), ("recursive", UNLOCK_NOT_OWNER)]
    );
    assert!(!story.has("checking", TraitBits::HANDED_OVER), "it stays with its owner");
}

#[test]
fn spin_locks() {
    let expected = [UNLOCK_NOT_LOCKED, UNLOCK_NOT_LOCKED, UNLOCK_NOT_OWNER].map(|what| ("spin", what));
    assert_eq!(misuses(&story("spinning")), expected);
}

#[test]
fn unlocked_while_nobody_has_it() {
    let expected = ["a", "b", "plain", "rw"].map(|name| (name, UNLOCK_NOT_LOCKED));
    assert_eq!(misuses(&story("free")), expected);
}

#[test]
fn destroyed_while_held() {
    let expected = ["a", "rw", "spin"].map(|name| (name, DESTROYED_WHILE_HELD));
    assert_eq!(misuses(&story("destroying")), expected);
}

/// The one mistake is told, and not also that calls went past the recorder.
#[test]
fn destroyed_while_held_and_forgotten() {
    let story = story("destroying-unaware");
    assert_eq!(misuses(&story), [("c", DESTROYED_WHILE_HELD)]);
    assert_eq!(story.raw.notes & note::UNSEEN_RELEASE, 0);
}

#[test]
fn what_is_no_misuse() {
    for name in ["forking", "robust", "cancelling", "between", "signalled", "well-destroyed"] {
        let story = story(name);
        for raw in [&story.raw].into_iter().chain(&story.children) {
            assert!(raw.all(Op::Misuse).is_empty(), "{name}, process {}: {:?}", raw.pid, raw.all(Op::Misuse));
        }
        let children = usize::from(matches!(name, "forking" | "between"));
        assert_eq!(story.children.len(), children, "{name}: recorded children");
    }
}
