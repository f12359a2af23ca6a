//! From the graph to what is reported: cycles of single locks become one entry for each fingerprint.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use rustc_hash::FxHashMap;

use super::clocks::Clocks;
use super::cycles::{Limits, cycles};
use super::edges::{CyclicEdges, Edge, reads_again};
use super::entries::{Entries, Entry, leg_hash, legs};
use super::feasibility::Feasibility;
use super::links::Links;
use super::requests::Requests;
use super::search::{Candidate, EquivalenceClass, Group, Pairs};
use super::verdict::{Classifier, Grounds, Verdict};
use super::writers::Writers;
use super::{Class, Leg};
use crate::analysis::fingerprint::identities::Identities;
use crate::analysis::fingerprint::{Fnv, of_cycle};
use crate::model::order::How;
use crate::model::{LockId, Session};

/// Collects entries.
pub(super) struct Reporter<'a> {
    session: &'a Session,
    requests: &'a Requests<'a>,
    identities: &'a Identities<'a>,
    pub classifier: Classifier<'a>,
    pub entries: Entries,
    groups: FxHashMap<(u32, u32), Rc<[Rc<Group>]>>,
    /// Entries that the component that is looked at brought.
    fresh: Vec<u64>,
    /// Classifications that are left, for the component that is looked at and for all.
    left: (u32, u32),
    /// Not all cycles of the component that is looked at were classified.
    rich: bool,
    /// Some cycles or combinations were not looked at.
    pub cut: bool,
}

impl<'a> Reporter<'a> {
    /// Work that goes into one component, and into all: about a second each, and some seconds.
    const STEPS: u64 = 5_000_000;
    const STEPS_IN_ALL: u64 = 50_000_000;
    /// Cycles of two locks of one component: more than people read, fewer than take time.
    const PAIRS: u64 = 50_000;
    /// Longer cycles of one component.
    const LONGER: u64 = 5_000;
    /// Combinations of places in the code that are looked at for one cycle of locks.
    const COMBINATIONS: usize = 128;
    /// Cycles of one component that are classified, and of all: some seconds.
    const CLASSIFICATIONS: u32 = 10_000;
    const CLASSIFICATIONS_IN_ALL: u32 = 500_000;
    /// A component that is too rich to look at all of its cycles, and whose known cycles are more than this, is reported
    /// as one entry with the most serious of them; with fewer, that one tells how many locks there are.
    const REPORTED_OF_RICH: usize = 32;
    /// Groups of edges that are remembered.
    const GROUPS: usize = 1 << 16;

    pub fn new(
        session: &'a Session,
        requests: &'a Requests<'a>,
        identities: &'a Identities<'a>,
        hard: &'a Links,
        soft: &'a Links,
    ) -> Self {
        let pairs = Pairs::new(session, requests, Clocks::new(hard), Clocks::new(soft));
        let feasibility = Feasibility::new(session, requests, soft);
        let classifier =
            Classifier { session, requests, pairs, feasibility, writers: Writers::new(session), soft: soft.soft };
        let (entries, groups) = (Entries::new(), FxHashMap::default());
        Self {
            session,
            requests,
            identities,
            classifier,
            entries,
            groups,
            fresh: Vec::new(),
            left: (0, Self::CLASSIFICATIONS_IN_ALL),
            rich: false,
            cut: false,
        }
    }

    /// All cycles of all components.
    pub fn report_all(&mut self, cyclic: &CyclicEdges) {
        let mut left = Self::STEPS_IN_ALL;
        self.cut |= cyclic.cut;
        for bounds in cyclic.starts.windows(2) {
            let edges = &cyclic.edges[bounds[0]..bounds[1]];
            self.groups.clear();
            self.component(edges, &mut left);
        }
        for number in &cyclic.own {
            self.reads_again(*number);
        }
    }

    fn component(&mut self, edges: &[Edge], left: &mut u64) {
        let mut nodes: Vec<u32> = edges.iter().flat_map(|edge| [edge.from, edge.to]).collect();
        nodes.sort_unstable();
        nodes.dedup();
        let local = |node: u32| nodes.binary_search(&node).unwrap_or(0);
        let mut graph: Vec<Vec<u32>> = vec![Vec::new(); nodes.len()];
        for edge in edges {
            let (to, targets) = (local(edge.to) as u32, &mut graph[local(edge.from)]);
            if targets.last() != Some(&to) {
                targets.push(to);
            }
        }
        let steps = Self::STEPS.min(*left);
        (self.left.0, self.rich) = (Self::CLASSIFICATIONS, false);
        self.fresh.clear();
        let limits = Limits { steps, pairs: Self::PAIRS, longer: Self::LONGER };
        let mut best: Option<((Class, bool), u64)> = None;
        let mut cycle = Vec::new();
        let (all, used) = cycles(&graph, limits, |found| {
            cycle.clear();
            cycle.extend(found.iter().map(|at| nodes[*at as usize]));
            let reported = self.report(edges, &cycle);
            best = best.into_iter().chain(reported).min();
        });
        *left = left.saturating_sub(used);
        if all && !self.rich {
            return;
        }
        self.cut = true;
        if best.is_none() {
            let found: Vec<u32> = some_cycle(&graph).iter().map(|at| nodes[*at as usize]).collect();
            best = self.report(edges, &found);
        }
        let Some((_, fingerprint)) = best else { return };
        let size = nodes.len() as u64;
        if self.fresh.len() <= Self::REPORTED_OF_RICH {
            if let Some((_, component)) = self.entries.get_mut(&(false, fingerprint)) {
                *component = (*component).max(Some(size));
            }
        } else if let Some((entry, _)) = self.entries.get(&(false, fingerprint)) {
            let mut classes: Vec<u64> = nodes
                .iter()
                .filter_map(|node| self.requests.lock_of(*node))
                .map(|lock| self.identities.class(lock))
                .collect();
            classes.sort_unstable();
            classes.dedup();
            let whole = classes.iter().fold(Fnv::new().bytes(b"component"), |hash, class| hash.number(*class));
            let (verdict, legs) = (entry.verdict.clone(), entry.legs.clone());
            self.add(true, whole.end(), verdict, Some(size), |_| legs);
            for fingerprint in self.fresh.drain(..) {
                self.entries.remove(&(false, fingerprint));
            }
        }
    }

    /// Reports a cycle of nodes. Returns the most serious rank of what is reported, with its fingerprint.
    fn report(&mut self, edges: &[Edge], cycle: &[u32]) -> Option<((Class, bool), u64)> {
        let pairs = (0..cycle.len()).map(|at| (cycle[at], cycle[(at + 1) % cycle.len()]));
        let choices: Vec<Rc<[Rc<Group>]>> = pairs.map(|(from, to)| self.groups(edges, from, to)).collect();
        let locks: Option<Vec<LockId>> =
            (0..cycle.len()).map(|at| self.requests.lock_of(cycle[(at + 1) % cycle.len()])).collect();
        let locks = locks?;
        // The lock that a leg wants is held by the next one.
        let held: Vec<LockId> = locks.iter().cycle().skip(locks.len() - 1).take(locks.len()).copied().collect();
        let count = choices.iter().fold(1usize, |count, groups| count.saturating_mul(groups.len()));
        self.cut |= count > Self::COMBINATIONS;
        let mut best: Option<((Class, bool), u64)> = None;
        for number in 0..count.min(Self::COMBINATIONS) {
            let groups = combination(&choices, number, count <= Self::COMBINATIONS);
            let hashes: Vec<u64> = groups.iter().map(|group| group.hash).collect();
            let fingerprint = of_cycle(&hashes);
            let known = self.entries.get_mut(&(false, fingerprint)).map(|(entry, _)| entry);
            if let Some(entry) = known
                && (entry.is_settled() || self.left.0 == 0 || self.left.1 == 0)
            {
                entry.instances += 1;
                best = best.into_iter().chain([(entry.verdict.rank(), fingerprint)]).min();
                self.rich |= !entry.is_settled();
                continue;
            }
            if self.left.0 == 0 || self.left.1 == 0 {
                self.rich = true;
                continue;
            }
            self.left = (self.left.0 - 1, self.left.1 - 1);
            let verdict = self.classifier.classify(&groups, &locks);
            best = best.into_iter().chain([(verdict.rank(), fingerprint)]).min();
            self.add(false, fingerprint, verdict, None, |verdict| {
                legs(self.session, self.requests, verdict, &groups, &held)
            });
        }
        best
    }

    pub fn add(
        &mut self,
        rich: bool,
        fingerprint: u64,
        verdict: Verdict,
        component: Option<u64>,
        legs: impl FnOnce(&Verdict) -> Vec<Leg>,
    ) {
        match self.entries.get_mut(&(rich, fingerprint)) {
            Some((entry, size)) => {
                entry.instances += 1;
                entry.classified += 1;
                entry.classes.insert(verdict.class);
                *size = (*size).max(component);
                if verdict.rank() < entry.verdict.rank() {
                    entry.legs = legs(&verdict);
                    entry.verdict = verdict;
                }
            }
            None => {
                let legs = legs(&verdict);
                let classes = BTreeSet::from([verdict.class]);
                let entry = Entry { verdict, legs, instances: 1, classified: 1, classes };
                self.entries.insert((rich, fingerprint), (entry, component));
                if !rich {
                    self.fresh.push(fingerprint);
                }
            }
        }
    }

    /// The requests of an edge, by what tells them apart in a fingerprint.
    fn groups(&mut self, edges: &[Edge], from: u32, to: u32) -> Rc<[Rc<Group>]> {
        if let Some(known) = self.groups.get(&(from, to)) {
            return known.clone();
        }
        if self.groups.len() >= Self::GROUPS {
            self.groups.clear();
        }
        let begin = edges.partition_point(|edge| (edge.from, edge.to) < (from, to));
        let edges = edges[begin..].iter().take_while(|edge| (edge.from, edge.to) == (from, to));
        let mut groups: BTreeMap<u64, Group> = BTreeMap::new();
        for edge in edges {
            let Some(want) = self.requests.get(edge.want) else { continue };
            let (Some(held), timed) = (self.requests.lock_of(from), want.how == How::Timed) else { continue };
            let hash = leg_hash(
                self.identities,
                (held, edge.held_mode),
                (want.lock, want.mode, timed),
                (edge.held_stack, want.stack),
            );
            let group = groups.entry(hash).or_insert_with(|| Group {
                hash,
                held_mode: edge.held_mode,
                wanted_mode: want.mode,
                timed,
                equivalents: Vec::new(),
                count: 0,
            });
            group.count = want.runs.iter().fold(group.count, |sum, run| sum.saturating_add(run.count));
            let candidate = Candidate {
                want: edge.want,
                thread: want.thread,
                held_mode: edge.held_mode,
                held_stack: edge.held_stack,
            };
            let inherited = self.classifier.pairs.guard_locks.of(want.thread);
            let class = group
                .equivalents
                .iter_mut()
                .rev()
                .find(|class| class.held == want.held && class.inherited == inherited);
            match class {
                Some(class) => class.candidates.push(candidate),
                None => {
                    group.equivalents.push(EquivalenceClass { held: want.held, inherited, candidates: vec![candidate] })
                }
            }
        }
        let groups: Rc<[Rc<Group>]> = groups.into_values().map(Rc::new).collect();
        self.groups.insert((from, to), groups.clone());
        groups
    }

    /// A reader that reads again: a cycle of one lock.
    fn reads_again(&mut self, number: u32) {
        let Some(want) = self.requests.get(number) else { return };
        let Some(link) = reads_again(self.session, &want) else { return };
        let timed = want.how == How::Timed;
        let lock = want.lock;
        let hash = leg_hash(self.identities, (lock, link.mode), (lock, want.mode, timed), (link.stack, want.stack));
        let candidate = Candidate { want: number, thread: want.thread, held_mode: link.mode, held_stack: link.stack };
        let Classifier { pairs, writers, requests, .. } = &mut self.classifier;
        let (lock, writer, fails) = writers.between(pairs, requests, &[lock], &[candidate]);
        let grounds = Grounds::Readers(lock, writer);
        let (class, choice) = (Class::NeedsWriter, vec![candidate]);
        let verdict = Verdict { class, fails: fails && !timed, choice, grounds, witness: Vec::new() };
        let count = want.runs.iter().fold(0u64, |sum, run| sum.saturating_add(run.count));
        let (held_mode, wanted_mode) = (link.mode, want.mode);
        let group = Rc::new(Group { hash, held_mode, wanted_mode, timed, equivalents: Vec::new(), count });
        self.add(false, of_cycle(&[hash]), verdict, None, |verdict| {
            legs(self.session, self.requests, verdict, &[group], &[lock])
        });
    }
}

/// One of each leg's groups. If not all combinations are looked at, each group comes up in some.
fn combination(choices: &[Rc<[Rc<Group>]>], number: usize, all: bool) -> Vec<Rc<Group>> {
    let mut rest = number;
    let mut chosen = Vec::with_capacity(choices.len());
    for (leg, groups) in choices.iter().enumerate() {
        let at = if all { rest % groups.len() } else { (number + number / groups.len() * leg) % groups.len() };
        rest /= groups.len();
        chosen.push(groups[at].clone());
    }
    chosen
}

/// Any cycle of a component in which each node has a successor.
fn some_cycle(graph: &[Vec<u32>]) -> Vec<u32> {
    let mut met = vec![u32::MAX; graph.len()];
    let mut path: Vec<u32> = Vec::new();
    let mut at = 0u32;
    loop {
        if met[at as usize] != u32::MAX {
            return path.split_off(met[at as usize] as usize);
        }
        met[at as usize] = path.len() as u32;
        path.push(at);
        let Some(next) = graph[at as usize].first() else { return Vec::new() };
        at = *next;
    }
}
