//! The stacks of a flame graph, outermost frame first.

use std::collections::BTreeMap;

use rustc_hash::{FxHashMap, FxHashSet};

use super::tree::{Gathering, Ordered};
use crate::analysis::blame;
use crate::analysis::contention::{Contention, GroupBy, LockReport};
use crate::analysis::filter::Filter;
use crate::model::lock_frames::is_library;
use crate::model::stacks::Node;
use crate::model::{CodeAddress, Frame, Session, StackId, Stacks};
use crate::render::frames::code_label;
use crate::render::names::short_function;
use crate::render::style::printable;

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

    /// Why nothing can be drawn of this metric by this side; `None` where it can.
    pub fn meaningless(metric: Metric, side: Option<Side>, filter: &Filter) -> Option<String> {
        if metric == Metric::Hold && matches!(side, Some(Side::Waiter | Side::Both)) {
            return Some(
                "a hold has one side only, the stack that took the lock: leave --by out, or use --metric wait".into(),
            );
        }
        let idle = filter.kinds.iter().find(|kind| !kind.is_lock())?;
        matches!(side, Some(Side::Holder | Side::Both)).then(|| {
            format!(
                "a {} is not held by anybody, so there is no holder to show: use --by waiter, or --kind \
                 mutex,rwlock,spinlock",
                idle.name()
            )
        })
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
}

/// Stacks with their values, and what their frames are.
#[derive(Default)]
pub(super) struct Folded {
    /// The stacks, ns or count.
    pub stacks: Ordered<u64>,
    /// Sum of the values.
    pub total: u64,
    /// Lock frames with their values, in the order of their names.
    pub locks: BTreeMap<String, u64>,
    /// Frames of the locking and threading libraries.
    pub wrappers: FxHashSet<String>,
}

/// Ends the frames on the holder's side of a picture of both. inferno takes this off before it shows a frame.
pub(super) const HOLDER_MARK: &str = "_[w]";

struct Folder<'a> {
    session: &'a Session,
    stacks: Gathering,
    result: Folded,
    /// What each node of the session's stacks adds, on the two sides: a position in `spans`, [`NOT_YET`] before
    /// somebody asked.
    of_node: [Vec<u32>; 2],
    by_code: FxHashMap<(CodeAddress, usize, bool), u32>,
    /// Names, outermost first.
    spans: Vec<Box<[u32]>>,
    /// The nodes of the stack that is being added.
    nodes: Vec<StackId>,
}

const NOT_YET: u32 = u32::MAX;

/// Folds the view's stacks. Waiting counts for lock kinds only, unless other kinds were asked for by name.
pub(super) fn fold(session: &Session, contention: &Contention, view: View) -> Folded {
    let len = session.stacks.len();
    let mut folder = Folder {
        session,
        stacks: Gathering::default(),
        result: Folded::default(),
        of_node: [vec![NOT_YET; len], vec![NOT_YET; len]],
        by_code: FxHashMap::default(),
        spans: Vec::new(),
        nodes: Vec::new(),
    };
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
    fn finish(self) -> Folded {
        Folded { stacks: self.stacks.in_order(), ..self.result }
    }

    /// One side: lock, then its stack. Both: the waiter's stack, the lock, the holder's stack.
    fn add(&mut self, lock: &str, waiter: Option<StackId>, holder: Option<StackId>, value: u64) {
        if value == 0 {
            return;
        }
        let name = self.stacks.name(lock);
        match (waiter, holder) {
            (Some(waiter), Some(holder)) => {
                self.push_stack(waiter, Stacks::UNKNOWN_WAITER, false);
                self.stacks.push(name);
                self.push_stack(holder, Stacks::UNKNOWN_HOLDER, true);
            }
            (side, None) | (None, side) => {
                let unknown = if holder.is_some() { Stacks::UNKNOWN_HOLDER } else { Stacks::UNKNOWN_WAITER };
                self.stacks.push(name);
                self.push_stack(side.unwrap_or(Stacks::UNKNOWN), unknown, false);
            }
        }
        self.stacks.end(value);
        let result = &mut self.result;
        result.total = result.total.saturating_add(value);
        match result.locks.get_mut(lock) {
            Some(sum) => *sum = sum.saturating_add(value),
            None => _ = result.locks.insert(lock.to_owned(), value),
        }
    }

    /// Adds the frames of a stack, outermost first.
    fn push_stack(&mut self, stack: StackId, unknown: &str, holder: bool) {
        if stack == Stacks::UNKNOWN {
            let name = self.name(unknown, holder);
            return self.stacks.push(name);
        }
        let mut nodes = std::mem::take(&mut self.nodes);
        let mut at = stack;
        while at != Stacks::UNKNOWN {
            nodes.push(at);
            at = self.session.stacks.node(at).caller;
        }
        while let Some(id) = nodes.pop() {
            let span = self.span(id, holder) as usize;
            self.spans[span].iter().for_each(|name| self.stacks.push(*name));
        }
        self.nodes = nodes;
    }

    fn span(&mut self, id: StackId, holder: bool) -> u32 {
        let known = self.of_node[usize::from(holder)][id.index()];
        if known != NOT_YET {
            return known;
        }
        let node = self.session.stacks.node(id);
        let key = (node.address, node.frames.identity(), holder);
        let span = match self.by_code.get(&key) {
            Some(span) => *span,
            None => {
                let names = self.names(node, holder);
                self.spans.push(names);
                self.by_code.insert(key, self.spans.len() as u32 - 1);
                self.spans.len() as u32 - 1
            }
        };
        self.of_node[usize::from(holder)][id.index()] = span;
        span
    }

    /// The names of an address's frames, outermost first.
    fn names(&mut self, node: &Node, holder: bool) -> Box<[u32]> {
        let session = self.session;
        let code = || frame_name(&code_label(session, node));
        if node.frames.is_empty() {
            return [self.name(&code(), holder)].into();
        }
        let number = |frame: &Frame| {
            let name = frame.function.as_ref().map_or_else(code, |function| frame_name(&short_function(function)));
            let number = self.name(&name, holder);
            if is_library(&session.stacks, node, frame) {
                self.result.wrappers.insert(name);
            }
            number
        };
        node.frames.iter().rev().map(number).collect()
    }

    fn name(&mut self, text: &str, holder: bool) -> u32 {
        if holder { self.stacks.name(&format!("{text}{HOLDER_MARK}")) } else { self.stacks.name(text) }
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
/// have their id with it, or in a view of classes the class, which another recording has as well.
pub(in crate::render) fn labels(contention: &Contention) -> Vec<String> {
    let mut first: FxHashMap<&str, &LockReport> = FxHashMap::default();
    let mut seen: FxHashMap<(&str, &str), String> = FxHashMap::default();
    let by_class = contention.query.by == GroupBy::Class;
    (contention.locks.iter())
        .map(|row| {
            let tag = if by_class { frame_name(&row.class) } else { row.id.clone() };
            let known = seen.entry((&row.name, &row.class)).or_insert_with(|| {
                let plain = first.entry(&row.name).or_insert(row);
                let name = frame_name(&row.name);
                if plain.class == row.class { name } else { format!("{name} [{tag}]") }
            });
            known.clone()
        })
        .collect()
}
