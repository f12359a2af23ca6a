//! Tests that cannot be run here: said on standard error and in a list that `.ci/run` counts.
//!
//! The unit tests of `src` compile this file too.

use std::env;
use std::fs::{OpenOptions, create_dir_all};
use std::io::{Write, stderr};
use std::path::PathBuf;

/// Skips a test that needs a package; CI has all of them.
pub fn skip(reason: &str) {
    assert!(env::var_os("CI").is_none(), "nothing may be missing in CI: {reason}");
    unable(reason);
}

/// Skips a test for which this machine or its user lacks the rights, in CI too.
pub fn unable(reason: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let line = format!("SKIP: {test}: {reason}\n");
    // Not `eprint`: the test harness shows that of failed tests only.
    stderr().write_all(line.as_bytes()).expect("a line on standard error");
    let folder = folder();
    create_dir_all(&folder).expect("the tests' scratch folder");
    let file = OpenOptions::new().append(true).create(true).open(folder.join("skipped.txt"));
    file.expect("the list of skipped tests").write_all(line.as_bytes()).expect("a line in the list of skipped tests");
}

/// The tests' scratch folder. Cargo names it to integration tests only; the binary of a unit test is
/// `target/PROFILE/deps/NAME`.
fn folder() -> PathBuf {
    option_env!("CARGO_TARGET_TMPDIR").map_or_else(
        || {
            let binary = env::current_exe().expect("the path of the test binary");
            binary.ancestors().nth(3).expect("the target folder").join("tmp")
        },
        PathBuf::from,
    )
}
