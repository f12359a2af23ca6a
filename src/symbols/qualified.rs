//! Whole names for functions of which DWARF tells only the last part.
//!
//! Compilers give functions without external linkage (in anonymous namespaces, lambdas) no linkage
//! name in DWARF: `operator()`. The symbol table has it: `main::{lambda()#1}::operator()`. Only functions with code of
//! their own have symbols; of inlined ones of C++ DWARF's nesting tells where they stand.

use object::{Object, ObjectSymbol, SymbolKind};
use rustc_hash::FxHashMap;

use super::demangle;
use super::dwarf::Scopes;
use super::elf::Located;
use super::variables::debug_of;
use crate::model::Frame;
use crate::model::lock_class::without_templates;

/// Whether the name is one that a symbol may complete.
pub fn is_short(raw: &str) -> bool {
    !raw.starts_with("_Z") && !raw.starts_with("_R")
}

/// Completes the outermost frame of each of `found` whose function starts at the address given for
/// it in `starts`.
pub fn complete(located: &Located, starts: &[(usize, u64)], found: &mut [Vec<Frame>]) {
    let mut names: FxHashMap<u64, Vec<String>> = starts.iter().map(|(_, start)| (*start, Vec::new())).collect();
    for binary in located.files() {
        let Ok(file) = binary.parse() else { continue };
        for symbol in file.symbols().chain(file.dynamic_symbols()).filter(|symbol| symbol.kind() == SymbolKind::Text) {
            if let Some(names) = names.get_mut(&symbol.address())
                && let Ok(name) = symbol.name()
                && !is_short(name)
            {
                names.push(demangle::function(name));
            }
        }
    }
    for (at, start) in starts {
        let function =
            found.get_mut(*at).and_then(|frames| frames.last_mut()).and_then(|frame| frame.function.as_mut());
        if let Some(function) = function {
            // Identical functions may be folded into one: another function's name is no completion.
            let same = |name: &&String| last(name) == last(function);
            if let Some(name) = names.get(start).and_then(|names| names.iter().filter(same).min()) {
                function.clone_from(name);
            }
        }
    }
}

/// Completes the inlined frames whose function has no scope yet. Each of `found` is of the return address in `addresses`.
pub fn complete_inlined(located: &Located, addresses: &[u64], found: &mut [Vec<Frame>]) {
    let short = |frame: &Frame| frame.function.as_ref().is_some_and(|name| !name.contains("::"));
    let wanted: Vec<usize> = (0..addresses.len())
        .filter(|at| found.get(*at).is_some_and(|frames| frames.iter().any(|frame| frame.inlined && short(frame))))
        .collect();
    let mut calls: Vec<u64> = wanted.iter().map(|at| addresses[*at].saturating_sub(1)).collect();
    calls.sort_unstable();
    calls.dedup();
    if calls.is_empty() {
        return;
    }
    // What the file does not tell stays as it is.
    let _ = debug_of(located, |dwarf| {
        let Some(dwarf) = dwarf else { return };
        let scopes = Scopes::of(dwarf, &calls);
        for at in wanted {
            for (index, frame) in found[at].iter_mut().enumerate().filter(|(_, frame)| frame.inlined && short(frame)) {
                let call = addresses[at].saturating_sub(1);
                let name = |function: &String| scopes.name(dwarf, call, index, &last(function));
                if let Some(name) = frame.function.as_ref().and_then(name) {
                    frame.function = Some(name);
                }
            }
        }
    });
}

/// `a::B<c::d>::get<int>` → `get`.
fn last(name: &str) -> String {
    let plain = without_templates(name);
    plain.rsplit("::").next().unwrap_or_default().trim_end().to_owned()
}
