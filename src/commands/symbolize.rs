//! `lockprof symbolize`: names for a recording, from debug files that were not there at its end.

use anyhow::{Context, bail};
use rustc_hash::FxHashSet;

use super::output::Console;
use super::{missing_names, trace};
use crate::cli::SymbolizeArgs;
use crate::exit_code::ExitCode;
use crate::render::units::plural;
use crate::symbols::{self, Kept};

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
    missing_names::say(console, &session, None);
    Ok(ExitCode::Success)
}
