//! What the order analysis needs, as the shim writes it: nested acquisitions, threads, posts, semaphores that are locks.

use lockprof_wire::Kind;
use lockprof_wire::layout::note;
use lockprof_wire::lock::TraitBits;
use lockprof_wire::record::PUBLISHED_EARLY;
use lockprof_wire::{Op, Record};

use crate::util::story::Story;

fn story(name: &str) -> Story {
    Story::of("nested", name)
}

#[test]
fn an_acquisition_inside_another_is_told_at_once() {
    let story = story("plain");
    let expected = [
        "threadstart",
        "hold a0",
        "earlyacquire a0",
        "earlyacquire b1",
        "earlyacquire c2",
        "hold c2 opened",
        "hold b1 opened",
        "hold a0 opened",
        "earlyacquire a0",
        "earlyacquire b1",
        "hold b1 opened",
        "earlyacquire c1",
        "hold c1 opened",
        "hold a0 opened",
        "hold a0",
    ];
    assert_eq!(story.told(0), expected);
    assert!(story.has("a", TraitBits::NESTED) && story.has("c", TraitBits::NESTED) && !story.raw.threads.is_empty());
    let open: Vec<Record> = story.raw.all(Op::EarlyAcquire);
    let holds = story.raw.all(Op::Hold);
    // One acquisition has the same time and stack in both.
    let same =
        |open: &Record, hold: &Record| (open.ticks, open.lock, open.stack) == (hold.ticks, hold.lock, hold.stack);
    assert!(open.iter().all(|open| holds.iter().any(|hold| same(open, hold))));
}

#[test]
fn reentries_are_not_nested_in_themselves() {
    let expected = [
        "threadstart",
        "hold r1 reentry",
        "hold r0",
        "earlyacquire r0",
        "earlyacquire a2",
        "hold a2 opened",
        "hold r1 reentry",
        "hold r0 opened",
        "earlyacquire a0",
        "earlyacquire r1",
        "hold r2 reentry",
        "hold r1 opened",
        "hold a0 opened",
    ];
    let story = story("recursive");
    assert_eq!(story.told(0), expected);
    assert!(story.has("r", TraitBits::RECURSIVE) && !story.has("a", TraitBits::RECURSIVE));
}

#[test]
fn the_mode_is_told() {
    let expected = [
        "threadstart",
        "earlyacquire rw0 shared",
        "earlyacquire rw1 shared",
        "hold rw1 shared opened",
        "hold rw0 shared opened",
        "earlyacquire rw0 shared",
        "earlyacquire a1",
        "hold a1 opened",
        "hold rw0 shared opened",
        "earlyacquire rw0",
        "earlyacquire a1",
        "hold a1 opened",
        "hold rw0 opened",
    ];
    assert_eq!(story("shared").told(0), expected);
}

#[test]
fn tries_and_timed_requests_say_so() {
    let expected = [
        "threadstart",
        "earlyacquire a0",
        "earlyacquire b1 try",
        "earlyacquire c2 timed",
        "tryfailed a try",
        "hold c2 timed opened",
        "hold b1 try opened",
        "hold a0 opened",
    ];
    assert_eq!(story("ways").told(0), expected);
}

#[test]
fn releases_in_any_order() {
    let expected = [
        "threadstart",
        "earlyacquire a0",
        "earlyacquire b1",
        "hold a0 opened",
        "earlyacquire c2",
        "hold b1 opened",
        "earlyacquire d3",
        "hold c2 opened",
        "hold d3 opened",
        "hold a0",
    ];
    assert_eq!(story("hand-over-hand").told(0), expected);
    let expected = [
        "threadstart",
        "earlyacquire a0",
        "earlyacquire b1",
        "earlyacquire c2",
        "hold a0 opened",
        "hold b1 opened",
        "earlyacquire d3",
        "hold d3 opened",
        "hold c2 opened",
    ];
    assert_eq!(story("out-of-order").told(0), expected);
}

#[test]
fn more_locks_than_a_slot_has_room_for() {
    let story = story("overflow");
    let positions = |op| story.raw.all(op).iter().map(|record| record.extra as u32).collect::<Vec<_>>();
    assert_eq!(positions(Op::EarlyAcquire), (0..200).collect::<Vec<_>>());
    assert_eq!(positions(Op::Hold), (0..200).rev().collect::<Vec<_>>());
    assert!(story.raw.all(Op::Hold).iter().all(|record| record.extra & PUBLISHED_EARLY != 0));
}

#[test]
fn a_condition_wait_gives_the_mutex_back_and_takes_it_inside_the_other() {
    let expected = [
        "threadstart",
        "earlyacquire a0",
        "earlyacquire b1",
        "hold a0 opened",
        "earlyacquire a2 reacquired",
        "timedout cond timed",
        "hold a2 reacquired opened",
        "hold b1 opened",
    ];
    assert_eq!(story("waiting").told(0), expected);
}

#[test]
fn what_a_thread_leaves_locked() {
    let expected = [
        "threadstart",
        "earlyacquire r0",
        "earlyacquire rest1",
        "hold rest1 unreleased opened",
        "hold r0 unreleased opened",
        "threadend",
    ];
    assert_eq!(story("ending").told(1), expected);
}

#[test]
fn creation_start_join_and_barrier_can_be_matched() {
    let story = story("threads");
    let made: Vec<u64> = story.raw.all(Op::Created).iter().map(|record| record.extra).collect();
    assert_eq!(made, [1, 2]);
    assert!(story.raw.all(Op::Created).iter().all(|record| record.stack != 0), "the creator's stack");
    for (token, name) in [(1, "first"), (2, "second")] {
        let mut starts = story.raw.all(Op::ThreadStart).into_iter();
        let start = starts.find(|start| start.stack == token).expect("a thread with this token");
        assert_eq!(story.names.get(&start.extra).map(String::as_str), Some(name), "the thread's own address");
        let joins: Vec<Record> =
            story.raw.all(Op::Done).into_iter().filter(|done| done.lock == story.row(name)).collect();
        assert_eq!(joins.len(), 1, "joins of {name}");
    }
    let met: Vec<u64> = (story.raw.all(Op::Done).iter().filter(|done| done.lock == story.row("barrier")))
        .map(|done| done.extra)
        .collect();
    assert_eq!(met, [3, 3, 3]);
    let tries = story.raw.all(Op::TryFailed);
    assert!(!tries.is_empty() && tries.iter().all(|tried| matches!(story.name(tried.lock), "first" | "second")));
}

#[test]
fn posts_are_told_before_they_happen() {
    let expected = ["threadstart", "done items", "posted items", "done items try", "posted cond", "posted cond"];
    let story = story("posting");
    assert_eq!(story.told(0), expected);
    assert!(story.raw.all(Op::Posted).iter().all(|record| record.stack != 0));
    assert_eq!(story.raw.locks[story.row("items") as usize].initial, 2);
}

#[test]
fn a_semaphore_is_a_lock_until_somebody_else_posts() {
    let story = story("binary");
    let expected = [
        "threadstart",
        "earlyacquire one0",
        "earlyacquire a1",
        "hold a1 opened",
        "hold one0 opened",
        "created",
        // It was taken as a lock; that another thread had given it back was found at the next wait, a join.
        "hold one0 try",
        "done ?",
        "earlyacquire a0",
        "earlyacquire b1",
        "hold b1 opened",
        "hold a0 opened",
        "done one",
        "hold a0",
    ];
    assert_eq!(story.told(0), expected);
    assert_eq!(story.told(1), ["threadstart", "posted one", "threadend"]);
    assert!(story.has("one", TraitBits::HANDED_OVER) && !story.has("one", TraitBits::BINARY));
    let one = story.raw.locks[story.row("one") as usize];
    assert_eq!((one.kind, one.initial), (Some(Kind::Semaphore), 1));
}

#[test]
fn a_semaphore_posted_twice_is_no_lock() {
    let story = story("twice");
    assert_eq!(story.told(0), ["threadstart", "hold one0", "posted one", "done one"]);
    assert!(story.has("one", TraitBits::HANDED_OVER));
}

/// What has no room in the ring is folded with all that was held around it.
#[test]
fn overload_loses_no_nesting() {
    let story = story("overload");
    let records = &story.raw.threads[0].records;
    let last: Vec<String> = records.iter().rev().take(4).map(|record| story.in_words(record)).collect();
    let essential = ["done ?", "created", "hold c0 opened", "hold d1 opened"];
    assert_eq!(last, essential, "the ends of what was told, and what orders threads, have room kept for them");
    let opened = story.raw.all(Op::EarlyAcquire).iter().filter(|open| story.name(open.lock) == "e").count();
    let expected = [
        "a b c x10".to_owned(),
        "a b x10".to_owned(),
        "b c x5".to_owned(),
        "c d after 2 x3".to_owned(),
        format!("c d e x{}", 50_000 - opened),
    ];
    assert_eq!(story.chains(0), expected);
    assert_eq!(story.raw.notes & note::ORDER_CUT, 0);
}

/// Where the end of what was told had to be folded, everything is told anew.
#[test]
fn what_is_open_is_told_anew_when_its_end_was_folded() {
    let story = Story::emptied("nested", "restart");
    let told = story.told(0);
    let restarts: Vec<&String> = told.iter().filter(|words| words.ends_with("restart")).collect();
    assert_eq!(restarts, ["earlyacquire c0 restart"]);
    let after = told.iter().position(|words| words.ends_with("restart")).expect("it is there");
    let rounds = told[after..].iter().filter(|words| *words == "earlyacquire b2").count();
    assert!(told[after..].starts_with(
        &["earlyacquire c0 restart", "earlyacquire a1", "earlyacquire b2", "hold b2 opened"].map(str::to_owned)
    ));
    // Whatever came before the ring was looked at again was folded.
    let folded = format!("c a b x{}", 500 - rounds);
    assert!(rounds > 400 && story.chains(0).contains(&folded), "{rounds} rounds, {:?}", story.chains(0));
    assert_eq!(told.last().map(String::as_str), Some("hold c0 opened"));
    assert!(story.opened(0).iter().rev().take(2 * rounds).all(|chain| chain[0] == "c" && chain.len() <= 3));
}

/// Handlers nest where they interrupt code that nests: each nesting is told, with what was held around it and in its order.
fn assert_handlers_told(story: &Story) {
    let opened = story.opened(0);
    let folded = story.folded(0);
    for chain in opened.iter().chain(folded.iter().map(|(chain, _)| chain)) {
        let (outer, inner) = chain.split_at(chain.iter().position(|name| *name == "d").unwrap_or(chain.len()));
        let outer_is_told = ["a", "b", "c"].starts_with(outer) || outer == ["b"];
        assert!(outer_is_told && ["d", "e"].starts_with(inner), "{chain:?}");
    }
    let ends_with = |chain: &Vec<&str>, name: &str| chain.last() == Some(&name);
    let told = |name: &str| {
        let records = opened.iter().filter(|chain| ends_with(chain, name)).count() as u64;
        records + folded.iter().filter(|(chain, _)| ends_with(chain, name)).map(|(_, fold)| fold.count).sum::<u64>()
    };
    assert_eq!(told("e"), story.address("handled"), "each time inside the other");
    // One that was folded may be told once more, as what is around a handler's.
    assert!(told("c") >= story.address("rounds"));
    assert_eq!(story.raw.notes & note::ORDER_CUT, 0);
}

#[test]
fn handlers_of_a_timer() {
    assert_handlers_told(&story("signalled"));
}

/// Behind each single instruction of the hooks for one lock, and behind many of those for two.
#[test]
fn handlers_at_every_instruction() {
    let story = Story::trapped("nested", "stepped");
    assert_handlers_told(&story);
    let records = &story.raw.threads[0].records;
    let opened = records.iter().filter(|record| record.op() == Some(Op::EarlyAcquire)).count();
    let closed =
        records.iter().filter(|record| record.op() == Some(Op::Hold) && record.extra & PUBLISHED_EARLY != 0).count();
    assert_eq!(opened, closed, "nothing is left open");
    // In the midst of a record, what the handler does is folded.
    let folded: u64 = story.folded(0).iter().map(|(_, fold)| fold.count).sum();
    assert!(opened > 1000 && folded > 10 && folded < opened as u64, "{opened} opened, {folded} folded");
}
