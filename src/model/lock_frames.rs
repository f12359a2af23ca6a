//! Which frames are only the way into a lock: `std::mutex::lock`, guards, `pthread_*`, the start of a thread.
//!
//! The one list. Naming looks for the first frame that is not in it, fingerprints are made of that frame, and people's
//! views skip or dim the others; JSON and the trace keep every frame. A frame is judged by the file that holds its
//! code, by its source file and by its name; what a function does is not known here. Functions of the program's own
//! that lock what their callers hand them are found by what they did: see `analysis::own_wrappers`.

use super::frame::Frame;
use super::ids::StackId;
use super::lock_class;
use super::stacks::{Module, Node, Stacks};

/// Functions by the beginning of their qualified name.
const PREFIXES: &[&str] = &[
    "std::",
    "core::",
    "alloc::",
    "__gnu_cxx::",
    "__gthread",
    "__gthrw_",
    "__glibcxx_",
    "__invoke",
    "pthread_",
    "__pthread_",
    "___pthread_",
    "sem_init",
    "sem_wait",
    "sem_trywait",
    "sem_timedwait",
    "sem_clockwait",
    "lock_api::",
    "parking_lot::",
    "parking_lot_core::",
    "boost::mutex",
    "boost::shared_mutex",
    "boost::unique_lock",
    "boost::shared_lock",
    "boost::lock_guard",
    "boost::detail::",
    "boost::thread",
    "absl::Mutex",
    "absl::MutexLock",
    "absl::ReaderMutexLock",
    "absl::WriterMutexLock",
    "g_mutex_",
    "g_rw_lock_",
    "g_rec_mutex_",
    "g_static_mutex_",
    "g_cond_",
    "uv_mutex_",
    "uv_rwlock_",
    "uv_cond_",
    "uv_sem_",
    "apr_thread_mutex_",
    "apr_thread_rwlock_",
    "__libc_start",
    "__rust_",
    // Go.
    "sync.",
    "sync/atomic.",
    "internal/sync.",
    "internal/runtime/",
    "internal/race.",
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
    "thread_start",
    "thread_proxy",
    "g_thread_proxy",
    "uv__thread_start",
    "mtx_init",
    "mtx_lock",
    "mtx_trylock",
    "mtx_timedlock",
    "mtx_unlock",
    "mtx_destroy",
    "cnd_init",
    "cnd_wait",
    "cnd_timedwait",
    "call_once",
    "thrd_start",
    "__cxa_guard_acquire",
];

/// Folders of the headers and sources of C++'s and Rust's libraries.
const FOLDERS: &[&str] = &[
    "/include/c++/",
    "/usr/lib/gcc/",
    "/include/x86_64-linux-gnu/",
    "/include/aarch64-linux-gnu/",
    "/library/std/src/",
    "/library/core/src/",
    "/library/alloc/src/",
    "/lib/rustlib/",
];

/// Files whose code only starts threads and passes locks on, by their name up to a version.
const MODULES: &[&str] = &["libc", "libpthread", "libstdc++", "libc++", "libc++abi", "libgcc_s", "ld-linux-x86-64"];

/// Whether the frame belongs to a locking or threading library, not to the program. `node` is where it stands.
pub fn is_library(stacks: &Stacks, node: &Node, frame: &Frame) -> bool {
    let module = node.address.module.and_then(|module| stacks.modules.get(module.index()));
    is_library_frame(frame)
        || module.is_some_and(is_library_module)
        || frame.function.as_ref().is_some_and(|name| stacks.wrappers.contains(name))
}

/// The frames of a stack that are the program's own, innermost first, each with where it stands.
pub fn own_frames(stacks: &Stacks, stack: StackId) -> impl Iterator<Item = (&Node, &Frame)> {
    let all = stacks.walk(stack).flat_map(|node| node.frames.iter().map(move |frame| (node, frame)));
    all.filter(|(node, frame)| !is_library(stacks, node, frame))
}

/// Whether Go code is on a stack: then it is one of a goroutine.
pub fn is_go(stacks: &Stacks, stack: StackId) -> bool {
    let mut frames = own_frames(stacks, stack);
    frames.next().is_some_and(|(_, frame)| frame.file.as_deref().is_some_and(|file| file.ends_with(".go")))
}

/// The same, as far as the frame alone tells it.
pub fn is_library_frame(frame: &Frame) -> bool {
    let by_file = frame.file.as_deref().is_some_and(|file| FOLDERS.iter().any(|folder| file.contains(folder)));
    by_file || frame.function.as_deref().is_some_and(is_library_name)
}

fn is_library_name(name: &str) -> bool {
    let path = qualified_path(name);
    let bare = &name[..name.find('(').unwrap_or(name.len())];
    NAMES.contains(&path) || PREFIXES.iter().any(|prefix| path.starts_with(prefix)) || lock_class::is_method(bare)
}

fn is_library_module(module: &Module) -> bool {
    let Some((stem, _)) = module.name().split_once(".so") else { return false };
    // glibc's own files once were called `libc-2.31.so`.
    let stem = stem.split_once("-2.").map_or(stem, |(stem, _)| stem);
    MODULES.contains(&stem)
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
    use crate::model::{CodeAddress, ModuleId, StackId};

    fn frame(function: &str, file: &str) -> Frame {
        Frame {
            function: (!function.is_empty()).then(|| function.to_owned()),
            file: (!file.is_empty()).then(|| file.to_owned()),
            ..Frame::default()
        }
    }

    #[test]
    fn libraries_are_told_by_their_names() {
        for name in [
            "std::mutex::lock()",
            "std::__1::mutex::lock",
            "std::lock_guard<std::mutex>::lock_guard(std::mutex&)",
            "std::scoped_lock<std::mutex, std::mutex>::scoped_lock",
            "std::__shared_mutex_pthread::lock_shared",
            "void std::__invoke_impl<void, void (*)()>(std::__invoke_other, void (*&&)())",
            "__glibcxx_rwlock_rdlock",
            "__invoke_impl<void, main()::{lambda()#1}>",
            "pthread_mutex_lock",
            "__gthread_mutex_lock(pthread_mutex_t*)",
            "std::sync::poison::mutex::Mutex<T>::lock",
            "<std::sync::poison::mutex::Mutex<i32>>::lock",
            "<alloc::boxed::Box<F,A> as core::ops::function::FnOnce<Args>>::call_once",
            "core::ops::function::FnOnce::call_once{{vtable.shim}}",
            "start_thread",
            "clone3",
            "__libc_start_call_main",
            "sync.(*RWMutex).Unlock",
            "internal/sync.(*Mutex).Lock",
            "sync/atomic.(*Int32).Add",
            "runtime.chanrecv1",
            "g_mutex_lock",
            "uv_mutex_lock",
            "rocksdb::port::Mutex::Lock()",
            "rocksdb::MutexLock::MutexLock",
            "leveldb::MutexLock::~MutexLock",
            "rocksdb::InstrumentedMutexLock::InstrumentedMutexLock(rocksdb::InstrumentedMutex*)",
            "absl::Mutex::Lock",
            "Spinlock::acquire",
        ] {
            assert!(is_library_frame(&frame(name, "")), "{name}");
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
            "Block::release",
            "semantic_check",
            "lock",
            "deadlock_detector_run",
        ] {
            assert!(!is_library_frame(&frame(name, "/home/me/app/app.cc")), "{name}");
        }
        assert!(!is_library_frame(&Frame::default()));
    }

    #[test]
    fn and_by_where_their_code_lies() {
        for file in ["/usr/include/c++/12/bits/std_mutex.h", "/rustc/0f1e2d/library/std/src/rt.rs"] {
            assert!(is_library_frame(&frame("lock", file)), "{file}");
        }
        let mut stacks = Stacks::default();
        for (path, want) in [
            ("/lib/x86_64-linux-gnu/libc.so.6", true),
            ("/lib/libpthread-2.31.so", true),
            ("/usr/lib/libstdc++.so.6.0.30", true),
            ("/lib64/ld-linux-x86-64.so.2", true),
            ("/opt/app/libcache.so.1", false),
            ("/opt/app/libc-client.so.2007", false),
            ("/opt/app/server", false),
        ] {
            let module = stacks.intern_module(&Module { path: path.to_owned(), build_id: Vec::new() });
            let id = stacks.intern(Stacks::UNKNOWN, CodeAddress { module: Some(module), address: 1 });
            assert_eq!(is_library(&stacks, stacks.node(id), &Frame::default()), want, "{path}");
        }
        stacks.wrappers.insert("take_it".to_owned());
        let id = stacks.intern(StackId(0), CodeAddress { module: Some(ModuleId(6)), address: 2 });
        assert!(is_library(&stacks, stacks.node(id), &frame("take_it", "")));
    }
}
