//! A recording with orders of every kind, made by hand, for tests of the gate and its renderers.

use crate::analysis::findings::catalog::misuse::{Deed, Misuse};
use crate::analysis::findings::{Evidence, Finding, Findings, Rule, Severity, Subject, catalog};
use crate::analysis::order::{Action, Cause, Class, Cycle, Held, Leg, LegGuard, Step};
use crate::analysis::testing::Builder;
use crate::model::{Kind, LockId, Mode, Session, StackId, ThreadId};

/// A leg without anything special.
fn leg(thread: ThreadId, held: (LockId, StackId), wanted: (LockId, StackId), count: u64) -> Leg {
    Leg {
        thread,
        held: Held { lock: held.0, mode: Mode::Exclusive, stack: held.1 },
        wanted: wanted.0,
        wanted_mode: Mode::Exclusive,
        wanted_stack: wanted.1,
        also_held: Vec::new(),
        count,
        timed: false,
        reacquired: false,
    }
}

fn cycle(fingerprint: &str, class: Class, fails: bool, cause: Cause, legs: Vec<Leg>) -> Cycle {
    Cycle {
        fingerprint: fingerprint.into(),
        class,
        fails,
        cause,
        other_classes: Vec::new(),
        legs,
        witness: Vec::new(),
        instances: 1,
        component: None,
        score: 1.0,
        foreseen: None,
    }
}

/// Makes a cycle one of another class.
pub(crate) fn reclassify(finding: &mut Finding, class: Class) {
    let Evidence::Cycle(cycle) = &mut finding.evidence else { panic!("{finding:?} is no cycle") };
    (cycle.class, finding.rule) = (class, class.rule());
}

/// A bank: accounts against the journal (feasible), three locks round about (possible), a table for readers
/// (needs a writer), what a gate, a hand-over and one thread keep apart, and two misuses.
pub(crate) fn bank() -> (Session, Findings) {
    let mut b = Builder::new();
    let journal = b.lock("journal.mu", Kind::Mutex);
    let account = b.lock("acct->lock", Kind::Mutex);
    let other_account = b.lock("acct->lock", Kind::Mutex);
    let table = b.lock("table.rw", Kind::Rwlock);
    let index = b.lock("index.rw", Kind::Rwlock);
    let gate = b.lock("config_lock", Kind::Mutex);
    let pool = b.lock("engine::storage::ShardedCache<Key, Value>::shards[17].mutex_", Kind::Mutex);
    b.session.locks[other_account.index()].class = b.session.locks[account.index()].class.clone();
    let (worker, flusher, audit) = (b.thread("worker-0"), b.thread("flusher"), b.thread("audit"));
    let start = [("start_thread", "pthread_create.c", 442), ("clone3", "", 0)];
    let mut stack = |calls: &[(&str, &str, u32)]| {
        let all: Vec<_> = calls.iter().chain(&start).copied().collect();
        b.stack(&all)
    };
    let worker_end = [("handle_request(Request&)", "src/server.cc", 18), ("worker(void*)", "src/server.cc", 31)];
    let with = |inner: &[(&'static str, &'static str, u32)], outer: &[(&'static str, &'static str, u32)]| {
        inner.iter().chain(outer).copied().collect::<Vec<_>>()
    };
    let lock = ("std::mutex::lock()", "/usr/include/c++/12/bits/std_mutex.h", 100);
    let pay_account = stack(&with(&[lock, ("Bank::pay(Account*, long)", "src/bank.cc", 7)], &worker_end));
    let pay_journal = stack(&with(&[lock, ("Bank::pay(Account*, long)", "src/bank.cc", 9)], &worker_end));
    let flush_journal =
        stack(&[lock, ("Journal::flush()", "src/journal.cc", 4), ("flusher(void*)", "src/journal.cc", 20)]);
    let flush_account = stack(&[
        lock,
        ("Account::settle()", "src/account.h", 5),
        ("Journal::flush()", "src/journal.cc", 6),
        ("flusher(void*)", "src/journal.cc", 20),
    ]);
    let audit_one = stack(&[("audit(Bank&)", "src/audit.cc", 3)]);
    let audit_two = stack(&[("audit(Bank&)", "src/audit.cc", 4)]);
    let gate_stack = stack(&with(&[("load_config", "src/config.cc", 9)], &worker_end));
    let bare = b.bare_stack(0x2345);

    let mut feasible = cycle(
        "5f0c2a9d41be77e3",
        Class::Feasible,
        true,
        Cause::Schedule,
        vec![
            leg(worker, (account, pay_account), (journal, pay_journal), 12_345),
            leg(flusher, (journal, flush_journal), (account, flush_account), 3),
        ],
    );
    feasible.legs[0].also_held.push(Held { lock: gate, mode: Mode::Exclusive, stack: gate_stack });
    feasible.instances = 4;
    let step = |thread, action, lock, stack| Step { thread, action, lock: Some(lock), other: None, stack };
    feasible.witness = vec![
        step(worker, Action::Acquire(Mode::Exclusive), account, pay_account),
        step(flusher, Action::Acquire(Mode::Exclusive), journal, flush_journal),
        step(worker, Action::Block(Mode::Exclusive), journal, pay_journal),
        step(flusher, Action::Block(Mode::Exclusive), account, flush_account),
    ];
    let possible = cycle(
        "88d1f0aa07c45b12",
        Class::Possible,
        true,
        Cause::NotKept,
        vec![
            leg(worker, (account, pay_account), (other_account, pay_journal), 40),
            leg(audit, (other_account, audit_one), (pool, audit_two), 2),
            leg(flusher, (pool, bare), (account, flush_account), 1),
        ],
    );
    let mut needs_writer = cycle(
        "c0ffee0012345678",
        Class::NeedsWriter,
        false,
        Cause::Readers(table, None),
        vec![
            leg(worker, (table, pay_account), (index, pay_journal), 9),
            leg(flusher, (index, flush_journal), (table, flush_account), 8),
        ],
    );
    for leg in &mut needs_writer.legs {
        leg.held.mode = Mode::Shared;
        leg.wanted_mode = Mode::Shared;
    }
    let guard = |owner| LegGuard { lock: gate, mode: Mode::Exclusive, stack: gate_stack, owner };
    let guarded = cycle(
        "1122334455667788",
        Class::Guarded,
        false,
        Cause::Guard(guard(worker), guard(flusher)),
        vec![
            leg(worker, (table, pay_account), (journal, pay_journal), 100),
            leg(flusher, (journal, flush_journal), (table, flush_account), 100),
        ],
    );
    let same = cycle(
        "99aabbccddeeff00",
        Class::SameThread,
        false,
        Cause::OneThread,
        vec![
            leg(audit, (table, audit_one), (pool, audit_two), 1),
            leg(audit, (pool, audit_two), (table, audit_one), 1),
        ],
    );
    let finding = |rule: &'static Rule, fingerprint: &str, lock, deed, at, taken| Finding {
        rule,
        subject: Subject {
            locks: vec![lock],
            threads: vec![worker],
            at: vec![at],
            related: vec![taken],
            also_held: Vec::new(),
        },
        evidence: Evidence::Misuse(Misuse { deed, at, taken }),
        severity: Severity::Error,
        fingerprint: fingerprint.into(),
        count: 5,
    };
    let misuses = [
        finding(&catalog::SELF_DEADLOCK, "0a0b0c0d0e0f1011", gate, Deed::TakesAgain, gate_stack, pay_account),
        finding(
            &catalog::UNLOCK_NOT_OWNER,
            "ab54a98ceb1f0ad2",
            table,
            Deed::UnlocksAnothers,
            flush_account,
            pay_journal,
        ),
    ];
    b.take(journal, worker, pay_journal, Mode::Exclusive, 12_345, 2_000);
    b.take(account, worker, pay_account, Mode::Exclusive, 12_345, 7_000);
    b.take(gate, worker, gate_stack, Mode::Exclusive, 1, 9_000_000);
    b.wait(journal, worker, pay_journal, Mode::Exclusive, 8_400_000, 2_000, Some((flusher, flush_journal)));
    let cycles = [feasible, possible, needs_writer, guarded, same].map(Finding::from);
    (b.session, Findings { list: cycles.into_iter().chain(misuses).collect(), notes: Vec::new(), complete: true })
}

/// A recording in which nothing is wrong.
pub(crate) fn clean() -> (Session, Findings) {
    let (session, findings) = bank();
    (session, Findings { list: Vec::new(), ..findings })
}
