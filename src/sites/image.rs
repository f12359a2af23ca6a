//! A program's file as the kernel and the loader would lay it out: segments, the words that relocations fill, its identity.
//!
//! Addresses are the file's own (link-time) ones: a position-independent program runs at them plus a base. Sections and
//! symbols are not read: a stripped program has none.

use object::LittleEndian;
use object::elf::{self, FileHeader64};
use object::read::elf::{Dyn, FileHeader, ProgramHeader};

use super::bytes::{text_at, u32_at, u64_at};

type Header = FileHeader64<LittleEndian>;

/// `sizeof(Elf64_Rela)`.
const RELA: usize = 24;
/// `sizeof(Elf64_Sym)`.
const SYMBOL: u64 = 24;

/// Why a file cannot be read; the text is for the person.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// It is not a 64-bit little-endian ELF file, or its headers are damaged.
    #[error("not a readable 64-bit ELF file ({0})")]
    Parse(#[from] object::Error),
    /// It is for another processor.
    #[error("a program for another processor: only x86-64 is known")]
    Processor,
}

/// A part of the file that is mapped.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'data> {
    /// Where it begins.
    pub address: u64,
    /// What the file has of it; what comes behind is zero.
    pub data: &'data [u8],
    /// How much of memory it takes, in bytes.
    pub size: u64,
    /// Whether it is code.
    pub executable: bool,
    /// Whether it may be written, at least while the loader relocates it.
    pub writable: bool,
}

/// A program's file.
#[derive(Debug)]
pub struct Image<'data> {
    segments: Vec<Segment<'data>>,
    /// Relative relocations: the word's address and what it will hold (without the base), by address.
    relocations: Vec<(u64, u64)>,
    /// The words that will hold the address of what another file, or this one, exports: by address, with its name.
    imports: Vec<(u64, &'data str)>,
    unwind_index: Option<u64>,
    build_id: Option<&'data [u8]>,
    go_build_id: Option<&'data [u8]>,
    entry: u64,
    position_independent: bool,
    interpreted: bool,
}

impl<'data> Image<'data> {
    /// Reads a file's headers.
    pub fn parse(data: &'data [u8]) -> Result<Self, ImageError> {
        let header = Header::parse(data)?;
        let endian = header.endian()?;
        if header.e_machine(endian) != elf::EM_X86_64 {
            return Err(ImageError::Processor);
        }
        let mut image = Self {
            segments: Vec::new(),
            relocations: Vec::new(),
            imports: Vec::new(),
            unwind_index: None,
            build_id: None,
            go_build_id: None,
            entry: header.e_entry(endian),
            position_independent: header.e_type(endian) == elf::ET_DYN,
            interpreted: false,
        };
        let (mut tables, mut names) = (Vec::new(), None);
        for part in header.program_headers(endian, data)? {
            match part.p_type(endian) {
                elf::PT_LOAD => {
                    let flags = part.p_flags(endian);
                    image.segments.push(Segment {
                        address: part.p_vaddr(endian),
                        data: part.data(endian, data).unwrap_or_default(),
                        size: part.p_memsz(endian),
                        executable: flags & elf::PF_X == elf::PF_X,
                        writable: flags & elf::PF_W == elf::PF_W,
                    });
                }
                elf::PT_INTERP => image.interpreted = true,
                elf::PT_NOTE => image.read_notes(part, data),
                elf::PT_DYNAMIC => {
                    let entries = part.dynamic(endian, data).ok().flatten().unwrap_or_default();
                    let value = |tag| entries.iter().find(|entry| entry.tag(endian) == tag).map(|e| e.val(endian));
                    let relocations = value(elf::DT_RELA).zip(value(elf::DT_RELASZ));
                    let of_calls = value(elf::DT_JMPREL).zip(value(elf::DT_PLTRELSZ));
                    tables.extend(relocations.into_iter().chain(of_calls));
                    names = value(elf::DT_SYMTAB).zip(value(elf::DT_STRTAB));
                }
                elf::PT_GNU_EH_FRAME => image.unwind_index = Some(part.p_vaddr(endian)),
                _ => {}
            }
        }
        for (address, size) in tables {
            image.read_relocations(address, size, names);
        }
        image.relocations.sort_unstable();
        image.relocations.dedup_by_key(|(at, _)| *at);
        image.imports.sort_unstable();
        Ok(image)
    }

    /// The mapped parts.
    pub fn segments(&self) -> &[Segment<'data>] {
        &self.segments
    }

    /// The GNU build-id.
    pub fn build_id(&self) -> Option<&'data [u8]> {
        self.build_id
    }

    /// The build-id that Go's own linker writes: a text of four hashes.
    pub fn go_build_id(&self) -> Option<&'data [u8]> {
        self.go_build_id
    }

    /// Where the program begins.
    pub fn entry(&self) -> u64 {
        self.entry
    }

    /// Whether it runs at a base that the kernel chooses.
    pub fn is_position_independent(&self) -> bool {
        self.position_independent
    }

    /// Whether a loader is asked for: the program is dynamic, and a library can be preloaded.
    pub fn is_interpreted(&self) -> bool {
        self.interpreted
    }

    /// What the file holds from an address to the end of its segment.
    pub fn from(&self, address: u64) -> Option<&'data [u8]> {
        self.segments.iter().find_map(|segment| {
            let at = usize::try_from(address.checked_sub(segment.address)?).ok()?;
            segment.data.get(at..).filter(|rest| !rest.is_empty())
        })
    }

    /// What the file holds at an address.
    pub fn bytes(&self, address: u64, length: usize) -> Option<&'data [u8]> {
        self.from(address)?.get(..length)
    }

    /// The code between two addresses; `None` where that is not code.
    pub fn code(&self, start: u64, end: u64) -> Option<&'data [u8]> {
        let length = usize::try_from(end.checked_sub(start)?).ok()?;
        let segment = self.segments.iter().find(|segment| {
            segment.executable && start.checked_sub(segment.address).is_some_and(|at| at < segment.data.len() as u64)
        })?;
        segment.data.get((start - segment.address) as usize..)?.get(..length)
    }

    /// The word at an address after relocation, without the base.
    pub fn word(&self, address: u64) -> Option<u64> {
        match self.relocations.binary_search_by_key(&address, |(at, _)| *at) {
            Ok(at) => Some(self.relocations[at].1),
            Err(_) => u64_at(self.from(address)?, 0),
        }
    }

    /// The name of the function, or object, whose address the loader puts into a word.
    pub fn import(&self, address: u64) -> Option<&'data str> {
        let at = self.imports.binary_search_by_key(&address, |(at, _)| *at).ok()?;
        Some(self.imports[at].1)
    }

    /// All such words, by address.
    pub fn imports(&self) -> &[(u64, &'data str)] {
        &self.imports
    }

    /// Where the index of the unwind table is.
    pub fn unwind_index(&self) -> Option<u64> {
        self.unwind_index
    }

    /// The aligned, writable words that hold a value after relocation.
    pub fn words_that_hold(&self, value: u64) -> Vec<u64> {
        let mut found: Vec<u64> = self.relocations.iter().filter(|(_, to)| *to == value).map(|(at, _)| *at).collect();
        for segment in self.segments.iter().filter(|segment| segment.writable) {
            let places = find_aligned(segment, &value.to_le_bytes());
            found.extend(places.map(|at| segment.address + at as u64).filter(|at| self.word(*at) == Some(value)));
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// The words that hold one of these values after relocation; those of a position-independent file alone where it is one.
    pub fn words_that_hold_one_of(&self, values: &[u64]) -> Vec<u64> {
        let mut sorted = values.to_vec();
        sorted.sort_unstable();
        let is_one = |value: &u64| sorted.binary_search(value).is_ok();
        let mut found: Vec<u64> = self.relocations.iter().filter(|(_, to)| is_one(to)).map(|(at, _)| *at).collect();
        for segment in self.segments.iter().filter(|segment| !segment.executable && !self.position_independent) {
            let first = (segment.address.wrapping_neg() % 8) as usize;
            let words = segment.data.get(first..).unwrap_or_default().chunks_exact(8).enumerate();
            let holds = words.filter(|(_, word)| u64_at(word, 0).is_some_and(|value| is_one(&value)));
            found.extend(holds.map(|(at, _)| segment.address + (first + 8 * at) as u64));
        }
        found
    }

    fn read_notes(&mut self, part: &elf::ProgramHeader64<LittleEndian>, data: &'data [u8]) {
        let Ok(Some(mut notes)) = part.notes(LittleEndian, data) else { return };
        while let Ok(Some(note)) = notes.next() {
            match (note.name(), note.n_type(LittleEndian)) {
                (b"GNU", elf::NT_GNU_BUILD_ID) => self.build_id = Some(note.desc()),
                (b"Go", elf::NT_GO_BUILD_ID) => self.go_build_id = Some(note.desc()),
                _ => {}
            }
        }
    }

    /// `names`: where the tables of symbols and of their names are.
    fn read_relocations(&mut self, address: u64, size: u64, names: Option<(u64, u64)>) {
        let rows = self.from(address).unwrap_or_default();
        let rows = &rows[..rows.len().min(usize::try_from(size).unwrap_or(usize::MAX))];
        for row in rows.chunks_exact(RELA) {
            let (Some(at), Some(kind), Some(symbol)) = (u64_at(row, 0), u32_at(row, 8), u32_at(row, 12)) else {
                continue;
            };
            if kind == elf::R_X86_64_RELATIVE.0 {
                self.relocations.extend(u64_at(row, 16).map(|to| (at, to)));
            } else if kind == elf::R_X86_64_GLOB_DAT.0 || kind == elf::R_X86_64_JUMP_SLOT.0 {
                let name = names.and_then(|(symbols, texts)| {
                    let symbol = u32_at(self.from(symbols.checked_add(u64::from(symbol) * SYMBOL)?)?, 0)?;
                    text_at(self.from(texts.checked_add(symbol.into())?)?, 0)
                });
                self.imports.extend(name.map(|name| (at, name)));
            }
        }
    }
}

/// The offsets in a segment's data, aligned to eight in memory, where eight bytes stand.
pub(super) fn find_aligned<'data>(segment: &Segment<'data>, bytes: &[u8; 8]) -> impl Iterator<Item = usize> + 'data {
    let first = (segment.address.wrapping_neg() % 8) as usize;
    let bytes = *bytes;
    let words = segment.data.get(first..).unwrap_or_default().chunks_exact(8).enumerate();
    words.filter(move |(_, word)| **word == bytes).map(move |(at, _)| first + 8 * at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_test_is_an_image() {
        let file = std::fs::read(std::env::current_exe().expect("this binary")).expect("its bytes");
        let image = Image::parse(&file).expect("an ELF file");
        assert!(image.is_interpreted() && image.is_position_independent());
        assert!(image.code(image.entry(), image.entry() + 4).is_some());
        let (at, value) = image.relocations[0];
        assert!(image.word(at) == Some(value) && image.words_that_hold(value).contains(&at));
        let (slot, _) = image.imports().iter().find(|(_, name)| *name == "syscall").expect("libc's function");
        assert_eq!(image.import(*slot), Some("syscall"));
        assert!(image.code(image.entry(), u64::MAX).is_none() && image.from(u64::MAX).is_none());
    }

    #[test]
    fn damaged_files_do_not_panic() {
        let file = std::fs::read(std::env::current_exe().expect("this binary")).expect("its bytes");
        assert!(Image::parse(b"\x7fELF").is_err() && Image::parse(b"").is_err());
        for at in 0..1024 {
            let mut head = file[..4096.min(file.len())].to_vec();
            head[at] ^= 0xff;
            if let Ok(image) = Image::parse(&head) {
                image.words_that_hold(0);
                image.word(image.entry());
            }
        }
    }
}
