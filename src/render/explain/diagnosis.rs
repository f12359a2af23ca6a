//! What `doctor` found, in one sentence.

use crate::model::diagnosis::{Check, Diagnosis, Outcome, Subject};

/// An outcome's word: for people, and for programs.
pub fn word(outcome: Outcome) -> (&'static str, &'static str) {
    match outcome {
        Outcome::Ok => ("ok", "ok"),
        Outcome::Note => ("note", "note"),
        Outcome::Open => ("open", "open"),
        Outcome::InPart => ("in part", "in-part"),
        Outcome::Refused => ("refused", "refused"),
    }
}

/// What all checks come to.
pub fn verdict(diagnosis: &Diagnosis) -> String {
    let subject = match &diagnosis.subject {
        Subject::Machine => "programs".to_owned(),
        Subject::Command(command) => command.first().map_or("", |first| base(first)).to_owned(),
        Subject::Process(pid, command) => match command.first() {
            Some(first) => format!("process {pid} ({})", base(first)),
            None => format!("process {pid}"),
        },
    };
    let here = if diagnosis.subject == Subject::Machine { " here" } else { "" };
    let worst = diagnosis.verdict();
    let of_worst = diagnosis.checks().filter(|check| check.outcome == worst);
    let said = |text: fn(&Check) -> &str| of_worst.map(text).collect::<Vec<_>>().join("; ");
    match worst {
        Outcome::Ok | Outcome::Note => format!("{subject} can be recorded whole{here}"),
        Outcome::Open => format!(
            "{subject} can be recorded{here}; whether whole is not known before it runs: {}",
            said(|check| &check.found)
        ),
        Outcome::InPart => format!(
            "{subject} can be recorded{here} in part; missing: {}",
            said(|check| check.missing.as_deref().unwrap_or(&check.found))
        ),
        Outcome::Refused => format!("{subject} cannot be recorded{here}: {}", said(|check| &check.found)),
    }
}

fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
