//! Verdicts in words: why, and what to do.

use super::clocks::Clocks;
use super::links::{In, Via};
use super::places::Places;
use super::verdict::{Cause, Verdict};
use super::{Class, Side};
use crate::model::order::{SyncPoint, SyncWhat};
use crate::model::{Hang, HangKind, Kind, LockId, Mode, Session, Stacks, ThreadId};

/// What to do about a join under a lock.
const JOIN_ADVICE: &str = "do not join a thread while holding a lock that it needs: give the lock back first";

/// Writes sentences.
pub(super) struct Words<'a> {
    pub session: &'a Session,
    pub places: &'a Places<'a>,
}

impl Words<'_> {
    /// Why the verdict is what it is.
    pub fn reason(&self, verdict: &Verdict, sides: &[Side], must: &Clocks<'_>, soft: &Clocks<'_>) -> String {
        let places = self.places;
        match &verdict.cause {
            Cause::Schedule => {
                let is_join = |lock: &LockId| self.session.lock(*lock).kind == Kind::Join;
                let inside = self.list(sides.iter().map(|side| side.wanted).filter(|lock| !is_join(lock)));
                format!(
                    "the recorded events, reordered as the witness says, reach the deadlock; only values passed under \
                     {inside} or without any lock could still prevent it"
                )
            }
            Cause::Timed => {
                let side = sides.iter().find(|side| side.timed);
                let (lock, at) =
                    side.map_or_else(Default::default, |side| (places.lock(side.wanted), places.at(side.wanted_stack)));
                format!(
                    "the request for {lock} in {at} gives up after a time, so the threads go on late, but they go on"
                )
            }
            Cause::Merged(lock) => format!(
                "more locks were met than can be told apart: {} stands for {} of them, and the sides may mean \
                 different ones",
                places.lock(*lock),
                self.session.lock(*lock).merged
            ),
            Cause::HandOver(event) => format!(
                "no order rules it out, but {} in {} was taken after another thread had given it back, and what was \
                 passed under it may keep the sides apart",
                places.lock(event.lock),
                places.at(event.stack)
            ),
            Cause::NoWitness => "no order rules it out, but no schedule was found that keeps the order in which the \
                                 locks were recorded"
                .to_owned(),
            Cause::NotKept => {
                "no order rules it out; what one of the sides did is among the earlier events, which are \
                               counted but not kept one by one, so no schedule could be looked for"
                    .to_owned()
            }
            Cause::Dropped => "no order rules it out, but not all creations, joins and hand-overs of threads could be \
                               kept, so no schedule was looked for"
                .to_owned(),
            Cause::TooMany => "there are too many combinations of threads and requests to look at all of them; those \
                               looked at do not rule it out"
                .to_owned(),
            Cause::Readers(lock, writer) => {
                self.readers(*lock, writer.as_ref().map(|writer| (writer.thread, writer.stack)))
            }
            Cause::Signal(event) => format!(
                "{} in {} came after a signal that was sent under it: whoever takes it then need not wait, but saw what \
                 was signalled",
                places.lock(event.lock),
                places.at(event.stack)
            ),
            Cause::Before { earlier, later, gate } => {
                let soft_order = verdict.class == Class::SoftOrdered;
                let clocks = if soft_order { soft } else { must };
                let path = clocks.path(earlier.0, earlier.1, later.0, later.1);
                let told = if soft_order { Clocks::soft_on(&path) } else { path.first().copied() };
                let what = told.map_or_else(|| "the order of the threads' lives".to_owned(), |told| self.link(told));
                if soft_order {
                    format!("the sides were only ever separated by a hand-over: {what}")
                } else {
                    let also =
                        gate.map_or_else(String::new, |lock| format!("; they hold {} as well", places.lock(lock)));
                    format!("the sides cannot run at the same time: {what}{also}")
                }
            }
            Cause::Gate(a, b) => {
                let lock = places.lock(a.lock);
                let of = |holding: &super::gates::Holding| {
                    let shared = if holding.mode == Mode::Shared { " to read" } else { "" };
                    let inherited = !sides.iter().any(|side| side.thread == holding.owner);
                    let whole = if inherited { ", by the creator until it has joined the thread" } else { "" };
                    format!("{}{shared}{whole}", places.at(holding.stack))
                };
                let (one, other) = (of(a), of(b));
                let sides = if sides.len() == 2 { "both sides" } else { "two of the sides" };
                if one == other {
                    format!("{sides} hold {lock}, taken in {one}")
                } else {
                    format!("{sides} hold {lock}: taken in {one}, and in {other}")
                }
            }
            Cause::OneThread => {
                let threads = sides.iter().map(|side| side.thread).collect::<std::collections::BTreeSet<_>>().len();
                if threads <= 1 {
                    "one and the same thread took the locks in all these orders".to_owned()
                } else {
                    "fewer threads than sides took the locks in these orders, so some side is always missing".to_owned()
                }
            }
            Cause::ApartUnder(lock) => {
                format!("the sides were seen in different runs of the program, under {} each time", places.lock(*lock))
            }
            Cause::Apart => {
                "the sides were seen in different runs of the program; nothing tells whether one run can take both"
                    .to_owned()
            }
        }
    }

    /// Why a hang is one.
    pub fn of_hang(&self, hang: &Hang, sides: &[Side]) -> String {
        let places = self.places;
        match hang.kind {
            HangKind::Abandoned => sides.first().map_or_else(String::new, |side| {
                let taken = match side.held.stack {
                    Stacks::UNKNOWN => String::new(),
                    stack => format!(", taken in {}", places.at(stack)),
                };
                let lock = places.lock(side.held.lock);
                format!(
                    "it happened in this run: a thread ended and holds {lock} still{taken}, so nobody will give it back"
                )
            }),
            HangKind::Stuck => format!(
                "it happened in this run: {} waited without a limit of time, and nobody was left to wake one",
                if hang.others.len() == 1 {
                    "the only thread".to_owned()
                } else {
                    format!("all {} threads", hang.others.len())
                }
            ),
            _ => format!(
                "it happened in this run: each of the {} threads waits for what the next one holds, and none can go on",
                sides.len()
            ),
        }
    }

    /// What to do about a hang that was not foreseen.
    pub fn advice_on_hang(&self, hang: &Hang, sides: &[Side]) -> String {
        let locks = self.list(sides.iter().map(|side| side.held.lock));
        let kind = |side: &Side| self.session.lock(side.held.lock).kind;
        match hang.kind {
            HangKind::Abandoned => format!("give {locks} back on every way out of the thread's function"),
            HangKind::Stuck if sides.iter().any(|side| kind(side) == Kind::Condvar) => {
                "a condition that is signalled while nobody waits is not remembered: change what the waiter checks under \
                 the same mutex, and check it before each wait"
                    .to_owned()
            }
            HangKind::Stuck => format!("look for who should have gone on before: all of them wait for {locks}"),
            _ if sides.iter().any(|side| kind(side) == Kind::Join) => JOIN_ADVICE.to_owned(),
            _ => format!("take {locks} in one and the same order everywhere"),
        }
    }

    fn readers(&self, lock: LockId, writer: Option<(ThreadId, crate::model::StackId)>) -> String {
        let name = self.places.lock(lock);
        let first = self.session.lock(lock).traits.writers_first;
        match (writer, first) {
            (Some((thread, stack)), true) => format!(
                "{name} is only read here, but its readers wait behind a waiting writer, and {} writes it in {}",
                self.places.thread(thread),
                self.places.at(stack)
            ),
            (Some((_, stack)), false) => format!(
                "{name} is only read here, and it lets readers in while a writer waits (one writes it in {})",
                self.places.at(stack)
            ),
            (None, true) => {
                format!("{name} is only read here, and no other thread was seen to write it at a time when it matters")
            }
            (None, false) => format!("{name} is only read here, and it lets readers in while a writer waits"),
        }
    }

    /// A link in words.
    fn link(&self, (to, link): (u32, In)) -> String {
        let sync_point = |thread: u32, number: u32| -> Option<&SyncPoint> {
            self.session.order.timelines.get(thread as usize)?.sync_points.get(number as usize)
        };
        let at = |sync_point: Option<&SyncPoint>| {
            sync_point.map_or_else(|| "an unknown place".to_owned(), |m| self.places.at(m.stack))
        };
        let name = |sync_point: Option<&SyncPoint>| match sync_point.map(|sync_point| sync_point.what) {
            Some(SyncWhat::Barrier { lock, .. } | SyncWhat::Posted(lock) | SyncWhat::Taken(lock)) => {
                self.places.lock(lock)
            }
            _ => "it".to_owned(),
        };
        match link.via {
            Via::Created => {
                format!(
                    "a thread is created in {} only after the other side",
                    at(sync_point(link.node, link.upto.saturating_sub(1)))
                )
            }
            Via::Joined => {
                format!(
                    "a thread is joined in {} before the other side",
                    at(sync_point(to, link.seg.saturating_sub(1)))
                )
            }
            Via::Outlived => format!(
                "the answer in {} says that the mutex's owner, the other side, had ended",
                at(sync_point(to, link.seg.saturating_sub(1)))
            ),
            Via::Met { .. } => {
                // Into a round by an arrival; out of it by the sync point before the segment.
                let arrival = sync_point(link.node, link.upto.saturating_sub(1))
                    .filter(|m| matches!(m.what, SyncWhat::Barrier { .. }));
                let sync_point = arrival.or_else(|| sync_point(to, link.seg.saturating_sub(1)));
                format!("the threads meet at the barrier {} in {} between the two", name(sync_point), at(sync_point))
            }
            Via::Posted => {
                let (posted, taken) =
                    (sync_point(link.node, link.upto.saturating_sub(1)), sync_point(to, link.seg.saturating_sub(1)));
                format!("{} is posted in {} and waited for in {}", name(posted), at(posted), at(taken))
            }
        }
    }

    /// Names in a row, each once.
    pub fn list(&self, locks: impl Iterator<Item = LockId>) -> String {
        let mut names: Vec<String> = Vec::new();
        for name in locks.map(|lock| self.places.lock(lock)) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        const MOST: usize = 4;
        if names.len() > MOST {
            let rest = names.len() - MOST;
            names.truncate(MOST);
            return format!("{} and {rest} more", names.join(", "));
        }
        match names.split_last() {
            Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
            Some((last, _)) => last.clone(),
            None => String::new(),
        }
    }

    /// What to do.
    pub fn advice(&self, verdict: &Verdict, sides: &[Side]) -> String {
        let places = self.places;
        let locks = self.list(sides.iter().map(|side| side.held.lock));
        let Some(first) = sides.first() else { return String::new() };
        let one_name = sides.iter().all(|side| places.lock(side.held.lock) == places.lock(first.held.lock));
        match verdict.class {
            Class::NeedsWriter if sides.len() == 1 => {
                format!("do not read {locks} again while it is read already: pass the fact that it is held on instead")
            }
            Class::NeedsWriter if verdict.fails => {
                format!("always take {locks} in the same order, even to read: a waiting writer makes readers wait")
            }
            Class::NeedsWriter => {
                format!(
                    "keep one order for {locks} all the same: a lock that lets writers go first makes it a deadlock"
                )
            }
            Class::Guarded => match &verdict.cause {
                Cause::Gate(a, _) => format!(
                    "it is safe as long as {} covers every place that takes {locks} in these orders",
                    places.lock(a.lock)
                ),
                _ => format!("keep the lock that covers {locks}"),
            },
            Class::Ordered => "it is safe as long as these parts never run at the same time".to_owned(),
            Class::SoftOrdered => {
                format!(
                    "a hand-over orders this run only: take {locks} in one order, or make sure that no run goes without it"
                )
            }
            Class::SameThread => {
                format!("it becomes a deadlock when a second thread does the same: keep one order for {locks}")
            }
            _ if verdict.cause == Cause::Timed => {
                format!("take {locks} in one order, and nobody has to wait until the time is over")
            }
            _ if sides.iter().any(|side| self.session.lock(side.held.lock).kind == Kind::Join) => {
                JOIN_ADVICE.to_owned()
            }
            _ if one_name => {
                format!(
                    "take the locks of {locks} in one order, as by ascending address, or all at once (std::scoped_lock)"
                )
            }
            _ => {
                let (outer, inner) = (places.lock(first.held.lock), places.lock(first.wanted));
                if sides.len() == 2 {
                    format!(
                        "always take {outer} before {inner}, or the other way round, or both at once (std::scoped_lock)"
                    )
                } else {
                    format!("give {locks} one order and keep it, or take them at once (std::scoped_lock)")
                }
            }
        }
    }
}
