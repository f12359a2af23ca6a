//! The Java virtual machine, whose thread for safepoints keeps a lock for good when the process is about to end, and whose
//! programs have locks of its own.

use serde_json::Value;

use crate::need;
use crate::util::lockprof;
use crate::util::run::{LIMIT, finish, folder};

#[test]
fn java_has_no_fault() {
    let java = need!("java");
    let folder = folder();
    let mut command = lockprof();
    command.args(["check", "--format", "json", "--"]).arg(java).arg("-version").current_dir(folder.path());
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
