//! The finder of Rust's lock operations: against a program that says what is in it, and its own check on real programs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use lockprof::sites::functions::Functions;
use lockprof::sites::image::Image;
use lockprof::sites::rust::names::path;
use lockprof::sites::rust::plan::Plan;
use lockprof::sites::rust::recipe::Recipe;
use lockprof::sites::rust::sites::{Proof, Sites};

use crate::util::rust::{VARIANTS, compilers};

/// The program of this path, with what was found in it.
fn find<T>(program: &Path, look: impl FnOnce(&Functions<'_>, &Sites) -> T) -> T {
    let file = fs::read(program).expect("the program");
    let image = Image::parse(&file).expect("an ELF file");
    let functions = Functions::read(&file, &image);
    let sites = Sites::find(&image, &functions);
    let plan = Plan::new(&image, &functions, &sites);
    for (planned, patch) in plan.patches() {
        let bytes = image.code(patch.address, patch.address + patch.length as u64).expect("code");
        assert!(patch.length >= 5 && patch.length == bytes.len(), "{}: {planned:?}", program.display());
    }
    // Where it is inlined, the end of such a wait may have no room: nothing else is lost by it.
    let of_locks = |((operation, _), count): ((&'static str, _), usize)| {
        (operation != "std::thread::park_timeout").then_some(count)
    };
    let refused = plan.refusals().into_iter().filter_map(of_locks).sum::<usize>();
    assert!(100 * refused <= plan.operations.len(), "{}: {:?}", program.display(), plan.refusals());
    look(&functions, &sites)
}

/// The finder's check of itself, that it left nothing out; the number of calls of slow paths.
fn all_reached(program: &Path, sites: &Sites) -> usize {
    for reached in sites.reached() {
        assert_eq!(reached.reached, reached.of, "{}: {}", program.display(), reached.function);
    }
    sites.cold_calls.len()
}

/// The operations in each function of the fixture itself, each once, sorted.
fn operations(functions: &Functions<'_>, sites: &Sites) -> BTreeMap<String, String> {
    let mut found: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for site in sites.sites.iter().chain(&sites.tries) {
        let name = functions.names_at(site.function).find_map(path).unwrap_or_default();
        if let Some(name) = name.strip_prefix("locks::").filter(|name| *name != "main" && !name.contains("::")) {
            found.entry(name.to_owned()).or_default().push(site.row.atomic.operation.trim_start_matches("std::sync::"));
        }
    }
    let once = |mut operations: Vec<&str>| {
        operations.sort_unstable();
        operations.dedup();
        operations.join(" ")
    };
    found.into_iter().map(|(function, operations)| (function, once(operations))).collect()
}

#[test]
fn every_slow_call_is_reached_in_every_build() {
    for rust in compilers() {
        for flags in VARIANTS {
            let program = rust.build("locks", flags);
            find(&program, |_, sites| {
                let calls = all_reached(&program, sites);
                assert!(calls > 20, "{} {flags:?}: {calls}", rust.version);
                let count =
                    |operation: &str| sites.sites.iter().filter(|site| site.row.atomic.operation == operation).count();
                for operation in [
                    "std::sync::Mutex::lock",
                    "std::sync::Mutex::unlock",
                    "std::sync::RwLock::read",
                    "std::sync::RwLock::write",
                ] {
                    assert!(count(operation) >= 2, "{} {flags:?}: {operation}", rust.version);
                }
                let unlocks = count("std::sync::RwLock::read_unlock") + count("std::sync::RwLock::write_unlock");
                assert!(unlocks >= 4, "{} {flags:?}: {unlocks}", rust.version);
                let called = sites.sites.iter().any(|site| site.proof == Proof::Called);
                assert_eq!(called, flags.contains(&"-Copt-level=0"), "{} {flags:?}", rust.version);
            });
        }
    }
}

#[test]
fn each_operation_is_found_in_its_function() {
    let wanted = [
        ("give_back", "Mutex::unlock"),
        ("keep", "Mutex::lock"),
        ("lock_field", "Mutex::lock Mutex::unlock"),
        ("lock_ignoring_poison", "Mutex::lock Mutex::unlock"),
        ("lock_static", "Mutex::lock Mutex::unlock"),
        ("lock_two", "Mutex::lock Mutex::unlock"),
        ("read_field", "RwLock::read RwLock::read_unlock"),
        ("read_static", "RwLock::read RwLock::read_unlock"),
        ("try_lock", "Mutex::try_lock Mutex::unlock"),
        ("try_read", "RwLock::read_unlock RwLock::try_read"),
        ("try_write", "RwLock::try_write RwLock::write_unlock"),
        ("wait", "Mutex::lock Mutex::unlock"),
        ("write_field", "RwLock::write RwLock::write_unlock"),
        ("write_static", "RwLock::write RwLock::write_unlock"),
    ];
    let wanted: BTreeMap<String, String> =
        wanted.iter().map(|(name, operations)| (name.to_string(), operations.to_string())).collect();
    for rust in compilers() {
        for flags in [&["-Copt-level=3"][..], &["-Copt-level=3", "-Csymbol-mangling-version=v0"]] {
            let program = rust.build("locks", flags);
            find(&program, |functions, sites| {
                let found = operations(functions, sites);
                assert_eq!(found, wanted, "{} {flags:?}", rust.version);
            });
        }
    }
}

/// What is kept for the next start is what was found; what is cut is not read.
#[test]
fn a_recipe_is_read_as_it_was_written() {
    for rust in compilers() {
        for flags in [&["-Copt-level=0"][..], &["-Copt-level=3"]] {
            let file = fs::read(rust.build("truth", flags)).expect("the program");
            let made = Recipe::of(&file).expect("an ELF file").expect("a recipe");
            let bytes = made.to_bytes().expect("bytes");
            let read = Recipe::from_bytes(&bytes).expect("a recipe");
            assert_eq!(read.to_bytes().as_ref(), Some(&bytes), "{flags:?}");
            assert!(!read.steps.is_empty() && read.steps.len() == made.steps.len(), "{flags:?}");
            for end in [0, 1, bytes.len() / 2, bytes.len() - 1] {
                assert!(Recipe::from_bytes(&bytes[..end]).is_none(), "{flags:?} {end}");
            }
        }
    }
}

/// Real programs: those of the compiler's own folder, and those that `LOCKPROF_RUST_PROGRAMS` lists.
#[test]
fn real_programs_are_reached_everywhere() {
    let listed = std::env::var_os("LOCKPROF_RUST_PROGRAMS").unwrap_or_default();
    let mut programs: Vec<PathBuf> = std::env::split_paths(&listed).filter(|path| path.is_file()).collect();
    programs.extend(compilers().iter().flat_map(|rust| ["rustdoc", "cargo"].map(|name| rust.tool(name))).flatten());
    programs.push(std::env::current_exe().expect("this binary"));
    for program in programs {
        find(&program, |_, sites| {
            let calls = all_reached(&program, sites);
            println!("{}: {calls} slow calls, {} operations", program.display(), sites.sites.len());
            assert!(calls > 20, "{}: {calls}", program.display());
        });
    }
}
