//! The private block of the recorder in a Rust program, which whoever put it there writes. The rings are as all programs'
//! ([`layout`](super::super::layout)).

use super::super::layout::WRITERS;

/// The block, at the head of the recorder's data. A child that was forked sees zeros in its place.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Shared {
    /// Address of the first ring, 0 where nothing may be recorded. What they have in common is
    /// [`COMMON_BYTES`](super::super::layout::COMMON_BYTES) before it.
    pub rings: u64,
    /// Bytes from one to the next.
    pub stride: u64,
    /// How many rings there are.
    pub count: u64,
    /// Bytes of a ring, less one; they are a power of two.
    pub mask: u64,
    /// A ring that holds more than this has no room for the longest record.
    pub room: u64,
    /// The greatest number of return addresses in a record.
    pub depth: u64,
    /// Address of the [rules](super::super::unwind::Rule) of the patches, by their number (`u32`).
    pub places: u64,
    /// Address of the rules of return addresses: a table of [`Return`]s.
    pub returns: u64,
    /// Entries of that table, less one; they are a power of two.
    pub returns_mask: u64,
    /// What is added to the file's addresses.
    pub base: u64,
}

/// An entry of the table of return addresses. It is where the address's hash says, or behind that.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Return {
    /// The lower half of a return address, as the file has it.
    pub address: u32,
    /// Its rule; 0 for an entry that is free.
    pub rule: u32,
}

impl Return {
    /// A table as bytes.
    pub fn bytes(table: &[Self]) -> Vec<u8> {
        table.iter().flat_map(|entry| [entry.address, entry.rule]).flat_map(u32::to_le_bytes).collect()
    }
}

/// What an address is multiplied by, for its hash: the upper bits of the lower half count.
pub const HASH: u32 = 0x9e37_79b1;
/// How many bits of the product are left out.
pub const HASH_SHIFT: u32 = 8;

/// The table of return addresses, so large that it is at most half full.
pub fn returns(rules: impl Iterator<Item = (u64, u32)> + Clone) -> Vec<Return> {
    let length = (2 * rules.clone().count()).next_power_of_two().max(2);
    let mut table = vec![Return::default(); length];
    for (address, rule) in rules.filter(|(_, rule)| *rule != 0) {
        let address = address as u32;
        let mut at = (address.wrapping_mul(HASH) >> HASH_SHIFT) as usize & (length - 1);
        while table[at].rule != 0 {
            at = (at + 1) & (length - 1);
        }
        table[at] = Return { address, rule };
    }
    table
}

const _: () = assert!(size_of::<Shared>() <= WRITERS && size_of::<Return>() == 8);
