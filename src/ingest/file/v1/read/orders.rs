//! The order of locks, out of its rows.

use super::{Builder, check};
use crate::ingest::file::container::Damage;
use crate::ingest::file::v1::orders::{
    ChainRow, MissingRow, MisuseRow, OrderEventRow, RequestRow, SyncPointRow, TimelineRow,
};
use crate::model::ThreadId;
use crate::model::order::{ChainId, GuardLock, Link, LoggedWhat, Request, Run, SyncPoint, SyncWhat, ThreadTimeline};

/// What the rows to come refer to.
#[derive(Default)]
pub struct Reached {
    sync_point_thread: u32,
    sync_point_ns: u64,
    timelines: usize,
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

    pub(super) fn sync_point(&mut self, row: SyncPointRow) -> Result<(), Damage> {
        self.charge(size_of::<SyncPoint>() as u64)?;
        let thread = self.reached.sync_point_thread.saturating_add(row.thread_step);
        let at_ns = self.reached.sync_point_ns.wrapping_add(row.at_step_ns as u64);
        self.timeline_of(thread)?;
        let sync_point = row.sync_point(at_ns).ok_or(Damage::Senseless("a mark that has no meaning"))?;
        match sync_point.what {
            SyncWhat::Created(other) | SyncWhat::Joined(other) | SyncWhat::Outlived(other) => {
                other.map_or(Ok(()), |other| self.known_thread(other))
            }
            SyncWhat::Barrier { lock, .. } | SyncWhat::Posted(lock) | SyncWhat::Taken(lock) => self.known_lock(lock),
        }?;
        self.known_stack(sync_point.stack)?;
        self.session.order.timelines[thread as usize].sync_points.push(sync_point);
        (self.reached.sync_point_thread, self.reached.sync_point_ns) = (thread, at_ns);
        Ok(())
    }

    pub(super) fn timeline(&mut self, row: TimelineRow) -> Result<(), Damage> {
        self.charge((row.guards.len() * size_of::<GuardLock>()) as u64)?;
        let guards = row.guards().ok_or(Damage::Senseless("a gate that has no meaning"))?;
        for guard in &guards {
            self.known_lock(guard.lock)?;
            self.known_stack(guard.stack)?;
        }
        if let Some((creator, sync_point)) = row.creator {
            self.known_sync_point(creator, sync_point)?;
        }
        let at = self.reached.timelines;
        self.timeline_of(at as u32)?;
        let timeline = &mut self.session.order.timelines[at];
        timeline.creator = row.creator.map(|(thread, sync_point)| (ThreadId(thread), sync_point));
        timeline.guards = guards;
        (timeline.soft_dropped, timeline.hard_dropped) = (row.soft_dropped, row.hard_dropped);
        timeline.key = row.key;
        self.reached.timelines += 1;
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
        let sync_points =
            self.session.order.timelines.get(key.thread.index()).map_or(0, |timeline| timeline.sync_points.len());
        for run in &request.runs {
            check(run.last as usize, sync_points + 1, "a request at a time that is not there")?;
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
            LoggedWhat::SyncPoint => self.known_sync_point(event.thread.0, event.lock.0)?,
            _ => self.known_lock(event.lock)?,
        }
        self.session.order.log.push(event);
        self.reached.event_ns = at_ns;
        Ok(())
    }

    /// Threads that create each other in a ring: no program does that.
    pub(super) fn untangle(&mut self) {
        let timelines = &mut self.session.order.timelines;
        // 0: not looked at; otherwise the walk that came by.
        let mut walks = vec![0usize; timelines.len()];
        for start in 0..timelines.len() {
            let mut at = start;
            while walks[at] == 0 {
                walks[at] = start + 1;
                let Some((creator, _)) = timelines[at].creator else { break };
                if walks.get(creator.index()).is_none_or(|walk| *walk == start + 1) {
                    timelines[at].creator = None;
                    break;
                }
                at = creator.index();
            }
        }
    }

    fn timeline_of(&mut self, thread: u32) -> Result<(), Damage> {
        self.known_thread(ThreadId(thread))?;
        let missing = (thread as usize + 1).saturating_sub(self.session.order.timelines.len());
        self.charge((missing * size_of::<ThreadTimeline>()) as u64)?;
        self.session.order.timeline(ThreadId(thread));
        Ok(())
    }

    fn known_sync_point(&self, thread: u32, sync_point: u32) -> Result<(), Damage> {
        let sync_points =
            self.session.order.timelines.get(thread as usize).map_or(0, |timeline| timeline.sync_points.len());
        check(sync_point as usize, sync_points, "a mark that is not there")
    }
}
