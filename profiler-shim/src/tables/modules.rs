//! The loaded objects: which one an address lies in, and where its frame tables are.
//!
//! `_dl_find_object` (glibc 2.35) answers without the loader's lock, for the vDSO too. Older C libraries
//! are asked through the loader's list of objects, of which only copies are looked at.
//!
//! Objects that were opened later may be closed, and others may come to their place, at the same addresses and with
//! the same node. So each of them is recognised by its content (`identity`) whenever a walk comes to it anew, and
//! nothing is remembered of walks through them while an object is being closed (`is_closing`).

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use lockprof_wire::ModuleInfo;
use lockprof_wire::layout::note;

use crate::sys::objects::headers::{Object, own_address};
use crate::sys::objects::{self, Memory};
use crate::tables::Tables;

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
    /// It stays as long as the process.
    pub stays: bool,
}

#[repr(C)]
struct Known {
    start: AtomicU64,
    /// 0: it is not there any more.
    end: AtomicU64,
    bias: AtomicU64,
    tables: AtomicU64,
    identity: AtomicU64,
    index: AtomicU32,
    own: AtomicU32,
    stays: AtomicU32,
    /// For alignment.
    reserved: AtomicU32,
}

/// Objects seen. Valid when zero.
#[repr(C)]
pub struct Modules {
    count: AtomicU32,
    /// Calls of `dlclose` under way.
    closing: AtomicU32,
    known: [Known; CAPACITY],
}

const CAPACITY: usize = 2048;

impl Modules {
    /// Looks at everything that the program was started with, while there is nothing to lose.
    pub fn discover_all(&self, tables: &Tables) {
        for map in objects::at_start() {
            // SAFETY: objects of the program's start stay loaded.
            let Some(start) = (unsafe { map.first_page() }) else { continue };
            if let Some(object) = Object::of_node(map, start, Memory::Present) {
                self.learn(tables, &object, true);
            }
        }
    }

    /// The object that an address lies in; learns it where it is new. The address is of code on the caller's stack, or
    /// of memory in use: its object is there. Call under the inner lock.
    pub fn find(&self, tables: &Tables, address: u64) -> Option<Module> {
        let known = self.at(address);
        if known.is_some_and(|known| known.stays.load(Ordering::Relaxed) != 0) {
            return known.map(Known::module);
        }
        // While something is being closed, an address that wrong frame tables gave may lead there.
        let memory = if self.is_closing() { Memory::Checked } else { Memory::Present };
        let object = self.ask(address, memory);
        if let Some(known) = known {
            if object.as_ref().is_some_and(|object| known.is(object)) {
                return Some(known.module());
            }
            self.forget(tables, known);
        }
        self.learn(tables, &object?, false).map(Known::module)
    }

    /// Row of the object that an address in use lies in, 0 if there is none. Call under the inner lock.
    pub fn index_of(&self, tables: &Tables, address: u64) -> u32 {
        self.find(tables, address).map_or(0, |module| module.index)
    }

    /// Whether an address lies in this library.
    #[cfg(lockprof_oracle)]
    pub fn is_own(&self, address: u64) -> bool {
        self.at(address).is_some_and(|known| known.own.load(Ordering::Relaxed) != 0)
    }

    fn at(&self, address: u64) -> Option<&Known> {
        let count = self.count.load(Ordering::Acquire) as usize;
        self.known[..count.min(CAPACITY)]
            .iter()
            .find(|known| known.start.load(Ordering::Relaxed) <= address && address < known.end.load(Ordering::Relaxed))
    }

    /// An object is about to be closed. Whoever walks from now on remembers nothing of what may go.
    pub fn begin_closing(&self) {
        // SeqCst: before threads are told to forget what they remember.
        self.closing.fetch_add(1, Ordering::SeqCst);
    }

    /// It was closed.
    pub fn end_closing(&self) {
        // In the child of a fork that a destructor made, nothing was begun.
        let less = |closing: u32| closing.checked_sub(1);
        let _ = self.closing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
    }

    /// Whether objects may be going away now.
    pub fn is_closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst) != 0
    }

    /// Objects may have gone: forgets each that is not there any more, with the locks in it. Call under the inner lock.
    pub fn forget_unloaded(&self, tables: &Tables) {
        let count = self.count.load(Ordering::Acquire) as usize;
        for known in &self.known[..count.min(CAPACITY)] {
            if known.end.load(Ordering::Relaxed) == 0 || known.stays.load(Ordering::Relaxed) != 0 {
                continue;
            }
            // Another thread may be closing this very object.
            let found = self.ask(known.start.load(Ordering::Relaxed), Memory::Checked);
            if !found.is_some_and(|object| known.is(&object)) {
                self.forget(tables, known);
            }
        }
    }

    fn forget(&self, tables: &Tables, known: &Known) {
        let (start, end) = (known.start.load(Ordering::Relaxed), known.end.load(Ordering::Relaxed));
        // An empty range: not found any more; its row in the segment stays for the stacks that have it.
        known.end.store(0, Ordering::Relaxed);
        tables.forget_locks_in(start, end);
    }

    /// Makes an object known. One that was there before, with the same content at the same place, has its row again.
    fn learn(&self, tables: &Tables, object: &Object, stays: bool) -> Option<&Known> {
        let count = self.count.load(Ordering::Relaxed) as usize;
        let back = |known: &&Known| known.end.load(Ordering::Relaxed) == 0 && known.was(object);
        if let Some(known) = self.known[..count.min(CAPACITY)].iter().find(back) {
            known.end.store(object.end, Ordering::Relaxed);
            return Some(known);
        }
        let index = tables.segment.new_module(|row: &ModuleInfo| object.describe(row));
        let Some(known) = self.known.get(count) else {
            tables.note(note::MODULES_FULL);
            return None;
        };
        if index.is_none() {
            tables.note(note::MODULES_FULL);
        }
        let own = object.start <= own_address() && own_address() < object.end;
        known.bias.store(object.bias, Ordering::Relaxed);
        known.tables.store(object.tables, Ordering::Relaxed);
        known.identity.store(object.identity, Ordering::Relaxed);
        known.index.store(index.unwrap_or(0), Ordering::Relaxed);
        known.own.store(u32::from(own), Ordering::Relaxed);
        known.stays.store(u32::from(stays), Ordering::Relaxed);
        known.start.store(object.start, Ordering::Relaxed);
        known.end.store(object.end, Ordering::Relaxed);
        // Release: pairs with the Acquire in `at`.
        self.count.store(count as u32 + 1, Ordering::Release);
        Some(known)
    }

    /// What the loader says is at an address.
    fn ask(&self, address: u64, memory: Memory) -> Option<Object> {
        if !objects::places_are_known() {
            return Object::from_list(address).map(|(object, _)| object);
        }
        let place = objects::place_of(address)?;
        let [bias, name] = memory.words::<2>(place.node as u64)?;
        let mut object = Object::read(place.start, bias, name, memory)?;
        (object.end, object.tables) = (place.end, place.tables);
        Some(object)
    }
}

impl Known {
    fn module(&self) -> Module {
        Module {
            index: self.index.load(Ordering::Relaxed),
            bias: self.bias.load(Ordering::Relaxed),
            tables: self.tables.load(Ordering::Relaxed),
            own: self.own.load(Ordering::Relaxed) != 0,
            stays: self.stays.load(Ordering::Relaxed) != 0,
        }
    }

    /// Whether it is this object, as far as its content says.
    fn was(&self, object: &Object) -> bool {
        self.start.load(Ordering::Relaxed) == object.start
            && self.bias.load(Ordering::Relaxed) == object.bias
            && self.tables.load(Ordering::Relaxed) == object.tables
            && self.identity.load(Ordering::Relaxed) == object.identity
    }

    /// Whether it is this object, and there.
    fn is(&self, object: &Object) -> bool {
        self.end.load(Ordering::Relaxed) == object.end && self.was(object)
    }
}
