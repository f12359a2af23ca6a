//! One sentence per lock: whom to blame for the waiting, and what usually helps.
//!
//! Rules of thumb over the counts; no claim about what the program means to do.

use std::cmp::Reverse;

use rustc_hash::FxHashMap;

use crate::analysis::contention::{Holder, LockReport, share};
use crate::analysis::places::user_place;
use crate::analysis::time_lost::Scale;
use crate::analysis::{add, sum_of};
use crate::model::Session;
use crate::render::frames::place_label;
use crate::render::names::fit_end;
use crate::render::style::printable;
use crate::render::units::{duration, percent, short_count};

/// From this share of the wait on, one holder is to blame.
const CULPRIT_SHARE: f64 = 0.5;
/// Holds shorter than this are hard to shorten: the queue comes from how often the lock is taken.
/// A sleep and a wake-up of a waiter cost several microseconds on Linux.
const SHORT_HOLD_NS: u64 = 5_000;
/// A sentence does not get easier with a longer name.
const NAME_WIDTH: usize = 40;
/// With less of the wait attributed than this, blame would be a guess.
const LEAST_ATTRIBUTED: f64 = 0.3;

/// The sentence; `None` where nobody waited for long enough to speak of.
pub fn advice(session: &Session, row: &LockReport) -> Option<String> {
    Scale::of(session, row.wait.total).weigh_row(row)?;
    let name = fit_end(&printable(&row.name), NAME_WIDTH);
    let attributed = sum_of(row.holders.iter().map(|holder| holder.blocked_ns));
    let holders = by_place(session, row);
    let (Some((place, top)), true) = (holders.first(), share(attributed, row.wait.total) >= LEAST_ATTRIBUTED) else {
        return Some(format!(
            "Who held {name} during {} of the wait could not be seen: look at the sites that take it.",
            percent(1.0 - share(attributed, row.wait.total))
        ));
    };
    let part = share(top.blocked_ns, row.wait.total);
    let mean = top.hold_ns.checked_div(top.acquisitions).unwrap_or(0);
    // Of one place alone the rest of the wait is not known: nobody shares it with that.
    if part < CULPRIT_SHARE && holders.len() > 1 {
        return Some(format!(
            "No single holder of {name} is to blame: {} places in the code share the blocking, the first of them \
             {place} with {}. Split the lock, or take it for less.",
            holders.len(),
            percent(part)
        ));
    }
    let blame = format!("{place} held {name} during {} of the wait", percent(part));
    if mean < SHORT_HOLD_NS {
        return Some(format!(
            "{blame}, but only for {} at a time, {} times: the lock is taken too often rather than held too \
             long. Batch the work, keep it per thread, or split the lock.",
            duration(mean),
            short_count(top.acquisitions)
        ));
    }
    if row.kind.has_readers() && writes(row, top) && row.read_acquisitions > row.write_acquisitions {
        return Some(format!(
            "{blame}: readers wait for this writer, {} on average. Prepare the new value before taking the \
             lock and only swap it in while holding it.",
            duration(mean)
        ));
    }
    Some(format!("{blame}, {} at a time. Move what does not need the lock out of that hold.", duration(mean)))
}

/// Who made others wait, by the place in the code that took the lock, most blocked time first: one function that
/// is called from everywhere is one culprit.
fn by_place(session: &Session, row: &LockReport) -> Vec<(String, Holder)> {
    let mut places: Vec<(String, Holder)> = Vec::new();
    let mut known: FxHashMap<String, usize> = FxHashMap::default();
    for holder in row.holders.iter().filter(|holder| holder.blocked_ns > 0) {
        let place = blamed(session, holder);
        if let Some(at) = known.get(&place) {
            let sum = &mut places[*at].1;
            add(&mut sum.acquisitions, holder.acquisitions);
            add(&mut sum.blocked_ns, holder.blocked_ns);
            add(&mut sum.hold_ns, holder.hold_ns);
        } else {
            known.insert(place.clone(), places.len());
            places.push((place, *holder));
        }
    }
    places.sort_by_key(|(_, holder)| Reverse(holder.blocked_ns));
    places
}

/// Whether the holder took the lock for writing.
fn writes(row: &LockReport, holder: &Holder) -> bool {
    use crate::model::Mode;
    row.sites.iter().any(|site| site.stack == holder.stack && site.mode == Mode::Exclusive)
}

/// The place that took the lock.
fn blamed(session: &Session, holder: &Holder) -> String {
    place_label(session, &user_place(session, holder.stack))
}
