//! Programs with little room: small stacks, a limited address space, no file descriptors.

use std::process::Command;

use crate::util::build::Build;
use crate::util::run::{LIMIT, Outcome, finish, folder};
use crate::util::skip::unable;
use crate::util::truth::{assert_same, assert_true};
use crate::util::{Report, Target, fixture, verify};

#[test]
fn the_smallest_thread_stacks() {
    verify(&Target::new(fixture("small_stacks")));
}

/// Of the program's stack the recorder takes at most half a kilobyte, at first sight, in a signal handler and in a
/// forked child too: coroutines and alternate stacks are made just large enough for the program.
#[test]
fn a_lock_takes_half_a_kilobyte_of_stack() {
    const MOST: u64 = 512;
    let program = Build::new("stack_depth.c", "stack_depth").flags(&["-Wl,-z,now"]).build();
    let depths = |outcome: &Outcome| {
        assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
        let depth = |line: &str| {
            let (name, bytes) = line.split_once(' ').expect("a name and a number");
            (name.to_owned(), bytes.parse::<u64>().expect("bytes"))
        };
        outcome.stdout.lines().map(depth).collect::<Vec<_>>()
    };
    let target = Target::new(program);
    let (bare, recorded) = (depths(&target.bare()), depths(&target.record().outcome));
    assert!(bare.len() >= 20, "{bare:?}");
    for ((name, bare), (also, recorded)) in bare.iter().zip(&recorded) {
        assert_eq!(name, also);
        assert!(*recorded <= bare + MOST, "{name}: {bare} bytes bare, {recorded} recorded");
    }
    assert_eq!(bare.len(), recorded.len());
}

#[test]
fn a_limited_address_space() {
    for megabytes in ["1024", "256", "64"] {
        verify(&Target::new(fixture("limited_memory")).args([megabytes]));
    }
}

#[test]
fn a_limit_set_before_lockprof_starts() {
    let fixture = fixture("limited_memory");
    let command = format!("ulimit -v 1000000 && exec '{}' 1000", fixture.display());
    verify(&Target::new("/bin/sh").args(["-c", &command]));
}

/// As in a container: little shared memory, or none. What does not fit is counted without single events.
#[test]
fn little_shared_memory() {
    for size in ["64k", "1m"] {
        let mount = format!("mount -t tmpfs -o size={size} none /dev/shm");
        let command = |rest: &str| ["-m".into(), "sh".into(), "-c".into(), format!("{mount} && {rest}")];
        let alone = finish(Command::new("unshare").args(command("true")), LIMIT);
        if alone.code() != 0 {
            return unable(&format!("no mount namespaces here: {}", alone.stderr.trim()));
        }
        let folder = folder();
        let trace = folder.path().join("t.lockprof");
        let target = Target::new(fixture("counts")).args(["16", "20000"]);
        let recorded = target.recorded_command(&trace);
        let words: Vec<String> = recorded.get_args().map(|word| format!("'{}'", word.display())).collect();
        let line = format!("exec '{}' {}", recorded.get_program().display(), words.join(" "));
        let outcome = finish(Command::new("unshare").args(command(&line)), LIMIT);
        assert_same(&target.bare(), &outcome);
        assert_true(&outcome, &Report::load(&trace));
    }
}

#[test]
fn all_file_descriptors_closed() {
    verify(&Target::new(fixture("close_fds")));
}

#[test]
fn few_file_descriptors_allowed() {
    let command = format!("ulimit -n 5 && exec '{}'", fixture("counts").display());
    verify(&Target::new("/bin/sh").args(["-c", &command]));
}

/// The limit is 4 KB: enough for what the program says, not for what a recorder might write in its place.
#[test]
fn no_large_file_may_be_written() {
    let command = format!("ulimit -f 8 && exec '{}'", fixture("counts").display());
    verify(&Target::new("/bin/sh").args(["-c", &command]));
}

/// Going beyond the limit of a file's size is a signal: no child may die of what the recorder does.
#[test]
fn many_children_that_may_write_no_large_file() {
    for children in ["20", "500"] {
        verify(&Target::new(fixture("limited_files")).args(["1024", children]));
    }
    // Less than a page.
    verify(&Target::new(fixture("limited_files")).args(["1", "3"]));
}

/// The soft limit is the program's own business; the recorder goes up to the hard one, and the program does not see it.
#[test]
fn a_file_size_limit_set_before_lockprof_starts() {
    let folder = folder();
    let run = |limit: &str| {
        let trace = folder.path().join("t.lockprof");
        let target = Target::new("/bin/sh").args(["-c", "ulimit -S -f; ulimit -S -n; exec \"$0\" 2 100"]);
        let recorded = target.args([fixture("counts")]).recorded_command(&trace);
        let words: Vec<String> = recorded.get_args().map(|word| format!("'{}'", word.display())).collect();
        let line = format!("ulimit {limit} && exec '{}' {}", recorded.get_program().display(), words.join(" "));
        finish(Command::new("bash").args(["-c", &line]), LIMIT)
    };
    let outcome = run("-S -f 200 -n 300");
    assert_eq!(outcome.code(), 0, "{outcome:?}");
    assert!(outcome.stdout.starts_with("400\n300\n") || outcome.stdout.starts_with("200\n300\n"), "{outcome:?}");
    assert_true(&outcome, &Report::load(&folder.path().join("t.lockprof")));
    let refused = run("-f 1000");
    assert_eq!(refused.code(), 2, "{refused:?}");
    assert!(refused.stdout.is_empty() && refused.stderr.contains("ulimit -f"), "{refused:?}");
}
