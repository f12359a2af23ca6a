//! The first lines of a summary and of a report: which lock is waited for most, who waits, and who holds it meanwhile.

use std::collections::BTreeMap;

use crate::analysis::contention::{Contention, LockReport, share};
use crate::analysis::places::{Place, user_place};
use crate::analysis::time_lost::{LEAST_NS, Scale};
use crate::analysis::{add, sum_of};
use crate::model::{Session, StackId, Stacks};
use crate::render::frames::place_label;
use crate::render::names::fit_end;
use crate::render::style::{columns, printable};
use crate::render::units::{count, duration, percent};

/// A name that is longer says no more.
const NAME_WIDTH: usize = 32;
/// Places named of each side.
const PLACES: usize = 2;

/// What the lines say.
pub struct Culprit {
    /// Whether so much time is lost that it matters.
    pub matters: bool,
    /// The lines, each no wider than asked for: the lock, who waits, who holds; one only where nothing matters.
    pub lines: Vec<String>,
}

/// The lines of a recording; `None` where no thread waited.
pub fn culprit(session: &Session, contention: &Contention, width: usize) -> Option<Culprit> {
    let all_ns = contention.contention.wait_ns;
    let scale = Scale::of(session, all_ns);
    let mut rows: Vec<&LockReport> = contention.lock_rows().filter(|row| row.contended > 0).collect();
    // Of those that are waited for equally long the first.
    rows.sort_by_key(|row| std::cmp::Reverse(row.wait.total));
    if rows.is_empty() {
        return None;
    }
    let weighed = rows.iter().take_while(|row| row.wait.total >= LEAST_NS);
    let worst = weighed.filter_map(|row| Some((*row, scale.weigh_row(row)?))).next();
    let Some((row, weight)) = worst else {
        let of_locks = || session.profile.sites.iter().filter(|site| session.lock(site.key.lock).kind.is_lock());
        let (waits, measured) =
            (sum_of(of_locks().map(|site| site.contended)), sum_of(of_locks().map(|site| site.wait.count)));
        let text = if measured < waits / 2 {
            format!("Which lock matters is not known: of {} waits, {} were measured.", count(waits), count(measured))
        } else {
            format!("No lock matters here: the waiting ({} in all threads) is little, or idle.", duration(all_ns))
        };
        return Some(Culprit { matters: false, lines: vec![fit_end(&text, width)] });
    };
    let facts = format!(
        " ({}): waited for {} ({} of all)",
        row.kind.name(),
        duration(row.wait.total),
        percent(share(row.wait.total, all_ns))
    );
    let room = width.saturating_sub(columns(&facts)).clamp(8, NAME_WIDTH);
    let mut first = format!("{}{facts}", fit_end(&printable(&row.name), room));
    let lives = format!(", {} of its threads' time", percent(weight.of_threads));
    if weight.of_threads > 0.0 && columns(&first) + columns(&lives) <= width {
        first.push_str(&lives);
    }
    let waits = row.waiters.iter().map(|waiter| (waiter.stack, waiter.wait_ns, 0, 0));
    let holds = row.holders.iter().map(|holder| (holder.stack, holder.blocked_ns, holder.acquisitions, holder.hold_ns));
    let unseen = [(Stacks::UNKNOWN, row.unattributed.wait_ns, 0, 0)];
    let lines = vec![
        fit_end(&first, width),
        side("  who waits: ", session, waits, row.wait.total, width),
        side("  who holds: ", session, holds.chain(unseen), row.wait.total, width),
    ];
    Some(Culprit { matters: true, lines })
}

/// `  who holds: flush (journal.cc:77) 96%, 5.10 ms at a time; append (journal.cc:42) 4.0%`.
fn side(
    head: &str,
    session: &Session,
    stacks: impl Iterator<Item = (StackId, u64, u64, u64)>,
    total_ns: u64,
    width: usize,
) -> String {
    let mut places: BTreeMap<Place, (u64, u64, u64)> = BTreeMap::new();
    for (stack, ns, times, held_ns) in stacks.filter(|(_, ns, ..)| *ns > 0) {
        let sum = places.entry(user_place(session, stack)).or_default();
        add(&mut sum.0, ns);
        add(&mut sum.1, times);
        add(&mut sum.2, held_ns);
    }
    let mut places: Vec<(Place, (u64, u64, u64))> = places.into_iter().collect();
    places.sort_by_key(|(_, (ns, ..))| std::cmp::Reverse(*ns));
    let known_ns = sum_of(places.iter().map(|(_, (ns, ..))| *ns));
    let mut out = head.to_owned();
    for (at, (place, (ns, times, held_ns))) in places.iter().take(PLACES).enumerate() {
        let name = match place {
            Place::Unknown => "not seen".to_owned(),
            place => place_label(session, place),
        };
        let mean = held_ns.checked_div(*times).filter(|mean| *mean > 0);
        let each = mean.map_or_else(String::new, |mean| format!(", {} at a time", duration(mean)));
        let figures = format!(" {}{each}", percent(share(*ns, total_ns.max(known_ns))));
        let between = if at > 0 { "; " } else { "" };
        let rest = places.len() - at - 1;
        let more = if rest > 0 { format!("; {} more", count(rest as u64)) } else { String::new() };
        let room = width.saturating_sub(columns(&out) + columns(between) + columns(&figures) + columns(&more));
        // Half a name says less than that there are more.
        if at > 0 && room < columns(&name) {
            return out + &format!("; {} more", count(rest as u64 + 1));
        }
        out.push_str(&format!("{between}{}{figures}", fit_end(&name, room)));
        if at + 1 == PLACES.min(places.len()) {
            out.push_str(&more);
        }
    }
    out
}
