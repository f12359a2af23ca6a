//! Hangs in JSON.

use serde::Serialize;

use super::CallStack;
use crate::analysis::Contention;
use crate::model::{self, LockId, Mode, Session};

/// A deadlock, or who waited for what when the program was told to end.
#[derive(Serialize)]
pub(super) struct Hang<'a> {
    kind: &'static str,
    pid: u32,
    /// Since the start of the recording.
    at_ns: u64,
    /// Threads of the process that did not wait.
    running: u32,
    /// A ring: each thread waits for the next, the last one for the first. Empty where there is none.
    cycle: Vec<Waiting<'a>>,
    others: Vec<Waiting<'a>>,
}

#[derive(Serialize)]
struct Waiting<'a> {
    thread: &'a str,
    tid: u32,
    wants: Lock<'a>,
    timed: bool,
    waited_ns: u64,
    /// Kernel ids of the threads that can end the wait, as far as that was seen.
    holders: Vec<u32>,
    stack: CallStack<'a>,
    held: Vec<Held<'a>>,
}

#[derive(Serialize)]
struct Lock<'a> {
    /// As in `locks`; none where the lock has no entry there.
    lock: Option<&'a str>,
    name: Option<&'a str>,
    class: &'a str,
    kind: &'static str,
    mode: &'static str,
    address: String,
}

#[derive(Serialize)]
struct Held<'a> {
    #[serde(flatten)]
    lock: Lock<'a>,
    held_ns: u64,
    stack: CallStack<'a>,
}

/// All hangs of a recording.
pub(super) fn hangs<'a>(session: &'a Session, view: &'a Contention) -> Vec<Hang<'a>> {
    let all = session.hangs.iter();
    all.map(|hang| {
        let waiting = |waiting: &model::Waiting| {
            let thread = session.thread(waiting.thread);
            Waiting {
                thread: &thread.name,
                tid: thread.tid,
                wants: lock(session, view, waiting.lock, waiting.mode),
                timed: waiting.timed,
                waited_ns: hang.at_ns.saturating_sub(waiting.since_ns),
                holders: waiting.holders.iter().map(|id| session.thread(*id).tid).collect(),
                stack: CallStack::of(session, waiting.stack),
                held: waiting.held.iter().map(|held| held_lock(session, view, hang, held)).collect(),
            }
        };
        Hang {
            kind: hang.kind.name(),
            pid: session.process(hang.process).pid,
            at_ns: hang.at_ns,
            running: hang.running,
            cycle: hang.cycle.iter().map(waiting).collect(),
            others: hang.others.iter().map(waiting).collect(),
        }
    })
    .collect()
}

fn held_lock<'a>(session: &'a Session, view: &'a Contention, hang: &model::Hang, held: &model::HeldLock) -> Held<'a> {
    Held {
        lock: lock(session, view, held.lock, held.mode),
        held_ns: hang.at_ns.saturating_sub(held.since_ns),
        stack: CallStack::of(session, held.stack),
    }
}

fn lock<'a>(session: &'a Session, view: &'a Contention, id: LockId, mode: Mode) -> Lock<'a> {
    let lock = session.lock(id);
    Lock {
        lock: view.row_of(id).map(|row| row.id.as_str()),
        name: lock.name.as_ref().map(|name| name.text.as_str()),
        class: &lock.class,
        kind: lock.kind.name(),
        mode: match mode {
            Mode::Exclusive => "exclusive",
            Mode::Shared => "shared",
        },
        address: format!("{:#x}", lock.address),
    }
}
