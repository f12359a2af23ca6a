//! What things are called within one entry of a verdict: locks, threads, what a side does.

use super::words::{Spot, spot};
use crate::analysis::lock_name;
use crate::analysis::order::{Action, Cycle, Side, Step};
use crate::gate::{Entry, Subject};
use crate::model::{HangKind, Kind, LockId, Mode, Session, StackId, Stacks, ThreadId};
use crate::render::names::{fit_end, short_file};
use crate::render::paint::printable;
use crate::render::sources::Sources;

/// A headline does not get easier with a longer name.
const NAME_WIDTH: usize = 40;
/// A cycle of more locks is told by its first ones.
const MOST_NAMES: usize = 4;

/// The kernel cuts a thread's name to this.
const KERNEL_WIDTH: usize = 15;

/// Names within one entry: locks and threads that share a name are told apart.
pub(crate) struct Names<'a> {
    session: &'a Session,
    locks: Vec<LockId>,
    threads: Vec<ThreadId>,
    /// Locks of kind `Join`, and the threads that they stand for.
    ends: Vec<(LockId, ThreadId)>,
    hang: Option<HangKind>,
}

/// What a side does at a place.
pub(crate) struct Deed {
    /// Where.
    pub stack: StackId,
    /// `takes a`: without who does it.
    pub label: String,
    /// `worker-0 takes a`.
    pub sentence: String,
}

fn push<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.contains(&item) {
        list.push(item);
    }
}

impl<'a> Names<'a> {
    pub(crate) fn of(entry: &Entry<'a>) -> Self {
        let (mut locks, mut threads) = (Vec::new(), Vec::new());
        let (mut ends, mut hang) = (Vec::new(), None);
        match &entry.subject {
            Subject::Cycle(cycle) => {
                hang = cycle.hang;
                cycle.sides.iter().for_each(|side| push(&mut locks, side.held.lock));
                // A thread holds its own end; elsewhere the lock of kind `Join` stands for whom a step is about.
                if hang != Some(HangKind::Stuck) {
                    ends.extend(cycle.sides.iter().map(|side| (side.held.lock, side.thread)));
                }
                ends.extend(cycle.witness.iter().filter_map(|step| Some((step.lock?, step.other?))));
                ends.retain(|(lock, _)| entry.recording.session.lock(*lock).kind == Kind::Join);
                for side in &cycle.sides {
                    push(&mut threads, side.thread);
                    push(&mut locks, side.wanted);
                    side.also_held.iter().for_each(|held| push(&mut locks, held.lock));
                }
                for step in &cycle.witness {
                    push(&mut threads, step.thread);
                    step.other.iter().for_each(|thread| push(&mut threads, *thread));
                    step.lock.iter().for_each(|lock| push(&mut locks, *lock));
                }
            }
            Subject::Finding(finding) => {
                locks.push(finding.lock);
                threads.push(finding.thread);
            }
            Subject::Budget(breach) => {
                locks.push(breach.lock);
                threads.extend(breach.thread);
            }
        }
        Self { session: entry.recording.session, locks, threads, ends, hang }
    }

    /// The thread whose end a lock of kind `Join` is.
    fn ends(&self, lock: LockId) -> Option<String> {
        (self.session.lock(lock).kind == Kind::Join).then(|| {
            let thread = self.ends.iter().find(|(known, _)| *known == lock).map(|(_, thread)| *thread);
            thread.map_or_else(|| "a thread".to_owned(), |thread| self.thread(thread))
        })
    }

    /// A lock's name, `acct->lock #2` where another of the entry has the same; of a join `the end of worker-0`.
    pub(crate) fn lock(&self, lock: LockId) -> String {
        if let Some(thread) = self.ends(lock) {
            return format!("the end of {thread}");
        }
        let name = lock_name(self.session, lock);
        let same: Vec<_> = self.locks.iter().filter(|other| lock_name(self.session, **other) == name).collect();
        let name = fit_end(&printable(&name), NAME_WIDTH);
        match same.iter().position(|other| **other == lock) {
            Some(at) if same.len() > 1 => format!("{name} #{}", at + 1),
            _ => name,
        }
    }

    /// A thread's name, with its id where another of the entry has the same. Threads that nobody named have their
    /// program's name, which says nothing: they are told by their number in the process.
    pub(crate) fn thread(&self, thread: ThreadId) -> String {
        let row = self.session.thread(thread);
        let name = printable(&row.name);
        let same = self.threads.iter().filter(|other| self.session.thread(**other).name == row.name).count();
        let process = self.session.process(row.process);
        let mut name = match (self.is_named(thread), row.tid == process.pid) {
            (true, _) if same > 1 => format!("{name} ({})", row.tid),
            (true, _) => name,
            (false, true) => "main".to_owned(),
            (false, false) => format!("thread {}", self.number(thread)),
        };
        if self.session.processes.len() > 1 {
            name.push_str(&format!(" of process {}", process.pid));
        }
        name
    }

    fn is_named(&self, thread: ThreadId) -> bool {
        let row = self.session.thread(thread);
        let exe = &self.session.process(row.process).exe;
        let program: String = exe.rsplit('/').next().unwrap_or_default().chars().take(KERNEL_WIDTH).collect();
        !row.name.is_empty() && row.name != program
    }

    /// The thread's place among those of its process, in the order in which they began, from 1.
    fn number(&self, thread: ThreadId) -> usize {
        let row = self.session.thread(thread);
        let threads = self.session.threads.iter().enumerate().filter(|(_, other)| other.process == row.process);
        let before = threads.filter(|(at, other)| (other.start_ns, *at) < (row.start_ns, thread.index()));
        before.count() + 1
    }

    /// A thread's name, and where it was started if nobody named it: `thread 3 (started by main at bank.cc:40)`.
    fn introduced(&self, thread: ThreadId) -> String {
        let name = self.thread(thread);
        let created = self.session.order.created_at(thread);
        if self.is_named(thread) || created == Stacks::UNKNOWN {
            return name;
        }
        match spot(self.session, created, &Sources::default()) {
            Some(Spot { function, file: Some(file), line, .. }) => {
                format!("{name} (started by {function} at {}:{line})", printable(short_file(file)))
            }
            Some(Spot { function, .. }) => format!("{name} (started by {function})"),
            None => name,
        }
    }

    /// ` for reading`, where a lock knows modes.
    pub(crate) fn mode(&self, lock: LockId, mode: Mode) -> &'static str {
        match (self.session.lock(lock).kind, mode) {
            (kind, Mode::Exclusive) if kind.has_readers() => " for writing",
            (_, Mode::Shared) => " for reading",
            _ => "",
        }
    }

    /// `a ↔ b`, or `a → b → c → a`.
    pub(crate) fn cycle(&self, cycle: &Cycle) -> String {
        let names: Vec<String> = cycle.sides.iter().map(|side| self.lock(side.held.lock)).collect();
        match names.as_slice() {
            [] => "a cycle of locks".into(),
            [one] => one.clone(),
            [one, other] => format!("{one} ↔ {other}"),
            many if many.len() > MOST_NAMES => {
                let first = many[..MOST_NAMES - 1].join(" → ");
                format!("{first} → … ({} locks) → {}", many.len(), many[0])
            }
            many => format!("{} → {}", many.join(" → "), many[0]),
        }
    }

    /// What the threads of a hang wait for, each once: `a, b and 3 more`.
    pub(super) fn waited(&self, cycle: &Cycle) -> String {
        let mut names: Vec<String> = Vec::new();
        cycle.sides.iter().for_each(|side| push(&mut names, self.lock(side.wanted)));
        let rest = names.len().saturating_sub(MOST_NAMES);
        names.truncate(MOST_NAMES);
        let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
        names.join(", ") + &more
    }

    /// What a thread does in a step of a witness.
    pub(crate) fn action(&self, step: &Step) -> String {
        let lock = step.lock.map(|lock| self.lock(lock));
        let named = |fallback: &str| lock.clone().unwrap_or_else(|| fallback.to_owned());
        let other = step.other.map_or_else(|| "a thread".to_owned(), |thread| self.thread(thread));
        let mode = |mode| step.lock.map_or("", |lock| self.mode(lock, mode));
        let is_join = step.lock.is_some_and(|lock| self.session.lock(lock).kind == Kind::Join);
        match step.action {
            Action::Acquire(of) => format!("takes {}{}", named("a lock"), mode(of)),
            Action::Release => format!("releases {}", named("a lock")),
            Action::Block(_) if is_join => format!("waits for {other} to end"),
            Action::Block(of) => format!("waits for {}{}", named("a lock"), mode(of)),
            Action::Create => format!("starts {other}"),
            Action::Join => format!("joins {other}"),
            Action::Barrier => format!("passes {}", named("a barrier")),
            Action::Post => format!("posts {}", named("a semaphore")),
            Action::Take => format!("gets {}", named("a semaphore")),
        }
    }

    /// What a side wants: `wants b for reading`, `waits for worker-0 to end`.
    fn wants(&self, side: &Side) -> String {
        let lock = self.lock(side.wanted);
        if let Some(thread) = self.ends(side.wanted) {
            return format!("waits for {thread} to end");
        }
        match self.session.lock(side.wanted).kind {
            _ if side.reacquired => format!("wants {lock} back after a condition wait"),
            kind if kind.is_lock() => format!("wants {lock}{}", self.mode(side.wanted, side.wanted_mode)),
            _ => format!("waits for {lock}"),
        }
    }

    /// `worker-0 holds a and wants b for reading`.
    pub(crate) fn side(&self, side: &Side) -> String {
        let (who, wants) = (self.introduced(side.thread), self.wants(side));
        let limit = if side.timed { ", for a limited time" } else { "" };
        let held = format!("{}{}", self.lock(side.held.lock), self.mode(side.held.lock, side.held.mode));
        match self.hang {
            Some(HangKind::Stuck) => format!("{who} {wants}"),
            Some(HangKind::Abandoned) => format!("{who} {wants}, which a thread that has ended holds"),
            _ if self.ends(side.held.lock).is_some() => format!("{who} {wants}{limit} before it ends"),
            _ => format!("{who} holds {held} and {wants}{limit}"),
        }
    }

    /// Where a side does its two things.
    pub(crate) fn deeds(&self, side: &Side) -> Vec<Deed> {
        let who = self.thread(side.thread);
        let by = |stack: StackId, label: String| Deed { stack, sentence: format!("{who} {label}"), label };
        let wants = by(side.wanted_stack, self.wants(side));
        let lock = self.lock(side.held.lock);
        match self.hang {
            Some(HangKind::Stuck) => vec![wants],
            Some(HangKind::Abandoned) => {
                let label = format!("{lock} was taken by a thread that has ended");
                vec![Deed { stack: side.held.stack, sentence: label.clone(), label }, wants]
            }
            _ if self.ends(side.held.lock).is_some() => vec![by(side.held.stack, "is started".to_owned()), wants],
            _ => vec![by(side.held.stack, format!("takes {lock}")), wants],
        }
    }
}
