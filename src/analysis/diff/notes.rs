//! What two recordings that are compared lack.

use crate::analysis::contention;
use crate::model::Session;

/// One of two recordings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The one that is compared with.
    Old,
    /// The one that is compared.
    New,
}

/// What a recording lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Acquisitions that are lost.
    Lost {
        /// Their number.
        lost: u64,
        /// Of so many.
        acquisitions: u64,
    },
    /// What [`Coverage::not_seen`](crate::model::Coverage::not_seen) says.
    NotSeen(String),
    /// What follows the cut of its file.
    Cut,
    /// It has no lock operation.
    Everything,
}

/// What a reader of a comparison has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// One of the recordings is not complete.
    Missing(Which, Missing),
    /// The duration of a recording is unknown: nothing is scaled.
    UnknownDuration,
    /// What the filter does to the figures of either.
    Contention(contention::Note),
}

/// What is missing in two recordings that are compared.
pub(super) fn cautions(old: &Session, new: &Session) -> Vec<Note> {
    let mut notes = Vec::new();
    notes.extend(missing(old).into_iter().map(|what| Note::Missing(Which::Old, what)));
    notes.extend(missing(new).into_iter().map(|what| Note::Missing(Which::New, what)));
    notes
}

/// What is missing in a recording makes its figures lower bounds.
fn missing(session: &Session) -> Vec<Missing> {
    let seen = &session.coverage;
    let mut found = Vec::new();
    if seen.lost > 0 {
        found.push(Missing::Lost { lost: seen.lost, acquisitions: seen.acquisitions });
    }
    found.extend(seen.not_seen().map(|what| Missing::NotSeen(what.to_owned())));
    if session.meta.cut {
        found.push(Missing::Cut);
    }
    if seen.acquisitions == 0 && session.profile.sites.is_empty() {
        found.push(Missing::Everything);
    }
    found
}
