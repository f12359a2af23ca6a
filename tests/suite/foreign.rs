//! What belongs to somebody else: other libraries' functions of the same names, plugins that come and go, sanitizers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use object::{Object, ObjectSymbol};

use crate::util::run::{LIMIT, finish, lockprof};
use crate::util::skip::skip;
use crate::util::truth::assert_same;
use crate::util::{Build, Report, Target, fixture, verify, verify_varying};

macro_rules! functions {
    ($($function:ident as $name:ident,)*) => {
        /// Calls that may block.
        const BLOCKING: &[&str] = &[$(stringify!($function)),*];
    };
}
lockprof_wire::blocking_calls!(functions);

fn shim() -> PathBuf {
    PathBuf::from(finish(lockprof().args(["shim", "--path"]), LIMIT).stdout.trim_end())
}

/// The program with the shim in it that nobody has woken: it does the same.
fn same_asleep(target: &Target) {
    let asleep = target.clone().env("LD_PRELOAD", shim());
    assert_same(&target.bare(), &asleep.bare());
}

fn plugin(source: &str, output: &str, flags: &[&str]) -> PathBuf {
    Build::new(source, output).flags(&["-shared", "-fPIC"]).flags(flags).build()
}

#[test]
fn nothing_is_exported_but_hooks() {
    let bytes = fs::read(shim()).expect("the shim");
    let file = object::File::parse(&*bytes).expect("a library");
    let known = [
        "pthread_",
        "sem_",
        "mtx_",
        "cnd_",
        "thrd_",
        "call_once",
        "__cxa_guard_",
        "dl",
        "exec",
        "posix_spawn",
        "lockprof_set_name",
        // The list of hooks, for whoever opens the library in a running program.
        "lockprof_functions",
    ];
    let others = [
        "_exit",
        "_Exit",
        "prctl",
        "syscall",
        "fexecve",
        "system",
        "popen",
        "__asan_default_options",
        "GLIBC_2.2.5",
        "GLIBC_2.3.2",
        "GLIBC_2.15",
    ];
    for symbol in file.dynamic_symbols().filter(|symbol| !symbol.is_undefined()) {
        let name = symbol.name().expect("a name");
        let is_known = known.iter().any(|start| name.starts_with(start)) || others.contains(&name);
        assert!(is_known || BLOCKING.contains(&name), "{name} is exported");
    }
    let needed: Vec<&str> =
        file.dynamic_symbols().filter_map(|symbol| symbol.is_undefined().then(|| symbol.name().ok())?).collect();
    assert!(
        needed
            .iter()
            .all(|name| ["", "_r_debug", "dlsym", "environ", "__libc_stack_end", "__libc_single_threaded"]
                .contains(name)),
        "a sanitizer would see what the recorder does by its own functions: {needed:?}"
    );
}

#[test]
fn plugins_closed_and_opened_by_many_threads() {
    let files: Vec<PathBuf> = ["1", "2"]
        .map(|number| {
            plugin("closing_plugin.c", &format!("closing{number}.so"), &[&format!("-DPLUGIN={number}"), "-O1"])
        })
        .into();
    let target = Target::new(fixture("closing")).args(&files);
    for _ in 0..3 {
        verify(&target);
    }
    same_asleep(&target);
}

#[test]
fn plugins_with_a_cxx_library_inside() {
    let flags = ["-fno-gnu-unique", "-static-libstdc++", "-static-libgcc"];
    let files = ["a.so", "b.so"].map(|name| plugin("guard_plugin.cpp", name, &flags));
    let target = Target::new(fixture("guard_host")).args(files);
    verify(&target);
    same_asleep(&target);
}

#[test]
fn plugins_with_a_cxx_library_of_their_own_beside_them() {
    let files = ["a.so", "b.so"].map(|name| plugin("guard_plugin.cpp", name, &["-fno-gnu-unique"]));
    let target = Target::new(fixture("guard_host")).args(files);
    verify(&target);
    same_asleep(&target);
}

#[test]
fn a_library_with_functions_of_its_own_by_the_same_names() {
    let library = plugin("own_locks.c", "libown_locks.so", &[]);
    let folder = library.parent().expect("its folder").display().to_string();
    let program = Build::new("own_locks_user.c", "own_locks_user")
        .flags(&[&format!("-L{folder}"), "-lown_locks", &format!("-Wl,-rpath,{folder}")])
        .build();
    let target = Target::new(program);
    same_asleep(&target);
    let recording = target.record();
    assert_same(&target.bare(), &recording.outcome);
    let report = &recording.report;
    assert_eq!(report.lock("real", "mutex")["acquisitions"], 1000);
    assert_eq!(report.locks().len(), 1, "{}", report.overview());
    let told = |text: &str| report.notes().iter().any(|note| note.contains(text));
    assert!(told("sem_*, mtx_*, cnd_* are functions of another library than libc"), "{:?}", report.notes());
}

#[test]
fn condition_variables_of_the_oldest_size() {
    let target = Target::new(fixture("old_cond_size"));
    verify_varying(&target);
}

#[test]
fn a_plugin_that_looks_into_its_own_dependencies_first() {
    let library = plugin("deepbind_plugin.c", "deepbind_plugin.so", &[]);
    let target = Target::new(fixture("deepbind")).args([&library]);
    let recording = verify(&target);
    assert_eq!(recording.report.0["coverage"]["complete"], true);
    assert_passes(&recording.trace);
    same_asleep(&target);
}

#[test]
fn locks_given_back_by_calls_that_nobody_sees() {
    let recording = Target::new(fixture("half_seen")).record();
    assert_eq!(recording.outcome.code(), 0, "{}", recording.outcome.stderr);
    for lock in ["a", "b"] {
        assert_eq!(recording.report.lock(lock, "mutex")["acquisitions"], 202);
    }
    assert_passes(&recording.trace);
    assert_eq!(recording.report.0["coverage"]["complete"], false);
    let notes = recording.report.notes();
    assert!(notes.iter().any(|note| note.contains("given back by calls that are not seen")), "{notes:?}");
}

fn assert_passes(trace: &Path) {
    let check = finish(lockprof().arg("check").arg(trace), LIMIT);
    assert_eq!(check.code(), 0, "{}", check.stdout);
}

#[test]
fn locks_taken_before_any_constructor() {
    verify(&Target::new(fixture("preinit")));
}

fn sanitized(compiler: &str, flags: &[&str]) -> Option<PathBuf> {
    let program = std::env::temp_dir().join(format!("lockprof-sanitizer-{}", std::process::id()));
    let source = crate::util::build::targets().join("no_locks.c");
    let mut probe = Command::new(compiler);
    probe.args(flags).arg(source).arg("-o").arg(&program);
    let built = probe.output().is_ok_and(|output| output.status.success());
    let _ = fs::remove_file(&program);
    if !built {
        skip(&format!("no {compiler} with {}", flags.join(" ")));
        return None;
    }
    Some(Build::new("sanitized.c", "sanitized").compiler(compiler).flags(flags).build())
}

#[test]
fn programs_with_a_sanitizer() {
    for compiler in ["gcc", "clang"] {
        for kind in ["address", "undefined", "thread", "leak", "memory"] {
            if (compiler, kind) == ("gcc", "memory") {
                continue;
            }
            let flag = format!("-fsanitize={kind}");
            let Some(program) = sanitized(compiler, &[&flag]) else { continue };
            let target = Target::new(program);
            verify(&target);
            same_asleep(&target);
        }
    }
}

#[test]
fn a_sanitized_program_with_options_of_its_own() {
    let Some(program) = sanitized("gcc", &["-fsanitize=address", "-DOWN_OPTIONS"]) else { return };
    verify(&Target::new(program));
}

/// A script's own options do not bring the runtime's refusal back.
#[test]
fn a_sanitized_program_started_by_a_script() {
    let Some(program) = sanitized("gcc", &["-fsanitize=address"]) else { return };
    let script = format!("ASAN_OPTIONS=detect_leaks=0 exec '{}'", program.display());
    let recording = verify(&Target::new("/bin/sh").args(["-c", &script]));
    let report: &Report = &recording.report;
    assert_eq!(report.lock("mu", "mutex")["acquisitions"], 200);
}
