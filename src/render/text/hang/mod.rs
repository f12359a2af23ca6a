//! A deadlock, or who waits for what, told so that a person can act on it.
//!
//! The same text is printed while the program hangs, at the end of the run and by `report`.

mod help;
mod names;
mod table;

use names::Names;

use crate::model::{Hang, HangKind, HeldLock, Kind, Mode, Session, StackId, Waiting};
use crate::render::frames;
use crate::render::names::{columns, fit_end};
use crate::render::paint::{Layout, Style, wrap};
use crate::render::units::{count, duration, plural};

/// Frames shown of each stack, unless asked for all.
const FRAMES: usize = 6;
/// A ring of more threads than that is told by its first ones.
const WHOLE_RING: usize = 4;
/// That many, then.
const FIRST: usize = 2;
/// Threads told in one line each.
const LINES: usize = 32;

/// How a hang is told.
#[derive(Clone, Debug, Default)]
pub struct HangOptions<'a> {
    /// Colour and width.
    pub layout: Layout,
    /// All frames and all threads.
    pub verbose: bool,
    /// What happens next, as a last note; empty for none.
    pub note: &'a str,
}

/// The whole report of one hang.
pub fn hang(session: &Session, hang: &Hang, options: &HangOptions<'_>) -> String {
    let teller = Teller { session, hang, names: Names::of(session, hang), options };
    let mut out = match hang.kind {
        HangKind::Waits | HangKind::Stuck => table::table(&teller),
        HangKind::Abandoned => teller.abandoned(),
        HangKind::Deadlock | HangKind::SelfDeadlock => teller.deadlock(),
    };
    let help = help::help(&teller);
    let notes = [("help: ", help.as_str()), ("note: ", options.note)];
    let notes: Vec<_> = notes.iter().filter(|(_, text)| !text.is_empty()).collect();
    if !notes.is_empty() {
        out.push('\n');
    }
    for (word, text) in notes {
        let painted = options.layout.paint(Style::Good, word);
        out.push_str(&wrap(text, options.layout.width, &format!("  {painted}"), "        "));
    }
    out
}

/// A hang that is certain in one line.
pub fn hang_title(session: &Session, hang: &Hang) -> String {
    let options = HangOptions::default();
    let teller = Teller { session, hang, names: Names::of(session, hang), options: &options };
    match hang.kind {
        HangKind::Abandoned => teller.title_of_abandoned(),
        HangKind::Stuck | HangKind::Waits => teller.title_of_waits(),
        HangKind::Deadlock | HangKind::SelfDeadlock => teller.title_of_ring(),
    }
}

/// A hang in a few lines, for the summary at the end.
pub fn hang_in_short(session: &Session, hang: &Hang, layout: &Layout) -> String {
    let options = HangOptions { layout: *layout, ..HangOptions::default() };
    let teller = Teller { session, hang, names: Names::of(session, hang), options: &options };
    let (head, text) = match hang.kind {
        HangKind::Waits => ("waits: ", teller.title_of_waits()),
        HangKind::Stuck => {
            ("stuck: ", format!("{} after the start, {}", duration(hang.at_ns), teller.title_of_waits()))
        }
        HangKind::Abandoned => {
            ("deadlock: ", format!("{} after the start, {}", duration(hang.at_ns), teller.title_of_abandoned()))
        }
        HangKind::Deadlock | HangKind::SelfDeadlock => {
            ("deadlock: ", format!("{} after the start, {}", duration(hang.at_ns), teller.title_of_ring()))
        }
    };
    wrap(&text, layout.width, &layout.paint(Style::Bad, head), "  ")
}

/// What all parts of the text need.
struct Teller<'a> {
    session: &'a Session,
    hang: &'a Hang,
    names: Names,
    options: &'a HangOptions<'a>,
}

impl Teller<'_> {
    fn deadlock(&self) -> String {
        let (hang, layout) = (self.hang, &self.options.layout);
        let program = self.program();
        let title = match hang.kind {
            HangKind::SelfDeadlock => format!("a thread of {program} waits for itself"),
            _ => format!("{} of {program} wait for each other", plural(hang.cycle.len() as u64, "thread", "threads")),
        };
        let mut out = wrap(&title, layout.width, &layout.paint(Style::Bad, "deadlock: "), "  ");
        let whole = self.options.verbose || hang.cycle.len() <= WHOLE_RING;
        let shown = if whole { hang.cycle.len() } else { FIRST };
        for at in 0..shown {
            out.push('\n');
            out.push_str(&self.member(at));
        }
        if shown < hang.cycle.len() {
            let rest: Vec<_> = hang.cycle[shown..].iter().map(|waiting| self.wants(waiting)).collect();
            out.push('\n');
            out.push_str(&self.lines(&rest));
        }
        if !hang.others.is_empty() {
            let those = if hang.cycle.len() == 1 { "it" } else { "them" };
            let title =
                format!("{} for {those}:", plural(hang.others.len() as u64, "more thread waits", "more threads wait"));
            out.push_str(&format!("\n  {title}\n"));
            out.push_str(&table::rows(self, &hang.others));
        }
        out
    }

    /// A lock that an ended thread left behind.
    fn abandoned(&self) -> String {
        let (hang, layout) = (self.hang, &self.options.layout);
        let title = format!("{}: {}", self.program(), self.title_of_abandoned());
        let mut out = wrap(&title, layout.width, &layout.paint(Style::Bad, "deadlock: "), "  ");
        let left = hang.left_behind();
        if let Some(stack) = left.and_then(|(thread, lock)| self.session.order.left_behind(thread, lock)) {
            out.push('\n');
            out.push_str(&self.labelled("took it", "here:"));
            out.push_str(&self.stack(stack));
        }
        let waiting = plural(hang.others.len() as u64, "thread waits", "threads wait");
        out.push_str(&format!("\n  {waiting} for it:\n"));
        out.push_str(&table::rows(self, &hang.others));
        out
    }

    /// `worker-1 has ended and holds journal.mu still`.
    fn title_of_abandoned(&self) -> String {
        let Some((thread, lock)) = self.hang.left_behind() else { return String::new() };
        let name = self.options.layout.paint(Style::Strong, &self.names.lock(lock));
        format!("{} has ended and holds {name} still: nobody will give it back", self.names.thread(thread))
    }

    /// `server (pid 4242)`.
    fn program(&self) -> String {
        let process = self.session.process(self.hang.process);
        let name = process.exe.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("the program");
        format!("{} (pid {})", crate::render::paint::printable(name), process.pid)
    }

    /// One thread of the ring: what it wants and has, and where.
    fn member(&self, at: usize) -> String {
        let (hang, layout) = (self.hang, &self.options.layout);
        let waiting = &hang.cycle[at];
        let ago = |since: u64| duration(hang.at_ns.saturating_sub(since));
        let mut out = wrap(&self.wants(waiting), layout.width, "  ", "    ");
        out.push_str(&self.labelled("waits", &format!("here, for {}:", ago(waiting.since_ns))));
        out.push_str(&self.stack(waiting.stack));
        // What the one before it wants comes first: that is its part in the ring.
        let before = (at + hang.cycle.len() - 1) % hang.cycle.len();
        let key = hang.held_by_next(before).map(|held| held.lock);
        let mut held: Vec<&HeldLock> = waiting.held.iter().collect();
        held.sort_by_key(|held| Some(held.lock) != key);
        for held in held {
            let name = layout.paint(Style::Strong, &self.names.lock(held.lock));
            let how = self.how(held);
            out.push_str(&self.labelled("holds", &format!("{name}{how}, taken {} ago:", ago(held.since_ns))));
            out.push_str(&self.stack(held.stack));
        }
        out
    }

    fn labelled(&self, label: &str, text: &str) -> String {
        format!("    {} {text}\n", self.options.layout.paint(Style::Warn, label))
    }

    /// ` for reading`, where a lock has modes.
    fn how(&self, held: &HeldLock) -> &'static str {
        match (self.session.lock(held.lock).kind, held.mode) {
            (kind, _) if !kind.has_readers() => "",
            (_, Mode::Shared) => " for reading",
            (_, Mode::Exclusive) => " for writing",
        }
    }

    /// `worker-1 (4243) wants journal.mu, which flusher (4244) holds`.
    fn wants(&self, waiting: &Waiting) -> String {
        let layout = &self.options.layout;
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
    fn holders(&self, waiting: &Waiting) -> String {
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
    fn is_behind_writer(&self, waiting: &Waiting) -> bool {
        let Some(first) = waiting.holders.first().filter(|_| waiting.mode == Mode::Shared) else { return false };
        let other = self.hang.waiting().find(|other| other.thread == *first);
        other.is_some_and(|other| {
            other.lock == waiting.lock
                && other.mode == Mode::Exclusive
                && !other.held.iter().any(|held| held.lock == waiting.lock)
        })
    }

    /// The rest of a ring, a line for each thread.
    fn lines(&self, texts: &[String]) -> String {
        let shown = if self.options.verbose { texts.len() } else { texts.len().min(LINES) };
        let layout = &self.options.layout;
        let mut out: String = texts[..shown].iter().map(|text| wrap(text, layout.width, "    ", "      ")).collect();
        if shown < texts.len() {
            let more = format!("    … and {} more in this ring (-v shows all)", count((texts.len() - shown) as u64));
            out.push_str(&layout.paint(Style::Dim, &more));
            out.push('\n');
        }
        out
    }

    /// A stack, innermost frame first.
    fn stack(&self, stack: StackId) -> String {
        const INDENT: &str = "        ";
        let layout = &self.options.layout;
        let lines = frames::lines(self.session, stack);
        if lines.is_empty() {
            return format!("{INDENT}{}\n", frames::headline(self.session, stack));
        }
        // One frame more is shown rather than counted.
        let most = if self.options.verbose || lines.len() == FRAMES + 1 { lines.len() } else { FRAMES };
        let mut out = String::new();
        for line in lines.iter().take(most) {
            let room = layout.width.saturating_sub(INDENT.len() + columns(&line.place) + 3);
            let function = fit_end(&line.function, room.max(20));
            let place = if line.place.is_empty() { String::new() } else { format!("({})", line.place) };
            out.push_str(format!("{INDENT}{function} {}", layout.paint(Style::Dim, &place)).trim_end());
            out.push('\n');
        }
        if lines.len() > most {
            let more = format!("{INDENT}… {} more frames (-v shows them)", lines.len() - most);
            out.push_str(&layout.paint(Style::Dim, &more));
            out.push('\n');
        }
        out
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
    fn title_of_waits(&self) -> String {
        let waiting = self.hang.others.len() as u64;
        let all = waiting + u64::from(self.hang.running);
        let program = self.program();
        let who = match (self.hang.running, waiting) {
            (0, 1) => format!("the only thread of {program}"),
            (0, _) => format!("all {} threads of {program}", count(waiting)),
            _ => format!("{} of {} of {program}", count(waiting), plural(all, "thread", "threads")),
        };
        if self.hang.kind == HangKind::Stuck {
            let (verb, whom) = if waiting == 1 { ("waits", "it") } else { ("wait", "one") };
            return format!("{who} {verb}, and nobody is left to wake {whom}");
        }
        format!("{who} waited when it was told to end")
    }
}

#[cfg(test)]
mod tests;
