//! What can be recorded of a process that runs.

use std::fs;
use std::path::PathBuf;

use super::object::Object;
use super::{Finding, Row, names, objects};
use crate::ingest::{mappings, procfs, tasks};
use crate::model::Coverage;
use crate::model::diagnosis::Outcome;
use crate::record::attach::{self, Way};
use crate::record::go;
use crate::record::launch;

/// See the module.
pub struct Process {
    pid: u32,
    exe: PathBuf,
    threads: usize,
    /// How it would be recorded, or why it cannot be.
    way: Result<Way, String>,
    /// What a recording lacks from the start.
    lacks: Vec<String>,
    is_go: bool,
    /// The files of its code, the program's own first.
    objects: Vec<Object>,
}

impl Process {
    /// Looks at it.
    ///
    /// # Errors
    /// Where there is no such process.
    pub fn look(pid: u32) -> anyhow::Result<Self> {
        let exe = launch::Program::of_process(pid)?.path;
        let way = attach::check(pid).map_err(|error| format!("{error:#}"));
        let lacks = way.as_ref().map_or_else(|_| Vec::new(), |way| attach::lacks(pid, *way));
        let shown = tasks::folder(pid);
        let mut found: Vec<(String, PathBuf)> = Vec::new();
        for mapping in mappings::of(&procfs::folder(pid)).unwrap_or_default() {
            if mapping.executable
                && mapping.path.starts_with('/')
                && !found.iter().any(|(path, _)| *path == mapping.path)
            {
                let [_, place] = mapping.places(&shown);
                found.push((mapping.path, place));
            }
        }
        let own = exe.display().to_string();
        found.sort_by_key(|(path, _)| *path != own);
        let is_recorder = |path: &str| {
            path.rsplit('/').next().is_some_and(|name| name.starts_with("shim-") || name == "liblockprof.so")
        };
        let objects = (found.into_iter())
            .filter(|(path, _)| !is_recorder(path))
            .filter_map(|(path, place)| {
                // In this mount namespace the path itself leads to the debug files beside it.
                let same = fs::canonicalize(&path).is_ok() && place.canonicalize().ok() == fs::canonicalize(&path).ok();
                Object::read(if same { path.as_ref() } else { &place })
            })
            .collect();
        let threads = tasks::living(pid).count();
        Ok(Self { pid, threads, way, lacks, is_go: go::is_program(&shown.join("exe")), exe, objects })
    }

    /// Its command line.
    pub fn command(&self) -> Vec<String> {
        procfs::command(self.pid)
    }

    fn status(&self, name: &str) -> Option<String> {
        let status = procfs::text(tasks::folder(self.pid).join("status")).ok()?;
        procfs::field(&status, name).map(str::to_owned)
    }
}

/// The checks.
pub const ROWS: &[Row<Process>] = &[
    Row { id: "process", look: process },
    Row { id: "attach", look: attach_ },
    Row { id: "late", look: late },
    Row { id: "namespaces", look: namespaces },
    Row { id: "filters", look: filters },
    Row { id: "limits", look: limits },
    Row { id: "preload", look: preload },
    Row { id: "functions", look: |process| if_attachable(process, |process| objects::functions(&process.objects)) },
    Row { id: "own-locks", look: |process| if_attachable(process, locks) },
    Row { id: "sanitizer", look: |process| objects::sanitizer(&process.objects) },
    Row { id: "allocator", look: |process| objects::allocator(&process.objects) },
    Row { id: "opens", look: |process| if_attachable(process, |process| objects::opens(&process.objects)) },
    Row { id: "stacks", look: |process| objects::unwinding(&process.objects).filter(|_| !process.is_go) },
    Row { id: "names", look: names_ },
];

/// What is missing in a recording that cannot be is not worth a word.
fn if_attachable(process: &Process, look: impl Fn(&Process) -> Option<Finding>) -> Option<Finding> {
    process.way.as_ref().ok().and_then(|_| look(process))
}

fn process(process: &Process) -> Option<Finding> {
    let threads = match process.threads {
        1 => "1 thread".to_owned(),
        count => format!("{count} threads"),
    };
    Some(Finding::ok(format!("{}, {threads}", process.exe.display())))
}

fn attach_(process: &Process) -> Option<Finding> {
    Some(match &process.way {
        Ok(Way::Woken) => Finding::ok("it carries the recorder asleep"),
        Ok(Way::BroughtIn) => Finding::ok("the recorder can be brought in"),
        Err(why) => Finding::refused(why),
    })
}

fn late(process: &Process) -> Option<Finding> {
    let (first, rest) = process.lacks.split_first()?;
    let seen = Coverage { notes: process.lacks.clone(), ..Coverage::default() };
    let in_part: Vec<&str> = seen.not_seen().collect();
    if in_part.is_empty() {
        return Some(Finding::note("a recording begins when the recorder comes").missing(first.clone()));
    }
    debug_assert!(rest.len() + 1 >= in_part.len());
    Some(
        Finding::new(Outcome::InPart, "a recording begins when the recorder comes")
            .missing(in_part.join("; "))
            .fix("start the program by `lockprof run`, or with the recorder preloaded (lockprof shim)"),
    )
}

fn namespaces(process: &Process) -> Option<Finding> {
    let link = |pid: u32, kind: &str| fs::read_link(tasks::folder(pid).join("ns").join(kind)).ok();
    let own = std::process::id();
    let is_other =
        |kind: &&str| matches!((link(process.pid, kind), link(own, kind)), (Some(one), Some(other)) if one != other);
    let others: Vec<&str> = ["pid", "mnt", "user", "net"].into_iter().filter(is_other).collect();
    (!others.is_empty()).then(|| {
        Finding::ok(format!(
            "it lives in namespaces of its own ({}): a container; its memory is made there",
            others.join(", ")
        ))
    })
}

fn filters(process: &Process) -> Option<Finding> {
    let count: u32 = process.status("Seccomp_filters:")?.parse().ok()?;
    // That they let pass what the recorder calls was looked at where it would be attached to.
    (count > 0).then(|| match &process.way {
        Ok(_) => Finding::ok(format!("{count} system call filters, which let pass what the recorder needs")),
        Err(_) => Finding::note(format!("{count} system call filters (seccomp)")),
    })
}

fn limits(process: &Process) -> Option<Finding> {
    let text = procfs::text(tasks::folder(process.pid).join("limits")).ok()?;
    /// Their names in `/proc/PID/limits`, and what is enough, bytes.
    const ASKED: [(&str, u64); 3] =
        [("Max address space", 4 << 30), ("Max file size", 64 << 20), ("Max locked memory", 0)];
    let low: Vec<String> = (ASKED.iter())
        .filter_map(|(name, enough)| {
            let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
            let soft: u64 = rest.split_whitespace().next()?.parse().ok()?;
            (soft < *enough).then(|| format!("{} {} MB", name.trim_start_matches("Max ").to_lowercase(), soft >> 20))
        })
        .collect();
    (!low.is_empty()).then(|| {
        Finding::note(format!("it is limited: {}", low.join(", ")))
            .missing("the recorder has less room: more is aggregated or counted together than need be")
            .fix("raise the limit before the program is started (ulimit, LimitAS= of systemd)")
    })
}

fn preload(process: &Process) -> Option<Finding> {
    let environment = fs::read(tasks::folder(process.pid).join("environ")).unwrap_or_default();
    let value = environment.split(|byte| *byte == 0).find_map(|variable| variable.strip_prefix(b"LD_PRELOAD="))?;
    let value = String::from_utf8_lossy(value).into_owned();
    (!value.is_empty()).then(|| Finding::ok(format!("it was started with LD_PRELOAD={value}")))
}

fn locks(process: &Process) -> Option<Finding> {
    let exe = process.objects.first();
    let records_own = attach::records_own(process.pid);
    let is_recorded = |object: &Object| records_own && exe.is_some_and(|exe| std::ptr::eq(exe, object));
    objects::own(&process.objects, |object, _| is_recorded(object), process.threads > 1)
}

fn names_(process: &Process) -> Option<Finding> {
    if process.is_go {
        return None;
    }
    process.objects.first().map(names::of)
}
