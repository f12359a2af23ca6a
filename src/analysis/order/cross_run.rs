//! Orders that were seen in different runs of a program.
//!
//! Locks of different runs are never the same lock, nor are those of a process and of what it forked: a run's
//! processes do not deadlock with each other. But a class that stands for one lock in each process (a
//! global variable, a lock made once at the start) is the same lock in the next run, and one run may then take what
//! two runs took apart. Common guard locks count, by class; what orders the threads of one run says nothing about another.

use std::collections::BTreeMap;
use std::rc::Rc;

use rustc_hash::{FxHashMap, FxHashSet};

use super::cycles::{Limits, cycles};
use super::edges::edges_of;
use super::entries::{leg_hash, legs};
use super::requests::{Requests, holds};
use super::search::{Candidate, Group};
use super::verdict::{Grounds, Verdict};
use super::{Class, Leg};
use crate::analysis::fingerprint::identities::Identities;
use crate::analysis::fingerprint::{Fnv, of_cycle};
use crate::model::lock_class::is_programs;
use crate::model::order::{ChainId, How};
use crate::model::owners::on_disk;
use crate::model::{Kind, LockId, Mode, ProcessId, Session};

/// A cycle whose legs were seen in different runs.
pub(super) struct CrossRun {
    pub fingerprint: u64,
    pub verdict: Verdict,
    pub legs: Vec<Leg>,
}

/// Work for this: less than for what was seen in one process.
const LIMITS: Limits = Limits { steps: 1_000_000, pairs: 1_000, longer: 1_000 };
/// Combinations of one cycle of classes that are looked at.
const COMBINATIONS: usize = 64;

/// A leg that was seen in some process.
struct Seen {
    group: Rc<Group>,
    candidate: Candidate,
    held_lock: LockId,
    wanted_lock: LockId,
    held: ChainId,
}

/// An edge between classes.
#[derive(Default)]
struct Edge {
    runs: FxHashSet<usize>,
    /// By the leg's part of the fingerprint.
    seen: BTreeMap<u64, Seen>,
}

/// Finds them.
pub(super) fn find(session: &Session, requests: &Requests<'_>, identities: &Identities<'_>) -> Vec<CrossRun> {
    if session.later_runs.is_empty() {
        return Vec::new();
    }
    let run = |lock: LockId| session.run_of(session.lock(lock).process);
    let single = single(session, identities);
    let programs = Programs::of(session);
    let mut edges: BTreeMap<(u64, u64), Edge> = BTreeMap::new();
    for number in 0..session.order.requests.len() as u32 {
        let Some(want) = requests.get(number).filter(|want| single.contains(&want.lock)) else { continue };
        if session.order.chains.walk(want.held).any(|link| link.lock == want.lock) {
            continue;
        }
        for edge in edges_of(session, requests, number, &want).filter(|edge| single.contains(&LockId(edge.from))) {
            let (held_lock, timed) = (LockId(edge.from), want.how == How::Timed);
            let (held, wanted) = ((held_lock, edge.held_mode), (want.lock, want.mode, timed));
            let hash = leg_hash(identities, held, wanted, (edge.held_stack, want.stack));
            let of = edges
                .entry((programs.class(identities, held_lock), programs.class(identities, want.lock)))
                .or_default();
            of.runs.insert(run(want.lock));
            of.seen.entry(hash).or_insert_with(|| Seen {
                group: Rc::new(Group {
                    hash,
                    held_mode: edge.held_mode,
                    wanted_mode: want.mode,
                    timed,
                    equivalents: Vec::new(),
                    count: want.runs.iter().fold(0, |sum, run| sum.saturating_add(run.count)),
                }),
                candidate: Candidate {
                    want: number,
                    thread: want.thread,
                    held_mode: edge.held_mode,
                    held_stack: edge.held_stack,
                },
                held_lock,
                wanted_lock: want.lock,
                held: want.held,
            });
        }
    }
    let mut nodes: Vec<u64> = edges.keys().flat_map(|(from, to)| [*from, *to]).collect();
    nodes.sort_unstable();
    nodes.dedup();
    let local = |class: u64| nodes.binary_search(&class).unwrap_or(0);
    let mut graph: Vec<Vec<u32>> = vec![Vec::new(); nodes.len()];
    edges.keys().filter(|(from, to)| from != to).for_each(|(from, to)| graph[local(*from)].push(local(*to) as u32));
    let mut found = Vec::new();
    cycles(&graph, LIMITS, |cycle| {
        let pair = |at: usize| (nodes[cycle[at] as usize], nodes[cycle[(at + 1) % cycle.len()] as usize]);
        let path: Vec<&Edge> = (0..cycle.len()).filter_map(|at| edges.get(&pair(at))).collect();
        let Some((one, rest)) = path.split_first() else { return };
        // What one run took in a circle was classified there.
        if !one.runs.iter().any(|run| rest.iter().all(|edge| edge.runs.contains(run))) {
            combine(session, requests, (identities, &single), &path, &mut found);
        }
    });
    found
}

/// Which processes run one program: by the name of its file, or by its build-id. What other programs call alike is not
/// the same lock, but a library's locks are.
struct Programs<'a> {
    session: &'a Session,
    /// The first process of the program of each.
    first: Vec<u32>,
}

impl<'a> Programs<'a> {
    fn of(session: &'a Session) -> Self {
        let build_ids: FxHashMap<&str, &[u8]> = (session.stacks.modules.iter())
            .filter(|module| !module.build_id.is_empty())
            .map(|module| (on_disk(&module.path), module.build_id.as_slice()))
            .collect();
        let mut by_name: FxHashMap<&str, u32> = FxHashMap::default();
        let mut by_build: FxHashMap<&[u8], u32> = FxHashMap::default();
        let first = (0..).zip(&session.processes).map(|(at, process)| {
            let exe = on_disk(&process.exe);
            let name = exe.rsplit('/').next().unwrap_or(exe);
            let build_id = build_ids.get(exe);
            let known = build_id.and_then(|id| by_build.get(id)).or_else(|| by_name.get(name)).copied();
            let first = known.unwrap_or(at);
            by_name.entry(name).or_insert(first);
            build_id.map(|id| by_build.entry(id).or_insert(first));
            first
        });
        Self { session, first: first.collect() }
    }

    /// A lock's class among those of all programs.
    fn class(&self, identities: &Identities<'_>, lock: LockId) -> u64 {
        let class = identities.class(lock);
        let row = self.session.lock(lock);
        match self.first.get(row.process.index()) {
            Some(first) if is_programs(&row.class) => Fnv::new().number(class).number(u64::from(*first)).end(),
            _ => class,
        }
    }
}

/// Locks whose class stands for nothing else in their process, and for the same kind in all.
fn single(session: &Session, identities: &Identities<'_>) -> FxHashSet<LockId> {
    let mut locks: FxHashMap<(ProcessId, u64), (u64, LockId)> = FxHashMap::default();
    let mut kinds: FxHashMap<u64, Option<Kind>> = FxHashMap::default();
    for (at, lock) in session.locks.iter().enumerate().filter(|(_, lock)| holds(lock)) {
        let id = LockId::from(at);
        let class = identities.class(id);
        let (count, _) = locks.entry((lock.process, class)).or_insert((0, id));
        *count = count.saturating_add(lock.merged.max(1));
        let kind = kinds.entry(class).or_insert(Some(lock.kind));
        *kind = kind.filter(|kind| *kind == lock.kind);
    }
    let alone = locks
        .into_iter()
        .filter(|((_, class), (count, _))| *count == 1 && kinds.get(class).copied().flatten().is_some());
    alone.map(|(_, (_, lock))| lock).collect()
}

/// Names, and the locks that are alone of their class.
type Known<'a> = (&'a Identities<'a>, &'a FxHashSet<LockId>);

/// Classifies the combinations of the legs that were seen.
fn combine(session: &Session, requests: &Requests<'_>, known: Known<'_>, path: &[&Edge], found: &mut Vec<CrossRun>) {
    let choices: Vec<Vec<&Seen>> = path.iter().map(|edge| edge.seen.values().collect()).collect();
    let count = choices.iter().fold(1usize, |count, seen| count.saturating_mul(seen.len())).min(COMBINATIONS);
    for number in 0..count {
        let mut rest = number;
        let chosen: Vec<&Seen> = choices
            .iter()
            .map(|seen| {
                let at = rest % seen.len();
                rest /= seen.len();
                seen[at]
            })
            .collect();
        let groups: Vec<Rc<Group>> = chosen.iter().map(|seen| seen.group.clone()).collect();
        let hashes: Vec<u64> = groups.iter().map(|group| group.hash).collect();
        let next = |at: usize| &groups[(at + 1) % groups.len()];
        let readers =
            (0..groups.len()).find(|at| groups[*at].wanted_mode == Mode::Shared && next(*at).held_mode == Mode::Shared);
        let timed = groups.iter().any(|group| group.timed);
        let guard = guard(session, known, &chosen);
        let (class, fails, grounds) = match (guard, readers) {
            (Some(lock), _) => (Class::Guarded, false, Grounds::CrossRunUnder(lock)),
            (None, Some(at)) => (Class::NeedsWriter, false, Grounds::Readers(chosen[at].wanted_lock, None)),
            (None, None) => (Class::Possible, !timed, Grounds::CrossRun),
        };
        let choice = chosen.iter().map(|seen| seen.candidate).collect();
        let verdict = Verdict { class, fails, choice, grounds, witness: Vec::new() };
        let held: Vec<LockId> = chosen.iter().map(|seen| seen.held_lock).collect();
        let legs = legs(session, requests, &verdict, &groups, &held);
        found.push(CrossRun { fingerprint: of_cycle(&hashes), verdict, legs });
    }
}

/// A class of which two legs hold a lock, not both to read. Each process has its own lock, but one run has one.
fn guard(session: &Session, (identities, single): Known<'_>, chosen: &[&Seen]) -> Option<LockId> {
    let held = |seen: &Seen| {
        let links = session.order.chains.walk(seen.held);
        let known = links.filter(|link| single.contains(&link.lock));
        known.map(|link| (identities.class(link.lock), link.mode, link.lock)).collect::<Vec<_>>()
    };
    let all: Vec<_> = chosen.iter().map(|seen| held(seen)).collect();
    for (at, one) in all.iter().enumerate() {
        for other in &all[at + 1..] {
            for (class, mode, lock) in one {
                let same = |(known, how, _): &&(u64, Mode, LockId)| {
                    known == class && (*mode, *how) != (Mode::Shared, Mode::Shared)
                };
                if other.iter().any(|link| same(&link)) {
                    return Some(*lock);
                }
            }
        }
    }
    None
}
