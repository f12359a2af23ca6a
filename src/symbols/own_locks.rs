//! Programs and libraries that bring locks of their own, past libc: those cannot be recorded, so a recording without them
//! must not call itself complete.
//!
//! A lock that does not go through libc has a function for the thread that has to wait, and nothing else has a function of
//! that name. So a file is searched for such names: in its symbols, in Go's own table of functions (which stays when the
//! symbols are stripped), and for Rust in the texts that its standard library always leaves.
//! Locks that wait without a function (a futex used directly) are not found.

use memchr::memmem;
use object::{Object, ObjectSection};
use rustc_hash::FxHashMap;

use super::elf::{self, Located};
use crate::model::{Coverage, Module, ProcessId, Session};

/// A kind of lock: what people call it, and where which bytes give it away.
struct Family {
    name: &'static str,
    sections: &'static [&'static str],
    marks: &'static [&'static [u8]],
}

const NAMES: &[&str] = &[".strtab", ".dynstr"];

const FAMILIES: &[Family] = &[
    // `std::sys::sync::{mutex,rwlock}::futex`.
    Family { name: RUST, sections: NAMES, marks: &[b"14lock_contended", b"14read_contended", b"15write_contended"] },
    // Stripped: the paths in its panics. Every program with the standard library has its locks.
    Family { name: RUST, sections: &[".rodata"], marks: &[b"library/std/src/"] },
    Family {
        name: "parking_lot",
        sections: NAMES,
        marks: &[b"RawMutex9lock_slow", b"RawRwLock16lock_shared_slow", b"RawRwLock19lock_exclusive_slow"],
    },
    Family {
        name: "Go's sync",
        sections: &[".strtab", ".gopclntab", ".data.rel.ro.gopclntab", ".data.rel.ro"],
        marks: &[b"sync.(*Mutex).lockSlow", b"sync.(*RWMutex).rUnlockSlow"],
    },
    Family { name: "absl::Mutex", sections: NAMES, marks: &[b"5Mutex8LockSlowE", b"AbslInternalPerThreadSemWait"] },
    Family { name: "folly's locks", sections: NAMES, marks: &[b"5folly15SharedMutexImpl", b"5folly9MicroLock"] },
    Family {
        name: "WebKit's WTF::Lock",
        sections: NAMES,
        marks: &[b"3WTF4Lock8lockSlow", b"3WTF8WordLock8lockSlow", b"3WTF17LockAlgorithm"],
    },
    Family { name: "Java's monitors", sections: NAMES, marks: &[b"13ObjectMonitor5enter"] },
    Family { name: "Python's PyMutex", sections: NAMES, marks: &[b"PyMutex_LockSlow", b"PyMutex_LockTimed"] },
];

const RUST: &str = "Rust's std::sync";

/// Notes about programs and libraries with locks of their own. `loaded`: which process had which file. What only processes
/// with a single thread had is left out: nobody waits there, and no order of locks can deadlock.
pub fn unseen(session: &Session, loaded: &[(ProcessId, Module)]) -> Vec<String> {
    let mut known: FxHashMap<&Module, Vec<&'static str>> = FxHashMap::default();
    let mut notes = Vec::new();
    for (process, module) in loaded {
        let Some(process) = session.processes.get(process.index()).filter(|process| process.threads > 1) else {
            continue;
        };
        let found = known.entry(module).or_insert_with(|| of_module(module));
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

/// What people call the locks of a file's own.
fn of_module(module: &Module) -> Vec<&'static str> {
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
        for family in FAMILIES {
            let has = |section: &&str| {
                let data = file.section_by_name(section).and_then(|section| section.data().ok()).unwrap_or_default();
                family.marks.iter().any(|mark| memmem::find(data, mark).is_some())
            };
            if !found.contains(&family.name) && family.sections.iter().any(has) {
                found.push(family.name);
            }
        }
    }
    found
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
        let loaded = [(ProcessId::from(0), module(&own)), (ProcessId::from(0), module(&own))];
        assert_eq!(unseen(&session, &loaded), Vec::<String>::new(), "one thread waits for nobody");
        session.processes[0].threads = 2;
        let notes = unseen(&session, &loaded);
        assert_eq!(notes.len(), 1);
        session.coverage.notes = notes;
        assert!(!session.coverage.complete());
        let what = session.coverage.not_seen().next().unwrap();
        assert!(what.starts_with("the program ") && what.contains(RUST), "{what}");
    }
}
