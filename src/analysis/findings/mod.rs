//! Findings: what is wrong at places in the code that use a lock.
//!
//! [`catalog`] has a row for each rule and the list of detectors. A detector looks at a session and adds what it saw;
//! what has one fingerprint becomes one finding here. Cycles are found by `order`, broken budgets by the gate; their
//! rules are rows of the same catalogue.

pub mod catalog;

use std::collections::BTreeMap;

use super::order::fingerprint::{Fnv, written};
use super::order::places::Places;
use crate::model::{LockId, Session, StackId, Stacks, ThreadId};

pub use catalog::{Area, Rule, Wording};

/// What one rule found about a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The rule.
    pub rule: &'static Rule,
    /// The same in every run, as a cycle's.
    pub fingerprint: String,
    /// Whether it fails the gate by default.
    pub fails: bool,
    /// The lock.
    pub lock: LockId,
    /// The thread, of the first time.
    pub thread: ThreadId,
    /// What happened: one sentence.
    pub message: String,
    /// The call stack at which it happened, and the one at which the holder had taken the lock.
    pub stacks: Vec<StackId>,
    /// How often.
    pub count: u64,
}

/// What detectors look at.
pub(super) struct Scope<'a> {
    /// The recording.
    pub session: &'a Session,
    /// Requests for a lock that its thread holds already, by their number.
    pub requested_again: &'a [u32],
    /// Names and fingerprints.
    pub places: &'a Places<'a>,
}

/// One observation of a detector.
pub(super) struct Sighting {
    pub rule: &'static Rule,
    /// Whether it fails the gate by default; mostly as the rule says.
    pub fails: bool,
    pub lock: LockId,
    pub thread: ThreadId,
    /// The place of the fingerprint comes first.
    pub stacks: Vec<StackId>,
    pub count: u64,
    pub message: String,
}

/// Findings by the position of their rule and their fingerprint.
pub(super) struct Collector<'a> {
    places: &'a Places<'a>,
    found: BTreeMap<(usize, u64), Finding>,
}

impl Collector<'_> {
    /// Adds an observation: one finding for each rule, class of the lock and place in the code.
    pub fn add(&mut self, sighting: Sighting) {
        let Sighting { rule, fails, lock, thread, stacks, count, message } = sighting;
        let site = stacks.first().copied().unwrap_or(Stacks::UNKNOWN);
        let hash = hash_of(rule, self.places.class(lock), self.places.site(site));
        let finding = self.found.entry((rule.position(), hash)).or_insert_with(|| Finding {
            rule,
            fingerprint: written(hash),
            fails,
            lock,
            thread,
            message: message.clone(),
            stacks: stacks.into_iter().filter(|stack| *stack != Stacks::UNKNOWN).collect(),
            count: 0,
        });
        finding.count = finding.count.saturating_add(count);
        if fails && !finding.fails {
            (finding.fails, finding.message) = (fails, message);
        }
    }
}

/// What all detectors find, in the order of the catalogue.
pub(super) fn find(scope: &Scope<'_>) -> Vec<Finding> {
    let mut collector = Collector { places: scope.places, found: BTreeMap::new() };
    catalog::DETECTORS.iter().for_each(|detector| detector(scope, &mut collector));
    collector.found.into_values().collect()
}

impl Finding {
    /// The fingerprint that it had before fingerprints were made without the names of files: older baselines and
    /// suppressions know it by that one.
    pub fn former_fingerprint(&self, session: &Session) -> String {
        let places = Places::new(session);
        let site = self.stacks.first().copied().unwrap_or(Stacks::UNKNOWN);
        written(hash_of(self.rule, places.former_class(self.lock), places.former_site(site)))
    }
}

fn hash_of(rule: &Rule, class: u64, site: u64) -> u64 {
    Fnv::new().bytes(rule.id.as_bytes()).number(class).number(site).end()
}
