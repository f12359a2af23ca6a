//! The functions that an address is in, by DWARF's own nesting: whole names, and the class of `this`.
//!
//! Compilers give functions without external linkage (lambdas, anonymous namespaces) no linkage name, and inlined ones
//! have no symbol either: DWARF calls each `operator()` or `append` and says by nesting where it stands. Only C++ is
//! read, and only the units that hold one of the addresses; what is elsewhere (split units, dwz) is not found.

use gimli::{AttributeValue, DwTag};
use rustc_hash::FxHashMap;

use super::{Die, Dwarf, Entry};

/// Scopes and base classes are followed this far.
const DEEPEST: usize = 24;

/// What C++ units say of some addresses.
#[derive(Debug, Default)]
pub struct Scopes {
    /// The functions around each address, outermost first.
    chains: FxHashMap<u64, Vec<Die>>,
    /// Namespaces, classes and functions by what they stand in.
    parents: FxHashMap<Die, Die>,
    /// The number of a nameless class among those of its function: lambdas.
    numbers: FxHashMap<Die, u32>,
    /// How many a function has.
    nameless: FxHashMap<Die, u32>,
}

/// What else matters of a scope that a walk has come to.
struct Open {
    depth: isize,
    die: Die,
    tag: DwTag,
}

impl Scopes {
    /// The functions of C++ around each of these addresses (ascending). Units that cannot be read are passed over.
    pub fn of(dwarf: &Dwarf<'_>, code: &[u64]) -> Self {
        let mut scopes = Self::default();
        for unit in 0..dwarf.headers.len() {
            let _ = scopes.read_unit(dwarf, unit, code);
            dwarf.open.borrow_mut().clear();
        }
        scopes
    }

    fn read_unit(&mut self, dwarf: &Dwarf<'_>, index: usize, code: &[u64]) -> gimli::Result<()> {
        let unit = dwarf.unit(index)?;
        if !dwarf.covers(&unit, code) {
            return Ok(());
        }
        let mut open: Vec<Open> = Vec::new();
        let mut cursor = unit.entries();
        while let Some(entry) = cursor.next_dfs()? {
            let (depth, tag) = (entry.depth(), entry.tag());
            while open.last().is_some_and(|open| open.depth >= depth) {
                open.pop();
            }
            let mut nameless = false;
            match tag {
                gimli::DW_TAG_compile_unit if !is_cpp(entry) => return Ok(()),
                gimli::DW_TAG_structure_type | gimli::DW_TAG_class_type | gimli::DW_TAG_union_type => {
                    let name = dwarf.string(&unit, entry, gimli::DW_AT_name);
                    nameless = name.is_none_or(|name| name.starts_with("<lambda"));
                }
                gimli::DW_TAG_subprogram | gimli::DW_TAG_inlined_subroutine => {
                    let mut ranges = dwarf.dwarf.die_ranges(&unit, entry)?;
                    while let Some(range) = ranges.next()? {
                        let from = code.partition_point(|address| *address < range.begin);
                        for address in code[from..].iter().take_while(|address| **address < range.end) {
                            self.cover(*address, Die { unit: index, offset: entry.offset() });
                        }
                    }
                }
                gimli::DW_TAG_namespace | gimli::DW_TAG_lexical_block => {}
                _ => continue,
            }
            let die = Die { unit: index, offset: entry.offset() };
            self.add(&open, die, tag, nameless);
            if entry.has_children() {
                open.push(Open { depth, die, tag });
            }
        }
        Ok(())
    }

    /// Adds a scope within those that are open.
    fn add(&mut self, open: &[Open], die: Die, tag: DwTag, nameless: bool) {
        let around = open.iter().rev().find(|open| open.tag != gimli::DW_TAG_lexical_block);
        let Some(parent) = around.map(|open| open.die) else { return };
        if tag != gimli::DW_TAG_lexical_block && tag != gimli::DW_TAG_inlined_subroutine {
            self.parents.insert(die, parent);
        }
        if nameless {
            let count = self.nameless.entry(parent).or_default();
            *count += 1;
            self.numbers.insert(die, *count);
        }
    }

    /// Adds a function around an address, within those that were added before.
    fn cover(&mut self, address: u64, function: Die) {
        self.chains.entry(address).or_default().push(function);
    }

    /// The whole name of the function that is `index`th from the innermost at an address, if its last part is `last`.
    pub fn name(&self, dwarf: &Dwarf<'_>, address: u64, index: usize, last: &str) -> Option<String> {
        self.qualified(dwarf, self.function(dwarf, address, index, last)?, 0)
    }

    /// The class whose member `member` a method at an address means: that of `this`, or a base class.
    pub fn owner(&self, dwarf: &Dwarf<'_>, address: u64, index: usize, last: &str, member: &str) -> Option<String> {
        let function = self.function(dwarf, address, index, last)?;
        let this = dwarf.class_of_this(function)?;
        let captured = || {
            let pointer = members(dwarf, this).into_iter().find(|(_, name)| name == "__this" || name == "this")?.0;
            dwarf.pointed_to(pointer)
        };
        // What a lambda captures is a member of its closure, but nobody's lock.
        let is_closure = dwarf.name(this).is_none_or(|name| name.starts_with("<lambda"));
        let class = if is_closure { captured()? } else { this };
        let owner = declaring(dwarf, class, member, 0)?;
        self.qualified(dwarf, owner, 0)
    }

    fn function(&self, dwarf: &Dwarf<'_>, address: u64, index: usize, last: &str) -> Option<Die> {
        let chain = self.chains.get(&address)?;
        let die = *chain.get(chain.len().checked_sub(index + 1)?)?;
        let name = dwarf.name(die)?;
        let plain = if name.starts_with("operator") { &name } else { name.split('<').next()? };
        (plain == last).then_some(die)
    }

    fn qualified(&self, dwarf: &Dwarf<'_>, die: Die, depth: usize) -> Option<String> {
        let origin = dwarf.origin(die);
        let name = match (dwarf.tag(origin)?, dwarf.name(die)) {
            (gimli::DW_TAG_namespace, None) => "(anonymous namespace)".to_owned(),
            (gimli::DW_TAG_namespace | gimli::DW_TAG_subprogram, Some(name)) => name,
            (_, Some(name)) if !name.starts_with("<lambda") => name,
            _ => format!("{{lambda#{}}}", self.numbers.get(&origin).copied().unwrap_or(1)),
        };
        let around = self.parents.get(&origin).filter(|_| depth < DEEPEST);
        match around.and_then(|parent| self.qualified(dwarf, *parent, depth + 1)) {
            Some(scope) => Some(format!("{scope}::{name}")),
            None => Some(name),
        }
    }
}

/// The class that declares a member: this one, or a base class.
fn declaring(dwarf: &Dwarf<'_>, class: Die, member: &str, depth: usize) -> Option<Die> {
    if depth > DEEPEST {
        return None;
    }
    if members(dwarf, class).iter().any(|(_, name)| name == member) {
        return Some(class);
    }
    let bases = dwarf.children(class).into_iter().filter(|(_, tag)| *tag == gimli::DW_TAG_inheritance);
    bases
        .into_iter()
        .find_map(|(base, _)| declaring(dwarf, dwarf.definition_of_type(dwarf.type_of(base)?), member, depth + 1))
}

/// The members of a class that are objects in it.
fn members(dwarf: &Dwarf<'_>, class: Die) -> Vec<(Die, String)> {
    let members = dwarf.children(class).into_iter().filter(|(_, tag)| *tag == gimli::DW_TAG_member);
    members.filter_map(|(member, _)| Some((member, dwarf.name(member)?))).collect()
}

fn is_cpp(unit: &Entry<'_>) -> bool {
    let language = unit.attr_value(gimli::DW_AT_language);
    matches!(
        language,
        Some(AttributeValue::Language(
            gimli::DW_LANG_C_plus_plus
                | gimli::DW_LANG_C_plus_plus_03
                | gimli::DW_LANG_C_plus_plus_11
                | gimli::DW_LANG_C_plus_plus_14
                | gimli::DW_LANG_C_plus_plus_17
                | gimli::DW_LANG_C_plus_plus_20
        ))
    )
}
