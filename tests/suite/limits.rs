//! Programs with little room: small stacks, a limited address space, no file descriptors.

use std::fs;
use std::process::Command;

use crate::util::build::Build;
use crate::util::raw;
use crate::util::report::number;
use crate::util::run::{LIMIT, Outcome, finish, folder};
use crate::util::skip::unable;
use crate::util::truth::{assert_same, assert_true};
use crate::util::{Recording, Report, Target, fixture, lockprof, verify};

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
    let target = Target::new(&program);
    let bare = depths(&target.bare());
    assert!(bare.len() >= 20, "{bare:?}");
    // Where nobody empties the ring, or not yet, it is full soon, and counting takes another way than writing.
    for outcome in [target.record().outcome, target.record().outcome, raw::run(&program, [""; 0]).0] {
        let recorded = depths(&outcome);
        for ((name, bare), (also, recorded)) in bare.iter().zip(&recorded) {
            assert_eq!(name, also);
            assert!(*recorded <= bare + MOST, "{name}: {bare} bytes bare, {recorded} recorded");
        }
        assert_eq!(bare.len(), recorded.len());
    }
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

/// Limits that the program sets after its first lock leave the recorder what the program does not need.
#[test]
fn limits_that_the_program_gives_itself() {
    const ADDRESS_SPACE: &str = "1";
    const DATA: &str = "2";
    for which in [ADDRESS_SPACE, DATA] {
        // Bare it needs 16 MB.
        verify(&Target::new(fixture("own_limits")).args([which, "64"]));
        // Some locks find no row of their own.
        let recording = Target::new(fixture("own_limits")).args([which, "20", "50", "10", "10000"]).record();
        assert_counted(&recording, 50 * 10 + 1 + 10_000, if which == DATA { "ulimit -d" } else { "ulimit -v" });
    }
}

#[test]
fn a_python_program_that_limits_its_address_space() {
    let python = crate::need!("python3");
    let script = "import resource, threading\n\
        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))\n\
        data = bytearray(50 << 20)\n\
        t = threading.Thread(target=lambda: None)\n\
        t.start()\n\
        t.join()\n\
        print('ok', len(data))\n";
    let target = Target::new(python).args(["-c", script]);
    let recording = target.record();
    assert_same(&target.bare(), &recording.outcome);
    recording.report.assert_accounted();
}

/// `mlockall` counts all that is mapped, and locks what is mapped later.
#[test]
fn all_memory_locked_without_rights() {
    let target = |locks: &str, fill: &str| Target::new(fixture("locked_memory")).args(["8192", locks, fill]);
    let bare = target("0", "0").bare();
    if bare.code() == 3 {
        return unable("nobody may lock 8 MiB of memory here");
    }
    // What the recorder maps later is not locked: it takes nothing of the program's room.
    verify(&target("10000", "0"));
    let shim = finish(lockprof().args(["shim", "--path"]), LIMIT).stdout;
    let asleep = finish(Command::new(fixture("locked_memory")).env("LD_PRELOAD", shim.trim_end()), LIMIT);
    assert_same(&bare, &asleep);
    assert_counted(&target("10000", "1").record(), 4 * 1000 + 1 + 10_000, "ulimit -l");
}

/// The program went well; nothing is lost, however little was told apart, and the limit is named.
fn assert_counted(recording: &Recording, acquisitions: u64, limit: &str) {
    assert_eq!(recording.outcome.code(), 0, "{:?}", recording.outcome);
    recording.report.assert_counted();
    // Joins are acquisitions as well.
    assert!(recording.report.coverage("acquisitions") >= acquisitions, "{}", recording.report.overview());
    let notes = recording.report.notes();
    assert!(notes.iter().any(|note| note.contains(limit)), "{notes:?}");
}

/// More locks at one time than the first tables have room for.
#[test]
fn many_locks_at_one_time() {
    let recording = Target::new(fixture("many_locks")).args(["20000", "2"]).record();
    recording.report.assert_accounted();
    let locks = recording.report.locks();
    assert_eq!(locks.len(), 20_000);
    assert!(locks.iter().all(|lock| number(lock, "acquisitions") == 2));
}

/// As in a container: little shared memory, or none. What does not fit is counted without single events.
#[test]
fn little_shared_memory() {
    for (size, shm, target) in [
        ("64k", None, Target::new(fixture("counts")).args(["16", "20000"])),
        ("1m", None, Target::new(fixture("counts")).args(["16", "20000"])),
        ("4m", Some("/dev/shm"), Target::new(fixture("counts")).args(["16", "20000"])),
        ("4m", Some("/dev/shm"), Target::new(fixture("many_locks")).args(["100000", "2"])),
    ] {
        let target = shm.into_iter().fold(target, |target, shm| target.env("LOCKPROF_SHM", shm));
        let mount = format!("mount -t tmpfs -o size={size} none /dev/shm");
        let command = |rest: &str| ["-m".into(), "sh".into(), "-c".into(), format!("{mount} && {rest}")];
        let alone = finish(Command::new("unshare").args(command("true")), LIMIT);
        if alone.code() != 0 {
            return unable(&format!("no mount namespaces here: {}", alone.stderr.trim()));
        }
        let folder = folder();
        let trace = folder.path().join("t.lockprof");
        let recorded = target.recorded_command(&trace);
        let words: Vec<String> = recorded.get_args().map(|word| format!("'{}'", word.display())).collect();
        let line = format!("exec '{}' {}", recorded.get_program().display(), words.join(" "));
        let variables = shm.map(|shm| ("LOCKPROF_SHM", shm));
        let outcome = finish(Command::new("unshare").args(command(&line)).envs(variables), LIMIT);
        assert_same(&target.bare(), &outcome);
        let report = Report::load(&trace);
        if shm.is_none() {
            assert_true(&outcome, &report);
        } else {
            report.assert_counted();
            let notes = report.notes();
            assert!(notes.iter().any(|note| note.contains("LOCKPROF_SHM to a larger one")), "{notes:?}");
        }
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
    verify(&Target::new(fixture("limited_files")).args(["1024", "20"]));
    // On a busy machine so many may find no file that was made for them. Then they count, and that is said.
    let target = Target::new(fixture("limited_files")).args(["1024", "500"]);
    let recording = target.record();
    assert_same(&target.bare(), &recording.outcome);
    let is_short = recording.report.notes().iter().any(|note| note.contains("could not give its shared memory a size"));
    if is_short {
        assert_eq!(recording.report.coverage("acquisitions"), 500);
        assert_eq!(recording.report.0["coverage"]["complete"], false);
    } else {
        assert_true(&recording.outcome, &recording.report);
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

/// A program that is started without standard descriptors is started without them under lockprof, too.
#[test]
fn closed_standard_descriptors_stay_closed() {
    let folder = folder();
    for closing in ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"] {
        let seen = |name: &str, before: &[&str]| {
            let script = format!("exec {closing}; exec \"$@\"");
            let told = format!("ls /proc/$$/fd > {name}; exit 4");
            let mut command = Command::new("sh");
            command.args(["-c", &script, "sh"]).args(before).args(["sh", "-c", &told]);
            assert_eq!(finish(command.current_dir(folder.path()), LIMIT).code(), 4, "{closing}");
            fs::read_to_string(folder.path().join(name)).expect("what the program wrote")
        };
        let lockprof = lockprof().get_program().to_str().expect("a path").to_owned();
        let bare = seen("bare", &[]);
        assert_eq!(seen("recorded", &[&lockprof, "run", "-q", "-o", "t.lockprof", "--"]), bare, "{closing}");
    }
}
