//! Data addresses → names of global variables: `cache.shard[3].mu`.
//!
//! The symbol table says which variable, DWARF says which part of it. Thread-local variables, the
//! heap and stacks have no such names and are not looked for.

use object::{Object, ObjectSymbol, SymbolKind};
use rustc_hash::FxHashMap;

use super::dwarf::{Dwarf, Found, Variable, Wanted};
use super::elf::{self, ElfError, Located};
use super::{demangle, types};
use crate::model::Module;

/// A data symbol that holds an address.
#[derive(Clone, Debug)]
struct Symbol {
    name: String,
    start: u64,
    size: u64,
}

/// The global variable at an address of a module, with the path to the part of it.
pub fn variable(module: &Module, address: u64) -> Option<String> {
    let located = elf::locate(module).ok()??;
    let wanted = Wanted { variables: true, ..Wanted::default() };
    let names = with_debug(&located, &wanted, |debug| variables(&located, debug, &[address]));
    names.ok()?.ok()?.into_iter().next()?
}

/// The names of many addresses in the files of one module; `debug` is what a walk over the debug
/// information of that module found.
pub(super) fn variables(
    located: &Located,
    debug: Option<(&Dwarf<'_>, &Found)>,
    addresses: &[u64],
) -> Result<Vec<Option<String>>, ElfError> {
    let symbols = symbols(located, addresses, &[SymbolKind::Data, SymbolKind::Unknown])?;
    let name = |address: u64| {
        let symbol = symbols.get(&address);
        let precise = debug.and_then(|(dwarf, found)| described(dwarf, found, address, symbol));
        precise.or_else(|| symbol.map(|symbol| plain(symbol, address)))
    };
    Ok(addresses.iter().map(|address| name(*address)).collect())
}

fn plain(symbol: &Symbol, address: u64) -> String {
    let name = demangle::variable(&symbol.name);
    match address - symbol.start {
        0 => name,
        inside => format!("{name}+{inside:#x}"),
    }
}

/// The tightest symbol of these kinds around each address.
fn symbols(located: &Located, addresses: &[u64], kinds: &[SymbolKind]) -> Result<FxHashMap<u64, Symbol>, ElfError> {
    let mut wanted = addresses.to_vec();
    wanted.sort_unstable();
    let mut best: FxHashMap<u64, Symbol> = FxHashMap::default();
    for binary in located.files() {
        let file = binary.parse()?;
        for symbol in file.symbols().chain(file.dynamic_symbols()) {
            if symbol.is_undefined() || !kinds.contains(&symbol.kind()) {
                continue;
            }
            let (start, size) = (symbol.address(), symbol.size());
            // The linker's own marks (`__bss_start`, `_end`) lie where variables lie.
            if size == 0 && symbol.kind() == SymbolKind::Unknown {
                continue;
            }
            let end = start.saturating_add(size.max(1));
            let from = wanted.partition_point(|address| *address < start);
            for address in wanted[from..].iter().take_while(|address| **address < end) {
                let Ok(name) = symbol.name() else { break };
                if name.is_empty() || start == 0 {
                    break;
                }
                let found = Symbol { name: name.to_owned(), start, size };
                match best.get(address) {
                    Some(known) if rank(known) <= rank(&found) => {}
                    _ => {
                        best.insert(*address, found);
                    }
                }
            }
        }
    }
    Ok(best)
}

/// Least is best: sized, tight, not a library's alias, and the same one in every run.
fn rank(symbol: &Symbol) -> (bool, u64, bool, &str) {
    (symbol.size == 0, symbol.size, symbol.name.starts_with("__"), &symbol.name)
}

fn described(dwarf: &Dwarf<'_>, found: &Found, address: u64, symbol: Option<&Symbol>) -> Option<String> {
    let after = found.variables.partition_point(|variable| variable.address <= address);
    let nearest = found.variables[..after].last()?.address;
    let same = found.variables[..after].iter().rev().take_while(|variable| variable.address == nearest);
    same.filter_map(|variable| {
        let start = dwarf.type_of(variable.die)?;
        let inside = address - variable.address;
        let holds = inside == 0 || inside < types::size_of(dwarf, start);
        let symbol = symbol.filter(|symbol| symbol.start == variable.address);
        let path = types::member_path(dwarf, start, inside);
        holds.then(|| base(dwarf, variable, symbol)).flatten().map(|base| base + &path)
    })
    // Of several descriptions the one that reaches a member, not an offset.
    .min_by_key(|name| (name.contains("+0x"), name.len()))
}

fn base(dwarf: &Dwarf<'_>, variable: &Variable, symbol: Option<&Symbol>) -> Option<String> {
    let own = dwarf.name(variable.die);
    let mangled = symbol.is_some_and(|symbol| symbol.name.starts_with("_Z"));
    if let (Some(function), Some(own), false) = (variable.function, &own, mangled) {
        let function = dwarf.function_name(function)?;
        return Some(format!("{function}()::{own}"));
    }
    let linked = symbol.map(|symbol| symbol.name.clone()).or_else(|| dwarf.linkage_name(variable.die));
    linked.map(|name| demangle::variable(&name)).or(own)
}

/// How far into their functions these return addresses are, by the symbol table.
pub(super) fn code_offsets(located: &Located, addresses: &[u64]) -> Result<FxHashMap<u64, u64>, ElfError> {
    let calls: Vec<u64> = addresses.iter().map(|address| address.saturating_sub(1)).collect();
    let symbols = symbols(located, &calls, &[SymbolKind::Text])?;
    let offset = |call: u64| Some((call + 1, call + 1 - symbols.get(&call)?.start));
    Ok(calls.into_iter().filter_map(offset).collect())
}

/// Reads a module's debug information once, if anything is wanted of it, and hands it to `then`
/// with what a walk found; `None` where there is none.
pub(super) fn with_debug<T>(
    located: &Located,
    wanted: &Wanted,
    then: impl FnOnce(Option<(&Dwarf<'_>, &Found)>) -> T,
) -> Result<T, ElfError> {
    if wanted.is_empty() {
        return Ok(then(None));
    }
    debug_of(located, |dwarf| match dwarf {
        Some(dwarf) => {
            let found = dwarf.walk(wanted);
            then(Some((dwarf, &found)))
        }
        None => then(None),
    })
}

/// Reads a module's debug information and hands it to `then`; `None` where there is none.
pub(super) fn debug_of<T>(located: &Located, then: impl FnOnce(Option<&Dwarf<'_>>) -> T) -> Result<T, ElfError> {
    for binary in located.files() {
        let file = binary.parse()?;
        if !elf::has_debug_information(&file) {
            continue;
        }
        let sections = super::dwarf::Sections::load(&file);
        let path = || binary.path().display().to_string();
        let dwarf = sections.dwarf().map_err(|source| ElfError::Dwarf { path: path(), source })?;
        return Ok(then(Some(&dwarf)));
    }
    Ok(then(None))
}

#[cfg(test)]
mod tests;
