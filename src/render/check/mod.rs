//! A verdict of the gate: for people, and in the forms that CI systems read.
//!
//! Pure as all of this room: source lines come in as [`Sources`], and so does everything about the machine.

mod diagnostic;
pub mod github;
mod junit;
mod markdown;
mod sarif;
mod snippet;
mod text;
mod witness;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::sources::{Sources, files_of};
use super::style::Layout;
use crate::gate::{Entry, Verdict};
use crate::model::Session;

pub use junit::junit;
pub use markdown::markdown;
pub use sarif::{Run, sarif};
pub use text::{Options, answer, text};

/// The source files that the text shows, each with the earliest start of a recording that knows it (ns since 1970).
pub fn wanted_sources(verdict: &Verdict<'_>) -> BTreeMap<String, u64> {
    let mut wanted: BTreeMap<String, u64> = BTreeMap::new();
    for entry in &verdict.entries {
        let session: &Session = entry.recording.session;
        for file in files_of(session, entry.finding.subject.stacks()) {
            let started = session.meta.started_unix_ns;
            wanted.entry(file).and_modify(|first| *first = (*first).min(started)).or_insert(started);
        }
    }
    wanted
}

/// An entry in full without colours, for forms that carry plain text.
pub(crate) fn plain(entry: &Entry<'_>, sources: &Sources) -> String {
    diagnostic::diagnostic(entry, sources, &Layout { color: false, width: PLAIN_WIDTH })
}

/// One entry in full, without source lines.
pub fn entry_text(entry: &Entry<'_>, layout: &Layout) -> String {
    diagnostic::diagnostic(entry, &Sources::default(), layout)
}

/// Columns of plain text in other forms.
const PLAIN_WIDTH: usize = 100;

/// Text for XML: no markup, and no character that XML forbids.
pub(super) fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
