//! The trace file against round trips, cuts, flips, hostile bytes and time.

mod damage;
mod files;
mod golden;
mod hostile;
mod roundtrip;

use super::*;
use crate::model::*;

fn to_bytes(session: &Session) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(session, &mut bytes).expect("memory takes everything");
    bytes
}

/// Uses a session as reports do, to show that nothing in it leads astray.
fn exercise(session: &Session) {
    for at in 0..session.stacks.len() {
        for node in session.stacks.walk(StackId::from(at)) {
            node.address.module.map(|module| session.stacks.modules[module.index()].name().len());
        }
    }
    for thread in &session.threads {
        session.process(thread.process);
    }
    for lock in &session.locks {
        session.process(lock.process);
        session.stacks.node(lock.origin_stack);
    }
    for (at, site) in session.profile.sites.iter().enumerate() {
        assert_eq!(session.profile.find(site.key), Some(SiteId::from(at)));
        session.lock(site.key.lock);
        session.stacks.node(site.key.stack);
        for histogram in [&site.wait, &site.hold] {
            assert!([0.0, 0.5, 0.99, 1.0].map(|q| histogram.quantile(q)).iter().all(|ns| *ns <= histogram.max));
        }
    }
    let mut all = Histogram::default();
    session.profile.sites.iter().for_each(|site| all.merge(&site.wait));
    for (thread, site) in session.profile.by_thread.keys() {
        session.thread(*thread);
        assert!(site.index() < session.profile.sites.len());
    }
    for key in session.profile.waits.keys().chain(session.profile.wait_events.iter().map(|event| &event.key)) {
        session.lock(key.lock);
        session.thread(key.thread);
        key.holder_thread.map(|thread| session.thread(thread));
        session.stacks.node(key.waiter);
        session.stacks.node(key.holder);
    }
    for key in session.profile.calls.keys() {
        session.lock(key.lock);
        session.stacks.node(key.stack);
        session.stacks.node(key.taken);
        assert!(!session.profile.call_name(key.call).is_empty());
    }
    let order = &session.order;
    for link in order.chains.links() {
        session.lock(link.lock);
        session.stacks.node(link.stack);
    }
    for request in &order.requests {
        session.thread(request.key.thread);
        session.lock(request.key.lock);
        session.stacks.node(request.key.stack);
        assert!(order.chains.walk(request.key.held).next().is_some() && !request.runs.is_empty());
        let sync_points =
            order.timelines.get(request.key.thread.index()).map_or(0, |timeline| timeline.sync_points.len());
        assert!(request.runs.iter().all(|run| run.first <= run.last && run.last as usize <= sync_points));
    }
    for (at, timeline) in order.timelines.iter().enumerate() {
        session.thread(ThreadId::from(at));
        timeline.guards.iter().for_each(|guard| assert!(guard.lock.index() < session.locks.len()));
        // Whoever follows creators comes to an end.
        let mut next = timeline.creator;
        let mut steps = 0;
        while let Some((creator, sync_point)) = next {
            assert!(
                (sync_point as usize) < order.timelines[creator.index()].sync_points.len()
                    && steps < order.timelines.len()
            );
            next = order.timelines[creator.index()].creator;
            steps += 1;
        }
    }
    for event in order.log.events() {
        match event.what {
            order::LoggedWhat::SyncPoint => {
                assert!(event.lock.index() < order.timelines[event.thread.index()].sync_points.len());
            }
            _ => _ = session.lock(event.lock),
        }
    }
    order.is_cyclic(|lock| session.lock(lock).kind == Kind::Join);
}
