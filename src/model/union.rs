//! Stacks of several sessions as one table, numbered by what they are and not by who came first.

use std::collections::BTreeSet;

use super::ids::{ModuleId, StackId};
use super::stacks::{CodeAddress, Module, Stacks};

/// A table of stacks, and those of its nodes that matter (with all their callers); all without.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub stacks: &'a Stacks,
    pub used: Option<&'a [bool]>,
}

/// All stacks of the sources, and for each source the new number of each of its stacks ([`Stacks::UNKNOWN`] of those
/// that do not matter).
///
/// Nodes are numbered as in a walk that visits callers before those that they call, and these in the order of their
/// addresses; modules in the order of path and build-id. So the result depends on the set of stacks alone. Where
/// the sources name one address differently, the greatest list of frames stays (any is greater than none).
pub(super) fn union(sources: &[Source<'_>], with_frames: bool) -> (Stacks, Vec<Vec<StackId>>) {
    let used: Vec<Vec<bool>> = sources.iter().map(with_callers).collect();
    let mut modules: BTreeSet<&Module> = BTreeSet::new();
    for (source, used) in sources.iter().zip(&used) {
        let nodes = (1..source.stacks.len()).filter(|at| used[*at]);
        let ids = nodes.filter_map(|at| source.stacks.node(StackId::from(at)).address.module);
        modules.extend(ids.filter_map(|id| source.stacks.modules.get(id.index())));
    }
    let modules: Vec<Module> = modules.into_iter().cloned().collect();

    // As they come, then in order.
    let mut mixed = Stacks::default();
    let places: Vec<Vec<StackId>> = (sources.iter().zip(&used))
        .map(|(source, used)| {
            let module_of = |id: ModuleId| {
                let module = source.stacks.modules.get(id.index())?;
                modules.binary_search(module).ok().map(ModuleId::from)
            };
            let numbers: Vec<Option<ModuleId>> =
                (0..source.stacks.modules.len()).map(|at| module_of(ModuleId::from(at))).collect();
            let mut places = vec![Stacks::UNKNOWN; source.stacks.len()];
            for at in (1..source.stacks.len()).filter(|at| used[*at]) {
                let node = source.stacks.node(StackId::from(at));
                let module = node.address.module.and_then(|id| numbers.get(id.index()).copied().flatten());
                let id = mixed.intern(places[node.caller.index()], CodeAddress { module, ..node.address });
                let known = mixed.node_mut(id);
                if with_frames && node.frames > known.frames {
                    known.frames.clone_from(&node.frames);
                }
                places[at] = id;
            }
            places
        })
        .collect();
    let (stacks, numbers) = in_order(mixed, modules);
    let places = places.into_iter().map(|places| places.iter().map(|id| numbers[id.index()]).collect()).collect();
    (stacks, places)
}

/// Which nodes matter, themselves or as callers.
fn with_callers(source: &Source<'_>) -> Vec<bool> {
    let Some(used) = source.used else { return vec![true; source.stacks.len()] };
    let mut used = used.to_vec();
    used.resize(source.stacks.len(), false);
    for at in (1..used.len()).rev().filter(|at| *at > 0) {
        if used[at] {
            // Callers come before those that they call.
            used[source.stacks.node(StackId::from(at)).caller.index()] = true;
        }
    }
    used
}

fn in_order(mut mixed: Stacks, modules: Vec<Module>) -> (Stacks, Vec<StackId>) {
    let mut callees: Vec<Vec<StackId>> = vec![Vec::new(); mixed.len()];
    for at in (1..mixed.len()).map(StackId::from) {
        callees[mixed.node(at).caller.index()].push(at);
    }
    // Taken from the end.
    callees.iter_mut().for_each(|ids| ids.sort_by_key(|id| std::cmp::Reverse(mixed.node(*id).address)));
    let mut stacks = Stacks::default();
    stacks.modules = modules;
    let mut numbers = vec![Stacks::UNKNOWN; mixed.len()];
    let mut open = std::mem::take(&mut callees[0]);
    while let Some(id) = open.pop() {
        let node = mixed.node_mut(id);
        let frames = std::mem::take(&mut node.frames);
        let new = stacks.intern(numbers[node.caller.index()], node.address);
        stacks.node_mut(new).frames = frames;
        numbers[id.index()] = new;
        open.append(&mut callees[id.index()]);
    }
    (stacks, numbers)
}
