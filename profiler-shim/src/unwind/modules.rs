//! The loaded objects: which one an address lies in, and where its frame tables are.
//!
//! `_dl_find_object` (glibc 2.35) answers without the loader's lock, for the vDSO too. Older C libraries
//! are asked through the loader's list of objects, which may be read while nothing is being loaded.

use core::ffi::{CStr, c_int, c_void};
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

use lockprof_wire::ModuleInfo;

use crate::process::Process;
use crate::real::{self, LinkMap};

/// A loaded object.
#[derive(Clone, Copy)]
pub struct Module {
    /// Row in the segment; 0 if there was no room.
    pub index: u32,
    pub bias: u64,
    /// Address of `.eh_frame_hdr`; 0 if it has none.
    pub tables: u64,
    /// It is this library.
    pub own: bool,
}

#[repr(C)]
struct Known {
    start: AtomicU64,
    end: AtomicU64,
    bias: AtomicU64,
    tables: AtomicU64,
    index: AtomicU32,
    own: AtomicU32,
}

/// Objects seen. Valid when zero.
#[repr(C)]
pub struct Modules {
    count: AtomicU32,
    known: [Known; CAPACITY],
    find_object: AtomicPtr<c_void>,
}

const CAPACITY: usize = 2048;

/// glibc's `struct dl_find_object` on x86-64.
#[repr(C)]
struct Found {
    flags: u64,
    start: u64,
    end: u64,
    object: *const LinkMap,
    tables: u64,
    reserved: [u64; 7],
}

type FindObject = unsafe extern "C" fn(u64, *mut Found) -> c_int;

impl Modules {
    /// Looks at everything that is loaded now, while there is nothing to lose.
    pub fn discover_all(&self, process: &Process) {
        self.find_object.store(real::find_function(c"_dl_find_object"), Ordering::Relaxed);
        let mut object = real::first_object();
        while !object.is_null() {
            // SAFETY: nodes stay while their object is loaded.
            let map = unsafe { &*object };
            // SAFETY: the dynamic section lies within the object.
            self.discover(process, unsafe { map.dynamic_address() });
            object = map.next;
        }
    }

    /// The object that an address lies in; learns it where it is new. Call under the inner lock.
    pub fn find(&self, process: &Process, address: u64) -> Option<Module> {
        self.look_up(address).or_else(|| {
            self.discover(process, address);
            self.look_up(address)
        })
    }

    /// Row of the object that an address lies in, 0 if it is not known.
    pub fn index_of(&self, address: u64) -> u32 {
        self.look_up(address).map_or(0, |module| module.index)
    }

    /// Whether an address lies in this library.
    #[cfg(lockprof_oracle)]
    pub fn is_own(&self, address: u64) -> bool {
        self.look_up(address).is_some_and(|module| module.own)
    }

    fn look_up(&self, address: u64) -> Option<Module> {
        let count = self.count.load(Ordering::Acquire) as usize;
        self.known[..count.min(CAPACITY)]
            .iter()
            .find(|known| known.start.load(Ordering::Relaxed) <= address && address < known.end.load(Ordering::Relaxed))
            .map(|known| Module {
                index: known.index.load(Ordering::Relaxed),
                bias: known.bias.load(Ordering::Relaxed),
                tables: known.tables.load(Ordering::Relaxed),
                own: known.own.load(Ordering::Relaxed) != 0,
            })
    }

    /// Whether the object of a row is still there.
    pub fn is_loaded(&self, index: u32) -> bool {
        // Rows are made in the order in which objects become known, so this one is near that place.
        let count = (self.count.load(Ordering::Acquire) as usize).min(CAPACITY);
        let of_row = |known: &&Known| known.index.load(Ordering::Relaxed) == index;
        let known = index.checked_sub(1).and_then(|at| self.known[..count].get(at as usize)).filter(of_row);
        let known = known.or_else(|| self.known[..count].iter().find(of_row));
        known.is_some_and(|known| known.end.load(Ordering::Relaxed) != 0)
    }

    /// Code may have gone: forgets every object that is not there any more, and tells its range.
    pub fn forget_unloaded(&self, mut gone: impl FnMut(u64, u64)) {
        let count = self.count.load(Ordering::Acquire) as usize;
        for known in &self.known[..count.min(CAPACITY)] {
            let (start, end) = (known.start.load(Ordering::Relaxed), known.end.load(Ordering::Relaxed));
            if end != 0 && self.ask(start).is_none_or(|found| found.bias != known.bias.load(Ordering::Relaxed)) {
                // An empty range: never found again; its row in the segment stays for the stacks that have it.
                known.end.store(0, Ordering::Relaxed);
                gone(start, end);
            }
        }
    }

    fn discover(&self, process: &Process, address: u64) {
        let Some(object) = self.ask(address) else { return };
        let count = self.count.load(Ordering::Relaxed);
        if count as usize >= CAPACITY || self.look_up(object.start).is_some() {
            return;
        }
        let index = process.segment.new_module(|row| object.describe(row)).unwrap_or(0);
        let own = object.start <= own_address() && own_address() < object.end;
        let known = &self.known[count as usize];
        known.bias.store(object.bias, Ordering::Relaxed);
        known.tables.store(object.tables, Ordering::Relaxed);
        known.index.store(index, Ordering::Relaxed);
        known.own.store(u32::from(own), Ordering::Relaxed);
        known.start.store(object.start, Ordering::Relaxed);
        known.end.store(object.end, Ordering::Relaxed);
        // Release: pairs with the Acquire in `look_up`.
        self.count.store(count + 1, Ordering::Release);
    }

    fn ask(&self, address: u64) -> Option<Object> {
        let find_object = self.find_object.load(Ordering::Relaxed);
        if find_object.is_null() {
            return Object::from_list(address);
        }
        let mut found = Found { flags: 0, start: 0, end: 0, object: core::ptr::null(), tables: 0, reserved: [0; 7] };
        // SAFETY: the symbol of this name has this signature since glibc 2.35.
        let answer = unsafe {
            let find: FindObject = core::mem::transmute(find_object);
            find(address, &raw mut found)
        };
        if answer != 0 || found.object.is_null() {
            return None;
        }
        // SAFETY: the loader gave the node of a loaded object.
        let map = unsafe { &*found.object };
        Some(
            Object {
                start: found.start,
                end: found.end,
                bias: map.bias,
                tables: found.tables,
                name: map.name,
                ..Object::NONE
            }
            .with_headers(),
        )
    }
}

fn own_address() -> u64 {
    own_address as fn() -> u64 as usize as u64
}

/// What the loader knows of an object.
struct Object {
    start: u64,
    end: u64,
    bias: u64,
    tables: u64,
    name: *const core::ffi::c_char,
    build_id: u64,
    build_id_len: u32,
}

#[repr(C)]
struct ProgramHeader {
    kind: u32,
    flags: u32,
    offset: u64,
    address: u64,
    physical: u64,
    file_size: u64,
    memory_size: u64,
    align: u64,
}

impl Object {
    const NONE: Self =
        Self { start: 0, end: 0, bias: 0, tables: 0, name: core::ptr::null(), build_id: 0, build_id_len: 0 };

    /// Reads the program headers, which every linker puts into the first loaded page.
    fn with_headers(mut self) -> Self {
        const LOAD: u32 = 1;
        const NOTE: u32 = 4;
        const EH_FRAME: u32 = 0x6474_e550;
        // SAFETY: the first page of a loaded object begins with its ELF header.
        unsafe {
            let header = self.start as *const u8;
            if header.cast::<u32>().read_unaligned() != u32::from_le_bytes(*b"\x7fELF") {
                return self;
            }
            let table = header.add(header.add(32).cast::<u64>().read() as usize).cast::<ProgramHeader>();
            let count = header.add(56).cast::<u16>().read();
            for number in 0..usize::from(count) {
                let entry = &*table.add(number);
                let address = self.bias.wrapping_add(entry.address);
                match entry.kind {
                    LOAD => self.end = self.end.max(address + entry.memory_size),
                    EH_FRAME if self.tables == 0 => self.tables = address,
                    NOTE => self.find_build_id(address, entry.memory_size),
                    _ => {}
                }
            }
        }
        self
    }

    /// Notes: length of name, length of content, kind; name and content padded to four bytes.
    unsafe fn find_build_id(&mut self, start: u64, size: u64) {
        const GNU_BUILD_ID: u32 = 3;
        let mut at = start;
        while at + 12 <= start + size {
            // SAFETY: within the segment of notes.
            let [name, content, kind] = unsafe { (at as *const [u32; 3]).read_unaligned() };
            let content_at = at + 12 + u64::from(name.div_ceil(4) * 4);
            if kind == GNU_BUILD_ID && name == 4 && content <= 32 {
                (self.build_id, self.build_id_len) = (content_at, content);
            }
            at = content_at + u64::from(content.div_ceil(4) * 4);
        }
    }

    /// Before glibc 2.35: the list of objects, by the extent that their headers give.
    fn from_list(address: u64) -> Option<Self> {
        let mut next = real::first_object();
        while !next.is_null() {
            // SAFETY: nodes stay while their object is loaded.
            let map = unsafe { &*next };
            next = map.next;
            // SAFETY: as above.
            let Some(start) = (unsafe { map.first_page() }) else { continue };
            let object = Self { start, end: start, bias: map.bias, name: map.name, ..Self::NONE }.with_headers();
            if object.start <= address && address < object.end {
                return Some(object);
            }
        }
        None
    }

    fn describe(&self, row: &ModuleInfo) {
        row.bias.store(self.bias, Ordering::Relaxed);
        row.start.store(self.start, Ordering::Relaxed);
        row.end.store(self.end, Ordering::Relaxed);
        row.build_id_len.store(self.build_id_len, Ordering::Relaxed);
        for number in 0..u64::from(self.build_id_len) {
            // SAFETY: `find_build_id` found that many bytes there.
            let byte = unsafe { *((self.build_id + number) as *const u8) };
            row.build_id[number as usize].store(byte, Ordering::Relaxed);
        }
        let mut path = [0u8; 960];
        let len = if self.name.is_null() {
            0
        } else {
            // SAFETY: the loader's names end with a NUL.
            let name = unsafe { CStr::from_ptr(self.name) }.to_bytes();
            if name.is_empty() {
                crate::sys::readlink(c"/proc/self/exe", &mut path).max(0) as usize
            } else {
                let len = name.len().min(path.len());
                path[..len].copy_from_slice(&name[..len]);
                len
            }
        };
        for (to, from) in row.path.iter().zip(&path[..len]) {
            to.store(*from, Ordering::Relaxed);
        }
        row.path_len.store(len as u32, Ordering::Relaxed);
    }
}
