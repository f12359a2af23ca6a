//! The functions that an address is in, by DWARF's own nesting: whole names, and the class of `this`.
//!
//! Compilers give functions without external linkage (lambdas, anonymous namespaces) no linkage name, and inlined ones
//! have no symbol either: DWARF calls each `operator()` or `append` and says by nesting where it stands. Only C++ is
//! read, and only the units that hold one of the addresses; what is elsewhere (split units, dwz) is not found.

use gimli::DwTag;
use rustc_hash::FxHashMap;

use super::dwarf::{Die, Dwarf};

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
pub struct Open {
    /// How deep it is.
    pub depth: isize,
    /// Which.
    pub die: Die,
    /// What it is.
    pub tag: DwTag,
}

impl Scopes {
    /// Adds a scope within those that are open.
    pub fn add(&mut self, open: &[Open], die: Die, tag: DwTag, nameless: bool) {
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
    pub fn cover(&mut self, address: u64, function: Die) {
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
