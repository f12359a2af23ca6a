//! What to do about a hang, in a sentence.

use super::HangWords;
use crate::model::{HangKind, Kind, Mode, Waiting};
use crate::render::explain::cycle::SIGNAL_ADVICE;
use crate::render::frames::lines;
use crate::render::units::plural;

pub(super) fn help(words: &HangWords<'_>) -> String {
    match words.hang.kind {
        HangKind::SelfDeadlock => words.hang.cycle.first().map_or_else(String::new, |waiting| itself(words, waiting)),
        HangKind::Deadlock => each_other(words),
        HangKind::Waits => waits(words),
        HangKind::Abandoned => abandoned(words),
        HangKind::Stuck | HangKind::Leaked => stuck(words),
    }
}

fn itself(words: &HangWords<'_>, waiting: &Waiting) -> String {
    let lock = words.session.lock(waiting.lock);
    let name = words.names.lock(waiting.lock);
    match lock.kind {
        kind if kind.has_readers() => {
            "a read lock cannot be turned into a write lock: ask for the write lock from the beginning, or give the \
             read lock back first and look again at what it protects"
                .to_owned()
        }
        Kind::Join => "a thread cannot wait for its own end".to_owned(),
        _ => {
            let inner = lines(words.session, waiting.stack);
            let inner = inner.first().map_or("the code", |line| line.function.as_str());
            format!("{inner} is called with {name} held: let it expect that, or give {name} back before the call")
        }
    }
}

fn each_other(words: &HangWords<'_>) -> String {
    let cycle = &words.hang.cycle;
    let joins = cycle.iter().position(|waiting| words.session.lock(waiting.lock).kind == Kind::Join);
    if let Some(at) = joins {
        let before = (at + cycle.len() - 1) % cycle.len();
        let held = words.hang.held_by_next(before).map_or_else(String::new, |held| words.names.lock(held.lock));
        return format!(
            "{} has to give {held} back before it waits for {} to end",
            words.names.short(cycle[at].thread),
            words.holders(&cycle[at])
        );
    }
    let read_behind_writer =
        cycle.iter().any(|waiting| waiting.mode == Mode::Shared && words.is_behind_writer(waiting));
    if read_behind_writer {
        return "this lock lets no reader in while a writer waits: a thread that reads must not ask to read again, nor \
                wait for one that does"
            .to_owned();
    }
    const NAMED: usize = 4;
    if of_one_name(words) {
        return "these locks come from one place in the code: take them in one and the same order everywhere, for \
                instance by ascending address"
            .to_owned();
    }
    let mut locks: Vec<String> = cycle.iter().map(|waiting| words.names.lock(waiting.lock)).collect();
    locks.sort_unstable();
    if locks.len() > NAMED {
        return "take these locks in one and the same order everywhere".to_owned();
    }
    let last = locks.pop().unwrap_or_default();
    format!("take {} and {last} in one and the same order everywhere", locks.join(", "))
}

/// Whether nothing but their addresses tells the locks of the ring apart.
fn of_one_name(words: &HangWords<'_>) -> bool {
    let name = |waiting: &Waiting| words.session.lock(waiting.lock).name.as_ref().map(|name| &name.text);
    let cycle = &words.hang.cycle;
    cycle.first().and_then(name).is_some_and(|first| cycle.iter().all(|waiting| name(waiting) == Some(first)))
}

fn abandoned(words: &HangWords<'_>) -> String {
    let lock = words.hang.left_behind().map_or_else(String::new, |(_, lock)| words.names.lock(lock));
    format!("give {lock} back on every way out of the thread's function, `pthread_exit` and cancellation included")
}

/// What is missing: the rest of a barrier's threads, a post, a signal.
fn stuck(words: &HangWords<'_>) -> String {
    let others = &words.hang.others;
    let of = |kind: Kind| others.iter().find(|waiting| words.session.lock(waiting.lock).kind == kind);
    if let Some(waiting) = of(Kind::Barrier) {
        let came = others.iter().filter(|other| other.lock == waiting.lock).count() as u64;
        let count = u64::from(words.session.lock(waiting.lock).traits.initial);
        let name = words.names.lock(waiting.lock);
        if count > came {
            return format!("{name} waits for {}, of which {came} came", plural(count, "thread", "threads"));
        }
    }
    if of(Kind::Condvar).is_some() {
        return waits(words);
    }
    of(Kind::Semaphore).map_or_else(String::new, |waiting| {
        format!("nobody posts {} any more: count who has to, and when", words.names.lock(waiting.lock))
    })
}

/// Only where nothing moves, and a condition is waited for without a limit.
fn waits(words: &HangWords<'_>) -> String {
    let condition = words.hang.others.iter().any(|waiting| words.session.lock(waiting.lock).kind == Kind::Condvar);
    if !condition || !words.hang.is_standstill() {
        return String::new();
    }
    SIGNAL_ADVICE.to_owned()
}
