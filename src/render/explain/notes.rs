//! What a reader of counts, or of a comparison, has to know about the figures.

use crate::analysis::contention::Note;
use crate::analysis::diff::{self, Missing, Which};

/// Of a view of one recording.
pub fn contention(note: Note) -> String {
    match note {
        Note::NoSuchThread => "no thread of the recording has such a name: `--by thread` lists them".into(),
        Note::SomeOfAllThreads => {
            "counts, totals and the longest wait are those of the chosen threads; the quantiles and the \
             maximum of the holds, failed tries and timeouts are those of all threads"
                .into()
        }
        Note::WaitsLeftOut(waits) => {
            format!("the quantiles of the waits leave out {waits} waits that were not kept one by one")
        }
    }
}

/// Of a comparison.
pub fn comparison(note: &diff::Note) -> String {
    let (which, missing) = match note {
        diff::Note::Missing(Which::Old, missing) => ("OLD", missing),
        diff::Note::Missing(Which::New, missing) => ("NEW", missing),
        diff::Note::UnknownDuration => {
            return "the duration of a recording is unknown, so totals are compared as they are".into();
        }
        diff::Note::Contention(note) => return contention(*note),
    };
    match missing {
        Missing::Lost { lost, acquisitions } => format!(
            "{which} is incomplete: {lost} of {acquisitions} acquisitions are lost, so its figures are lower bounds"
        ),
        Missing::NotSeen(what) => format!("{which} is incomplete: {what}"),
        Missing::Cut => {
            format!("{which} is incomplete: its file was cut short, and what follows the cut is not compared")
        }
        Missing::Everything => format!("{which} has no lock operation in it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_sentences() {
        assert!(contention(Note::NoSuchThread).contains("--by thread"));
        assert!(comparison(&diff::Note::UnknownDuration).contains("duration"));
        let lost = diff::Note::Missing(Which::Old, Missing::Lost { lost: 7, acquisitions: 9 });
        assert!(comparison(&lost).starts_with("OLD is incomplete: 7 of 9"));
        assert!(comparison(&diff::Note::Missing(Which::New, Missing::Cut)).starts_with("NEW is incomplete"));
    }
}
