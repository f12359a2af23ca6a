//! Programs and libraries that bring locks of their own, past libc: those cannot be recorded, so a recording without them
//! must not call itself complete.
//!
//! A lock that does not go through libc has a function for the thread that has to wait, and nothing else has a function of
//! that name. So a file is searched for such names: in its symbols, in Go's own table of functions (which stays when the
//! symbols are stripped), in what it exports and imports, and for Rust in the paths that its standard library always leaves.
//! Where no such name is left, the code is searched for calls of `futex`. Libraries that use it for something else than
//! locks of a program (C++'s `std::future`, the sanitizers) are left out.

mod futex;

use memchr::{memchr, memmem, memrchr};
use object::{File, Object, ObjectSection, ObjectSymbol};
use rustc_hash::{FxHashMap, FxHashSet};

use self::futex::calls_futex;
use super::elf::{self, Located};
use crate::model::{Coverage, Module, ProcessId, Session};

/// A kind of lock: what people call it, and what gives it away.
struct Family {
    name: &'static str,
    sign: Sign,
}

enum Sign {
    /// Bytes in sections, where what stands around them (the section and where in it they are) agrees.
    Bytes {
        sections: &'static [&'static str],
        marks: &'static [&'static [u8]],
        agrees: fn(&[u8], usize) -> bool,
    },
    Exports(&'static [&'static str]),
    Imports(&'static [&'static str]),
    /// Code that asks the kernel for `futex` itself. Only looked for where nothing else was found.
    FutexCalls,
}

const NAMES: &[&str] = &[".strtab", ".dynstr"];

const fn named(name: &'static str, marks: &'static [&'static [u8]]) -> Family {
    Family { name, sign: Sign::Bytes { sections: NAMES, marks, agrees: |_, _| true } }
}

const FAMILIES: &[Family] = &[
    // `std::sys::sync::{mutex,rwlock}::futex`, and where they were in older versions.
    Family {
        name: RUST,
        sign: Sign::Bytes {
            sections: NAMES,
            marks: &[b"14lock_contended", b"14read_contended", b"15write_contended"],
            agrees: in_name_of_std,
        },
    },
    // Stripped: the paths in its panics. Every program with the standard library has its locks.
    Family {
        name: RUST,
        sign: Sign::Bytes { sections: &[".rodata"], marks: &[STD_SOURCES], agrees: is_source_of_std },
    },
    named(PARKING_LOT, &[b"RawMutex9lock_slow", b"RawRwLock16lock_shared_slow", b"RawRwLock19lock_exclusive_slow"]),
    Family {
        name: "Go's sync",
        sign: Sign::Bytes {
            sections: &[".strtab", ".gopclntab", ".data.rel.ro.gopclntab", ".data.rel.ro"],
            marks: &[b"sync.(*Mutex).lockSlow", b"sync.(*RWMutex).rUnlockSlow"],
            agrees: |_, _| true,
        },
    },
    named("absl::Mutex", &[b"5Mutex8LockSlowE", b"AbslInternalPerThreadSemWait"]),
    named("folly's locks", &[b"5folly15SharedMutexImpl", b"5folly9MicroLock"]),
    named("WebKit's WTF::Lock", &[b"3WTF4Lock8lockSlow", b"3WTF8WordLock8lockSlow", b"3WTF17LockAlgorithm"]),
    named(JAVA, &[b"13ObjectMonitor5enter"]),
    // Stripped.
    Family { name: JAVA, sign: Sign::Exports(&["JVM_MonitorWait"]) },
    named("Python's PyMutex", &[b"PyMutex_LockSlow", b"PyMutex_LockTimed"]),
    // The OpenMP library is in programs without any of these as well.
    Family {
        name: "OpenMP's locks",
        sign: Sign::Imports(&[
            "GOMP_critical_start",
            "GOMP_critical_name_start",
            "__kmpc_critical",
            "__kmpc_critical_with_hint",
            "omp_set_lock",
            "omp_set_nest_lock",
        ]),
    },
    Family { name: "glib's GMutex", sign: Sign::Exports(&["g_mutex_lock"]) },
    Family {
        name: "Qt's QMutex",
        sign: Sign::Exports(&["_ZN6QMutex12lockInternalEv", "_ZN11QBasicMutex12lockInternalEv"]),
    },
    Family { name: "futexes used directly", sign: Sign::FutexCalls },
];

const JAVA: &str = "Java's monitors";
const RUST: &str = "Rust's std::sync";
const PARKING_LOT: &str = "parking_lot";

const STD_SOURCES: &[u8] = b"library/std/src/";
/// The sources of its locks, and of what is built upon them, in all its versions.
const LOCKING_SOURCES: &[&[u8]] =
    &[b"sync/", b"sys/sync/", b"sys/unix/locks/", b"sys/pal/unix/locks/", b"sys_common/", b"thread/"];

/// What the recorder's own libraries export: the shim, and the second unwinder of its tests.
const RECORDER: &[&str] = &["lockprof_oracle_backtrace", "lockprof_set_name"];

/// What the libraries export that call `futex` for something that is no lock of their users: libc and the dynamic loader,
/// C++'s (`std::future`, `std::atomic::wait`), OpenMP's (a family above), the transactional memory's, the sanitizers', and allocators: the
/// locks of libc's own allocator are not reported either.
const RUNTIMES: &[&str] = &[
    "__libc_start_main",
    "_rtld_global",
    "_ZNSt28__atomic_futex_unsigned_base19_M_futex_notify_allEPj",
    "GOMP_parallel",
    "__kmpc_fork_call",
    "_ITM_beginTransaction",
    "__sanitizer_acquire_crash_state",
    "malloc",
];

/// Mangled names are no longer than this before the function's own.
const LONGEST_PREFIX: usize = 1000;

/// Notes about programs and libraries with locks of their own. `loaded`: which process had which file, and whether its locks
/// of Rust were recorded. What only processes with a single thread had is left out: nobody waits there, and no order of locks
/// can deadlock.
pub fn unseen(session: &Session, loaded: &[(ProcessId, Module, bool)]) -> Vec<String> {
    let mut known: FxHashMap<&Module, Vec<&'static str>> = FxHashMap::default();
    let mut notes = Vec::new();
    for (process, module, is_rust_seen) in loaded {
        let Some(process) = session.processes.get(process.index()).filter(|process| process.threads > 1) else {
            continue;
        };
        let found = known.entry(module).or_insert_with(|| of_module(module));
        let found: Vec<&str> = found.iter().copied().filter(|name| !(*is_rust_seen && is_rusts(name))).collect();
        if found.is_empty() {
            continue;
        }
        let what = if module.path == process.exe { "the program" } else { "the library" };
        let note = Coverage::in_part(&format!(
            "{what} {} has locks of its own ({}), which do not go through libc: they were not recorded",
            module.name(),
            found.join(", ")
        ));
        if !notes.contains(&note) {
            notes.push(note);
        }
    }
    notes
}

/// Whether it is one of those that are recorded in Rust programs that are patched.
pub fn is_rusts(name: &str) -> bool {
    [RUST, PARKING_LOT].contains(&name)
}

/// What people call the locks of a file's own.
pub fn of_module(module: &Module) -> Vec<&'static str> {
    match elf::locate(module) {
        Ok(Some(located)) => of_files(&located),
        // A file that cannot be read is told where its functions are named.
        _ => Vec::new(),
    }
}

fn of_files(located: &Located) -> Vec<&'static str> {
    let mut found: Vec<&'static str> = Vec::new();
    for binary in located.files() {
        let Ok(file) = binary.parse() else { continue };
        let dynamic = Dynamic::of(&file);
        if RECORDER.iter().any(|name| dynamic.exports.contains(name.as_bytes())) {
            return Vec::new();
        }
        for family in FAMILIES {
            let asked = !matches!(family.sign, Sign::FutexCalls) || found.is_empty();
            if asked && !found.contains(&family.name) && has(&file, &dynamic, &family.sign) {
                found.push(family.name);
            }
        }
    }
    found
}

/// Of a file's dynamic symbols, those that count here.
struct Dynamic<'a> {
    exports: FxHashSet<&'a [u8]>,
    imports: FxHashSet<&'a [u8]>,
}

impl<'a> Dynamic<'a> {
    fn of(file: &'a File<'_>) -> Self {
        let mut dynamic = Self { exports: FxHashSet::default(), imports: FxHashSet::default() };
        for symbol in file.dynamic_symbols() {
            if let Ok(name) = symbol.name_bytes() {
                let names = if symbol.is_undefined() { &mut dynamic.imports } else { &mut dynamic.exports };
                names.insert(name);
            }
        }
        dynamic
    }
}

fn has(file: &File<'_>, dynamic: &Dynamic<'_>, sign: &Sign) -> bool {
    match sign {
        Sign::Exports(names) => names.iter().any(|name| dynamic.exports.contains(name.as_bytes())),
        Sign::Imports(names) => names.iter().any(|name| dynamic.imports.contains(name.as_bytes())),
        Sign::Bytes { sections, marks, agrees } => sections.iter().any(|section| {
            let data = file.section_by_name(section).and_then(|section| section.data().ok()).unwrap_or_default();
            marks.iter().any(|mark| memmem::find_iter(data, mark).any(|at| agrees(data, at)))
        }),
        Sign::FutexCalls => !RUNTIMES.iter().any(|name| dynamic.exports.contains(name.as_bytes())) && calls_futex(file),
    }
}

/// Whether what is found there in a table of names is in one of the standard library of Rust, in either way of mangling:
/// other languages have functions that are called the same.
fn in_name_of_std(names: &[u8], at: usize) -> bool {
    let before = &names[at.saturating_sub(LONGEST_PREFIX)..at];
    let name = memrchr(0, before).map_or(before, |end| &before[end + 1..]);
    (name.starts_with(b"_ZN") || name.starts_with(b"_R")) && memmem::find(name, b"3std3sys").is_some()
}

/// Whether the path found there is that of a source with locks. What is before it depends on who built the library, and on
/// what the linker has put there.
fn is_source_of_std(texts: &[u8], at: usize) -> bool {
    let path = &texts[at + STD_SOURCES.len()..];
    let end = memchr(b'.', &path[..path.len().min(LONGEST_PREFIX)]).unwrap_or(0);
    let is_path =
        path[..end].iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_/".contains(byte));
    is_path && path[end..].starts_with(b".rs") && LOCKING_SOURCES.iter().any(|source| path.starts_with(source))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tests are a Rust program with threads, and libc is none.
    #[test]
    fn the_tests_themselves_have_locks_of_their_own() {
        let own = std::env::current_exe().unwrap().to_string_lossy().into_owned();
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let libc = maps.lines().find_map(|line| line.find('/').map(|at| &line[at..]).filter(|p| p.contains("libc.so")));
        let module = |path: &str| Module { path: path.to_owned(), build_id: Vec::new() };
        assert!(of_module(&module(&own)).contains(&RUST));
        assert_eq!(of_module(&module(libc.expect("libc"))), Vec::<&str>::new());
        let mut session = Session::default();
        session.processes.push(crate::model::Process {
            pid: 1,
            parent_pid: 0,
            exe: own.clone(),
            exit: None,
            threads: 1,
        });
        let loaded = [false, false].map(|is_rust_seen| (ProcessId::from(0), module(&own), is_rust_seen));
        assert_eq!(unseen(&session, &loaded), Vec::<String>::new(), "one thread waits for nobody");
        session.processes[0].threads = 2;
        assert_eq!(unseen(&session, &[(ProcessId::from(0), module(&own), true)]), Vec::<String>::new());
        let notes = unseen(&session, &loaded);
        assert_eq!(notes.len(), 1);
        session.coverage.notes = notes;
        assert!(!session.coverage.complete());
        let what = session.coverage.not_seen().next().unwrap();
        assert!(what.starts_with("the program ") && what.contains(RUST), "{what}");
    }

    #[test]
    fn a_name_of_rusts_is_no_other_languages() {
        let found = |names: &str| {
            let mark = &b"14lock_contended"[..];
            memmem::find_iter(names.as_bytes(), mark).any(|at| in_name_of_std(names.as_bytes(), at))
        };
        for rust in [
            "_ZN3std3sys4sync5mutex5futex5Mutex14lock_contended17h0f0a94e99b717832E",
            "_ZN3std3sys4unix5locks11futex_mutex5Mutex14lock_contended17h0f0a94e99b717832E",
            "_RNvMNtNtNtNtCsjrHSEGnQ3l9_3std3sys4sync5mutex5futexNtB2_5Mutex14lock_contended",
        ] {
            assert!(found(rust) && found(&format!("\0main\0{rust}\0")), "{rust}");
        }
        for other in [
            // The Java virtual machine's.
            "_ZN5Mutex14lock_contendedEP6Thread",
            "_ZN3std3sys4sync5mutex3newE\0_ZN5Mutex14lock_contendedEP6Thread",
            "3std3sys14lock_contended",
        ] {
            assert!(!found(other), "{other}");
        }
    }

    #[test]
    fn a_source_of_rusts_is_more_than_a_word() {
        let found = |text: &str| {
            memmem::find_iter(text.as_bytes(), STD_SOURCES).any(|at| is_source_of_std(text.as_bytes(), at))
        };
        for rust in [
            "/rustc/59807616e1fa2540724bfbac14d7976d7e4a3860/library/std/src/sys/sync/rwlock/futex.rs",
            "after destruction/usr/src/rustc-1.63.0/library/std/src/thread/local.rscalled",
            "library/std/src/sys/unix/locks/futex_rwlock.rs",
        ] {
            assert!(found(rust), "{rust}");
        }
        let others = ["library/std/src/", "see library/std/src/sync/ and others.rs", "library/std/src/sync/once.cpp"];
        for other in others.into_iter().chain(["library/std/src/sync/once"]) {
            assert!(!found(other), "{other}");
        }
    }
}
