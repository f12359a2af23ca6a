//! Findings: what is wrong with how a program uses its locks.
//!
//! [`catalog`] has a row for each rule and the list of detectors. Whatever was found is a [`Finding`], whether it is a
//! cycle in the order of locks, a misuse of one, or a broken budget; only its [`Evidence`] depends on the rule. What is
//! wrong is said here in facts: the renderers make the sentences.

pub mod budget;
pub mod catalog;
pub mod cost;

use std::collections::BTreeMap;

use super::fingerprint::identities::Identities;
use super::fingerprint::{Fnv, written};
use super::order::{self, Cycle, Note};
use crate::model::{LockId, Session, StackId, Stacks, ThreadId};

pub use budget::Breach;
pub use catalog::misuse::Misuse;
pub use catalog::{Area, Rule, Wording};
pub use cost::Cost;

/// One thing found.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The rule.
    pub rule: &'static Rule,
    /// What it is about.
    pub subject: Subject,
    /// What was seen.
    pub evidence: Evidence,
    /// Whether it fails the gate by default.
    pub severity: Severity,
    /// The same in every run, on every machine and after a rebuild that moves nothing in these functions.
    pub fingerprint: String,
    /// How often: sets of locks that form the cycle, or times.
    pub count: u64,
}

/// What a finding is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// The locks, a cycle's in its order.
    pub locks: Vec<LockId>,
    /// The threads, where they are known.
    pub threads: Vec<ThreadId>,
    /// Where it happens; one place for each leg of a cycle.
    pub at: Vec<StackId>,
    /// Where what happened before: where the lock had been taken.
    pub related: Vec<StackId>,
    /// Where other locks had been taken that were held meanwhile.
    pub also_held: Vec<StackId>,
}

impl Subject {
    /// Places that a person should look at, the best first.
    pub fn places(&self) -> impl Iterator<Item = StackId> {
        self.at.iter().chain(&self.related).copied()
    }

    /// Every place.
    pub fn stacks(&self) -> impl Iterator<Item = StackId> {
        self.places().chain(self.also_held.iter().copied())
    }
}

/// What was seen.
#[derive(Clone, Debug, PartialEq)]
pub enum Evidence {
    /// A cycle in the order of locks.
    Cycle(Box<Cycle>),
    /// A lock used as it may not be.
    Misuse(Misuse),
    /// A budget and by how much it was broken.
    Budget(Breach),
    /// A way of using a lock, and the time lost by it.
    Cost(Cost),
    /// The places of the subject, and no more: the rule's wording says what happens there.
    Places,
}

/// Whether a finding fails the gate by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It does.
    Error,
    /// It does not.
    Warning,
    /// It does not, and little depends on it.
    Note,
}

impl Severity {
    /// The one that fails, or the other.
    pub fn failing(fails: bool) -> Self {
        if fails { Self::Error } else { Self::Warning }
    }

    /// The word of the contract.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// All that was found in a recording.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Findings {
    /// Cycles, the most serious first; then what the detectors found, in the order of the catalogue; what costs time with
    /// the costliest first.
    pub list: Vec<Finding>,
    /// What a reader has to know: what was cut or not looked at.
    pub notes: Vec<Note>,
    /// Whether everything that happened was looked at.
    pub complete: bool,
}

impl Findings {
    /// The cycles.
    pub fn cycles(&self) -> impl Iterator<Item = &Cycle> {
        self.list.iter().filter_map(Finding::cycle)
    }

    /// All but cycles.
    pub fn but_cycles(&self) -> impl Iterator<Item = &Finding> {
        self.list.iter().filter(|finding| finding.cycle().is_none())
    }
}

impl Finding {
    /// Whether it fails the gate by default.
    pub fn fails(&self) -> bool {
        self.severity == Severity::Error
    }

    /// The cycle, if it is one.
    pub fn cycle(&self) -> Option<&Cycle> {
        match &self.evidence {
            Evidence::Cycle(cycle) => Some(cycle),
            _ => None,
        }
    }

    /// What it costs, if it is about time.
    pub fn cost(&self) -> Option<&Cost> {
        match &self.evidence {
            Evidence::Cost(cost) => Some(cost),
            _ => None,
        }
    }

    /// The fingerprint that it had before fingerprints were made without the names of files: older baselines and
    /// suppressions know it by that one. Budgets have none.
    pub fn former_fingerprint(&self, session: &Session) -> Option<String> {
        match &self.evidence {
            Evidence::Cycle(cycle) => Some(order::former_fingerprint(session, cycle)),
            // Those are older than these rules.
            Evidence::Budget(_) | Evidence::Cost(_) => None,
            Evidence::Misuse(_) | Evidence::Places => {
                let identities = Identities::new(session);
                let site = self.subject.places().next().unwrap_or(Stacks::UNKNOWN);
                let lock = self.subject.locks.first().copied().unwrap_or_default();
                let (class, site) = (identities.former_class(lock), identities.former_site(site));
                Some(written(hash_of(self.rule, class, site)))
            }
        }
    }
}

impl From<Cycle> for Finding {
    fn from(cycle: Cycle) -> Self {
        let legs = || cycle.legs.iter();
        let subject = Subject {
            locks: legs().map(|leg| leg.held.lock).collect(),
            threads: legs().map(|leg| leg.thread).collect(),
            at: legs().map(|leg| leg.wanted_stack).collect(),
            related: legs().map(|leg| leg.held.stack).collect(),
            also_held: legs().flat_map(|leg| &leg.also_held).map(|held| held.stack).collect(),
        };
        Self {
            rule: cycle.class.rule(),
            subject,
            severity: Severity::failing(cycle.fails),
            fingerprint: cycle.fingerprint.clone(),
            count: cycle.instances.max(1),
            evidence: Evidence::Cycle(Box::new(cycle)),
        }
    }
}

/// What detectors look at.
pub(super) struct Scope<'a> {
    /// The recording.
    pub session: &'a Session,
    /// Requests for a lock that its thread holds already, by their number.
    pub requested_again: &'a [u32],
}

/// One observation of a detector.
pub(super) struct Sighting {
    pub rule: &'static Rule,
    /// Whether it fails the gate by default; mostly as the rule says.
    pub fails: bool,
    pub lock: LockId,
    pub thread: ThreadId,
    /// Where it happened, and where the lock had been taken; the first one is part of the fingerprint.
    pub stacks: Vec<StackId>,
    pub count: u64,
    pub evidence: Evidence,
}

/// One observation of a detector that looks for what costs time.
pub(super) struct Costing {
    pub rule: &'static Rule,
    pub severity: Severity,
    /// The first one is part of the fingerprint.
    pub locks: Vec<LockId>,
    pub threads: Vec<ThreadId>,
    /// Where it happens.
    pub at: Vec<StackId>,
    /// Where others suffer from it.
    pub related: Vec<StackId>,
    /// The place is part of the fingerprint: a lock may have several such places.
    pub by_place: bool,
    pub count: u64,
    pub cost: Cost,
}

/// Findings by the position of their rule and their fingerprint.
pub(super) struct Collector<'a> {
    identities: &'a Identities<'a>,
    found: BTreeMap<(usize, u64), Finding>,
}

impl Collector<'_> {
    /// Adds an observation: one finding for each rule, class of the lock and place in the code.
    pub fn add(&mut self, sighting: Sighting) {
        let Sighting { rule, fails, lock, thread, stacks, count, evidence } = sighting;
        let site = stacks.first().copied().unwrap_or(Stacks::UNKNOWN);
        let hash = hash_of(rule, self.identities.class(lock), self.identities.site(site));
        if let Some(known) = self.found.get_mut(&(rule.position(), hash)) {
            known.count = known.count.saturating_add(count);
            if fails && !known.fails() {
                (known.severity, known.evidence) = (Severity::Error, evidence);
            }
            return;
        }
        let mut at: Vec<StackId> = stacks.into_iter().filter(|stack| *stack != Stacks::UNKNOWN).collect();
        let related = at.split_off(at.len().min(1));
        let subject = Subject { locks: vec![lock], threads: vec![thread], at, related, also_held: Vec::new() };
        let severity = Severity::failing(fails);
        let finding = Finding { rule, subject, evidence, severity, fingerprint: written(hash), count };
        self.found.insert((rule.position(), hash), finding);
    }

    /// Adds what costs time: one finding for each rule and class of the lock, and for each place where that matters.
    pub fn add_cost(&mut self, costing: Costing) {
        let Costing { rule, severity, locks, threads, at, related, by_place, count, cost } = costing;
        let place = at.first().copied().filter(|_| by_place).unwrap_or(Stacks::UNKNOWN);
        let lock = locks.first().copied().unwrap_or_default();
        let hash = hash_of(rule, self.identities.class(lock), self.identities.site(place));
        let lost = |finding: &Finding| finding.cost().map_or(0, |cost| cost.lost_ns);
        if self.found.get(&(rule.position(), hash)).is_some_and(|known| lost(known) >= cost.lost_ns) {
            return;
        }
        let subject = Subject { locks, threads, at, related, also_held: Vec::new() };
        let (evidence, fingerprint) = (Evidence::Cost(cost), written(hash));
        self.found.insert((rule.position(), hash), Finding { rule, subject, evidence, severity, fingerprint, count });
    }
}

/// Everything that is wrong in a recording; budgets are asked for one by one, see [`budget`].
pub fn find(session: &Session) -> Findings {
    let identities = Identities::new(session);
    let order::Orders { cycles, requested_again, notes, complete } = order::orders_of(session, &identities);
    let scope = Scope { session, requested_again: &requested_again };
    let mut collector = Collector { identities: &identities, found: BTreeMap::new() };
    catalog::DETECTORS.iter().for_each(|detector| detector(&scope, &mut collector));
    let mut list: Vec<Finding> = cycles.into_iter().map(Finding::from).chain(collector.found.into_values()).collect();
    list.sort_by_key(|finding| {
        (finding.rule.area, finding.cost().map(|cost| (finding.severity, std::cmp::Reverse(cost.lost_ns))))
    });
    Findings { list, notes, complete }
}

fn hash_of(rule: &Rule, class: u64, site: u64) -> u64 {
    Fnv::new().bytes(rule.id.as_bytes()).number(class).number(site).end()
}
