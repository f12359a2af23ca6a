//! Why the kernel does not let one process look into another (ptrace(2), "Ptrace access mode checking").

use std::fs;

use super::procfs;

/// A reason; what a person should do about it follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// This one is root's, and lacks the right: a container.
    NoRight,
    /// The process is this user's.
    Owner(u32),
    /// `kernel.yama.ptrace_scope` has this value.
    Scope(String),
    /// It does not let itself be traced.
    NotDumpable,
}

impl Refusal {
    /// Of a process, by its `status`, for this user. The owner of its folder in `/proc` says nothing: of one that does not let itself be traced
    /// that is root.
    pub fn of(status: &str, user: u32) -> Self {
        let owner: Option<u32> =
            procfs::field(status, "Uid:").and_then(|ids| ids.split_whitespace().nth(1)?.parse().ok());
        let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
        match (user, owner) {
            (0, _) => Self::NoRight,
            (_, Some(owner)) if owner != user => Self::Owner(owner),
            _ if matches!(scope.trim(), "1" | "2" | "3") => Self::Scope(scope.trim().to_owned()),
            _ => Self::NotDumpable,
        }
    }
}
