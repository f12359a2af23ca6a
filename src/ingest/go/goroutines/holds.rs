//! What goroutines hold: from an acquisition to its release, by whomever.

use super::{Asked, Goroutine, Goroutines, Held, MOST_SECTIONS, Rows, Supposed, Target, hand_on, to_order};
use crate::ingest::decode::{Access, Hold};
use crate::ingest::site_cache::CachedSite;
use crate::model::order::{How, What};
use crate::model::{Kind, LockId, Mode, StackId, WaitEvent, WaitKey};
use lockprof_wire::Flags;
use rustc_hash::FxHashMap;

impl Goroutines {
    pub(super) fn acquire(
        &mut self,
        number: u64,
        (lock, address, mode, stack): (LockId, u64, Mode, StackId),
        ticks: u64,
        flags: Flags,
        waited: Option<Asked>,
        target: &mut Target,
    ) {
        let thread = self.row(number, ticks, target);
        self.forget_doubtful(number, address, mode, target);
        let mut flags = if mode == Mode::Shared { flags.with(Flags::SHARED) } else { flags };
        let wait = waited.map(|asked| {
            flags = flags.with(Flags::CONTENDED);
            let (holder_thread, holder) =
                asked.holder.map_or((None, StackId(0)), |(thread, stack)| (Some(thread), stack));
            let key = WaitKey { lock, thread, waiter: stack, mode, holder, holder_thread };
            (key, asked.since, ticks.saturating_sub(asked.since))
        });
        let kind = target.session.lock(lock).kind;
        let in_order = kind.nests() && address != 0;
        let Some(goroutine) = self.all.get_mut(&number) else { return };
        let is_nested = !goroutine.held.is_empty();
        let position = goroutine.held.last().map_or(0, |held| held.position + 1);
        let held = Held {
            lock,
            address,
            mode,
            stack,
            since: ticks,
            flags,
            position,
            wait,
            in_order,
            ordered: None,
            is_doubtful: self.has_gaps,
        };
        goroutine.held.push(held);
        if is_nested && kind.nests() {
            if self.has_gaps || !in_order {
                target.session.order.dropped += 1;
            } else {
                self.publish(number, ticks, target);
            }
        }
        if let Some(row) = self.locks.get_mut(&address) {
            row.is_settled |= mode == Mode::Exclusive;
            row.holders.push(number);
            row.is_doubtful |= self.has_gaps;
        }
    }

    /// What cannot be held any more, as somebody has it, or as this goroutine goes on.
    pub(super) fn forget_doubtful(&mut self, number: u64, address: u64, mode: Mode, target: &mut Target) {
        if !self.has_folds {
            return;
        }
        let is_doubtful = self.locks.get(&address).is_some_and(|row| row.is_doubtful);
        let has_doubtful = |goroutine: &Goroutine| goroutine.held.iter().any(|held| held.is_doubtful);
        if !is_doubtful && !self.all.get(&number).is_some_and(has_doubtful) {
            return;
        }
        let mut owners = vec![number];
        if let Some(row) = self.locks.get_mut(&address)
            && row.is_doubtful
        {
            owners.extend(row.holders.iter().filter(|holder| **holder != number));
            // Readers leave each other alone: a writer will look at all of them.
            row.is_doubtful = mode == Mode::Shared;
        }
        for owner in owners {
            let Some(goroutine) = self.all.get_mut(&owner) else { continue };
            let goes = |held: &mut Held| {
                held.is_doubtful
                    && (owner == number
                        || held.address == address && (mode == Mode::Exclusive || held.mode == Mode::Exclusive))
            };
            let gone: Vec<Held> = goroutine.held.extract_if(.., goes).collect();
            let Some(rows) = goroutine.rows(owner) else { continue };
            for held in gone {
                self.unhold(held.address, owner);
                self.drop_doubtful(&held, rows, target);
            }
        }
    }

    pub(super) fn drop_doubtful(&mut self, held: &Held, rows: Rows, target: &mut Target) {
        self.count(held, rows, target);
        if let (Some(lock), Some(thread)) = (held.ordered, rows.ordered) {
            to_order(thread, held.since, held.stack, What::Released { position: held.position, lock }, target);
        }
    }

    pub(super) fn unhold(&mut self, address: u64, number: u64) {
        if let Some(row) = self.locks.get_mut(&address)
            && let Some(at) = row.holders.iter().position(|holder| *holder == number)
        {
            row.holders.swap_remove(at);
        }
    }

    /// A word was changed as by a try that takes a lock. Whether it is a lock's shows when it is given back where only locks
    /// are.
    pub(super) fn suppose(
        &mut self,
        number: u64,
        (kind, mode, address, stack): (Kind, Mode, u64, StackId),
        ticks: u64,
    ) {
        /// More words are not remembered, nor more changes of one.
        const MOST: usize = 1 << 16;
        const MOST_OF_ONE: usize = 64;
        if self.supposed.len() >= MOST && !self.supposed.contains_key(&address) {
            return;
        }
        let of_word = self.supposed.entry(address).or_default();
        if of_word.len() >= MOST_OF_ONE {
            of_word.remove(0);
        }
        of_word.push(Supposed { number, kind, mode, stack, ticks });
    }

    /// A lock of this kind is at an address: what was supposed of it is true.
    fn confirm(&mut self, address: u64, kind: Kind, target: &mut Target) {
        if self.supposed.is_empty() || self.locks.contains_key(&address) {
            return;
        }
        let mut found = self.supposed.remove(&address).unwrap_or_default();
        found.retain(|supposed| supposed.kind == kind);
        // Of those that exclude each other the last has it.
        if found.last().is_some_and(|last| last.mode == Mode::Exclusive) {
            found.drain(..found.len() - 1);
        }
        for Supposed { number, mode, stack, ticks, .. } in found {
            let lock = self.lock(address, kind, stack, target);
            self.acquire(number, (lock, address, mode, stack), ticks, Flags::TRY, None, target);
        }
    }

    pub(super) fn release(
        &mut self,
        number: u64,
        kind: Kind,
        mode: Mode,
        address: u64,
        ticks: u64,
        target: &mut Target,
    ) {
        self.confirm(address, kind, target);
        let Some(row) = self.locks.get(&address) else {
            self.orphans += u64::from(!self.has_folds && !self.is_from_before(number, address));
            return;
        };
        if row.kind != kind {
            // The mutex inside a read-write lock.
            let is_inner = kind == Kind::Mutex && row.kind == Kind::Rwlock;
            self.orphans += u64::from(!is_inner && !self.is_from_before(number, address));
            return;
        }
        let is = |held: &Held| held.address == address && held.mode == mode;
        let find = |all: &FxHashMap<u64, Goroutine>, number: u64| {
            all.get(&number).and_then(|goroutine| goroutine.held.iter().rposition(is))
        };
        // A request that was granted without a word.
        let own = find(&self.all, number).or_else(|| {
            let is_it = |asked: &Asked| asked.address == address && asked.kind == kind && !asked.is_try;
            self.all.get(&number)?.asked.iter().any(is_it).then_some(())?;
            self.catch_up(number, ticks, target);
            find(&self.all, number)
        });
        let (owner, at) = match own {
            Some(at) => (number, at),
            // Readers that came before the recording, and those that came since, hold it together.
            None if mode == Mode::Shared && self.is_from_before(number, address) => return,
            None => {
                // Any goroutine may release it.
                let holders = self.locks.get(&address).map_or(&[][..], |row| &row.holders);
                let Some(found) = holders.iter().find_map(|owner| Some((*owner, find(&self.all, *owner)?))) else {
                    let is_known = self.has_folds || self.is_from_before(number, address);
                    self.orphans += u64::from(!is_known);
                    return;
                };
                found
            }
        };
        let Some(goroutine) = self.all.get_mut(&owner) else { return };
        let held = goroutine.held.remove(at);
        if goroutine.held.is_empty() {
            goroutine.calls.clear();
        }
        let Some(rows) = goroutine.rows(owner) else { return };
        if goroutine.has_ended && goroutine.held.is_empty() {
            self.all.remove(&owner);
        }
        self.unhold(address, owner);
        if owner != number
            && let Some(row) = self.locks.get_mut(&address)
        {
            row.is_handed_over = true;
            for id in [Some(held.lock), row.ordered].into_iter().flatten() {
                target.session.locks[id.index()].traits.handed_over = true;
            }
        }
        if held.is_doubtful {
            self.drop_doubtful(&held, rows, target);
        } else {
            self.end(held, rows, ticks, Flags::NONE, target);
        }
    }

    /// Whether what a goroutine releases may have been held when the program was attached to: nobody was seen to have it
    /// alone since then, or the goroutine's wait for it was under way.
    fn is_from_before(&mut self, number: u64, address: u64) -> bool {
        if !self.is_late {
            return false;
        }
        if self.locks.get(&address).is_none_or(|row| !row.is_settled) {
            return true;
        }
        let given = self.all.get_mut(&number).filter(|goroutine| goroutine.given_unseen > 0);
        given.map(|goroutine| goroutine.given_unseen -= 1).is_some()
    }

    /// A hold is over.
    pub(super) fn end(&mut self, held: Held, rows: Rows, ticks: u64, flags: Flags, target: &mut Target) {
        let site = self.site(held.lock, held.stack, held.mode, rows.counts, target);
        let access = Access { lock: held.lock.0, stack: held.stack.0, flags: held.flags.with(flags) };
        let hold = Hold {
            ticks: held.since,
            access,
            held: ticks.saturating_sub(held.since),
            position: held.position,
            published_early: held.ordered.is_some(),
        };
        let hold_ns = target.accumulator.hold(hold, site, rows.who(), target.ticks, target.session);
        waited(&held, hold_ns, rows, site, target);
        let Some(thread) = rows.ordered else { return };
        if held.ordered.is_none() && site.in_order && self.sections < MOST_SECTIONS && !flags.is_unreleased() {
            // What it hands over may order others.
            self.sections += 1;
            let until_ns = target.ticks.moment_ns(ticks);
            let what = What::Section { lock: held.lock, mode: held.mode, until_ns };
            hand_on(thread, held.since, held.stack, (what, Some(access.how())), target);
        }
        if let Some(lock) = held.ordered {
            let (position, mode) = (held.position, held.mode);
            let (at, what) = if flags.is_unreleased() {
                (held.since, What::Kept { position, lock, mode })
            } else {
                (ticks, What::Released { position, lock })
            };
            to_order(thread, at, held.stack, what, target);
        }
    }

    /// An acquisition whose end was not seen.
    pub(super) fn count(&mut self, held: &Held, rows: Rows, target: &mut Target) {
        let site = self.site(held.lock, held.stack, held.mode, rows.counts, target);
        target.accumulator.unended(site, target.session);
        waited(held, 0, rows, site, target);
    }

    /// Hands what a goroutine holds, and is not in the order of locks yet, to it.
    pub(super) fn publish(&mut self, number: u64, ticks: u64, target: &mut Target) {
        let thread = self.own(number, ticks, target);
        let mut held =
            self.all.get_mut(&number).map(|goroutine| std::mem::take(&mut goroutine.held)).unwrap_or_default();
        for held in held.iter_mut().filter(|held| held.ordered.is_none()) {
            let is_in = held.in_order && Some(thread) != self.others;
            let Some(lock) = is_in.then(|| self.ordered(held.address, held.lock, target)).flatten() else {
                target.session.order.dropped += 1;
                continue;
            };
            held.ordered = Some(lock);
            let what = What::Acquired {
                lock,
                mode: held.mode,
                how: if held.flags.is_try() { How::Try } else { How::Block },
                reacquired: held.flags.is_reacquired(),
                position: held.position,
                restart: false,
            };
            to_order(thread, held.since, held.stack, what, target);
        }
        self.all.entry(number).or_default().held = held;
    }
}

/// Counts the wait before a hold, if there was one.
fn waited(held: &Held, hold_ns: u64, rows: Rows, site: CachedSite, target: &mut Target) {
    let Some((key, since, wait)) = held.wait else { return };
    let (start_ns, wait_ns) = (target.ticks.moment_ns(since), target.ticks.duration_ns(wait));
    let wait = WaitEvent { key, start_ns, wait_ns, hold_ns };
    target.accumulator.waited(wait, rows.who().number, site, target.session);
}
