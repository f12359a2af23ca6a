//! What other tools wrote, given where a recording is expected.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::consumers::pprof_total;
use super::{export, totals, trace};
use crate::util::build::{scratch, targets};
use crate::util::run::{LIMIT, finish, folder};
use crate::util::{Outcome, Report, lockprof};

fn run(args: &[&str], file: &Path) -> Outcome {
    finish(lockprof().args(args).arg(file), LIMIT)
}

fn lines(file: &Path) -> String {
    fs::read_to_string(file).expect("folded stacks")
}

#[test]
fn a_pprof_profile_of_ours_comes_back() {
    let folder = folder();
    for side in ["--by=waiter", "--by=holder"] {
        let profile = export(folder.path(), "pprof", trace(), &[side]);
        assert_eq!(totals(&profile), totals(trace()), "{side}");
        // The stacks too: every frame of every line.
        let again = export(folder.path(), "folded", &profile, &[side]);
        let again = lines(&again);
        assert_eq!(again, lines(&export(folder.path(), "folded", trace(), &[side])), "{side}");
    }
}

#[test]
fn folded_stacks_come_back() {
    let folder = folder();
    let first = export(folder.path(), "folded", trace(), &[]);
    let kept = folder.path().join("first");
    fs::rename(first, &kept).expect("its place");
    assert_eq!(totals(&kept).1, totals(trace()).1);
    assert_eq!(lines(&export(folder.path(), "folded", &kept, &[])), lines(&kept));
    let frames = |file: &Path| {
        let outcome = run(&["flamegraph", "-o", "-"], file);
        assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
        let titles = outcome.stdout.split("<title>").skip(1).filter_map(|rest| rest.split("</title>").next());
        let mut titles: Vec<String> = titles.map(str::to_owned).collect();
        titles.sort_unstable();
        titles
    };
    assert_eq!(frames(&kept), frames(trace()), "the pictures have the same frames");
}

/// The profiles that Go itself wrote.
fn go_profiles(go: &Path, folder: &Path) -> [PathBuf; 2] {
    let program = folder.join("contention");
    let mut build = Command::new(go);
    build.args(["build", "-o"]).arg(&program).arg(targets().join("go_contention.go")).current_dir(folder);
    build.env("GOTOOLCHAIN", "local").env("GOFLAGS", "").env("GOCACHE", scratch().join("go-cache"));
    let output = build.output().expect("go build");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let profiles = ["mutex", "block"].map(|name| folder.join(format!("{name}.pb.gz")));
    let outcome = finish(Command::new(program).args(&profiles), LIMIT);
    assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
    profiles
}

#[test]
fn the_profiles_of_go_are_read() {
    let go = crate::need!("go");
    let folder = folder();
    let profiles = go_profiles(&go, folder.path());
    for profile in &profiles {
        let report = Report::load(profile);
        let sum = |key: &str| -> u64 {
            ["contention", "blocked"].iter().map(|part| report.0[part][key].as_u64().unwrap()).sum()
        };
        assert_eq!(sum("wait_ns"), pprof_total(&go, "delay", "ns", profile));
        assert_eq!(sum("contended"), pprof_total(&go, "contentions", "count", profile));
        assert_eq!((&report.0["coverage"]["complete"], sum("hold_ns")), (&false.into(), 0), "nothing is claimed");
        assert!(report.notes().iter().any(|note| note.contains("imported")), "{:?}", report.notes());
        for command in ["flamegraph", "export --to=csv", "export --to=chrome", "export --to=prometheus"] {
            let outcome = run(&command.split(' ').collect::<Vec<_>>(), profile);
            assert_eq!(outcome.code(), 0, "{command}: {}", outcome.stderr);
        }
        let text = run(&["report"], profile);
        assert!(text.stdout.contains("The profile of another tool") && !text.stdout.contains("every one recorded"));
        assert!(text.stdout.contains("main.(*cache).put") && !text.stdout.contains("held 0"), "{}", text.stdout);
        assert!(!text.stdout.contains("no cycle"), "the order of locks was not seen: {}", text.stdout);
    }
    let mutex = Report::load(&profiles[0]);
    let put = mutex.lock("main.(*cache).put", "mutex");
    assert_eq!(put["holders"][0]["blocked_ns"], put["wait_ns"]["total"], "a mutex profile is of holders");
    let block = Report::load(&profiles[1]);
    let put = block.lock("main.(*cache).put", "mutex");
    assert!(put["waiters"][0]["stack"].as_array().is_some_and(|stack| stack.len() > 2), "a block profile, of waiters");
    assert_ne!(block.lock("main.main.func2", "channel")["contended"], 0, "the receiver");
    assert_eq!(block.lock("main.main", "waitgroup")["contended"], 1);
}

#[test]
fn junk_is_refused_in_a_sentence() {
    let folder = folder();
    let junk = folder.path().join("junk");
    for (bytes, words) in [
        (&b""[..], "empty"),
        (b"hello\n", "not a lockprof trace"),
        (b"a list\nof words 7\n", "not a lockprof trace"),
        (b"\x0a\xff\xff\xff\xff\x0f", "not a lockprof trace"),
        (b"\x1f\x8b\x08\x00junk", "gzip"),
        (b"\x89LPF", "header"),
    ] {
        fs::write(&junk, bytes).expect("a file");
        for command in ["report", "flamegraph", "export --to=pprof"] {
            let outcome = run(&command.split(' ').collect::<Vec<_>>(), &junk);
            assert_eq!(outcome.code(), 2, "{bytes:?} {command}: {}", outcome.stderr);
            assert!(outcome.stderr.contains(words) && outcome.stderr.lines().count() == 1, "{}", outcome.stderr);
        }
    }
}
