//! Tests that need a package which is not there say so and end; in CI that is a failure.

use std::env;
use std::path::PathBuf;

pub use super::skipped::{skip, unable};

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
