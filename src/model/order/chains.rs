//! Lists of held locks as a tree, as call stacks are: each list is a lock and the list below it.

use rustc_hash::FxHashMap;

use crate::model::ids::{LockId, StackId};
use crate::model::profile::Mode;

/// A list of held locks; `ChainId(0)` is the empty one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ChainId(pub u32);

impl ChainId {
    /// Nothing is held.
    pub const EMPTY: Self = Self(0);

    /// The position in the table.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A held lock and what was held before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Link {
    /// Taken earlier.
    pub outer: ChainId,
    /// The lock.
    pub lock: LockId,
    /// How it is held.
    pub mode: Mode,
    /// Where it was taken.
    pub stack: StackId,
}

/// All lists of held locks of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chains {
    links: Vec<Link>,
    index: FxHashMap<Link, ChainId>,
}

impl Chains {
    /// Lists that are kept.
    pub const MOST: usize = 4 << 20;

    /// The list with this lock on top.
    pub fn intern(&mut self, link: Link) -> ChainId {
        *self.index.entry(link).or_insert_with(|| {
            self.links.push(link);
            ChainId(u32::try_from(self.links.len()).expect("fewer than 2^32 lists of held locks"))
        })
    }

    /// The same; `None` where it is new and there are too many.
    pub fn try_intern(&mut self, link: Link) -> Option<ChainId> {
        if self.links.len() < Self::MOST { Some(self.intern(link)) } else { self.index.get(&link).copied() }
    }

    /// The list with this lock on top, where there is one.
    pub fn find(&self, link: &Link) -> Option<ChainId> {
        self.index.get(link).copied()
    }

    /// Number of lists but the empty one.
    pub fn len(&self) -> usize {
        self.links.len()
    }

    /// Whether there is none but the empty one.
    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// All links; list n + 1 is at position n.
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// The locks of a list, the one taken last first.
    pub fn walk(&self, chain: ChainId) -> impl Iterator<Item = &Link> + '_ {
        let mut at = chain;
        core::iter::from_fn(move || {
            let link = self.links.get(at.index().checked_sub(1)?)?;
            at = link.outer;
            Some(link)
        })
    }
}
