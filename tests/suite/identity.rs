//! Which lock is it? Where memory is used again without a call, what matters is told apart.

use lockprof_wire::Op;
use lockprof_wire::lock::TraitBits;

use crate::util::raw::Lock;
use crate::util::story::Story;

fn story(name: &str) -> Story {
    Story::of("identity", name)
}

/// The locks that lived at one place, oldest first.
fn lives(story: &Story, place: &str) -> Vec<Lock> {
    story.raw.rows_at(story.address(place)).into_iter().map(|row| story.raw.locks[row as usize]).collect()
}

fn holds(story: &Story, place: &str) -> Vec<usize> {
    let rows = story.raw.rows_at(story.address(place));
    rows.iter().map(|row| story.raw.all(Op::Hold).iter().filter(|hold| hold.lock == *row).count()).collect()
}

#[test]
fn a_lock_made_where_a_nested_one_lived_is_another() {
    let story = story("nested");
    for place in ["room", "table"] {
        assert_eq!(holds(&story, place), [10, 10, 10], "{place}");
        let lives = lives(&story, place);
        assert!(lives.iter().all(|lock| lock.traits.is_nested() && !lock.initialised));
        assert_eq!(lives.iter().map(|lock| lock.destroyed).collect::<Vec<_>>(), [true, true, false]);
    }
}

#[test]
fn one_that_was_never_nested_keeps_its_row() {
    let story = story("alone");
    assert_eq!((holds(&story, "room"), holds(&story, "table")), (vec![5], vec![5]));
    assert!(lives(&story, "room").iter().all(|lock| lock.merged == 1));
}

#[test]
fn the_first_nesting_begins_the_telling_apart() {
    assert_eq!(holds(&story("later"), "room"), [2, 1]);
}

#[test]
fn the_new_lock_may_be_of_another_type() {
    let story = story("other-kinds");
    assert_eq!(holds(&story, "room"), [4, 1]);
    let recursive = lives(&story, "room").iter().map(|lock| lock.traits.is_recursive()).collect::<Vec<_>>();
    assert_eq!(recursive, [true, false]);
}

#[test]
fn an_assigned_initialiser_and_an_initialising_call() {
    assert_eq!(holds(&story("assigned"), "room"), [1, 1, 1]);
    let story = story("initialised");
    assert_eq!(holds(&story, "room"), [3, 3, 3]);
    assert!(lives(&story, "room").iter().all(|lock| lock.initialised));
}

/// The program looks at the bytes itself.
#[test]
fn robust_and_shared_ones_stay_as_they_are() {
    let story = story("untouched");
    assert_eq!(holds(&story, "room"), [2, 1]);
    let robust: Vec<bool> = lives(&story, "room").iter().map(|lock| lock.traits.is_robust()).collect();
    assert_eq!(robust, [true, false]);
}

#[test]
fn traits() {
    let story = story("writers");
    assert!(story.has("table", TraitBits::WRITERS_FIRST) && story.has("room", TraitBits::RECURSIVE));
}

#[test]
fn threads_that_meet_a_new_lock_at_once() {
    let held = holds(&story("raced"), "room");
    assert_eq!((held.len(), held.iter().sum::<usize>()), (200, 800));
    assert!(held.iter().all(|held| *held == 4), "{held:?}");
}
