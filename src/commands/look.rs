//! `lockprof where`: what every thread of a process, or of a core, waits for.

use super::names::kept_names;
use super::output::{Console, Target};
use crate::cli::{Format, WhereArgs};
use crate::exit_code::ExitCode;
use crate::look::{self, Unnamed};
use crate::render::json;
use crate::render::text::{self, LookOptions};
use crate::symbols;

pub(super) fn locate(console: &Console, args: &WhereArgs) -> anyhow::Result<ExitCode> {
    let number = args.target.to_str().and_then(|text| text.parse::<u32>().ok());
    let seen = match number {
        Some(pid) => look::process(pid)?,
        None => look::core(args.target.as_ref(), args.exe.as_deref(), args.root.as_deref())?,
    };
    let look = named(console, seen);
    let target = match &args.output {
        Some(path) if path.as_os_str() != "-" => Target::File(path.clone()),
        _ => Target::Stdout,
    };
    let layout = match target {
        Target::Stdout => console.stdout_layout(),
        Target::File(_) => crate::render::style::Layout::default(),
    };
    let text = match args.format {
        Format::Json => json::look(&look),
        Format::Text => text::look(&look, &LookOptions { layout, verbose: console.verbose() }),
    };
    target.write(text.as_bytes())?;
    Ok(if look.has_deadlock() { ExitCode::Findings } else { ExitCode::Success })
}

/// Gives stacks and locks their names.
fn named(console: &Console, seen: Unnamed) -> crate::model::Look {
    let Unnamed { mut look, data_addresses, files } = seen;
    let kept = kept_names().with_files(files);
    let notes = symbols::name(&mut look.session, &data_addresses, &kept);
    notes.iter().for_each(|note| console.detail(note));
    look
}
