use super::*;
use crate::analysis::testing::Builder;
use crate::model::order::{Misuse, MisuseKind};
use crate::model::{HeldLock, LockId, Stacks, ThreadId};
use crate::model::{Kind, Mode, Waiting};
use crate::render::golden;
use crate::render::style::columns;

const AT: u64 = 2_412_000_000;

fn held(lock: LockId, mode: Mode, stack: StackId, ago_ns: u64) -> HeldLock {
    HeldLock { lock, mode, stack, since_ns: AT - ago_ns }
}

fn waiting(thread: ThreadId, lock: LockId, stack: StackId, holders: &[ThreadId], held: &[HeldLock]) -> Waiting {
    Waiting {
        thread,
        lock,
        mode: Mode::Exclusive,
        timed: false,
        stack,
        since_ns: AT - 312_000_000,
        holders: holders.to_vec(),
        held: held.to_vec(),
    }
}

fn tell(builder: &mut Builder, kind: HangKind, cycle: Vec<Waiting>, others: Vec<Waiting>, running: u32) -> Hang {
    builder.session.processes[0].exe = "/srv/server".into();
    Hang { kind, process: crate::model::ProcessId(0), at_ns: AT, cycle, others, running }
}

fn check(name: &str, session: &Session, hung: &Hang) {
    for (ending, verbose, width) in [("", false, 80), ("-v", true, 80), ("-60", false, 60)] {
        let options = HangOptions {
            layout: Layout { color: false, width },
            verbose,
            note: "the program is left as it is; Ctrl-C ends it",
        };
        let text = hang(session, hung, &options) + "\n" + &hang_in_short(session, hung, &options.layout);
        for line in text.lines() {
            assert!(columns(line) <= width, "over {width} columns: {line}");
        }
        if ending != "-60" {
            golden::check(&format!("hang-{name}{ending}.txt"), &text);
        }
    }
}

#[test]
fn two_threads() {
    let mut builder = Builder::new();
    let [payer, auditor, main] = ["payer", "auditor", "server"].map(|name| builder.thread(name));
    builder.session.threads[main.index()].tid = 4242;
    let [mine, theirs, log] = ["accounts[3].lock", "ledger.mu", "log.mu"].map(|name| builder.lock(name, Kind::Mutex));
    let join = builder.lock("payer", Kind::Join);
    let deep: Vec<(String, u32)> = (0..9).map(|at| (format!("bank::Request::step_{at}(int)"), 100 + at)).collect();
    let mut calls: Vec<_> = vec![("take(bank::Account&)", "bank.cc", 41), ("bank::pay(int)", "bank.cc", 60)];
    calls.extend(deep.iter().map(|(name, line)| (name.as_str(), "server.cc", *line)));
    let pay = builder.stack(&calls);
    let take = builder.stack(&[("bank::pay(int)", "bank.cc", 58), ("run", "server.cc", 9)]);
    let audit = builder.stack(&[("bank::audit()", "bank.cc", 80), ("run", "server.cc", 9)]);
    let open = builder.stack(&[("bank::audit()", "bank.cc", 77), ("run", "server.cc", 9)]);
    let end = builder.stack(&[("main", "server.cc", 30)]);
    let cycle = vec![
        waiting(
            payer,
            theirs,
            pay,
            &[auditor],
            &[held(log, Mode::Exclusive, Stacks::UNKNOWN, 900_000_000), held(mine, Mode::Exclusive, take, 312_500_000)],
        ),
        waiting(auditor, mine, audit, &[payer], &[held(theirs, Mode::Exclusive, open, 320_000_000)]),
    ];
    let others = vec![waiting(main, join, end, &[payer], &[])];
    let hang = tell(&mut builder, HangKind::Deadlock, cycle, others, 2);
    check("two", &builder.session, &hang);
}

#[test]
fn a_thread_with_itself() {
    let mut builder = Builder::new();
    let thread = builder.thread("server");
    let lock = builder.lock("table", Kind::Rwlock);
    let read = builder.stack(&[("find", "table.c", 4), ("main", "main.c", 9)]);
    let write = builder.stack(&[("insert", "table.c", 12), ("main", "main.c", 9)]);
    let hold = held(lock, Mode::Shared, read, 330_000_000);
    let cycle = vec![waiting(thread, lock, write, &[thread], &[hold])];
    let hang = tell(&mut builder, HangKind::SelfDeadlock, cycle, Vec::new(), 0);
    check("self", &builder.session, &hang);
}

#[test]
fn a_large_ring_of_locks_of_one_name() {
    let mut builder = Builder::new();
    let threads: Vec<_> = (0..40).map(|_| builder.thread("server")).collect();
    let locks: Vec<_> = (0..40).map(|_| builder.lock("shelf->lock", Kind::Mutex)).collect();
    let stack = builder.stack(&[("move_books", "shelf.c", 4), ("main", "main.c", 9)]);
    let member = |at: usize| {
        let next = (at + 1) % threads.len();
        let hold = held(locks[at], Mode::Exclusive, stack, 330_000_000);
        waiting(threads[at], locks[next], stack, &[threads[next]], &[hold])
    };
    let cycle = (0..40).map(member).collect();
    let hang = tell(&mut builder, HangKind::Deadlock, cycle, Vec::new(), 0);
    check("ring", &builder.session, &hang);
}

#[test]
fn a_reader_behind_a_writer() {
    let mut builder = Builder::new();
    let [reader, writer] = ["reader", "writer"].map(|name| builder.thread(name));
    let lock = builder.lock("table", Kind::Rwlock);
    let [first, again, write] = [4, 8, 12].map(|line| builder.stack(&[("find", "table.c", line)]));
    let hold = held(lock, Mode::Shared, first, 330_000_000);
    let cycle = vec![
        Waiting { mode: Mode::Shared, ..waiting(reader, lock, again, &[writer], &[hold]) },
        waiting(writer, lock, write, &[reader], &[]),
    ];
    let hang = tell(&mut builder, HangKind::Deadlock, cycle, Vec::new(), 0);
    check("reader", &builder.session, &hang);
}

#[test]
fn who_waits_for_what() {
    let mut builder = Builder::new();
    let [worker, late, main] = ["worker-1", "late", "server"].map(|name| builder.thread(name));
    builder.session.threads[main.index()].tid = 4242;
    let mutex = builder.lock("queue.mu", Kind::Mutex);
    let (condition, join) = (builder.lock("queue.cond", Kind::Condvar), builder.lock("t", Kind::Join));
    let [take, put, end] =
        [("take", 30), ("put", 50), ("main", 90)].map(|(name, line)| builder.stack(&[(name, "q.c", line)]));
    let others = vec![
        waiting(late, mutex, put, &[worker], &[]),
        waiting(worker, condition, take, &[], &[held(mutex, Mode::Exclusive, take, 400_000_000)]),
        waiting(main, join, end, &[worker], &[]),
    ];
    let hang = tell(&mut builder, HangKind::Waits, Vec::new(), others, 0);
    check("waits", &builder.session, &hang);
    check("waits-partly", &builder.session, &Hang { running: 2, ..hang });
}

#[test]
fn a_lock_that_an_ended_thread_left_behind() {
    let mut builder = Builder::new();
    let [dying, heir, main] = ["dying", "heir", "server"].map(|name| builder.thread(name));
    builder.session.threads[main.index()].tid = 4242;
    let (lock, join) = (builder.lock("table.mu", Kind::Mutex), builder.lock("heir", Kind::Join));
    let [take, want, end] =
        [("fill", 30), ("find", 50), ("main", 90)].map(|(name, line)| builder.stack(&[(name, "t.c", line)]));
    let left = Misuse { kind: MisuseKind::HeldAtThreadExit, lock, stack: take, holder: take };
    builder.session.order.misused(left, dying, 1);
    let others = vec![waiting(heir, lock, want, &[dying], &[]), waiting(main, join, end, &[heir], &[])];
    let hang = tell(&mut builder, HangKind::Abandoned, Vec::new(), others, 0);
    check("abandoned", &builder.session, &hang);
}

#[test]
fn nobody_is_left_to_come() {
    let mut builder = Builder::new();
    let [one, two, main] = ["guest-0", "guest-1", "server"].map(|name| builder.thread(name));
    builder.session.threads[main.index()].tid = 4242;
    let (door, join) = (builder.lock("door", Kind::Barrier), builder.lock("guest-0", Kind::Join));
    builder.session.locks[door.index()].traits.initial = 3;
    let [come, end] = [("come", 50), ("main", 90)].map(|(name, line)| builder.stack(&[(name, "t.c", line)]));
    let others = vec![
        waiting(one, door, come, &[], &[]),
        waiting(two, door, come, &[], &[]),
        waiting(main, join, end, &[one], &[]),
    ];
    let hang = tell(&mut builder, HangKind::Stuck, Vec::new(), others, 0);
    check("stuck", &builder.session, &hang);
}
