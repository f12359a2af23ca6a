//! The program that measures.

use std::process::Command;

/// The release binary, without the settings of whoever runs the bench.
pub fn lockprof() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockprof"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("LOCKPROF_")) {
        command.env_remove(name);
    }
    command
}
