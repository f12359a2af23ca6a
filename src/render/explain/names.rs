//! What things are called within one finding: locks, threads, what a leg does.

use super::Point;
use crate::analysis::findings::Finding;
use crate::analysis::lock_name;
use crate::analysis::order::{Action, Cycle, Leg, Step};
use crate::model::{HangKind, Kind, LockId, Mode, Session, StackId, Stacks, ThreadId};
use crate::render::locations::{CodeLocation, location};
use crate::render::names::{fit_end, short_file};
use crate::render::sources::Sources;
use crate::render::style::printable;

/// A headline does not get easier with a longer name.
const NAME_WIDTH: usize = 40;
/// A cycle of more locks is named by its first ones.
const MOST_NAMES: usize = 4;

/// The kernel cuts a thread's name to this.
const KERNEL_WIDTH: usize = 15;

/// Names within one finding: locks and threads that share a name are told apart.
pub(crate) struct Names<'a> {
    session: &'a Session,
    locks: Vec<LockId>,
    threads: Vec<ThreadId>,
    /// Locks of kind `Join`, and the threads that they stand for.
    ends: Vec<(LockId, ThreadId)>,
    hang: Option<HangKind>,
}

fn push<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.contains(&item) {
        list.push(item);
    }
}

impl<'a> Names<'a> {
    pub(crate) fn of(session: &'a Session, finding: &Finding) -> Self {
        let (mut locks, mut threads) = (Vec::new(), Vec::new());
        let (mut ends, mut hang) = (Vec::new(), None);
        finding.subject.locks.iter().for_each(|lock| push(&mut locks, *lock));
        finding.subject.threads.iter().for_each(|thread| push(&mut threads, *thread));
        if let Some(cycle) = finding.cycle() {
            hang = cycle.hang();
            // A thread holds its own end; elsewhere the lock of kind `Join` stands for whom a step is about.
            if !hang.is_some_and(HangKind::is_left_alone) {
                ends.extend(cycle.legs.iter().map(|leg| (leg.held.lock, leg.thread)));
            }
            ends.extend(cycle.witness.iter().filter_map(|step| Some((step.lock?, step.other?))));
            ends.retain(|(lock, _)| session.lock(*lock).kind == Kind::Join);
            for leg in &cycle.legs {
                push(&mut locks, leg.wanted);
                leg.also_held.iter().for_each(|held| push(&mut locks, held.lock));
            }
            for step in &cycle.witness {
                push(&mut threads, step.thread);
                step.other.iter().for_each(|thread| push(&mut threads, *thread));
                step.lock.iter().for_each(|lock| push(&mut locks, *lock));
            }
        }
        Self { session, locks, threads, ends, hang }
    }

    /// The thread whose end a lock of kind `Join` is.
    fn ends(&self, lock: LockId) -> Option<String> {
        (self.session.lock(lock).kind == Kind::Join).then(|| {
            let thread = self.ends.iter().find(|(known, _)| *known == lock).map(|(_, thread)| *thread);
            thread.map_or_else(|| "a thread".to_owned(), |thread| self.thread(thread))
        })
    }

    /// A lock's name, `acct->lock #2` where another of the finding has the same; of a join `the end of worker-0`.
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

    /// A thread's name, with its id where another of the finding has the same. Threads that nobody named have their
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
        match location(self.session, created, &Sources::default()) {
            Some(CodeLocation { function, file: Some(file), line, .. }) => {
                format!("{name} (started by {function} at {}:{line})", printable(short_file(file)))
            }
            Some(CodeLocation { function, .. }) => format!("{name} (started by {function})"),
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
    pub(super) fn cycle(&self, cycle: &Cycle) -> String {
        let names: Vec<String> = cycle.legs.iter().map(|leg| self.lock(leg.held.lock)).collect();
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
        cycle.legs.iter().for_each(|leg| push(&mut names, self.lock(leg.wanted)));
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

    /// What a leg wants: `wants b for reading`, `waits for worker-0 to end`.
    fn wants(&self, leg: &Leg) -> String {
        let lock = self.lock(leg.wanted);
        if let Some(thread) = self.ends(leg.wanted) {
            return format!("waits for {thread} to end");
        }
        match self.session.lock(leg.wanted).kind {
            _ if leg.reacquired => format!("wants {lock} back after a condition wait"),
            kind if kind.is_lock() => format!("wants {lock}{}", self.mode(leg.wanted, leg.wanted_mode)),
            _ => format!("waits for {lock}"),
        }
    }

    /// `worker-0 holds a and wants b for reading`.
    pub(super) fn leg(&self, leg: &Leg) -> String {
        let (who, wants) = (self.introduced(leg.thread), self.wants(leg));
        let limit = if leg.timed { ", for a limited time" } else { "" };
        let held = format!("{}{}", self.lock(leg.held.lock), self.mode(leg.held.lock, leg.held.mode));
        match self.hang {
            Some(HangKind::Stuck | HangKind::Leaked) => format!("{who} {wants}"),
            Some(HangKind::Abandoned) => format!("{who} {wants}, which a thread that has ended holds"),
            _ if self.ends(leg.held.lock).is_some() => format!("{who} {wants}{limit} before it ends"),
            _ => format!("{who} holds {held} and {wants}{limit}"),
        }
    }

    /// Where a leg does its two things.
    pub(super) fn points(&self, leg: &Leg) -> Vec<Point> {
        let who = self.thread(leg.thread);
        let wants = point(leg.wanted_stack, &who, self.wants(leg));
        let lock = self.lock(leg.held.lock);
        let held = leg.held.stack;
        match self.hang {
            Some(HangKind::Stuck | HangKind::Leaked) => vec![wants],
            Some(HangKind::Abandoned) => {
                vec![point(held, "", format!("{lock} was taken by a thread that has ended")), wants]
            }
            _ if self.ends(leg.held.lock).is_some() => vec![point(held, &who, "is started".to_owned()), wants],
            _ => vec![point(held, &who, format!("takes {lock}")), wants],
        }
    }
}

fn point(stack: StackId, who: &str, label: String) -> Point {
    let sentence = format!("{who} {label}").trim_start().to_owned();
    let here = format!("{sentence} here");
    Point { stack, label, sentence, more: String::new(), here }
}
