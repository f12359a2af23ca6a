//! Each stack and each frame of a report once: a report of 100,000 locks repeats a handful of them in every row.
//!
//! Rows then have a stack's number where they have its frames otherwise.

use rustc_hash::FxHashMap;

use super::{Frame, frames_of};
use crate::analysis::contention::LockReport;
use crate::model::{CodeAddress, Session, StackId, Stacks};

/// The stacks of some rows.
#[derive(Debug, Default)]
pub(super) struct StackTable {
    numbers: FxHashMap<StackId, usize>,
    /// For each stack the numbers of its frames, innermost first.
    stacks: Vec<Vec<usize>>,
    /// A call instruction each, with what was inlined there. In the order of their numbers.
    nodes: Vec<StackId>,
    /// The number of a call instruction's first frame.
    first: FxHashMap<CodeAddress, usize>,
    frames: usize,
}

impl StackTable {
    /// All stacks of these rows, in the order in which they are met.
    pub(super) fn of<'a>(session: &Session, rows: impl Iterator<Item = &'a LockReport>) -> Self {
        let mut table = Self::default();
        for row in rows {
            let origin = row.members.first().map(|id| session.lock(*id).origin_stack).unwrap_or(Stacks::UNKNOWN);
            let waiters = row.waiters.iter().map(|waiter| waiter.stack);
            let holders = row.holders.iter().map(|holder| holder.stack);
            let sites = row.sites.iter().map(|site| site.stack);
            let calls = row.calls.iter().map(|call| call.stack);
            for stack in waiters.chain(holders).chain(sites).chain(calls).chain([origin]) {
                table.add(session, stack);
            }
        }
        table
    }

    fn add(&mut self, session: &Session, stack: StackId) {
        if self.numbers.contains_key(&stack) {
            return;
        }
        let mut numbers = Vec::new();
        let mut id = stack;
        while id != Stacks::UNKNOWN {
            let node = session.stacks.node(id);
            let count = node.frames.len().max(1);
            let first = *self.first.entry(node.address).or_insert_with(|| {
                self.nodes.push(id);
                self.frames += count;
                self.frames - count
            });
            numbers.extend(first..first + count);
            id = node.caller;
        }
        self.numbers.insert(stack, self.stacks.len());
        self.stacks.push(numbers);
    }

    /// A stack's number.
    pub(super) fn number(&self, stack: StackId) -> Option<usize> {
        self.numbers.get(&stack).copied()
    }

    /// By number: each stack's frames.
    pub(super) fn stacks(&self) -> &[Vec<usize>] {
        &self.stacks
    }

    /// By number: each frame.
    pub(super) fn frames<'a>(&self, session: &'a Session) -> Vec<Frame<'a>> {
        let stacks = &session.stacks;
        self.nodes.iter().flat_map(|id| frames_of(stacks, stacks.node(*id))).collect()
    }
}
