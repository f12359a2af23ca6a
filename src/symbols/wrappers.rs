//! Which frames are only the way into a lock: `std::mutex::lock`, guards, `pthread_*`.
//!
//! The one list, used for naming locks and by renderers that fold such frames. It judges by name
//! and by file; it does not know what a function does.

use crate::model::Frame;
use crate::model::lock_class::{self, without_templates};

/// Functions by the beginning of their name. Inline namespaces (`std::__1`, `std::__cxx11`) are
/// dropped before comparing.
const PREFIXES: [&str; 45] = [
    "pthread_",
    "__pthread_",
    "___pthread_",
    "__gthread_",
    "__gthrw_",
    "mtx_",
    "cnd_",
    "sem_init",
    "sem_wait",
    "sem_trywait",
    "sem_timedwait",
    "sem_clockwait",
    "call_once",
    "std::mutex::",
    "std::timed_mutex::",
    "std::recursive_mutex::",
    "std::recursive_timed_mutex::",
    "std::shared_mutex::",
    "std::shared_timed_mutex::",
    "std::unique_lock",
    "std::shared_lock",
    "std::lock_guard",
    "std::scoped_lock",
    "std::lock",
    "std::try_lock",
    "std::call_once",
    "std::once_flag",
    "std::condition_variable",
    "std::counting_semaphore",
    "std::barrier",
    "std::latch",
    "std::sync::",
    "std::sys::",
    "parking_lot::",
    "absl::Mutex",
    "boost::mutex",
    "boost::detail::",
    "boost::unique_lock",
    "boost::lock_guard",
    "boost::shared_mutex",
    "g_mutex_",
    "g_rw_lock_",
    "g_rec_mutex_",
    "uv_mutex_",
    "apr_thread_mutex_",
];

/// Folders of C++ and Rust library headers and sources.
const LIBRARY_FOLDERS: [&str; 7] = [
    "/include/c++/",
    "/usr/lib/gcc/",
    "/include/x86_64-linux-gnu/",
    "/include/aarch64-linux-gnu/",
    "/library/std/src/",
    "/library/core/src/",
    "/lib/rustlib/",
];

/// Whether the frame is only the way into a lock: a library's own lock function or guard, or a
/// method of a class that is a lock by its name. The first frame that is not one is where the
/// program's own code asked for the lock.
pub fn is_wrapper(frame: &Frame) -> bool {
    let by_file = frame.file.as_deref().is_some_and(|file| LIBRARY_FOLDERS.iter().any(|folder| file.contains(folder)));
    by_file || frame.function.as_deref().is_some_and(is_wrapper_function)
}

fn is_wrapper_function(function: &str) -> bool {
    let name = without_templates(function).replace("::__1::", "::").replace("::__cxx11::", "::");
    if name.starts_with("std::__") || PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
        return true;
    }
    lock_class::is_method(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(function: &str, file: &str) -> Frame {
        Frame {
            function: Some(function.to_owned()),
            file: (!file.is_empty()).then(|| file.to_owned()),
            ..Frame::default()
        }
    }

    #[test]
    fn ways_into_a_lock() {
        for name in [
            "pthread_mutex_lock",
            "__gthread_mutex_lock",
            "std::mutex::lock",
            "std::__1::mutex::lock",
            "std::lock_guard<std::mutex>::lock_guard",
            "std::unique_lock<std::shared_mutex>::lock",
            "std::scoped_lock<std::mutex, std::mutex>::scoped_lock",
            "std::__shared_mutex_pthread::lock_shared",
            "rocksdb::port::Mutex::Lock",
            "rocksdb::MutexLock::MutexLock",
            "leveldb::MutexLock::~MutexLock",
            "absl::Mutex::Lock",
            "Spinlock::acquire",
        ] {
            assert!(is_wrapper(&frame(name, "")), "{name}");
        }
        assert!(is_wrapper(&frame("lock", "/usr/include/c++/12/bits/std_mutex.h")));
    }

    #[test]
    fn the_programs_own_functions() {
        for name in [
            "main",
            "make_account",
            "Cache::get",
            "Clock::wait",
            "Block::release",
            "Queue::push",
            "semantic_check",
            "lock",
            "deadlock_detector_run",
            "Account::lock",
        ] {
            assert!(!is_wrapper(&frame(name, "/home/me/app/app.cc")), "{name}");
        }
        assert!(!is_wrapper(&Frame::default()));
    }
}
