//! What is told: cycles with one fingerprint, written out.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use rustc_hash::FxHashMap;

use super::fingerprint::{Fnv, smallest_rotation, written};
use super::places::Places;
use super::reason::Words;
use super::search::{Group, Pairs};
use super::verdict::Verdict;
use super::wants::Wants;
use super::{Class, Cycle, Held, Side};
use crate::model::{LockId, Mode, Session, StackId};

/// What is told of cycles with one fingerprint.
pub(super) struct Entry {
    pub verdict: Verdict,
    pub sides: Vec<Side>,
    pub instances: u64,
    pub judged: u32,
    /// Classes of all that were judged.
    pub classes: BTreeSet<Class>,
}

/// Entries by fingerprint, those of components too rich to tell apart from the others.
pub(super) type Entries = BTreeMap<(bool, u64), (Entry, Option<u64>)>;

/// Cycles of one fingerprint that are judged once no order was found that rules one out.
const JUDGED: u32 = 6;

impl Entry {
    /// Whether nothing more serious can be, or has to be, looked for.
    pub fn is_settled(&self) -> bool {
        self.verdict.class <= Class::Feasible || self.verdict.class == Class::Possible && self.judged >= JUDGED
    }
}

/// The cycles, the most serious first.
pub(super) fn written_out(session: &Session, places: &Places<'_>, pairs: &Pairs<'_>, entries: &Entries) -> Vec<Cycle> {
    let heat = Heat::new(session, entries.values().map(|(entry, _)| entry));
    let words = Words { session, places };
    let Pairs { must, soft, .. } = pairs;
    let mut told: Vec<(Vec<String>, Cycle)> = Vec::new();
    for ((_, fingerprint), (entry, component)) in entries {
        let Entry { verdict, sides, instances, .. } = entry;
        let mut reason = words.reason(verdict, sides, must, soft);
        let others: Vec<&str> =
            entry.classes.iter().filter(|class| **class != verdict.class).map(|class| class.name()).collect();
        if !others.is_empty() {
            reason.push_str(&format!("; other sets of locks like these are {}", others.join(" or ")));
        }
        if let Some(locks) = component {
            reason = format!(
                "{locks} locks are taken in so many orders that not every cycle is told; of this one: {reason}"
            );
        }
        let cycle = Cycle {
            fingerprint: written(*fingerprint),
            class: verdict.class,
            hang: None,
            fails: verdict.fails,
            reason,
            advice: words.advice(verdict, sides),
            sides: sides.clone(),
            witness: verdict.witness.clone(),
            instances: *instances,
            component: *component,
            heat: heat.of(sides),
        };
        told.push((sides.iter().map(|side| places.lock(side.held.lock)).collect(), cycle));
    }
    told.sort_by(|(names, a), (other, b)| {
        let key = |cycle: &Cycle| (cycle.class, !cycle.fails, cycle.sides.len());
        key(a).cmp(&key(b)).then_with(|| names.cmp(other)).then_with(|| a.fingerprint.cmp(&b.fingerprint))
    });
    told.into_iter().map(|(_, cycle)| cycle).collect()
}

/// A side's part of a fingerprint.
pub(super) fn side_hash(
    places: &Places<'_>,
    held: (LockId, Mode),
    wanted: (LockId, Mode, bool),
    stacks: (StackId, StackId),
) -> u64 {
    let classes = (places.class(held.0), places.class(wanted.0));
    hash_of(classes, (held.1, wanted.1, wanted.2), (places.site(stacks.0), places.site(stacks.1)))
}

/// The same as older baselines know it.
pub(super) fn former_side_hash(places: &Places<'_>, side: &Side) -> u64 {
    let classes = (places.former_class(side.held.lock), places.former_class(side.wanted));
    let sites = (places.former_site(side.held.stack), places.former_site(side.wanted_stack));
    hash_of(classes, (side.held.mode, side.wanted_mode, side.timed), sites)
}

fn hash_of(classes: (u64, u64), (held, wanted, timed): (Mode, Mode, bool), sites: (u64, u64)) -> u64 {
    let mode = |mode: Mode| if mode == Mode::Shared { b"shared\0".as_slice() } else { b"exclusive\0" };
    Fnv::new()
        .number(classes.0)
        .bytes(mode(held))
        .number(classes.1)
        .bytes(mode(wanted))
        .bytes(if timed { b"timed\0" } else { b"\0" })
        .number(sites.0)
        .number(sites.1)
        .end()
}

/// The sides of a verdict, in the order of the fingerprint.
pub(super) fn sides(
    session: &Session,
    wants: &Wants<'_>,
    verdict: &Verdict,
    groups: &[Rc<Group>],
    held: &[LockId],
) -> Vec<Side> {
    let hashes: Vec<u64> = groups.iter().map(|group| group.hash).collect();
    let start = smallest_rotation(&hashes);
    let count = groups.len();
    let turned = (0..count).map(|at| (start + at) % count);
    turned
        .filter_map(|at| {
            let candidate = verdict.choice.get(at)?;
            let want = wants.get(candidate.want)?;
            let lock = *held.get(at)?;
            let held = Held { lock, mode: candidate.held_mode, stack: candidate.held_stack };
            let mut also_held: Vec<Held> = session
                .order
                .chains
                .walk(want.held)
                .map(|link| Held { lock: link.lock, mode: link.mode, stack: link.stack })
                .collect();
            if let Some(at) = also_held.iter().position(|other| *other == held) {
                also_held.remove(at);
            }
            also_held.reverse();
            Some(Side {
                thread: want.thread,
                held,
                wanted: want.lock,
                wanted_mode: want.mode,
                wanted_stack: want.stack,
                also_held,
                count: groups[at].count,
                timed: groups[at].timed,
                reacquired: want.reacquired,
            })
        })
        .collect()
}

/// How long the locks of cycles were waited for and held.
struct Heat(FxHashMap<LockId, (u64, u64)>);

impl Heat {
    fn new<'e>(session: &Session, entries: impl Iterator<Item = &'e Entry>) -> Self {
        let sides = entries.flat_map(|entry| &entry.sides);
        let mut locks: FxHashMap<LockId, (u64, u64)> =
            sides.flat_map(|side| [side.held.lock, side.wanted]).map(|lock| (lock, (0, 0))).collect();
        if !locks.is_empty() {
            for site in &session.profile.sites {
                if let Some((wait, hold)) = locks.get_mut(&site.key.lock) {
                    *wait = wait.saturating_add(site.wait.sum);
                    *hold = hold.saturating_add(site.hold.sum);
                }
            }
        }
        Self(locks)
    }

    /// The waits for all locks, and the time that each of them was held at least: what all sides have to share.
    fn of(&self, sides: &[Side]) -> f64 {
        let known = || sides.iter().filter_map(|side| self.0.get(&side.held.lock));
        let waits = known().fold(0u64, |sum, (wait, _)| sum.saturating_add(*wait));
        let hold = known().map(|(_, hold)| *hold).min().unwrap_or(0);
        waits as f64 + hold as f64
    }
}
