//! What every figure needs beside it.

use std::fs;
use std::process::Command;

/// Date and size of the machine: no figure is worth anything without.
pub fn machine() -> String {
    let date = Command::new("date").arg("+%F").output().ok().map(|output| output.stdout).unwrap_or_default();
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let date = String::from_utf8_lossy(&date).trim().to_owned();
    format!("{date}, {cores} cores, {}", model.trim_start_matches(['\t', ' ', ':']))
}
