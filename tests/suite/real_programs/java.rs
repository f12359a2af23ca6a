//! The Java virtual machine, whose thread for safepoints keeps a lock for good when the process is about to end.

use serde_json::Value;

use crate::util::lockprof;
use crate::util::run::{LIMIT, finish, folder};
use crate::util::skip::{find, unable};

#[test]
fn java_has_no_fault() {
    let Some(java) = find("java") else { return unable("java is not installed") };
    let folder = folder();
    let mut command = lockprof();
    command.args(["check", "--format", "json", "--"]).arg(java).arg("-version").current_dir(folder.path());
    let outcome = finish(&mut command, LIMIT);
    let start = outcome.stdout.find('{').unwrap_or(0);
    let check: Value = serde_json::from_str(&outcome.stdout[start..]).expect(&outcome.stdout);
    assert_eq!((outcome.code(), check["verdict"].as_str()), (0, Some("pass")), "{}", outcome.stdout);
}
