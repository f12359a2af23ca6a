//! What is reported: cycles with one fingerprint, written out.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use rustc_hash::FxHashMap;

use super::cause::resolve;
use super::requests::Requests;
use super::search::{Group, Pairs};
use super::verdict::Verdict;
use super::{Class, Cycle, Held, Leg};
use crate::analysis::fingerprint::identities::Identities;
use crate::analysis::fingerprint::{Fnv, smallest_rotation, written};
use crate::model::{LockId, Mode, Session, StackId};

/// What is reported of cycles with one fingerprint.
pub(super) struct Entry {
    pub verdict: Verdict,
    pub legs: Vec<Leg>,
    pub instances: u64,
    pub classified: u32,
    /// Classes of all that were classified.
    pub classes: BTreeSet<Class>,
}

/// Entries by fingerprint, those of components too rich to tell apart from the others.
pub(super) type Entries = BTreeMap<(bool, u64), (Entry, Option<u64>)>;

/// Cycles of one fingerprint that are classified once no order was found that rules one out.
const CLASSIFIED: u32 = 6;

impl Entry {
    /// Whether nothing more serious can be, or has to be, looked for.
    pub fn is_settled(&self) -> bool {
        self.verdict.class <= Class::Feasible || self.verdict.class == Class::Possible && self.classified >= CLASSIFIED
    }
}

/// The cycles, the most serious first.
pub(super) fn written_out(
    session: &Session,
    identities: &Identities<'_>,
    pairs: &Pairs<'_>,
    entries: &Entries,
) -> Vec<Cycle> {
    let score = Scores::new(session, entries.values().map(|(entry, _)| entry));
    let Pairs { hard, soft, .. } = pairs;
    let mut reported: Vec<(Vec<String>, Cycle)> = Vec::new();
    for ((_, fingerprint), (entry, component)) in entries {
        let Entry { verdict, legs, instances, .. } = entry;
        let cycle = Cycle {
            fingerprint: written(*fingerprint),
            class: verdict.class,
            fails: verdict.fails,
            cause: resolve(session, verdict, hard, soft),
            other_classes: entry.classes.iter().copied().filter(|class| *class != verdict.class).collect(),
            legs: legs.clone(),
            witness: verdict.witness.clone(),
            instances: *instances,
            component: *component,
            score: score.of(legs),
            foreseen: None,
        };
        reported.push((legs.iter().map(|leg| identities.sort_key(leg.held.lock)).collect(), cycle));
    }
    reported.sort_by(|(names, a), (other, b)| {
        let key = |cycle: &Cycle| (cycle.class, !cycle.fails, cycle.legs.len());
        key(a).cmp(&key(b)).then_with(|| names.cmp(other)).then_with(|| a.fingerprint.cmp(&b.fingerprint))
    });
    reported.into_iter().map(|(_, cycle)| cycle).collect()
}

/// A leg's part of a fingerprint.
pub(super) fn leg_hash(
    identities: &Identities<'_>,
    held: (LockId, Mode),
    wanted: (LockId, Mode, bool),
    stacks: (StackId, StackId),
) -> u64 {
    let classes = (identities.class(held.0), identities.class(wanted.0));
    hash_of(classes, (held.1, wanted.1, wanted.2), (identities.site(stacks.0), identities.site(stacks.1)))
}

/// The same as older baselines know it.
pub(super) fn former_leg_hash(identities: &Identities<'_>, leg: &Leg) -> u64 {
    let classes = (identities.former_class(leg.held.lock), identities.former_class(leg.wanted));
    let sites = (identities.former_site(leg.held.stack), identities.former_site(leg.wanted_stack));
    hash_of(classes, (leg.held.mode, leg.wanted_mode, leg.timed), sites)
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

/// The legs of a verdict, in the order of the fingerprint.
pub(super) fn legs(
    session: &Session,
    requests: &Requests<'_>,
    verdict: &Verdict,
    groups: &[Rc<Group>],
    held: &[LockId],
) -> Vec<Leg> {
    let hashes: Vec<u64> = groups.iter().map(|group| group.hash).collect();
    let start = smallest_rotation(&hashes);
    let count = groups.len();
    let turned = (0..count).map(|at| (start + at) % count);
    turned
        .filter_map(|at| {
            let candidate = verdict.choice.get(at)?;
            let want = requests.get(candidate.want)?;
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
            Some(Leg {
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
struct Scores(FxHashMap<LockId, (u64, u64)>);

impl Scores {
    fn new<'e>(session: &Session, entries: impl Iterator<Item = &'e Entry>) -> Self {
        let legs = entries.flat_map(|entry| &entry.legs);
        let mut locks: FxHashMap<LockId, (u64, u64)> =
            legs.flat_map(|leg| [leg.held.lock, leg.wanted]).map(|lock| (lock, (0, 0))).collect();
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

    /// The waits for all locks, and the time that each of them was held at least: what all legs have to share.
    fn of(&self, legs: &[Leg]) -> f64 {
        let known = || legs.iter().filter_map(|leg| self.0.get(&leg.held.lock));
        let waits = known().fold(0u64, |sum, (wait, _)| sum.saturating_add(*wait));
        let hold = known().map(|(_, hold)| *hold).min().unwrap_or(0);
        waits as f64 + hold as f64
    }
}
