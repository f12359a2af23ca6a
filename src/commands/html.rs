//! `lockprof html`: everything as one page.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::bail;

use super::output::{Console, Target};
use super::trace;
use crate::analysis::contention::{Contention, Query};
use crate::analysis::findings;
use crate::cli::HtmlArgs;
use crate::exit_code::ExitCode;
use crate::render::html::page;

pub(super) fn html(console: &Console, args: &HtmlArgs) -> anyhow::Result<ExitCode> {
    let to_stdout = args.output.as_deref().is_some_and(|path| path.as_os_str() == "-");
    if args.open && to_stdout {
        bail!("--open needs a file to open: name one by -o FILE");
    }
    let trace = trace::load(console, args.trace.as_deref())?;
    let target = match &args.output {
        Some(_) if to_stdout => Target::Stdout,
        Some(path) => Target::File(path.clone()),
        None if args.open || std::io::stdout().is_terminal() => Target::File(trace.path.with_extension("html")),
        None => Target::Stdout,
    };
    let contention = Contention::of(&trace.session, &Query { merge_alike: true, ..Query::default() });
    let page = page(&trace.session, &contention, &findings::find(&trace.session));
    if let Some(notice) = &page.notice {
        console.say(notice);
    }
    target.write(page.html.as_bytes())?;
    if let Target::File(path) = &target {
        let hint = if args.open { "" } else { ": open it in a browser" };
        console.say(&format!("wrote {}{hint}", path.display()));
        if args.open {
            open(path)?;
        }
    }
    Ok(ExitCode::Success)
}

/// Hands the page to the person's browser, which goes on without us.
fn open(path: &Path) -> anyhow::Result<()> {
    let browser = std::env::var_os("BROWSER").filter(|name| !name.is_empty());
    let program = browser.unwrap_or_else(|| OsString::from("xdg-open"));
    // A file may be called like an option or an address.
    let full = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let started = Command::new(&program).arg(full).stdin(Stdio::null()).stdout(Stdio::null()).spawn();
    match started {
        Ok(_) => Ok(()),
        Err(error) => bail!(
            "cannot start {}: {error}; open {} in a browser yourself, or name one in $BROWSER",
            program.to_string_lossy(),
            path.display()
        ),
    }
}
