//! What goroutines ask for and wait for, and what becomes of it.

use super::rows::add_lock;
use super::{Asked, Goroutines, LEAST_WAIT_NS, Target, to_order};
use crate::ingest::accumulator::Accumulator;
use crate::ingest::decode::{Access, Done, Failed, Failure};
use crate::model::order::What;
use crate::model::{Kind, LockId, Mode, StackId, ThreadId};
use lockprof_wire::Flags;

impl Goroutines {
    pub(super) fn ask(
        &mut self,
        number: u64,
        (kind, mode, address, stack): (Kind, Mode, u64, StackId),
        ticks: u64,
        certainly: bool,
        is_try: bool,
        target: &mut Target,
    ) {
        /// More operations are not open in one goroutine.
        const MOST: usize = 64;
        let lock = self.lock(address, kind, stack, target);
        self.row(number, ticks, target);
        let holder = self.locks.get(&address).and_then(|row| row.holders.last()).copied();
        let holder = holder.and_then(|holder| {
            let goroutine = self.all.get(&holder)?;
            let held = goroutine.held.iter().rev().find(|held| held.address == address && !held.is_doubtful)?;
            Some((goroutine.counts?, held.stack))
        });
        if kind.nests()
            && !is_try
            && let Some(row) = self.locks.get_mut(&address)
        {
            row.waiting += 1;
            let most = &mut target.session.locks[row.id.index()].max_waiters;
            if certainly {
                *most = (*most).max(row.waiting);
            }
        }
        let has_waited = certainly || kind.nests() && holder.is_some();
        let goroutine = self.all.entry(number).or_default();
        if goroutine.asked.len() >= MOST {
            self.lost += u64::from(kind.nests());
        } else {
            let is_doubtful = self.has_gaps;
            goroutine.asked.push(Asked {
                kind,
                mode,
                address,
                lock,
                stack,
                since: ticks,
                is_try,
                has_waited,
                has_parked: false,
                is_doubtful,
                holder,
            });
        }
    }

    /// What the goroutine asked for last of this kind.
    pub(super) fn answer(&mut self, number: u64, kind: Kind, mode: Mode, is_try: bool) -> Option<Asked> {
        let goroutine = self.all.get_mut(&number)?;
        let is = |asked: &Asked| (asked.kind, asked.mode, asked.is_try) == (kind, mode, is_try);
        let at = goroutine.asked.iter().rposition(is)?;
        let asked = goroutine.asked.remove(at);
        if kind.nests()
            && !is_try
            && let Some(row) = self.locks.get_mut(&asked.address)
        {
            row.waiting = row.waiting.saturating_sub(1);
        }
        Some(asked)
    }

    /// What a grant is of. One of a request that was made before the recording is none that counts.
    pub(super) fn answered(&mut self, number: u64, kind: Kind, mode: Mode) -> Option<Asked> {
        let asked = self.answer(number, kind, mode, false);
        if asked.is_none() && self.is_late && !self.has_folds {
            self.all.entry(number).or_default().given_unseen += 1;
        } else {
            *self.pending.entry((kind, mode)).or_default() -= 1;
        }
        asked
    }

    /// A goroutine that does something else has what it asked for: the event of that was only counted, or has no place for
    /// a patch.
    pub(super) fn catch_up(&mut self, number: u64, ticks: u64, target: &mut Target) {
        if self.has_folds {
            self.settle(number, target);
        }
        let Some(goroutine) = self.all.get(&number) else { return };
        let Some(asked) = goroutine.asked.iter().rev().find(|asked| asked.is_request()) else { return };
        let (kind, mode) = (asked.kind, asked.mode);
        if let Some(asked) = self.answer(number, kind, mode, false) {
            self.acquired_after_wait(number, asked, ticks, target);
        }
    }

    /// Counts operations in which nothing else can happen, and whose end was only counted.
    pub(super) fn settle(&mut self, number: u64, target: &mut Target) {
        let is_over = |asked: &mut Asked| {
            asked.is_doubtful && matches!(asked.kind, Kind::Channel | Kind::Select | Kind::Waitgroup)
        };
        let Some(goroutine) = self.all.get_mut(&number).filter(|goroutine| !goroutine.asked.is_empty()) else { return };
        let over: Vec<Asked> = goroutine.asked.extract_if(.., is_over).collect();
        for mut asked in over {
            asked.has_waited = false;
            let ticks = asked.since;
            self.done(number, asked, ticks, false, target);
        }
    }

    pub(super) fn acquired_after_wait(&mut self, number: u64, asked: Asked, ticks: u64, target: &mut Target) {
        let what = (asked.lock, asked.address, asked.mode, asked.stack);
        let is_again = asked.kind != Kind::Cond
            && self.all.get(&number).is_some_and(|all| all.asked.iter().any(|asked| asked.kind == Kind::Cond));
        let flags = if is_again { Flags::REACQUIRED } else { Flags::NONE };
        // How long it took is not known where events lack.
        // A free lock with sleepers is not had at the first try either: that is no wait.
        let is_long = target.ticks.duration_ns(ticks.saturating_sub(asked.since)) >= LEAST_WAIT_NS;
        let waited = (asked.has_waited && (asked.has_parked || is_long) && !asked.is_doubtful).then_some(asked);
        self.acquire(number, what, ticks, flags, waited, target);
    }

    pub(super) fn missed(&mut self, number: u64, asked: &Asked, target: &mut Target) {
        let thread = self.row(number, asked.since, target);
        let site = self.site(asked.lock, asked.stack, asked.mode, thread, target);
        let failed = Failed { access: Access::default(), wait: 0, why: Failure::Taken };
        Accumulator::failed(failed, site, target.ticks, target.session);
    }

    pub(super) fn done(&mut self, number: u64, asked: Asked, ticks: u64, receives: bool, target: &mut Target) {
        let thread = self.row(number, asked.since, target);
        let site = self.site(asked.lock, asked.stack, asked.mode, thread, target);
        let is_long = target.ticks.duration_ns(ticks.saturating_sub(asked.since)) >= LEAST_WAIT_NS;
        let has_waited = asked.has_waited && (asked.has_parked || is_long);
        let flags = if has_waited { Flags::CONTENDED } else { Flags::NONE };
        let access = Access { lock: asked.lock.0, stack: asked.stack.0, flags };
        let done = Done { ticks: asked.since, access, wait: ticks.saturating_sub(asked.since), parties: 0 };
        target.accumulator.done(done, site, target.ticks, target.session);
        let until_ns = target.ticks.moment_ns(ticks);
        let thread = self.all.get(&number).and_then(|goroutine| goroutine.thread).unwrap_or(thread);
        if receives {
            let what = |lock| What::Taken { lock, until_ns };
            self.hand_over(thread, asked.since, (asked.address, asked.lock, asked.stack), what, target);
        }
        let woken = self.all.get_mut(&number).and_then(|goroutine| goroutine.woken.take());
        if let Some(lock) = woken {
            to_order(thread, asked.since, asked.stack, What::Taken { lock, until_ns }, target);
        }
    }

    pub(super) fn posted(
        &mut self,
        number: u64,
        kind: Kind,
        address: u64,
        stack: StackId,
        ticks: u64,
        target: &mut Target,
    ) {
        let lock = self.lock(address, kind, stack, target);
        let thread = self.acting(number, ticks, target);
        self.hand_over(thread, ticks, (address, lock, stack), |lock| What::Posted { lock }, target);
    }

    /// Tells the order of locks what a goroutine handed over, or was given, by an object.
    fn hand_over(
        &mut self,
        thread: ThreadId,
        ticks: u64,
        (address, counted, stack): (u64, LockId, StackId),
        what: impl FnOnce(LockId) -> What,
        target: &mut Target,
    ) {
        match self.ordered(address, counted, target) {
            Some(lock) => to_order(thread, ticks, stack, what(lock), target),
            None => target.session.order.timeline(thread).soft_dropped += 1,
        }
    }

    /// A goroutine wakes one that waits in a `select`, or to send: which channel or message it was is not known, but who was
    /// first.
    pub(super) fn wakes(&mut self, number: u64, woken: u64, ticks: u64, stack: StackId, target: &mut Target) {
        let Some(goroutine) = self.all.get(&woken) else { return };
        let waits = |asked: &Asked| matches!(asked.kind, Kind::Channel | Kind::Select);
        // Without a row of its own it is one of many there.
        if !goroutine.asked.last().is_some_and(waits) || number == woken || goroutine.thread.is_none() {
            return;
        }
        let process = self.process;
        let lock = *self.wakers.entry(woken).or_insert_with(|| add_lock(process, 0, Kind::Cond, StackId(0), target));
        self.all.entry(woken).or_default().woken = Some(lock);
        let thread = self.acting(number, ticks, target);
        to_order(thread, ticks, stack, What::Posted { lock }, target);
    }
}
