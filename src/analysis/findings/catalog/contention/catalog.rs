//! The rows of rules about what costs time.

use crate::analysis::findings::catalog::{Area, Fails, Rule};

/// A lock is held across a call that blocks.
pub static HELD_ACROSS_BLOCKING_CALL: Rule = Rule {
    id: "held-across-blocking-call",
    area: Area::Contention,
    name: "HeldAcrossBlockingCall",
    title: "A lock is held across a call that blocks",
    help: "Everybody who wants the lock waits for the call as well. Make the call before taking the lock or after giving it back, and keep only what the lock protects under it.",
    page: "docs/findings/held-across-blocking-call.md",
    fails: Fails::Never,
    sanitizer: &[],
    wording: None,
};

/// A lock is held long while others wait.
pub static LONG_HOLD: Rule = Rule {
    id: "long-hold",
    area: Area::Contention,
    name: "LongHold",
    title: "A lock is held long while others wait",
    help: "The time that one place holds the lock is what the others wait for. Move what does not need the lock out of the hold, or hold it for a part at a time.",
    page: "docs/findings/long-hold.md",
    fails: Fails::Never,
    sanitizer: &[],
    wording: None,
};

/// One lock is held most of the time.
pub static HOT_GLOBAL_LOCK: Rule = Rule {
    id: "hot-global-lock",
    area: Area::Contention,
    name: "HotGlobalLock",
    title: "One lock is held most of the time",
    help: "No more work fits through a lock than the time in which it is free. Split it by what it protects, or hold it for less.",
    page: "docs/findings/hot-global-lock.md",
    fails: Fails::Never,
    sanitizer: &[],
    wording: None,
};

/// The work under a lock takes less time than the lock.
pub static TINY_CRITICAL_SECTION: Rule = Rule {
    id: "tiny-critical-section",
    area: Area::Contention,
    name: "TinyCriticalSection",
    title: "The work under a lock takes less time than the lock",
    help: "Threads fight for a lock that protects a few instructions. Use an atomic where it is one value, keep a part per thread and add up, or do more under one acquisition.",
    page: "docs/findings/tiny-critical-section.md",
    fails: Fails::Never,
    sanitizer: &[],
    wording: None,
};

/// Threads queue for a lock that is mostly free.
pub static CONVOY: Rule = Rule {
    id: "convoy",
    area: Area::Contention,
    name: "Convoy",
    title: "Threads queue for a lock that is mostly free",
    help: "The lock is handed from one sleeping thread to the next, so each turn costs a sleep and a wake-up. Let a running thread take a free lock (no strict hand-over), hold it more rarely, or batch.",
    page: "docs/findings/convoy.md",
    fails: Fails::Never,
    sanitizer: &[],
    wording: None,
};

/// Threads wait much longer than a lock is held.
pub static STARVATION: Rule = Rule {
    id: "starvation",
    area: Area::Contention,
    name: "Starvation",
    title: "Threads wait much longer than a lock is held",
    help: "Others take the lock again and again while some wait. Give it up for longer between two holds, or use a fair lock.",
    page: "docs/findings/starvation.md",
    fails: Fails::Never,
    sanitizer: &[],
    wording: None,
};

/// A writer waits much longer than a lock is held.
pub static WRITER_STARVATION: Rule = Rule {
    id: "writer-starvation",
    area: Area::Contention,
    name: "WriterStarvation",
    title: "A writer waits much longer than a lock is held",
    help: "Readers come and go and always some of them has the lock. Use a lock that lets writers go first, or read a copy.",
    page: "docs/findings/writer-starvation.md",
    fails: Fails::Never,
    sanitizer: &[],
    wording: None,
};

/// Readers wait behind a waiting writer.
pub static PENDING_WRITER: Rule = Rule {
    id: "pending-writer",
    area: Area::Contention,
    name: "PendingWriter",
    title: "Readers wait behind a waiting writer",
    help: "A writer waits for one slow reader, and all readers that come later queue behind the writer. Shorten the slow reader's hold, or read a copy.",
    page: "docs/findings/pending-writer.md",
    fails: Fails::Never,
    sanitizer: &[],
    wording: None,
};

/// A read-write lock whose readers hardly ever meet.
pub static RWLOCK_NOT_WORTH_IT: Rule = Rule {
    id: "rwlock-not-worth-it",
    area: Area::Contention,
    name: "RwlockNotWorthIt",
    title: "A read-write lock whose readers hardly ever meet",
    help: "A read-write lock costs more than a mutex, and pays only where several readers have it at one time. Use a mutex.",
    page: "docs/findings/rwlock-not-worth-it.md",
    fails: Fails::Never,
    sanitizer: &[],
    wording: None,
};

/// A lock is waited for more and more.
pub static SATURATING_LOCK: Rule = Rule {
    id: "saturating-lock",
    area: Area::Contention,
    name: "SaturatingLock",
    title: "A lock is waited for more and more",
    help: "The lock is held much of the time, and the waiting grows: soon it limits the program. Hold it for less or split it before that.",
    page: "docs/findings/saturating-lock.md",
    fails: Fails::Never,
    sanitizer: &[],
    wording: None,
};

/// Threads wait for one initialisation.
pub static SLOW_ONCE: Rule = Rule {
    id: "slow-once",
    area: Area::Contention,
    name: "SlowOnce",
    title: "Threads wait for one initialisation",
    help: "Everybody who comes meanwhile waits until it is done. Do it before the threads start, or let only those wait who need it.",
    page: "docs/findings/slow-once.md",
    fails: Fails::Never,
    sanitizer: &[],
    wording: None,
};

/// A condition wakes many threads for the work of one.
pub static THUNDERING_HERD: Rule = Rule {
    id: "thundering-herd",
    area: Area::Contention,
    name: "ThunderingHerd",
    title: "A condition wakes many threads for the work of one",
    help: "The woken threads fight for the mutex, find nothing to do and sleep again. Signal one thread for one piece of work.",
    page: "docs/findings/thundering-herd.md",
    fails: Fails::Never,
    sanitizer: &[],
    wording: None,
};

/// Two busy locks lie in one cache line.
pub static SHARED_CACHE_LINE: Rule = Rule {
    id: "shared-cache-line",
    area: Area::Contention,
    name: "SharedCacheLine",
    title: "Two busy locks lie in one cache line",
    help: "Who takes one lock takes the cache line away from those who take the other. Put each on a line of its own.",
    page: "docs/findings/shared-cache-line.md",
    fails: Fails::Never,
    sanitizer: &[],
    wording: None,
};

/// A lock is taken by one thread alone, very often.
pub static NEVER_SHARED: Rule = Rule {
    id: "never-shared",
    area: Area::Contention,
    name: "NeverShared",
    title: "A lock is taken by one thread alone, very often",
    help: "No other thread took it while the program was recorded. If none ever does, the lock can go.",
    page: "docs/findings/never-shared.md",
    fails: Fails::Never,
    sanitizer: &[],
    wording: None,
};
