//! The stacks of a flame graph, outermost frame first.

use std::collections::BTreeMap;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::analysis::blame;
use crate::analysis::contention::{Contention, LockReport};
use crate::analysis::wrapper::is_wrapper;
use crate::model::{Session, StackId, Stacks};
use crate::render::frames::code_label;
use crate::render::names::short_function;
use crate::render::paint::printable;

/// How wide a frame is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Metric {
    /// Time waited.
    #[default]
    Wait,
    /// Time held.
    Hold,
    /// How often.
    Count,
}

/// Whose stacks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Side {
    /// Of those who waited.
    #[default]
    Waiter,
    /// Of those who held the lock meanwhile.
    Holder,
    /// The waiter's, the lock, the holder's on top.
    Both,
}

/// What a picture is of: metric and side together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Time waited, by a side.
    Waits(Side),
    /// Contended acquisitions, by a side.
    WaitCounts(Side),
    /// Time held, by the stack that took the lock.
    Holds,
    /// Acquisitions, by the stack that took the lock.
    Acquisitions,
}

impl View {
    /// A hold has one side only: the one who took the lock. A count without a side is of all acquisitions.
    pub fn choose(metric: Metric, side: Option<Side>) -> Self {
        match (metric, side) {
            (Metric::Wait, side) => Self::Waits(side.unwrap_or_default()),
            (Metric::Count, Some(side)) => Self::WaitCounts(side),
            (Metric::Count, None) => Self::Acquisitions,
            (Metric::Hold, _) => Self::Holds,
        }
    }

    /// Whether the values are ns.
    pub fn is_time(self) -> bool {
        matches!(self, Self::Waits(_) | Self::Holds)
    }

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Waits(Side::Waiter) => "Time waited for locks",
            Self::Waits(Side::Holder) => "Who made others wait",
            Self::Waits(Side::Both) => "Who waited for whom",
            Self::WaitCounts(Side::Waiter) => "Contended acquisitions",
            Self::WaitCounts(Side::Holder) => "Who made others wait, how often",
            Self::WaitCounts(Side::Both) => "Who waited for whom, how often",
            Self::Holds => "Time locks were held",
            Self::Acquisitions => "Lock acquisitions",
        }
    }

    pub(super) fn explain(self) -> &'static str {
        match self {
            Self::Waits(Side::Waiter) | Self::WaitCounts(Side::Waiter) => "lock, then the stack that waited for it",
            Self::Waits(Side::Holder) | Self::WaitCounts(Side::Holder) => "lock, then the stack that held it meanwhile",
            Self::Waits(Side::Both) | Self::WaitCounts(Side::Both) => {
                "stack that waited, lock, then the stack that held it"
            }
            Self::Holds | Self::Acquisitions => "lock, then the stack that took it",
        }
    }

    pub(super) fn verb(self) -> &'static str {
        match self {
            Self::Waits(Side::Holder) => "waited for it by others",
            Self::Waits(_) => "waited",
            Self::WaitCounts(_) => "contended",
            Self::Holds => "held",
            Self::Acquisitions => "taken",
        }
    }

    pub(super) fn notice(self, side: Option<Side>) -> Option<String> {
        let one_sided = self == Self::Holds && matches!(side, Some(Side::Waiter | Side::Both));
        one_sided.then(|| "--metric hold knows one side only, the stack that took the lock: --by has no effect".into())
    }
}

/// Lines for inferno, sorted, and what their frames are.
pub(super) struct Folded {
    pub lines: Vec<String>,
    /// Sum of the values, ns or count.
    pub total: u64,
    /// Lock frames with their values, in the order of their names.
    pub locks: BTreeMap<String, u64>,
    /// Frames of the locking and threading libraries.
    pub wrappers: FxHashSet<String>,
    /// Frames on the holder's side of a picture of both.
    pub holders: FxHashSet<String>,
}

/// inferno takes this ending off before it shows a frame, so it can tell sides apart.
const HOLDER_MARK: &str = "_[w]";

struct Folder<'a> {
    session: &'a Session,
    names: FxHashMap<StackId, Vec<String>>,
    sums: BTreeMap<Vec<String>, u64>,
    result: Folded,
}

/// Folds the view's stacks. Waiting counts for lock kinds only, unless other kinds were asked for by name.
pub(super) fn fold(session: &Session, contention: &Contention, view: View) -> Folded {
    let result = Folded {
        lines: Vec::new(),
        total: 0,
        locks: BTreeMap::new(),
        wrappers: FxHashSet::default(),
        holders: FxHashSet::default(),
    };
    let mut folder = Folder { session, names: FxHashMap::default(), sums: BTreeMap::new(), result };
    let labels = labels(contention);
    let shown = |row: &LockReport| contention.shows_waits(row);

    if let View::Waits(Side::Both) | View::WaitCounts(Side::Both) = view {
        for pair in blame::pairs(session, contention) {
            let value = if view.is_time() { pair.wait_ns } else { pair.count };
            folder.add(&labels[pair.row], Some(pair.waiter), Some(pair.holder), value);
        }
        return folder.finish();
    }
    for (row, label) in contention.locks.iter().zip(&labels).filter(|(row, _)| shown(row)) {
        let time = view.is_time();
        match view {
            View::Waits(Side::Holder) | View::WaitCounts(Side::Holder) => {
                for holder in &row.holders {
                    folder.add(label, None, Some(holder.stack), if time { holder.blocked_ns } else { holder.count });
                }
                let unseen = row.unattributed;
                folder.add(label, None, Some(Stacks::UNKNOWN), if time { unseen.wait_ns } else { unseen.count });
            }
            View::Waits(_) | View::WaitCounts(_) => {
                for waiter in &row.waiters {
                    folder.add(label, Some(waiter.stack), None, if time { waiter.wait_ns } else { waiter.count });
                }
            }
            View::Holds | View::Acquisitions => {
                for site in &row.sites {
                    folder.add(label, Some(site.stack), None, if time { site.hold_ns } else { site.count });
                }
            }
        }
    }
    folder.finish()
}

impl Folder<'_> {
    /// One side: lock, then its stack. Both: the waiter's stack, the lock, the holder's stack.
    fn add(&mut self, lock: &str, waiter: Option<StackId>, holder: Option<StackId>, value: u64) {
        if value == 0 {
            return;
        }
        let mut frames = Vec::new();
        match (waiter, holder) {
            (Some(waiter), Some(holder)) => {
                frames.extend(self.frames(waiter, Stacks::UNKNOWN_WAITER));
                frames.push(lock.to_owned());
                let marked = self.frames(holder, Stacks::UNKNOWN_HOLDER).into_iter().map(|f| f + HOLDER_MARK);
                let marked: Vec<String> = marked.collect();
                self.result.holders.extend(marked.iter().cloned());
                frames.extend(marked);
            }
            (side, None) | (None, side) => {
                frames.push(lock.to_owned());
                let unknown = if holder.is_some() { Stacks::UNKNOWN_HOLDER } else { Stacks::UNKNOWN_WAITER };
                frames.extend(self.frames(side.unwrap_or(Stacks::UNKNOWN), unknown));
            }
        }
        let sum = self.sums.entry(frames).or_default();
        *sum = sum.saturating_add(value);
        let sum = self.result.locks.entry(lock.to_owned()).or_default();
        *sum = sum.saturating_add(value);
        self.result.total = self.result.total.saturating_add(value);
    }

    /// The names of a stack, outermost first.
    fn frames(&mut self, stack: StackId, unknown: &str) -> Vec<String> {
        if let Some(known) = self.names.get(&stack) {
            return known.clone();
        }
        let mut names = Vec::new();
        for node in self.session.stacks.walk(stack) {
            if node.frames.is_empty() {
                names.push(frame_name(&code_label(self.session, node)));
            }
            for frame in &node.frames {
                let name = match &frame.function {
                    Some(function) => frame_name(&short_function(function)),
                    None => frame_name(&code_label(self.session, node)),
                };
                if is_wrapper(frame) {
                    self.result.wrappers.insert(name.clone());
                }
                names.push(name);
            }
        }
        names.reverse();
        if names.is_empty() {
            // Not remembered: it reads differently on each side.
            return vec![unknown.to_owned()];
        }
        self.names.insert(stack, names.clone());
        names
    }

    fn finish(mut self) -> Folded {
        // Sorted as whole lines, as inferno wants them.
        self.result.lines = self.sums.iter().map(|(frames, value)| format!("{} {value}", frames.join(";"))).collect();
        self.result.lines.sort_unstable();
        self.result
    }
}

/// A frame's name without what has a meaning in folded lines.
fn frame_name(name: &str) -> String {
    let mut name = printable(name).replace(';', ":");
    // A number at the end would read as a value of its own.
    if let Some((head, tail)) = name.rsplit_once(' ')
        && tail.bytes().all(|b| b.is_ascii_digit() || b == b'.')
    {
        name = format!("{head}\u{a0}{tail}");
    }
    // `# ` begins a comment, `-` and `--` are separators, and an empty name is the root.
    match name.trim() {
        "" | "-" | "--" => "?".to_owned(),
        name => name.trim_start_matches("# ").to_owned(),
    }
}

/// What each row is called: its name; locks of one name and class share a frame, others of the same name
/// have their id with it.
pub(in crate::render) fn labels(contention: &Contention) -> Vec<String> {
    let mut first: FxHashMap<&str, &LockReport> = FxHashMap::default();
    let mut seen: FxHashMap<(&str, &str), String> = FxHashMap::default();
    (contention.locks.iter())
        .map(|row| {
            let known = seen.entry((&row.name, &row.class)).or_insert_with(|| {
                let plain = first.entry(&row.name).or_insert(row);
                let name = frame_name(&row.name);
                if plain.class == row.class { name } else { format!("{name} [{}]", row.id) }
            });
            known.clone()
        })
        .collect()
}
