//! What a mangled name means to the finder.

use std::borrow::Cow;

use super::super::table::Atomic;
use super::operations::{BLOCKING, COLD_PATHS, ColdPath};

/// A function that means something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// A slow path.
    Cold(&'static ColdPath),
    /// A function in which threads wait, or are woken.
    Blocks(&'static ColdPath),
    /// An atomic that was not inlined, as in unoptimised builds: the word's address, what is expected, what is put there.
    Atomic(Atomic),
    /// A loop around such an atomic, that is called with what changes the word.
    Update,
    /// It looks into the result of such an atomic, and calls nothing that counts.
    Result,
    /// `syscall` of libc.
    SystemCall,
}

/// Parts of mangled names without which a name means nothing: most need no demangling then.
const MARKS: [&str; 14] = [
    "Condvar",
    "4Once",
    "7Barrier",
    "_contended",
    "wake",
    "_slow",
    "compare_exchange",
    "swap",
    "fetch_",
    "try_update",
    "atomic_sub",
    "atomic_add",
    "is_err",
    "is_ok",
];

/// What a symbol's name means.
pub fn known(symbol: &str) -> Option<Known> {
    if symbol == "syscall" {
        return Some(Known::SystemCall);
    }
    if !MARKS.iter().any(|mark| symbol.contains(mark)) {
        return None;
    }
    let path = path(symbol)?;
    if path.starts_with("core::result::Result") {
        return Some(Known::Result);
    }
    if let Some(rest) = path.strip_prefix("core::sync::atomic::") {
        if ["fetch_update", "try_update"].iter().any(|name| rest.ends_with(name)) {
            return ["AtomicU32", "Atomic<u32>"].iter().any(|owner| rest.contains(owner)).then_some(Known::Update);
        }
        return atomic(rest).map(Known::Atomic);
    }
    // Closures have a longer path.
    let (crate_name, _) = path.split_once("::")?;
    let is_public = crate_name == "std" && !path.starts_with("std::sys");
    let mut segments = path.rsplitn(3, "::");
    let (function, owner) = (segments.next()?, segments.next()?);
    let is_it =
        |cold: &&ColdPath| cold.function.split_once("::") == Some((owner, function)) && crate_name == cold.crate_name;
    // What is woken by has no other function below it where that was inlined.
    if is_public && !(owner == "Condvar" && function.starts_with("notify")) && owner != "Barrier" {
        return None;
    }
    let blocking = || BLOCKING.iter().find(is_it).map(Known::Blocks);
    COLD_PATHS.iter().find(is_it).map(Known::Cold).or_else(blocking)
}

fn atomic(path: &str) -> Option<Atomic> {
    // `atomic_swap`, `AtomicU32::swap`, `Atomic<u32>::swap`.
    let name = path.rsplit("::").next()?;
    let name = name.strip_prefix("atomic_").unwrap_or(name);
    match name {
        "compare_exchange" | "compare_exchange_weak" => Some(Atomic::CompareExchange),
        "swap" => Some(Atomic::Exchange),
        "sub" | "add" | "fetch_sub" | "fetch_add" => Some(Atomic::ExchangeAdd),
        _ => None,
    }
}

/// The path of a function of Rust, without the hash, generic arguments and brackets; `None` for other languages' symbols.
pub fn path(symbol: &str) -> Option<Cow<'static, str>> {
    let name = format!("{:#}", rustc_demangle::try_demangle(symbol).ok()?);
    // `<std::sys::…::Mutex>::wake`: an inherent function in v0.
    let name = match name.strip_prefix('<').and_then(|rest| rest.split_once(">::")) {
        Some((owner, function)) if !owner.contains(" as ") => format!("{owner}::{function}"),
        _ => name,
    };
    let end = if name.ends_with('>') { name.rfind("::<").unwrap_or(name.len()) } else { name.len() };
    Some(Cow::Owned(name[..end].to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_paths_of_all_versions_and_manglings() {
        for (symbol, function) in [
            ("_ZN3std3sys4sync5mutex5futex5Mutex14lock_contended17h0f0a94e99b717832E", "Mutex::lock_contended"),
            ("_ZN3std3sys4unix5locks11futex_mutex5Mutex14lock_contended17h0f0a94e99b717832E", "Mutex::lock_contended"),
            (
                "_RNvMNtNtNtNtCsjrHSEGnQ3l9_3std3sys4sync5mutex5futexNtB2_5Mutex14lock_contended",
                "Mutex::lock_contended",
            ),
            ("_ZN11parking_lot9raw_mutex8RawMutex9lock_slow17h0f0a94e99b717832E", "RawMutex::lock_slow"),
            (
                "_ZN11parking_lot10raw_rwlock9RawRwLock18unlock_shared_slow17h0f0a94e99b717832E",
                "RawRwLock::unlock_shared_slow",
            ),
            ("_ZN7dashmap4lock9RawRwLock16lock_shared_slow17h0f0a94e99b717832E", "RawRwLock::lock_shared_slow"),
        ] {
            let found = match known(symbol) {
                Some(Known::Cold(cold)) => cold.function,
                other => panic!("{symbol}: {other:?}"),
            };
            assert_eq!(found, function);
        }
        for other in [
            "_ZN5Mutex14lock_contendedEP6Thread",
            "_ZN3own3sys5Mutex14lock_contended17h0f0a94e99b717832E",
            "_ZN16parking_lot_core9word_lock8WordLock9lock_slow17h0f0a94e99b717832E",
            "_ZN11parking_lot9raw_mutex8RawMutex9lock_slow28_$u7b$$u7b$closure$u7d$$u7d$17h0f0a94e99b717832E",
        ] {
            assert_eq!(known(other), None, "{other}");
        }
    }

    #[test]
    fn atomics_that_are_calls() {
        for (symbol, atomic) in [
            ("_ZN4core4sync6atomic23atomic_compare_exchange17h0f0a94e99b717832E", Atomic::CompareExchange),
            ("_ZN4core4sync6atomic9AtomicU324swap17h0f0a94e99b717832E", Atomic::Exchange),
            ("_ZN4core4sync6atomic10atomic_sub17h0f0a94e99b717832E", Atomic::ExchangeAdd),
        ] {
            assert_eq!(known(symbol), Some(Known::Atomic(atomic)), "{symbol}");
        }
        assert_eq!(known("syscall"), Some(Known::SystemCall));
        assert_eq!(known("_ZN4core6result19Result$LT$T$C$E$GT$6is_err17h0f0a94e99b717832E"), Some(Known::Result));
    }
}
