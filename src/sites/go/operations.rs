//! Go's lock operations: which function of `sync` and `runtime` is which event, and how the compiler leaves it in the code.
//!
//! The state of a `sync.Mutex` is its first word: 1 locked, 2 woken, 4 starving, then the number of waiters. A
//! `sync.RWMutex` is a mutex for its writers, two semaphores, and at 16 the number of readers, from which a writer takes
//! 2^30 (`sync/mutex.go`, `sync/rwmutex.go`; the same from 1.18 to 1.27).

use super::super::table::{
    Atomic, AtomicRow, ColdRow, Event, FunctionRow,
    Mode::{Exclusive, Shared},
    Object, Success,
};

/// Bytes from a `sync.RWMutex` to the number of readers, and to the semaphore that readers wait on.
const READERS: u8 = 16;
const READERS_SEMAPHORE: u8 = 12;

/// The state in which a mutex cannot be taken: locked, or to be handed to a starving waiter.
const LOCKED_OR_STARVING: u8 = 1 | 4;

/// What a writer takes from the number of readers.
pub const WRITER: u32 = 1 << 30;

/// The operations that are atomics, inlined into their callers.
pub static ATOMICS: [AtomicRow; 11] = [
    AtomicRow {
        operation: "sync.(*Mutex).Lock",
        atomic: Atomic::CompareExchange,
        offset: 0,
        success: Success::Equal,
        event: Event::Acquired(Exclusive),
        failure: Some(Event::Requested(Exclusive)),
        has_cold_call: true,
    },
    AtomicRow {
        operation: "sync.(*Mutex).TryLock",
        atomic: Atomic::CompareExchange,
        offset: 0,
        success: Success::Equal,
        event: Event::TryAcquired(Exclusive),
        failure: None,
        has_cold_call: false,
    },
    AtomicRow {
        operation: "sync.(*Mutex).Unlock",
        atomic: Atomic::ExchangeAdd,
        offset: 0,
        success: Success::Always,
        event: Event::Released(Exclusive),
        failure: None,
        has_cold_call: true,
    },
    // Of the slow path only where a profile had it inlined (PGO): elsewhere its returns are hooked.
    AtomicRow {
        operation: LOCK_SLOW,
        atomic: Atomic::CompareExchange,
        offset: 0,
        success: Success::EqualAndClear(LOCKED_OR_STARVING),
        event: Event::AcquiredAfterWait(Exclusive),
        failure: None,
        has_cold_call: false,
    },
    // A starving waiter gets the mutex from its holder, and writes that down with this addition.
    AtomicRow {
        operation: LOCK_SLOW,
        atomic: Atomic::ExchangeAdd,
        offset: 0,
        success: Success::Always,
        event: Event::AcquiredAfterWait(Exclusive),
        failure: None,
        has_cold_call: false,
    },
    // Likewise inlined by a profile only: the addition that announces a writer.
    AtomicRow {
        operation: WRITE_LOCK,
        atomic: Atomic::ExchangeAdd,
        offset: READERS,
        success: Success::Always,
        event: Event::Acquired(Exclusive),
        failure: None,
        has_cold_call: false,
    },
    AtomicRow {
        operation: "sync.(*RWMutex).RLock",
        atomic: Atomic::ExchangeAdd,
        offset: READERS,
        success: Success::AtLeast(-1),
        event: Event::Acquired(Shared),
        failure: None,
        has_cold_call: true,
    },
    AtomicRow {
        operation: "sync.(*RWMutex).TryRLock",
        atomic: Atomic::CompareExchange,
        offset: READERS,
        success: Success::Equal,
        event: Event::TryAcquired(Shared),
        failure: None,
        has_cold_call: false,
    },
    AtomicRow {
        operation: "sync.(*RWMutex).RUnlock",
        atomic: Atomic::ExchangeAdd,
        offset: READERS,
        success: Success::Always,
        event: Event::Released(Shared),
        failure: None,
        has_cold_call: true,
    },
    AtomicRow {
        operation: "sync.(*RWMutex).TryLock",
        atomic: Atomic::CompareExchange,
        offset: READERS,
        success: Success::Equal,
        event: Event::TryAcquired(Exclusive),
        failure: None,
        has_cold_call: false,
    },
    AtomicRow {
        operation: "sync.(*RWMutex).Unlock",
        atomic: Atomic::ExchangeAdd,
        offset: READERS,
        success: Success::Always,
        event: Event::Released(Exclusive),
        failure: None,
        has_cold_call: false,
    },
];

/// The slow path of `Mutex.Lock`.
pub const LOCK_SLOW: &str = "sync.(*Mutex).lockSlow";

/// The writer's lock.
pub const WRITE_LOCK: &str = "sync.(*RWMutex).Lock";

/// The slow paths that the inlined operations call.
pub static COLD_CALLS: [ColdRow; 5] = [
    ColdRow { function: LOCK_SLOW, operation: "sync.(*Mutex).Lock", shared: false, event: None },
    ColdRow { function: "sync.(*Mutex).unlockSlow", operation: "sync.(*Mutex).Unlock", shared: false, event: None },
    ColdRow {
        function: "sync.(*RWMutex).rUnlockSlow",
        operation: "sync.(*RWMutex).RUnlock",
        shared: false,
        event: None,
    },
    ColdRow {
        function: "sync.runtime_SemacquireRWMutexR",
        operation: "sync.(*RWMutex).RLock",
        shared: false,
        event: Some((Event::Requested(Shared), READERS_SEMAPHORE)),
    },
    // The same up to 1.19, where mutexes wait on it too.
    ColdRow {
        function: "sync.runtime_SemacquireMutex",
        operation: "sync.(*RWMutex).RLock",
        shared: true,
        event: Some((Event::Requested(Shared), READERS_SEMAPHORE)),
    },
];

/// The operations that are whole functions.
pub static FUNCTIONS: [FunctionRow; 19] = [
    hook(LOCK_SLOW, None, Some(Event::AcquiredAfterWait(Exclusive)), Object::Nothing),
    hook("sync.runtime_SemacquireRWMutexR", None, Some(Event::AcquiredAfterWait(Shared)), Object::Nothing),
    hook(WRITE_LOCK, Some(Event::Requested(Exclusive)), Some(Event::AcquiredAfterWait(Exclusive)), Object::First),
    hook("runtime.sighandler", Some(Event::Signal), Some(Event::Signal), Object::Nothing),
    hook("sync.(*WaitGroup).Add", Some(Event::Counted), None, Object::FirstAndSecond),
    hook("sync.(*WaitGroup).Wait", Some(Event::Wait), Some(Event::Wait), Object::First),
    hook("sync.(*Once).doSlow", Some(Event::Wait), Some(Event::Wait), Object::First),
    hook("sync.(*Cond).Wait", Some(Event::Wait), Some(Event::Wait), Object::First),
    hook("sync.runtime_notifyListNotifyOne", Some(Event::Wake), None, Object::First),
    hook("sync.runtime_notifyListNotifyAll", Some(Event::Wake), None, Object::First),
    hook("runtime.gopark", Some(Event::Parked), Some(Event::Parked), Object::SecondAndThird),
    hook("runtime.ready", Some(Event::Wake), None, Object::Goroutine),
    // Its third argument is the address behind the `go` statement's call, its result the goroutine.
    hook("runtime.newproc1", Some(Event::Created), Some(Event::Created), Object::Third),
    hook("runtime.gcMarkTermination", Some(Event::Collected), None, Object::Nothing),
    hook("runtime.goexit1", Some(Event::Ended), None, Object::Nothing),
    hook("runtime.chansend", Some(Event::Message), Some(Event::Message), Object::First),
    hook("runtime.chanrecv", Some(Event::Message), Some(Event::Message), Object::First),
    hook("runtime.selectgo", Some(Event::Message), Some(Event::Message), Object::First),
    hook("runtime.closechan", Some(Event::Closed), None, Object::First),
];

/// Hooked in place of the row of the newer function where there is only the older one (up to 1.19).
pub static OLD_READERS: FunctionRow =
    hook("sync.runtime_SemacquireMutex", None, Some(Event::AcquiredAfterWait(Shared)), Object::Nothing);

/// Hooked in place of an operation's atomics where the program has none: they are calls with `-race` and `-N`.
pub static OUTLINED: [FunctionRow; 8] = [
    hook(
        "sync.(*Mutex).Lock",
        Some(Event::Requested(Exclusive)),
        Some(Event::AcquiredAfterWait(Exclusive)),
        Object::First,
    ),
    hook("sync.(*Mutex).Unlock", Some(Event::Released(Exclusive)), None, Object::First),
    hook(
        "sync.(*RWMutex).RLock",
        Some(Event::Requested(Shared)),
        Some(Event::AcquiredAfterWait(Shared)),
        Object::First,
    ),
    hook("sync.(*RWMutex).RUnlock", Some(Event::Released(Shared)), None, Object::First),
    hook("sync.(*RWMutex).Unlock", Some(Event::Released(Exclusive)), None, Object::First),
    hook("sync.(*Mutex).TryLock", Some(Event::Try(Exclusive)), Some(Event::Tried(Exclusive)), Object::First),
    hook("sync.(*RWMutex).TryRLock", Some(Event::Try(Shared)), Some(Event::Tried(Shared)), Object::First),
    hook("sync.(*RWMutex).TryLock", Some(Event::Try(Exclusive)), Some(Event::Tried(Exclusive)), Object::First),
];

const fn hook(function: &'static str, entry: Option<Event>, exit: Option<Event>, object: Object) -> FunctionRow {
    FunctionRow { function, entry, exit, object }
}

/// A function's name as the tables have it: from 1.24 on the mutex itself is in `internal/sync`.
pub fn canonical(name: &str) -> &str {
    name.strip_prefix("internal/").filter(|rest| rest.starts_with("sync.(*Mutex)")).unwrap_or(name)
}

/// Whether a function is the one through which `syscall` calls the kernel to start another program.
pub fn is_system_call(name: &str) -> bool {
    ["runtime/internal/syscall.", "internal/runtime/syscall.", "internal/runtime/syscall/linux."]
        .iter()
        .any(|package| name.strip_prefix(package).is_some_and(|name| name.starts_with("Syscall6")))
}

/// Whether a function only wraps an atomic instruction.
pub fn wraps_atomic(name: &str) -> bool {
    ["sync/atomic.", "internal/runtime/atomic.", "runtime/internal/atomic."]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

/// Code that hashes itself at its start and must not be changed (the FIPS 140 module, from 1.24 on).
pub fn checks_itself(name: &str) -> bool {
    name.starts_with("crypto/internal/fips140/")
}
