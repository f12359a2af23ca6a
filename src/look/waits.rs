//! What a thread waits for: told by the system call that it sleeps in, by the functions of libraries on its stack, and by the
//! words of the lock.

use lockprof_wire::lock_layout::{LockState, glibc};

use super::files::Files;
use super::memory::Memory;
use super::plt::called;
use super::registers::number;
use super::rust;
use super::thread::{Call, RawThread, State};
use super::unwind::Stack;
use super::wait::{FutexWait, RawState, RawWait};
use crate::model::{Kind, Mode};

/// So many frames are looked at for the function that waits.
const NEAR: usize = 24;

/// A function of libc, or of C++'s library, that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiter {
    Mutex,
    Rwlock(Mode),
    Condvar,
    Semaphore,
    Join,
    Barrier,
    Once,
    Guard,
    Spinlock,
}

/// A function's name without what glibc puts before its own uses of it (`__`, `__GI___`).
pub fn plain(symbol: &str) -> &str {
    let name = symbol.trim_start_matches('_');
    name.strip_prefix("GI_").unwrap_or(name).trim_start_matches('_')
}

/// What a function of a library waits for, by its symbol.
fn waiter(symbol: &str) -> Option<Waiter> {
    let name = plain(symbol);
    Some(match name {
        "pthread_mutex_lock"
        | "pthread_mutex_timedlock"
        | "pthread_mutex_clocklock"
        | "pthread_mutex_lock_full"
        | "pthread_mutex_cond_lock"
        | "pthread_mutex_timedlock_pi"
        | "mtx_lock"
        | "mtx_timedlock" => Waiter::Mutex,
        "pthread_rwlock_rdlock" | "pthread_rwlock_timedrdlock" | "pthread_rwlock_clockrdlock" => {
            Waiter::Rwlock(Mode::Shared)
        }
        "pthread_rwlock_wrlock" | "pthread_rwlock_timedwrlock" | "pthread_rwlock_clockwrlock" => {
            Waiter::Rwlock(Mode::Exclusive)
        }
        "pthread_cond_wait"
        | "pthread_cond_timedwait"
        | "pthread_cond_clockwait"
        | "cnd_wait"
        | "cnd_timedwait"
        | "private_cond_wait" => Waiter::Condvar,
        "pthread_join"
        | "pthread_timedjoin_np"
        | "pthread_clockjoin_np"
        | "pthread_clockjoin_ex"
        | "thrd_join"
        | "pthread_timedjoin_ex" => Waiter::Join,
        "pthread_barrier_wait" => Waiter::Barrier,
        "pthread_once" | "pthread_once_slow" | "call_once" => Waiter::Once,
        "cxa_guard_acquire" => Waiter::Guard,
        "pthread_spin_lock" => Waiter::Spinlock,
        _ if name.starts_with("sem_") || name.starts_with("new_sem_wait") => match name {
            "sem_wait" | "sem_timedwait" | "sem_clockwait" => Waiter::Semaphore,
            _ if name.contains("wait") => Waiter::Semaphore,
            _ => return None,
        },
        _ => return None,
    })
}

/// Whether a function of a library waits.
pub fn is_waiter(symbol: &str) -> bool {
    waiter(symbol).is_some()
}

/// What a thread waits for; `None` where that is nothing that is known here.
pub fn wait_of(thread: &RawThread, stack: &Stack, files: &Files<'_>, memory: &Memory<'_>) -> Option<RawWait> {
    // Threads of a Go program wait for work; its goroutines have the locks.
    if stack.frames.first().is_some_and(|frame| files.go_function(frame.inside()).is_some()) {
        return None;
    }
    let names = names(stack, files, memory);
    let first = names.iter().find_map(|name| waiter(name));
    let Some(futex) = thread.call.as_ref().and_then(FutexWait::of) else {
        let runs =
            thread.state != State::Blocked && names.first().and_then(|name| waiter(name)) == Some(Waiter::Spinlock);
        // The loop leaves its one argument alone.
        let address = thread.registers.filter(|_| runs)?.get(number::RDI)?;
        let state = match memory.half(address)? {
            1 => RawState::Free,
            _ => RawState::NotRecorded,
        };
        return Some(RawWait { kind: Kind::Spinlock, noun: "", address, mode: Mode::Exclusive, timed: false, state });
    };
    // The nearest of a library's functions says what it is: what is waited for in `std` is no lock of the code that called it.
    let of_rust = names.iter().position(|name| rust::waiter(name).is_some());
    let of_libc = names.iter().position(|name| waiter(name).is_some());
    if let Some(at) = of_rust
        && of_libc.is_none_or(|of_libc| at < of_libc)
    {
        return rust::wait(names[at], &futex, memory);
    }
    if names.iter().any(|name| name.trim_start_matches('_').starts_with("timedwait")) {
        return of_musl(first?, &futex, memory);
    }
    match first {
        Some(waiter) => of_glibc(waiter, &futex, memory),
        None if names.first() == Some(&"syscall") && is_mutex_of_rust(thread.call.as_ref()?) => {
            Some(rust::mutex(&futex, memory))
        }
        None => guessed(&futex, thread.call.as_ref()?.arguments[1], memory),
    }
}

/// The functions on a stack, innermost first: each by where it is, and as its caller calls it. A library's function that has
/// no symbol is known by the latter: it was jumped to by the one that was called.
fn names<'a>(stack: &Stack, files: &Files<'a>, memory: &Memory<'_>) -> Vec<&'a str> {
    let mut found = Vec::new();
    for (at, frame) in stack.frames.iter().take(NEAR).enumerate() {
        found.extend(files.function(frame.inside()));
        let caller = stack.frames.get(at + 1).filter(|caller| !caller.is_exact);
        let called = caller.and_then(|caller| called(caller.registers.pc(), memory));
        found.extend(called.and_then(|address| files.function(address)));
    }
    found.dedup();
    found
}

fn of_glibc(waiter: Waiter, futex: &FutexWait, memory: &Memory<'_>) -> Option<RawWait> {
    let at = futex.address;
    let wait = |kind, address, mode, state| RawWait { kind, noun: "", address, mode, timed: futex.timed, state };
    let alone = Mode::Exclusive;
    let of_mutex = |address| wait(Kind::Mutex, address, alone, held(Kind::Mutex, address, memory));
    Some(match waiter {
        Waiter::Mutex => of_mutex(at),
        // Woken, and waiting for the mutex.
        Waiter::Condvar if futex.operation != libc::FUTEX_WAIT_BITSET => of_mutex(at),
        Waiter::Condvar => wait(Kind::Condvar, condition(at, memory), alone, RawState::Nobody),
        Waiter::Rwlock(mode) => {
            // Readers wait at the third word, writers at the fourth, or the third when it is theirs next.
            let address = if at.is_multiple_of(8) { at.wrapping_sub(8) } else { at.wrapping_sub(12) };
            wait(Kind::Rwlock, address, mode, held(Kind::Rwlock, address, memory))
        }
        Waiter::Semaphore => wait(Kind::Semaphore, at & !3, alone, RawState::Nobody),
        Waiter::Join => wait(Kind::Join, at, alone, joined(at, memory)),
        Waiter::Barrier => wait(Kind::Barrier, at & !7, alone, RawState::Nobody),
        Waiter::Once => wait(Kind::Once, at & !3, alone, RawState::NotRecorded),
        Waiter::Guard => RawWait { noun: "C++ static", ..wait(Kind::Once, at & !3, alone, RawState::NotRecorded) },
        Waiter::Spinlock => return None,
    })
}

/// What glibc's lock says of who has it.
fn held(kind: Kind, address: u64, memory: &Memory<'_>) -> RawState {
    let Some(words) = memory.halves(address, glibc::size(kind) as usize / 4) else { return RawState::NotRecorded };
    let word = |number: usize| words.get(number).copied().unwrap_or(0);
    match glibc::holder(kind, word) {
        LockState::HeldBy(owner) => RawState::Thread(owner),
        LockState::Free => RawState::Free,
        _ if kind == Kind::Rwlock && glibc::readers(word) > 0 => RawState::Readers(glibc::readers(word)),
        _ => RawState::NotRecorded,
    }
}

/// The joined thread's kernel id is the word itself; 0 once it has ended.
fn joined(address: u64, memory: &Memory<'_>) -> RawState {
    match memory.half(address) {
        Some(0) => RawState::Free,
        Some(tid) => RawState::Thread(tid),
        None => RawState::NotRecorded,
    }
}

/// A condition's address, by the word in it that is waited at: of the two for its groups, behind the number of waiters. They
/// are words 10 and 11 up to 2.41, and 8 and 9 since the group's references were dropped.
fn condition(at: u64, memory: &Memory<'_>) -> u64 {
    let group = at.wrapping_sub(40) / 4 % 2;
    let old = at.wrapping_sub(40 + 4 * group);
    let waiters = memory.half(old.wrapping_add(36)).unwrap_or(0) >> 3;
    let references = memory.half(old.wrapping_add(16 + 4 * group)).unwrap_or(0) >> 1;
    if (1..=waiters).contains(&references) { old } else { old.wrapping_add(8) }
}

/// musl's mutex: the second word has the owner's id.
fn of_musl(waiter: Waiter, futex: &FutexWait, memory: &Memory<'_>) -> Option<RawWait> {
    const ID: u32 = 0x3fff_ffff;
    let wait = |kind, address, mode, state| RawWait { kind, noun: "", address, mode, timed: futex.timed, state };
    let at = futex.address;
    let alone = Mode::Exclusive;
    Some(match waiter {
        Waiter::Mutex => {
            let state = match memory.half(at)? & ID {
                0 => RawState::Free,
                // The plain type does not name its owner.
                16 => RawState::NotRecorded,
                owner => RawState::Thread(owner),
            };
            wait(Kind::Mutex, at.wrapping_sub(4), alone, state)
        }
        Waiter::Rwlock(mode) => {
            let state = match memory.half(at)? & 0x7fff_ffff {
                0 => RawState::Free,
                0x7fff_ffff => RawState::NotRecorded,
                readers => RawState::Readers(readers),
            };
            wait(Kind::Rwlock, at, mode, state)
        }
        Waiter::Condvar => wait(Kind::Condvar, at, alone, RawState::Nobody),
        Waiter::Semaphore => wait(Kind::Semaphore, at, alone, RawState::Nobody),
        Waiter::Barrier => wait(Kind::Barrier, at, alone, RawState::Nobody),
        Waiter::Join => wait(Kind::Join, at, alone, RawState::Nobody),
        Waiter::Once | Waiter::Guard => wait(Kind::Once, at, alone, RawState::NotRecorded),
        Waiter::Spinlock => return None,
    })
}

/// Without symbols: `std` calls libc's `syscall`, and waits for a mutex in this way only.
fn is_mutex_of_rust(call: &Call) -> bool {
    const TAKEN_AND_WAITED_FOR: u64 = 2;
    let operation = libc::FUTEX_WAIT_BITSET | libc::FUTEX_PRIVATE_FLAG;
    call.arguments[1] == operation as u64 && call.arguments[2] == TAKEN_AND_WAITED_FOR
}

/// Without symbols: only what the words allow no doubt of.
fn guessed(futex: &FutexWait, operation: u64, memory: &Memory<'_>) -> Option<RawWait> {
    /// Of the type and the options of a mutex.
    const MOST_TYPE: u32 = 0x3ff;
    let is_shared = operation as i32 & libc::FUTEX_PRIVATE_FLAG == 0;
    if futex.operation == libc::FUTEX_WAIT_BITSET && is_shared {
        let state = joined(futex.address, memory);
        return Some(RawWait {
            kind: Kind::Join,
            noun: "",
            address: futex.address,
            mode: Mode::Exclusive,
            timed: futex.timed,
            state,
        });
    }
    if matches!(futex.operation, libc::FUTEX_WAIT | libc::FUTEX_LOCK_PI) && futex.address.is_multiple_of(8) {
        let words = memory.halves(futex.address, 5)?;
        let is_one = words[0] != 0 && words[2] > 1 && words[2] < 1 << 22 && words[3] > 0 && words[4] <= MOST_TYPE;
        return is_one.then(|| of_glibc(Waiter::Mutex, futex, memory)).flatten();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_that_wait() {
        for (symbol, waits) in [
            ("___pthread_mutex_lock", Waiter::Mutex),
            ("__GI___pthread_mutex_lock", Waiter::Mutex),
            ("pthread_rwlock_rdlock", Waiter::Rwlock(Mode::Shared)),
            ("__pthread_clockjoin_ex", Waiter::Join),
            ("__new_sem_wait_slow64.constprop.0", Waiter::Semaphore),
            ("__cxa_guard_acquire", Waiter::Guard),
            ("__pthread_cond_wait", Waiter::Condvar),
        ] {
            assert_eq!(waiter(symbol), Some(waits), "{symbol}");
        }
        for symbol in ["sem_post", "pthread_mutex_unlock", "main", "semantics_wait"] {
            assert_eq!(waiter(symbol), None, "{symbol}");
        }
    }
}
