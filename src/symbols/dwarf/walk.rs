//! One walk over a file's units: its variables with fixed addresses, and the definitions of functions.

use gimli::{AttributeValue, Operation, UnitOffset};
use rustc_hash::FxHashSet;

use super::{Die, Dwarf, Slice, Unit};
use crate::symbols::demangle;

/// A variable with a fixed address.
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    /// Its ELF virtual address.
    pub address: u64,
    /// Its entry.
    pub die: Die,
    /// The function that it is a static local of.
    pub function: Option<Die>,
}

/// Where a function is declared or defined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// Demangled as in frames; without scopes and template arguments where there is no linkage name.
    pub function: String,
    /// The line of its name.
    pub line: u32,
}

/// What a walk shall look for.
#[derive(Debug, Default)]
pub struct Wanted {
    /// All variables with a fixed address.
    pub variables: bool,
    /// Definitions of functions by their last name, without scopes and template arguments.
    pub functions: FxHashSet<String>,
    /// Addresses in those functions, ascending: other units are not searched for them.
    pub code: Vec<u64>,
}

impl Wanted {
    /// Whether there is nothing to look for.
    pub fn is_empty(&self) -> bool {
        !self.variables && self.functions.is_empty()
    }
}

/// What one walk found.
#[derive(Debug, Default)]
pub struct Found {
    /// Variables, by address.
    pub variables: Vec<Variable>,
    /// Definitions of the functions asked for.
    pub definitions: Vec<Definition>,
}

impl<'a> Dwarf<'a> {
    /// Looks for all that is wanted. Units that cannot be read are passed over.
    pub fn walk(&self, wanted: &Wanted) -> Found {
        let mut found = Found::default();
        for unit in 0..self.headers.len() {
            // An error ends the unit, not the walk.
            let _ = self.walk_unit(unit, wanted, &mut found);
            self.open.borrow_mut().clear();
        }
        found.variables.sort_by_key(|variable| variable.address);
        found
    }

    fn walk_unit(&self, index: usize, wanted: &Wanted, found: &mut Found) -> gimli::Result<()> {
        let unit = self.unit(index)?;
        let functions = !wanted.functions.is_empty() && self.covers(&unit, &wanted.code);
        if !functions && !wanted.variables {
            return Ok(());
        }
        let mut entries = unit.entries_raw(None)?;
        let mut scopes: Vec<(isize, UnitOffset)> = Vec::new();
        while !entries.is_empty() {
            let (offset, depth) = (entries.next_offset(), entries.next_depth());
            let Some(abbreviation) = entries.read_abbreviation()? else { continue };
            while scopes.last().is_some_and(|(outer, _)| *outer >= depth) {
                scopes.pop();
            }
            match abbreviation.tag() {
                gimli::DW_TAG_variable if wanted.variables => {
                    let mut address = None;
                    for spec in abbreviation.attributes() {
                        let attribute = entries.read_attribute(*spec)?;
                        if attribute.name() == gimli::DW_AT_location {
                            address = self.fixed_address(&unit, attribute.value());
                        }
                    }
                    if let Some(address) = address {
                        let function = scopes.last().map(|(_, offset)| Die { unit: index, offset: *offset });
                        found.variables.push(Variable { address, die: Die { unit: index, offset }, function });
                    }
                }
                gimli::DW_TAG_subprogram => {
                    if abbreviation.has_children() {
                        scopes.push((depth, offset));
                    }
                    if !functions {
                        entries.skip_attributes(abbreviation.attributes())?;
                        continue;
                    }
                    if self.is_wanted(index, &unit, &mut entries, abbreviation.attributes(), wanted)? {
                        found.definitions.extend(self.definition(Die { unit: index, offset }));
                    }
                }
                _ => entries.skip_attributes(abbreviation.attributes())?,
            }
        }
        Ok(())
    }

    /// Reads a function's attributes: whether it is a definition with a name that is looked for.
    fn is_wanted(
        &self,
        index: usize,
        unit: &Unit<'a>,
        entries: &mut gimli::EntriesRaw<'_, Slice<'a>>,
        attributes: &[gimli::AttributeSpecification],
        wanted: &Wanted,
    ) -> gimli::Result<bool> {
        let (mut name, mut link, mut declared) = (None, None, false);
        for spec in attributes {
            let attribute = entries.read_attribute(*spec)?;
            match attribute.name() {
                gimli::DW_AT_name => name = Some(attribute.value()),
                gimli::DW_AT_specification | gimli::DW_AT_abstract_origin => link = Some(attribute.value()),
                gimli::DW_AT_declaration => declared = true,
                _ => {}
            }
        }
        let is_wanted = |name: &str| wanted.functions.contains(name.split('<').next().unwrap_or(name));
        Ok(match (name, link) {
            _ if declared => false,
            (Some(name), _) => self.dwarf.attr_string(unit, name).is_ok_and(|name| is_wanted(&name.to_string_lossy())),
            (None, Some(link)) => {
                let name = self.reference(index, link).and_then(|link| self.name(link));
                name.is_some_and(|name| is_wanted(&name))
            }
            (None, None) => false,
        })
    }

    fn fixed_address(&self, unit: &Unit<'a>, value: AttributeValue<Slice<'a>>) -> Option<u64> {
        let AttributeValue::Exprloc(expression) = value else { return None };
        let mut operations = expression.operations(unit.encoding());
        let mut address = match operations.next().ok()?? {
            Operation::Address { address } => address,
            Operation::AddressIndex { index } => self.dwarf.address(unit, index).ok()?,
            _ => return None,
        };
        while let Some(operation) = operations.next().ok()? {
            match operation {
                Operation::PlusConstant { value } => address = address.checked_add(value)?,
                _ => return None,
            }
        }
        // Linkers give zero to what they threw away.
        (address != 0).then_some(address)
    }

    fn definition(&self, die: Die) -> Option<Definition> {
        // A name without its scopes comes with template arguments in the compiler's own spelling.
        let short = || Some(self.name(die)?.split('<').next()?.to_owned());
        let function = self.linkage_name(die).map(|name| demangle::function(&name)).or_else(short)?;
        let line = self.along(die, |_, entry| entry.attr_value(gimli::DW_AT_decl_line)?.udata_value())?;
        Some(Definition { function, line: u32::try_from(line).ok()? })
    }
}
