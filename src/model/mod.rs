//! What was seen: processes, threads, locks, stacks and their counts.
//!
//! Pure data, without I/O and without serde: the trace file (`ingest::file`) and the JSON
//! (`render::json`) have types of their own. Live recording and reading a trace back end in the
//! same [`Session`].

mod absorb;
#[cfg(test)]
pub mod arbitrary;
pub mod diagnosis;
pub mod frame;
pub mod hang;
pub mod histogram;
pub mod ids;
pub mod listing;
pub mod lock_class;
pub mod lock_frames;
pub mod locks;
pub mod look;
mod merge;
pub mod now;
pub mod order;
pub mod owners;
pub mod profile;
pub mod session;
pub mod stacks;
pub mod subset;
mod union;

pub use diagnosis::Diagnosis;
pub use frame::{Frame, Frames};
pub use hang::{Hang, HangKind, HeldLock, Waiting};
pub use histogram::Histogram;
pub use ids::{LockId, ModuleId, ProcessId, SiteId, StackId, ThreadId};
pub use listing::{Language, Listed, ListedState};
pub use locks::{Kind, Lock, LockName, NameSource, Origin, Traits};
pub use look::{Activity, Holder, LockWait, Look, SeenThread, Standstill};
pub use now::{FoldsNow, Now, ThreadNow, WaitNow};
pub use order::Order;
pub use profile::{
    CallId, CallKey, CallStats, Mode, PARK, Profile, Site, SiteKey, ThreadShare, WaitEvent, WaitKey, WaitStats,
};
pub use session::{Counters, Coverage, Exit, Meta, Overhead, Process, Session, Thread};
pub use stacks::{CodeAddress, Module, Stacks};
pub use subset::Subset;
