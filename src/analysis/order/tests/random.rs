//! Random programs: what is said of them is held against all that they can do.

use std::collections::BTreeMap;

use super::explore::{Deadlock, Explorer};
use super::simulate::{Dice, Op, Program, Recorded, run};
use crate::analysis::order::{Action, Class, Cycle, orders};
use crate::model::Kind;

/// What programs are made of.
#[derive(Clone, Copy, Debug)]
struct Mix {
    threads: usize,
    locks: usize,
    ops: usize,
    readers: bool,
    tries: bool,
    barriers: bool,
    semaphores: bool,
}

fn program(dice: &mut Dice, mix: Mix) -> Program {
    let count = 2 + dice.below(mix.threads - 1);
    let locks = 2 + dice.below(mix.locks - 1);
    let kind = |dice: &mut Dice| if mix.readers && dice.chance(2) { Kind::Rwlock } else { Kind::Mutex };
    let mut program = Program { locks: (0..locks).map(|_| kind(dice)).collect(), ..Program::default() };
    if mix.barriers {
        program.barriers.push(2 + dice.below(2) as u32);
    }
    if mix.semaphores {
        program.semaphores.push(dice.below(2) as u32);
    }
    program.threads = (0..count).map(|_| thread(dice, &program, mix)).collect();
    // Threads are created by earlier ones, and often joined by them.
    for child in 1..count {
        let creator = if dice.chance(4) { dice.below(child) } else { 0 };
        let joiner = if dice.chance(6) { dice.below(child) } else { creator };
        let ops = &mut program.threads[creator];
        let create = if dice.chance(2) { 0 } else { dice.below(ops.len() + 1) };
        ops.insert(create, Op::Create(child));
        if dice.chance(2) {
            let ops = &mut program.threads[joiner];
            let from = if joiner == creator { create + 1 } else { 0 };
            let join = from + dice.below(ops.len() + 1 - from);
            ops.insert(join, Op::Join(child));
        }
    }
    program
}

fn thread(dice: &mut Dice, program: &Program, mix: Mix) -> Vec<Op> {
    let mut ops = Vec::new();
    let mut held: Vec<usize> = Vec::new();
    let count = 2 + dice.below(mix.ops - 1);
    while ops.len() + held.len() < count {
        let choice = dice.below(12);
        if choice < 6 && held.len() < program.locks.len() {
            let lock = dice.below(program.locks.len());
            if held.contains(&lock) {
                continue;
            }
            held.push(lock);
            ops.push(match program.locks[lock] {
                Kind::Rwlock if dice.chance(2) => Op::Read(lock),
                Kind::Rwlock => Op::Write(lock),
                _ if mix.tries && dice.chance(6) => Op::Try(lock),
                _ if mix.tries && dice.chance(8) => Op::Timed(lock),
                _ => Op::Lock(lock),
            });
        } else if choice < 10 && !held.is_empty() {
            let at = if dice.chance(4) { dice.below(held.len()) } else { held.len() - 1 };
            ops.push(Op::Unlock(held.remove(at)));
        } else if choice == 10 && mix.barriers {
            ops.push(Op::Barrier(0));
        } else if choice == 11 && mix.semaphores {
            ops.push(if dice.chance(2) { Op::Post(0) } else { Op::Wait(0) });
        } else if choice >= 10 {
            continue;
        }
    }
    while let Some(lock) = held.pop() {
        ops.push(Op::Unlock(lock));
    }
    ops
}

#[derive(Debug, Default)]
struct Tally {
    programs: usize,
    finished: usize,
    reachable: usize,
    reported: BTreeMap<(&'static str, bool), [usize; 2]>,
}

fn deadlock_of(recorded: &Recorded, cycle: &Cycle) -> Deadlock {
    let step =
        |leg: &crate::analysis::order::Leg| recorded.steps[leg.wanted_stack.index()].expect("the stack of a step");
    let mut deadlock: Deadlock = cycle.legs.iter().map(step).collect();
    deadlock.sort_unstable();
    deadlock
}

/// The witness, step by step, is a run of the program that ends in the deadlock.
fn replay(explorer: &Explorer<'_>, cycle: &Cycle) {
    let mut state: Vec<u8> = vec![0; explorer.program.threads.len()];
    let skip = |state: &mut Vec<u8>, thread: usize| {
        // Tries that failed, and the unlocks behind them, leave nothing in a recording.
        loop {
            let at = usize::from(state[thread] / 2);
            let nothing = match explorer.op(state, thread) {
                Some(Op::Try(_)) => explorer.failed.contains(&(thread, at)),
                Some(Op::Unlock(lock)) => {
                    let ops = &explorer.program.threads[thread][..at];
                    let taken = ops.iter().rposition(|op| *op == Op::Try(lock));
                    taken.is_some_and(|taken| {
                        explorer.failed.contains(&(thread, taken))
                            && !ops[taken..].iter().any(|op| matches!(op, Op::Lock(l) | Op::Timed(l) if *l == lock))
                    })
                }
                _ => false,
            };
            if !nothing {
                return;
            }
            state[thread] += 2;
        }
    };
    let mut blocked = Vec::new();
    for step in &cycle.witness {
        let thread = step.thread.index();
        skip(&mut state, thread);
        if let Action::Block(_) = step.action {
            blocked.push((thread, usize::from(state[thread] / 2)));
            continue;
        }
        // A thread that did nothing that is recorded is at its end.
        (0..state.len()).for_each(|other| skip(&mut state, other));
        match explorer.step(&state, thread) {
            Some(next) => state = next,
            None => {
                for (thread, ops) in explorer.program.threads.iter().enumerate() {
                    println!("{thread}: {ops:?}");
                }
                for step in &cycle.witness {
                    println!("{:?} {:?} {:?}", step.thread, step.action, step.lock);
                }
                panic!("{step:?} is not possible at {state:?}");
            }
        }
    }
    blocked.sort_unstable();
    for (thread, _) in &blocked {
        assert!(explorer.step(&state, *thread).is_none(), "thread {thread} need not wait: {cycle:#?}");
    }
}

fn check(program: &Program, recorded: &Recorded, tally: &mut Tally) {
    let explorer = Explorer { program, failed: &recorded.failed };
    let Some(reachable) = explorer.deadlocks() else { return };
    let orders = orders(&recorded.session);
    tally.programs += 1;
    tally.finished += usize::from(recorded.finished);
    let context = |deadlock: &Deadlock| {
        let threads: Vec<String> = program.threads.iter().map(|ops| format!("{ops:?}")).collect();
        let reported = orders.cycles.iter().map(|cycle| {
            format!(
                "{} {}: {:?}: {:?}",
                cycle.fingerprint,
                cycle.class.name(),
                deadlock_of(recorded, cycle),
                cycle.cause
            )
        });
        let reported: Vec<String> = reported.collect();
        let (lines, reported) = (threads.join("\n"), reported.join("\n"));
        format!(
            "{deadlock:?} in {:?} {:?}\n{lines}\nfailed {:?}\n{reported}",
            program.locks, program.barriers, recorded.failed
        )
    };
    let soft = !program.semaphores.is_empty()
        || program.barriers.first().is_some_and(|count| {
            let comes = |ops: &&Vec<Op>| ops.contains(&Op::Barrier(0));
            program.threads.iter().filter(comes).count() != *count as usize
        });
    let mut reported: BTreeMap<Deadlock, &Cycle> = BTreeMap::new();
    for cycle in orders.cycles.iter().filter(|cycle| cycle.component.is_none()) {
        let deadlock = deadlock_of(recorded, cycle);
        let real = reachable.contains(&deadlock);
        tally.reported.entry((cycle.class.name(), cycle.fails)).or_default()[usize::from(real)] += 1;
        if std::env::var_os("LOCKPROF_ORDER_SHOW").is_some() && cycle.fails && !real {
            println!("{}", context(&deadlock));
        }
        if cycle.class == Class::Feasible {
            assert!(real, "not reachable: {}", context(&deadlock));
            if program.barriers.is_empty() {
                replay(&explorer, cycle);
            }
        }
        if cycle.fails && !real {
            assert_eq!(cycle.class, Class::Possible, "{}", context(&deadlock));
        }
        // The same requests may close a circle in several ways, some of which are ruled out.
        reported
            .entry(deadlock)
            .and_modify(|known| *known = if cycle.class < known.class { cycle } else { known })
            .or_insert(cycle);
    }
    if recorded.finished {
        tally.reachable += reachable.len();
        for deadlock in &reachable {
            let fine =
                reported.get(deadlock).is_some_and(|cycle| cycle.fails || soft && cycle.class == Class::SoftOrdered);
            assert!(fine, "missed: {}", context(deadlock));
        }
    }
}

fn try_programs(seed: u64, count: usize, mix: Mix) -> Tally {
    let mut tally = Tally::default();
    for number in 0..count as u64 {
        let mut dice = Dice::new(seed + number);
        let program = program(&mut dice, mix);
        let recorded = run(&program, &mut |able| dice.below(able.len()));
        check(&program, &recorded, &mut tally);
    }
    println!("{mix:?}: {tally:#?}");
    tally
}

const PLAIN: Mix =
    Mix { threads: 3, locks: 3, ops: 8, readers: false, tries: false, barriers: false, semaphores: false };

/// Programs of each mix; more with `LOCKPROF_ORDER_PROGRAMS`.
fn programs() -> usize {
    std::env::var("LOCKPROF_ORDER_PROGRAMS").ok().and_then(|count| count.parse().ok()).unwrap_or(400)
}

#[test]
fn mutexes() {
    let tally = try_programs(1_000_000, programs(), PLAIN);
    assert!(tally.reachable > 20 && tally.reported.contains_key(&("feasible", true)), "{tally:?}");
}

#[test]
fn four_threads() {
    let tally = try_programs(2_000_000, programs(), Mix { threads: 4, locks: 4, ops: 6, ..PLAIN });
    assert!(tally.reachable > 20, "{tally:?}");
}

#[test]
fn readers_and_writers() {
    try_programs(3_000_000, programs(), Mix { readers: true, ..PLAIN });
}

#[test]
fn tries_and_timed_requests() {
    try_programs(4_000_000, programs(), Mix { tries: true, ..PLAIN });
}

#[test]
fn barriers() {
    try_programs(5_000_000, programs(), Mix { barriers: true, ..PLAIN });
}

#[test]
fn semaphores() {
    try_programs(6_000_000, programs(), Mix { semaphores: true, ..PLAIN });
}

#[test]
fn everything_at_once() {
    let mix = Mix { threads: 4, locks: 3, ops: 7, readers: true, tries: true, barriers: true, semaphores: true };
    try_programs(7_000_000, programs(), mix);
}
