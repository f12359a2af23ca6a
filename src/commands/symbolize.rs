//! `lockprof symbolize`: names for a recording, from debug files that were not there at its end.

use std::path::Path;

use anyhow::{Context, bail};
use rustc_hash::FxHashSet;

use super::output::Console;
use super::trace;
use crate::cli::SymbolizeArgs;
use crate::exit_code::ExitCode;
use crate::model::Session;
use crate::render::style::{printable, wrap};
use crate::render::units::plural;
use crate::symbols::{self, Kept, Unnamed, packages};

/// Files named where names are missing.
const MOST: usize = 4;

pub(super) fn symbolize(console: &Console, args: &SymbolizeArgs) -> anyhow::Result<ExitCode> {
    let trace = trace::load(console, args.trace.as_deref())?;
    let (path, mut session) = (trace.path, trace.session);
    if session.coverage.contended_only {
        bail!("{} is a profile of another tool: only recordings can be given names", path.display());
    }
    for folder in &args.debug_dir {
        std::fs::metadata(folder).with_context(|| format!("--debug-dir {}", folder.display()))?;
    }
    let poor = symbols::poor(&session);
    let wanted: FxHashSet<Vec<u8>> =
        poor.iter().map(|module| module.build_id.clone()).filter(|build_id| !build_id.is_empty()).collect();
    let mut files = symbols::find(&args.debug_dir, &wanted);
    if args.debuginfod {
        for module in &poor {
            if !wanted.contains(&module.build_id) || files.contains_key(&module.build_id) {
                continue;
            }
            match symbols::fetch(&module.build_id) {
                Ok(found) => drop(files.insert(module.build_id.clone(), found)),
                Err(why) => console.say(&format!("{}: {why}", module.name())),
            }
        }
    }
    files.values().for_each(|file| console.detail(&format!("using {}", file.display())));
    let (improved, notes) = symbols::name_again(&mut session, &Kept::default().with_debug_files(files));
    notes.iter().for_each(|note| console.detail(note));
    let output = args.output.as_ref().unwrap_or(&path);
    super::run::write_trace(&session, output, None)?;
    let name = if output.as_os_str() == "-" { "standard output".into() } else { output.display().to_string() };
    console.say(&format!(
        "{name}: {} in the code and {} have more of a name now",
        plural(improved.places as u64, "place", "places"),
        plural(improved.locks as u64, "lock", "locks")
    ));
    missing(console, &session, None);
    Ok(ExitCode::Success)
}

/// Says once which names are missing, and how to get them. `path`: the recording, where it has just been made.
pub(super) fn missing(console: &Console, session: &Session, path: Option<&Path>) {
    let unnamed = symbols::unnamed(session);
    if unnamed.is_empty() || console.quiet() {
        return;
    }
    let (shown, more) = unnamed.split_at(unnamed.len().min(MOST));
    let mut names: Vec<String> = shown.iter().map(|it| format!("{} ({})", it.module.name(), it.places)).collect();
    if !more.is_empty() {
        names.push(format!("{} other files", more.len()));
    }
    let all: usize = unnamed.iter().map(|it| it.places).sum();
    let (mut from, mut others): (Vec<String>, Vec<&str>) = (Vec::new(), Vec::new());
    for Unnamed { module, .. } in shown {
        match packages::of(module.path.as_ref()) {
            Some(package) => from.push(format!("{package}-dbgsym")),
            None => others.push(module.name()),
        }
    }
    from.sort_unstable();
    from.dedup();
    let mut advice = Vec::new();
    if !from.is_empty() {
        advice.push(format!("install {} (or -dbg) of Debian's archive of debug packages", from.join(", ")));
    }
    if !others.is_empty() {
        advice.push(format!("build {} with -g, or keep a debug file of it", others.join(", ")));
    }
    if let Some(path) = path.filter(|path| path.as_os_str() != "-") {
        let server = if packages::has_server() { " (--debuginfod fetches what is missing)" } else { "" };
        advice.push(format!("`lockprof symbolize {}` then adds the names{server}", path.display()));
    }
    let what = plural(all as u64, "place in the code has", "places in the code have");
    let text = format!("{what} no name, in {}: {}", names.join(", "), advice.join("; "));
    let layout = console.stderr_layout();
    console.write_stderr(&wrap(&printable(&text), layout.width, "lockprof: ", "  "));
}
