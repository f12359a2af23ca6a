//! The stacks of one lock in both recordings.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::scaled;
use crate::analysis::add;
use crate::analysis::wrapper::is_wrapper;
use crate::model::{Session, StackId};

/// A stack's part in both recordings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackChange {
    /// It in OLD.
    pub old: Option<StackId>,
    /// It in NEW.
    pub new: Option<StackId>,
    /// Waits in OLD, scaled.
    pub old_count: u64,
    /// Waits in NEW.
    pub new_count: u64,
    /// Time waited by it (waiters) or for it (holders) in OLD, ns, scaled.
    pub old_ns: u64,
    /// The same in NEW, ns.
    pub new_ns: u64,
}

impl StackChange {
    fn size(&self) -> u64 {
        self.old_ns.abs_diff(self.new_ns)
    }
}

/// Stacks of one lock by their functions.
#[derive(Default)]
pub(super) struct Stacks(BTreeMap<Vec<String>, StackChange>);

impl Stacks {
    pub fn add(&mut self, session: &Session, is_new: bool, stack: StackId, count: u64, ns: u64, scale: f64) {
        let empty = StackChange { old: None, new: None, old_count: 0, new_count: 0, old_ns: 0, new_ns: 0 };
        let known = self.0.entry(functions(session, stack)).or_insert(empty);
        if is_new {
            known.new.get_or_insert(stack);
            add(&mut known.new_count, count);
            add(&mut known.new_ns, ns);
        } else {
            known.old.get_or_insert(stack);
            add(&mut known.old_count, scaled(count, scale));
            add(&mut known.old_ns, scaled(ns, scale));
        }
    }

    pub fn changes(self) -> Vec<StackChange> {
        let mut changes: Vec<_> = self.0.into_values().collect();
        // The map has them in the order of their functions, and the sort is stable.
        changes.sort_by_key(|stack| Reverse((stack.size(), stack.new_ns, stack.new_count)));
        changes
    }
}

/// The functions of a stack, innermost first, without those of locking libraries; code without a name by its file
/// and address.
fn functions(session: &Session, stack: StackId) -> Vec<String> {
    let mut names = Vec::new();
    for node in session.stacks.walk(stack) {
        let module = node.address.module.and_then(|id| session.stacks.modules.get(id.index()));
        let code = || format!("{}+{:#x}", module.map_or("", |module| module.name()), node.address.address);
        if node.frames.is_empty() {
            names.push(code());
        }
        let told = node.frames.iter().filter(|frame| !is_wrapper(frame));
        names.extend(told.map(|frame| frame.function.clone().unwrap_or_else(code)));
    }
    names
}
