//! The rows of locks in a report's JSON.

use serde::Serialize;

use super::CallStack;
use super::stack_table::StackTable;
use crate::analysis::contention::{Durations, LockReport};
use crate::model::{Mode, NameSource, Origin, Session, StackId, Stacks};

#[derive(Serialize)]
pub(super) struct Spread {
    total: u64,
    mean: u64,
    p50: u64,
    p90: u64,
    p99: u64,
    max: u64,
}

impl From<Durations> for Spread {
    fn from(d: Durations) -> Self {
        Self { total: d.total, mean: d.mean, p50: d.p50, p90: d.p90, p99: d.p99, max: d.max }
    }
}

#[derive(Serialize)]
pub(super) struct Lock<'a> {
    id: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name_source: Option<Option<&'static str>>,
    class: &'a str,
    kind: &'static str,
    pid: u32,
    address: String,
    /// Locks that this entry stands for: more than 1 with `--by class`.
    #[serde(skip_serializing_if = "Option::is_none")]
    locks: Option<u64>,
    acquisitions: u64,
    read_acquisitions: u64,
    write_acquisitions: u64,
    contended: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    folded: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reentries: Option<u64>,
    try_failures: u64,
    timeouts: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    failures: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    still_held: Option<u64>,
    owner_changes: u64,
    max_waiters: u32,
    wait_ns: Spread,
    hold_ns: Spread,
    /// Time waited in requests that ended without the lock; not part of `wait_ns`.
    #[serde(skip_serializing_if = "Option::is_none")]
    timed_out_wait_ns: Option<u64>,
    waiters: Vec<Waiter<'a>>,
    holders: Vec<Holder<'a>>,
    /// Waits whose holder was not seen: what `holders` lacks of `contended`.
    #[serde(skip_serializing_if = "Option::is_none")]
    unattributed: Option<Unattributed>,
    sites: Vec<Site<'a>>,
    /// Calls that may block, made with the lock held.
    #[serde(skip_serializing_if = "Option::is_none")]
    calls: Option<Vec<HeldCalls<'a>>>,
    origin: Origins<'a>,
}

#[derive(Serialize)]
struct Waiter<'a> {
    count: u64,
    wait_ns: u64,
    stack: CallStack<'a>,
}

#[derive(Serialize)]
struct Holder<'a> {
    count: u64,
    blocked_ns: u64,
    hold_ns: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    longest_blocked_ns: Option<u64>,
    acquisitions: u64,
    stack: CallStack<'a>,
}

#[derive(Default, PartialEq, Serialize)]
struct Unattributed {
    count: u64,
    wait_ns: u64,
}

#[derive(Serialize)]
struct Site<'a> {
    count: u64,
    contended: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wait_ns: Option<u64>,
    hold_ns: u64,
    stack: CallStack<'a>,
}

#[derive(Serialize)]
struct HeldCalls<'a> {
    call: &'a str,
    count: u64,
    total_ns: u64,
    max_ns: u64,
    /// Of `count`, those without an event of their own: no wait is charged to them.
    folded: u64,
    /// Waits for the lock that fell into such calls, and that part of them.
    waits: u64,
    blocked_ns: u64,
    stack: CallStack<'a>,
}

/// Where the lock was first seen.
#[derive(Serialize)]
struct Origins<'a> {
    how: &'static str,
    stack: CallStack<'a>,
}

/// How rows are written: with their stacks, or with the numbers of those in a table, and then without what goes without
/// saying.
#[derive(Clone, Copy)]
pub(super) struct Form<'a> {
    pub(super) session: &'a Session,
    pub(super) table: Option<&'a StackTable>,
}

impl<'a> Form<'a> {
    fn stack(self, id: StackId) -> CallStack<'a> {
        CallStack::within(self.session, id, self.table)
    }

    /// The value, unless rows leave it out.
    fn unless<T: PartialEq>(self, value: T, usual: T) -> Option<T> {
        (self.table.is_none() || value != usual).then_some(value)
    }
}

/// What rows leave out where stacks are in a table: keys, by the list that the row is in, and their usual values.
#[derive(Serialize)]
pub(super) struct Defaults {
    locks: LockDefaults,
    holders: HolderDefaults,
    sites: SiteDefaults,
}

#[derive(Serialize)]
struct LockDefaults {
    name_source: &'static str,
    locks: u64,
    folded: u64,
    reentries: u64,
    failures: u64,
    still_held: u64,
    timed_out_wait_ns: u64,
    unattributed: Unattributed,
    calls: [u64; 0],
}

#[derive(Serialize)]
struct HolderDefaults {
    longest_blocked_ns: u64,
}

#[derive(Serialize)]
struct SiteDefaults {
    mode: &'static str,
    wait_ns: u64,
}

/// Those that [`lock`] leaves out.
pub(super) const DEFAULTS: Defaults = Defaults {
    locks: LockDefaults {
        name_source: "source",
        locks: 1,
        folded: 0,
        reentries: 0,
        failures: 0,
        still_held: 0,
        timed_out_wait_ns: 0,
        unattributed: Unattributed { count: 0, wait_ns: 0 },
        calls: [],
    },
    holders: HolderDefaults { longest_blocked_ns: 0 },
    sites: SiteDefaults { mode: "exclusive", wait_ns: 0 },
};

/// One row.
pub(super) fn lock<'a>(form: Form<'a>, row: &'a LockReport) -> Lock<'a> {
    let session = form.session;
    let first = row.members.first().map(|id| session.lock(*id));
    Lock {
        id: &row.id,
        name: &row.name,
        name_source: form.unless(
            first.and_then(|lock| lock.name.as_ref()).map(|name| name_source(name.source)),
            Some(DEFAULTS.locks.name_source),
        ),
        class: &row.class,
        kind: row.kind.name(),
        pid: session.process(row.process).pid,
        address: format!("{:#x}", first.map_or(0, |lock| lock.address)),
        locks: form.unless(row.stands_for, DEFAULTS.locks.locks),
        acquisitions: row.acquisitions,
        read_acquisitions: row.read_acquisitions,
        write_acquisitions: row.write_acquisitions,
        contended: row.contended,
        folded: form.unless(row.folded, DEFAULTS.locks.folded),
        reentries: form.unless(row.reentries, DEFAULTS.locks.reentries),
        try_failures: row.try_failures,
        timeouts: row.timeouts,
        failures: form.unless(row.failures, DEFAULTS.locks.failures),
        still_held: form.unless(row.still_held, DEFAULTS.locks.still_held),
        owner_changes: row.owner_changes,
        max_waiters: row.max_waiters,
        wait_ns: row.wait.into(),
        hold_ns: row.hold.into(),
        timed_out_wait_ns: form.unless(row.wasted_wait_ns, DEFAULTS.locks.timed_out_wait_ns),
        waiters: (row.waiters.iter())
            .map(|w| Waiter { count: w.count, wait_ns: w.wait_ns, stack: form.stack(w.stack) })
            .collect(),
        holders: (row.holders.iter())
            .map(|h| Holder {
                count: h.count,
                blocked_ns: h.blocked_ns,
                hold_ns: h.hold_ns,
                longest_blocked_ns: form.unless(h.longest_ns, DEFAULTS.holders.longest_blocked_ns),
                acquisitions: h.acquisitions,
                stack: form.stack(h.stack),
            })
            .collect(),
        unattributed: form.unless(
            Unattributed { count: row.unattributed.count, wait_ns: row.unattributed.wait_ns },
            DEFAULTS.locks.unattributed,
        ),
        sites: (row.sites.iter())
            .map(|site| Site {
                count: site.count,
                contended: site.contended,
                mode: form.unless(mode(site.mode), DEFAULTS.sites.mode),
                wait_ns: form.unless(site.wait_ns, DEFAULTS.sites.wait_ns),
                hold_ns: site.hold_ns,
                stack: form.stack(site.stack),
            })
            .collect(),
        calls: (form.table.is_none() || !row.calls.is_empty()).then(|| calls(form, row)),
        origin: Origins {
            how: match first.map(|lock| lock.origin) {
                Some(Origin::Initialised) => "initialised",
                _ => "first-used",
            },
            stack: form.stack(first.map_or(Stacks::UNKNOWN, |lock| lock.origin_stack)),
        },
    }
}

fn calls<'a>(form: Form<'a>, row: &'a LockReport) -> Vec<HeldCalls<'a>> {
    (row.calls.iter())
        .map(|held| HeldCalls {
            call: form.session.profile.call_name(held.call),
            count: held.stats.count,
            total_ns: held.stats.took_ns,
            max_ns: held.stats.max_ns,
            folded: held.stats.folded,
            waits: held.stats.waits,
            blocked_ns: held.stats.blocked_ns,
            stack: form.stack(held.stack),
        })
        .collect()
}

fn name_source(source: NameSource) -> &'static str {
    match source {
        NameSource::User => "user",
        NameSource::Global => "global",
        NameSource::Source => "source",
        NameSource::Function => "function",
        NameSource::Address => "address",
    }
}

fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Exclusive => "exclusive",
        Mode::Shared => "shared",
    }
}
