//! `lockprof check`: records a program if asked to, judges the order of its locks, and says so in the asked form.

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};

use super::output::{Console, Target};
use super::run::{Recorded, session_of};
use super::settings::{self, CheckSettings};
use super::{sources, trace};
use crate::analysis::Glob;
use crate::analysis::findings::{self, Findings};
use crate::cli::{CheckArgs, CheckFormat};
use crate::exit_code::ExitCode;
use crate::gate::{
    Baseline, Budget, Ended, FailOn, Measure, Outcome, Policy, Recording, Suppressions, Verdict, day_of, judge,
};
use crate::model::{Exit, Profile, Session};
use crate::record::{self, OnHang, Options, Output, preflight};
use crate::render::check::{self, github};
use crate::render::json;
use crate::render::sources::Sources;

/// A recording with its name and what was found in it.
struct Judged {
    name: String,
    session: Session,
    findings: Findings,
}

pub(super) fn check(console: &Console, args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let folder = std::env::current_dir().context("cannot tell the current folder")?;
    let settings = settings::check(&folder)?;
    let baseline = args.baseline.clone().or_else(|| settings.baseline.clone());
    if args.write_baseline && baseline.is_none() {
        bail!("--write-baseline needs the file's name: add --baseline FILE");
    }
    // Whatever can be wrong with files is reported before a program runs for minutes.
    let mut policy = policy(args, &settings)?;
    if !args.write_baseline {
        policy.baseline = baseline.as_deref().map(read_baseline).transpose()?;
    }
    let (judged, ended) = recordings(console, args, &settings)?;
    let recordings: Vec<Recording<'_>> =
        (judged.iter()).map(|at| Recording { name: &at.name, session: &at.session, findings: &at.findings }).collect();
    if let Some(path) = baseline.filter(|_| args.write_baseline) {
        let known = Baseline::of(judge(&recordings, &policy, ended).failing());
        Target::File(path.clone()).write(known.to_text().as_bytes())?;
        console.say(&format!("wrote {} with {} entries: from now on they are known", path.display(), known.len()));
        policy.baseline = Some(known);
    }
    let verdict = judge(&recordings, &policy, ended);
    write(console, args, &verdict, &folder)?;
    let code = args.error_exitcode.or(settings.error_exitcode);
    Ok(match verdict.outcome {
        Outcome::Pass => ExitCode::Success,
        Outcome::Fail => code.map_or(ExitCode::Findings, ExitCode::FindingsAs),
        Outcome::Incomplete if verdict.strict => ExitCode::Incomplete,
        Outcome::Incomplete => ExitCode::Success,
    })
}

fn policy(args: &CheckArgs, settings: &CheckSettings) -> anyhow::Result<Policy> {
    let words = args.fail_on.as_ref().or(settings.fail_on.as_ref());
    let fail_on = words.map(|words| FailOn::parse(words.iter().map(String::as_str))).transpose();
    let fail_on = fail_on.map_err(|error| anyhow::anyhow!("--fail-on: {error}"))?.unwrap_or_default();
    let mut suppressions = Suppressions::default();
    for path in args.suppress.as_ref().or(settings.suppress.as_ref()).into_iter().flatten() {
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read the suppressions in {}", path.display()))?;
        suppressions.add(&path.display().to_string(), &text).map_err(anyhow::Error::msg)?;
    }
    let mut budgets = Vec::new();
    for (measure, asked, set) in
        [(Measure::Wait, &args.max_wait, &settings.max_wait), (Measure::Hold, &args.max_hold, &settings.max_hold)]
    {
        let limits: &[(Glob, u64)] = asked.as_deref().or(set.as_deref()).unwrap_or_default();
        budgets.extend(limits.iter().map(|(locks, limit_ns)| Budget {
            measure,
            locks: locks.clone(),
            limit_ns: *limit_ns,
        }));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(Policy {
        fail_on,
        strict: args.strict || settings.strict.unwrap_or(false),
        baseline: None,
        suppressions,
        budgets,
        today: day_of(now.as_secs()),
    })
}

fn read_baseline(path: &Path) -> anyhow::Result<Baseline> {
    let text = fs::read_to_string(path)
        .with_context(|| format!("cannot read the baseline {}: --write-baseline makes it", path.display()))?;
    Baseline::parse(&text).map_err(|error| {
        anyhow::anyhow!("{} is no baseline: {error}; --write-baseline writes a new one", path.display())
    })
}

/// Reads traces, or records a program.
fn recordings(
    console: &Console,
    args: &CheckArgs,
    settings: &CheckSettings,
) -> anyhow::Result<(Vec<Judged>, Option<Ended>)> {
    let judged = |name: String, session: Session| Judged { name, findings: findings::find(&session), session };
    if !args.command.is_empty() {
        let (name, session, ended) = record(console, args, args.timeout.or(settings.timeout))?;
        return Ok((vec![judged(name, session)], Some(ended)));
    }
    if args.traces.is_empty() {
        let trace = trace::load(console, None)?;
        return Ok((vec![judged(trace.path.display().to_string(), trace.session)], None));
    }
    let mut all = Vec::new();
    for path in &args.traces {
        let trace = trace::load(console, Some(path))?;
        all.push(judged(trace.path.display().to_string(), trace.session));
    }
    if all.len() > 1 {
        let together = together(&all);
        all.push(together);
    }
    Ok((all, None))
}

/// What only several runs together show: cycles whose legs were seen in different ones.
fn together(all: &[Judged]) -> Judged {
    let mut session = Session::default();
    all.iter().for_each(|one| session.absorb(&one.session));
    let mut findings = findings::find(&session);
    let known: HashSet<&str> =
        all.iter().flat_map(|one| one.findings.cycles()).map(|cycle| cycle.fingerprint.as_str()).collect();
    // All but cycles is reported of each run.
    findings.list.retain(|finding| finding.cycle().is_some() && !known.contains(finding.fingerprint.as_str()));
    (session.profile, session.hangs) = (Profile::default(), Vec::new());
    Judged { name: format!("{} runs together", all.len()), session, findings }
}

/// Records a program. Its recording is kept only where that is asked for.
fn record(console: &Console, args: &CheckArgs, timeout: Option<Duration>) -> anyhow::Result<(String, Session, Ended)> {
    let program = preflight::check(&args.command)?;
    if let Some(path) = &args.trace {
        super::run::check_writable(path.as_os_str())?;
    }
    let options = Options {
        no_follow: args.no_follow,
        exact: args.exact,
        timeout,
        on_hang: OnHang::End,
        output: Output::ToStderr,
        ..Options::default()
    };
    let Recorded { session, exit, ended, folder, .. } = session_of(console, &program, &options)?;
    if let Some(path) = &args.trace {
        super::run::write_trace(&session, path, folder)?;
        console.detail(&format!("wrote {}", path.display()));
    }
    let ended = match (ended, exit) {
        (Some(record::Ended::Hung), _) => Ended::Hung,
        (Some(record::Ended::TimedOut), _) => Ended::TimedOut(timeout.map_or(0, |time| time.as_nanos() as u64)),
        (Some(record::Ended::Asked) | None, Exit::Code(code)) => Ended::Code(code),
        (Some(record::Ended::Asked) | None, Exit::Signal(signal)) => Ended::Signal(signal),
    };
    let name = args.trace.as_ref().map_or_else(|| session.meta.command.join(" "), |path| path.display().to_string());
    Ok((name, session, ended))
}

fn write(console: &Console, args: &CheckArgs, verdict: &Verdict<'_>, folder: &Path) -> anyhow::Result<()> {
    let format = args.format.unwrap_or(CheckFormat::Text);
    let target = match &args.output {
        Some(path) if path.as_os_str() != "-" => Target::File(path.clone()),
        _ => Target::Stdout,
    };
    let sources = match format {
        CheckFormat::Json => Sources::default(),
        _ => sources::read(&check::wanted_sources(verdict), folder),
    };
    let layout = match &target {
        Target::Stdout => console.stdout_layout(),
        // A file is read by others, with other colours or none.
        Target::File(_) => crate::render::style::Layout { color: false, ..console.stdout_layout() },
    };
    let text = match format {
        CheckFormat::Text => {
            let options = check::Options { layout, verbose: console.verbose(), quiet: console.quiet() };
            check::text(verdict, &sources, &options)
        }
        CheckFormat::Json => json::check(verdict),
        CheckFormat::Sarif => {
            let id = run_id(verdict);
            check::sarif(verdict, &sources, &check::Run { id: &id, version: env!("CARGO_PKG_VERSION") })
        }
        CheckFormat::Junit => check::junit(verdict, &sources),
        CheckFormat::Github => {
            step_summary(&check::markdown(verdict, &sources))?;
            github::github(verdict, &sources)
        }
        CheckFormat::Md => check::markdown(verdict, &sources),
    };
    target.write(text.as_bytes())?;
    let shown = target == Target::Stdout && matches!(format, CheckFormat::Text | CheckFormat::Github);
    if !shown && !console.quiet() {
        // Who sends the report to a file or another program still sees the answer.
        console.write_stderr(&check::answer(verdict, &console.stderr_layout()));
    }
    Ok(())
}

/// Tells the runs of different programs apart.
fn run_id(verdict: &Verdict<'_>) -> String {
    let words = verdict.recordings.first().and_then(|recording| recording.session.meta.command.first());
    let name = words.and_then(|word| word.rsplit('/').next()).unwrap_or_default();
    if name.is_empty() { "check".into() } else { name.to_owned() }
}

/// GitHub shows this file's Markdown on the page of the run.
fn step_summary(text: &str) -> anyhow::Result<()> {
    let Some(path) = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()).map(PathBuf::from) else {
        return Ok(());
    };
    let mut file = OpenOptions::new().append(true).create(true).open(&path);
    let done = file.as_mut().map_err(|error| std::io::Error::new(error.kind(), error.to_string()));
    done.and_then(|file| file.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write to {}, which GITHUB_STEP_SUMMARY names", path.display()))
}
