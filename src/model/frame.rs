//! A frame that a person can read.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// One function on a call stack, inlined ones included.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Frame {
    /// Demangled name; `None` where the binary has no symbol for the address.
    pub function: Option<String>,
    /// Source path as the debug information has it.
    pub file: Option<String>,
    /// Line in `file`, from 1; 0 is unknown.
    pub line: u32,
    /// Column in the line, from 1; 0 is unknown.
    pub column: u32,
    /// Whether the function was inlined into the next outer frame.
    pub inlined: bool,
}

/// The frames that a code address stands for, innermost (inlined) first. Copies share them: a tree of stacks has an
/// address many times.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Frames(Option<Arc<[Frame]>>);

impl Frames {
    /// The same for copies of one list while it lives; lists that were made apart differ, however equal they are.
    pub fn identity(&self) -> usize {
        self.0.as_ref().map_or(0, |frames| frames.as_ptr().addr())
    }
}

impl Deref for Frames {
    type Target = [Frame];

    fn deref(&self) -> &[Frame] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl From<Vec<Frame>> for Frames {
    fn from(frames: Vec<Frame>) -> Self {
        Self((!frames.is_empty()).then(|| frames.into()))
    }
}

impl<'a> IntoIterator for &'a Frames {
    type Item = &'a Frame;
    type IntoIter = std::slice::Iter<'a, Frame>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Debug for Frames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}
