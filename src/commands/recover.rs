//! `lockprof recover`: traces from what killed recorders left behind.

use std::path::{Path, PathBuf};

use anyhow::bail;

use super::output::{Console, Target};
use super::past::whole;
use super::run;
use crate::cli::RecoverArgs;
use crate::exit_code::ExitCode;
use crate::model::{Exit, Session};
use crate::record::launch::Program;
use crate::record::recover;
use crate::render::units::{count, plural};

pub(super) fn recover(console: &Console, args: &RecoverArgs) -> anyhow::Result<ExitCode> {
    let found = recover::find(args.folder.as_deref())?;
    if args.list {
        let lines: String = found.iter().map(|left| format!("{}\t{}\n", left.path.display(), left.command())).collect();
        Target::Stdout.write(lines.as_bytes())?;
        return Ok(ExitCode::Success);
    }
    if found.is_empty() {
        console.say("there is nothing to recover: no recorder was killed, or another user's");
        return Ok(ExitCode::Success);
    }
    if args.discard && args.folder.is_none() && !args.all {
        let list: String =
            found.iter().map(|left| format!("\n  {}  {}", left.path.display(), left.command())).collect();
        bail!("--discard throws recordings away for ever: name the folder of one of these, or say --all{list}");
    }
    let pattern = args.output.clone().unwrap_or_else(|| "%e.%p.lockprof".into());
    if !args.discard {
        run::check_writable(&pattern)?;
    }
    for left in found {
        if args.discard {
            console.say(&format!("{} is discarded ({})", left.path.display(), left.command()));
            left.discard();
            continue;
        }
        let (past, living) = left.read()?;
        let session = whole(console, past);
        let pid = session.processes.first().map_or(0, |process| process.pid);
        let path = free(run::expand(&pattern, &program_of(&session), pid));
        let kept = left.path.display().to_string();
        if let Err(error) = run::write_trace(&session, &path, None) {
            left.keep(&session)?;
            return Err(error.context(format!("the recording stays in {kept}")));
        }
        console.say(&told(&session, &path, &left.command()));
        if let Some(pid) = left.woken() {
            console
                .say(&format!("process {pid} still runs, and sleeps again: `lockprof run -p {pid}` records it anew"));
        }
        if living.is_empty() || left.woken().is_some() {
            left.discard();
            continue;
        }
        let who: Vec<String> = living.iter().map(|pid| format!("process {pid}")).collect();
        console.say(&format!(
            "still running: {}; what happens from now on another `lockprof recover` writes from {kept}",
            who.join(", ")
        ));
    }
    Ok(ExitCode::Success)
}

fn told(session: &Session, path: &Path, command: &str) -> String {
    let seen = &session.coverage;
    let lost = if seen.lost > 0 { format!(", of which {} are lost", count(seen.lost)) } else { String::new() };
    let taken = plural(seen.acquisitions, "acquisition", "acquisitions");
    let exit = match session.meta.exit {
        Some(Exit::Code(code)) => format!(", which ended with exit code {code}"),
        Some(Exit::Signal(signal)) => format!(", which signal {signal} ended"),
        None => String::new(),
    };
    format!("wrote {}: {taken}{lost}, of `{command}`{exit}", path.display())
}

/// The program by its first process.
fn program_of(session: &Session) -> Program {
    let path = session.processes.first().map_or_else(|| PathBuf::from("unknown"), |process| (&process.exe).into());
    Program { command: vec![path.clone().into_os_string()], path }
}

/// A name that nothing has yet: several recordings may be of one program and number.
fn free(path: PathBuf) -> PathBuf {
    let name = path.display().to_string();
    let stem = name.strip_suffix(".lockprof").unwrap_or(&name);
    let others = (2..).map(|number| PathBuf::from(format!("{stem}.{number}.lockprof")));
    std::iter::once(path.clone()).chain(others).find(|path| !path.is_file()).unwrap_or(path)
}
