//! Misuses of locks in JSON, the same in a report and in a verdict.

use serde::Serialize;

use super::CallStack;
use crate::analysis::findings::Finding;
use crate::analysis::lock_name;
use crate::model::Session;

/// A misuse.
#[derive(Clone, Debug, Serialize)]
pub(super) struct FindingRow<'a> {
    kind: &'static str,
    severity: &'static str,
    /// The lock's id in reports; null where the report leaves the lock out.
    lock: Option<String>,
    name: String,
    message: &'a str,
    count: u64,
    /// Time that it took; 0 for what takes none.
    total_ns: u64,
    /// The function that blocked, of findings that are about one.
    call: Option<&'a str>,
    /// Where it happened, and where the holder had taken the lock.
    stacks: Vec<CallStack<'a>>,
    fingerprint: &'a str,
    fails: bool,
    thread: &'a str,
}

impl<'a> FindingRow<'a> {
    pub(super) fn of(session: &'a Session, finding: &'a Finding, id: Option<String>, fails: bool) -> Self {
        Self {
            kind: finding.rule.id,
            severity: if finding.fails { "error" } else { "warning" },
            lock: id,
            name: lock_name(session, finding.lock),
            message: &finding.message,
            count: finding.count,
            total_ns: 0,
            call: None,
            stacks: finding.stacks.iter().map(|stack| CallStack::of(session, *stack)).collect(),
            fingerprint: &finding.fingerprint,
            fails,
            thread: &session.thread(finding.thread).name,
        }
    }
}
