//! The catalogue of rules: everything constant that is said of a finding, and the detectors.
//!
//! A new rule is a detector in a file of its own, a row here, and its id in the page that the row names. All forms of
//! `check`, `--fail-on`, baselines and suppressions read this table. The words here are constants; what is made of a
//! recording is not, and has its place in `render::explain`.

pub mod contention;
pub mod misuse;
mod rule;

pub use contention::catalog as costs;
pub use rule::{Area, Fails, Rule, Wording};

use super::{Collector, Scope};

/// Adds what it finds to the collector.
pub(super) type Detector = fn(&Scope<'_>, &mut Collector<'_>);

/// Every detector.
pub(super) static DETECTORS: [Detector; 2] = [misuse::find, contention::find];

/// The program was deadlocked.
pub static HUNG: Rule = Rule {
    id: "hung",
    area: Area::Order,
    name: "LockOrderHung",
    title: "The program was deadlocked",
    help: "Threads waited for each other in a circle while the program was recorded: each held the lock that the next one wanted. Take these locks in one order everywhere.",
    page: "docs/lock-order.md",
    fails: Fails::Always,
    sanitizer: &["deadlock"],
    wording: None,
};

/// Locks deadlocked in a steered run.
pub static CONFIRMED: Rule = Rule {
    id: "confirmed",
    area: Area::Order,
    name: "LockOrderConfirmed",
    title: "Locks deadlocked in a steered run",
    help: "A run that held threads back at the right places reached the deadlock. Take these locks in one order everywhere.",
    page: "docs/lock-order.md",
    fails: Fails::Always,
    sanitizer: &["deadlock"],
    wording: None,
};

/// Locks are taken in orders that can deadlock.
pub static FEASIBLE: Rule = Rule {
    id: "feasible",
    area: Area::Order,
    name: "LockOrderFeasible",
    title: "Locks are taken in orders that can deadlock",
    help: "Threads take these locks in different orders, and a reordering of what was recorded lets each hold the lock that the next one wants. Take these locks in one order everywhere, or release the first before taking the second.",
    page: "docs/lock-order.md",
    fails: Fails::Always,
    sanitizer: &["deadlock"],
    wording: None,
};

/// Locks are taken in orders that may deadlock.
pub static POSSIBLE: Rule = Rule {
    id: "possible",
    area: Area::Order,
    name: "LockOrderPossible",
    title: "Locks are taken in orders that may deadlock",
    help: "Threads take these locks in different orders, and nothing that was seen keeps them apart. Take these locks in one order everywhere, or release the first before taking the second.",
    page: "docs/lock-order.md",
    fails: Fails::Sometimes,
    sanitizer: &["deadlock"],
    wording: None,
};

/// Read locks may deadlock when a writer comes in between.
pub static NEEDS_WRITER: Rule = Rule {
    id: "needs-writer",
    area: Area::Order,
    name: "LockOrderNeedsWriter",
    title: "Read locks may deadlock when a writer comes in between",
    help: "Threads read-lock these locks in different orders. Readers that wait behind a waiting writer then wait for each other.",
    page: "docs/lock-order.md",
    fails: Fails::Sometimes,
    sanitizer: &["deadlock"],
    wording: None,
};

/// Locks are taken in different orders, kept apart by a hand-over.
pub static SOFT_ORDERED: Rule = Rule {
    id: "soft-ordered",
    area: Area::Order,
    name: "LockOrderSoftOrdered",
    title: "Locks are taken in different orders, kept apart by a hand-over",
    help: "Only a condition variable, semaphore or other hand-over kept the threads apart while the program was recorded.",
    page: "docs/lock-order.md",
    fails: Fails::Never,
    sanitizer: &["deadlock"],
    wording: None,
};

/// Locks are taken in different orders under a common lock.
pub static GUARDED: Rule = Rule {
    id: "guarded",
    area: Area::Order,
    name: "LockOrderGuarded",
    title: "Locks are taken in different orders under a common lock",
    help: "A common lock keeps the threads apart. It has to stay around both.",
    page: "docs/lock-order.md",
    fails: Fails::Never,
    sanitizer: &["deadlock"],
    wording: None,
};

/// Locks are taken in different orders, one after the other.
pub static ORDERED: Rule = Rule {
    id: "ordered",
    area: Area::Order,
    name: "LockOrderOrdered",
    title: "Locks are taken in different orders, one after the other",
    help: "Thread creation, join or a barrier keeps the threads apart.",
    page: "docs/lock-order.md",
    fails: Fails::Never,
    sanitizer: &["deadlock"],
    wording: None,
};

/// One thread takes locks in different orders.
pub static SAME_THREAD: Rule = Rule {
    id: "same-thread",
    area: Area::Order,
    name: "LockOrderSameThread",
    title: "One thread takes locks in different orders",
    help: "A second thread that does the same can deadlock with it.",
    page: "docs/lock-order.md",
    fails: Fails::Never,
    sanitizer: &["deadlock"],
    wording: None,
};

/// A lock is taken again by its owner.
pub static SELF_DEADLOCK: Rule = Rule {
    id: "self-deadlock",
    area: Area::Misuse,
    name: "SelfDeadlock",
    title: "A lock is taken again by its owner",
    help: "The thread holds the lock already and waits for itself. Take it in one of the callers only, or use a recursive lock.",
    page: "docs/lock-order.md",
    fails: Fails::Always,
    sanitizer: &["deadlock", "mutex"],
    wording: Some(Wording {
        line: "X is taken again by its owner",
        advice: "Make one of the two callers take the lock, or make the lock recursive.",
        places: ["takes X again", "had taken X"],
    }),
};

/// A lock is unlocked by a thread that does not hold it.
pub static UNLOCK_NOT_OWNER: Rule = Rule {
    id: "unlock-not-owner",
    area: Area::Misuse,
    name: "UnlockNotOwner",
    title: "A lock is unlocked by a thread that does not hold it",
    help: "Only the owner may unlock a mutex or a write lock; anything else is undefined. Use a semaphore for hand-overs between threads.",
    page: "docs/lock-order.md",
    fails: Fails::Always,
    sanitizer: &["mutex"],
    wording: Some(Wording {
        line: "X is unlocked by a thread that does not hold it",
        advice: "Unlock in the thread that locked; a semaphore may be handed over.",
        places: ["unlocks X", "its owner had taken X"],
    }),
};

/// A lock is unlocked while nobody holds it.
pub static UNLOCK_NOT_LOCKED: Rule = Rule {
    id: "unlock-not-locked",
    area: Area::Misuse,
    name: "UnlockNotLocked",
    title: "A lock is unlocked while nobody holds it",
    help: "Unlocking a lock that is not held is undefined: the next owner may lose it.",
    page: "docs/lock-order.md",
    fails: Fails::Always,
    sanitizer: &["mutex"],
    wording: Some(Wording {
        line: "X is unlocked while nobody holds it",
        advice: "Remove the second unlock, or find the path that never locked.",
        places: ["unlocks X", "X was taken last"],
    }),
};

/// A lock is destroyed while it is held.
pub static DESTROYED_WHILE_HELD: Rule = Rule {
    id: "destroyed-while-held",
    area: Area::Misuse,
    name: "DestroyedWhileHeld",
    title: "A lock is destroyed while it is held",
    help: "Destroying a held lock is undefined. Make sure that every thread is done with it.",
    page: "docs/lock-order.md",
    fails: Fails::Always,
    sanitizer: &["mutex"],
    wording: Some(Wording {
        line: "X is destroyed while it is held",
        advice: "Destroy the lock only when every thread is done with it.",
        places: ["destroys X", "X was taken and is held"],
    }),
};

/// A thread ends and holds a lock still.
pub static LOCK_HELD_AT_THREAD_EXIT: Rule = Rule {
    id: "lock-held-at-thread-exit",
    area: Area::Misuse,
    name: "LockHeldAtThreadExit",
    title: "A thread ends and holds a lock still",
    help: "Nobody can unlock it any more: whoever wants it waits for ever.",
    page: "docs/lock-order.md",
    fails: Fails::Sometimes,
    sanitizer: &["mutex"],
    wording: Some(Wording {
        line: "X is still held when its thread ends",
        advice: "Unlock on every way out of the thread's function.",
        places: ["takes X, never unlocks it", "X was taken"],
    }),
};

/// A lock is taken again by its owner, and refused.
pub static SELF_DEADLOCK_REFUSED: Rule = Rule {
    id: "self-deadlock-refused",
    area: Area::Misuse,
    name: "SelfDeadlockRefused",
    title: "A lock is taken again by its owner, and refused",
    help: "The call answered EDEADLK. Whoever does not look at the answer goes on as if it had the lock twice.",
    page: "docs/lock-order.md",
    fails: Fails::Never,
    sanitizer: &["deadlock", "mutex"],
    wording: Some(Wording {
        line: "X is taken again by its owner, and refused",
        advice: "Look at the answer, or take the lock in one of the two callers only.",
        places: ["takes X again, and is refused", "had taken X"],
    }),
};

/// A lock was waited for longer than its budget.
pub static MAX_WAIT: Rule = Rule {
    id: "max-wait",
    area: Area::Budget,
    name: "MaxWait",
    title: "A lock was waited for longer than its budget",
    help: "The longest single wait is over the limit given by --max-wait.",
    page: "docs/cli.md",
    fails: Fails::Always,
    sanitizer: &[],
    wording: None,
};

/// A lock was held longer than its budget.
pub static MAX_HOLD: Rule = Rule {
    id: "max-hold",
    area: Area::Budget,
    name: "MaxHold",
    title: "A lock was held longer than its budget",
    help: "The longest single hold is over the limit given by --max-hold.",
    page: "docs/cli.md",
    fails: Fails::Always,
    sanitizer: &[],
    wording: None,
};

/// Every rule: areas in their order, the most serious class of cycles first.
pub static RULES: [&Rule; 31] = [
    &HUNG,
    &CONFIRMED,
    &FEASIBLE,
    &POSSIBLE,
    &NEEDS_WRITER,
    &SOFT_ORDERED,
    &GUARDED,
    &ORDERED,
    &SAME_THREAD,
    &SELF_DEADLOCK,
    &UNLOCK_NOT_OWNER,
    &UNLOCK_NOT_LOCKED,
    &DESTROYED_WHILE_HELD,
    &LOCK_HELD_AT_THREAD_EXIT,
    &SELF_DEADLOCK_REFUSED,
    &costs::HELD_ACROSS_BLOCKING_CALL,
    &costs::LONG_HOLD,
    &costs::HOT_GLOBAL_LOCK,
    &costs::TINY_CRITICAL_SECTION,
    &costs::CONVOY,
    &costs::STARVATION,
    &costs::WRITER_STARVATION,
    &costs::PENDING_WRITER,
    &costs::RWLOCK_NOT_WORTH_IT,
    &costs::SATURATING_LOCK,
    &costs::SLOW_ONCE,
    &costs::THUNDERING_HERD,
    &costs::SHARED_CACHE_LINE,
    &costs::NEVER_SHARED,
    &MAX_WAIT,
    &MAX_HOLD,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_stands_in_the_page_that_it_names() {
        for rule in RULES {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(rule.page);
            let page = std::fs::read_to_string(path).expect("the page of a rule");
            let (word, option) = (format!("`{}`", rule.id), format!("`--{} ", rule.id));
            assert!(page.contains(&word) || page.contains(&option), "{} is not in {}", rule.id, rule.page);
        }
    }

    #[test]
    fn rules_are_told_apart_and_in_the_order_of_their_areas() {
        for (at, rule) in RULES.iter().enumerate() {
            assert_eq!(rule.position(), at, "{} is there twice", rule.id);
            assert!(RULES[..at].iter().all(|other| other.area <= rule.area && other.name != rule.name), "{}", rule.id);
        }
        let classes = crate::analysis::order::Class::ALL.map(|class| class.rule().id);
        assert!(
            RULES.iter().map(|rule| rule.id).take(classes.len()).eq(classes),
            "the classes, the most serious first"
        );
    }
}
