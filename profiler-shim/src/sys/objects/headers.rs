//! What a loaded object's own headers say of it: extent, frame tables, build-id, and by what it is recognised.

use core::sync::atomic::Ordering;

use lockprof_wire::ModuleInfo;

use crate::sys::objects::{self, LinkMap, Memory};

/// A loaded object.
pub struct Object {
    pub start: u64,
    pub end: u64,
    pub bias: u64,
    /// Address of `.eh_frame_hdr`; 0 if it has none.
    pub tables: u64,
    /// What tells it from any other at the same place: a hash of the file's beginning, where headers and build-id are,
    /// and of its name.
    pub identity: u64,
    name: u64,
    memory: Memory,
    build_id: [u64; 4],
    build_id_len: u32,
}

/// An address in this library.
pub fn own_address() -> u64 {
    own_address as fn() -> u64 as usize as u64
}

/// A program header, in words: kind and flags, offset, address, physical, size in the file, size in memory, alignment.
const HEADER_WORDS: usize = 7;

impl Object {
    /// Reads the headers, which every linker puts into the first loaded page. `name`: address of the path.
    pub fn read(start: u64, bias: u64, name: u64, memory: Memory) -> Option<Self> {
        const LOAD: u32 = 1;
        const NOTE: u32 = 4;
        const EH_FRAME: u32 = 0x6474_e550;
        const MAGIC: u64 = u32::from_le_bytes(*b"\x7fELF") as u64;
        let header = memory.words::<8>(start)?;
        if header[0] & 0xffff_ffff != MAGIC {
            return None;
        }
        let mut object =
            Self { start, end: start, bias, tables: 0, identity: 0, name, memory, build_id: [0; 4], build_id_len: 0 };
        let (table, count) = (start + header[4], header[7] & 0xffff);
        for number in 0..count {
            let entry = memory.words::<HEADER_WORDS>(table + number * HEADER_WORDS as u64 * 8)?;
            let address = bias.wrapping_add(entry[2]);
            match entry[0] as u32 {
                LOAD => object.end = object.end.max(address.wrapping_add(entry[5])),
                EH_FRAME => object.tables = address,
                NOTE => object.find_build_id(address, entry[5]),
                _ => {}
            }
        }
        object.identity = object.identify()?;
        Some(object)
    }

    /// The object of a node in the loader's list that begins at `start`.
    pub fn of_node(map: &LinkMap, start: u64, memory: Memory) -> Option<Self> {
        Self::read(start, map.bias, map.name as u64, memory)
    }

    /// Before glibc 2.35: among the objects that were opened later, with its node.
    pub fn from_list(address: u64) -> Option<(Self, LinkMap)> {
        objects::opened_later()
            .filter_map(|map| Some((Self::of_node(&map, map.bias, Memory::Checked)?, map)))
            .find(|(object, _)| object.start <= address && address < object.end)
    }

    fn identify(&self) -> Option<u64> {
        /// Words of the file's beginning: headers, notes, and the hash table of its names begin there.
        const WORDS: u64 = 128;
        const AT_ONCE: usize = 16;
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        let mut mix = |value: u64| {
            hash = (hash ^ value).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            hash ^= hash >> 29;
        };
        for part in 0..WORDS / AT_ONCE as u64 {
            let at = self.start + part * AT_ONCE as u64 * 8;
            self.memory.words::<AT_ONCE>(at)?.into_iter().for_each(&mut mix);
        }
        self.build_id.into_iter().for_each(&mut mix);
        (self.name == 0 || self.memory.string(self.name, |byte| mix(u64::from(byte)))).then_some(hash)
    }

    /// Notes: length of name, length of content, kind; name and content padded to four bytes.
    fn find_build_id(&mut self, start: u64, size: u64) {
        const GNU_BUILD_ID: u64 = 3;
        const HEADER: u64 = 12;
        let mut at = start;
        while at + HEADER <= start.wrapping_add(size) {
            let (Some(name), Some(content), Some(kind)) = (self.half(at), self.half(at + 4), self.half(at + 8)) else {
                return;
            };
            let content_at = at + HEADER + name.div_ceil(4) * 4;
            if kind == GNU_BUILD_ID && name == 4 && content <= 32 && self.build_id_len == 0 {
                for number in 0..content.div_ceil(4) {
                    let Some(half) = self.half(content_at + number * 4) else { return };
                    self.build_id[number as usize / 2] |= half << (number % 2 * 32);
                }
                self.build_id_len = content as u32;
            }
            at = content_at + content.div_ceil(4) * 4;
        }
    }

    /// Four bytes.
    fn half(&self, at: u64) -> Option<u64> {
        let [word] = self.memory.words::<1>(at & !7)?;
        Some((word >> ((at & 4) * 8)) & 0xffff_ffff)
    }

    /// Fills the row that the collector reads.
    pub fn describe(&self, row: &ModuleInfo) {
        row.bias.store(self.bias, Ordering::Relaxed);
        row.start.store(self.start, Ordering::Relaxed);
        row.end.store(self.end, Ordering::Relaxed);
        row.build_id_len.store(self.build_id_len, Ordering::Relaxed);
        let build_id = self.build_id.iter().flat_map(|word| word.to_le_bytes());
        for (to, from) in row.build_id.iter().zip(build_id.take(self.build_id_len as usize)) {
            to.store(from, Ordering::Relaxed);
        }
        let mut len = 0;
        if self.name != 0 {
            self.memory.string(self.name, |byte| {
                if let Some(to) = row.path.get(len) {
                    to.store(byte, Ordering::Relaxed);
                    len += 1;
                }
            });
            if len == 0 {
                let mut path = [0u8; 960];
                len = crate::sys::readlink(c"/proc/self/exe", &mut path).max(0) as usize;
                for (to, from) in row.path.iter().zip(&path[..len]) {
                    to.store(*from, Ordering::Relaxed);
                }
            }
        }
        row.path_len.store(len as u32, Ordering::Relaxed);
    }
}
