//! `lockprof top`: the screen in a real terminal, lines without one, and viewers of other recordings.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use lockprof::render::units::{duration, short_count};

use serde_json::Value;

use super::real_programs::memcached;
use crate::util::report::{list, number};
use crate::util::run::{LIMIT, finish, folder, signal, start};
use crate::util::server::{Server, free_port, until};
use crate::util::terminal::Terminal;
use crate::util::{Report, Target, fixture, lockprof};

/// A mode of the deadlocking fixture under `top`.
fn top(folder: &std::path::Path, options: &[&str], mode: &[&str]) -> Command {
    let mut command = lockprof();
    command.arg("top").args(options).args(["-o", "t.lockprof", "--log", "t.log", "--"]).arg(fixture("deadlocks"));
    command.args(mode).env("HANGS_FOLDER", folder).current_dir(folder);
    command
}

#[test]
fn a_deadlock_raises_the_alarm() {
    let folder = folder();
    let mut terminal = Terminal::start(top(folder.path(), &[], &["busy", "2"]), 100, 30);
    terminal.shows("1 Locks");
    let time = terminal.shows("DEADLOCK:");
    eprintln!("the alarm came {time:?} after the first frame");
    assert!(terminal.text().contains("Enter: all stacks"), "{}", terminal.text());
    terminal.keys("\r").shows("wait for each other");
    terminal.keys("\x1b").shows("wait share");
    // What is shown has names by now, or soon.
    terminal.shows("forks[*] ×2");
    terminal.keys("x").shows("forks[0]");
    terminal.keys("/forks[1\r").until("the others are filtered out", |text| {
        text.contains("forks[1]") && !text.lines().skip(5).any(|line| line.contains("forks[0]"))
    });
    terminal.keys("\r").shows("who waits now");
    terminal.keys("1").shows("wait share");
    terminal.keys("\x1b").shows("forks[0]  ");
    terminal.keys("s").until("sorted by the number of waits", |text| text.contains("↓waits "));
    terminal.keys("3").shows("blocked");
    terminal.keys("4").shows("hung");
    terminal.keys(" ").shows("PAUSED");
    terminal.keys("e").shows("wrote t.at-");
    terminal.keys("1 ").until("goes on", |text| !text.contains("PAUSED"));
    terminal.keys("q").shows("still running");
    terminal.keys("e");
    let (status, said) = terminal.end();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("t.log"), "{said}");
    let report = Report::load(&folder.path().join("t.lockprof"));
    assert_eq!(list(&report.0["hangs"]).len(), 1);
    let exported = fs::read_dir(folder.path()).unwrap().flatten().map(|entry| entry.path());
    let exported = exported
        .into_iter()
        .find(|path| path.to_string_lossy().contains(".at-") && path.extension().is_some_and(|end| end == "lockprof"));
    let exported = Report::load(&exported.expect("what e wrote"));
    assert_eq!(list(&exported.0["hangs"]).len(), 1, "the deadlock is in what was written meanwhile, too");
}

#[test]
fn the_terminal_is_given_back_at_a_signal() {
    let folder = folder();
    let mut terminal = Terminal::start(top(folder.path(), &[], &["ring", "2"]), 80, 24);
    terminal.shows("1 Locks");
    signal(terminal.pid(), libc::SIGTERM);
    let (status, said) = terminal.end();
    assert_eq!(status.code().or(status.signal()), Some(143), "the program's own end: {said}");
}

#[test]
fn the_terminal_is_given_back_at_a_panic() {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--ignored", "--exact", "--nocapture", "suite::top::panics_on_the_screen"]);
    command.env("RUST_BACKTRACE", "0");
    let terminal = Terminal::start(command, 80, 24);
    let (status, said) = terminal.end();
    assert_eq!(status.code(), Some(101), "{said}");
    assert!(said.contains("the screen's thread is broken"), "the message is on the ordinary screen: {said}");
}

#[test]
#[ignore = "run by the_terminal_is_given_back_at_a_panic"]
fn panics_on_the_screen() {
    let mut screen = lockprof::tui::term::Screen::enter().expect("a terminal");
    screen.draw(|_| panic!("the screen's thread is broken")).expect("a frame");
}

#[test]
fn the_last_state_stays_until_it_is_left() {
    let folder = folder();
    let mut terminal = Terminal::start(top(folder.path(), &["--ascii"], &["slow"]), 80, 24);
    terminal.shows("ENDED: exit code 0");
    assert!(terminal.text().is_ascii(), "{}", terminal.text());
    // A key right behind Esc would be one with Alt.
    terminal.keys("\x1b").until("the summary is put away", |text| !text.contains("summary"));
    terminal.shows("account");
    terminal.keys("q");
    assert_eq!(terminal.end().0.code(), Some(0));
}

#[test]
fn a_program_is_left_alone() {
    let folder = folder();
    let mut terminal = Terminal::start(top(folder.path(), &[], &["busy", "2"]), 80, 24);
    terminal.shows("wait share");
    terminal.keys("q").shows("still running");
    terminal.keys("l");
    let (status, said) = terminal.end();
    let pid = said.split("the program (pid ").nth(1).and_then(|rest| rest.split(')').next()?.parse().ok());
    // It is still there, and ends now.
    signal(pid.unwrap_or_else(|| panic!("not left: {said}")), libc::SIGKILL);
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("goes on, recorded no more"), "{said}");
    let report = Report::load(&folder.path().join("t.lockprof"));
    assert!(report.0["exit"].is_null(), "it had not ended: {}", report.0["exit"]);
}

/// Clients that go on until they are stopped.
struct Load {
    over: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(port: u16) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let client = |me| {
            let over = Arc::clone(&over);
            std::thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    memcached::client(port, me);
                }
            })
        };
        Self { clients: (0..4).map(client).collect(), over }
    }

    fn stop(self) {
        self.over.store(true, Ordering::Relaxed);
        self.clients.into_iter().for_each(|client| client.join().expect("a client"));
    }
}

#[test]
fn memcached_under_load() {
    let program = crate::need!("memcached");
    let folder = folder();
    let port = free_port();
    let mut command = lockprof();
    command.args(["top", "-o", "t.lockprof", "--log", "t.log", "--"]).arg(&program);
    command.args(["-l", "127.0.0.1", "-p", &port.to_string(), "-U", "0", "-t", "4", "-m", "32", "-u", "root"]);
    command.current_dir(folder.path());
    let mut terminal = Terminal::start(command, 160, 50);
    let load = Load::start(port);
    terminal.shows("memcached+0x");

    let rows = |text: &str| -> Vec<String> {
        let rows = text.lines().skip_while(|line| !line.contains("wait share")).skip(1);
        rows.filter(|line| line.contains("mutex")).map(str::to_owned).collect()
    };
    // One row for each: what they are compared with has each lock, too.
    terminal.keys("xs").shows("↓waits ");
    terminal.keys("sssss").shows("↓name ");
    terminal.keys("s").shows("↓wait ");
    let all = terminal.text();
    let name = all.split_whitespace().find(|word| word.starts_with("memcached+0x")).expect("a name");
    terminal.keys(&format!("/{}\r", name.to_uppercase())).until("the others are filtered out", |text| {
        let rows = rows(text);
        !rows.is_empty() && rows.iter().all(|row| row.contains(name))
    });
    terminal.keys("\r").shows("who waited (since the start)");
    terminal.keys("\x1b").shows("wait share");
    terminal.keys("\x1b").until("all are there again", |text| rows(text).len() > 5);

    // What stands still is what is written, from the first acquisition on.
    terminal.keys("w").shows("total ");
    terminal.until("many locks are there", |text| rows(text).len() > 30);
    terminal.keys(" ").shows("PAUSED");
    // The screen has what was written by the time that it says so.
    terminal.keys("e").shows("wrote t.at-");
    let paused = terminal.text();
    let name = written(&paused);
    let report = Report::load(&folder.path().join(name));
    let recorded = number(&report.0["coverage"], "recorded");
    assert!(paused.contains(&format!("{} recorded", short_count(recorded))), "{recorded}:\n{paused}");
    let shown = rows(&paused);
    assert!(shown.len() > 30, "{paused}");
    let told = |lock: &Value| {
        ["wait_ns/p50", "wait_ns/p99", "wait_ns/max", "hold_ns/p99"]
            .map(|key| lock.pointer(&format!("/{key}")).and_then(Value::as_u64).expect("a time"))
            .map(|ns| if ns == 0 { "–".into() } else { duration(ns) })
            .join(" ")
    };
    let mut left: Vec<String> = list(&report.0["locks"]).iter().map(told).collect();
    for row in &shown {
        let words = row.split_whitespace().collect::<Vec<_>>().join(" ");
        let at = left.iter().position(|told| words.contains(told));
        let told = left.remove(at.unwrap_or_else(|| panic!("not in the report: {row}\n{paused}")));
        // Names order rows without waits that are alike otherwise, and the screen may not have all of them yet.
        assert!(at == Some(0) || told.starts_with("– – –"), "not in the report's order: {row}\n{paused}");
    }
    let before = terminal.frames();
    while terminal.frames() < before + 3 {
        terminal.shows("PAUSED");
        std::thread::yield_now();
    }
    let still = |text: &str| rows(text).concat().replace(' ', "");
    assert_eq!(still(&terminal.text()), still(&paused), "it stands still");
    terminal.keys(" ").until("it goes on", |text| !text.contains("PAUSED"));

    load.stop();
    terminal.keys("q").shows("still running");
    terminal.keys("e");
    let (status, said) = terminal.end();
    assert_eq!(status.code(), Some(0), "{said}");
    let report = Report::load(&folder.path().join("t.lockprof"));
    assert!(number(&report.0["coverage"], "recorded") > recorded);
}

#[test]
fn lines_without_a_terminal() {
    let folder = folder();
    // Also half of it is longer than a snapshot is shared.
    let options = ["--interval", "1", "--count", "3", "--format", "json"];
    let outcome = finish(&mut top(folder.path(), &options, &["busy", "2"]), LIMIT);
    assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
    let lines: Vec<Value> = outcome.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 3);
    for line in &lines {
        let seen = &line["coverage"];
        let parts = ["recorded", "folded", "on_their_way"].map(|key| number(seen, key));
        assert_eq!(number(seen, "acquisitions"), parts.iter().sum::<u64>(), "{seen}");
        for lock in list(&line["locks"]) {
            assert!(number(&lock["interval"], "acquisitions") <= number(lock, "acquisitions"));
        }
    }
    assert!(lines.is_sorted_by(|a, b| number(a, "at_ns") < number(b, "at_ns")), "{lines:?}");
    assert!(folder.path().join("t.lockprof").exists() && folder.path().join("t.log").exists());

    // Of each interval until its end: nobody knows which is the first one with a lock.
    let text = finish(&mut top(folder.path(), &["--interval", "0.3"], &["slow"]), LIMIT);
    assert_eq!(text.code(), 0, "{}", text.stderr);
    assert!(text.stdout.contains("waits/s") && text.stdout.contains("acquisitions/s"), "{}", text.stdout);
}

#[test]
fn others_look_on() {
    let target = Target::new(fixture("deadlocks")).args(["busy", "2"]);
    let server = Server::start(&target, true);
    let pid = server.pid().to_string();
    let view = |count: &str| {
        let mut command = lockprof();
        command.args(["top", "-p", &pid, "--format", "json", "--interval", "0.1", "--count", count]);
        command
    };
    let outputs = folder();
    let first = until("the recording can be looked at", || {
        let outcome = finish(&mut view("1"), LIMIT);
        if outcome.code() == 0 { Ok(outcome) } else { Err(std::io::Error::other(outcome.stderr)) }
    });
    let line: Value = serde_json::from_str(&first.stdout).expect("JSON");
    assert_eq!(number(&line, "pid").to_string(), pid);
    assert!(number(&line["coverage"], "acquisitions") > 0);
    // A viewer that is killed changes nothing for another one, nor for the recording.
    let mut killed = start(&mut view("1000"), outputs.path());
    let others = [finish(&mut view("2"), LIMIT), finish(&mut view("2"), LIMIT)];
    killed.kill().expect("the viewer's end");
    killed.wait().expect("the viewer's end");
    assert!(others.iter().all(|outcome| outcome.code() == 0 && outcome.stdout.lines().count() == 2));
    assert_eq!(finish(&mut view("1"), LIMIT).code(), 0);
    let (outcome, report) = server.stop(libc::SIGTERM);
    assert_eq!(outcome.code(), 143, "{}", outcome.stderr);
    assert!(report.expect("a report").0["coverage"]["complete"].as_bool().unwrap_or(false));
    let gone = finish(&mut view("1"), LIMIT);
    assert_eq!(gone.code(), 2);
    assert!(gone.stderr.contains("there is no process"), "{}", gone.stderr);
}

#[test]
fn a_viewer_writes_what_it_sees() {
    let server = Server::start(&Target::new(fixture("deadlocks")).args(["busy", "2"]), true);
    let (folder, pid) = (folder(), server.pid().to_string());
    until("the recording can be looked at", || {
        let outcome = finish(lockprof().args(["top", "-p", &pid, "--count", "1", "--interval", "0.1"]), LIMIT);
        if outcome.code() == 0 { Ok(()) } else { Err(std::io::Error::other(outcome.stderr)) }
    });
    let mut command = lockprof();
    command.args(["top", "-p", &pid]).current_dir(folder.path());
    let mut terminal = Terminal::start(command, 100, 30);
    terminal.shows("forks[*] ×2");
    terminal.keys(" ").shows("PAUSED");
    terminal.keys("e").shows(&format!("wrote deadlocks.{pid}.at-"));
    let name = written(&terminal.text());
    let report = Report::load(&folder.path().join(&name));
    let names: Vec<_> = list(&report.0["locks"]).iter().map(|lock| &lock["name"]).collect();
    assert!(names.iter().any(|name| *name == "busy()::shared"), "{names:?}");
    assert!(folder.path().join(name).with_extension("txt").exists());
    terminal.keys("q");
    assert_eq!(terminal.end().0.code(), Some(0));
    server.stop(libc::SIGTERM);
}

/// The trace that the screen says it wrote.
fn written(text: &str) -> String {
    text.split("wrote ").nth(1).and_then(|rest| rest.split(' ').next()).expect("a name").to_owned()
}

#[test]
fn what_is_not_there_cannot_be_looked_at() {
    let outcome = finish(lockprof().args(["top", "-p", "4194305"]), LIMIT);
    assert_eq!(outcome.code(), 2);
    assert!(outcome.stderr.contains("there is no process 4194305"), "{}", outcome.stderr);
}
