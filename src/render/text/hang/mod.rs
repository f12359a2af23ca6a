//! A deadlock, or who waits for what, laid out so that a person can act on it.
//!
//! The same text is printed while the program hangs, at the end of the run and by `report`.

mod table;

use crate::model::{Hang, HangKind, HeldLock, Session, StackId};
use crate::render::explain::hang::{FIRST, HangWords};
use crate::render::frames;
use crate::render::style::{Layout, Style, wrap};
use crate::render::units::{count, duration, plural};

/// Frames shown of each stack, unless asked for all.
const FRAMES: usize = 6;
/// Of a ring of more threads than that the first ones are shown.
const WHOLE_RING: usize = 4;
/// Threads shown in one line each.
const LINES: usize = 32;

/// How a hang is laid out.
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
    let report = HangReport { session, hang, words: HangWords::new(session, hang, options.layout), options };
    let mut out = match hang.kind {
        HangKind::Waits | HangKind::Stuck | HangKind::Leaked => table::table(&report),
        HangKind::Abandoned => report.abandoned(),
        HangKind::Deadlock | HangKind::SelfDeadlock => report.deadlock(),
    };
    let help = report.words.help();
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

/// A hang in a few lines, for the summary at the end.
pub fn hang_in_short(session: &Session, hang: &Hang, layout: &Layout) -> String {
    let title = HangWords::new(session, hang, *layout).title();
    let (head, text) = match hang.kind {
        HangKind::Waits => ("waits: ", title),
        HangKind::Stuck | HangKind::Leaked => ("stuck: ", format!("{} after the start, {title}", duration(hang.at_ns))),
        HangKind::Abandoned | HangKind::Deadlock | HangKind::SelfDeadlock => {
            ("deadlock: ", format!("{} after the start, {title}", duration(hang.at_ns)))
        }
    };
    wrap(&text, layout.width, &layout.paint(Style::Bad, head), "  ")
}

/// What all parts of the text need.
struct HangReport<'a> {
    session: &'a Session,
    hang: &'a Hang,
    words: HangWords<'a>,
    options: &'a HangOptions<'a>,
}

impl HangReport<'_> {
    fn deadlock(&self) -> String {
        let (hang, layout) = (self.hang, &self.options.layout);
        let title = self.words.summary_of_ring();
        let mut out = wrap(&title, layout.width, &layout.paint(Style::Bad, "deadlock: "), "  ");
        let whole = self.options.verbose || hang.cycle.len() <= WHOLE_RING;
        let shown = if whole { hang.cycle.len() } else { FIRST };
        for at in 0..shown {
            out.push('\n');
            out.push_str(&self.member(at));
        }
        if shown < hang.cycle.len() {
            let rest: Vec<_> = hang.cycle[shown..].iter().map(|waiting| self.words.wants(waiting)).collect();
            out.push('\n');
            out.push_str(&self.lines(&rest));
        }
        if !hang.others.is_empty() {
            let those = if hang.cycle.len() == 1 { "it" } else { "them" };
            let title = format!("{} for {those}:", self.waiting_for(hang.others.len(), "more "));
            out.push_str(&format!("\n  {title}\n"));
            out.push_str(&table::rows(self, &hang.others));
        }
        out
    }

    /// A lock that an ended thread left behind.
    fn abandoned(&self) -> String {
        let (hang, layout) = (self.hang, &self.options.layout);
        let title = format!("{}: {}", self.words.program(), self.words.title_of_abandoned());
        let mut out = wrap(&title, layout.width, &layout.paint(Style::Bad, "deadlock: "), "  ");
        let left = hang.left_behind();
        if let Some(stack) = left.and_then(|(thread, lock)| self.session.order.left_behind(thread, lock)) {
            out.push('\n');
            out.push_str(&self.labelled("took it", "here:"));
            out.push_str(&self.stack(stack));
        }
        let waiting = self.waiting_for(hang.others.len(), "");
        out.push_str(&format!("\n  {waiting} for it:\n"));
        out.push_str(&table::rows(self, &hang.others));
        out
    }

    /// `2 more threads wait`.
    fn waiting_for(&self, number: usize, more: &str) -> String {
        let (thread, threads) = self.words.threads();
        plural(number as u64, &format!("{more}{thread} waits"), &format!("{more}{threads} wait"))
    }

    /// One thread of the ring: what it wants and has, and where.
    fn member(&self, at: usize) -> String {
        let (hang, layout) = (self.hang, &self.options.layout);
        let waiting = &hang.cycle[at];
        let ago = |since: u64| duration(hang.at_ns.saturating_sub(since));
        let mut out = wrap(&self.words.wants(waiting), layout.width, "  ", "    ");
        out.push_str(&self.labelled("waits", &format!("here, for {}:", ago(waiting.since_ns))));
        out.push_str(&self.stack(waiting.stack));
        // What the one before it wants comes first: that is its part in the ring.
        let before = (at + hang.cycle.len() - 1) % hang.cycle.len();
        let key = hang.held_by_next(before).map(|held| held.lock);
        let mut held: Vec<&HeldLock> = waiting.held.iter().collect();
        held.sort_by_key(|held| Some(held.lock) != key);
        for held in held {
            let name = layout.paint(Style::Strong, &self.words.names.lock(held.lock));
            let how = self.words.how(held);
            out.push_str(&self.labelled("holds", &format!("{name}{how}, taken {} ago:", ago(held.since_ns))));
            out.push_str(&self.stack(held.stack));
        }
        out
    }

    fn labelled(&self, label: &str, text: &str) -> String {
        format!("    {} {text}\n", self.options.layout.paint(Style::Warn, label))
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
        let lines = frames::lines(self.session, stack);
        if lines.is_empty() {
            return format!("{INDENT}{}\n", frames::headline(self.session, stack));
        }
        super::stack::stack(&lines, (!self.options.verbose).then_some(FRAMES), INDENT, &self.options.layout)
    }
}

#[cfg(test)]
mod tests;
