//! Orders of several processes.

use crate::analysis::order::{Cause, Class, Cycle, orders};
use crate::analysis::testing::Builder;
use crate::model::order::{Event, Fold, How, What};
use crate::model::{Kind, LockId, Mode, ProcessId, Session, ThreadId};

/// Each process takes these locks (numbers of classes), one under the other, at the same places in the code.
fn runs(orders: &[&[usize]], kinds: &[Kind], modes: &[Mode]) -> Session {
    let mut builder = Builder::new();
    let process = builder.session.processes[0].clone();
    let (mut fold, mut at_ns) = (Fold::default(), 0);
    for (number, order) in orders.iter().enumerate() {
        builder.session.processes.resize(number + 1, process.clone());
        if number > 0 {
            builder.session.later_runs.push(ProcessId::from(number));
        }
        let thread: ThreadId = builder.thread("main");
        builder.session.threads[thread.index()].process = ProcessId::from(number);
        let mut event = |fold: &mut Fold, builder: &mut Builder, name: &str, what| {
            at_ns += 10;
            let stack = builder.stack(&[(name, "run.c", 1)]);
            fold.apply(&mut builder.session.order, thread, Event { at_ns, stack, what });
        };
        let started = What::Started { process: ProcessId::from(number), key: 1, token: 0 };
        event(&mut fold, &mut builder, "start", started);
        for (position, class) in order.iter().enumerate() {
            let lock: LockId = builder.lock("lock", kinds[*class]);
            let row = &mut builder.session.locks[lock.index()];
            (row.class, row.process) = (format!("global:{class}"), ProcessId::from(number));
            let (mode, position) = (modes[*class], position as u32);
            let what = What::Acquired { lock, mode, how: How::Block, reacquired: false, position, restart: false };
            event(&mut fold, &mut builder, &format!("take_{class}"), what);
        }
    }
    fold.flush(&mut builder.session.order, true);
    builder.session
}

const MUTEXES: [Kind; 3] = [Kind::Mutex; 3];
const ALONE: [Mode; 3] = [Mode::Exclusive; 3];

fn classified(session: &Session) -> Option<Cycle> {
    let orders = orders(session);
    assert!(orders.cycles.len() < 2, "{:#?}", orders.cycles);
    orders.cycles.into_iter().next()
}

#[test]
fn two_runs_that_take_two_orders() {
    let cycle = classified(&runs(&[&[0, 1], &[1, 0]], &MUTEXES, &ALONE)).expect("a cycle");
    assert_eq!((cycle.class, cycle.fails, cycle.legs.len()), (Class::Possible, true, 2));
    assert_eq!(cycle.cause, Cause::CrossRun);
    assert_ne!(cycle.legs[0].held.lock, cycle.legs[1].wanted, "locks of two processes");
}

#[test]
fn one_order_in_all_runs() {
    assert_eq!(classified(&runs(&[&[0, 1], &[0, 1]], &MUTEXES, &ALONE)), None);
}

#[test]
fn a_gate_in_all_runs() {
    let cycle = classified(&runs(&[&[2, 0, 1], &[2, 1, 0]], &MUTEXES, &ALONE)).expect("a cycle");
    assert_eq!((cycle.class, cycle.fails), (Class::Guarded, false));
}

#[test]
fn a_class_of_several_locks_stands_for_none() {
    let mut session = runs(&[&[0, 1], &[1, 0]], &MUTEXES, &ALONE);
    let mut another = session.locks[0].clone();
    another.address += 1 << 20;
    session.locks.push(another);
    assert_eq!(classified(&session), None);
}

#[test]
fn readers_in_different_runs() {
    let shared = [Mode::Shared; 3];
    let cycle = classified(&runs(&[&[0, 1], &[1, 0]], &[Kind::Rwlock; 3], &shared)).expect("a cycle");
    assert_eq!((cycle.class, cycle.fails), (Class::NeedsWriter, false));
}
