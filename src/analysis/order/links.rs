//! What joins the timelines of threads: creations, joins, barriers and hand-overs as links between segments.
//!
//! Links that must hold in every run: a creation, a join, a robust mutex whose owner is reported to have ended, and a round
//! of a barrier that the same threads meet at each time. Soft ones, which ordered the threads in this run only: a
//! semaphore's post that a wait needed, a message that was received, all that lowered the count of a wait group, the signal
//! within a condition wait, and a barrier at which more threads meet than it counts.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use crate::model::order::{Fold, SyncWhat, ThreadTimeline};
use crate::model::{Kind, Lock, LockId, Session, ThreadId};

/// What a link is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Via {
    /// The thread was created.
    Created,
    /// A thread that ended was joined.
    Joined,
    /// A robust mutex was taken whose owner had ended.
    Outlived,
    /// A round of a barrier, into it and out of it.
    Met {
        /// Whether the same threads meet each time.
        hard: bool,
    },
    /// A semaphore was posted, a condition signalled.
    Posted,
}

/// From segment `seg` on, a node knows that the segments below `upto` of `node` had ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct In {
    pub seg: u32,
    pub node: u32,
    pub upto: u32,
    pub via: Via,
}

/// A round of a barrier.
#[derive(Clone, Debug)]
pub(super) struct Round {
    /// Who met, and which of its sync points it was.
    pub met: Vec<(ThreadId, u32)>,
}

/// When a thread came to a barrier and went on, which thread, which of its sync points.
type Arrival = (u64, u64, ThreadId, u32);

/// The links of a session. Nodes are threads, and behind them the rounds of barriers.
#[derive(Debug, Default)]
pub(super) struct Links {
    into: Vec<Vec<In>>,
    threads: usize,
    creators: Vec<Option<(u32, u32)>>,
    joined: FxHashMap<u32, (u32, u32)>,
    pub rounds: Vec<Round>,
    /// Each thread was created once and joined, if at all, by its creator, and nothing else orders threads.
    pub is_tree: bool,
    /// Some links are soft.
    pub soft: bool,
    /// Some creations, joins, barriers or hand-overs were not kept.
    pub dropped: bool,
}

impl Links {
    /// `soft`: hand-overs as well.
    pub fn new(session: &Session, soft: bool) -> Self {
        let timelines = &session.order.timelines;
        let mut links = Self {
            into: vec![Vec::new(); timelines.len()],
            threads: timelines.len(),
            creators: vec![None; timelines.len()],
            is_tree: true,
            dropped: timelines.iter().any(|timeline| timeline.hard_dropped > 0 || timeline.soft_dropped > 0),
            ..Self::default()
        };
        let known = |thread: ThreadId| thread.index() < timelines.len();
        for (at, timeline) in timelines.iter().enumerate() {
            if let Some((creator, sync_point)) = timeline.creator.filter(|(creator, _)| known(*creator)) {
                links.creators[at] = Some((creator.0, sync_point.saturating_add(1)));
                links.into[at].push(In {
                    seg: 0,
                    node: creator.0,
                    upto: sync_point.saturating_add(1),
                    via: Via::Created,
                });
            }
            for (sync_point, what) in (1..).zip(timeline.sync_points.iter().map(|sync_point| sync_point.what)) {
                if let SyncWhat::Joined(Some(child)) = what
                    && known(child)
                    && child.index() != at
                {
                    let by_creator = timelines[child.index()].creator.is_some_and(|(creator, _)| creator.index() == at);
                    links.is_tree &= by_creator;
                    links.joined.entry(child.0).or_insert((at as u32, sync_point));
                    links.into[at].push(In { seg: sync_point, node: child.0, upto: u32::MAX, via: Via::Joined });
                }
                if let SyncWhat::Outlived(Some(owner)) = what
                    && known(owner)
                    && owner.index() != at
                {
                    links.is_tree = false;
                    links.into[at].push(In { seg: sync_point, node: owner.0, upto: u32::MAX, via: Via::Outlived });
                }
            }
        }
        links.meet(timelines, soft);
        if soft {
            links.hand_over(timelines, &session.locks);
        }
        for into in &mut links.into {
            into.sort_by_key(|link| link.seg);
        }
        links
    }

    /// Threads and rounds.
    pub fn nodes(&self) -> usize {
        self.into.len()
    }

    /// What leads into a node, by segment.
    pub fn into(&self, node: u32) -> &[In] {
        self.into.get(node as usize).map_or(&[], Vec::as_slice)
    }

    /// Who created a thread, and how many of its segments had ended by then.
    pub fn creator(&self, thread: u32) -> Option<(u32, u32)> {
        self.creators.get(thread as usize).copied().flatten()
    }

    /// Who joined a thread, and the first segment of it behind the join.
    pub fn joined(&self, thread: u32) -> Option<(u32, u32)> {
        self.joined.get(&thread).copied()
    }

    /// The round of a barrier that a node is.
    pub fn round(&self, node: u32) -> Option<&Round> {
        self.rounds.get((node as usize).checked_sub(self.threads)?)
    }

    /// With a count of N, the first N arrivals are a round, the next N the second one, and so on.
    fn meet(&mut self, timelines: &[ThreadTimeline], soft: bool) {
        // What was not kept any more at one thread leaves the later rounds of all unknown.
        let complete_until_ns = horizon(timelines, Fold::MOST_SYNC_POINTS, |timeline| timeline.hard_dropped);
        let mut arrivals: BTreeMap<(LockId, u32), Vec<Arrival>> = BTreeMap::new();
        for (at, timeline) in timelines.iter().enumerate() {
            for (number, sync_point) in timeline.sync_points.iter().enumerate() {
                if let SyncWhat::Barrier { lock, count } = sync_point.what {
                    let arrival = (sync_point.at_ns, sync_point.until_ns, ThreadId::from(at), number as u32);
                    arrivals.entry((lock, count)).or_default().push(arrival);
                }
            }
        }
        for ((_, count), mut arrivals) in arrivals {
            self.is_tree = false;
            arrivals.sort_unstable();
            let mut threads: Vec<ThreadId> = arrivals.iter().map(|arrival| arrival.2).collect();
            threads.sort_unstable();
            threads.dedup();
            // Where others may meet in another run, the round orders this run only.
            let hard = threads.len() == count as usize;
            if !hard && !soft {
                continue;
            }
            for round in arrivals.chunks_exact(count.max(1) as usize) {
                let last_in = round.iter().map(|arrival| arrival.0).max().unwrap_or(0);
                let first_out = round.iter().map(|arrival| arrival.1).min().unwrap_or(0);
                if last_in > first_out || last_in > complete_until_ns {
                    // The threads did not meet as the count says: nothing that follows is certain.
                    break;
                }
                self.add_round(hard, round.iter().map(|arrival| (arrival.2, arrival.3)).collect());
            }
        }
    }

    fn add_round(&mut self, hard: bool, met: Vec<(ThreadId, u32)>) {
        self.soft |= !hard;
        let (node, via) = (self.into.len() as u32, Via::Met { hard });
        let arrival = |(thread, sync_point): &(ThreadId, u32)| In { seg: 0, node: thread.0, upto: sync_point + 1, via };
        self.into.push(met.iter().map(arrival).collect());
        for (thread, sync_point) in &met {
            self.into[thread.index()].push(In { seg: sync_point + 1, node, upto: 1, via });
        }
        self.rounds.push(Round { met });
    }

    /// Which post a wait needed, which signal fell into a condition wait.
    fn hand_over(&mut self, timelines: &[ThreadTimeline], locks: &[Lock]) {
        let complete_until_ns =
            horizon(timelines, Fold::MOST_SOFT_SYNC_POINTS, |timeline| timeline.soft_dropped + timeline.hard_dropped);
        #[derive(Default)]
        struct Traffic {
            posts: Vec<Post>,
            /// When it had it and when it asked, who, which sync point.
            takes: Vec<(u64, u64, u32, u32)>,
        }
        let mut traffic: BTreeMap<LockId, Traffic> = BTreeMap::new();
        for (at, timeline) in timelines.iter().enumerate() {
            for (number, sync_point) in timeline.sync_points.iter().enumerate() {
                let (thread, number) = (at as u32, number as u32);
                match sync_point.what {
                    SyncWhat::Posted(lock) => {
                        traffic.entry(lock).or_default().posts.push((sync_point.at_ns, thread, number));
                    }
                    SyncWhat::Taken(lock) => {
                        traffic.entry(lock).or_default().takes.push((
                            sync_point.until_ns,
                            sync_point.at_ns,
                            thread,
                            number,
                        ));
                    }
                    _ => {}
                }
            }
        }
        for (lock, Traffic { mut posts, mut takes }) in traffic {
            let Some(lock) = locks.get(lock.index()).filter(|lock| !super::requests::holds(lock)) else { continue };
            posts.sort_unstable();
            takes.sort_unstable();
            self.is_tree &= takes.is_empty();
            for (number, (until_ns, at_ns, thread, sync_point)) in takes.iter().copied().enumerate() {
                if until_ns > complete_until_ns {
                    break;
                }
                let by_then = &posts[..posts.partition_point(|post| post.0 <= until_ns)];
                let needed: Vec<Post> = match lock.kind {
                    Kind::Condvar | Kind::Cond => {
                        by_then.last().filter(|post| post.0 >= at_ns).copied().into_iter().collect()
                    }
                    Kind::Waitgroup => last_of_each(by_then),
                    // Messages come in their order. Behind the last one, the channel was closed.
                    Kind::Channel => by_then.get(number).or(by_then.last()).copied().into_iter().collect(),
                    // The value at the start is taken first: the k-th wait needs the (k - value)-th post.
                    _ => match number.checked_sub(lock.traits.initial as usize).and_then(|number| posts.get(number)) {
                        // More was taken than had been posted: the value at the start is not what it is thought to be.
                        Some(post) if post.0 > until_ns => break,
                        post => post.copied().into_iter().collect(),
                    },
                };
                for (_, poster, posted) in needed.into_iter().filter(|post| post.1 != thread) {
                    self.soft = true;
                    let link = In { seg: sync_point + 1, node: poster, upto: posted + 1, via: Via::Posted };
                    self.into[thread as usize].push(link);
                }
            }
        }
    }
}

/// When a semaphore was posted, a condition signalled, a wait group's count lowered; by whom; which sync point of it.
type Post = (u64, u32, u32);

/// The last post of each thread.
fn last_of_each(posts: &[Post]) -> Vec<Post> {
    let mut last: BTreeMap<u32, Post> = BTreeMap::new();
    posts.iter().for_each(|post| _ = last.insert(post.1, *post));
    last.into_values().collect()
}

/// Up to when sync points are complete: those of a thread that had too many of them end `most` sync points in.
fn horizon(timelines: &[ThreadTimeline], most: usize, dropped: impl Fn(&ThreadTimeline) -> u64) -> u64 {
    let cut = timelines.iter().filter(|timeline| dropped(timeline) > 0);
    cut.map(|timeline| timeline.sync_points.get(most - 1).map_or(0, |sync_point| sync_point.at_ns))
        .min()
        .unwrap_or(u64::MAX)
}
