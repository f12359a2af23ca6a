//! `lockprof where`: what every thread of a process, or of a core, waits for; `lockprof list`: which processes there are.

use super::names::kept_names;
use super::output::Console;
use crate::cli::{Format, ListArgs, WhereArgs};
use crate::exit_code::ExitCode;
use crate::look::{self, Unnamed};
use crate::model::{Holder, Listed, ListedState};
use crate::record::attach::{self, Carried};
use crate::render::explain::look::LookWords;
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
    let (target, layout) = console.target(args.output.as_deref());
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
    let (target, layout) = console.target(args.output.as_deref());
    let text = match args.format {
        Format::Json => json::list(&processes),
        Format::Text => text::list(&processes, &layout),
    };
    target.write(text.as_bytes())?;
    Ok(ExitCode::Success)
}

/// What stands in a process that is going to be recorded: waits that no hook will see the beginning of, in sentences. Deadlocks
/// are said at once, since nothing more happens in them.
pub(super) fn found(console: &Console, pid: u32) -> Vec<String> {
    /// More waits are not told one by one.
    const MOST: usize = 5;
    let Ok(seen) = look::process(pid) else { return Vec::new() };
    let look = named(console, seen);
    let words = LookWords::new(&look, Layout::default());
    let stuck =
        look.standstills.iter().map(|standstill| format!("a deadlock stands: {}", words.standstill(standstill)));
    let mut found: Vec<String> = stuck.collect();
    found.iter().for_each(|deadlock| console.say(deadlock));
    let is_wait = |at: &usize| {
        let wait = look.threads[*at].wait.as_ref();
        wait.is_some_and(|wait| look.session.lock(wait.lock).kind.nests() && wait.holder != Holder::Nobody)
            && !look.is_stuck(*at)
    };
    let waits: Vec<usize> = (0..look.threads.len()).filter(is_wait).collect();
    found.extend(waits.iter().take(MOST).map(|at| format!("{} {}", words.thread(*at), words.does(*at))));
    if waits.len() > MOST {
        found.push(format!("{} more threads wait for locks", waits.len() - MOST));
    }
    found.into_iter().map(|what| format!("when the recording began: {what}")).collect()
}

/// Where the text goes, and how it is laid out there.
/// Gives stacks and locks their names.
fn named(console: &Console, seen: Unnamed) -> crate::model::Look {
    let Unnamed { mut look, data_addresses, files } = seen;
    let kept = kept_names().with_files(files);
    let notes = symbols::name(&mut look.session, &data_addresses, &kept);
    notes.iter().for_each(|note| console.detail(note));
    look
}
