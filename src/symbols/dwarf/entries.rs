//! What an entry says, and the entries that it refers to.

use gimli::{AttributeValue, DwTag, Operation};

use super::{Die, Dwarf, Entry, Unit};
use crate::symbols::demangle;

/// Links (`DW_AT_specification`, `DW_AT_abstract_origin`) followed from one entry.
const LONGEST_CHAIN: usize = 6;

impl<'a> Dwarf<'a> {
    /// The plain name of an entry.
    pub fn name(&self, die: Die) -> Option<String> {
        self.along(die, |unit, entry| self.string(unit, entry, gimli::DW_AT_name))
    }

    /// The linker's name of an entry.
    pub fn linkage_name(&self, die: Die) -> Option<String> {
        self.along(die, |unit, entry| {
            self.string(unit, entry, gimli::DW_AT_linkage_name)
                .or_else(|| self.string(unit, entry, gimli::DW_AT_MIPS_linkage_name))
        })
    }

    /// A function's name as in frames.
    pub fn function_name(&self, die: Die) -> Option<String> {
        Some(demangle::function(&self.linkage_name(die).or_else(|| self.name(die))?))
    }

    /// What an entry refers to in the end: the declaration of a function, wherever its code is.
    pub fn origin(&self, die: Die) -> Die {
        let mut at = die;
        for _ in 0..LONGEST_CHAIN {
            match self.entry(at).and_then(|entry| self.link(at, &entry)) {
                Some(next) => at = next,
                None => break,
            }
        }
        at
    }

    /// The class of a method's `this`; a lambda's is its closure.
    pub fn class_of_this(&self, method: Die) -> Option<Die> {
        let mut at = method;
        for _ in 0..LONGEST_CHAIN {
            let entry = self.entry(at)?;
            if let Some(value) = entry.attr_value(gimli::DW_AT_object_pointer) {
                return self.pointed_to(self.reference(at.unit, value)?);
            }
            at = self.link(at, &entry)?;
        }
        None
    }

    /// The class that a variable points or refers to.
    pub fn pointed_to(&self, variable: Die) -> Option<Die> {
        let mut at = self.type_of(variable)?;
        for _ in 0..LONGEST_CHAIN {
            match self.tag(at)? {
                gimli::DW_TAG_structure_type | gimli::DW_TAG_class_type | gimli::DW_TAG_union_type => {
                    return Some(self.definition_of_type(at));
                }
                _ => at = self.type_of(at)?,
            }
        }
        None
    }

    /// The entry of the type of an entry.
    pub fn type_of(&self, die: Die) -> Option<Die> {
        let mut at = die;
        for _ in 0..LONGEST_CHAIN {
            let entry = self.entry(at)?;
            if let Some(value) = entry.attr_value(gimli::DW_AT_type) {
                return self.reference(at.unit, value);
            }
            at = self.link(at, &entry)?;
        }
        None
    }

    /// The full definition of a type that is only declared here, in its type unit.
    pub fn definition_of_type(&self, die: Die) -> Die {
        let signature = self.entry(die).and_then(|entry| entry.attr_value(gimli::DW_AT_signature));
        signature.and_then(|value| self.reference(die.unit, value)).unwrap_or(die)
    }

    /// An entry's tag.
    pub fn tag(&self, die: Die) -> Option<DwTag> {
        Some(self.entry(die)?.tag())
    }

    /// An attribute that is a number.
    pub fn number(&self, die: Die, attribute: gimli::DwAt) -> Option<u64> {
        match self.entry(die)?.attr_value(attribute)? {
            // `DW_AT_data_member_location` of old compilers: an expression that adds a constant.
            AttributeValue::Exprloc(expression) => {
                let unit = self.unit(die.unit).ok()?;
                match expression.operations(unit.encoding()).next().ok()?? {
                    Operation::PlusConstant { value } => Some(value),
                    _ => None,
                }
            }
            value => value.udata_value().or_else(|| value.sdata_value()?.try_into().ok()),
        }
    }

    /// Whether an attribute is there.
    pub fn has(&self, die: Die, attribute: gimli::DwAt) -> bool {
        self.entry(die).is_some_and(|entry| entry.attr(attribute).is_some())
    }

    /// The direct children of an entry with their tags.
    pub fn children(&self, die: Die) -> Vec<(Die, DwTag)> {
        self.read_children(die).unwrap_or_default()
    }

    fn read_children(&self, die: Die) -> gimli::Result<Vec<(Die, DwTag)>> {
        let unit = self.unit(die.unit)?;
        let mut tree = unit.entries_tree(Some(die.offset))?;
        let mut children = tree.root()?.children();
        let mut found = Vec::new();
        while let Some(child) = children.next()? {
            found.push((Die { unit: die.unit, offset: child.entry().offset() }, child.entry().tag()));
        }
        Ok(found)
    }

    /// The first answer along an entry and what it refers to.
    pub(super) fn along<T>(&self, die: Die, ask: impl Fn(&Unit<'a>, &Entry<'a>) -> Option<T>) -> Option<T> {
        let mut at = die;
        for _ in 0..LONGEST_CHAIN {
            let entry = self.entry(at)?;
            if let Some(answer) = ask(&*self.unit(at.unit).ok()?, &entry) {
                return Some(answer);
            }
            at = self.link(at, &entry)?;
        }
        None
    }

    fn link(&self, die: Die, entry: &Entry<'a>) -> Option<Die> {
        let value = entry
            .attr_value(gimli::DW_AT_abstract_origin)
            .or_else(|| entry.attr_value(gimli::DW_AT_specification))
            .or_else(|| entry.attr_value(gimli::DW_AT_signature))?;
        self.reference(die.unit, value)
    }
}
