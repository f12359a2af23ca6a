//! Broken budgets in sentences.

use super::names::Names;
use crate::analysis::findings::budget::{Breach, Measure};
use crate::model::Session;
use crate::render::frames::headline;
use crate::render::style::printable;
use crate::render::units::duration;

pub(super) fn title(breach: &Breach, names: &Names<'_>) -> String {
    let verb = match breach.budget.measure {
        Measure::Wait => "waited for",
        Measure::Hold => "held for",
    };
    format!(
        "{} was {verb} {}; --{} {} allows {}",
        names.lock(breach.lock),
        duration(breach.measured_ns),
        breach.budget.measure.name(),
        printable(breach.budget.locks.as_str()),
        duration(breach.budget.limit_ns)
    )
}

pub(super) fn reason(session: &Session, breach: &Breach, names: &Names<'_>) -> String {
    let what = match (breach.budget.measure, breach.thread) {
        (Measure::Wait, Some(thread)) => format!("{} waited longest", names.thread(thread)),
        (Measure::Wait, None) => "this is the longest wait".to_owned(),
        (Measure::Hold, _) => "this is the longest hold".to_owned(),
    };
    let place = headline(session, breach.stack);
    match breach.holder {
        Some(holder) => {
            format!("{what}, in {place}; {} held the lock when the wait began.", headline(session, holder))
        }
        None => format!("{what}, in {place}."),
    }
}

pub(super) fn advice(breach: &Breach) -> &'static str {
    match breach.budget.measure {
        Measure::Wait => "`lockprof report --lock NAME` shows who held it meanwhile.",
        Measure::Hold => "Move what does not need the lock out of that hold.",
    }
}

/// What happens at the two places, and what they are beside the finding.
pub(super) fn labels(breach: &Breach, names: &Names<'_>) -> [(String, &'static str); 2] {
    let lock = names.lock(breach.lock);
    let at = match breach.budget.measure {
        Measure::Wait => format!("waits for {lock}"),
        Measure::Hold => format!("takes {lock} and keeps it"),
    };
    [(at, "here"), (format!("had taken {lock}"), "the lock was held from here on")]
}
