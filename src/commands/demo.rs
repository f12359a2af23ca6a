//! `lockprof demo`: the first thing to try.

use std::ffi::OsString;
use std::path::Path;

use anyhow::Context;

use super::output::{Console, Target};
use super::picture;
use super::run::{Recorded, session_of};
use crate::analysis::contention::{Contention, GroupBy, Query};
use crate::analysis::findings;
use crate::cli::DemoArgs;
use crate::exit_code::ExitCode;
use crate::ingest::file;
use crate::record::launch::Program;
use crate::record::{Options, demo};
use crate::render::flamegraph::{self, draw};
use crate::render::text;

const TRACE: &str = "demo.lockprof";
const PICTURE: &str = "demo.svg";

pub(super) fn demo(console: &Console, args: &DemoArgs) -> anyhow::Result<ExitCode> {
    let path = std::env::current_exe().context("cannot find the lockprof program itself")?;
    console.say("recording a small server with a slow journal for two seconds");
    let program = Program { path, command: vec![OsString::from("lockprof-demo")] };
    let options = Options { workload: Some(demo::VARIABLE), ..Options::default() };
    let Recorded { session, .. } = session_of(console, &program, &options)?;
    file::write_to_path(&session, Path::new(TRACE))?;
    let contention = Contention::of(&session, &Query { by: GroupBy::Class, lone_locks: true, ..Query::default() });
    let options = flamegraph::Options { side: Some(flamegraph::Side::Both), ..flamegraph::Options::default() };
    let target = Target::File(PICTURE.into());
    target.write(&draw(&session, &contention, &options).svg)?;
    if !console.quiet() {
        let options = text::SummaryOptions { layout: console.stderr_layout(), verbose: console.verbose() };
        console.write_stderr(&text::summary(&session, &contention, &findings::find(&session), TRACE, &options));
        console.say(&format!("wrote {TRACE}"));
    }
    picture::present(console, &target, args.open)?;
    Ok(ExitCode::Success)
}
