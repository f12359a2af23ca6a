//! `--max-wait` and `--max-hold`: how long a lock may be waited for, or held, once.
//!
//! Nobody knows a program's budgets but who asks for them, so they are not among the detectors.

use rustc_hash::FxHashSet;

use super::catalog::{MAX_HOLD, MAX_WAIT};
use super::{Evidence, Finding, Rule, Severity, Subject};
use crate::analysis::Glob;
use crate::analysis::contention::{Contention, LockReport};
use crate::model::{LockId, Session, StackId, ThreadId};

/// What a budget is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// The longest single wait.
    Wait,
    /// The longest single hold.
    Hold,
}

impl Measure {
    /// Its row in the catalogue.
    pub fn rule(self) -> &'static Rule {
        match self {
            Self::Wait => &MAX_WAIT,
            Self::Hold => &MAX_HOLD,
        }
    }

    /// The option's name, without its dashes.
    pub fn name(self) -> &'static str {
        let Rule { id, .. } = self.rule();
        id
    }
}

/// A limit for locks of some name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// What may not take longer.
    pub measure: Measure,
    /// Which locks: their name or id.
    pub locks: Glob,
    /// The limit, ns.
    pub limit_ns: u64,
}

/// A budget that was broken, at its worst.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// The budget.
    pub budget: Budget,
    /// The lock.
    pub lock: LockId,
    /// How long it took, ns.
    pub measured_ns: u64,
    /// Who waited or held it.
    pub stack: StackId,
    /// The thread, where it is known.
    pub thread: Option<ThreadId>,
    /// Of a wait: the stack that held the lock meanwhile, where it is known.
    pub holder: Option<StackId>,
}

impl Budget {
    fn matches(&self, row: &LockReport) -> bool {
        self.locks.matches_lock(&row.name) || self.locks.matches(&row.id)
    }

    /// Whether a lock of this name was seen.
    pub fn covers(&self, view: &Contention) -> bool {
        view.lock_rows().any(|row| self.matches(row))
    }

    /// The worst breach. Kinds that are not locks are not looked at: a worker that waits for work is idle.
    pub fn breach(&self, session: &Session, view: &Contention) -> Option<Breach> {
        let locks: FxHashSet<LockId> =
            view.lock_rows().filter(|row| self.matches(row)).flat_map(|row| row.members.iter().copied()).collect();
        let measured = |site: &crate::model::Site| match self.measure {
            Measure::Wait => site.wait.max,
            Measure::Hold => site.hold.max,
        };
        let worst = (session.profile.sites.iter())
            .filter(|site| locks.contains(&site.key.lock))
            .max_by_key(|site| (measured(site), std::cmp::Reverse(site.key)))?;
        if measured(worst) <= self.limit_ns {
            return None;
        }
        let waits = session.profile.waits.iter().filter(|(key, _)| {
            self.measure == Measure::Wait && key.lock == worst.key.lock && key.waiter == worst.key.stack
        });
        let wait = waits.max_by_key(|(key, stats)| (stats.max_ns, std::cmp::Reverse(**key))).map(|(key, _)| key);
        Some(Breach {
            budget: self.clone(),
            lock: worst.key.lock,
            measured_ns: measured(worst),
            stack: worst.key.stack,
            thread: wait.map(|key| key.thread),
            holder: wait.map(|key| key.holder).filter(|stack| *stack != crate::model::Stacks::UNKNOWN),
        })
    }
}

impl From<Breach> for Finding {
    fn from(breach: Breach) -> Self {
        let Budget { measure, locks, .. } = &breach.budget;
        let subject = Subject {
            locks: vec![breach.lock],
            threads: breach.thread.into_iter().collect(),
            at: vec![breach.stack],
            related: breach.holder.into_iter().collect(),
            also_held: Vec::new(),
        };
        Self {
            rule: measure.rule(),
            subject,
            severity: Severity::Error,
            fingerprint: format!("{}:{}", measure.name(), locks.as_str()),
            count: 1,
            evidence: Evidence::Budget(breach),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::Query;
    use crate::analysis::testing::server;

    fn breach(measure: Measure, glob: &str, limit_ns: u64) -> Option<(String, u64, bool, bool)> {
        let session = server();
        let view = Contention::of(&session, &Query::default());
        let budget = Budget { measure, locks: Glob::new(glob), limit_ns };
        let breach = budget.breach(&session, &view)?;
        let name = crate::analysis::lock_name(&session, breach.lock);
        Some((name, breach.measured_ns, breach.holder.is_some(), breach.thread.is_some()))
    }

    #[test]
    fn the_worst_of_the_matching_locks_is_told() {
        let wait = breach(Measure::Wait, "*", 5_000_000).unwrap();
        assert_eq!(wait, ("journal.mu".into(), 31_590_000, true, true));
        assert_eq!(breach(Measure::Wait, "*", 31_590_000), None);
        assert_eq!(breach(Measure::Wait, "cache.*", 1_000_000).unwrap().0, "cache.shard[3].mu");
        let hold = breach(Measure::Hold, "cache.*", 1_000_000).unwrap();
        assert_eq!((hold.1, hold.2), (3_100_000, false));
        assert_eq!(breach(Measure::Hold, "config_lock", 1_000_000), None);
    }

    #[test]
    fn idle_waiting_breaks_no_budget() {
        assert_eq!(breach(Measure::Wait, "queue.not_empty", 1), None);
    }
}
