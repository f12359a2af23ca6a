//! `lockprof completions` and `lockprof man`.

use anyhow::bail;

use super::output::{Console, Target};
use crate::cli::{self, CompletionsArgs, ManArgs};
use crate::exit_code::ExitCode;

pub(super) fn completions(console: &Console, args: &CompletionsArgs) -> anyhow::Result<ExitCode> {
    console.target(args.output.as_deref()).0.write(&cli::completions(args.shell))?;
    Ok(ExitCode::Success)
}

pub(super) fn man(console: &Console, args: &ManArgs) -> anyhow::Result<ExitCode> {
    let pages = cli::pages();
    if let Some(folder) = args.output.as_ref().filter(|output| output.is_dir()) {
        if args.command.is_some() {
            bail!("{} is a folder, which all pages are written to: name a file for one of them", folder.display());
        }
        for (name, text) in &pages {
            Target::File(folder.join(format!("{name}.1"))).write(text)?;
        }
        console.say(&format!("wrote {} pages to {}", pages.len(), folder.display()));
        return Ok(ExitCode::Success);
    }
    let wanted = args.command.as_ref().map_or_else(|| "lockprof".to_owned(), |command| format!("lockprof-{command}"));
    let Some((_, text)) = pages.iter().find(|(name, _)| *name == wanted) else {
        bail!("there is no command {}: `lockprof --help` lists them", args.command.as_deref().unwrap_or_default())
    };
    console.target(args.output.as_deref()).0.write(text)?;
    Ok(ExitCode::Success)
}
