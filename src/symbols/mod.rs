//! Addresses become names: code addresses → frames, data addresses → global variables, source
//! lines → the words that name a lock.
//!
//! The only room that reads ELF and DWARF. It runs once, at the end of a recording, on the machine
//! of the recording (and before that for the few stacks of a deadlock, in a session of their own); what it finds is written into the [`Session`], so that
//! nobody needs the binaries afterwards.
//!
//! Deliberately not here: unwinding, fetching debug information from servers, names for
//! just-in-time compiled code. Nothing here fails as a whole: a file that cannot be used becomes a
//! note for the person, and its addresses stay module and offset.

mod again;
mod calls;
mod debug_files;
mod demangle;
mod dwarf;
pub mod elf;
mod expression;
mod frames;
mod go;
mod kept;
mod naming;
pub mod own_locks;
pub mod packages;
mod qualified;
mod source;
mod tokens;
mod types;
mod variables;

#[cfg(test)]
mod testing;

pub use again::{Improved, Unnamed, name_again, poor, unnamed};
pub use debug_files::{fetch, find, has_server};
pub use frames::{resolve, symbolize};
pub use kept::Kept;
pub use naming::name_locks;
pub use source::Sources;
pub use variables::variable;

use rustc_hash::FxHashMap;

use crate::model::{CodeAddress, LockId, Session};

/// Names everything in a session that has no name yet: stacks, then locks, then calls. `data_addresses`: where locks lie in their
/// module's data. Returns notes for the person.
pub fn name(session: &mut Session, data_addresses: &FxHashMap<LockId, CodeAddress>, kept: &Kept) -> Vec<String> {
    let mut notes = symbolize(session, kept);
    notes.extend(name_locks(session, &|lock| data_addresses.get(&lock).copied(), kept));
    calls::name(session);
    notes
}
