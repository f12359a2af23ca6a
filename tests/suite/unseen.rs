//! What was not recorded is told, and a recording that lacks it does not call itself complete.

use crate::util::report::number;
use crate::util::run::is_root;
use crate::util::skip::unable;
use crate::util::{Build, Recording, Target, fixture};

/// A note that begins so and has all of `words` in it; the recording is not complete, and the gate says so too.
fn assert_told(recording: &Recording, words: &[&str]) {
    let coverage = &recording.report.0["coverage"];
    assert_eq!(coverage["complete"], false, "{coverage}");
    let told = recording.report.notes().iter().any(|note| words.iter().all(|word| note.contains(word)));
    assert!(told, "{words:?} in {coverage}");
    let check = crate::util::run::finish(
        crate::util::lockprof().args(["check", "--strict"]).arg(&recording.trace),
        crate::util::run::LIMIT,
    );
    assert_eq!(check.code(), 3, "{}", check.stdout);
}

fn in_shell(line: &str) -> Recording {
    Target::new("/bin/sh").args(["-c", line]).record()
}

#[test]
fn children_that_cannot_be_recorded() {
    for (what, words) in [("chroot", "does not see that folder"), ("uid", "rights"), ("files", "no descriptors left")] {
        if what != "files" && !is_root() {
            unable("only root can change its root or its user");
            continue;
        }
        let recording = Target::new(fixture("cut_off")).args([what]).record();
        assert_eq!(recording.outcome.code(), 0, "{}", recording.outcome.stderr);
        assert_told(&recording, &["1 child by fork was not recorded", words, "2000 acquisitions"]);
        assert_eq!(number(recording.report.lock("m", "mutex"), "acquisitions"), 2001);
        assert_eq!(recording.report.coverage("lost"), 2000);
    }
}

/// Of a program that lives longer each time, until the recorder has found the time for a look at it. `PAUSE` in the line is
/// the program's third argument.
fn until_looked_at(line: &str) -> Recording {
    for pause in ["300", "2000", "8000"] {
        let recording = in_shell(&line.replace("PAUSE", pause));
        if !recording.report.notes().iter().any(|note| note.contains("ended before it could be looked at")) {
            return recording;
        }
    }
    in_shell(&line.replace("PAUSE", "30000"))
}

#[test]
fn a_program_without_the_environment() {
    let program = fixture("named_by_number");
    let program = program.display();
    for line in [
        format!("env -i '{program}' 10 0 PAUSE"),
        format!("exec env -i '{program}' 10 0 PAUSE"),
        format!("LD_PRELOAD= '{program}' 10 0 PAUSE; true"),
    ] {
        assert_told(&until_looked_at(&line), &["named_by_number was not recorded", "LD_PRELOAD"]);
    }
}

/// What is announced needs no look: the reason is known however short the program lives.
#[test]
fn programs_that_end_at_once() {
    let still = Build::new("named_by_number.c", "static").flags(&["-static"]).build();
    let still = still.display();
    let mut lines = vec![
        ("exec env -i /bin/true".to_owned(), "true", "LD_PRELOAD"),
        ("env -u LD_PRELOAD /bin/true; true".to_owned(), "true", "LD_PRELOAD"),
        (format!("'{still}' 10 0 0; true"), "static", "statically linked"),
    ];
    for (line, name, why) in &lines {
        let recording = Target::new("/bin/sh").args(["-c", line]).unprivileged().record();
        assert_told(&recording, &[&format!("{name} was not recorded"), why]);
    }
    if is_root() {
        lines.push(("setpriv --reuid 65534 --clear-groups /bin/true; true".to_owned(), "true", "another user"));
    } else {
        unable("only root can change its user");
    }
    for (line, name, why) in &lines {
        assert_told(&in_shell(line), &[&format!("{name} was not recorded"), why]);
    }
}

/// Too short for a look at it, but it is the command's own process.
#[test]
fn a_command_that_became_another_program_for_a_moment() {
    assert_told(&in_shell("exec env -i /bin/true"), &["true", "was not recorded"]);
}

#[test]
fn a_static_program() {
    let program = Build::new("named_by_number.c", "static").flags(&["-static"]).build();
    assert_told(
        &until_looked_at(&format!("'{}' 10 0 PAUSE; true", program.display())),
        &["static was not recorded", "statically linked"],
    );
}

#[test]
fn programs_with_the_recorder_are_complete() {
    let recording = in_shell("sleep 0.2; sh -c 'sleep 0.1; true'; env sleep 0.1 & wait; true");
    let coverage = &recording.report.0["coverage"];
    assert_eq!(coverage["complete"], true, "{coverage}");
}

/// A process for each descriptor that `lockprof` may have, and more.
#[test]
fn more_processes_than_descriptors() {
    let program = fixture("named_by_number");
    let line = format!(
        "ulimit -n 100 && exec '{}' run -q -o t.lockprof -- '{}' 100 150",
        env!("CARGO_BIN_EXE_lockprof"),
        program.display()
    );
    let folder = crate::util::run::folder();
    let mut command = std::process::Command::new("/bin/sh");
    command.args(["-c", &line]).current_dir(folder.path());
    let outcome = crate::util::run::finish(&mut command, crate::util::run::LIMIT);
    assert_eq!(outcome.code(), 7, "{}", outcome.stderr);
    let report = crate::util::Report::load(&folder.path().join("t.lockprof"));
    report.assert_accounted();
    assert_eq!(report.0["coverage"]["complete"], true, "{}", report.0["coverage"]);
    assert_eq!(report.coverage("acquisitions"), 15_100);
}
