//! Which frames say nothing about the program: the locking library's own and the threads' start.
//!
//! People's views skip or dim them; JSON and the trace keep every frame.

use crate::model::{Frame, lock_class};

/// Beginnings of the names of functions that only pass a lock request or a thread's start on.
const PREFIXES: &[&str] = &[
    "std::",
    "core::",
    "alloc::",
    "__gnu_cxx::",
    "__gthread",
    "__gthrw_",
    "pthread_",
    "__pthread_",
    "___pthread_",
    "lock_api::",
    "parking_lot::",
    "parking_lot_core::",
    "boost::mutex",
    "boost::unique_lock",
    "boost::lock_guard",
    "boost::thread",
    "absl::Mutex",
    "absl::MutexLock",
    "absl::ReaderMutexLock",
    "absl::WriterMutexLock",
    "__libc_start",
    "__rust_",
    // Go.
    "sync.",
    "runtime.",
];

/// The same, by the whole name.
const NAMES: &[&str] = &[
    "_start",
    "start_thread",
    "clone",
    "clone3",
    "__clone",
    "__clone3",
    "__clone_internal",
    "execute_native_thread_routine",
    "mtx_lock",
    "mtx_trylock",
    "mtx_timedlock",
    "cnd_wait",
    "cnd_timedwait",
    "call_once",
    "thrd_start",
    "sem_wait",
    "sem_timedwait",
    "__cxa_guard_acquire",
];

/// Whether the frame belongs to a locking or threading library, not to the program.
pub fn is_wrapper(frame: &Frame) -> bool {
    frame.function.as_deref().is_some_and(is_wrapper_name)
}

/// The same for a demangled name.
pub fn is_wrapper_name(name: &str) -> bool {
    let path = qualified_path(name);
    let bare = &name[..name.find('(').unwrap_or(name.len())];
    NAMES.contains(&path) || PREFIXES.iter().any(|prefix| path.starts_with(prefix)) || lock_class::is_method(bare)
}

/// The name up to its template and function arguments, without a return type (C++ demanglers write
/// one before template functions) and without the `<` of Rust's `<T as Trait>::f`.
fn qualified_path(name: &str) -> &str {
    let name = name.trim_start_matches(['<', '&']);
    let end = name.find(['<', '(']).unwrap_or(name.len());
    let head = name[..end].trim_end();
    // Rust's `T as Trait` is about T.
    let head = head.split(" as ").next().unwrap_or(head);
    head.rsplit(' ').next().unwrap_or(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_wrappers_and_programs_are_not() {
        for name in [
            "std::mutex::lock()",
            "std::lock_guard<std::mutex>::lock_guard(std::mutex&)",
            "void std::__invoke_impl<void, void (*)()>(std::__invoke_other, void (*&&)())",
            "__gthread_mutex_lock(pthread_mutex_t*)",
            "std::sync::poison::mutex::Mutex<T>::lock",
            "<std::sync::poison::mutex::Mutex<i32>>::lock",
            "<alloc::boxed::Box<F,A> as core::ops::function::FnOnce<Args>>::call_once",
            "start_thread",
            "clone3",
            "__libc_start_call_main",
            "core::ops::function::FnOnce::call_once{{vtable.shim}}",
            "sync.(*RWMutex).Unlock",
            "runtime.chanrecv1",
            "rocksdb::port::Mutex::Lock()",
            "rocksdb::InstrumentedMutexLock::InstrumentedMutexLock(rocksdb::InstrumentedMutex*)",
        ] {
            assert!(is_wrapper_name(name), "{name}");
        }
        for name in [
            "main",
            "worker(void*)",
            "Journal::append(std::string const&)",
            "std_helper",
            "main.(*cache).put",
            "synchronise",
            "<journal::Writer as std::io::Write>::write",
            "cloned",
            "Clock::wait()",
            "Account::lock()",
            "void run<std::mutex>(std::mutex&)",
        ] {
            assert!(!is_wrapper_name(name), "{name}");
        }
        assert!(!is_wrapper(&Frame::default()));
    }
}
