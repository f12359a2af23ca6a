//! What a shared library exports, by the version that a program gets today. Read as the loader does, from the dynamic section:
//! a stripped library has no sections.

use std::collections::HashMap;

use object::elf::{self, FileHeader64};
use object::read::elf::{Dyn, FileHeader, GnuHashTable, ProgramHeader};
use object::{LittleEndian, SymbolIndex};

use crate::sites::bytes::{text_at, u16_at, u32_at, u64_at};
use crate::sites::image::Image;

/// `sizeof(Elf64_Sym)`.
const SYMBOL: u64 = 24;
/// The bit of a version's number that says that it is not the default one (`VERSYM_HIDDEN`).
const HIDDEN: u16 = 0x8000;

/// What is exported: addresses in the file.
#[derive(Debug, Default)]
pub struct Exports<'data> {
    symbols: HashMap<&'data str, Symbol>,
}

/// An exported function or variable.
#[derive(Clone, Copy, Debug)]
pub struct Symbol {
    /// Where it begins.
    pub address: u64,
    /// Its length, bytes; 0 where the file does not say.
    pub size: u64,
}

impl<'data> Exports<'data> {
    /// Reads a file's dynamic symbols; none where it has no such table, or a damaged one.
    pub fn read(file: &'data [u8], image: &Image<'data>) -> Self {
        Self { symbols: symbols(file, image).unwrap_or_default() }
    }

    /// What a name means.
    pub fn find(&self, name: &str) -> Option<Symbol> {
        self.symbols.get(name).copied()
    }
}

fn symbols<'data>(file: &'data [u8], image: &Image<'data>) -> Option<HashMap<&'data str, Symbol>> {
    let endian = LittleEndian;
    let header = FileHeader64::<LittleEndian>::parse(file).ok()?;
    let parts = header.program_headers(endian, file).ok()?;
    let entries = parts.iter().find_map(|part| part.dynamic(endian, file).ok().flatten())?;
    let value = |tag| entries.iter().find(|entry| entry.tag(endian) == tag).map(|entry| entry.val(endian));
    let (table, texts) = (value(elf::DT_SYMTAB)?, value(elf::DT_STRTAB)?);
    let hashes =
        GnuHashTable::<FileHeader64<LittleEndian>>::parse(endian, image.from(value(elf::DT_GNU_HASH)?)?).ok()?;
    let versions = value(elf::DT_VERSYM).and_then(|at| image.from(at)).unwrap_or_default();
    let count = hashes.symbol_table_length(endian)?;
    let mut found = HashMap::new();
    // Those before the first that is hashed are imports.
    for number in SymbolIndex(hashes.symbol_base() as usize).0..count as usize {
        let row = image.from(table.checked_add(number as u64 * SYMBOL)?)?;
        let (kind, address) = (*row.get(4)? & 0xf, u64_at(row, 8)?);
        let is_default = u16_at(versions, 2 * number).is_none_or(|version| version & HIDDEN == 0);
        let is_one = kind == elf::STT_FUNC.0 || kind == elf::STT_OBJECT.0;
        if address == 0 || !is_default || !is_one {
            continue;
        }
        let name = text_at(image.from(texts.checked_add(u32_at(row, 0)?.into())?)?, 0)?;
        found.insert(name, Symbol { address, size: u64_at(row, 16)? });
    }
    Some(found)
}
