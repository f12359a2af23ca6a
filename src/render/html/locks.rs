//! The rows of the page with their stacks: all of them where there is room, else those with the most waiting. What is
//! left out is counted.

use std::cmp::Reverse;

use rustc_hash::FxHashMap;

use super::data::{Left, Lock};
use super::stacks::Builder;
use crate::analysis::blame::{Pair, pairs};
use crate::analysis::contention::{Contention, Durations, LockReport, lock_name, lock_sums};
use crate::analysis::histograms::{self, Spreads};
use crate::analysis::{add, names};
use crate::model::histogram::bucket_low;
use crate::model::{Histogram, Origin, Session, StackId, Stacks};
use crate::render::explain::contention::advice;
use crate::render::frames::headline;
use crate::render::style::printable;

/// Rows of lock kinds, and of others.
const MOST_ROWS: [usize; 2] = [1_500, 500];
/// Bytes that stacks and what refers to them may take: a page stays well below 5 MB.
const BUDGET: usize = 2_500_000;
/// Bytes of an entry beside its stack: some numbers.
const ENTRY_BYTES: usize = 40;
/// Entries of each list of a lock that come before all longer lists.
const FIRST: usize = 3;
/// Locks that are listed of a row that stands for several, and of all rows together.
const MEMBERS: usize = 50;
const MOST_MEMBERS: usize = 4_000;
/// Letters of a lock's name.
const NAME_WIDTH: usize = 300;

/// Something that may or may not fit: a waiter, a holder, or a pair of them.
#[derive(Clone, Copy)]
enum Part<'a> {
    Waiter(usize),
    Holder(usize),
    Pair(&'a Pair),
}

/// The rows of the view that the page shows.
pub(super) struct Shown {
    /// Indexes of [`Contention::locks`].
    rows: Vec<usize>,
    place: FxHashMap<usize, usize>,
}

impl Shown {
    /// The first rows of the lock kinds, and of the others.
    pub fn of(contention: &Contention) -> Self {
        let (locks, others): (Vec<usize>, Vec<usize>) =
            (0..contention.locks.len()).partition(|row| contention.locks[*row].kind.is_lock());
        let first = |rows: Vec<usize>, most: usize| rows.into_iter().take(most);
        let rows: Vec<usize> = first(locks, MOST_ROWS[0]).chain(first(others, MOST_ROWS[1])).collect();
        let place = rows.iter().enumerate().map(|(place, row)| (*row, place)).collect();
        Self { rows, place }
    }

    /// Where the page has a row.
    pub fn place(&self, row: usize) -> Option<usize> {
        self.place.get(&row).copied()
    }
}

struct Candidate<'a> {
    /// The lock's place in the page.
    place: usize,
    row: &'a LockReport,
    /// Its place in the list of its lock.
    rank: usize,
    ns: u64,
    part: Part<'a>,
}

/// The shown rows of the view.
pub(super) fn locks(session: &Session, contention: &Contention, shown: &Shown, stacks: &mut Builder<'_>) -> Vec<Lock> {
    let spreads = histograms::of_rows(session, contention);
    let mut locks: Vec<Lock> =
        (shown.rows.iter()).map(|row| lock(session, &contention.locks[*row], &spreads[*row])).collect();
    let pairs = pairs(session, contention);
    let mut entries = 0;
    for candidate in candidates(contention, shown, &pairs) {
        let row = candidate.row;
        let used: [StackId; 2] = match candidate.part {
            Part::Waiter(at) => [row.waiters[at].stack, Stacks::UNKNOWN],
            Part::Holder(at) => [row.holders[at].stack, Stacks::UNKNOWN],
            Part::Pair(pair) => [pair.waiter, pair.holder],
        };
        let cost: usize = used.iter().map(|stack| stacks.cost(*stack)).sum();
        let fits = stacks.bytes() + entries + cost + ENTRY_BYTES <= BUDGET;
        if fits {
            entries += ENTRY_BYTES;
        }
        place(&mut locks[candidate.place], row, candidate.part, fits.then_some(&mut *stacks));
    }
    members(session, contention, shown, &mut locks);
    locks
}

/// The first of each list, then the others, the longest time first.
fn candidates<'a>(contention: &'a Contention, shown: &Shown, pairs: &'a [Pair]) -> Vec<Candidate<'a>> {
    let mut candidates = Vec::new();
    for (place, row) in shown.rows.iter().map(|row| &contention.locks[*row]).enumerate() {
        for (rank, waiter) in row.waiters.iter().enumerate() {
            candidates.push(Candidate { place, row, rank, ns: waiter.wait_ns, part: Part::Waiter(rank) });
        }
        for (rank, holder) in row.holders.iter().enumerate().filter(|(_, holder)| holder.count > 0) {
            candidates.push(Candidate { place, row, rank, ns: holder.blocked_ns, part: Part::Holder(rank) });
        }
    }
    let mut ranks: FxHashMap<usize, usize> = FxHashMap::default();
    for pair in pairs {
        let Some(place) = shown.place(pair.row) else { continue };
        let rank = ranks.entry(place).or_default();
        let row = &contention.locks[pair.row];
        candidates.push(Candidate { place, row, rank: *rank, ns: pair.wait_ns, part: Part::Pair(pair) });
        *rank += 1;
    }
    candidates.sort_by_key(|candidate| (candidate.rank >= FIRST, Reverse(candidate.ns), candidate.place));
    candidates
}

/// Puts a part into its list, or counts it where there is no room for its stacks.
fn place(lock: &mut Lock, row: &LockReport, part: Part<'_>, stacks: Option<&mut Builder<'_>>) {
    match (part, stacks) {
        (Part::Waiter(at), Some(stacks)) => {
            let waiter = &row.waiters[at];
            lock.waiters.push((stacks.node(waiter.stack), waiter.count, waiter.wait_ns));
        }
        (Part::Waiter(at), None) => leave(&mut lock.waiters_left, row.waiters[at].count, row.waiters[at].wait_ns),
        (Part::Holder(at), Some(stacks)) => {
            let holder = &row.holders[at];
            let node = stacks.node(holder.stack);
            let (blocked, longest) = (holder.blocked_ns, holder.longest_ns);
            lock.holders.push((node, holder.count, blocked, longest, holder.hold_ns, holder.acquisitions));
        }
        (Part::Holder(at), None) => leave(&mut lock.holders_left, row.holders[at].count, row.holders[at].blocked_ns),
        (Part::Pair(pair), Some(stacks)) => {
            let (waiter, holder) = (stacks.node(pair.waiter), stacks.node(pair.holder));
            lock.pairs.push((waiter, holder, pair.count, pair.wait_ns));
        }
        (Part::Pair(pair), None) => leave(&mut lock.pairs_left, pair.count, pair.wait_ns),
    }
}

fn leave(left: &mut Left, count: u64, ns: u64) {
    add(&mut left.0, 1);
    add(&mut left.1, count);
    add(&mut left.2, ns);
}

fn lock(session: &Session, row: &LockReport, spread: &Spreads) -> Lock {
    let first = row.members.first().map(|id| session.lock(*id)).filter(|lock| lock.origin_stack != Stacks::UNKNOWN);
    let origin = first.map(|lock| {
        let verb = if lock.origin == Origin::Initialised { "initialised" } else { "first taken" };
        format!("{verb} in {}", headline(session, lock.origin_stack))
    });
    let is_of_one =
        session.processes.len() > 1 && row.members.iter().all(|lock| session.lock(*lock).process == row.process);
    Lock {
        id: row.id.clone(),
        name: names::fit_end(&printable(&row.name), NAME_WIDTH),
        kind: row.kind.name(),
        is_lock: row.kind.is_lock(),
        pid: is_of_one.then(|| session.process(row.process).pid),
        stands_for: row.stands_for,
        origin,
        acquisitions: row.acquisitions,
        reads: row.read_acquisitions,
        contended: row.contended,
        try_failures: row.try_failures,
        timeouts: row.timeouts,
        still_held: row.still_held,
        max_waiters: row.max_waiters,
        wait: figures(row.wait),
        hold: figures(row.hold),
        wait_bins: bins(&spread.wait),
        hold_bins: bins(&spread.hold),
        advice: row.kind.is_lock().then(|| advice(session, row)).flatten(),
        waiters: Vec::new(),
        waiters_left: Left::default(),
        holders: Vec::new(),
        holders_left: Left::default(),
        unseen: (row.unattributed.count, row.unattributed.wait_ns),
        pairs: Vec::new(),
        pairs_left: Left::default(),
        members: Vec::new(),
    }
}

/// Puts the locks of each row that stands for several into it, as far as there is room.
fn members(session: &Session, contention: &Contention, shown: &Shown, locks: &mut [Lock]) {
    let of_lock = lock_sums(session);
    let mut room = MOST_MEMBERS;
    for (lock, row) in locks.iter_mut().zip(shown.rows.iter().map(|row| &contention.locks[*row])) {
        if row.members.len() < 2 || row.id.starts_with('L') {
            continue;
        }
        let taken = row.members.iter().take(MEMBERS.min(room));
        lock.members = taken
            .map(|id| {
                let sums = of_lock.get(id).cloned().unwrap_or_default();
                let name = names::fit_end(&printable(&lock_name(session, *id)), NAME_WIDTH);
                (sums.id, name, sums.acquisitions, sums.contended, sums.wait_ns, sums.hold_ns)
            })
            .collect();
        room -= lock.members.len();
    }
}

fn figures(durations: Durations) -> [u64; 6] {
    let Durations { total, mean, p50, p90, p99, max } = durations;
    [total, mean, p50, p90, p99, max]
}

/// Counts by half octaves: bin 0 is 0 ns, bin 2e+1 begins at 2^e ns, bin 2e+2 at 1.5 · 2^e ns. Every bucket of a
/// histogram lies in one of them.
fn bins(histogram: &Histogram) -> Vec<(u32, u64)> {
    let mut bins: Vec<(u32, u64)> = Vec::new();
    for (bucket, count) in histogram.buckets() {
        let low = bucket_low(bucket);
        let bin = low.checked_ilog2().map_or(0, |octave| {
            let upper_half = octave > 0 && low >> (octave - 1) & 1 == 1;
            2 * octave + 1 + u32::from(upper_half)
        });
        match bins.last_mut() {
            Some((last, sum)) if *last == bin => add(sum, count),
            _ => bins.push((bin, count)),
        }
    }
    bins
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::Query;
    use crate::analysis::testing::{busy, server};

    #[test]
    fn half_octaves() {
        let mut histogram = Histogram::default();
        for value in [0, 1, 2, 3, 4, 5, 6, 7, 8, 1023, 1024, 1535, 1536, 2047, 2048] {
            histogram.record(value);
        }
        let want = [(0, 1), (1, 1), (3, 1), (4, 1), (5, 2), (6, 2), (7, 1), (20, 1), (21, 2), (22, 2), (23, 1)];
        assert_eq!(bins(&histogram), want);
        assert_eq!(bins(&Histogram::default()), []);
    }

    #[test]
    fn lists_and_what_is_left_out_have_the_sums_of_the_report() {
        for session in [server(), busy()] {
            let view = Contention::of(&session, &Query::default());
            let mut stacks = Builder::new(&session);
            let shown = Shown::of(&view);
            for (lock, row) in locks(&session, &view, &shown, &mut stacks).iter().zip(&view.locks) {
                let waits = |list: &[(u32, u64, u64)]| list.iter().map(|entry| entry.2).sum::<u64>();
                assert_eq!(waits(&lock.waiters) + lock.waiters_left.2, row.wait.total, "{}", row.name);
                if row.kind.is_lock() {
                    let blocked: u64 = lock.holders.iter().map(|holder| holder.2).sum();
                    assert_eq!(blocked + lock.unseen.1 + lock.holders_left.2, row.wait.total, "{}", row.name);
                    let pairs: u64 = lock.pairs.iter().map(|pair| pair.3).sum();
                    assert_eq!(pairs + lock.pairs_left.2, row.wait.total, "{}", row.name);
                }
            }
        }
    }
}
