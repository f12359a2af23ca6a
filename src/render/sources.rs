//! Source files as whoever calls a renderer found them: a renderer reads none itself.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::lock_frames::own_frames;
use crate::model::{Session, StackId};

/// A source file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// Its path; within the repository relative to its root.
    pub path: String,
    /// It belongs to the repository (or else to the current folder).
    pub inside: bool,
    /// It was changed after the recording: lines may have moved.
    pub changed: bool,
    /// Its lines.
    pub lines: Vec<String>,
}

impl Source {
    /// A line, from 1.
    pub fn line(&self, number: u32) -> Option<&str> {
        self.lines.get((number as usize).checked_sub(1)?).map(String::as_str)
    }
}

/// Source files by their path in the debug information.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    files: BTreeMap<String, Source>,
}

impl Sources {
    /// Adds a file.
    pub fn insert(&mut self, file: &str, source: Source) {
        self.files.insert(file.to_owned(), source);
    }

    /// A file, where it was found.
    pub fn get(&self, file: &str) -> Option<&Source> {
        self.files.get(file)
    }

    /// The path to show: short where the file belongs to the repository.
    pub fn path<'a>(&'a self, file: &'a str) -> &'a str {
        self.get(file).map_or(file, |source| &source.path)
    }
}

/// The files that the program's own frames of these stacks are in.
pub fn files_of(session: &Session, stacks: impl IntoIterator<Item = StackId>) -> BTreeSet<String> {
    let own = stacks.into_iter().flat_map(|stack| own_frames(&session.stacks, stack));
    own.filter(|(_, frame)| frame.line > 0).filter_map(|(_, frame)| frame.file.clone()).collect()
}
