//! Misuses of locks in sentences.

use super::phrases::Phrases;
use crate::analysis::findings::Finding;
use crate::analysis::findings::catalog::misuse::{Deed, Misuse};
use crate::model::Stacks;

pub(super) fn reason(misuse: &Misuse, finding: &Finding, phrases: &Phrases<'_>) -> String {
    let lock = phrases.lock(finding.subject.locks.first().copied().unwrap_or_default());
    let (at, taken_at) = (phrases.at(misuse.at), phrases.at(misuse.taken));
    let taken = |words: &str| match misuse.taken {
        Stacks::UNKNOWN => String::new(),
        _ => format!(", {words} in {taken_at}"),
    };
    match misuse.deed {
        Deed::TakesAgain => {
            format!("{at} takes {lock}, which the thread itself holds since {taken_at}: it waits for ever")
        }
        Deed::WritesWhatItReads => {
            format!("{at} wants to write {lock}, which the thread itself reads since {taken_at}")
        }
        Deed::ReadsWhatItWrites => {
            format!("{at} wants to read {lock}, which the thread itself writes since {taken_at}")
        }
        Deed::IsRefused => format!(
            "{at} takes {lock}, which the thread itself holds{}: it is refused (EDEADLK), and whoever does not look at \
             the answer goes on without a lock of its own",
            taken("taken")
        ),
        Deed::UnlocksAnothers => {
            format!("{at} unlocks {lock}, which another thread holds{}", taken("which was taken"))
        }
        Deed::UnlocksFree => format!("{at} unlocks {lock}, which nobody holds"),
        Deed::WaitsWithAnothers => format!(
            "{at} waits on a condition with {lock}, which another thread holds{}: the wait unlocks it",
            taken("which was taken")
        ),
        Deed::WaitsWithFree => {
            format!("{at} waits on a condition with {lock}, which nobody holds: the wait unlocks it")
        }
        Deed::DestroysHeld => format!("{at} destroys {lock} while it is held{}", taken("which was taken")),
        Deed::EndsHolding { harmless } => {
            let harmless =
                if harmless { "; nobody asked for it any more, as the process was about to end" } else { "" };
            format!("a thread ends and holds {lock} still, taken in {at}{harmless}")
        }
    }
}
