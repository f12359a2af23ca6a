//! What processes say that they become: of one that ends before it could be looked at, it tells why it was not recorded.

use super::{Facts, Follower, lock};
use crate::record::unseen::NOT_IN_ENVIRONMENT;
use crate::safe_file;

/// A program that a process said it becomes.
pub struct Announced {
    /// What the kernel calls it.
    comm: Vec<u8>,
    /// Why it is not recorded, if it is not, as far as that is known.
    why: Option<String>,
    /// Its file was found: otherwise the exec fails.
    is_there: bool,
}

impl Announced {
    /// `path`: as it was announced; `facts`: of the file that was found there; `user`: the process's, which has the recorder
    /// in its environment or has not.
    pub fn new(path: &[u8], facts: Option<&Facts>, user: u32, is_preloaded: bool) -> Self {
        // The rights that let another user come here end at its exec.
        let is_other = ![0, safe_file::user()].contains(&user);
        let why = if !is_preloaded {
            Some(NOT_IN_ENVIRONMENT.to_owned())
        } else if let Some(why) = facts.and_then(|facts| facts.why_not_loaded.clone()) {
            Some(why)
        } else {
            is_other.then(|| format!("it is another user's ({user}), who has no right to the recorder's files"))
        };
        Self { comm: comm(path), why, is_there: facts.is_some() }
    }
}

impl Follower {
    /// Programs that processes said they become, of which it is known that they are not recorded: process and name (the
    /// kernel's).
    pub fn unrecorded(&self) -> Vec<(u32, String)> {
        let announced = lock(&self.shared.announced);
        let unrecorded = announced.iter().filter(|(_, program)| program.is_there && program.why.is_some());
        unrecorded.map(|(pid, program)| (*pid, String::from_utf8_lossy(&program.comm).into_owned())).collect()
    }

    /// What is known of why the program of this name (the kernel's) is not recorded that a process became, if it is not. The
    /// process had the recorder in it before, if `had_recorder`.
    pub fn why_unseen(&self, pid: u32, comm: &str, had_recorder: bool) -> Option<String> {
        match lock(&self.shared.announced).get(&pid) {
            Some(announced) if announced.comm == comm.as_bytes() => announced.why.clone(),
            _ => had_recorder.then(|| {
                "it ended before it could be looked at, and was not announced: another user, another root folder or mount \
                 namespace, or a sandbox seems to be between it and the recorder"
                    .to_owned()
            }),
        }
    }
}

/// What the kernel calls a program of this path (`TASK_COMM_LEN`, with a NUL).
fn comm(path: &[u8]) -> Vec<u8> {
    const MOST: usize = 15;
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    name[..name.len().min(MOST)].to_owned()
}
