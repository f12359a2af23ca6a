//! Cycles in the order of locks in sentences: what, why, and what to do.

use std::collections::BTreeSet;

use super::names::Names;
use super::phrases::Phrases;
use crate::analysis::order::{Cause, Class, Cycle, Leg, LegGuard, Link};
use crate::model::lock_frames::is_go;
use crate::model::{HangKind, Kind, LockId, Mode, StackId, Stacks, ThreadId};
use crate::render::units::{count, plural};

/// What to do about a join under a lock.
const JOIN_ADVICE: &str = "do not join a thread while holding a lock that it needs: give the lock back first";
/// What to do about a signal that came too early.
pub(super) const SIGNAL_ADVICE: &str = "a condition that is signalled while nobody waits is not remembered: change what \
                                        the waiter checks under the same mutex, and check it before each wait";

/// One line, without the word of the class.
pub(super) fn title(cycle: &Cycle, names: &Names<'_>) -> String {
    let locks = names.cycle(cycle);
    match cycle.hang() {
        Some(HangKind::Abandoned) => return format!("the program was stuck: a thread ended and held {locks}"),
        Some(HangKind::Leaked) => {
            return format!("nobody is left to wake who waits for {}, while the program goes on", names.waited(cycle));
        }
        Some(HangKind::Stuck) => {
            return format!("the program was stuck: nobody was left to wake who waits for {}", names.waited(cycle));
        }
        _ => {}
    }
    if let Some(number) = cycle.component {
        return format!("{} locks are taken in every order, such as {locks}", count(number));
    }
    if cycle.legs.len() == 1 {
        return format!("{locks} is taken again by the thread that holds it");
    }
    match cycle.class {
        Class::Hung => format!("the program was deadlocked: {locks}"),
        Class::Confirmed => format!("{locks} deadlocked in a steered run"),
        Class::Feasible => format!("{locks} can deadlock"),
        Class::Possible => format!("{locks} may deadlock"),
        Class::NeedsWriter => format!("{locks} may deadlock if a writer comes in between"),
        Class::SoftOrdered => format!("{locks} in both orders, kept apart by a hand-over"),
        Class::Guarded => format!("{locks} in both orders, under a common lock"),
        Class::Ordered => format!("{locks} in both orders, one after the other"),
        Class::SameThread if cycle.legs.iter().any(|leg| leg.thread != cycle.legs[0].thread) => {
            format!("{locks} in a ring of orders, by fewer threads than it takes")
        }
        Class::SameThread => format!("{locks} in both orders, by one thread"),
    }
}

/// Why it is of its class.
pub(super) fn reason(cycle: &Cycle, phrases: &Phrases<'_>) -> String {
    let mut reason = cause(cycle, phrases);
    if !cycle.other_classes.is_empty() {
        let others: Vec<&str> = cycle.other_classes.iter().map(|class| class.name()).collect();
        reason.push_str(&format!("; other sets of locks like these are {}", others.join(" or ")));
    }
    match cycle.component {
        Some(locks) => {
            format!("{locks} locks are taken in so many orders that not every cycle is told; of this one: {reason}")
        }
        None => reason,
    }
}

fn cause(cycle: &Cycle, phrases: &Phrases<'_>) -> String {
    let legs = &cycle.legs;
    match &cycle.cause {
        Cause::Hung { kind, others } => observed(*kind, *others, legs, phrases),
        Cause::Schedule => {
            let is_join = |lock: &LockId| phrases.session.lock(*lock).kind == Kind::Join;
            let inside = phrases.locks(legs.iter().map(|leg| leg.wanted).filter(|lock| !is_join(lock)));
            format!(
                "the recorded events, reordered as the witness says, reach the deadlock; only values passed under \
                 {inside} or without any lock could still prevent it"
            )
        }
        Cause::Timed => {
            let leg = legs.iter().find(|leg| leg.timed);
            let (lock, at) =
                leg.map_or_else(Default::default, |leg| (phrases.lock(leg.wanted), phrases.at(leg.wanted_stack)));
            format!("the request for {lock} in {at} gives up after a time, so the threads go on late, but they go on")
        }
        Cause::Merged(lock) => format!(
            "more locks were met than can be told apart: {} stands for {} of them, and the sides may mean different \
             ones",
            phrases.lock(*lock),
            phrases.session.lock(*lock).merged
        ),
        Cause::HandOver(lock, at) => format!(
            "no order rules it out, but {} in {} was taken after another thread had given it back, and what was passed \
             under it may keep the sides apart",
            phrases.lock(*lock),
            phrases.at(*at)
        ),
        Cause::NoWitness => "no order rules it out, but no schedule was found that keeps the order in which the locks \
                             were recorded"
            .to_owned(),
        Cause::NotKept => "no order rules it out; what one of the sides did is among the earlier events, which are \
                           counted but not kept one by one, so no schedule could be looked for"
            .to_owned(),
        Cause::Dropped => {
            "no order rules it out, but not all creations, joins and hand-overs of threads could be kept, \
                           so no schedule was looked for"
                .to_owned()
        }
        Cause::TooMany => {
            "there are too many combinations of threads and requests to look at all of them; those looked \
                           at do not rule it out"
                .to_owned()
        }
        Cause::Readers(lock, writer) => readers(*lock, *writer, phrases),
        Cause::Signal(lock, at) => format!(
            "{} in {} came after a signal that was sent under it: whoever takes it then need not wait, but saw what was \
             signalled",
            phrases.lock(*lock),
            phrases.at(*at)
        ),
        Cause::Before { link: by, guard } => {
            let what = by.map_or_else(|| "the order of the threads' lives".to_owned(), |by| link(by, phrases));
            if cycle.class == Class::SoftOrdered {
                format!("the sides were only ever separated by a hand-over: {what}")
            } else {
                let also = guard.map_or_else(String::new, |lock| format!("; they hold {} as well", phrases.lock(lock)));
                format!("the sides cannot run at the same time: {what}{also}")
            }
        }
        Cause::Guard(one, other) => guard(one, other, legs, phrases),
        Cause::OneThread => {
            let threads = legs.iter().map(|leg| leg.thread).collect::<BTreeSet<_>>().len();
            if threads <= 1 {
                "one and the same thread took the locks in all these orders".to_owned()
            } else {
                "fewer threads than sides took the locks in these orders, so some side is always missing".to_owned()
            }
        }
        Cause::CrossRunUnder(lock) => {
            format!("the sides were seen in different runs of the program, under {} each time", phrases.lock(*lock))
        }
        Cause::CrossRun => {
            "the sides were seen in different runs of the program; nothing tells whether one run can take both"
                .to_owned()
        }
    }
}

fn observed(kind: HangKind, others: usize, legs: &[Leg], phrases: &Phrases<'_>) -> String {
    match kind {
        HangKind::Abandoned => legs.first().map_or_else(String::new, |leg| {
            let taken = match leg.held.stack {
                Stacks::UNKNOWN => String::new(),
                stack => format!(", taken in {}", phrases.at(stack)),
            };
            let lock = phrases.lock(leg.held.lock);
            format!(
                "it happened in this run: a thread ended and holds {lock} still{taken}, so nobody will give it back"
            )
        }),
        HangKind::Stuck | HangKind::Leaked => format!(
            "it happened in this run: {} waited without a limit of time, and nobody was left to wake one",
            plural(others as u64, "thread", "threads")
        ),
        _ => format!(
            "it happened in this run: each of the {} threads waits for what the next one holds, and none can go on",
            legs.len()
        ),
    }
}

fn guard(one: &LegGuard, other: &LegGuard, legs: &[Leg], phrases: &Phrases<'_>) -> String {
    let lock = phrases.lock(one.lock);
    let of = |guard: &LegGuard| {
        let shared = if guard.mode == Mode::Shared { " to read" } else { "" };
        let inherited = !legs.iter().any(|leg| leg.thread == guard.owner);
        let whole = if inherited { ", by the creator until it has joined the thread" } else { "" };
        format!("{}{shared}{whole}", phrases.at(guard.stack))
    };
    let (one, other) = (of(one), of(other));
    let sides = if legs.len() == 2 { "both sides" } else { "two of the sides" };
    if one == other {
        format!("{sides} hold {lock}, taken in {one}")
    } else {
        format!("{sides} hold {lock}: taken in {one}, and in {other}")
    }
}

fn readers(lock: LockId, writer: Option<(ThreadId, StackId)>, phrases: &Phrases<'_>) -> String {
    let name = phrases.lock(lock);
    let first = phrases.session.lock(lock).traits.writers_first;
    match (writer, first) {
        (Some((thread, stack)), true) => format!(
            "{name} is only read here, but its readers wait behind a waiting writer, and {} writes it in {}",
            phrases.thread(thread),
            phrases.at(stack)
        ),
        (Some((_, stack)), false) => format!(
            "{name} is only read here, and it lets readers in while a writer waits (one writes it in {})",
            phrases.at(stack)
        ),
        (None, true) => {
            format!("{name} is only read here, and no other thread was seen to write it at a time when it matters")
        }
        (None, false) => format!("{name} is only read here, and it lets readers in while a writer waits"),
    }
}

fn link(link: Link, phrases: &Phrases<'_>) -> String {
    let name = |lock: Option<LockId>| lock.map_or_else(|| "it".to_owned(), |lock| phrases.lock(lock));
    match link {
        Link::Created(at) => format!("a thread is created in {} only after the other side", phrases.at(at)),
        Link::Joined(at) => format!("a thread is joined in {} before the other side", phrases.at(at)),
        Link::Outlived(at) => {
            format!("the answer in {} says that the mutex's owner, the other side, had ended", phrases.at(at))
        }
        Link::Met(barrier, at) => {
            format!("the threads meet at the barrier {} in {} between the two", name(barrier), phrases.at(at))
        }
        Link::Posted { lock, posted, taken } => {
            format!("{} is posted in {} and waited for in {}", name(lock), phrases.at(posted), phrases.at(taken))
        }
    }
}

/// What would make it a deadlock, or keep it from one.
pub(super) fn advice(cycle: &Cycle, phrases: &Phrases<'_>) -> String {
    // What was foreseen is the same cycle, and more is known of it.
    if let Some(foreseen) = &cycle.foreseen {
        return advice(foreseen, phrases);
    }
    let legs = &cycle.legs;
    if let Some(kind) = cycle.hang() {
        return advice_on_hang(kind, legs, phrases);
    }
    let locks = phrases.locks(legs.iter().map(|leg| leg.held.lock));
    let Some(first) = legs.first() else { return String::new() };
    let one_name = legs.iter().all(|leg| phrases.lock(leg.held.lock) == phrases.lock(first.held.lock));
    match cycle.class {
        Class::NeedsWriter if legs.len() == 1 => {
            format!("do not read {locks} again while it is read already: pass the fact that it is held on instead")
        }
        Class::NeedsWriter if cycle.fails => {
            format!("always take {locks} in the same order, even to read: a waiting writer makes readers wait")
        }
        Class::NeedsWriter => {
            format!("keep one order for {locks} all the same: a lock that lets writers go first makes it a deadlock")
        }
        Class::Guarded => match &cycle.cause {
            Cause::Guard(guard, _) => format!(
                "it is safe as long as {} covers every place that takes {locks} in these orders",
                phrases.lock(guard.lock)
            ),
            _ => format!("keep the lock that covers {locks}"),
        },
        Class::Ordered => "it is safe as long as these parts never run at the same time".to_owned(),
        Class::SoftOrdered => format!(
            "a hand-over orders this run only: take {locks} in one order, or make sure that no run goes without it"
        ),
        Class::SameThread => {
            format!("it becomes a deadlock when a second thread does the same: keep one order for {locks}")
        }
        _ if cycle.cause == Cause::Timed => {
            format!("take {locks} in one order, and nobody has to wait until the time is over")
        }
        _ if legs.iter().any(|leg| phrases.session.lock(leg.held.lock).kind == Kind::Join) => JOIN_ADVICE.to_owned(),
        _ if one_name => {
            let at_once = at_once(first, phrases, ", or all at once (std::scoped_lock)");
            format!("take the locks of {locks} in one order, as by ascending address{at_once}")
        }
        _ if legs.len() == 2 => format!(
            "always take {} before {}, or the other way round{}",
            phrases.lock(first.held.lock),
            phrases.lock(first.wanted),
            at_once(first, phrases, ", or both at once (std::scoped_lock)")
        ),
        _ => {
            format!(
                "give {locks} one order and keep it{}",
                at_once(first, phrases, ", or take them at once (std::scoped_lock)")
            )
        }
    }
}

/// What to do in C++; nothing for Go, which has no such thing.
fn at_once<'t>(leg: &Leg, phrases: &Phrases<'_>, text: &'t str) -> &'t str {
    if is_go(&phrases.session.stacks, leg.wanted_stack) { "" } else { text }
}

/// What to do about a hang that was not foreseen.
fn advice_on_hang(kind: HangKind, legs: &[Leg], phrases: &Phrases<'_>) -> String {
    let locks = phrases.locks(legs.iter().map(|leg| leg.held.lock));
    let any = |kind: Kind| legs.iter().any(|leg| phrases.session.lock(leg.held.lock).kind == kind);
    match kind {
        HangKind::Abandoned => format!("give {locks} back on every way out of the thread's function"),
        HangKind::Stuck | HangKind::Leaked if any(Kind::Condvar) => SIGNAL_ADVICE.to_owned(),
        HangKind::Stuck | HangKind::Leaked => {
            format!("look for who should have gone on before: all of them wait for {locks}")
        }
        _ if any(Kind::Join) => JOIN_ADVICE.to_owned(),
        _ => format!("take {locks} in one and the same order everywhere"),
    }
}
