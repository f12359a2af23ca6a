//! What was found in a Rust program: its operations, the calls of slow paths, and whether each call is reached.

use super::super::table::Reached;
use super::operations::{COLD_PATHS, ColdPath, Row};

/// How an operation is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// An inlined atomic, and the slow path behind it.
    ColdCall,
    /// An inlined atomic, and behind it the slow path itself, which was inlined too: the word is compared with what says that
    /// others wait, and the kernel called.
    InlinedWake,
    /// The atomic is a call, and the slow path is behind it.
    Called,
    /// How the word is changed, alone.
    Change,
    /// The same where the atomic is a call.
    CalledChange,
    /// The atomic is a call in a function that changes words of all kinds.
    Update,
}

/// An operation in the code.
#[derive(Clone, Debug)]
pub struct Site {
    /// Of the atomic, or of its call.
    pub address: u64,
    /// Of the function that holds it.
    pub function: u64,
    /// Which operation it is.
    pub row: &'static Row,
    /// How it was recognised.
    pub proof: Proof,
    /// The calls of the slow path that belong to it.
    pub cold_calls: Vec<u64>,
}

/// A call of a slow path.
#[derive(Clone, Debug)]
pub struct ColdCall {
    /// Of the call, or of the jump that is one.
    pub address: u64,
    /// Of the function that holds it.
    pub function: u64,
    /// Which slow path.
    pub cold: &'static ColdPath,
    /// The slow path's address; 0 where it is in another file.
    pub target: u64,
    /// It may give up after a time.
    pub is_limited: bool,
    /// A site leads to it.
    pub reached: bool,
}

/// A slow path in the file.
#[derive(Clone, Copy, Debug)]
pub struct SlowPath {
    /// The function.
    pub function: u64,
    /// Which it is.
    pub cold: &'static ColdPath,
}

/// What the finder found.
#[derive(Clone, Debug, Default)]
pub struct Sites {
    /// The operations, by address.
    pub sites: Vec<Site>,
    /// What may be an operation that only tries, by address.
    pub tries: Vec<Site>,
    /// The calls of slow paths, by address.
    pub cold_calls: Vec<ColdCall>,
    /// The slow paths were told by their shape: the file has no symbols.
    pub by_shape: bool,
    /// What looks like an unlock of `std`'s mutex whose wake was inlined, without a call of the kernel that was recognised.
    pub doubts: Vec<u64>,
    /// The functions in which threads wait for the kernel, and that are none of those that are known.
    pub other_waits: Vec<u64>,
    /// The slow paths.
    pub slow_paths: Vec<SlowPath>,
}

impl Sites {
    /// The self-check: how many calls of each slow path are reached from a site.
    pub fn reached(&self) -> Vec<Reached> {
        let count = |cold: &'static ColdPath| {
            let calls = self.cold_calls.iter().filter(|call| call.cold == cold);
            let of = calls.clone().count();
            Reached { function: cold.function, reached: calls.filter(|call| call.reached).count(), of }
        };
        let inlined = self.sites.iter().filter(|site| site.proof == Proof::InlinedWake).count();
        let inlined = Reached { function: "Mutex::wake, inlined", reached: inlined, of: inlined + self.doubts.len() };
        COLD_PATHS.iter().map(count).chain([inlined]).filter(|reached| reached.of > 0).collect()
    }
}
