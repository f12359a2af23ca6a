//! The order of locks, out of its rows.

use super::orders::{ChainRow, LifeRow, MarkRow, MissingRow, MisuseRow, OrderEventRow, RequestRow};
use super::read::{Builder, check};
use crate::ingest::file::container::Damage;
use crate::model::order::{ChainId, Gate, Life, Link, LoggedWhat, Mark, MarkWhat, Request, Run};
use crate::model::{LockId, StackId, ThreadId};

/// What the rows to come refer to.
#[derive(Default)]
pub struct Reached {
    mark_thread: u32,
    mark_ns: u64,
    lives: usize,
    event_ns: u64,
}

impl Builder {
    pub(super) fn chain(&mut self, row: ChainRow) -> Result<(), Damage> {
        // A link, and an entry of the index over links.
        self.charge(2 * size_of::<Link>() as u64 + 16)?;
        let number = self.session.order.chains.len() as u32 + 1;
        let outer = number.checked_sub(row.back).filter(|outer| *outer < number);
        let outer = outer.ok_or(Damage::Senseless("a list of held locks lies on itself"))?;
        let link = row.link(ChainId(outer)).ok_or(Damage::Senseless("a held lock that has no meaning"))?;
        self.known_lock(link.lock)?;
        self.known_stack(link.stack)?;
        if self.session.order.chains.intern(link).0 != number {
            return Err(Damage::Senseless("a list of held locks is there twice"));
        }
        Ok(())
    }

    pub(super) fn mark(&mut self, row: MarkRow) -> Result<(), Damage> {
        self.charge(size_of::<Mark>() as u64)?;
        let thread = self.reached.mark_thread.saturating_add(row.thread_step);
        let at_ns = self.reached.mark_ns.wrapping_add(row.at_step_ns as u64);
        self.life_of(thread)?;
        let mark = row.mark(at_ns).ok_or(Damage::Senseless("a mark that has no meaning"))?;
        match mark.what {
            MarkWhat::Created(other) | MarkWhat::Joined(other) | MarkWhat::Outlived(other) => {
                other.map_or(Ok(()), |other| self.known_thread(other))
            }
            MarkWhat::Barrier { lock, .. } | MarkWhat::Posted(lock) | MarkWhat::Taken(lock) => self.known_lock(lock),
        }?;
        self.known_stack(mark.stack)?;
        self.session.order.lives[thread as usize].marks.push(mark);
        (self.reached.mark_thread, self.reached.mark_ns) = (thread, at_ns);
        Ok(())
    }

    pub(super) fn life(&mut self, row: LifeRow) -> Result<(), Damage> {
        self.charge((row.gates.len() * size_of::<Gate>()) as u64)?;
        let gates = row.gates().ok_or(Damage::Senseless("a gate that has no meaning"))?;
        for gate in &gates {
            self.known_lock(gate.lock)?;
            self.known_stack(gate.stack)?;
        }
        if let Some((creator, mark)) = row.creator {
            self.known_mark(creator, mark)?;
        }
        let at = self.reached.lives;
        self.life_of(at as u32)?;
        let life = &mut self.session.order.lives[at];
        life.creator = row.creator.map(|(thread, mark)| (ThreadId(thread), mark));
        life.gates = gates;
        (life.soft_dropped, life.must_dropped) = (row.soft_dropped, row.must_dropped);
        life.key = row.key;
        self.reached.lives += 1;
        Ok(())
    }

    pub(super) fn request(&mut self, row: RequestRow) -> Result<(), Damage> {
        self.charge((2 * size_of::<Request>() + row.runs.len() * size_of::<Run>()) as u64)?;
        row.runs.iter().try_for_each(|(_, _, count)| self.count(*count))?;
        let request = row.request().ok_or(Damage::Senseless("a request that has no meaning"))?;
        let key = request.key;
        self.known_thread(key.thread)?;
        self.known_lock(key.lock)?;
        self.known_stack(key.stack)?;
        let chains = self.session.order.chains.len();
        check((key.held.index()).wrapping_sub(1), chains, "a request under locks that are not there")?;
        let marks = self.session.order.lives.get(key.thread.index()).map_or(0, |life| life.marks.len());
        for run in &request.runs {
            check(run.last as usize, marks + 1, "a request at a time that is not there")?;
        }
        if !self.session.order.insert(request) {
            return Err(Damage::Senseless("a request is there twice"));
        }
        Ok(())
    }

    pub(super) fn misuse(&mut self, row: MisuseRow) -> Result<(), Damage> {
        self.count(row.count)?;
        let misuse = row.misuse().ok_or(Damage::Senseless("a misuse that has no meaning"))?;
        self.known_lock(misuse.lock)?;
        self.known_stack(misuse.stack)?;
        self.known_stack(misuse.holder)?;
        self.known_thread(ThreadId(row.thread))?;
        if self.session.order.misuses.insert(misuse, (ThreadId(row.thread), row.count)).is_some() {
            return Err(Damage::Senseless("a misuse is there twice"));
        }
        Ok(())
    }

    pub(super) fn missing(&mut self, row: MissingRow) -> Result<(), Damage> {
        let order = &mut self.session.order;
        order.dropped = row.requests;
        (order.log.dropped, order.log.complete_from_ns) = (row.events, row.events_complete_from_ns);
        Ok(())
    }

    pub(super) fn order_event(&mut self, row: OrderEventRow) -> Result<(), Damage> {
        let at_ns = self.reached.event_ns.wrapping_add(row.at_step_ns as u64);
        let event = row.event(at_ns).ok_or(Damage::Senseless("an event that has no meaning"))?;
        self.known_thread(event.thread)?;
        self.known_stack(event.stack)?;
        match event.what {
            LoggedWhat::Mark => self.known_mark(event.thread.0, event.lock.0)?,
            _ => self.known_lock(event.lock)?,
        }
        self.session.order.log.push(event);
        self.reached.event_ns = at_ns;
        Ok(())
    }

    /// Threads that create each other in a ring: no program does that.
    pub(super) fn untangle(&mut self) {
        let lives = &mut self.session.order.lives;
        // 0: not looked at; otherwise the walk that came by.
        let mut walks = vec![0usize; lives.len()];
        for start in 0..lives.len() {
            let mut at = start;
            while walks[at] == 0 {
                walks[at] = start + 1;
                let Some((creator, _)) = lives[at].creator else { break };
                if walks.get(creator.index()).is_none_or(|walk| *walk == start + 1) {
                    lives[at].creator = None;
                    break;
                }
                at = creator.index();
            }
        }
    }

    fn life_of(&mut self, thread: u32) -> Result<(), Damage> {
        self.known_thread(ThreadId(thread))?;
        let missing = (thread as usize + 1).saturating_sub(self.session.order.lives.len());
        self.charge((missing * size_of::<Life>()) as u64)?;
        self.session.order.life(ThreadId(thread));
        Ok(())
    }

    fn known_mark(&self, thread: u32, mark: u32) -> Result<(), Damage> {
        let marks = self.session.order.lives.get(thread as usize).map_or(0, |life| life.marks.len());
        check(mark as usize, marks, "a mark that is not there")
    }

    fn known_lock(&self, lock: LockId) -> Result<(), Damage> {
        check(lock.index(), self.session.locks.len(), "an order of an unknown lock")
    }

    fn known_thread(&self, thread: ThreadId) -> Result<(), Damage> {
        check(thread.index(), self.session.threads.len(), "an order of an unknown thread")
    }

    pub(super) fn known_stack(&self, stack: StackId) -> Result<(), Damage> {
        check(stack.index(), self.session.stacks.len(), "a stack that is not there")
    }
}
