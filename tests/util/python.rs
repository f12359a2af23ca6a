//! Consumers of what lockprof writes that are Python packages: the schema validator, pyarrow, DuckDB.

use std::path::PathBuf;
use std::process::Command;

use super::build::scratch;
use super::skip;

/// A Python that has these packages; otherwise says that the test is skipped. `.ci/run` makes one in the tests' scratch
/// folder.
pub fn with(packages: &[&str]) -> Option<PathBuf> {
    let own = scratch().join("python/bin/python3");
    let python = if own.is_file() { own } else { PathBuf::from("python3") };
    let imports = format!("import {}", packages.join(", "));
    let found = Command::new(&python).args(["-c", &imports]).output().is_ok_and(|output| output.status.success());
    if !found {
        skip::skip(&format!("no python3 with {}", packages.join(", ")));
    }
    found.then_some(python)
}

/// Runs a script, which has to succeed; what it prints.
pub fn run(python: &PathBuf, script: &str, args: &[PathBuf]) -> String {
    let output = Command::new(python).arg("-c").arg(script).args(args).output().expect("python3");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
