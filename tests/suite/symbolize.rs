//! `lockprof symbolize`: a recording of a stripped program gets the names that one with debug information has.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::util::run::{LIMIT, Target, finish, folder};
use crate::util::{Build, Outcome, Report, fixture, lockprof};

/// Each lock's name, kind, count and class, and the frames of its sites that are the program's.
fn told(trace: &Path) -> Vec<String> {
    let report = Report::load(trace);
    let frames = |site: &Value| -> Vec<String> {
        let frames = site["stack"].as_array().expect("a stack").iter();
        let own = frames.filter(|frame| frame["module"] == "program");
        own.map(|frame| format!("{} {}:{}", frame["function"], frame["file"], frame["line"])).collect()
    };
    let mut rows: Vec<String> = (report.locks().iter())
        .filter(|lock| lock["kind"] == "mutex")
        .map(|lock| {
            let mut sites: Vec<_> = lock["sites"].as_array().expect("sites").iter().map(frames).collect();
            sites.sort();
            format!("{} {} {} {sites:?}", lock["name"], lock["class"], lock["acquisitions"])
        })
        .collect();
    rows.sort();
    rows
}

#[test]
fn names_come_afterwards() {
    let objcopy = crate::need!("objcopy");
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let whole = Build::new("counts.c", "counts").flags(&["-g", "-O1", "-Wl,--build-id"]).build();
    fs::create_dir_all(at("debug/deep")).expect("a folder");
    let run = |command: &mut Command| -> Outcome { finish(command.current_dir(folder.path()), LIMIT) };
    let copy = |option: &str, to: &str| {
        let outcome = run(Command::new(&objcopy).arg(option).arg(&whole).arg(to));
        assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
    };
    copy("--only-keep-debug", "debug/deep/any-name");
    let record = |trace: &str| run(lockprof().args(["run", "-o", trace, "--", "./program", "2", "1000"]));
    copy("--strip-all", "program");
    let outcome = record("bare.lockprof");
    let said = outcome.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("no name, in program ("), "it says once what is missing: {said}");
    assert!(said.contains("`lockprof symbolize bare.lockprof` then adds the names"), "{said}");
    fs::remove_file(at("program")).expect("gone");
    fs::copy(&whole, at("program")).expect("a copy");
    assert!(!record("want.lockprof").stderr.contains("no name"), "nothing is missing");
    let want = told(&at("want.lockprof"));
    assert!(want.iter().any(|row| row.contains("\"hot\" \"global:hot\"")), "{want:?}");
    fs::remove_file(at("program")).expect("gone");
    let before = told(&at("bare.lockprof"));
    assert_ne!(before, want);

    let symbolize = |args: &[&str]| run(lockprof().arg("symbolize").args(args));
    let outcome = symbolize(&["bare.lockprof", "--debug-dir", "debug", "-o", "named.lockprof"]);
    assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
    assert_eq!(told(&at("named.lockprof")), want);
    assert_eq!(told(&at("bare.lockprof")), before, "the recording stays as it is");
    // The binary itself will do, and without -o the recording gets the names.
    fs::copy(at("bare.lockprof"), at("own.lockprof")).expect("a copy");
    let binary = whole.parent().expect("a folder").to_str().expect("a path");
    assert_eq!(symbolize(&["own.lockprof", "--debug-dir", binary]).code(), 0);
    assert_eq!(told(&at("own.lockprof")), want);
    // What has names keeps them.
    let outcome = symbolize(&["own.lockprof"]);
    assert!(outcome.stderr.contains("0 places in the code and 0 locks"), "{}", outcome.stderr);
    assert_eq!(told(&at("own.lockprof")), want);
    // Files of another build-id are not believed.
    let other = fixture("no_locks");
    let outcome =
        symbolize(&["bare.lockprof", "--debug-dir", other.parent().expect("a folder").to_str().expect("a path")]);
    assert_eq!((outcome.code(), told(&at("bare.lockprof"))), (0, before), "{}", outcome.stderr);

    for wrong in [&["bare.lockprof", "--debug-dir", "/no/such/folder"][..], &["no.lockprof"]] {
        let outcome = symbolize(wrong);
        assert!(outcome.code() == 2 && outcome.stderr.contains("no"), "{outcome:?}");
    }
    let outcome = run(lockprof().args(["symbolize", "bare.lockprof", "--debuginfod"]).env_remove("DEBUGINFOD_URLS"));
    assert!(outcome.code() == 0 && outcome.stderr.contains("DEBUGINFOD_URLS"), "{outcome:?}");
}

/// `-o -`: the recording is on standard output, whatever the program writes.
#[test]
fn a_recording_on_standard_output() {
    let folder = folder();
    let program = fixture("counts");
    let script = format!(
        "\"$0\" run -q -o - -- '{}' 2 100 > a.lockprof && \"$0\" symbolize -q a.lockprof -o - > b.lockprof && \
         \"$0\" merge -q a.lockprof b.lockprof -o - > c.lockprof",
        program.display()
    );
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &script]).arg(env!("CARGO_BIN_EXE_lockprof")).current_dir(folder.path());
    let outcome = finish(&mut command, LIMIT);
    assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
    assert_eq!(outcome.stderr, Target::new(&program).args(["2", "100"]).bare().stdout, "the program's own output");
    let counts = ["a", "b", "c"]
        .map(|name| Report::load(&folder.path().join(format!("{name}.lockprof"))).coverage("acquisitions"));
    assert_eq!((counts[0], counts[1]), (counts[2] / 2, counts[2] / 2));
}

#[test]
fn what_is_made_of_the_command_line() {
    let said = |args: &[&str]| finish(lockprof().args(args), LIMIT);
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let outcome = said(&["completions", shell]);
        assert_eq!((outcome.code(), outcome.stderr.as_str()), (0, ""));
        assert!(outcome.stdout.contains("flamegraph") && outcome.stdout.contains("no-follow"), "{shell}");
    }
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let completions = said(&["completions", "bash"]).stdout;
    fs::write(at("lockprof.bash"), completions).expect("a file");
    let complete = ". ./lockprof.bash; COMP_WORDS=(lockprof flame); COMP_CWORD=1; _lockprof lockprof flame lockprof; echo ${COMPREPLY[@]}";
    let outcome = finish(Command::new("/bin/bash").args(["-c", complete]).current_dir(folder.path()), LIMIT);
    assert_eq!(outcome.stdout.trim(), "flamegraph", "{outcome:?}");
    assert_eq!(said(&["completions", "cmd"]).code(), 2);

    let outcome = said(&["man", "-o", folder.path().to_str().expect("a path")]);
    assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
    for page in ["lockprof", "lockprof-run", "lockprof-doctor", "lockprof-symbolize", "lockprof-man"] {
        let text = fs::read_to_string(at(&format!("{page}.1"))).expect("a page");
        assert!(text.contains(".TH lockprof") && text.contains(".SH EXAMPLES"), "{page}: {text}");
    }
    let run = said(&["man", "run"]).stdout;
    assert_eq!(run, fs::read_to_string(at("lockprof-run.1")).expect("a page"));
    assert_eq!(said(&["man", "nothing"]).code(), 2);
    let Some(man) = crate::util::skip::find("man") else { return crate::util::skip::skip("man is not installed") };
    let mut command = Command::new(man);
    command.args(["-l", "lockprof-run.1"]).env("MANWIDTH", "100").env("LC_ALL", "C.UTF-8").current_dir(folder.path());
    let shown = finish(&mut command, LIMIT);
    assert!(shown.stdout.contains("lockprof run ./server -t 4 "), "{shown:?}");
}
