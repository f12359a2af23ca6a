//! What the recorder knows of this process and its threads, and how a process comes to be recorded.

pub mod attach;
pub mod dormant;
pub mod folder;
pub mod follower;
pub mod local;
pub mod locals;
pub mod own_locks;
pub mod process;
pub mod starts;
