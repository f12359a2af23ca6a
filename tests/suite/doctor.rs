//! `lockprof doctor`: what it says beforehand is what a recording then says. Each program here is looked at, then recorded.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use crate::util::run::{LIMIT, Program, finish, folder, is_root};
use crate::util::skip::skip;
use crate::util::{Build, Outcome, Report, fixture, go, lockprof, rust};

/// What was said of a program.
struct Said {
    outcome: Outcome,
    value: Value,
}

impl Said {
    fn of(outcome: Outcome) -> Self {
        let value = Report::parse(&outcome.stdout).0;
        Self { outcome, value }
    }

    fn verdict(&self) -> &str {
        self.value["verdict"].as_str().expect("a verdict")
    }

    fn check(&self, id: &str) -> &Value {
        let checks = self.value["checks"].as_array().expect("checks");
        checks.iter().find(|check| check["id"] == id).unwrap_or(&Value::Null)
    }

    /// Whether that check came to this, and says this.
    fn assert(&self, id: &str, outcome: &str, words: &str) {
        let check = self.check(id);
        assert_eq!(check["outcome"], outcome, "{id}: {}", self.value);
        assert!(check.to_string().contains(words), "{words}: {check}");
    }
}

/// A command, and what is around it.
struct Subject {
    command: Vec<PathBuf>,
    env: Vec<(&'static str, PathBuf)>,
}

impl Subject {
    fn new(program: impl Into<PathBuf>, args: &[&str]) -> Self {
        let args = args.iter().map(PathBuf::from);
        Self { command: std::iter::once(program.into()).chain(args).collect(), env: Vec::new() }
    }

    fn env(mut self, name: &'static str, value: impl Into<PathBuf>) -> Self {
        self.env.push((name, value.into()));
        self
    }

    fn look(&self) -> Said {
        let mut command = lockprof();
        command.args(["doctor", "--format", "json", "--"]).args(&self.command).envs(self.env.iter().cloned());
        Said::of(finish(&mut command, LIMIT))
    }

    /// Looks, then records, and holds the one against the other.
    fn verify(&self) -> Said {
        let said = self.look();
        let folder = folder();
        let mut command = lockprof();
        command.args(["run", "-q", "-o", "t.lockprof", "--"]).args(&self.command).envs(self.env.iter().cloned());
        let outcome = finish(command.current_dir(folder.path()), LIMIT);
        let trace = folder.path().join("t.lockprof");
        let context = || format!("{:?}\n{}\n{outcome:?}", self.command, said.value);
        let code = if ["in-part", "refused"].contains(&said.verdict()) { 1 } else { 0 };
        assert_eq!(said.outcome.code(), code, "{}", context());
        if said.verdict() == "refused" {
            assert!(!trace.exists() && outcome.code() == 2, "it was recorded: {}", context());
            // Both say the same.
            let checks = said.value["checks"].as_array().expect("checks").iter();
            let mut found =
                checks.filter(|check| check["outcome"] == "refused").filter_map(|check| check["found"].as_str());
            assert!(found.all(|found| outcome.stderr.contains(found)), "{}", context());
            return said;
        }
        let report = Report::load(&trace);
        let complete = report.0["coverage"]["complete"] == true;
        match said.verdict() {
            "whole" => assert!(complete, "{}\n{:?}", context(), report.notes()),
            "in-part" => assert!(!complete, "{}\n{:?}", context(), report.notes()),
            _ => {}
        }
        said
    }
}

#[test]
fn a_program_of_c_can_be_recorded_whole() {
    let said = Subject::new(fixture("counts"), &["2", "100"]).verify();
    assert_eq!(said.verdict(), "whole", "{}", said.value);
    said.assert("libc", "ok", "glibc 2.");
    said.assert("loader", "ok", "ld-linux");
    said.assert("libraries", "ok", "all found");
    said.assert("stacks", "ok", "unwind tables");
    said.assert("memory", "ok", "free");
    let text = finish(lockprof().args(["doctor", "--"]).arg(fixture("counts")), LIMIT);
    assert!(text.stdout.starts_with("counts can be recorded whole\n"), "{}", text.stdout);
    assert!(text.stdout.lines().all(|line| line.chars().count() <= 80 || line.contains('/')), "{}", text.stdout);
}

#[test]
fn names_are_where_the_debug_information_is() {
    let build = |flags: &[&str]| Build::new("no_locks.c", "no_locks").flags(flags).build();
    let names = |program: &Path| Subject::new(program, &[]).verify().check("names").clone();
    assert_eq!(names(&build(&["-g"]))["outcome"], "ok");
    let plain = names(&build(&["-g0", "-Wl,--build-id"]));
    assert!(plain["found"].as_str().is_some_and(|found| found.contains("symbols")), "{plain}");
    let stripped = names(&build(&["-s", "-Wl,--build-id"]));
    assert_eq!(stripped["outcome"], "note");
    assert!(stripped["fix"].as_str().is_some_and(|fix| fix.contains("build-id ")), "{stripped}");
    // A separate file, found by its link.
    let objcopy = crate::need!("objcopy");
    let folder = folder();
    let program = folder.path().join("split");
    fs::copy(build(&["-g"]), &program).expect("a copy");
    let run = |args: &[&str]| {
        let outcome = finish(Command::new(&objcopy).args(args).current_dir(folder.path()), LIMIT);
        assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
    };
    run(&["--only-keep-debug", "split", "split.debug"]);
    run(&["--strip-all", "--add-gnu-debuglink=split.debug", "split"]);
    let split = names(&program);
    assert!(split["found"].as_str().is_some_and(|found| found.ends_with("/split.debug")), "{split}");
}

#[test]
fn what_run_refuses() {
    let folder = folder();
    let build = |flags: &[&str]| Build::new("no_locks.c", "no_locks").flags(flags).build();
    for flags in [&["-static"][..], &["-static-pie"]] {
        Subject::new(build(flags), &[]).verify().assert("program", "refused", "static");
    }
    if let Some(musl) = crate::util::skip::find("musl-gcc") {
        for (flags, word) in [(&[][..], "musl"), (&["-static"], "static")] {
            let program = Build::new("no_locks.c", "no_locks").flags(flags).compiler(musl.clone()).build();
            Subject::new(program, &[]).verify().assert("program", "refused", word);
        }
    } else {
        skip("musl-gcc is not installed");
    }
    let made = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let path = folder.path().join(name);
        let mut bytes = fs::read(fixture("no_locks")).expect("the fixture");
        change(&mut bytes);
        fs::write(&path, bytes).expect("a program");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("executable");
        Subject::new(path, &[]).verify()
    };
    made("narrow", &|bytes| bytes[4] = 1).assert("program", "refused", "32-bit");
    made("foreign", &|bytes| bytes[18] = 183).assert("program", "refused", "arm64");
    let moved = made("moved", &|bytes| {
        let at = bytes.windows(8).position(|part| part == b"ld-linux").expect("a loader");
        bytes[at..at + 8].copy_from_slice(b"ld-absen");
    });
    moved.assert("program", "refused", "loader");
    let text = folder.path().join("text");
    fs::write(&text, "only text").expect("a text");
    Subject::new(&text, &[]).verify().assert("program", "refused", "permission");
    Subject::new(folder.path(), &[]).verify().assert("program", "refused", "folder");
    if is_root() {
        let program = folder.path().join("setuid");
        fs::copy(fixture("no_locks"), &program).expect("a copy");
        chown(&program, Some(65534), Some(65534)).expect("another owner");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).expect("the setuid bit");
        Subject::new(program, &[]).verify().assert("program", "refused", "set-user-id");
    }
}

#[test]
fn what_is_not_there() {
    for rest in [&["--", "/no/such/program"][..], &["-p", "99999999"], &["-p", "no-number"]] {
        let outcome = finish(lockprof().arg("doctor").args(rest), LIMIT);
        assert_eq!((outcome.code(), outcome.stdout.as_str()), (2, ""), "{outcome:?}");
        assert!(!outcome.stderr.is_empty());
    }
}

#[test]
fn libraries_are_found_as_the_loader_finds_them() {
    let folder = folder();
    let library = folder.path().join("libown.so");
    fs::copy(Build::new("own_locks.c", "libown.so").flags(&["-shared", "-fPIC"]).build(), &library).expect("a copy");
    let link = format!("-L{}", folder.path().display());
    let user = Build::new("own_locks_user.c", "own_locks_user")
        .flags(&[&link, "-Wl,-rpath,$ORIGIN", "-Wl,--no-as-needed", "-lown"])
        .build();
    let program = folder.path().join("user");
    fs::copy(user, &program).expect("a copy");
    let said = Subject::new(&program, &[]).look();
    said.assert("libraries", "ok", "all found");
    // A link elsewhere: its folder is the program's.
    let elsewhere = crate::util::run::folder();
    let linked = elsewhere.path().join("linked");
    symlink(&program, &linked).expect("a link");
    Subject::new(&linked, &[]).look().assert("libraries", "ok", "all found");
    // Its functions have names that are libc's.
    Subject::new(&program, &[]).verify().assert("functions", "in-part", "libown.so");
    Subject::new("/lib64/ld-linux-x86-64.so.2", &[program.to_str().expect("a path")])
        .look()
        .assert("loader", "open", "");
    fs::remove_file(&library).expect("no library");
    let said = Subject::new(&program, &[]).look();
    assert_eq!(said.verdict(), "refused", "{}", said.value);
    said.assert("libraries", "refused", "libown.so");
}

#[test]
fn locks_past_libc_are_told() {
    Subject::new(fixture("own_futex"), &[]).verify().assert("own-locks", "in-part", "futex");
    let Some(java) = crate::util::skip::find("java") else { return skip("java is not installed") };
    let said = Subject::new(java, &["-version"]).verify();
    said.assert("own-locks", "in-part", "libjvm.so");
}

#[test]
fn programs_of_rust() {
    for compiler in rust::compilers() {
        let said = Subject::new(compiler.build("truth", &["-Copt-level=3"]), &["100"]).verify();
        said.assert("rust", "ok", "slow calls reached");
        assert_eq!(said.verdict(), "whole", "{}", said.value);
        let stripped = compiler.build("truth", &["-Copt-level=3", "-Cstrip=symbols"]);
        Subject::new(stripped, &["100"]).verify().assert("rust", "in-part", "no symbols");
        let fixed = compiler.build("truth", &["-Copt-level=3", "-Ctarget-feature=+crt-static"]);
        let said = Subject::new(fixed, &["100"]).verify();
        said.assert("loader", "ok", "static");
        assert_eq!(said.verdict(), "whole", "{}", said.value);
    }
}

#[test]
fn programs_of_go() {
    for toolchain in go::toolchains() {
        for flags in [&[][..], &["-ldflags=-s -w"]] {
            let said = Subject::new(toolchain.build("locks", flags), &[]).verify();
            said.assert("go", "ok", &toolchain.version.replacen("go", "Go ", 1));
            said.assert("names", "ok", "Go program");
            assert!(["whole", "open"].contains(&said.verdict()), "{}", said.value);
        }
        Subject::new(toolchain.program(), &["version"]).look().assert("go", "open", "go command");
    }
}

#[test]
fn what_is_seen_only_later() {
    let folder = folder();
    let script = |name: &str, head: &str| {
        let path = folder.path().join(name);
        fs::write(&path, format!("{head}exec '{}' 2 100\n", fixture("counts").display())).expect("a script");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("executable");
        path
    };
    for (name, head) in [("by-sh", "#!/bin/sh\n"), ("by-env", "#!/usr/bin/env -S sh\n"), ("by-nothing", "")] {
        let said = Subject::new(script(name, head), &[]).verify();
        said.assert("script", "ok", "sh");
        said.assert("starts", "open", "start other programs");
    }
    Subject::new("/bin/sh", &["-c", "true"]).verify().assert("starts", "open", "");
    let host = Build::new("dl_host.c", "dl_host").build();
    Subject::new(host, &[]).look().assert("opens", "open", "dlopen");
    for (name, args) in [("python3", &["-c", "import threading"][..]), ("node", &["-e", "1"])] {
        match crate::util::skip::find(name) {
            Some(path) => assert_eq!(Subject::new(path, args).verify().verdict(), "open"),
            None => skip(&format!("{name} is not installed")),
        }
    }
}

#[test]
fn sanitizers_and_other_libraries_functions() {
    let sanitized = |kind: &str| {
        let output = format!("counts-{kind}");
        Build::new("counts.c", &output).flags(&[&format!("-fsanitize={kind}")])
    };
    for (kind, outcome) in [("address", "ok"), ("thread", "note")] {
        if crate::util::skip::find(if kind == "address" { "libasan.so.8" } else { "libtsan.so.2" }).is_none() {
            skip(&format!("no {kind} sanitizer"));
            continue;
        }
        Subject::new(sanitized(kind).build(), &["2", "100"]).verify().assert("sanitizer", outcome, "Sanitizer");
    }
    // A library that hands calls on, preloaded by the user.
    let library = Build::new("interposer.c", "libinterposer.so").flags(&["-shared", "-fPIC"]).build();
    let said = Subject::new(fixture("counts"), &["2", "100"]).env("LD_PRELOAD", &library).verify();
    said.assert("preload", "ok", "libinterposer.so");
    assert_eq!(said.verdict(), "whole", "{}", said.value);
}

#[test]
fn this_machine() {
    let outcome = finish(lockprof().args(["doctor", "--format", "json"]), LIMIT);
    let said = Said::of(outcome);
    for id in ["memory", "library", "limits", "ptrace", "attach", "perf", "sandbox", "clock"] {
        assert!(said.check(id)["found"].is_string(), "{id}: {}", said.value);
    }
    assert_eq!(said.value["subject"], "machine");
    // Without a place for the shared memory nothing is recorded.
    let subject = Subject::new(fixture("counts"), &["1", "1"]).env("LOCKPROF_SHM", "/no/such/folder");
    subject.verify().assert("memory", "refused", "/no/such/folder");
    // Nor where files may not grow.
    let shell = |words: &str| {
        let mut command = Command::new("/bin/bash");
        command.args(["-c", &format!("ulimit -f 8; exec \"$0\" {words}")]).arg(env!("CARGO_BIN_EXE_lockprof"));
        finish(&mut command, LIMIT)
    };
    let said = Said::of(shell("doctor --format json"));
    assert_eq!((said.outcome.code(), said.verdict()), (1, "refused"), "{}", said.value);
    said.assert("limits", "refused", "ulimit");
    let outcome = shell("run true");
    assert!(outcome.code() == 2 && outcome.stderr.contains("ulimit -f"), "{outcome:?}");
}

/// Where no cache lets code run, the library lies beside the shared memory; where that does not either, nothing is recorded.
#[test]
fn a_cache_that_lets_no_code_run() {
    let unshare = crate::need!("unshare");
    let inside = |places: &str, words: &str| {
        let mounts = format!(
            "for at in {places}; do mount -t tmpfs -o noexec,mode=755 none $at || exit 77; done; cd /; exec \"$0\" {words}"
        );
        let mut command = Command::new(&unshare);
        command.args(["-m", "/bin/sh", "-c", &mounts]).arg(env!("CARGO_BIN_EXE_lockprof"));
        finish(command.env_remove("XDG_CACHE_HOME").env("HOME", "/run"), LIMIT)
    };
    let outcome = inside("/var/cache /run", "doctor --format json");
    if !is_root() || [1, 77].contains(&outcome.code()) && outcome.stdout.is_empty() {
        return crate::util::skip::unable("no mount namespace");
    }
    let said = Said::of(outcome);
    assert_eq!((said.outcome.code(), said.verdict()), (0, "whole"), "{}", said.value);
    said.assert("library", "note", "beside the shared memory");
    assert_eq!(inside("/var/cache /run", "run -q -o /dev/null true").code(), 0);
    let places = "/var/cache /run /dev/shm";
    let said = Said::of(inside(places, "doctor --format json"));
    assert_eq!((said.outcome.code(), said.verdict()), (1, "refused"), "{}", said.value);
    said.assert("library", "refused", "noexec");
    let outcome = inside(places, "run -q -o /dev/null true");
    assert!(outcome.code() == 2 && outcome.stderr.contains("noexec"), "{outcome:?}");
}

/// What is said of a process, and what `run -p` then says.
fn attached(pid: u32) -> (Said, Outcome, Option<Report>) {
    let look = || Said::of(finish(lockprof().args(["doctor", "--format", "json", "-p", &pid.to_string()]), LIMIT));
    let said = look();
    let folder = folder();
    let mut command = lockprof();
    command.args(["run", "-q", "-o", "t.lockprof", "--duration", "0.3", "-p", &pid.to_string()]);
    let outcome = finish(command.current_dir(folder.path()), LIMIT);
    let trace = folder.path().join("t.lockprof");
    let report = trace.exists().then(|| Report::load(&trace));
    assert_eq!(said.verdict() == "refused", report.is_none(), "{}\n{outcome:?}", said.value);
    if let Some(report) = &report {
        let complete = report.0["coverage"]["complete"] == true;
        assert!(complete || !["whole"].contains(&said.verdict()), "{}\n{:?}", said.value, report.notes());
        assert!(!complete || said.verdict() != "in-part", "{}\n{:?}", said.value, report.notes());
        // It can be attached to again, and carries the recorder now.
        look().assert("attach", "ok", "");
    }
    (said, outcome, report)
}

#[test]
fn processes() {
    let start = |command: &mut Command| {
        let child = Program(command.spawn().expect("a program"));
        sleep(Duration::from_millis(300));
        child
    };
    let sleeper = start(Command::new("sleep").arg("60"));
    let (said, outcome, _) = attached(sleeper.id());
    if said.verdict() == "refused" {
        return crate::util::skip::unable(&format!("attaching: {}", outcome.stderr));
    }
    assert_eq!(said.verdict(), "whole", "{}", said.value);
    said.assert("process", "ok", "1 thread");
    // Traced by somebody else: this one.
    let traced = start(Command::new("sleep").arg("60"));
    // SAFETY: no memory of this process is touched.
    assert_eq!(unsafe { libc::ptrace(libc::PTRACE_SEIZE, traced.id() as i32, 0, 0) }, 0, "it can be traced");
    attached(traced.id()).0.assert("attach", "refused", "is traced by process");
    // C++'s static variables are seen in a program that was attached to, too.
    if let Some(node) = crate::util::skip::find("node") {
        let program = start(Command::new(node).args(["-e", "setTimeout(() => {}, 60000)"]));
        attached(program.id()).0.assert("late", "note", "when the recorder comes");
    } else {
        skip("node is not installed");
    }
    for toolchain in go::toolchains().iter().take(1) {
        let program = start(Command::new(toolchain.build("standing", &[])).arg("sleep"));
        attached(program.id()).0.assert("attach", "ok", "brought in");
    }
    for compiler in rust::compilers().iter().take(1) {
        let program = start(Command::new(compiler.build("truth", &["-Copt-level=3"])).arg("1000000000"));
        // It locks faster than all can be kept on a busy machine: what `run -p` says of that is another matter.
        let pid = program.id().to_string();
        let said = Said::of(finish(lockprof().args(["doctor", "--format", "json", "-p", &pid]), LIMIT));
        said.assert("attach", "ok", "brought in");
        assert_eq!(said.verdict(), "whole", "{}", said.value);
    }
}
