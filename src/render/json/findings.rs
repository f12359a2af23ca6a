//! Findings but cycles in JSON, the same in a report and in a verdict.

use serde::Serialize;

use super::CallStack;
use crate::analysis::findings::Finding;
use crate::analysis::findings::cost::What;
use crate::analysis::{Contention, lock_name};
use crate::model::Session;
use crate::render::explain;

/// A finding.
#[derive(Clone, Debug, Serialize)]
pub(super) struct FindingRow<'a> {
    kind: &'static str,
    severity: &'static str,
    /// The lock's id in reports; null where the report leaves the lock out.
    lock: Option<String>,
    name: String,
    message: String,
    count: u64,
    /// Time that threads lost by it, of a call under a lock the time that the calls took; 0 for what takes none.
    total_ns: u64,
    /// Time that others waited because of it; 0 for what keeps nobody.
    blocked_ns: u64,
    /// The function that blocked, of findings that are about one.
    call: Option<&'a str>,
    /// Where it happened, and where the holder had taken the lock.
    stacks: Vec<CallStack<'a>>,
    fingerprint: &'a str,
    fails: bool,
    thread: &'a str,
}

impl<'a> FindingRow<'a> {
    pub(super) fn of(session: &'a Session, finding: &'a Finding, view: &Contention, fails: bool) -> Self {
        let subject = &finding.subject;
        let (lock, thread) = (subject.locks.first(), subject.threads.first());
        let lost_ns = finding.cost().map_or(0, |cost| cost.lost_ns);
        let across = finding.cost().and_then(|cost| match &cost.what {
            What::HeldAcross(across) => Some(across),
            _ => None,
        });
        Self {
            kind: finding.rule.id,
            severity: finding.severity.name(),
            lock: lock.and_then(|lock| view.row_of(*lock)).map(|row| row.id.clone()),
            name: lock.map_or_else(String::new, |lock| lock_name(session, *lock)),
            message: explain::raw_reason(session, finding),
            count: finding.count,
            total_ns: across.map_or(lost_ns, |across| across.took_ns),
            blocked_ns: lost_ns,
            call: across.map(|across| across.call.as_str()),
            stacks: subject.places().map(|stack| CallStack::of(session, stack)).collect(),
            fingerprint: &finding.fingerprint,
            fails,
            thread: thread.map_or("", |thread| &session.thread(*thread).name),
        }
    }
}
