//! `doctor --format json`.

use serde::Serialize;

use super::{SCHEMA_VERSION, layout};
use crate::model::diagnosis::{Diagnosis, Outcome, Subject};
use crate::render::explain::diagnosis::{verdict, word};

#[derive(Serialize)]
struct Whole<'a> {
    schema_version: u32,
    /// `machine`, `program` or `process`.
    subject: &'static str,
    command: &'a [String],
    pid: Option<u32>,
    /// `whole`, `open`, `in-part` or `refused`.
    verdict: &'static str,
    message: String,
    checks: Vec<Check<'a>>,
}

#[derive(Serialize)]
struct Check<'a> {
    id: &'static str,
    /// `program`, `process` or `machine`.
    about: &'static str,
    /// `ok`, `note`, `open`, `in-part` or `refused`.
    outcome: &'static str,
    found: &'a str,
    missing: Option<&'a str>,
    fix: Option<&'a str>,
}

/// The checks, ending in a line break.
pub fn diagnosis(diagnosis: &Diagnosis) -> String {
    let (subject, command, pid): (_, &[String], _) = match &diagnosis.subject {
        Subject::Machine => ("machine", &[], None),
        Subject::Command(command) => ("program", command, None),
        Subject::Process(pid, command) => ("process", command, Some(*pid)),
    };
    let checks = diagnosis.groups.iter().flat_map(|group| group.checks.iter().map(|check| (group.title, check)));
    let checks = checks.map(|(about, check)| Check {
        id: check.id,
        about,
        outcome: word(check.outcome).1,
        found: &check.found,
        missing: check.missing.as_deref(),
        fix: check.fix.as_deref(),
    });
    layout::to_string(&Whole {
        schema_version: SCHEMA_VERSION,
        subject,
        command,
        pid,
        verdict: match diagnosis.verdict() {
            Outcome::Ok | Outcome::Note => "whole",
            other => word(other).1,
        },
        message: verdict(diagnosis),
        checks: checks.collect(),
    })
}
