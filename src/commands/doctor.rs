//! `lockprof doctor`: says beforehand what can be recorded.

use super::output::Console;
use crate::cli::{DoctorArgs, Format};
use crate::doctor;
use crate::exit_code::ExitCode;
use crate::model::diagnosis::Outcome;
use crate::render::{json, text};

pub(super) fn doctor(console: &Console, args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let diagnosis = match args.pid {
        Some(pid) => doctor::process(pid)?,
        None if args.command.is_empty() => doctor::machine(),
        None => doctor::command(&args.command)?,
    };
    let (target, layout) = console.target(args.output.as_deref());
    let text = match args.format {
        Format::Json => json::diagnosis(&diagnosis),
        Format::Text => text::diagnosis(&diagnosis, &layout),
    };
    target.write(text.as_bytes())?;
    Ok(if diagnosis.verdict() >= Outcome::InPart { ExitCode::Findings } else { ExitCode::Success })
}
