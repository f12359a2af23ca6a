//! Larger programs with a known truth, and their graphs.

use std::time::Instant;

use super::programs::{A, B, G, M, backwards, both, classified, in_turn, only, program};
use super::simulate::Op::{Lock, Unlock};
use super::simulate::Program;
use crate::analysis::order::{By, Class, graph, orders};
use crate::model::Kind;

fn philosophers(count: usize) -> Program {
    let mut program = program(&(0..count).map(|at| both(at, (at + 1) % count)).collect::<Vec<_>>());
    program.locks = vec![Kind::Mutex; count];
    program
}

#[test]
fn philosophers_of_any_number() {
    for count in 3..=30 {
        let orders = classified(&philosophers(count));
        let cycle = only(&orders);
        assert_eq!((cycle.class, cycle.legs.len()), (Class::Feasible, count));
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
    println!("{} cycles reported in {:?}", orders.cycles.len(), begin.elapsed());
    let rich = orders.cycles.iter().find(|cycle| cycle.component.is_some()).expect("one for all");
    assert_eq!((rich.component, rich.class, rich.fails), (Some(45), Class::Feasible, true));
    assert_eq!(orders.cycles[0].legs.len(), 2);
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
    assert_eq!(only(&orders).legs[0].count, 2_000);
}

#[test]
fn the_graph_has_levels_and_cycles() {
    let recorded = in_turn(&program(&[[both(G, A), both(A, B)].concat(), both(B, A), both(B, M)]));
    let session = &recorded.session;
    let orders = orders(session);
    let all = graph(session, &orders.cycles, By::Instance, false);
    let reported: Vec<_> = all.nodes.iter().map(|node| (node.name.as_str(), node.level, node.component)).collect();
    assert_eq!(reported, [("l2", 0, None), ("l0", 1, Some(0)), ("l1", 1, Some(0)), ("l3", 2, None)]);
    let edges: Vec<_> = all.edges.iter().map(|edge| (edge.from, edge.to, edge.cycle)).collect();
    let cycle = Some(Class::Feasible);
    assert_eq!(edges, [(0, 1, None), (1, 2, cycle), (2, 1, cycle), (2, 3, None)]);
    let knot = graph(session, &orders.cycles, By::Class, true);
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
    let reported = graph(session, &orders.cycles, By::Class, false);
    assert!(reported.nodes.iter().all(|node| node.component.is_none()), "{reported:?}");
    assert!(graph(session, &orders.cycles, By::Class, true).edges.is_empty());
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
