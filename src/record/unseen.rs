//! Programs of the tree that the recorder is not in. The report must say so: what they did is not in it.
//!
//! Each process that descends from the command is looked at when it appears, and again when it becomes another program. Of one
//! that ends between two looks, the kernel's list of programs tells, where it lets us read it; else the count of those that
//! were started and of which nothing came.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustc_hash::{FxHashMap, FxHashSet};

use super::preflight;
use crate::ingest::collector::{Collected, Collector, ImageNotes};
use crate::ingest::{procfs, tasks};
use crate::model::{Coverage, Exit, ProcessId};

/// A look is paid for by a pause of so many times its length: it takes at most 2% of a processor.
const SHARE: u32 = 50;
/// All processes are looked for this often, whether the kernel has given out new numbers or not.
const AT_LEAST: Duration = Duration::from_secs(1);
/// Loaders that have not loaded the recorder by then are no longer looked at as often as can be.
const LOADING: Duration = Duration::from_secs(1);

/// Why nothing is recorded of a program that has lost the variable.
pub const NOT_IN_ENVIRONMENT: &str =
    "it has no LD_PRELOAD that names the recorder: whoever started it changed the environment";

/// See the module.
pub struct Unseen<'a> {
    /// The session's folder.
    folder: &'a Path,
    /// The library's file name.
    library: Vec<u8>,
    /// Folders in `/proc` of processes that do not descend from the command.
    others: FxHashSet<u32>,
    descendants: FxHashMap<u32, Descendant>,
    next: Instant,
    /// When all processes were looked for, and the number that the kernel had given out last before that.
    searched: Option<(Instant, u32)>,
    /// What the list said since the last look.
    is_news: bool,
    /// Of some it is not known yet whether the recorder is in them.
    is_undecided: bool,
    /// By program and reason: the first process, and how many.
    found: BTreeMap<(String, String), (u32, usize)>,
    /// Their processes.
    reported: FxHashSet<u32>,
    /// Those that ended, or became other programs, before it was certain.
    undecided: Vec<Undecided>,
    /// What the kernel called the command's process last.
    comm: String,
}

/// A program in which the recorder was not seen yet when it ended.
struct Undecided {
    pid: u32,
    comm: String,
    name: String,
    why: String,
}

/// A process that descends from the command.
struct Descendant {
    image: Stat,
    /// `None` where it is known whether the recorder is in it; else since when it is not, and as what it is reported then.
    undecided: Option<(Instant, Undecided)>,
}

impl Descendant {
    /// In place of where its stack begins, of one that was not looked at yet.
    const UNREAD: u64 = u64::MAX;

    fn is_unread(&self) -> bool {
        self.image.stack == Self::UNREAD
    }

    /// Whether it is to be looked at again soon: its loader may be at work.
    fn is_loading(&self) -> bool {
        self.undecided.as_ref().is_some_and(|(since, _)| since.elapsed() < LOADING)
    }
}

/// What tells one program of one process from another, of `/proc/PID/stat`.
#[derive(Clone, PartialEq, Eq)]
struct Stat {
    comm: String,
    parent: u32,
    started: u64,
    /// Where its stack begins: by chance, anew at each exec.
    stack: u64,
}

impl Stat {
    fn of(entry: u32) -> Option<Self> {
        Self::parse(&procfs::text(format!("/proc/{entry}/stat")).ok()?)
    }

    fn parse(stat: &str) -> Option<Self> {
        let (before, behind) = stat.rsplit_once(')')?;
        let comm = before.split_once('(')?.1.to_owned();
        let words: Vec<&str> = behind.split_whitespace().collect();
        let number = |at: usize| words.get(at)?.parse().ok();
        Some(Self { comm, parent: number(1)? as u32, started: number(19)?, stack: number(25)? })
    }

    fn is_same_image(&self, other: &Self) -> bool {
        self.started == other.started && self.stack == other.stack
    }
}

/// What a look at a process found.
enum Look {
    /// Nothing to be reported: the recorder is in it, or it ends.
    Fine,
    /// Perhaps its loader is still at work.
    NotYet(String),
    /// Nothing of it is recorded.
    Unseen(String),
}

impl<'a> Unseen<'a> {
    /// `library`: what is preloaded. To be made before the command is started: what is there by then is not its.
    pub fn new(folder: &'a Path, library: &Path) -> Self {
        let library = library.file_name().map(|name| name.as_encoded_bytes().to_vec()).unwrap_or_default();
        let own = procfs::own_entry();
        Self {
            folder,
            library,
            others: procfs::entries().filter(|entry| *entry != own).collect(),
            descendants: FxHashMap::default(),
            next: Instant::now(),
            searched: None,
            is_news: true,
            is_undecided: false,
            found: BTreeMap::new(),
            reported: FxHashSet::default(),
            undecided: Vec::new(),
            comm: String::new(),
        }
    }

    /// Looks at processes that are new, or became another program. To be called often. `is_news`: the kernel's list says
    /// that there may be such; `is_seen_to`: a process is recorded in another way, or somebody takes care of it, and reports it.
    pub fn look(&mut self, collector: &Collector, is_news: bool, is_seen_to: &dyn Fn(u32) -> bool) {
        self.is_news |= is_news;
        let began = Instant::now();
        let is_due = || self.searched.is_none_or(|(at, _)| at.elapsed() >= AT_LEAST);
        if began < self.next || !(self.is_news || self.is_undecided || is_due()) {
            return;
        }
        self.is_news = false;
        // Without a new number there is no new process.
        let newest = procfs::newest_process();
        let is_known = |(at, then): (Instant, u32)| newest == Some(then) && at.elapsed() < AT_LEAST;
        if !self.searched.is_some_and(is_known) {
            self.searched = Some((began, newest.unwrap_or(0)));
            let entries: FxHashSet<u32> = procfs::entries().collect();
            self.others.retain(|entry| entries.contains(entry));
            self.find_descendants(&entries);
        }
        let recorded: FxHashSet<u32> = collector.pids().collect();
        let mut descendants = std::mem::take(&mut self.descendants);
        descendants.retain(|entry, process| {
            // Another process may have the number. If it is a descendant, it is found as such.
            let Some(now) = Stat::of(*entry).filter(|now| now.started == process.image.started) else {
                self.undecided.extend(process.undecided.take().map(|(_, undecided)| undecided));
                return false;
            };
            let is_new = !now.is_same_image(&process.image);
            if is_new || process.is_loading() {
                self.judge(*entry, process, (now, is_new), (&recorded, is_seen_to), began);
            }
            true
        });
        self.is_undecided = descendants.values().any(|process| process.is_loading() || process.is_unread());
        self.descendants = descendants;
        self.next = Instant::now() + began.elapsed() * SHARE;
    }

    /// New processes whose parents descend from the command.
    fn find_descendants(&mut self, entries: &FxHashSet<u32>) {
        let own = procfs::own_entry();
        let is_new =
            |entry: &&u32| **entry != own && !self.others.contains(entry) && !self.descendants.contains_key(entry);
        let mut new: Vec<(u32, Stat)> =
            entries.iter().filter(is_new).filter_map(|entry| Some((*entry, Stat::of(*entry)?))).collect();
        loop {
            let before = new.len();
            new.retain(|(entry, stat)| {
                let descends = stat.parent == own || self.descendants.contains_key(&stat.parent);
                if descends {
                    // It differs from what is read next: it is looked at.
                    let image = Stat { stack: Descendant::UNREAD, ..stat.clone() };
                    self.descendants.insert(*entry, Descendant { image, undecided: None });
                }
                !descends
            });
            if new.len() == before {
                break;
            }
        }
        self.others.extend(new.into_iter().map(|(entry, _)| entry));
    }

    fn judge(
        &mut self,
        entry: u32,
        process: &mut Descendant,
        (now, is_new): (Stat, bool),
        (recorded, is_seen_to): (&FxHashSet<u32>, &dyn Fn(u32) -> bool),
        at: Instant,
    ) {
        let look = if is_seen_to(entry) { Look::Fine } else { self.look_at(entry, recorded) };
        // It became another program while it was looked at: the next look tells.
        if Stat::of(entry).is_none_or(|then| !then.is_same_image(&now)) {
            return;
        }
        let before = process.undecided.take();
        let since = before.as_ref().filter(|_| !is_new).map_or(at, |(since, _)| *since);
        if is_new {
            self.undecided.extend(before.map(|(_, undecided)| undecided));
        }
        let (why, may_be_loading) = match look {
            Look::Fine => (None, false),
            // On a busy machine it takes its time: it is told at its end, if it was not recorded then.
            Look::NotYet(why) => (Some(why), true),
            Look::Unseen(why) => (Some(why), false),
        };
        if let Some(why) = why {
            let folder = PathBuf::from(format!("/proc/{entry}"));
            let name = fs::read_link(folder.join("exe"));
            let name = name.map_or_else(|_| now.comm.clone(), |path| path.display().to_string());
            let pid = procfs::known_as(&folder).map_or(entry, |(pid, _)| pid);
            if may_be_loading {
                process.undecided = Some((since, Undecided { pid, comm: now.comm.clone(), name, why }));
            } else {
                self.found(pid, name, why);
            }
        }
        process.image = now;
    }

    fn found(&mut self, pid: u32, name: String, why: String) {
        self.reported.insert(pid);
        self.found.entry((name, why)).or_insert((pid, 0)).1 += 1;
    }

    fn look_at(&self, entry: u32, recorded: &FxHashSet<u32>) -> Look {
        let process = PathBuf::from(format!("/proc/{entry}"));
        let has = |bytes: &[u8], part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
        let program = process.join("exe");
        let Ok(maps) = tasks::maps(&process) else {
            if procfs::known_as(&process).is_some_and(|(pid, _)| recorded.contains(&pid)) {
                return Look::Fine;
            }
            return Look::NotYet("it is another user's, or may not be looked at".to_owned());
        };
        let session = self.folder.file_name().map(|name| name.as_encoded_bytes()).unwrap_or_default();
        if maps.is_empty() || has(&maps, session) {
            return Look::Fine;
        }
        if has(&maps, &self.library) {
            return Look::NotYet(
                "it carries the recorder, which could not make its shared memory: a sandbox, another user or another mount \
                 namespace is in the way"
                    .to_owned(),
            );
        }
        if let Some(why) = preflight::why_nothing_is_loaded(&program) {
            return Look::Unseen(why);
        }
        let environment = fs::read(tasks::memory_of(&process).join("environ")).unwrap_or_default();
        let why =
            if has(&environment, &self.library) { "its loader did not load the recorder" } else { NOT_IN_ENVIRONMENT };
        // The loader maps what is preloaded before everything else.
        if has(&maps, b"/libc.so.6") { Look::Unseen(why.to_owned()) } else { Look::NotYet(why.to_owned()) }
    }

    /// Remembers what the command's process is called, as long as that can be read: behind its end too, until its parent
    /// has fetched the code.
    pub fn remember(&mut self, pid: u32) {
        if let Ok(comm) = procfs::text(procfs::folder(pid).join("comm")) {
            trim_into(&comm, &mut self.comm);
        }
    }

    /// Reports what was not recorded. `exit`: of the command, whose process is `pid`; `execs`: the kernel's list of programs;
    /// `None`: what the command starts is not to be recorded. `announced`: those that are known not to be recorded. `why`: what else is known of a program of this name that
    /// a process became, and whether the recorder was in that process before.
    pub fn report(
        &mut self,
        collected: &mut Collected,
        (pid, exit): (u32, Option<Exit>),
        execs: Option<&[(u32, String)]>,
        announced: &[(u32, String)],
        why: &dyn Fn(u32, &str, bool) -> Option<String>,
    ) {
        let (follows, execs) = (execs.is_some(), execs.unwrap_or_default());
        let left =
            self.descendants.drain().filter_map(|(_, process)| process.undecided).map(|(_, undecided)| undecided);
        let undecided: Vec<Undecided> = std::mem::take(&mut self.undecided).into_iter().chain(left).collect();
        let seen: Vec<(u32, String)> = undecided.iter().map(|program| (program.pid, program.comm.clone())).collect();
        let seen = missing(&seen, collected);
        for program in undecided {
            let is_missing = seen.iter().any(|(pid, comm)| (*pid, comm) == (program.pid, &program.comm));
            if is_missing && !self.reported.contains(&program.pid) {
                self.found(program.pid, program.name, program.why);
            }
        }
        let announced = if execs.is_empty() { announced } else { &[] };
        for (pid, name) in missing(execs, collected).into_iter().chain(missing(announced, collected)) {
            if !self.reported.contains(&pid) {
                let had_recorder = collected
                    .images
                    .iter()
                    .any(|(id, image)| image.is_certain && collected.session.process(*id).pid == pid);
                let why = why(pid, &name, had_recorder).unwrap_or_else(|| {
                    "it ended before it could be looked at, and the recorder made no shared memory in it".to_owned()
                });
                self.found(pid, name, why);
            }
        }
        for ((name, why), (first, count)) in &self.found {
            let which = match count {
                1 => format!("process {first}"),
                more => format!("{more} processes, the first of them {first}"),
            };
            let note = format!("the program {name} was not recorded ({which}): {why}");
            collected.session.coverage.notes.push(Coverage::in_part(&note));
        }
        let of_command = self.of_command(collected, pid, exit, !execs.is_empty());
        let reported: u64 =
            self.found.values().map(|(_, count)| *count as u64).sum::<u64>() + of_command.iter().len() as u64;
        let notes = &mut collected.session.coverage.notes;
        notes.extend(of_command.map(|note| Coverage::in_part(&note)));
        let more = if execs.is_empty() { collected.missing_programs.saturating_sub(reported) } else { 0 };
        if more > 0 && follows {
            let (programs, they, them) = if more == 1 {
                ("1 program was".to_owned(), "it", "it")
            } else {
                (format!("{more} programs were"), "they", "them")
            };
            let note = format!(
                "{programs} started and not recorded: {they} ended before {they} could be looked at, and the recorder made \
                 no shared memory in {them}"
            );
            notes.push(Coverage::in_part(&note));
        }
    }

    /// What of the command's own process was not recorded, if that was not reported yet. `is_listed`: the kernel's list is there.
    fn of_command(&self, collected: &Collected, pid: u32, exit: Option<Exit>, is_listed: bool) -> Option<String> {
        if self.reported.contains(&pid) {
            return None;
        }
        let images = (collected.images.iter())
            .filter(|(id, image)| image.is_certain && collected.session.process(**id).pid == pid);
        let last: Option<(&ProcessId, &ImageNotes)> = images.max_by_key(|(_, image)| image.born);
        let Some((id, image)) = last else {
            return Some("the program itself was not recorded: the recorder was not loaded into it".to_owned());
        };
        let went_on = !image.has_told_exit && matches!(exit, Some(Exit::Code(_))) && image.comm != self.comm;
        // Where the list is there, it has said so.
        (went_on && !is_listed).then(|| {
            let before = &collected.session.process(*id).exe;
            format!("the program {} that {before} became was not recorded (process {pid})", self.comm)
        })
    }
}

/// Programs of the kernel's list that have left no image of theirs.
fn missing(execs: &[(u32, String)], collected: &Collected) -> Vec<(u32, String)> {
    let mut images: FxHashMap<u32, Vec<&str>> = FxHashMap::default();
    let mut of_nobody: Vec<&str> = Vec::new();
    for (id, image) in collected.images.iter().filter(|(_, image)| !image.is_forked) {
        if image.is_certain {
            images.entry(collected.session.process(*id).pid).or_default().push(&image.comm);
        } else {
            of_nobody.push(&image.comm);
        }
    }
    // One that could not read its name may be any.
    let take = |list: &mut Vec<&str>, name: &str| {
        let found = list.iter().position(|comm| *comm == name).or_else(|| list.iter().position(|comm| comm.is_empty()));
        found.map(|at| list.swap_remove(at)).is_some()
    };
    let is_missing = |(pid, name): &&(u32, String)| {
        !images.get_mut(pid).is_some_and(|list| take(list, name)) && !take(&mut of_nobody, name)
    };
    execs.iter().filter(is_missing).cloned().collect()
}

fn trim_into(text: &str, into: &mut String) {
    into.clear();
    into.push_str(text.trim_end());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernel() {
        let line =
            "7 (a) Z (b) S 3 7 7 0 -1 4 1 2 3 4 5 6 7 8 20 0 1 0 4711 1000 10 18446744073709551615 1 2 140000 9 9";
        let stat = Stat::parse(line).expect("a line");
        assert_eq!((stat.comm.as_str(), stat.parent), ("a) Z (b", 3));
        assert_eq!((stat.started, stat.stack), (4711, 140_000));
        assert!(Stat::parse("7 (x").is_none() && Stat::parse("7 (x) S 3").is_none());
    }
}
