//! `lockprof where`: what every thread of a process, or of a core, waits for; `lockprof list`: which processes there are.

use std::path::Path;

use super::names::kept_names;
use super::output::{Console, Target};
use crate::cli::{Format, ListArgs, WhereArgs};
use crate::exit_code::ExitCode;
use crate::look::{self, Unnamed};
use crate::model::{Listed, ListedState};
use crate::record::attach::{self, Carried};
use crate::render::json;
use crate::render::style::Layout;
use crate::render::text::{self, LookOptions};
use crate::symbols;

pub(super) fn locate(console: &Console, args: &WhereArgs) -> anyhow::Result<ExitCode> {
    let number = args.target.to_str().and_then(|text| text.parse::<u32>().ok());
    let seen = match number {
        Some(pid) => look::process(pid)?,
        None => look::core(args.target.as_ref(), args.exe.as_deref(), args.root.as_deref())?,
    };
    let look = named(console, seen);
    let (target, layout) = target(console, args.output.as_deref());
    let text = match args.format {
        Format::Json => json::look(&look),
        Format::Text => text::look(&look, &LookOptions { layout, verbose: console.verbose() }),
    };
    target.write(text.as_bytes())?;
    Ok(if look.has_deadlock() { ExitCode::Findings } else { ExitCode::Success })
}

pub(super) fn list(console: &Console, args: &ListArgs) -> anyhow::Result<ExitCode> {
    let mut processes = look::list();
    let carried: Vec<Carried> = processes.iter().map(|process| attach::carried(process.pid)).collect();
    // A recorder has mapped the same folder as what it records.
    let is_recorder = |process: &Listed| process.command.first().is_some_and(|name| name.ends_with("lockprof"));
    let folder = |at: usize| match &carried[at] {
        Carried::Recorded(folder) => Some(folder),
        _ => None,
    };
    let recorders: Vec<usize> = (0..processes.len()).filter(|at| is_recorder(&processes[*at])).collect();
    let pids: Vec<u32> = processes.iter().map(|process| process.pid).collect();
    for at in 0..processes.len() {
        if recorders.contains(&at) {
            continue;
        }
        match &carried[at] {
            Carried::Recorded(own) => {
                let by = recorders.iter().find(|recorder| folder(**recorder) == Some(own));
                processes[at].state = ListedState::Recorded(by.map(|recorder| pids[*recorder]));
            }
            Carried::Asleep => processes[at].state = ListedState::Asleep,
            Carried::Nothing => {}
        }
    }
    let (target, layout) = target(console, args.output.as_deref());
    let text = match args.format {
        Format::Json => json::list(&processes),
        Format::Text => text::list(&processes, &layout),
    };
    target.write(text.as_bytes())?;
    Ok(ExitCode::Success)
}

/// Where the text goes, and how it is laid out there.
fn target(console: &Console, output: Option<&Path>) -> (Target, Layout) {
    match output {
        Some(path) if path.as_os_str() != "-" => (Target::File(path.to_owned()), Layout::default()),
        _ => (Target::Stdout, console.stdout_layout()),
    }
}

/// Gives stacks and locks their names.
fn named(console: &Console, seen: Unnamed) -> crate::model::Look {
    let Unnamed { mut look, data_addresses, files } = seen;
    let kept = kept_names().with_files(files);
    let notes = symbols::name(&mut look.session, &data_addresses, &kept);
    notes.iter().for_each(|note| console.detail(note));
    look
}
