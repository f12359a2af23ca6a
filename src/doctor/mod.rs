//! Says beforehand what can be recorded of a program, of a process or on this machine: what is in the way, what will be
//! missing, and what to do about it.
//!
//! One check is one row in a table (`machine::ROWS`, `program::ROWS`, `process::ROWS`). What a recording refuses or notes is
//! asked of the very code that does so (`record`, `symbols::own_locks`); nothing is judged a second time here.
//!
//! Deliberately not here: what is said to a person (`render`). Nothing is started but the program's loader, which lists the
//! libraries that it would load.

mod loader;
mod machine;
mod names;
mod object;
mod objects;
mod process;
mod program;

use std::ffi::OsString;

use crate::model::diagnosis::{Check, Diagnosis, Group, Outcome, Subject};
use crate::record::preflight::Refusal;

/// One check of a subject; `None` where it has nothing to say about it.
pub(crate) struct Row<S> {
    /// What is looked at.
    id: &'static str,
    look: fn(&S) -> Option<Finding>,
}

/// What a check found.
pub(crate) struct Finding {
    outcome: Outcome,
    found: String,
    missing: Option<String>,
    fix: Option<String>,
}

impl Finding {
    fn new(outcome: Outcome, found: impl Into<String>) -> Self {
        Self { outcome, found: found.into(), missing: None, fix: None }
    }

    fn ok(found: impl Into<String>) -> Self {
        Self::new(Outcome::Ok, found)
    }

    fn note(found: impl Into<String>) -> Self {
        Self::new(Outcome::Note, found)
    }

    fn refused(found: impl Into<String>) -> Self {
        Self::new(Outcome::Refused, found)
    }

    fn missing(mut self, missing: impl Into<String>) -> Self {
        self.missing = Some(missing.into());
        self
    }

    fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }
}

fn group<S>(title: &'static str, rows: &[Row<S>], subject: &S) -> Group {
    let check = |row: &Row<S>| {
        let Finding { outcome, found, missing, fix } = (row.look)(subject)?;
        Some(Check { id: row.id, outcome, found, missing, fix })
    };
    Group { title, checks: rows.iter().filter_map(check).collect() }
}

/// What this machine allows to be recorded, whatever the program.
pub fn machine() -> Diagnosis {
    let machine = machine::Machine::look(machine::For::Anything);
    Diagnosis { subject: Subject::Machine, groups: vec![group("machine", machine::ROWS, &machine)] }
}

/// What can be recorded of a command.
///
/// # Errors
/// Where there is no such program.
pub fn command(command: &[OsString]) -> Result<Diagnosis, Refusal> {
    let machine = machine::Machine::look(machine::For::Command);
    let program = program::Program::look(command, &machine)?;
    let words = command.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let groups = vec![group("program", program::ROWS, &program), group("machine", machine::ROWS, &machine)];
    Ok(Diagnosis { subject: Subject::Command(words), groups })
}

/// What can be recorded of a process that runs. A thread of it is stopped for a moment.
///
/// # Errors
/// Where there is no such process.
pub fn process(pid: u32) -> anyhow::Result<Diagnosis> {
    let machine = machine::Machine::look(machine::For::Process);
    let process = process::Process::look(pid)?;
    let subject = Subject::Process(pid, process.command());
    let groups = vec![group("process", process::ROWS, &process), group("machine", machine::ROWS, &machine)];
    Ok(Diagnosis { subject, groups })
}
