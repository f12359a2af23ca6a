//! What locks and places are called, and that these names outlive a renamed file.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::util::run::{LIMIT, finish, folder};
use crate::util::{Build, Outcome, fixture, lockprof};

fn run(at: &Path, args: &[&str]) -> Outcome {
    finish(lockprof().args(args).current_dir(at), LIMIT)
}

fn json(at: &Path, args: &[&str]) -> Value {
    let outcome = run(at, args);
    serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}: {}", outcome.stderr))
}

/// Records a fixture into a file of the folder.
fn record(at: &Path, program: &Path, args: &[&str], trace: &str) {
    let program = program.to_str().expect("a path in UTF-8");
    let outcome = run(at, &[&["run", "-q", "-o", trace, "--", program], args].concat());
    assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
}

/// Names and classes of the locks, as long as they are locks.
fn locks(report: &Value) -> BTreeSet<(String, String)> {
    let text = |lock: &Value, key: &str| lock[key].as_str().expect("a text").to_owned();
    let rows = report["locks"].as_array().expect("a list").iter();
    let rows = rows.filter(|lock| ["mutex", "rwlock"].contains(&lock["kind"].as_str().unwrap_or_default()));
    rows.map(|lock| (text(lock, "name"), text(lock, "class"))).collect()
}

#[test]
fn members_have_their_class_and_lambdas_their_function() {
    let folder = folder();
    let at = folder.path();
    record(at, &fixture("members"), &[], "m.lockprof");
    let report = json(at, &["report", "m.lockprof", "--format", "json"]);
    let want = [
        ("(anonymous namespace)::Journal::mutex_", "mutex@program!(anonymous namespace)::Journal::mutex_"),
        ("relay::Guarded::mutex_", "mutex@program!relay::Guarded::mutex_"),
        ("relay::Table::mutex_", "rwlock@program!relay::Table::mutex_"),
    ];
    assert_eq!(locks(&report), want.map(|(name, class)| (name.to_owned(), class.to_owned())).into());
    // Filters take the member's own name as well.
    let of_table = json(at, &["report", "m.lockprof", "--format", "json", "--lock", "relay::Table::*"]);
    assert_eq!(locks(&of_table).len(), 1);
    assert_eq!(locks(&json(at, &["report", "m.lockprof", "--format", "json", "--lock", "mutex_"])).len(), 3);
    // No place is in a header, and two lambdas are two.
    let sites = json(at, &["report", "m.lockprof", "--format", "json", "--by", "site"]);
    let names: Vec<&str> =
        sites["groups"].as_array().expect("a list").iter().filter_map(|row| row["name"].as_str()).collect();
    assert!(names.iter().all(|name| name.contains("members.cpp:")), "{names:?}");
    let folded = run(at, &["flamegraph", "m.lockprof", "--metric", "count"]).stdout;
    for lambda in ["Pool::Pool::{lambda#1}", "Pool::Pool::{lambda#2}"] {
        assert!(folded.contains(lambda), "no {lambda}");
    }
}

#[test]
fn a_renamed_program_keeps_its_classes_and_fingerprints() {
    let folder = folder();
    let at = folder.path();
    let program = fixture("wrapped_orders");
    for name in ["test_one", "test_two"] {
        fs::copy(&program, at.join(name)).expect("a copy");
        record(at, &at.join(name), &[], &format!("{name}.lockprof"));
    }
    let of = |trace: &str| json(at, &["report", trace, "--format", "json"]);
    assert_eq!(locks(&of("test_one.lockprof")), locks(&of("test_two.lockprof")));
    let both = json(at, &["check", "test_one.lockprof", "test_two.lockprof", "--format", "json"]);
    assert_eq!(both["cycles"].as_array().map(Vec::len), Some(1), "{both:#}");
    assert_eq!(both["traces"].as_array().map(Vec::len), Some(2));
    run(at, &["check", "test_one.lockprof", "--baseline", "known.json", "--write-baseline", "-q"]);
    assert_eq!(run(at, &["check", "test_two.lockprof", "--baseline", "known.json", "-q"]).code(), 0);
}

#[test]
fn a_wrapper_hides_no_new_deadlock_from_the_baseline() {
    for wrapper in ["take", "g_mutex_lock", "pthread_my_lock"] {
        let define = format!("-DWRAPPER={wrapper}");
        let program = Build::new("wrapped_orders.c", "wrapped_orders").flags(&[&define]).build();
        let folder = folder();
        let at = folder.path();
        record(at, &program, &[], "one.lockprof");
        record(at, &program, &["both"], "both.lockprof");
        run(at, &["check", "one.lockprof", "--baseline", "known.json", "--write-baseline", "-q"]);
        let code = |trace: &str| run(at, &["check", trace, "--baseline", "known.json", "-q"]).code();
        assert_eq!((code("one.lockprof"), code("both.lockprof")), (0, 1), "{wrapper}");
    }
}

#[test]
fn a_wrapper_of_the_settings_is_none_of_the_places() {
    let folder = folder();
    let at = folder.path();
    record(at, &fixture("wrapped_orders"), &["both"], "t.lockprof");
    let names = || {
        let sites = json(at, &["report", "t.lockprof", "--format", "json", "--by", "site"]);
        let groups = sites["groups"].as_array().expect("a list").clone();
        groups.iter().map(|row| row["name"].as_str().expect("a name").to_owned()).collect::<Vec<_>>()
    };
    assert!(names().iter().all(|name| name.starts_with("take (") && name.contains(" ← ")), "{:?}", names());
    fs::write(at.join("lockprof.toml"), "[wrappers]\nfunctions = [\"tak*\"]\n").expect("writable");
    assert!(names().iter().all(|name| !name.contains("take")), "{:?}", names());
}

#[test]
fn locks_that_nothing_tells_apart_are_one_row() {
    let folder = folder();
    let at = folder.path();
    record(at, &fixture("short_lived"), &[], "s.lockprof");
    let rows = |more: &[&str]| {
        let report = json(at, &[&["report", "s.lockprof", "--format", "json"], more].concat());
        let rows = report["locks"].as_array().expect("a list").clone();
        let counts = |key: &str| rows.iter().filter_map(|row| row[key].as_u64()).sum::<u64>();
        (rows.len(), counts("locks"), counts("acquisitions"))
    };
    assert_eq!(rows(&[]), (2, 5_001, 5_001));
    assert_eq!(rows(&["--every-lock"]), (5_001, 5_001, 5_001));
}

#[test]
fn who_holds_and_never_waits_is_in_the_pictures_of_time() {
    let folder = folder();
    let at = folder.path();
    record(at, &fixture("silent_holder"), &[], "h.lockprof");
    run(at, &["export", "--to", "chrome", "h.lockprof", "-o", "h.json"]);
    let trace: Value = serde_json::from_slice(&fs::read(at.join("h.json")).expect("written")).expect("JSON");
    let events = trace["traceEvents"].as_array().expect("a list");
    let named = |name: &str| {
        let is = |event: &&Value| event["name"] == "thread_name" && event["args"]["name"].as_str() == Some(name);
        events.iter().find(|event| event["args"]["name"].as_str().is_some_and(|text| text.contains(name)) || is(event))
    };
    let keeper = named("housekeeper").expect("a track of the holder");
    let holds = events.iter().filter(|event| event["tid"] == keeper["tid"] && event["name"] == "hold state");
    assert_eq!(holds.count(), 5);
    run(at, &["html", "h.lockprof", "-o", "h.html"]);
    let page = fs::read_to_string(at.join("h.html")).expect("written");
    assert!(page.contains("\"housekeeper\""), "the page has no row for the holder");
}

#[test]
fn a_box_is_red_only_where_there_is_a_cycle() {
    let folder = folder();
    let at = folder.path();
    record(at, &fixture("node_chain"), &[], "n.lockprof");
    let graph = json(at, &["graph", "n.lockprof", "--format", "json"]);
    let nodes = graph["nodes"].as_array().expect("a list");
    assert!(!nodes.is_empty() && nodes.iter().all(|node| node["component"].is_null()), "{graph:#}");
    let edges = graph["edges"].as_array().expect("a list");
    assert!(edges.iter().any(|edge| edge["from"] == edge["to"]), "the class is locked under itself");
}
