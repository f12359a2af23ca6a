//! Tests that need a package which is not there say so and end; in CI that is a failure.

use std::env;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use super::build::scratch;

/// Finds a program, or ends the test with the reason why it was skipped.
#[macro_export]
macro_rules! need {
    ($program:expr) => {
        match $crate::util::skip::find($program) {
            Some(path) => path,
            None => return $crate::util::skip::skip(&format!("{} is not installed", $program)),
        }
    };
}

/// Where a program (a name) or a library (a name with `.so` in it) is installed.
pub fn find(name: &str) -> Option<PathBuf> {
    let folders: Vec<PathBuf> = if name.contains(".so") {
        ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"].map(PathBuf::from).into()
    } else {
        let path = env::var_os("PATH").unwrap_or_default();
        ["/usr/bin", "/usr/sbin"].map(PathBuf::from).into_iter().chain(env::split_paths(&path)).collect()
    };
    folders.into_iter().map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Skips a test that needs a package; CI has all of them.
pub fn skip(reason: &str) {
    assert!(env::var_os("CI").is_none(), "nothing may be missing in CI: {reason}");
    unable(reason);
}

/// Skips a test for which this machine or its user lacks the rights, in CI too. Says why, also in `skipped.txt` in the tests' scratch folder, which `.ci/run` counts.
pub fn unable(reason: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    eprintln!("SKIP: {test}: {reason}");
    let file = OpenOptions::new().append(true).create(true).open(scratch().join("skipped.txt"));
    let mut file = file.expect("the list of skipped tests");
    writeln!(file, "SKIP: {test}: {reason}").expect("a line in the list of skipped tests");
}
