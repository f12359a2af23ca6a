//! The finder of Go's lock operations: against a program that says what is in it, and its own check on real programs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use lockprof::sites::go::pclntab::{Pclntab, printed};
use lockprof::sites::go::plan::Plan;
use lockprof::sites::go::recipe::Recipe;
use lockprof::sites::go::runtime::Runtime;
use lockprof::sites::go::sites::Sites;
use lockprof::sites::go::version;
use lockprof::sites::image::Image;

use crate::util::go::toolchains;
use crate::util::skip;

/// Calls of `lockSlow`, `unlockSlow`, `rUnlockSlow` and of the readers' semaphore in the binaries of Debian 12 and npm, as
/// of the version that the program's file says it is built with; all of them are reached.
const KNOWN: [(&str, u64, [usize; 4]); 7] = [
    ("prometheus", 49_921_048, [607, 342, 107, 201]),
    ("restic", 18_829_848, [497, 300, 51, 83]),
    ("etcd", 21_529_688, [630, 370, 110, 200]),
    ("caddy", 36_753_192, [672, 451, 133, 212]),
    ("syncthing", 21_843_720, [470, 261, 60, 114]),
    ("gh", 40_149_832, [429, 311, 51, 91]),
    ("esbuild", 11_427_952, [179, 214, 18, 16]),
];

/// The program of this path, with what was found in it.
fn find<T>(program: &Path, look: impl FnOnce(&Image<'_>, &Pclntab<'_>, &Sites) -> T) -> T {
    let file = fs::read(program).expect("the program");
    let image = Image::parse(&file).expect("an ELF file");
    let index = Pclntab::read(&image).unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    let sites = Sites::find(&image, &index);
    look(&image, &index, &sites)
}

/// The finder's check of itself, that it left nothing out, and that all of it can be patched; the calls of each slow path.
fn all_reached(program: &Path) -> Vec<usize> {
    find(program, |image, index, sites| {
        Runtime::find(image, index).unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let version = version(image).unwrap_or("no version");
        for reached in sites.reached() {
            assert_eq!(reached.reached, reached.of, "{} ({version}): {}", program.display(), reached.function);
        }
        assert_eq!(sites.doubts, [], "{} ({version})", program.display());
        let plan = Plan::new(image, index, sites);
        assert!(plan.refusals().is_empty(), "{} ({version}): {:?}", program.display(), plan.refusals());
        assert!(plan.operations.len() >= sites.sites.iter().filter(|site| !site.inner).count() + sites.hooks.len());
        for (planned, patch) in plan.patches() {
            let bytes = image.code(patch.address, patch.address + patch.length as u64).expect("code");
            assert!(patch.length >= 5 && patch.length == bytes.len(), "{}: {planned:?}", program.display());
        }
        sites.reached().iter().map(|reached| reached.of).collect()
    })
}

/// The operations in each function of package `main`, in the order of the code.
fn operations(program: &Path) -> BTreeMap<String, String> {
    find(program, |_, index, sites| {
        let mut found: BTreeMap<String, String> = BTreeMap::new();
        let mut add = |function: u64, operation: &str| {
            let function = index.function_at(function).expect("a function of the site");
            if let Some(name) = index.name(function.name).strip_prefix("main.").filter(|name| *name != "main") {
                let operations = found.entry(printed(name).into_owned()).or_default();
                operations.push_str(operation.trim_start_matches("sync."));
                operations.push(' ');
            }
        };
        sites.sites.iter().for_each(|site| add(site.function, site.row.operation));
        found
    })
}

#[test]
fn each_operation_is_found_in_its_function() {
    let wanted = [
        ("(*guarded[...]).get", "(*RWMutex).RLock (*RWMutex).RUnlock "),
        ("deferred", "(*Mutex).Lock "),
        ("lock", "(*Mutex).Lock "),
        ("lockEmbedded", "(*Mutex).Lock (*Mutex).Unlock "),
        ("readLock", "(*RWMutex).RLock "),
        ("readUnlock", "(*RWMutex).RUnlock "),
        ("tryLock", "(*Mutex).TryLock "),
        ("twice", "(*Mutex).Lock (*Mutex).Lock (*Mutex).Unlock (*Mutex).Unlock "),
        ("unlock", "(*Mutex).Unlock "),
    ];
    let wanted: BTreeMap<String, String> =
        wanted.iter().map(|(name, operations)| (name.to_string(), operations.to_string())).collect();
    for go in toolchains() {
        for flags in [&[][..], &["-ldflags=-s -w"], &["-buildmode=pie"]] {
            let program = go.build("locks", flags);
            let mut found = operations(&program);
            // Where the unlock of a `defer` is differs: in the function, a call of `Unlock`, in a wrapper.
            found.remove("deferred.deferwrap1");
            let deferred = found.get_mut("deferred").expect("deferred");
            *deferred = deferred.replace("(*Mutex).Unlock ", "");
            assert_eq!(found, wanted, "{} {flags:?}", go.version);
            all_reached(&program);
        }
    }
}

#[test]
fn without_inlining_each_operation_is_a_site_or_hooked() {
    for go in toolchains() {
        for flags in ["-gcflags=all=-N -l", "-gcflags=all=-l"] {
            find(&go.build("locks", &[flags]), |_, _, sites| {
                let all = ["Mutex).Lock", "Mutex).Unlock", "Mutex).TryLock", "RWMutex).RLock", "RWMutex).RUnlock"];
                for function in all.map(|function| format!("sync.(*{function}")) {
                    let here = sites.sites.iter().filter(|site| site.row.operation == function).count();
                    let hooked = sites.hooks.iter().any(|hook| hook.row.function == function);
                    assert!((here > 0) != hooked, "{} {flags}: {function}: {here} {hooked}", go.version);
                }
                let slow = sites.hooks.iter().any(|hook| hook.row.function == "sync.(*Mutex).lockSlow");
                let whole = sites.hooks.iter().any(|hook| hook.row.function == "sync.(*Mutex).Lock");
                assert!(slow != whole, "{} {flags}: the slow path is part of Lock", go.version);
                sites.reached().iter().for_each(|calls| assert_eq!(calls.reached, calls.of, "{}", go.version));
            });
        }
    }
}

/// The offsets of `g.goid`, `g.m` and `m.curg` as the versions' sources have them.
#[test]
fn the_runtime_s_fields_are_found() {
    for go in toolchains() {
        let minor: u32 = go.version.split('.').nth(1).and_then(|minor| minor.parse().ok()).expect("a version");
        let number = if [23, 24].contains(&minor) { 160 } else { 152 };
        let current = if minor <= 24 { 192 } else { 184 };
        let programs = [&[][..], &["-ldflags=-s -w"], &["-buildmode=pie"], &["-gcflags=all=-N -l"]];
        for program in programs.map(|flags| go.build("locks", flags)).into_iter().chain([go.program()]) {
            let runtime = find(&program, |image, index, _| Runtime::find(image, index)).expect("a known runtime");
            let found = (runtime.goroutine_number, runtime.machine, runtime.current);
            assert_eq!(found, (number, 48, current), "{} {}", go.version, program.display());
            assert!(runtime.preempt.is_some(), "{}", go.version);
        }
    }
}

#[test]
fn the_go_command_is_reached_everywhere() {
    for go in toolchains() {
        let calls = all_reached(&go.program());
        assert!(calls.len() == 4 && calls[0] > 200 && calls[1] > 100, "{}: {calls:?}", go.version);
    }
}

#[test]
fn programs_of_others_are_reached_everywhere() {
    let folder = std::env::var_os("LOCKPROF_GO_PROGRAMS").map(PathBuf::from);
    let place = |name: &str| {
        let given = folder.as_ref().map(|folder| folder.join(name)).filter(|file| file.is_file());
        given.or_else(|| skip::find(name))
    };
    let mut looked_at = 0;
    for (name, size, calls) in KNOWN {
        let Some(program) = place(name) else { continue };
        let found = all_reached(&program);
        if fs::metadata(&program).is_ok_and(|metadata| metadata.len() == size) {
            assert_eq!(found, calls, "{name}");
        }
        looked_at += 1;
    }
    if looked_at == 0 {
        skip::unable("none of the known Go programs is installed or in LOCKPROF_GO_PROGRAMS");
    }
}

/// What is kept of a program for its next start is what was found, and what is damaged is not believed.
#[test]
fn recipes_are_kept_as_they_are() {
    for go in toolchains() {
        let file = fs::read(go.program()).expect("the go command");
        let recipe = Recipe::of(&file).expect("a known version").expect("a Go program");
        assert!(recipe.is_go_command() && recipe.steps.len() > 100, "{}", go.version);
        let bytes = recipe.to_bytes().expect("rows of the tables");
        let read = Recipe::from_bytes(&bytes).expect("the same");
        assert_eq!(format!("{read:?}"), format!("{recipe:?}"), "{}", go.version);
        for cut in (0..bytes.len()).step_by(bytes.len() / 200) {
            assert!(Recipe::from_bytes(&bytes[..cut]).is_none(), "{} cut at {cut}", go.version);
            let mut wild = bytes.clone();
            wild[cut..(cut + 8).min(bytes.len())].fill(0xff);
            let _ = Recipe::from_bytes(&wild);
        }
    }
}
