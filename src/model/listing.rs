//! The processes of a machine, and what can be done about each.

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its number.
    pub pid: u32,
    /// Its command line; its name in brackets where it has none.
    pub command: Vec<String>,
    /// How many threads it has.
    pub threads: u32,
    /// What its program is written in.
    pub language: Language,
    /// The version of Go's toolchain, where the program says it.
    pub version: Option<String>,
    /// Whether no loader was asked for.
    pub is_static: bool,
    /// Whether it is of the kind that the recorder can be brought into: dynamic, with glibc, and not Go.
    pub is_attachable: bool,
    /// What can be done.
    pub state: ListedState,
}

/// What a program is written in, as far as its file shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Language {
    C,
    Cxx,
    Go,
    Rust,
    Unknown,
}

/// What can be done about a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListedState {
    /// It is being recorded, by this process where that is known.
    Recorded(Option<u32>),
    /// It carries the recorder asleep.
    Asleep,
    /// `where` can look at it.
    Seen,
    /// It cannot be looked at, and why.
    Refused(String),
}
