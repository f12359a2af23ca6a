//! Programs with a known truth: each row of "What counts as an order", each verdict, and the sizes.

use std::time::Instant;

use super::simulate::{Op, Program, Recorded, run};
use crate::analysis::order::{By, Class, Cycle, Orders, graph, orders};
use crate::model::Kind;
use Op::{Barrier, Create, Join, Lock, Post, Read, Signal, Timed, Try, Unlock, Wait, Write};

const A: usize = 0;
const B: usize = 1;
const G: usize = 2;
const M: usize = 3;

/// Thread 0 creates the others one after the other and joins them in the end, unless it says otherwise.
fn program(threads: &[Vec<Op>]) -> Program {
    let mut main: Vec<Op> = (1..=threads.len()).map(Create).collect();
    main.extend((1..=threads.len()).map(Join));
    let threads = std::iter::once(main).chain(threads.iter().cloned()).collect();
    Program { threads, locks: vec![Kind::Mutex; 4], ..Program::default() }
}

/// Threads run as long as they can, in the order of their numbers.
fn in_turn(program: &Program) -> Recorded {
    run(program, &mut |_| 0)
}

/// Threads run as long as they can, the last created first.
fn backwards(program: &Program) -> Recorded {
    run(program, &mut |able| able.len() - 1)
}

fn both(lock: usize, other: usize) -> Vec<Op> {
    vec![Lock(lock), Lock(other), Unlock(other), Unlock(lock)]
}

fn under(gate: usize, ops: Vec<Op>) -> Vec<Op> {
    [vec![Lock(gate)], ops, vec![Unlock(gate)]].concat()
}

fn judged(program: &Program) -> Orders {
    let recorded = in_turn(program);
    assert!(recorded.finished, "the program runs to its end");
    orders(&recorded.session)
}

/// The one cycle.
fn only(orders: &Orders) -> &Cycle {
    assert_eq!(orders.cycles.len(), 1, "{:#?}", orders.cycles);
    &orders.cycles[0]
}

fn class_of(program: &Program) -> Class {
    only(&judged(program)).class
}

#[test]
fn two_orders_are_feasible() {
    let orders = judged(&program(&[both(A, B), both(B, A)]));
    let cycle = only(&orders);
    assert_eq!((cycle.class, cycle.fails, cycle.instances, cycle.sides.len()), (Class::Feasible, true, 1, 2));
    let told: Vec<_> = cycle.witness.iter().map(|step| format!("{} {:?}", step.thread.0, step.action)).collect();
    let wanted = [
        "0 Create",
        "0 Create",
        "1 Acquire(Exclusive)",
        "2 Acquire(Exclusive)",
        "1 Block(Exclusive)",
        "2 Block(Exclusive)",
    ];
    assert_eq!(told, wanted);
    // The sides are in the order of their hashes.
    let locks = ["`l0` and `l1`", "`l1` and `l0`"];
    assert!(locks.iter().any(|locks| cycle.reason.contains(locks)), "{}", cycle.reason);
    assert!(cycle.advice.contains("std::scoped_lock"), "{}", cycle.advice);
    assert!(orders.complete && orders.notes.is_empty());
}

#[test]
fn one_order_is_no_cycle() {
    assert!(judged(&program(&[both(A, B), both(A, B)])).cycles.is_empty());
}

#[test]
fn one_thread_alone_is_told_apart() {
    let cycle = [both(A, B), both(B, A)].concat();
    assert_eq!(class_of(&program(&[cycle])), Class::SameThread);
}

#[test]
fn a_common_gate_guards() {
    let orders = judged(&program(&[under(G, both(A, B)), under(G, both(B, A))]));
    let cycle = only(&orders);
    assert_eq!((cycle.class, cycle.fails), (Class::Guarded, false));
    assert!(cycle.reason.contains("`l2`") && cycle.reason.contains("t1_step0 (program.c:1)"), "{}", cycle.reason);
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
    let sides = [under(G, both(0, 1)), under(G, both(1, 3)), both(3, 0)];
    assert_eq!(class_of(&program(&sides)), Class::Guarded);
    let open = [under(G, both(0, 1)), both(1, 3), both(3, 0)];
    assert_eq!(class_of(&program(&open)), Class::Feasible);
}

#[test]
fn the_creators_gate_guards_against_others_but_not_among_siblings() {
    // Thread 1 holds the gate over the whole life of thread 3; thread 2 takes it itself.
    let guardian = vec![Lock(G), Create(3), Join(3), Unlock(G)];
    let mut guarded = program(&[guardian, under(G, both(B, A)), both(A, B)]);
    guarded.threads[0] = vec![Create(1), Create(2), Join(1), Join(2)];
    let orders = judged(&guarded);
    assert_eq!(only(&orders).class, Class::Guarded);
    assert!(only(&orders).reason.contains("by the creator"), "{}", only(&orders).reason);
    let mut siblings = program(&[both(A, B), both(B, A)]);
    siblings.threads[0] = under(G, siblings.threads[0].clone());
    assert_eq!(class_of(&siblings), Class::Feasible);
}

#[test]
fn joins_and_creations_order() {
    let mut joined = program(&[both(A, B), both(B, A)]);
    joined.threads[0] = vec![Create(1), Join(1), Create(2), Join(2)];
    let orders = judged(&joined);
    let cycle = only(&orders);
    assert_eq!((cycle.class, cycle.fails), (Class::Ordered, false));
    assert!(cycle.reason.contains("joined in t0_step1 (program.c:2)"), "{}", cycle.reason);
    let mut before = program(&[both(B, A)]);
    before.threads[0] = [both(A, B), before.threads[0].clone()].concat();
    let orders = judged(&before);
    assert_eq!(only(&orders).class, Class::Ordered);
    assert!(only(&orders).reason.contains("created in t0_step4"), "{}", only(&orders).reason);
    let mut meanwhile = program(&[both(B, A)]);
    meanwhile.threads[0] = [vec![Create(1)], both(A, B), vec![Join(1)]].concat();
    assert_eq!(class_of(&meanwhile), Class::Feasible);
}

#[test]
fn barriers_order_only_if_the_same_threads_meet() {
    let mut meeting = program(&[[both(A, B), vec![Barrier(0)]].concat(), [vec![Barrier(0)], both(B, A)].concat()]);
    meeting.barriers = vec![2];
    let orders = judged(&meeting);
    assert_eq!(only(&orders).class, Class::Ordered);
    assert!(only(&orders).reason.contains("the barrier `b0`"), "{}", only(&orders).reason);
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
    let orders = judged(&handed);
    let cycle = only(&orders);
    assert_eq!((cycle.class, cycle.fails), (Class::SoftOrdered, false));
    assert!(cycle.reason.contains("`s0` is posted in t1_step4"), "{}", cycle.reason);
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
    let orders = judged(&signalled);
    assert_eq!(only(&orders).class, Class::SoftOrdered);
    assert!(only(&orders).reason.contains("`l3` in t2_step0"), "{}", only(&orders).reason);
    // Without the signal, the lock may hand something over all the same: nobody knows.
    signalled.threads[1].retain(|op| *op != Signal(0));
    let orders = judged(&signalled);
    assert_eq!((only(&orders).class, only(&orders).fails), (Class::Possible, true));
    assert!(only(&orders).reason.contains("`l3` in t2_step0"), "{}", only(&orders).reason);
}

#[test]
fn tries_block_nobody_but_hold() {
    let tried = vec![Lock(B), Try(A), Unlock(A), Unlock(B)];
    assert!(judged(&program(&[both(A, B), tried])).cycles.is_empty());
    let outer = vec![Try(B), Lock(A), Unlock(A), Unlock(B)];
    assert_eq!(class_of(&program(&[both(A, B), outer])), Class::Feasible);
}

#[test]
fn a_timed_request_is_told_and_does_not_fail() {
    let timed = vec![Lock(B), Timed(A), Unlock(A), Unlock(B)];
    let orders = judged(&program(&[both(A, B), timed]));
    assert_eq!((only(&orders).class, only(&orders).fails), (Class::Possible, false));
    assert!(only(&orders).sides.iter().any(|side| side.timed));
    assert!(only(&orders).reason.contains("gives up"), "{}", only(&orders).reason);
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
    assert!(cycle.advice.contains("do not join"), "{}", cycle.advice);
    // Over a thread between: thread 1 joins thread 2, which needs the lock.
    let mut chain = program(&[vec![Create(2), Join(2)], vec![Lock(A), Unlock(A)]]);
    chain.threads[0] = vec![Create(1), Lock(A), Join(1), Unlock(A)];
    let recorded = backwards(&chain);
    assert!(recorded.finished);
    let orders = super::super::orders(&recorded.session);
    assert_eq!((only(&orders).class, only(&orders).sides.len()), (Class::Feasible, 3));
}

#[test]
fn readers_need_a_writer() {
    let read = |one, other| vec![Read(one), Read(other), Unlock(other), Unlock(one)];
    let mut readers = program(&[read(A, B), read(B, A)]);
    readers.locks = vec![Kind::Rwlock; 4];
    let orders = judged(&readers);
    assert_eq!((only(&orders).class, only(&orders).fails), (Class::NeedsWriter, false));
    // A writer alone does not matter: readers go in past it.
    let write = |lock| vec![Write(lock), Unlock(lock)];
    let mut written = program(&[read(A, B), read(B, A), [write(A), write(B)].concat()]);
    written.locks = vec![Kind::Rwlock; 4];
    assert!(!only(&judged(&written)).fails);
    // Where it goes first, it does.
    written.writers_first = vec![A, B];
    let orders = judged(&written);
    assert_eq!((only(&orders).class, only(&orders).fails), (Class::NeedsWriter, true));
    assert!(only(&orders).reason.contains("t3_step"), "{}", only(&orders).reason);
    // Unless it is over before the readers begin.
    written.threads[0] = vec![Create(3), Join(3), Create(1), Create(2), Join(1), Join(2)];
    assert!(!only(&judged(&written)).fails);
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
    let orders = judged(&program);
    assert_eq!((only(&orders).class, only(&orders).fails, only(&orders).sides.len()), (Class::NeedsWriter, false, 1));
    program.writers_first = vec![A];
    assert!(only(&judged(&program)).fails);
    program.threads.truncate(2);
    program.threads[0] = vec![Create(1), Join(1)];
    assert!(!only(&judged(&program)).fails, "nobody writes");
}

#[test]
fn a_lock_taken_twice_by_its_owner_is_found() {
    let recorded = in_turn(&program(&[vec![Lock(A), Lock(A), Unlock(A), Unlock(A)]]));
    assert!(!recorded.finished);
    let orders = orders(&recorded.session);
    assert!(orders.cycles.is_empty());
    assert_eq!(orders.findings.len(), 1);
    assert!(orders.findings[0].fails && orders.findings[0].message.contains("waits for ever"), "{orders:#?}");
    let mut upgrade = program(&[vec![Read(A), Write(A), Unlock(A), Unlock(A)]]);
    upgrade.locks = vec![Kind::Rwlock; 4];
    let orders = super::super::orders(&in_turn(&upgrade).session);
    assert!(orders.findings[0].message.contains("itself reads"), "{orders:#?}");
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

fn philosophers(count: usize) -> Program {
    let mut program = program(&(0..count).map(|at| both(at, (at + 1) % count)).collect::<Vec<_>>());
    program.locks = vec![Kind::Mutex; count];
    program
}

#[test]
fn philosophers_of_any_number() {
    for count in 3..=30 {
        let orders = judged(&philosophers(count));
        let cycle = only(&orders);
        assert_eq!((cycle.class, cycle.sides.len()), (Class::Feasible, count));
        assert_eq!(cycle.witness.len(), 3 * count);
    }
}

#[test]
fn forty_five_locks_in_rotation() {
    let count = 45;
    let thread = |from: usize| {
        let locks = (0..count).map(move |at| (from + at) % count);
        locks.clone().map(Lock).chain(locks.map(Unlock)).collect::<Vec<_>>()
    };
    let mut rotation = program(&(0..count).map(thread).collect::<Vec<_>>());
    rotation.locks = vec![Kind::Mutex; count];
    let mut recorded = in_turn(&rotation);
    assert!(recorded.finished);
    recorded.session.locks.iter_mut().take(count).for_each(|lock| lock.class = "global:locks[]".into());
    let begin = Instant::now();
    let orders = orders(&recorded.session);
    println!("{} cycles told in {:?}", orders.cycles.len(), begin.elapsed());
    let rich = orders.cycles.iter().find(|cycle| cycle.component.is_some()).expect("one for all");
    assert_eq!((rich.component, rich.class, rich.fails), (Some(45), Class::Feasible, true));
    assert_eq!(orders.cycles[0].sides.len(), 2);
}

#[test]
fn many_repetitions_are_one_cycle() {
    let often = |one, other| (0..2_000).flat_map(|_| both(one, other)).collect::<Vec<_>>();
    let begin = Instant::now();
    // Each repetition at its own step: the same place in the code.
    let mut recorded = in_turn(&program(&[often(A, B), often(B, A)]));
    for at in 1..recorded.session.stacks.len() {
        let node = recorded.session.stacks.node_mut(crate::model::StackId::from(at));
        let mut frames = node.frames.to_vec();
        frames[0].function = frames[0].function.as_ref().map(|name| name[..2].to_owned());
        node.frames = frames.into();
    }
    let orders = orders(&recorded.session);
    println!("{:?}", begin.elapsed());
    assert_eq!(only(&orders).class, Class::Feasible);
    assert_eq!(only(&orders).sides[0].count, 2_000);
}

#[test]
fn the_graph_has_levels_and_cycles() {
    let recorded = in_turn(&program(&[[both(G, A), both(A, B)].concat(), both(B, A), both(B, M)]));
    let session = &recorded.session;
    let orders = orders(session);
    let all = graph(session, &orders, By::Instance, false);
    let told: Vec<_> = all.nodes.iter().map(|node| (node.name.as_str(), node.level, node.component)).collect();
    assert_eq!(told, [("l2", 0, None), ("l0", 1, Some(0)), ("l1", 1, Some(0)), ("l3", 2, None)]);
    let edges: Vec<_> = all.edges.iter().map(|edge| (edge.from, edge.to, edge.cycle)).collect();
    let cycle = Some(Class::Feasible);
    assert_eq!(edges, [(0, 1, None), (1, 2, cycle), (2, 1, cycle), (2, 3, None)]);
    let knot = graph(session, &orders, By::Class, true);
    assert_eq!((knot.nodes.len(), knot.edges.len()), (2, 2));
}

/// A chain of nodes of one class, always locked from the first to the last: the class comes round, its locks do not.
#[test]
fn a_chain_of_one_class_is_no_cycle() {
    let mut recorded = in_turn(&program(&[[both(A, B), both(B, M)].concat(), both(A, B)]));
    for lock in &mut recorded.session.locks {
        lock.class = "member:Node.guard".into();
    }
    let session = &recorded.session;
    let orders = orders(session);
    assert_eq!(orders.cycles, []);
    let told = graph(session, &orders, By::Class, false);
    assert!(told.nodes.iter().all(|node| node.component.is_none()), "{told:?}");
    assert!(graph(session, &orders, By::Class, true).edges.is_empty());
}

#[test]
fn the_same_program_has_the_same_fingerprints() {
    let program = philosophers(5);
    let (one, other) = (orders(&in_turn(&program).session), orders(&backwards(&program).session));
    assert_eq!(only(&one).fingerprint, only(&other).fingerprint);
    let mut moved = in_turn(&program).session;
    for at in 1..moved.stacks.len() {
        let node = moved.stacks.node_mut(crate::model::StackId::from(at));
        let mut frames = node.frames.to_vec();
        (frames[0].line, frames[0].file) = (frames[0].line + 7, None);
        node.frames = frames.into();
    }
    moved.locks.iter_mut().for_each(|lock| lock.address += 0x1000);
    assert_eq!(only(&orders(&moved)).fingerprint, only(&one).fingerprint);
    assert_eq!(only(&one).fingerprint.len(), 16);
}
