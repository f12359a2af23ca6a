//! The files that a process has mapped: which address is where in which of them, what their unwind tables and symbols say.
//!
//! A file is opened as the process sees it (`/proc/PID/map_files`, else `/proc/PID/root`), so that containers and packages
//! that were replaced make no difference.

use std::cell::OnceCell;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use object::elf::{self, FileHeader64};
use object::read::elf::{FileHeader, Sym};

use crate::ingest::mappings::Mapping;
use crate::model::Module;
use crate::sites::go::pclntab::Pclntab;
use crate::sites::image::Image;
use crate::sites::unwind::Table;

/// Bytes of a file.
pub enum Bytes {
    Mapped(Mmap),
    Copied(Vec<u8>),
}

impl Bytes {
    /// A regular file's.
    pub fn of_file(path: &Path) -> Option<Self> {
        let file = File::open(path).ok()?;
        file.metadata().ok().filter(|meta| meta.is_file() && meta.len() > 0)?;
        // SAFETY: the mapping is private and only read. Like every symboliser we rely on nobody truncating an installed
        // binary in place while it is being read.
        unsafe { Mmap::map(&file) }.ok().map(Self::Mapped)
    }

    pub fn get(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Copied(bytes) => bytes,
        }
    }
}

/// A file that was opened.
pub struct Opened {
    /// As the process names it.
    pub path: String,
    /// Where it was opened.
    pub place: PathBuf,
    pub bytes: Bytes,
    /// Addresses of the process less those of the file.
    pub bias: u64,
}

/// The difference between addresses of a process and those of a file, by one of its mappings.
pub fn bias(bytes: &[u8], image: &Image<'_>, mapping: &Mapping) -> Option<u64> {
    image.segments().iter().find_map(|segment| {
        if segment.data.is_empty() {
            return None;
        }
        let offset = (segment.data.as_ptr() as u64).wrapping_sub(bytes.as_ptr() as u64);
        let (first, last) = (offset / 4096 * 4096, offset + segment.data.len() as u64);
        let fits = (first..last).contains(&mapping.offset) && segment.executable == mapping.executable;
        fits.then(|| {
            mapping.range.start.wrapping_sub(mapping.offset).wrapping_add(offset).wrapping_sub(segment.address)
        })
    })
}

/// A file in the memory of the process.
pub struct Loaded<'a> {
    pub opened: &'a Opened,
    image: Image<'a>,
    /// Addresses in the process.
    range: Range<u64>,
    table: OnceCell<Option<Table<'a>>>,
    symbols: OnceCell<Vec<Symbol<'a>>>,
    go: OnceCell<Option<Pclntab<'a>>>,
}

#[derive(Clone, Copy)]
struct Symbol<'a> {
    start: u64,
    end: u64,
    name: &'a str,
}

impl<'a> Loaded<'a> {
    fn new(opened: &'a Opened) -> Option<Self> {
        let image = Image::parse(opened.bytes.get()).ok()?;
        let start = image.segments().iter().map(|segment| segment.address).min()?;
        let end = image.segments().iter().map(|segment| segment.address.saturating_add(segment.size)).max()?;
        let range = start.wrapping_add(opened.bias)..end.wrapping_add(opened.bias);
        Some(Self { opened, image, range, table: OnceCell::new(), symbols: OnceCell::new(), go: OnceCell::new() })
    }

    /// An address as the file has it.
    pub fn in_file(&self, address: u64) -> u64 {
        address.wrapping_sub(self.opened.bias)
    }

    pub fn image(&self) -> &Image<'a> {
        &self.image
    }

    /// Whether its memory, variables that begin as zero too, has the address.
    pub fn has(&self, address: u64) -> bool {
        self.range.contains(&address)
    }

    /// Whether it is the C library, or the loader: what is known of their locks is known by their functions' names.
    pub fn is_libc(&self) -> bool {
        let name = self.opened.path.rsplit('/').next().unwrap_or_default();
        ["libc.so", "libc-2", "libpthread", "ld-linux", "ld-2", "libc.musl", "ld-musl"]
            .iter()
            .any(|begin| name.starts_with(begin))
    }

    /// Its unwind table.
    pub fn table(&self) -> Option<&Table<'a>> {
        self.table.get_or_init(|| Table::of(&self.image, self.opened.bytes.get())).as_ref()
    }

    /// Go's index of functions.
    pub fn go(&self) -> Option<&Pclntab<'a>> {
        self.go.get_or_init(|| Pclntab::read(&self.image).ok()).as_ref()
    }

    /// The symbol of the function that an address of the process is in, and where that begins in the file.
    pub fn function(&self, address: u64) -> Option<(&'a str, u64)> {
        let symbols = self.symbols.get_or_init(|| symbols(self.opened.bytes.get()).unwrap_or_default());
        let address = self.in_file(address);
        let behind = symbols.partition_point(|symbol| symbol.start <= address);
        let near = symbols[..behind].iter().rev().take(8);
        let found = near.copied().find(|symbol| address < symbol.end)?;
        Some((found.name, found.start))
    }

    /// As the model has it.
    pub fn module(&self) -> Module {
        Module { path: self.opened.path.clone(), build_id: self.image.build_id().unwrap_or_default().to_vec() }
    }
}

/// All functions with a symbol, by address.
fn symbols(bytes: &[u8]) -> Option<Vec<Symbol<'_>>> {
    let header = FileHeader64::<object::LittleEndian>::parse(bytes).ok()?;
    let endian = header.endian().ok()?;
    let sections = header.sections(endian, bytes).ok()?;
    let mut found = Vec::new();
    for kind in [elf::SHT_SYMTAB, elf::SHT_DYNSYM] {
        let Ok(symbols) = sections.symbols(endian, bytes, kind) else { continue };
        for symbol in symbols.iter() {
            let is_function = matches!(symbol.st_type(), elf::STT_FUNC | elf::STT_GNU_IFUNC);
            let (start, size) = (symbol.st_value(endian), symbol.st_size(endian));
            if !is_function || start == 0 || size == 0 {
                continue;
            }
            if let Some(name) = symbol.name(endian, symbols.strings()).ok().and_then(|name| str::from_utf8(name).ok()) {
                found.push(Symbol { start, end: start.saturating_add(size), name });
            }
        }
    }
    found.sort_by_key(|symbol| (symbol.start, symbol.end));
    Some(found)
}

/// All of them.
pub struct Files<'a> {
    loaded: Vec<Loaded<'a>>,
    mappings: &'a [Mapping],
}

impl<'a> Files<'a> {
    pub fn new(opened: &'a [Opened], mappings: &'a [Mapping]) -> Self {
        let mut loaded: Vec<Loaded<'a>> = opened.iter().filter_map(Loaded::new).collect();
        loaded.sort_by_key(|file| file.range.start);
        Self { loaded, mappings }
    }

    /// The first one with Go's tables, if it is the program.
    pub fn go(&self, program: &str) -> Option<&Loaded<'a>> {
        self.loaded.iter().find(|file| file.opened.path == program).filter(|file| file.go().is_some())
    }

    /// The file that an address is in.
    pub fn at(&self, address: u64) -> Option<&Loaded<'a>> {
        let behind = self.loaded.partition_point(|file| file.range.start <= address);
        self.loaded[..behind].iter().rev().take(4).find(|file| file.has(address))
    }

    /// The mapping that an address is in.
    pub fn mapping(&self, address: u64) -> Option<&'a Mapping> {
        let at = self.mappings.partition_point(|mapping| mapping.range.end <= address);
        self.mappings.get(at).filter(|mapping| mapping.range.contains(&address))
    }

    /// The symbol of the function that an address is in.
    pub fn function(&self, address: u64) -> Option<&'a str> {
        Some(self.at(address)?.function(address)?.0)
    }

    /// The same of Go code, which has names without symbols.
    pub fn go_function(&self, address: u64) -> Option<&'a str> {
        let file = self.at(address)?;
        let index = file.go()?;
        Some(index.name(index.function_at(file.in_file(address))?.name))
    }
}
