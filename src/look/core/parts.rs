//! The parts of a core: stretches of memory, and the files that were mapped there.

use object::elf;

use crate::ingest::mappings::Mapping;
use crate::sites::bytes::u64_at;

/// More files are a damaged list.
const MOST_FILES: u64 = 1 << 20;

/// A stretch of memory that the core describes.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub address: u64,
    pub size: u64,
    /// What the file has of it.
    pub offset: u64,
    pub length: u64,
    pub flags: u32,
}

/// A file that was mapped.
pub struct Mapped {
    pub start: u64,
    pub end: u64,
    pub offset: u64,
    pub path: String,
}

/// How much of a stretch's bytes are behind the end of the file.
pub fn missing(load: &Load, length: u64) -> u64 {
    let end = load.offset.saturating_add(load.length);
    end.saturating_sub(length.max(load.offset))
}

/// The program that unpacks what these bytes begin.
pub fn packer(data: &[u8]) -> Option<&'static str> {
    let kinds: [(&[u8], _); 5] = [
        (b"\x28\xb5\x2f\xfd", "zstd -d"),
        (b"\x1f\x8b", "gunzip"),
        (b"\xfd7zXZ", "unxz"),
        (b"\x04\x22\x4d\x18", "lz4 -d"),
        (b"BZh", "bunzip2"),
    ];
    kinds.iter().find(|(magic, _)| data.starts_with(magic)).map(|(_, packer)| *packer)
}

/// The note of mapped files: their number, the size of a page, three words for each, and their paths.
pub fn read_files(data: &[u8]) -> Option<Vec<Mapped>> {
    let (count, page) = (u64_at(data, 0)?, u64_at(data, 8)?);
    if count > MOST_FILES || count > data.len() as u64 / 24 {
        return None;
    }
    let mut paths = data.get(16 + 24 * count as usize..)?.split(|byte| *byte == 0);
    (0..count as usize)
        .map(|at| {
            let word = |number: usize| u64_at(data, 16 + 24 * at + 8 * number);
            let path = String::from_utf8_lossy(paths.next()?).into_owned();
            let (start, end) = (word(0)?, word(1)?);
            (start < end).then_some(Mapped { start, end, offset: word(2)?.checked_mul(page)?, path })
        })
        .collect()
}

/// Stretches of memory with their files, by address; and files that no stretch tells of, which may be code.
pub fn mappings(loads: &[Load], files: &[Mapped]) -> Vec<Mapping> {
    let mut found: Vec<Mapping> = loads
        .iter()
        .map(|load| {
            let file = files.iter().find(|file| (file.start..file.end).contains(&load.address));
            Mapping {
                range: load.address..load.address + load.size,
                offset: file.map_or(0, |file| file.offset.saturating_add(load.address - file.start)),
                executable: load.flags & elf::PF_X.0 != 0,
                writable: load.flags & elf::PF_W.0 != 0,
                shared: false,
                path: file.map_or_else(String::new, |file| file.path.clone()),
            }
        })
        .collect();
    let is_told =
        |file: &Mapped| loads.iter().any(|load| load.address < file.end && load.address + load.size > file.start);
    found.extend(files.iter().filter(|file| !is_told(file)).map(|file| Mapping {
        range: file.start..file.end,
        offset: file.offset,
        executable: true,
        writable: false,
        shared: false,
        path: file.path.clone(),
    }));
    found.sort_by_key(|mapping| mapping.range.start);
    found
}
