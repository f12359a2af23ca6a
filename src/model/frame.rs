//! A frame that a person can read.

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
