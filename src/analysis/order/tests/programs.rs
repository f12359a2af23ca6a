//! Programs with a known truth: each row of "What counts as an order", each verdict, and the sizes.

use super::simulate::{Op, Program, Recorded, run};
use crate::analysis::order::{Cause, Class, Cycle, LegGuard, Link, Orders, orders};
use crate::model::{Kind, LockId, Session, StackId};
use Op::{Barrier, Create, Join, Lock, Post, Read, Signal, Timed, Try, Unlock, Wait, Write};

pub(super) const A: usize = 0;
pub(super) const B: usize = 1;
pub(super) const G: usize = 2;
pub(super) const M: usize = 3;

/// Thread 0 creates the others one after the other and joins them in the end, unless it says otherwise.
pub(in crate::analysis) fn program(threads: &[Vec<Op>]) -> Program {
    let mut main: Vec<Op> = (1..=threads.len()).map(Create).collect();
    main.extend((1..=threads.len()).map(Join));
    let threads = std::iter::once(main).chain(threads.iter().cloned()).collect();
    Program { threads, locks: vec![Kind::Mutex; 4], ..Program::default() }
}

/// Threads run as long as they can, in the order of their numbers.
pub(in crate::analysis) fn in_turn(program: &Program) -> Recorded {
    run(program, &mut |_| 0)
}

/// Threads run as long as they can, the last created first.
pub(super) fn backwards(program: &Program) -> Recorded {
    run(program, &mut |able| able.len() - 1)
}

pub(super) fn both(lock: usize, other: usize) -> Vec<Op> {
    vec![Lock(lock), Lock(other), Unlock(other), Unlock(lock)]
}

pub(super) fn under(guard: usize, ops: Vec<Op>) -> Vec<Op> {
    [vec![Lock(guard)], ops, vec![Unlock(guard)]].concat()
}

pub(super) fn recorded(program: &Program) -> (Session, Orders) {
    let recorded = in_turn(program);
    assert!(recorded.finished, "the program runs to its end");
    let orders = orders(&recorded.session);
    (recorded.session, orders)
}

pub(super) fn classified(program: &Program) -> Orders {
    recorded(program).1
}

/// The function of a place.
pub(super) fn function(session: &Session, stack: StackId) -> &str {
    let frame = session.stacks.walk(stack).next().and_then(|node| node.frames.first());
    frame.and_then(|frame| frame.function.as_deref()).unwrap_or_default()
}

pub(super) fn name(session: &Session, lock: LockId) -> &str {
    session.lock(lock).name.as_ref().map_or("", |name| &name.text)
}

/// What orders the legs of the one cycle.
pub(super) fn link(orders: &Orders) -> Link {
    match only(orders).cause {
        Cause::Before { link: Some(link), .. } => link,
        ref other => panic!("{other:?}"),
    }
}

/// The one cycle.
pub(super) fn only(orders: &Orders) -> &Cycle {
    assert_eq!(orders.cycles.len(), 1, "{:#?}", orders.cycles);
    &orders.cycles[0]
}

pub(super) fn class_of(program: &Program) -> Class {
    only(&classified(program)).class
}

#[test]
fn two_orders_are_feasible() {
    let (session, orders) = recorded(&program(&[both(A, B), both(B, A)]));
    let cycle = only(&orders);
    assert_eq!((cycle.class, cycle.fails, cycle.instances, cycle.legs.len()), (Class::Feasible, true, 1, 2));
    assert_eq!(cycle.cause, Cause::Schedule);
    let reported: Vec<_> = cycle.witness.iter().map(|step| format!("{} {:?}", step.thread.0, step.action)).collect();
    let wanted = [
        "0 Create",
        "0 Create",
        "1 Acquire(Exclusive)",
        "2 Acquire(Exclusive)",
        "1 Block(Exclusive)",
        "2 Block(Exclusive)",
    ];
    assert_eq!(reported, wanted);
    // The legs are in the order of their hashes.
    let locks: Vec<_> = cycle.legs.iter().map(|leg| name(&session, leg.wanted)).collect();
    assert!([["l0", "l1"], ["l1", "l0"]].iter().any(|wanted| locks == wanted), "{locks:?}");
    assert!(orders.complete && orders.notes.is_empty());
}

#[test]
fn one_order_is_no_cycle() {
    assert!(classified(&program(&[both(A, B), both(A, B)])).cycles.is_empty());
}

#[test]
fn one_thread_alone_is_told_apart() {
    let cycle = [both(A, B), both(B, A)].concat();
    assert_eq!(class_of(&program(&[cycle])), Class::SameThread);
}

#[test]
fn a_common_gate_guards() {
    let (session, orders) = recorded(&program(&[under(G, both(A, B)), under(G, both(B, A))]));
    let cycle = only(&orders);
    assert_eq!((cycle.class, cycle.fails), (Class::Guarded, false));
    let Cause::Guard(one, other) = cycle.cause else { panic!("{cycle:#?}") };
    assert_eq!((name(&session, one.lock), name(&session, other.lock)), ("l2", "l2"));
    assert!([one, other].iter().any(|guard| function(&session, guard.stack) == "t1_step0"), "{cycle:#?}");
}

#[test]
fn a_gate_on_one_side_does_not() {
    assert_eq!(class_of(&program(&[under(G, both(A, B)), both(B, A)])), Class::Feasible);
}

#[test]
fn a_gate_that_both_only_read_does_not() {
    let read = |ops: Vec<Op>| [vec![Read(G)], ops, vec![Unlock(G)]].concat();
    let write = |ops: Vec<Op>| [vec![Write(G)], ops, vec![Unlock(G)]].concat();
    let mut program = program(&[read(both(A, B)), read(both(B, A))]);
    program.locks[G] = Kind::Rwlock;
    assert_eq!(class_of(&program), Class::Feasible);
    program.threads[1] = write(both(A, B));
    assert_eq!(class_of(&program), Class::Guarded);
}

#[test]
fn a_gate_of_two_sides_of_three_guards() {
    let legs = [under(G, both(0, 1)), under(G, both(1, 3)), both(3, 0)];
    assert_eq!(class_of(&program(&legs)), Class::Guarded);
    let open = [under(G, both(0, 1)), both(1, 3), both(3, 0)];
    assert_eq!(class_of(&program(&open)), Class::Feasible);
}

#[test]
fn the_creators_gate_guards_against_others_but_not_among_siblings() {
    // Thread 1 holds the guard lock over the whole life of thread 3; thread 2 takes it itself.
    let guardian = vec![Lock(G), Create(3), Join(3), Unlock(G)];
    let mut guarded = program(&[guardian, under(G, both(B, A)), both(A, B)]);
    guarded.threads[0] = vec![Create(1), Create(2), Join(1), Join(2)];
    let orders = classified(&guarded);
    assert_eq!(only(&orders).class, Class::Guarded);
    let Cause::Guard(one, other) = only(&orders).cause else { panic!("{orders:#?}") };
    let is_leg = |guard: &LegGuard| only(&orders).legs.iter().any(|leg| leg.thread == guard.owner);
    assert!(![one, other].iter().all(is_leg), "one is held by the creator: {orders:#?}");
    let mut siblings = program(&[both(A, B), both(B, A)]);
    siblings.threads[0] = under(G, siblings.threads[0].clone());
    assert_eq!(class_of(&siblings), Class::Feasible);
}

#[test]
fn joins_and_creations_order() {
    let mut joined = program(&[both(A, B), both(B, A)]);
    joined.threads[0] = vec![Create(1), Join(1), Create(2), Join(2)];
    let (session, orders) = recorded(&joined);
    let cycle = only(&orders);
    assert_eq!((cycle.class, cycle.fails), (Class::Ordered, false));
    assert!(matches!(link(&orders), Link::Joined(at) if function(&session, at) == "t0_step1"), "{cycle:#?}");
    let mut before = program(&[both(B, A)]);
    before.threads[0] = [both(A, B), before.threads[0].clone()].concat();
    let (session, orders) = recorded(&before);
    assert_eq!(only(&orders).class, Class::Ordered);
    assert!(matches!(link(&orders), Link::Created(at) if function(&session, at) == "t0_step4"), "{orders:#?}");
    let mut meanwhile = program(&[both(B, A)]);
    meanwhile.threads[0] = [vec![Create(1)], both(A, B), vec![Join(1)]].concat();
    assert_eq!(class_of(&meanwhile), Class::Feasible);
}

#[test]
fn barriers_order_only_if_the_same_threads_meet() {
    let mut meeting = program(&[[both(A, B), vec![Barrier(0)]].concat(), [vec![Barrier(0)], both(B, A)].concat()]);
    meeting.barriers = vec![2];
    let (session, orders) = recorded(&meeting);
    assert_eq!(only(&orders).class, Class::Ordered);
    assert!(matches!(link(&orders), Link::Met(Some(barrier), _) if name(&session, barrier) == "b0"), "{orders:#?}");
    // With four threads at a barrier for two, others may meet next time.
    let mut mixed = program(&[
        [both(A, B), vec![Barrier(0)]].concat(),
        [vec![Barrier(0)], both(B, A)].concat(),
        vec![Barrier(0)],
        vec![Barrier(0)],
    ]);
    mixed.barriers = vec![2];
    assert_eq!(class_of(&mixed), Class::SoftOrdered);
}

#[test]
fn a_semaphore_orders_softly() {
    let mut handed = program(&[[both(A, B), vec![Post(0)]].concat(), [vec![Wait(0)], both(B, A)].concat()]);
    handed.semaphores = vec![0];
    let (session, orders) = recorded(&handed);
    let cycle = only(&orders);
    assert_eq!((cycle.class, cycle.fails), (Class::SoftOrdered, false));
    let Link::Posted { lock: Some(lock), posted, .. } = link(&orders) else { panic!("{cycle:#?}") };
    assert_eq!((name(&session, lock), function(&session, posted)), ("s0", "t1_step4"));
    // The value at the start lets the wait through.
    handed.semaphores = vec![1];
    assert_eq!(class_of(&handed), Class::Feasible);
}

#[test]
fn a_signal_to_nobody_orders_softly() {
    let mut signalled = program(&[
        [both(A, B), vec![Lock(M), Signal(0), Unlock(M)]].concat(),
        [vec![Lock(M), Unlock(M)], both(B, A)].concat(),
    ]);
    signalled.conditions = 1;
    let (session, orders) = recorded(&signalled);
    assert_eq!(only(&orders).class, Class::SoftOrdered);
    let Cause::Signal(lock, at) = only(&orders).cause else { panic!("{orders:#?}") };
    assert_eq!((name(&session, lock), function(&session, at)), ("l3", "t2_step0"));
    // Without the signal, the lock may hand something over all the same: nobody knows.
    signalled.threads[1].retain(|op| *op != Signal(0));
    let (session, orders) = recorded(&signalled);
    assert_eq!((only(&orders).class, only(&orders).fails), (Class::Possible, true));
    let Cause::HandOver(lock, at) = only(&orders).cause else { panic!("{orders:#?}") };
    assert_eq!((name(&session, lock), function(&session, at)), ("l3", "t2_step0"));
}

#[test]
fn tries_block_nobody_but_hold() {
    let tried = vec![Lock(B), Try(A), Unlock(A), Unlock(B)];
    assert!(classified(&program(&[both(A, B), tried])).cycles.is_empty());
    let outer = vec![Try(B), Lock(A), Unlock(A), Unlock(B)];
    assert_eq!(class_of(&program(&[both(A, B), outer])), Class::Feasible);
}

#[test]
fn a_timed_request_is_told_and_does_not_fail() {
    let timed = vec![Lock(B), Timed(A), Unlock(A), Unlock(B)];
    let orders = classified(&program(&[both(A, B), timed]));
    assert_eq!((only(&orders).class, only(&orders).fails), (Class::Possible, false));
    assert!(only(&orders).legs.iter().any(|leg| leg.timed));
    assert_eq!(only(&orders).cause, Cause::Timed);
}

#[test]
fn a_join_under_a_lock_that_the_thread_needs() {
    let mut joins = program(&[vec![Lock(A), Unlock(A)]]);
    joins.threads[0] = vec![Create(1), Lock(A), Join(1), Unlock(A)];
    let recorded = backwards(&joins);
    assert!(recorded.finished);
    let orders = orders(&recorded.session);
    let cycle = only(&orders);
    assert_eq!((cycle.class, cycle.fails), (Class::Feasible, true));
    let is_join = |lock: LockId| recorded.session.lock(lock).kind == Kind::Join;
    assert!(cycle.legs.iter().any(|leg| is_join(leg.held.lock)), "{cycle:#?}");
    // Over a thread between: thread 1 joins thread 2, which needs the lock.
    let mut chain = program(&[vec![Create(2), Join(2)], vec![Lock(A), Unlock(A)]]);
    chain.threads[0] = vec![Create(1), Lock(A), Join(1), Unlock(A)];
    let recorded = backwards(&chain);
    assert!(recorded.finished);
    let orders = super::super::orders(&recorded.session);
    assert_eq!((only(&orders).class, only(&orders).legs.len()), (Class::Feasible, 3));
}

#[test]
fn readers_need_a_writer() {
    let read = |one, other| vec![Read(one), Read(other), Unlock(other), Unlock(one)];
    let mut readers = program(&[read(A, B), read(B, A)]);
    readers.locks = vec![Kind::Rwlock; 4];
    let orders = classified(&readers);
    assert_eq!((only(&orders).class, only(&orders).fails), (Class::NeedsWriter, false));
    // A writer alone does not matter: readers go in past it.
    let write = |lock| vec![Write(lock), Unlock(lock)];
    let mut written = program(&[read(A, B), read(B, A), [write(A), write(B)].concat()]);
    written.locks = vec![Kind::Rwlock; 4];
    assert!(!only(&classified(&written)).fails);
    // Where it goes first, it does.
    written.writers_first = vec![A, B];
    let (session, orders) = recorded(&written);
    assert_eq!((only(&orders).class, only(&orders).fails), (Class::NeedsWriter, true));
    let Cause::Readers(_, Some((_, at))) = only(&orders).cause else { panic!("{orders:#?}") };
    assert!(function(&session, at).starts_with("t3_step"), "{orders:#?}");
    // Unless it is over before the readers begin.
    written.threads[0] = vec![Create(3), Join(3), Create(1), Create(2), Join(1), Join(2)];
    assert!(!only(&classified(&written)).fails);
    // One lock that is written is enough to break the circle of readers.
    let half = vec![Write(B), Read(A), Unlock(A), Unlock(B)];
    let mut mixed = program(&[read(A, B), half]);
    mixed.locks = vec![Kind::Rwlock; 4];
    assert_eq!(class_of(&mixed), Class::NeedsWriter);
    mixed.threads[2] = vec![Write(B), Write(A), Unlock(A), Unlock(B)];
    assert_eq!(class_of(&mixed), Class::Feasible);
}

#[test]
fn a_reader_that_reads_again() {
    let again = vec![Read(A), Read(A), Unlock(A), Unlock(A)];
    let mut program = program(&[again, vec![Write(A), Unlock(A)]]);
    program.locks = vec![Kind::Rwlock; 4];
    let orders = classified(&program);
    assert_eq!((only(&orders).class, only(&orders).fails, only(&orders).legs.len()), (Class::NeedsWriter, false, 1));
    program.writers_first = vec![A];
    assert!(only(&classified(&program)).fails);
    program.threads.truncate(2);
    program.threads[0] = vec![Create(1), Join(1)];
    assert!(!only(&classified(&program)).fails, "nobody writes");
}

#[test]
fn a_lock_taken_twice_by_its_owner_is_no_cycle() {
    let recorded = in_turn(&program(&[vec![Lock(A), Lock(A), Unlock(A), Unlock(A)]]));
    assert!(!recorded.finished);
    let orders = orders(&recorded.session);
    assert!(orders.cycles.is_empty());
    assert_eq!(orders.requested_again.len(), 1);
}

#[test]
fn a_hung_run_is_told() {
    let mut script = [0, 0, 1, 2].into_iter();
    let recorded = run(&program(&[both(A, B), both(B, A)]), &mut |able| {
        let next = script.next();
        able.iter().position(|thread| Some(*thread) == next).unwrap_or(0)
    });
    assert!(!recorded.finished);
    assert_eq!(only(&orders(&recorded.session)).class, Class::Feasible);
}
