//! Finds the runtime's tables in a Go program: the header of the pclntab, and the `moduledata` that points to it.
//!
//! Neither sections nor symbols nor a version are needed. The header has a magic number. The `moduledata` is the writable
//! word that holds the header's address, followed by the address of the names. Its fields move from version to version;
//! those that are needed are found by what they must be true of, not by a version's table.

use super::super::bytes::{u32_at, u64_at};
use super::super::image::{Image, find_aligned};

/// Bytes of the header: eight of magic number and sizes, and eight words.
const HEADER: usize = 72;

/// Behind the header comes the names' table; external linkers pad, but by no more than this (96 was seen).
const GREATEST_HEADER: u64 = 4096;

/// Words of the `moduledata` whose place all versions share (`runtime/symtab.go`).
const MIN_PC: u64 = 20;
const MAX_PC: u64 = 21;
const TEXT: u64 = 22;
const END_OF_TEXT: u64 = 23;

/// Where the base of the functions' data may stand: word 38 in 1.18 and 1.19, 40 up to 1.26, 43 in 1.27, some room for
/// versions to come.
const FUNCTION_DATA: std::ops::Range<u64> = 36..56;

/// Why a program's tables cannot be read; the text is for the person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TablesError {
    /// No pclntab was found.
    #[error("no table of functions of Go 1.18 or newer in it: not a Go program, an older one, or a packed one")]
    NoHeader,
    /// Nothing points to the pclntab.
    #[error("its table of functions is there, but the runtime's description of it is not")]
    NoModule,
    /// A table is damaged.
    #[error("its tables are damaged ({0})")]
    Damaged(&'static str),
}

/// How the rows of the tables look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// 1.18 and 1.19.
    Go118,
    /// 1.20 and later.
    Go120,
}

impl Layout {
    /// The magic number with the sizes that follow it on amd64: an instruction's granularity and a pointer's size.
    fn magic(self) -> [u8; 8] {
        match self {
            Self::Go118 => [0xf0, 0xff, 0xff, 0xff, 0, 0, 1, 8],
            Self::Go120 => [0xf1, 0xff, 0xff, 0xff, 0, 0, 1, 8],
        }
    }
}

/// The tables, as slices of the file.
#[derive(Debug, Clone, Copy)]
pub struct Tables<'data> {
    /// How their rows look.
    pub layout: Layout,
    /// How many functions there are.
    pub count: usize,
    /// The functions' names, each with a zero behind it.
    pub names: &'data [u8],
    /// By compilation unit and file, the offset of its name: words of four bytes.
    pub units: &'data [u8],
    /// The files' names.
    pub files: &'data [u8],
    /// The tables of numbers by address.
    pub values: &'data [u8],
    /// The table of functions, and their rows.
    pub functions: &'data [u8],
    /// Where the code begins: functions are told relative to it.
    pub text: u64,
    /// Where it ends.
    pub end_of_text: u64,
    /// The address of the `moduledata`.
    module: u64,
}

impl<'data> Tables<'data> {
    /// Finds them.
    pub fn find(image: &Image<'data>) -> Result<Self, TablesError> {
        let mut error = TablesError::NoHeader;
        for layout in [Layout::Go120, Layout::Go118] {
            for segment in image.segments() {
                for at in find_aligned(segment, &layout.magic()) {
                    let Some(slices) = Self::slices(layout, &segment.data[at..]) else { continue };
                    match slices.with_module(image, segment.address + at as u64, &segment.data[at..]) {
                        Ok(tables) => return Ok(tables),
                        Err(reason) => error = reason,
                    }
                }
            }
        }
        Err(error)
    }

    /// The tables behind a header; `None` where its offsets make no sense.
    fn slices(layout: Layout, table: &'data [u8]) -> Option<Self> {
        let word = |at: usize| usize::try_from(u64_at(table, 8 + 8 * at)?).ok();
        let (count, names, units) = (word(0)?, word(3)?, word(4)?);
        let (files, values, functions) = (word(5)?, word(6)?, word(7)?);
        let plausible = count > 0 && names >= HEADER && names as u64 <= GREATEST_HEADER;
        if !plausible || count > table.len() / 8 {
            return None;
        }
        Some(Self {
            layout,
            count,
            names: table.get(names..units)?,
            units: table.get(units..files)?,
            files: table.get(files..values)?,
            values: table.get(values..functions)?,
            functions: table.get(functions..)?,
            text: 0,
            end_of_text: 0,
            module: 0,
        })
    }

    /// With the `moduledata` that belongs to the header at this address.
    fn with_module(self, image: &Image<'data>, header: u64, table: &[u8]) -> Result<Self, TablesError> {
        let names = u64_at(table, 8 + 8 * 3).and_then(|offset| header.checked_add(offset));
        let first = u32_at(self.functions, 0).ok_or(TablesError::Damaged("no function"))?;
        let last = u32_at(self.functions, 8 * self.count).ok_or(TablesError::Damaged("no last function"))?;
        let fits = |module: &u64| {
            let word = |at: u64| image.word(module.checked_add(8 * at)?);
            let text = word(TEXT)?;
            let end_of_text = word(END_OF_TEXT)?;
            // What the runtime itself checks at its start (`moduledataverify1`).
            let checked = word(1) == names
                && text.checked_add(first.into()) == word(MIN_PC)
                && text.checked_add(last.into()) == word(MAX_PC)
                && text < end_of_text;
            checked.then_some(Self { text, end_of_text, module: *module, ..self })
        };
        image.words_that_hold(header).iter().find_map(fits).ok_or(TablesError::NoModule)
    }

    /// What the words say that may be the base of the functions' data.
    pub fn bases_of_data(&self, image: &Image<'data>) -> Vec<u64> {
        let mut bases: Vec<u64> = FUNCTION_DATA
            .filter_map(|at| image.word(self.module.checked_add(8 * at)?))
            .filter(|base| *base != 0)
            .collect();
        bases.dedup();
        bases
    }
}
