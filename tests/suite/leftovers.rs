//! What killed recorders leave: nobody deletes it, `lockprof recover` writes it; and what was never ours stays.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::util::run::{LIMIT, finish, folder, signal, start, wait};
use crate::util::skip::unable;
use crate::util::{Outcome, Report, Target, fixture, lockprof};

/// `lockprof` with its shared memory in this folder.
fn lockprof_in(place: &Path) -> Command {
    let mut command = lockprof();
    command.env("LOCKPROF_SHM", place);
    command
}

fn recover(place: &Path, at: &Path, options: &[&str]) -> Outcome {
    finish(lockprof_in(place).arg("recover").args(options).current_dir(at), LIMIT)
}

fn sessions(place: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(place).expect("the place").flatten();
    let mut found: Vec<_> = entries.map(|entry| entry.path()).collect();
    found.sort();
    found
}

fn traces(at: &Path) -> Vec<PathBuf> {
    sessions(at).into_iter().filter(|path| path.extension().is_some_and(|end| end == "lockprof")).collect()
}

fn ready(folder: &Path) -> i32 {
    let begin = Instant::now();
    loop {
        let text = fs::read_to_string(folder.join("stdout")).unwrap_or_default();
        let line = text.lines().find_map(|line| serde_json::from_str::<Value>(line).ok()?["ready"].as_i64());
        if let Some(pid) = line {
            return pid as i32;
        }
        assert!(begin.elapsed() < LIMIT, "never ready");
        sleep(Duration::from_millis(2));
    }
}

/// Of the fixture's lock, in all parts of the recording.
fn acquisitions(report: &Report) -> u64 {
    report.named("served", "mutex").iter().filter_map(|lock| lock["acquisitions"].as_u64()).sum()
}

/// Waits until the recorder has put all of it aside, as a copy of the copy says.
fn copied(place: &Path, all: u64) {
    let begin = Instant::now();
    let aside = folder();
    let copy = aside.path().join("lockprof-1-copy");
    loop {
        fs::create_dir(&copy).expect("a folder for the copy");
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o700)).expect("its permissions");
        let from = sessions(place).into_iter().next();
        let is_there = from.is_some_and(|from| {
            ["owner", "read.so-far"].iter().all(|name| fs::copy(from.join(name), copy.join(name)).is_ok())
        });
        let trace = aside.path().join("copy.lockprof");
        if is_there {
            let outcome = finish(lockprof().arg("recover").arg(&copy).arg("-o").arg(&trace), LIMIT);
            assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
            if acquisitions(&Report::load(&trace)) == all {
                return;
            }
            fs::remove_file(&trace).expect("a trace that is not whole");
        }
        assert!(begin.elapsed() < LIMIT, "no copy is made");
        let _ = fs::remove_dir_all(&copy);
        sleep(Duration::from_millis(20));
    }
}

/// A recorder is killed while the program waits: what is there can be got back, later all that came meanwhile, and nobody
/// else takes it away.
#[test]
fn a_killed_recorder_leaves_its_recording() {
    let (place, at) = (folder(), folder());
    let target = Target::new(fixture("terminated")).env("LOCKPROF_SHM", place.path());
    let mut child = start(target.recorded_command(&at.path().join("t.lockprof")).current_dir(at.path()), at.path());
    let pid = ready(at.path());
    copied(place.path(), 1000);
    child.kill().expect("lockprof is killed");
    child.wait().expect("its end");
    let folder = sessions(place.path());
    assert_eq!(folder.len(), 1);
    // The next recording says so, once, and leaves it.
    let next = |said: bool| {
        let command = ["run", "-o", "other.lockprof", "--", "true"];
        let outcome = finish(lockprof_in(place.path()).args(command).current_dir(at.path()), LIMIT);
        assert_eq!((outcome.code(), outcome.stderr.contains("lockprof recover")), (0, said), "{}", outcome.stderr);
        assert_eq!(sessions(place.path()), folder);
    };
    next(true);
    next(false);
    fs::remove_file(at.path().join("other.lockprof")).expect("a trace that is not needed");
    let outcome = recover(place.path(), at.path(), &["--list"]);
    assert!(outcome.stdout.contains("terminated"), "{}", outcome.stdout);
    // The program goes on, and its folder with it.
    let outcome = recover(place.path(), at.path(), &[]);
    assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
    assert!(outcome.stderr.contains(&pid.to_string()), "it is told that it runs: {}", outcome.stderr);
    let report = Report::load(&traces(at.path())[0]);
    assert_eq!((report.coverage("acquisitions"), report.coverage("lost")), (1000, 0));
    assert_eq!(acquisitions(&report), 1000, "{}", report.overview());
    assert_eq!(report.0["coverage"]["complete"], false, "its end is not known");
    assert_eq!(sessions(place.path()), folder);
    signal(pid, libc::SIGHUP);
    let begin = Instant::now();
    while Path::new("/proc").join(pid.to_string()).exists() {
        assert!(begin.elapsed() < LIMIT, "it does not end");
        sleep(Duration::from_millis(2));
    }
    let outcome = recover(place.path(), at.path(), &["-o", "rest.lockprof"]);
    assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
    let rest = Report::load(&at.path().join("rest.lockprof"));
    // The last ten were made when nobody read any more.
    assert_eq!((acquisitions(&rest), rest.coverage("lost")), (1010, 0), "{}", rest.overview());
    assert!(sessions(place.path()).is_empty(), "it is written and nobody's");
    assert!(recover(place.path(), at.path(), &[]).stderr.contains("nothing to recover"));
}

#[test]
fn a_recording_can_be_thrown_away() {
    let (place, at) = (folder(), folder());
    let target = Target::new(fixture("terminated")).env("LOCKPROF_SHM", place.path());
    let mut child = start(target.recorded_command(&at.path().join("t.lockprof")).current_dir(at.path()), at.path());
    let pid = ready(at.path());
    child.kill().expect("lockprof is killed");
    child.wait().expect("its end");
    signal(pid, libc::SIGHUP);
    // Only what is named, or all of it by its word.
    let outcome = recover(place.path(), at.path(), &["--discard"]);
    let left = sessions(place.path());
    assert_eq!((outcome.code(), left.len()), (2, 1), "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("--all") && outcome.stderr.contains(&left[0].display().to_string()),
        "{}",
        outcome.stderr
    );
    assert_eq!(recover(place.path(), at.path(), &["--discard", "--all"]).code(), 0);
    assert!(sessions(place.path()).is_empty() && traces(at.path()).is_empty());
}

/// Only what is surely a recorder's and nobody's any more is removed.
#[test]
fn folders_of_others_stay() {
    let place = folder();
    let precious = place.path().join("lockprof-2024-11-results");
    fs::create_dir(&precious).expect("a folder");
    fs::write(precious.join("data"), "precious").expect("a file");
    let trace = place.path().join("t.lockprof");
    let target = Target::new(fixture("counts")).args(["1", "10"]).env("LOCKPROF_SHM", place.path());
    let outcome = finish(&mut target.recorded_command(&trace), LIMIT);
    assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
    assert_eq!(sessions(place.path()), [precious.clone(), trace]);
    assert!(precious.join("data").exists());
}

/// Containers share `/dev/shm` and count processes for themselves.
#[test]
fn a_living_recorder_of_another_namespace_keeps_its_folder() {
    let (place, at) = (folder(), folder());
    let within = |line: &str| {
        let mut command = Command::new("unshare");
        command.args(["-pf", "--mount-proc", "sh", "-c", line]).env("LOCKPROF_SHM", place.path());
        finish(command.current_dir(at.path()), LIMIT)
    };
    let alone = within("true");
    if alone.code() != 0 {
        return unable(&format!("no process-id namespaces here: {}", alone.stderr.trim()));
    }
    let trace = at.path().join("outer.lockprof");
    let target = Target::new(fixture("terminated")).env("LOCKPROF_SHM", place.path());
    let child = start(target.recorded_command(&trace).current_dir(at.path()), at.path());
    ready(at.path());
    let before = sessions(place.path());
    let own = lockprof().get_program().to_string_lossy().into_owned();
    let inner = within(&format!("exec '{own}' run -q -o inner.lockprof -- true"));
    assert_eq!(inner.code(), 0, "{}", inner.stderr);
    assert_eq!(sessions(place.path()), before, "the session of the other namespace");
    signal(child.id() as i32, libc::SIGTERM);
    wait(child, at.path(), LIMIT);
    let report = Report::load(&trace);
    report.assert_accounted();
    assert_eq!(report.lock("served", "mutex")["acquisitions"], 1010);
}

/// A full disk at the end: the summary is there, the code says that something went wrong, and nothing is lost.
#[test]
fn a_full_disk_loses_nothing() {
    let (place, at) = (folder(), folder());
    let own = lockprof().get_program().to_string_lossy().into_owned();
    let program = fixture("counts").display().to_string();
    let line = format!(
        "mkdir small && mount -t tmpfs -o size=4k none small && head -c 4096 /dev/zero > small/full && '{own}' run -o small/t.lockprof -- '{program}' 4 500; echo code=$?"
    );
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", &line]).env("LOCKPROF_SHM", place.path()).current_dir(at.path());
    let outcome = finish(&mut command, LIMIT);
    if !outcome.stdout.contains("code=") {
        return unable(&format!("no mount namespaces here: {}", outcome.stderr.trim()));
    }
    assert!(outcome.stdout.contains("code=2"), "{outcome:?}");
    assert!(
        outcome.stderr.contains("lockprof recover") && outcome.stderr.contains("lock order:"),
        "{}",
        outcome.stderr
    );
    let outcome = recover(place.path(), at.path(), &["-o", "t.lockprof"]);
    assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
    let report = Report::load(&at.path().join("t.lockprof"));
    report.assert_accounted();
    assert!(report.0["coverage"]["complete"] == true && report.lock("hot", "mutex")["acquisitions"] == 2000);
    assert!(sessions(place.path()).is_empty());
}
