//! Hangs in sentences: who waits for whom, and what to do.

mod help;
mod names;

use names::Names;

use crate::model::lock_frames::is_go;
use crate::model::{Hang, HangKind, HeldLock, Kind, Mode, Session, Waiting};
use crate::render::style::{Layout, Style, printable};
use crate::render::units::{count, plural};

/// So many threads of a ring are named in one line.
pub(crate) const FIRST: usize = 2;

/// A hang that is certain in one line.
pub fn title(session: &Session, hang: &Hang) -> String {
    HangWords::new(session, hang, Layout::default()).title()
}

/// Makes the sentences about one hang.
pub(crate) struct HangWords<'a> {
    pub session: &'a Session,
    pub hang: &'a Hang,
    pub names: Names,
    /// Whether names are painted.
    layout: Layout,
}

impl<'a> HangWords<'a> {
    pub fn new(session: &'a Session, hang: &'a Hang, layout: Layout) -> Self {
        Self { session, hang, names: Names::of(session, hang), layout }
    }

    /// The hang in one line.
    pub fn title(&self) -> String {
        match self.hang.kind {
            HangKind::Abandoned => self.title_of_abandoned(),
            HangKind::Stuck | HangKind::Leaked | HangKind::Waits => self.title_of_waits(),
            HangKind::Deadlock | HangKind::SelfDeadlock => self.title_of_ring(),
        }
    }

    /// What to do; empty where nothing can be said.
    pub fn help(&self) -> String {
        help::help(self)
    }

    /// The title of a ring of waits: how many threads of which program.
    pub fn summary_of_ring(&self) -> String {
        let program = self.program();
        match self.hang.kind {
            HangKind::SelfDeadlock => format!("a {} of {program} waits for itself", self.threads().0),
            _ => {
                let number = self.hang.cycle.len() as u64;
                format!("{} of {program} wait for each other", plural(number, self.threads().0, self.threads().1))
            }
        }
    }

    /// `worker-1 has ended and holds journal.mu still`.
    pub fn title_of_abandoned(&self) -> String {
        let Some((thread, lock)) = self.hang.left_behind() else { return String::new() };
        let name = self.layout.paint(Style::Strong, &self.names.lock(lock));
        format!("{} has ended and holds {name} still: nobody will give it back", self.names.thread(thread))
    }

    /// What the program calls those who wait: one, and several.
    pub fn threads(&self) -> (&'static str, &'static str) {
        let first = self.hang.waiting().next();
        let is_go = first.is_some_and(|waiting| is_go(&self.session.stacks, waiting.stack));
        if is_go { ("goroutine", "goroutines") } else { ("thread", "threads") }
    }

    /// `server (pid 4242)`.
    pub fn program(&self) -> String {
        let process = self.session.process(self.hang.process);
        let name = process.exe.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("the program");
        format!("{} (pid {})", printable(name), process.pid)
    }

    /// ` for reading`, where a lock has modes.
    pub fn how(&self, held: &HeldLock) -> &'static str {
        match (self.session.lock(held.lock).kind, held.mode) {
            (kind, _) if !kind.has_readers() => "",
            (_, Mode::Shared) => " for reading",
            (_, Mode::Exclusive) => " for writing",
        }
    }

    /// `worker-1 (4243) wants journal.mu, which flusher (4244) holds`.
    pub fn wants(&self, waiting: &Waiting) -> String {
        let layout = &self.layout;
        let who = layout.paint(Style::Heading, &self.names.thread(waiting.thread));
        let lock = self.session.lock(waiting.lock);
        let others = self.holders(waiting);
        if lock.kind == Kind::Join {
            let whom = if others.is_empty() { "a thread".to_owned() } else { others };
            return format!("{who} waits for {whom} to end");
        }
        let name = layout.paint(Style::Strong, &self.names.lock(waiting.lock));
        let verb = match (lock.kind, waiting.mode) {
            (kind, Mode::Shared) if kind.has_readers() => "wants to read ",
            (kind, Mode::Exclusive) if kind.has_readers() => "wants to write ",
            (kind, _) if kind.is_lock() => "wants ",
            (kind, _) => &format!("waits for the {} ", kind.label()),
        };
        let behind = self.is_behind_writer(waiting);
        let why = match (others.is_empty(), behind) {
            (true, _) => String::new(),
            (false, true) => format!(", behind {others}, which wants to write it"),
            (false, false) if waiting.holders.first() == Some(&waiting.thread) => ", which it holds itself".to_owned(),
            (false, false) => format!(", which {others} {}", if waiting.holders.len() > 1 { "hold" } else { "holds" }),
        };
        format!("{who} {verb}{name}{why}")
    }

    /// Who can end a wait: at most three by name.
    pub fn holders(&self, waiting: &Waiting) -> String {
        const NAMED: usize = 3;
        let mut names: Vec<_> = waiting.holders.iter().take(NAMED).map(|id| self.names.short(*id)).collect();
        if waiting.holders.len() > NAMED {
            names.push(format!("{} more", waiting.holders.len() - NAMED));
        }
        match names.split_last() {
            Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
            _ => names.concat(),
        }
    }

    /// Whether a reader waits for a thread that does not hold the lock, but wants to write.
    pub fn is_behind_writer(&self, waiting: &Waiting) -> bool {
        let Some(first) = waiting.holders.first().filter(|_| waiting.mode == Mode::Shared) else { return false };
        let other = self.hang.waiting().find(|other| other.thread == *first);
        other.is_some_and(|other| {
            other.lock == waiting.lock
                && other.mode == Mode::Exclusive
                && !other.held.iter().any(|held| held.lock == waiting.lock)
        })
    }

    /// The first threads of the ring, each with what it wants and who has that.
    fn title_of_ring(&self) -> String {
        let told = self.hang.cycle.iter().take(FIRST).map(|waiting| self.wants(waiting));
        let mut text = told.collect::<Vec<_>>().join("; ");
        if self.hang.cycle.len() > FIRST {
            text.push_str(&format!("; and {} more in this ring", count((self.hang.cycle.len() - FIRST) as u64)));
        }
        text
    }

    /// `all 3 threads of server (pid 4242) waited when it was told to end`, or `… wait, and nobody is left to wake one`.
    pub fn title_of_waits(&self) -> String {
        let waiting = self.hang.others.len() as u64;
        let all = waiting + u64::from(self.hang.running);
        let program = self.program();
        let (thread, threads) = self.threads();
        let who = match (self.hang.running, waiting) {
            (0, 1) => format!("the only {thread} of {program}"),
            (0, _) => format!("all {} {threads} of {program}", count(waiting)),
            _ => format!("{} of {} of {program}", count(waiting), plural(all, thread, threads)),
        };
        if self.hang.kind.is_left_alone() {
            let (verb, whom) = if waiting == 1 { ("waits", "it") } else { ("wait", "one") };
            return format!("{who} {verb}, and nobody is left to wake {whom}");
        }
        format!("{who} waited when it was told to end")
    }
}
