//! Runs out of a recording, and the totals of several recordings: what merging traces is made of.
//!
//! `docs/design/merge.md` says why the result does not depend on the order of merging.

use std::collections::BTreeSet;

use super::absorb::Moved;
use super::ids::StackId;
use super::session::{Counters, Meta, Overhead, Session};
use super::union::{Source, union};

/// Before the other commands in a note.
const ALSO: &str = "also holds runs of: ";
/// Other commands that are named.
const MOST_COMMANDS: usize = 8;
/// A command in a note is no longer, characters.
const COMMAND_WIDTH: usize = 160;
/// There were more.
const MORE_COMMANDS: &str = "also holds runs of further commands";
/// Not one machine.
const HOSTS: &str = "the runs were recorded on machines that differ, so their times do not compare";

impl Session {
    /// One run of the recording by itself, with its rows in their order, its stacks in the canonical order and
    /// without names, and without totals and single events of the lock order.
    ///
    /// `None` where the run's rows refer to another run's: no recording is like that.
    pub fn run(&self, run: usize) -> Option<Self> {
        let same = (0..self.stacks.len()).map(StackId::from).collect();
        let mut rows = Self::default();
        let moved = Moved::new(&rows, self, Some(run), same);
        rows.absorb_rows(self, &moved);
        let used = moved.used();
        let source = Source { stacks: &self.stacks, used: Some(&used) };
        let (stacks, mut places) = union(&[source], false);
        let mut one = Self { stacks, ..Self::default() };
        let again = Moved::new(&one, &rows, None, places.pop().unwrap_or_default());
        one.absorb_rows(&rows, &again);
        (moved.is_whole() && again.is_whole()).then_some(one)
    }

    /// A recording without rows that has all stacks and the totals of these.
    pub fn totals(parts: &[Self]) -> Self {
        let sources: Vec<_> = parts.iter().map(|part| Source { stacks: &part.stacks, used: None }).collect();
        let mut sum = Self { stacks: union(&sources, true).0, ..Self::default() };
        let Some((first, rest)) = parts.split_first() else { return sum };
        (sum.meta, sum.overhead, sum.counters) = (first.meta.clone(), first.overhead, first.counters);
        for part in rest {
            let notes = sum.meta.add(&part.meta);
            sum.coverage.notes.extend(notes);
            sum.overhead.add(&part.overhead);
            sum.counters.add(&part.counters);
        }
        for part in parts {
            sum.coverage.add(&part.coverage);
            let (dropped, log) = (&mut sum.profile.wait_events_dropped, &part.order.log);
            *dropped = dropped.saturating_add(part.profile.wait_events_dropped);
            sum.order.dropped = sum.order.dropped.saturating_add(part.order.dropped);
            let events = log.dropped.saturating_add(log.len() as u64);
            sum.order.log.dropped = sum.order.log.dropped.saturating_add(events);
            sum.order.log.missing_until(if log.is_empty() { log.complete_from_ns } else { u64::MAX });
        }
        sum.coverage.notes = few(std::mem::take(&mut sum.coverage.notes));
        sum
    }

    /// Whether nothing is in it that could be shown.
    pub fn has_rows(&self) -> bool {
        !self.processes.is_empty()
    }
}

/// Notes in order, each once; of those about other commands the first ones.
fn few(notes: Vec<String>) -> Vec<String> {
    let mut notes: BTreeSet<String> = notes.into_iter().collect();
    let more: Vec<String> = notes.iter().filter(|note| note.starts_with(ALSO)).skip(MOST_COMMANDS).cloned().collect();
    if !more.is_empty() {
        more.iter().for_each(|note| _ = notes.remove(note));
        notes.insert(MORE_COMMANDS.to_owned());
    }
    notes.into_iter().collect()
}

impl Meta {
    /// Adds another recording's; what a reader has to know about it.
    fn add(&mut self, other: &Self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.command != other.command {
            let (least, also) = match self.command < other.command {
                true => (&self.command, &other.command),
                false => (&other.command, &self.command),
            };
            notes.push(format!("{ALSO}{}", also.join(" ").chars().take(COMMAND_WIDTH).collect::<String>()));
            self.command = least.clone();
        }
        if self.host != other.host {
            notes.push(HOSTS.to_owned());
            self.host = self.host.clone().min(other.host.clone());
        }
        // A run that went wrong shows.
        self.exit = self.exit.max(other.exit);
        self.started_unix_ns = self.started_unix_ns.min(other.started_unix_ns);
        self.duration_ns = self.duration_ns.saturating_add(other.duration_ns);
        self.version = self.version.clone().max(other.version.clone());
        self.cut |= other.cut;
        notes
    }
}

impl Overhead {
    /// The greater ones: a mean would depend on the order.
    fn add(&mut self, other: &Self) {
        let greater = |a: f64, b: f64| if a.total_cmp(&b).is_lt() { b } else { a };
        self.ns_per_pair = greater(self.ns_per_pair, other.ns_per_pair);
        self.share_of_runtime = greater(self.share_of_runtime, other.share_of_runtime);
    }
}

impl Counters {
    /// What one of them does not know, the sum does not know.
    fn add(&mut self, other: &Self) {
        let sum = |a: Option<u64>, b: Option<u64>| Some(a?.saturating_add(b?));
        self.task_clock_ns = sum(self.task_clock_ns, other.task_clock_ns);
        self.context_switches = sum(self.context_switches, other.context_switches);
        self.cycles = sum(self.cycles, other.cycles);
    }
}
