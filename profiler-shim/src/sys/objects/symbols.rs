//! What an object defines and takes from others: its dynamic section and its symbol table.

use core::ffi::{CStr, c_void};
use core::sync::atomic::{AtomicU64, Ordering};

use super::{LinkMap, Memory};
use crate::sys;

/// An entry of a dynamic section.
#[repr(C)]
pub struct Dynamic {
    tag: u64,
    value: u64,
}

/// An entry of a symbol table.
#[repr(C)]
struct Symbol {
    name: u32,
    info: u8,
    other: u8,
    section: u16,
    value: AtomicU64,
    size: u64,
}

/// A function or variable that an object defines.
#[derive(Clone, Copy)]
pub struct Definition {
    symbol: *const Symbol,
    bias: u64,
}

impl Definition {
    fn symbol(&self) -> &'static Symbol {
        // SAFETY: the symbol belongs to a loaded object.
        unsafe { &*self.symbol }
    }

    /// Whether there are several machine-dependent variants.
    fn is_indirect(&self) -> bool {
        const INDIRECT: u8 = 10;
        self.symbol().info & 15 == INDIRECT
    }

    /// The word in the symbol table that says where it is, less the bias; none if a function is to be asked.
    pub fn value(&self) -> Option<&'static AtomicU64> {
        (!self.is_indirect()).then_some(&self.symbol().value)
    }

    /// Where it is. Of several machine-dependent variants the one that the loader would choose.
    pub fn address(&self) -> *mut c_void {
        let at = self.bias.wrapping_add(self.symbol().value.load(Ordering::Relaxed));
        if self.is_indirect() {
            // SAFETY: such a symbol's value is a function that chooses.
            let choose: extern "C" fn() -> *mut c_void = unsafe { core::mem::transmute(at) };
            return choose();
        }
        at as *mut c_void
    }
}

/// A part of an object's file that is mapped.
#[derive(Clone, Copy)]
pub struct Part {
    pub start: u64,
    /// Bytes.
    pub len: u64,
    /// [`Part::WRITABLE`] and [`Part::READABLE`], and 1 for code.
    pub rights: u64,
}

impl Part {
    pub const WRITABLE: u64 = 2;
    pub const READABLE: u64 = 4;
}

/// What of a dynamic section is needed here.
#[derive(Clone, Copy)]
struct Tables {
    strings: *const u8,
    strings_len: u64,
    symbols: *const Symbol,
    hash: *const u32,
    versions: *const u16,
    definitions: *const u8,
}

/// A path without its folders.
fn file_of(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

impl LinkMap {
    /// The name of the file, without its folder.
    ///
    /// # Safety
    /// The object is loaded.
    pub unsafe fn file(&self) -> &'static [u8] {
        // SAFETY: the loader's names end with a NUL.
        file_of(unsafe { CStr::from_ptr(self.name) }.to_bytes())
    }

    /// Whether the object is the C library, or one of the libraries that older ones consist of.
    ///
    /// # Safety
    /// The object is loaded.
    pub unsafe fn is_libc(&self) -> bool {
        const FILES: [&[u8]; 6] =
            [b"libc.so.6", b"libc-2.", b"libpthread.so.0", b"libpthread-2.", b"libdl.so.2", b"libdl-2."];
        // SAFETY: the caller's contract.
        let file = unsafe { self.file() };
        FILES.iter().any(|known| file.starts_with(known))
    }

    /// Entries of the dynamic section.
    ///
    /// # Safety
    /// The object is loaded.
    unsafe fn dynamic(&self) -> impl Iterator<Item = (u64, u64)> {
        let mut at = self.dynamic;
        core::iter::from_fn(move || {
            // SAFETY: the dynamic section ends with a null tag.
            let entry = unsafe { at.as_ref() }.filter(|entry| entry.tag != 0)?;
            // SAFETY: as above.
            at = unsafe { at.add(1) };
            Some((entry.tag, entry.value))
        })
    }

    /// # Safety
    /// The object is loaded.
    unsafe fn tables(&self) -> Option<Tables> {
        let (mut strings, mut symbols, mut hash) = (0u64, 0u64, 0u64);
        let (mut versions, mut definitions, mut strings_len) = (0u64, 0u64, 0u64);
        // SAFETY: the caller's contract.
        for (tag, value) in unsafe { self.dynamic() } {
            // glibc relocates these values in place, but not for read-only sections.
            let at = if value < self.bias { value + self.bias } else { value };
            match tag {
                5 => strings = at,
                6 => symbols = at,
                10 => strings_len = value,
                0x6fff_fef5 => hash = at,
                0x6fff_fff0 => versions = at,
                0x6fff_fffc => definitions = at,
                _ => {}
            }
        }
        (strings != 0 && symbols != 0 && hash != 0).then_some(Tables {
            strings: strings as *const u8,
            strings_len,
            symbols: symbols as *const Symbol,
            hash: hash as *const u32,
            versions: versions as *const u16,
            definitions: definitions as *const u8,
        })
    }

    /// What the object defines by this name: the default version, or the one that is asked for.
    ///
    /// # Safety
    /// The object is loaded.
    pub unsafe fn find(&self, name: &CStr, version: Option<&CStr>) -> Option<Definition> {
        let mut found = None;
        // SAFETY: the caller's contract.
        unsafe {
            let tables = self.tables()?;
            tables.each_named(name, |number, symbol| {
                if found.is_none() && tables.is_version(number, version) {
                    found = Some(Definition { symbol, bias: self.bias });
                }
            });
        }
        found
    }

    /// Goes over all definitions of a name, of whatever version.
    ///
    /// # Safety
    /// The object is loaded.
    pub unsafe fn each_definition(&self, name: &CStr, mut each: impl FnMut(Definition)) {
        // SAFETY: the caller's contract.
        unsafe {
            if let Some(tables) = self.tables() {
                tables.each_named(name, |_, symbol| each(Definition { symbol, bias: self.bias }));
            }
        }
    }

    /// Whether the object takes a function of this name from another one.
    ///
    /// # Safety
    /// The object is loaded.
    pub unsafe fn imports(&self, name: &CStr) -> bool {
        // SAFETY: the caller's contract. Undefined symbols are the first ones of the table, before those with a hash.
        unsafe {
            let Some(tables) = self.tables() else { return false };
            let first_hashed = *tables.hash.add(1);
            (1..first_hashed).any(|number| {
                let symbol = tables.symbols.add(number as usize);
                (*symbol).section == 0 && tables.text((*symbol).name) == name
            })
        }
    }

    /// Whether the object needs the library of this file name.
    ///
    /// # Safety
    /// The object is loaded.
    pub unsafe fn needs(&self, file: &[u8]) -> bool {
        const NEEDED: u64 = 1;
        // SAFETY: the caller's contract.
        unsafe {
            let Some(tables) = self.tables() else { return false };
            let name = |value: u64| tables.text(value as u32).to_bytes();
            self.dynamic().any(|(tag, value)| tag == NEEDED && file_of(name(value)) == file)
        }
    }

    /// The addresses of the table of names: what stands there is no string of the code's.
    ///
    /// # Safety
    /// The object is loaded.
    pub unsafe fn names(&self) -> core::ops::Range<u64> {
        // SAFETY: the caller's contract.
        unsafe { self.tables() }.map_or(0..0, |tables| {
            let start = tables.strings as u64;
            start..start + tables.strings_len
        })
    }

    /// The parts of the object's file that are mapped: address, bytes, rights.
    ///
    /// # Safety
    /// The object is loaded.
    pub unsafe fn parts(&self) -> impl Iterator<Item = Part> {
        const LOAD: u64 = 1;
        const WORDS: usize = 7;
        // SAFETY: the caller's contract.
        let start = unsafe { self.first_page() }.unwrap_or(0);
        let header = Memory::Present.words::<8>(start).unwrap_or([0; 8]);
        let (table, count, bias) = (start + header[4], header[7] & 0xffff, self.bias);
        (0..count).filter_map(move |number| {
            let entry = Memory::Present.words::<WORDS>(table + number * WORDS as u64 * 8)?;
            let (kind, rights) = (entry[0] & 0xffff_ffff, entry[0] >> 32);
            (kind == LOAD).then(|| Part { start: bias.wrapping_add(entry[2]), len: entry[4], rights })
        })
    }

    /// Whether a range is of a part that holds neither code nor data that changes.
    ///
    /// # Safety
    /// The object is loaded.
    pub unsafe fn is_only_readable(&self, low: u64, high: u64) -> bool {
        // SAFETY: the caller's contract.
        unsafe { self.parts() }
            .any(|part| part.rights == Part::READABLE && part.start & !4095 <= low && high <= part.start + part.len)
    }

    /// The first page of the object: where its ELF header is, found from its dynamic section downwards.
    ///
    /// # Safety
    /// The object is loaded.
    pub unsafe fn first_page(&self) -> Option<u64> {
        // A shared object is linked at 0, so its bias is its first page; a fixed executable has bias 0.
        if self.bias != 0 {
            return Some(self.bias);
        }
        let mut page = self.dynamic as u64 & !4095;
        for _ in 0..(1 << 16) {
            if !sys::is_mapped(page, 4096) {
                return None;
            }
            // SAFETY: the page is mapped; pages between the header and the dynamic section are readable.
            if unsafe { (page as *const u32).read() } == u32::from_le_bytes(*b"\x7fELF") {
                return Some(page);
            }
            page = page.checked_sub(4096)?;
        }
        None
    }
}

impl Tables {
    /// # Safety
    /// The object is loaded, and `at` is a place in its table of strings.
    unsafe fn text(&self, at: u32) -> &'static CStr {
        // SAFETY: names lie within the table and end with a NUL.
        unsafe { CStr::from_ptr(self.strings.add(at as usize).cast()) }
    }

    /// Goes over the defined symbols of a name by the GNU hash table
    /// (header: buckets, first symbol, filter words, shift; filter; buckets; chain).
    ///
    /// # Safety
    /// The object is loaded.
    unsafe fn each_named(&self, name: &CStr, mut each: impl FnMut(u32, *const Symbol)) {
        let hash =
            name.to_bytes().iter().fold(5381u32, |hash, byte| hash.wrapping_mul(33).wrapping_add(u32::from(*byte)));
        // SAFETY: the tables belong to a loaded object and have the format that the loader itself relies on.
        unsafe {
            let (buckets, first, filter_words) = (*self.hash, *self.hash.add(1), *self.hash.add(2));
            if buckets == 0 {
                return;
            }
            let bucket_at = self.hash.add(4 + 2 * filter_words as usize);
            let chain_at = bucket_at.add(buckets as usize);
            let mut number = *bucket_at.add((hash % buckets) as usize);
            if number < first {
                return;
            }
            loop {
                let chain = *chain_at.add((number - first) as usize);
                if chain | 1 == hash | 1 {
                    let symbol = self.symbols.add(number as usize);
                    if (*symbol).section != 0 && self.text((*symbol).name) == name {
                        each(number, symbol);
                    }
                }
                if chain & 1 != 0 {
                    return;
                }
                number += 1;
            }
        }
    }

    /// Whether a symbol has this version; `None`: whether it is the default one.
    ///
    /// # Safety
    /// The object is loaded, and has a symbol of this number.
    unsafe fn is_version(&self, number: u32, version: Option<&CStr>) -> bool {
        const HIDDEN: u16 = 0x8000;
        // What has no version of its own stands for all of them.
        const NONE_OF_ITS_OWN: u16 = 1;
        if self.versions.is_null() {
            return true;
        }
        // SAFETY: the table has a number for each symbol.
        let index = unsafe { *self.versions.add(number as usize) };
        let Some(version) = version else { return index & HIDDEN == 0 };
        let own = index & !HIDDEN;
        // SAFETY: a loaded object's table of version definitions.
        own <= NONE_OF_ITS_OWN || unsafe { self.version_name(own) } == Some(version)
    }

    /// The name of a version that the object defines.
    ///
    /// # Safety
    /// The object is loaded.
    unsafe fn version_name(&self, index: u16) -> Option<&'static CStr> {
        let mut at = self.definitions;
        if at.is_null() {
            return None;
        }
        loop {
            // Format, flags, index, names (two bytes each), hash, first name, next (four each); a name: text, next.
            // SAFETY: the format that the loader itself relies on.
            unsafe {
                if *at.add(4).cast::<u16>() == index {
                    let name = at.add(*at.add(12).cast::<u32>() as usize);
                    return Some(self.text(*name.cast::<u32>()));
                }
                match *at.add(16).cast::<u32>() {
                    0 => return None,
                    next => at = at.add(next as usize),
                }
            }
        }
    }
}
