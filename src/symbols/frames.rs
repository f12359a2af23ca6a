//! Code addresses → frames, inlined calls expanded, by blazesym.
//!
//! One module at a time, each distinct address once; a module's parsed debug information is dropped
//! before the next one is read. What cannot be resolved gets one nameless frame, so that a node is
//! not asked for again and renderers show its module and offset.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use blazesym::symbolize::source::{Elf, Source};
use blazesym::symbolize::{CodeInfo, Input, Sym, Symbolized, Symbolizer};
use rustc_hash::FxHashMap;

use super::elf::Located;
use super::kept::Kept;
use super::{demangle, go, qualified};
use crate::model::{Frame, Frames, Module, ModuleId, Session, StackId};

/// Names every stack node of the session that has no frames yet. Returns notes for the person: one
/// sentence for each file that could not be used.
pub fn symbolize(session: &mut Session, kept: &Kept) -> Vec<String> {
    let mut wanted: FxHashMap<Option<ModuleId>, Vec<u64>> = FxHashMap::default();
    let nodes = 1..session.stacks.len();
    for node in nodes.clone().map(|index| session.stacks.node(StackId::from(index))) {
        if node.frames.is_empty() && node.address.address != 0 {
            wanted.entry(node.address.module).or_default().push(node.address.address);
        }
    }
    let mut modules: Vec<_> = wanted.into_iter().collect();
    modules.sort_unstable_by_key(|(module, _)| *module);

    let mut notes = Vec::new();
    let mut known: FxHashMap<(Option<ModuleId>, u64), Frames> = FxHashMap::default();
    for (id, mut addresses) in modules {
        addresses.sort_unstable();
        addresses.dedup();
        let module = id.and_then(|id| session.stacks.modules.get(id.index()));
        let frames = match module {
            Some(module) => resolve(module, &addresses, kept, &mut notes),
            None => vec![vec![Frame::default()]; addresses.len()],
        };
        known.extend(addresses.into_iter().map(|address| (id, address)).zip(frames.into_iter().map(Frames::from)));
    }
    for id in nodes.map(StackId::from) {
        let node = session.stacks.node_mut(id);
        if node.frames.is_empty() {
            let frames = known.get(&(node.address.module, node.address.address)).cloned();
            node.frames = frames.unwrap_or_else(|| vec![Frame::default()].into());
        }
    }
    go::name_goroutines(session);
    notes
}

/// The frames of each *return address* of a module, innermost first; at least one frame for each.
/// Trouble with the files is added to `notes`.
pub fn resolve(module: &Module, addresses: &[u64], kept: &Kept, notes: &mut Vec<String>) -> Vec<Vec<Frame>> {
    let mut found = vec![Vec::new(); addresses.len()];
    match kept.locate(module) {
        Ok(Some(located)) => resolve_kept(&located, addresses, kept, &mut found, notes),
        Ok(None) => {}
        Err(error) => notes.push(error.to_string()),
    }
    for frames in &mut found {
        if frames.is_empty() {
            frames.push(Frame::default());
        }
    }
    found
}

/// Asks the files for what is not kept of them.
fn resolve_kept(located: &Located, addresses: &[u64], kept: &Kept, found: &mut [Vec<Frame>], notes: &mut Vec<String>) {
    let Some(list) = kept.list(located) else { return resolve_located(located, addresses, found, notes) };
    for (address, found) in addresses.iter().zip(&mut *found) {
        found.clone_from(list.known.get(address).unwrap_or(&Vec::new()));
    }
    let missing: Vec<usize> = (0..found.len()).filter(|at| !list.known.contains_key(&addresses[*at])).collect();
    if missing.is_empty() {
        return;
    }
    let asked: Vec<u64> = missing.iter().map(|at| addresses[*at]).collect();
    let mut new = vec![Vec::new(); asked.len()];
    let noted = notes.len();
    resolve_located(located, &asked, &mut new, notes);
    if notes.len() == noted {
        list.add(asked.into_iter().zip(&new));
    }
    for (at, frames) in missing.into_iter().zip(new) {
        found[at] = frames;
    }
}

fn resolve_located(located: &Located, addresses: &[u64], found: &mut [Vec<Frame>], notes: &mut Vec<String>) {
    go::resolve(located, addresses, found);
    // The richest source first; the plain symbol table of the module answers what is left.
    let debug = located.files().map(|file| (file.path(), true));
    let plain = located.binary.iter().map(|file| (file.path(), false));
    let mut names = FxHashMap::default();
    let mut short = Vec::new();
    for (path, debug_syms) in debug.chain(plain) {
        let missing: Vec<usize> = (0..found.len()).filter(|at| found[*at].is_empty()).collect();
        if missing.is_empty() {
            break;
        }
        // A call that never returns may be the last instruction of its function: look inside the call.
        let calls: Vec<u64> = missing.iter().map(|at| addresses[*at].saturating_sub(1)).collect();
        let asked = ask(path, debug_syms, &calls, |at, sym| {
            if qualified::is_short(&sym.name) {
                short.push((missing[at], sym.addr));
            }
            found[missing[at]] = frames_of(sym, &mut names);
        });
        if let Err(reason) = asked {
            let note = format!("{}: {reason}; its functions may stay unnamed", path.display());
            if !notes.contains(&note) {
                notes.push(note);
            }
        }
    }
    qualified::complete(located, &short, found);
    qualified::complete_inlined(located, addresses, found);
}

/// Asks blazesym for the symbols at `calls`.
fn ask(path: &Path, debug_syms: bool, calls: &[u64], mut each: impl FnMut(usize, &Sym<'_>)) -> Result<(), String> {
    let mut source = Elf::new(path);
    source.debug_syms = debug_syms;
    // Corrupt debug information must not take the recording down with it; nothing of the symboliser
    // is used after a panic in it.
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let symbolizer = Symbolizer::builder().enable_auto_reload(false).enable_demangling(false).build();
        let symbols = symbolizer.symbolize(&Source::Elf(source), Input::VirtOffset(calls));
        let symbols = symbols.map_err(|error| format!("{error:#}"))?;
        for (at, symbol) in symbols.iter().enumerate() {
            if let Symbolized::Sym(sym) = symbol {
                each(at, sym);
            }
        }
        Ok(())
    }));
    outcome.unwrap_or_else(|_| Err("corrupt debug information".to_owned()))
}

/// blazesym tells the function first and the calls inlined into it after it, outermost first.
fn frames_of(sym: &Sym<'_>, names: &mut FxHashMap<String, String>) -> Vec<Frame> {
    let mut name = |raw: &str| {
        (!raw.is_empty()).then(|| match names.get(raw) {
            Some(name) => name.clone(),
            None => {
                let name = demangle::function(raw);
                names.insert(raw.to_owned(), name.clone());
                name
            }
        })
    };
    let mut frames = vec![frame(name(&sym.name), sym.code_info.as_deref(), false)];
    frames.extend(sym.inlined.iter().map(|call| frame(name(&call.name), call.code_info.as_ref(), true)));
    frames.reverse();
    frames
}

fn frame(function: Option<String>, place: Option<&CodeInfo<'_>>, inlined: bool) -> Frame {
    Frame {
        function,
        file: place.map(|place| place.to_path().to_string_lossy().into_owned()).filter(|file| !file.is_empty()),
        line: place.and_then(|place| place.line).unwrap_or(0),
        column: place.and_then(|place| place.column).map_or(0, u32::from),
        inlined,
    }
}

#[cfg(test)]
mod tests;
