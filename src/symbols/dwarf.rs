//! What DWARF says of variables and functions, by one walk over a file's debug information.
//!
//! The walk runs only for files that hold a lock or the code that made one, reads every unit once
//! and keeps offsets only. Split units (`.dwo`) and supplementary files (dwz) are not followed:
//! what is in them is not found, and the symbol table answers instead.

mod entries;
mod scopes;
mod walk;

use std::borrow::Cow;
use std::cell::RefCell;
use std::rc::Rc;

use gimli::{AttributeValue, DebuggingInformationEntry, EndianSlice, RunTimeEndian, UnitOffset};
use object::{Object, ObjectSection};
use rustc_hash::FxHashMap;

pub use scopes::Scopes;
pub use walk::{Found, Variable, Wanted};

type Slice<'a> = EndianSlice<'a, RunTimeEndian>;
type Unit<'a> = gimli::Unit<Slice<'a>>;
type Entry<'a> = DebuggingInformationEntry<Slice<'a>>;

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

/// The debug information of a file.
pub struct Dwarf<'a> {
    dwarf: gimli::Dwarf<Slice<'a>>,
    headers: Vec<gimli::UnitHeader<Slice<'a>>>,
    /// Type units by signature.
    types: FxHashMap<u64, (usize, UnitOffset)>,
    open: RefCell<FxHashMap<usize, Rc<Unit<'a>>>>,
}

impl<'a> Dwarf<'a> {
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
