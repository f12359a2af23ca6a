//! What lies in the folder of a recording, by name.

/// The beginning of the folder's own name.
pub(super) const PREFIX: &str = "lockprof-";
/// The owner's file.
pub(super) const OWNER: &str = "owner";
/// A recording that could not be written where it should go.
pub(super) const UNWRITTEN: &str = "unwritten.lockprof";
/// The preloaded library, where there is no better place for it.
pub(super) const LIBRARY: &str = "shim.so";
/// A copy of what the collector has read.
pub(super) const COPY: &str = "read.so-far";
/// One that is being made.
pub(super) const UNFINISHED_COPY: &str = "read.new";
/// Whoever found the recording said so.
pub(super) const SAID: &str = "said";
