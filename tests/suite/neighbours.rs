//! Others who interpose, load and allocate: each of them works as without the recorder, and sees as much.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::util::report::number;
use crate::util::{Build, Target, fixture, verify};

fn library(source: &str, output: &str) -> Build {
    Build::new(source, output).flags(&["-shared", "-fPIC", "-fno-builtin"])
}

/// The host with both plugins in `plugins/` beside it.
fn dl_host() -> PathBuf {
    let host = Build::new("dl_host.c", "dl_host");
    let host = host.flags(&["-rdynamic", "-Wl,-rpath,$ORIGIN/plugins", "-Wl,--enable-new-dtags"]).build();
    let plugins = host.with_file_name("plugins");
    fs::create_dir_all(&plugins).expect("a folder for the plugins");
    for number in ["1", "2"] {
        let name = format!("libplugin{number}.so");
        let built = library("dl_plugin.c", &name).flags(&[&format!("-DPLUGIN={number}")]).build();
        let unfinished = plugins.join(format!(".{name}.{}", std::process::id()));
        fs::copy(built, &unfinished).expect("a copy of the plugin");
        fs::rename(unfinished, plugins.join(name)).expect("the plugin in its place");
    }
    host
}

#[test]
fn libraries_loaded_and_unloaded_by_the_callers_own_search_path() {
    verify(&Target::new(dl_host()));
}

#[test]
fn libraries_bound_to_their_own_dependencies_first() {
    verify(&Target::new(dl_host()).args(["100", "deepbind"]));
}

#[test]
fn a_program_with_its_own_pthread_mutex_lock() {
    let program = Build::new("own_wrapper.c", "own_wrapper").flags(&["-rdynamic"]).build();
    verify(&Target::new(program));
}

#[test]
fn another_preloaded_interposer_sees_every_call() {
    let interposer = library("interposer.c", "libinterposer.so").build();
    let out = tempfile::NamedTempFile::new().expect("a file for its count");
    let target = Target::new(fixture("counts")).env("LD_PRELOAD", interposer).env("INTERPOSER_OUT", out.path());
    let counted = |program: &str| -> Vec<u64> {
        let text = fs::read_to_string(out.path()).expect("what the interposer counted");
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["program"] == program).map(|line| number(&line, "locks")).collect()
    };
    let recording = verify(&target);
    let counts = counted("counts");
    assert_eq!(counts, [60_400, 60_400], "bare and recorded");
    assert_eq!(recording.report.coverage("lost"), 0);
}

#[test]
fn the_users_preloaded_library_stays_in_the_environment() {
    let interposer = library("interposer.c", "libinterposer.so").build();
    let recording = Target::new("/bin/sh").args(["-c", "echo $LD_PRELOAD"]).env("LD_PRELOAD", &interposer).record();
    assert!(recording.outcome.stdout.contains(interposer.to_str().expect("a path")), "{}", recording.outcome.stdout);
}

#[test]
fn an_allocator_that_locks_preloaded() {
    let allocator = library("locking_malloc.c", "liblocking_malloc.so").build();
    verify(&Target::new(fixture("malloc_user")).env("LD_PRELOAD", allocator));
}

#[test]
fn an_allocator_that_locks_linked_in() {
    let program =
        Build::new("malloc_user.c", "malloc_user").source("locking_malloc.c").flags(&["-fno-builtin"]).build();
    verify(&Target::new(program));
}

#[test]
fn allocators_of_the_distribution() {
    for name in ["libjemalloc.so.2", "libtcmalloc_minimal.so.4"] {
        let allocator = crate::need!(name);
        verify(&Target::new(fixture("malloc_user")).env("LD_PRELOAD", &allocator));
        verify(&Target::new(fixture("short_threads")).args(["1000"]).env("LD_PRELOAD", &allocator));
        verify(&Target::new(fixture("forks")).args(["child"]).env("LD_PRELOAD", &allocator));
    }
}
