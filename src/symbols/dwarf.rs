//! What DWARF says of variables and functions, by one walk over a file's debug information.
//!
//! The walk runs only for files that hold a lock or the code that made one, reads every unit once
//! and keeps offsets only. Split units (`.dwo`) and supplementary files (dwz) are not followed:
//! what is in them is not found, and the symbol table answers instead.

use std::borrow::Cow;
use std::cell::RefCell;
use std::rc::Rc;

use gimli::{AttributeValue, DebuggingInformationEntry, DwTag, EndianSlice, Operation, RunTimeEndian, UnitOffset};
use object::{Object, ObjectSection};
use rustc_hash::{FxHashMap, FxHashSet};

use super::demangle;
use super::scopes::{Open, Scopes};

type Slice<'a> = EndianSlice<'a, RunTimeEndian>;
type Unit<'a> = gimli::Unit<Slice<'a>>;
type Entry<'a> = DebuggingInformationEntry<Slice<'a>>;

/// Links (`DW_AT_specification`, `DW_AT_abstract_origin`) followed from one entry.
const LONGEST_CHAIN: usize = 6;

/// The debug sections of a file, decompressed where they have to be.
pub struct Sections<'a> {
    sections: gimli::DwarfSections<Cow<'a, [u8]>>,
    endian: RunTimeEndian,
}

impl<'a> Sections<'a> {
    /// Reads the sections; those that cannot be read are empty.
    pub fn load(file: &object::File<'a>) -> Self {
        let endian = if file.is_little_endian() { RunTimeEndian::Little } else { RunTimeEndian::Big };
        let read = |id: gimli::SectionId| {
            let data = file.section_by_name(id.name()).and_then(|section| section.uncompressed_data().ok());
            Ok::<_, gimli::Error>(data.unwrap_or_default())
        };
        let sections = gimli::DwarfSections::load(read).unwrap_or_default();
        Self { sections, endian }
    }

    /// The debug information in them.
    pub fn dwarf(&self) -> gimli::Result<Dwarf<'_>> {
        let mut dwarf = self.sections.borrow(|section| EndianSlice::new(section, self.endian));
        dwarf.populate_abbreviations_cache(gimli::AbbreviationsCacheStrategy::Duplicates);
        let mut headers = Vec::new();
        let mut units = dwarf.units();
        while let Some(header) = units.next()? {
            headers.push(header);
        }
        let mut types = FxHashMap::default();
        for (index, header) in headers.iter().enumerate() {
            if let gimli::UnitType::Type { type_signature, type_offset } = header.type_() {
                types.insert(type_signature.0, (index, type_offset));
            }
        }
        let mut units = dwarf.type_units();
        while let Ok(Some(header)) = units.next() {
            if let gimli::UnitType::Type { type_signature, type_offset } = header.type_() {
                types.insert(type_signature.0, (headers.len(), type_offset));
            }
            headers.push(header);
        }
        Ok(Dwarf { dwarf, headers, types, open: RefCell::default() })
    }
}

/// An entry's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Die {
    unit: usize,
    offset: UnitOffset,
}

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

/// The debug information of a file.
pub struct Dwarf<'a> {
    dwarf: gimli::Dwarf<Slice<'a>>,
    headers: Vec<gimli::UnitHeader<Slice<'a>>>,
    /// Type units by signature.
    types: FxHashMap<u64, (usize, UnitOffset)>,
    open: RefCell<FxHashMap<usize, Rc<Unit<'a>>>>,
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

    /// The functions of C++ around each of these addresses (ascending). Units that cannot be read are passed over.
    pub fn scopes(&self, code: &[u64]) -> Scopes {
        let mut scopes = Scopes::default();
        for unit in 0..self.headers.len() {
            let _ = self.scopes_of_unit(unit, code, &mut scopes);
            self.open.borrow_mut().clear();
        }
        scopes
    }

    fn scopes_of_unit(&self, index: usize, code: &[u64], scopes: &mut Scopes) -> gimli::Result<()> {
        let unit = self.unit(index)?;
        if !self.covers(&unit, code) {
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
                    let name = self.string(&unit, entry, gimli::DW_AT_name);
                    nameless = name.is_none_or(|name| name.starts_with("<lambda"));
                }
                gimli::DW_TAG_subprogram | gimli::DW_TAG_inlined_subroutine => {
                    let mut ranges = self.dwarf.die_ranges(&unit, entry)?;
                    while let Some(range) = ranges.next()? {
                        let from = code.partition_point(|address| *address < range.begin);
                        for address in code[from..].iter().take_while(|address| **address < range.end) {
                            scopes.cover(*address, Die { unit: index, offset: entry.offset() });
                        }
                    }
                }
                gimli::DW_TAG_namespace | gimli::DW_TAG_lexical_block => {}
                _ => continue,
            }
            let die = Die { unit: index, offset: entry.offset() };
            scopes.add(&open, die, tag, nameless);
            if entry.has_children() {
                open.push(Open { depth, die, tag });
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

    /// Whether one of the addresses (ascending) lies in the unit's code.
    fn covers(&self, unit: &Unit<'a>, addresses: &[u64]) -> bool {
        let Ok(mut ranges) = self.dwarf.unit_ranges(unit) else { return true };
        let mut any = false;
        while let Ok(Some(range)) = ranges.next() {
            any = true;
            let after = addresses.partition_point(|address| *address < range.begin);
            if addresses.get(after).is_some_and(|address| *address < range.end) {
                return true;
            }
        }
        // A unit that does not tell its code may have any; a partial one (LTO) has what others refer to.
        !any
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
    fn along<T>(&self, die: Die, ask: impl Fn(&Unit<'a>, &Entry<'a>) -> Option<T>) -> Option<T> {
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

    fn reference(&self, unit: usize, value: AttributeValue<Slice<'a>>) -> Option<Die> {
        match value {
            AttributeValue::UnitRef(offset) => Some(Die { unit, offset }),
            AttributeValue::DebugInfoRef(offset) => {
                // Headers of `.debug_info` come first and ascend.
                let start = |header: &gimli::UnitHeader<Slice<'a>>| header.offset().to_debug_info_offset(header);
                let infos = self.headers.partition_point(|header| start(header).is_some());
                let after = self.headers[..infos].partition_point(|header| start(header) <= Some(offset));
                let unit = after.checked_sub(1)?;
                Some(Die { unit, offset: offset.to_unit_offset(&self.headers[unit])? })
            }
            AttributeValue::DebugTypesRef(signature) => {
                let (unit, offset) = *self.types.get(&signature.0)?;
                Some(Die { unit, offset })
            }
            _ => None,
        }
    }

    fn string(&self, unit: &Unit<'a>, entry: &Entry<'a>, attribute: gimli::DwAt) -> Option<String> {
        let text = self.dwarf.attr_string(unit, entry.attr_value(attribute)?).ok()?;
        Some(text.to_string_lossy().into_owned())
    }

    fn entry(&self, die: Die) -> Option<Entry<'a>> {
        self.unit(die.unit).ok()?.entry(die.offset).ok()
    }

    fn unit(&self, index: usize) -> gimli::Result<Rc<Unit<'a>>> {
        if let Some(unit) = self.open.borrow().get(&index) {
            return Ok(Rc::clone(unit));
        }
        let header = self.headers.get(index).ok_or(gimli::Error::MissingUnitDie)?;
        let unit = Rc::new(self.dwarf.unit(*header)?);
        self.open.borrow_mut().insert(index, Rc::clone(&unit));
        Ok(unit)
    }
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
