//! What a row of the catalogue says.

use super::{CONFIRMED, FEASIBLE, GUARDED, HUNG, NEEDS_WRITER, ORDERED, POSSIBLE, RULES, SAME_THREAD, SOFT_ORDERED};
use crate::analysis::order::Class;

/// What a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Area {
    /// Cycles in the order of locks.
    Order,
    /// Locks used as they may not be.
    Misuse,
    /// Ways of using a lock that cost time.
    Contention,
    /// Limits given by options.
    Budget,
}

impl Area {
    /// Every area, in the order in which findings are listed.
    pub const ALL: [Self; 4] = [Self::Order, Self::Misuse, Self::Contention, Self::Budget];

    /// The word of the contract: `lockprof.order` in JUnit, `lock-order/...` in SARIF.
    pub fn name(self) -> &'static str {
        match self {
            Self::Order => "order",
            Self::Misuse => "misuse",
            Self::Contention => "contention",
            Self::Budget => "budget",
        }
    }

    /// Whether its rules are grades of one thing, the most serious first: what is known as a lesser one fails anew as a
    /// more serious one.
    pub fn is_graded(self) -> bool {
        self == Self::Order
    }

    /// What one and what several findings are called where they are counted.
    pub fn nouns(self) -> (&'static str, &'static str) {
        match self {
            Self::Order => ("cycle", "cycles"),
            Self::Misuse => ("misuse", "misuses"),
            Self::Contention => ("cost", "costs"),
            Self::Budget => ("broken budget", "broken budgets"),
        }
    }
}

/// Whether findings of a rule fail the gate by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fails {
    /// All of them.
    Always,
    /// It depends on what was seen.
    Sometimes,
    /// None.
    Never,
}

/// The texts of a rule that is described by the places of its finding. `X` stands for the lock.
#[derive(Debug, PartialEq, Eq)]
pub struct Wording {
    /// What is wrong, in one line.
    pub line: &'static str,
    /// What to do.
    pub advice: &'static str,
    /// What happens at the finding's first and second place.
    pub places: [&'static str; 2],
}

/// A rule.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// The word of the contract, in `--fail-on`, JSON, baselines and suppressions.
    pub id: &'static str,
    /// What it is about.
    pub area: Area,
    /// Its name in SARIF.
    pub name: &'static str,
    /// What is wrong, of any lock.
    pub title: &'static str,
    /// Why that is wrong, and what helps.
    pub help: &'static str,
    /// The page of the documentation that names it.
    pub page: &'static str,
    /// Whether its findings fail by default.
    pub fails: Fails,
    /// Kinds of ThreadSanitizer's suppressions that allow it.
    pub sanitizer: &'static [&'static str],
    /// Its texts; `None` where they depend on more than the rule.
    pub wording: Option<Wording>,
}

impl Rule {
    /// The rule of this id.
    pub fn of(id: &str) -> Option<&'static Self> {
        RULES.into_iter().find(|rule| rule.id == id)
    }

    /// Whether `--fail-on`, baselines and suppressions may name it: a budget is asked for by its own option.
    pub fn is_selectable(&self) -> bool {
        self.area != Area::Budget
    }

    /// Rules that may be named so.
    pub fn selectable() -> impl Iterator<Item = &'static Self> {
        RULES.into_iter().filter(|rule| rule.is_selectable())
    }

    /// Its place in the catalogue: the more serious cycle comes first.
    pub fn position(&self) -> usize {
        RULES.iter().position(|rule| rule.id == self.id).unwrap_or(RULES.len())
    }
}

impl Class {
    /// The row of cycles of this class.
    pub fn rule(self) -> &'static Rule {
        match self {
            Self::Hung => &HUNG,
            Self::Confirmed => &CONFIRMED,
            Self::Feasible => &FEASIBLE,
            Self::Possible => &POSSIBLE,
            Self::NeedsWriter => &NEEDS_WRITER,
            Self::SoftOrdered => &SOFT_ORDERED,
            Self::Guarded => &GUARDED,
            Self::Ordered => &ORDERED,
            Self::SameThread => &SAME_THREAD,
        }
    }

    /// The word of the contract.
    pub fn name(self) -> &'static str {
        let Rule { id, .. } = self.rule();
        id
    }
}
