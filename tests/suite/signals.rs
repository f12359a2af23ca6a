//! Signals to `lockprof run` reach the program as if it were not there.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::util::run::{LIMIT, folder, signal, start, wait};
use crate::util::terminal::Terminal;
use crate::util::{Report, Target, fixture, lockprof};

/// What the fixture has said so far, a value each line.
fn said(folder: &Path) -> Vec<Value> {
    let text = fs::read_to_string(folder.join("stdout")).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn until(folder: &Path, key: &str) -> Value {
    let begin = Instant::now();
    loop {
        if let Some(found) = said(folder).into_iter().find(|line| !line[key].is_null()) {
            return found;
        }
        assert!(begin.elapsed() < LIMIT, "{key} is never said: {:?}", said(folder));
        sleep(Duration::from_millis(2));
    }
}

fn fact(folder: &Path, name: &str) -> i64 {
    let found = said(folder).into_iter().find(|line| line["fact"] == name);
    found.and_then(|line| line["value"].as_i64()).unwrap_or_else(|| panic!("no fact {name}"))
}

fn counts(folder: &Path) -> BTreeMap<i64, i64> {
    let pair = |line: Value| Some((line["signal"].as_i64()?, line["count"].as_i64()?));
    said(folder).into_iter().filter_map(pair).collect()
}

/// All that people and service managers send, each once; a queued one with its value.
#[test]
fn every_signal_is_handed_on_once() {
    let folder = folder();
    let trace = folder.path().join("t.lockprof");
    let child = start(&mut Target::new(fixture("signalled")).recorded_command(&trace), folder.path());
    until(folder.path(), "ready");
    let pid = child.id() as i32;
    let mut sent = vec![
        libc::SIGHUP,
        libc::SIGINT,
        libc::SIGQUIT,
        libc::SIGABRT,
        libc::SIGUSR1,
        libc::SIGUSR2,
        libc::SIGPIPE,
        libc::SIGALRM,
        libc::SIGCONT,
        libc::SIGURG,
        libc::SIGXCPU,
        libc::SIGXFSZ,
        libc::SIGVTALRM,
        libc::SIGPROF,
        libc::SIGWINCH,
        libc::SIGIO,
        libc::SIGPWR,
        libc::SIGRTMIN(),
        libc::SIGRTMAX(),
    ];
    sent.iter().for_each(|number| signal(pid, *number));
    let queued = libc::SIGRTMIN() + 7;
    // SAFETY: numbers, and a value that is only carried.
    let done = unsafe { libc::sigqueue(pid, queued, libc::sigval { sival_ptr: 4711 as *mut _ }) };
    assert_eq!(done, 0, "queued");
    // The order of different signals is the kernel's: the one that ends it is sent when all others have been taken.
    let total = sent.len() as i64 + 1;
    let has_taken_all = |line: &Value| line["fact"] == "total" && line["value"] == total;
    let begin = Instant::now();
    while !said(folder.path()).iter().any(has_taken_all) {
        assert!(begin.elapsed() < LIMIT, "not all are handed on: {:?}", said(folder.path()));
        sleep(Duration::from_millis(2));
    }
    signal(pid, libc::SIGTERM);
    let outcome = wait(child, folder.path(), LIMIT);
    assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
    sent.extend([queued, libc::SIGTERM]);
    let want: BTreeMap<i64, i64> = sent.iter().map(|number| (i64::from(*number), 1)).collect();
    fs::write(folder.path().join("stdout"), &outcome.stdout).expect("what it said");
    assert_eq!(counts(folder.path()), want);
    assert_eq!(fact(folder.path(), "queued"), 4711);
    let report = Report::load(&trace);
    report.assert_accounted();
    assert_eq!(report.lock("served", "mutex")["acquisitions"], want.len());
}

/// What the shell has set is inherited as without lockprof; and an ignored signal is handed on all the same, since the
/// program may handle it (a background job of a script is started with SIGINT ignored).
#[test]
fn ignored_signals_are_inherited_and_handed_on() {
    let program = fixture("signalled");
    let run = |command: &mut Command| {
        let folder = folder();
        let child = start(command, folder.path());
        let pid = until(folder.path(), "ready")["ready"].as_i64().expect("a process id");
        signal(child.id() as i32, libc::SIGINT);
        signal(child.id() as i32, libc::SIGTERM);
        let outcome = wait(child, folder.path(), LIMIT);
        assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
        let facts = [fact(folder.path(), "ignored"), fact(folder.path(), "blocked")];
        assert!(pid > 0 && counts(folder.path()).contains_key(&i64::from(libc::SIGINT)), "{}", outcome.stdout);
        facts
    };
    let within = |line: String| {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("trap '' INT PIPE USR1 CHLD; exec {line}")]);
        command
    };
    let folder = folder();
    let bare = run(&mut within(format!("'{}'", program.display())));
    let recorded = lockprof().get_program().to_string_lossy().into_owned();
    let trace = folder.path().join("t.lockprof");
    let line = format!("'{recorded}' run -q -o '{}' -- '{}'", trace.display(), program.display());
    assert_eq!(run(&mut within(line)), bare);
    let bit = |number: i32| 1i64 << (number - 1);
    assert_ne!(bare[0] & bit(libc::SIGINT), 0, "the shell ignores it");
}

/// Ctrl-Z stops both, `fg` continues both, once each.
#[test]
fn job_control() {
    let bash = crate::need!("bash");
    let folder = folder();
    let mut command = Command::new(bash);
    command.args(["--norc", "--noprofile", "-i"]).env("PS1", "> ").env_remove("HISTFILE").current_dir(folder.path());
    let mut terminal = Terminal::start(command, 120, 40);
    let lockprof = lockprof().get_program().to_string_lossy().into_owned();
    terminal.keys(&format!("L='{lockprof}'; P='{}'\r", fixture("signalled").display()));
    terminal.keys("$L run -q -o t.lockprof -- $P\r").shows("\"ready\"");
    for round in 1..3 {
        terminal.keys("\u{1a}").until("stopped", |screen| screen.matches("Stopped").count() == round);
        terminal.keys("fg\r").shows(&format!("\"continued\":{round}"));
    }
    terminal.keys("\u{1a}").until("stopped", |screen| screen.matches("Stopped").count() == 3);
    terminal.keys("kill %1; fg; echo \"code=$?\"\r").shows("code=0");
    assert!(!terminal.text().contains("\"continued\":4"), "{}", terminal.text());
    terminal.keys("exit\r");
    terminal.end();
    let report = Report::load(&folder.path().join("t.lockprof"));
    report.assert_accounted();
    // Twice continued and ended; it may see the last SIGCONT before that.
    let served = report.lock("served", "mutex")["acquisitions"].as_u64();
    assert!(matches!(served, Some(3 | 4)), "{served:?}");
}
