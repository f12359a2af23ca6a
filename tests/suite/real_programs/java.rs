//! The Java virtual machine, whose thread for safepoints keeps a lock for good when the process is about to end, and whose
//! programs have locks of its own.

use std::fs;

use serde_json::Value;

use crate::need;
use crate::util::lockprof;
use crate::util::run::{LIMIT, finish, folder};

/// A program whose threads fight: the machine's own locks are asked for in vain long before it ends.
const FIGHT: &str = "public class Fight {
    static int n;
    public static void main(String[] args) throws Exception {
        Thread[] threads = new Thread[8];
        for (int i = 0; i < 8; i++) {
            threads[i] = new Thread(() -> { for (int k = 0; k < 10000; k++) synchronized (Fight.class) { n++; } });
            threads[i].start();
        }
        for (Thread thread : threads) thread.join();
    }
}";

#[test]
fn java_has_no_fault() {
    has_no_fault("-version");
}

#[test]
fn fighting_threads_of_java_are_no_fault() {
    // Without it, the machine does not run sources.
    need!("javac");
    has_no_fault("Fight.java");
}

fn has_no_fault(argument: &str) {
    let java = need!("java");
    let folder = folder();
    fs::write(folder.path().join("Fight.java"), FIGHT).expect("a program");
    let mut command = lockprof();
    command.args(["check", "--format", "json", "--"]).arg(java).arg(argument).current_dir(folder.path());
    let outcome = finish(&mut command, LIMIT);
    let start = outcome.stdout.find('{').unwrap_or(0);
    let check: Value = serde_json::from_str(&outcome.stdout[start..]).expect(&outcome.stdout);
    // The monitors of its programs are its own locks and not recorded; of what is, nothing fails.
    assert_eq!((outcome.code(), check["verdict"].as_str()), (0, Some("incomplete")), "{}", outcome.stdout);
    assert!(check["incomplete"].to_string().contains("Java's monitors"), "{}", check["incomplete"]);
    assert!(!outcome.stdout.contains("Rust's"), "{}", outcome.stdout);
    for list in ["cycles", "findings"] {
        let fails = |entry: &&Value| entry["fails"] != false;
        assert_eq!(check[list].as_array().expect(list).iter().find(fails), None, "{list}");
    }
}
