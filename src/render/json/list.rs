//! `list --format json`.

use serde::Serialize;

use super::{SCHEMA_VERSION, layout};
use crate::model::{Language, Listed, ListedState};

#[derive(Serialize)]
struct Whole<'a> {
    schema_version: u32,
    processes: Vec<Process<'a>>,
}

#[derive(Serialize)]
struct Process<'a> {
    pid: u32,
    command: &'a [String],
    threads: u32,
    /// `c`, `c++`, `go`, `rust` or `unknown`.
    language: &'static str,
    version: Option<&'a str>,
    linking: &'static str,
    /// `recorded`, `asleep`, `where` or `refused`.
    state: &'static str,
    /// Whether it is of the kind that the recorder can be brought into.
    attach: bool,
    /// The lockprof that records it.
    recorder: Option<u32>,
    /// Why it cannot be looked at.
    reason: Option<&'a str>,
}

/// The list, ending in a line break.
pub fn list(processes: &[Listed]) -> String {
    layout::to_string(&Whole { schema_version: SCHEMA_VERSION, processes: processes.iter().map(process).collect() })
}

fn process(process: &Listed) -> Process<'_> {
    let (state, recorder, reason) = match &process.state {
        ListedState::Recorded(by) => ("recorded", *by, None),
        ListedState::Asleep => ("asleep", None, None),
        ListedState::Seen => ("where", None, None),
        ListedState::Refused(reason) => ("refused", None, Some(reason.as_str())),
    };
    Process {
        pid: process.pid,
        command: &process.command,
        threads: process.threads,
        language: match process.language {
            Language::C => "c",
            Language::Cxx => "c++",
            Language::Go => "go",
            Language::Rust => "rust",
            Language::Unknown => "unknown",
        },
        version: process.version.as_deref(),
        linking: if process.is_static { "static" } else { "dynamic" },
        state,
        attach: process.is_attachable,
        recorder,
        reason,
    }
}
