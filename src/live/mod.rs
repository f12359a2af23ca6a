//! A recording is looked at while it runs: the channel to its collector, snapshots of it, and the socket through which
//! viewers in other processes ask for them.
//!
//! Deliberately not here: how a program is recorded (`record`), and how a snapshot is shown (`tui`).

pub mod control;
pub mod messages;
pub mod moment;
pub mod snapshot;
pub mod socket;
pub mod viewer;
