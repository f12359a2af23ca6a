//! What came before what: a graph of segments of threads, and clocks read from it.
//!
//! Segment n of a thread lies before its sync point n. A thread's clock at a segment says of every other thread how many
//! of its segments had ended by then. Clocks are not kept for all segments, as Fidge and Mattern do: few are asked
//! for, so each is found by a walk backwards over the sync points that let something in. Where threads are only created
//! and joined by their creators, which is so in most programs, no clock is needed: two walks up the tree do.

use std::rc::Rc;

use rustc_hash::FxHashMap;

use super::links::{In, Links, Via};
use crate::model::ThreadId;

/// A clock: how many segments had ended, by node; ascending nodes.
type Clock = Rc<[(u32, u32)]>;

/// A node, up to which segment, and from which step it was reached by which link.
type Reached = (u32, u32, Option<(usize, In)>);

/// Answers whether one segment came before another.
pub(super) struct Clocks<'a> {
    links: &'a Links,
    memo: FxHashMap<(u32, u32), Clock>,
    /// Entries in `memo`.
    kept: usize,
    known: Vec<u32>,
    scanned: Vec<u32>,
    steps: u64,
}

/// Creations from a thread up to the first one that are followed.
const DEEPEST_TREE: usize = 64;

impl<'a> Clocks<'a> {
    /// Entries of clocks that are remembered: 128 MiB.
    const MOST_KEPT: usize = 16 << 20;
    /// Sync points that are walked over in all: some seconds. Beyond it nothing is known to be ordered.
    const MOST_STEPS: u64 = 1 << 30;

    pub fn new(links: &'a Links) -> Self {
        let nodes = links.nodes();
        Self { links, memo: FxHashMap::default(), kept: 0, known: vec![0; nodes], scanned: vec![0; nodes], steps: 0 }
    }

    /// Whether some answers are careful only, as finding them out would have taken too long.
    pub fn exhausted(&self) -> bool {
        self.steps > Self::MOST_STEPS
    }

    /// Whether the segment `last` of `earlier` had ended before the segment `first` of `later` began.
    pub fn before(&mut self, earlier: ThreadId, last: u32, later: ThreadId, first: u32) -> bool {
        if earlier == later {
            return last < first;
        }
        self.ended(earlier, later, first) > last
    }

    /// How many segments of `of` had ended when the segment `first` of `at` began.
    pub fn ended(&mut self, of: ThreadId, at: ThreadId, first: u32) -> u32 {
        if self.links.is_tree
            && let Some(ended) = self.ended_in_tree(of, at, first)
        {
            return ended;
        }
        let count = self.links.into(at.0).partition_point(|link| link.seg <= first) as u32;
        if count == 0 {
            return 0;
        }
        let clock = match self.memo.get(&(at.0, count)) {
            Some(clock) => clock.clone(),
            None if self.exhausted() => return 0,
            None => self.walk(at.0, count),
        };
        clock.binary_search_by_key(&of.0, |(node, _)| *node).map_or(0, |found| clock[found].1)
    }

    /// The same where each thread was joined by its creator only: whoever ended was joined up to a creator of `at`.
    fn ended_in_tree(&self, of: ThreadId, at: ThreadId, first: u32) -> Option<u32> {
        // Who created `at`, and how many of its segments had ended by then.
        let mut above: Vec<(u32, u32)> = vec![(at.0, first.saturating_add(1))];
        while let Some((creator, ended)) = self.links.creator(above[above.len() - 1].0) {
            if above.len() > DEEPEST_TREE {
                return None;
            }
            above.push((creator, ended));
        }
        let of_at = |thread: u32| above.iter().find(|(known, _)| *known == thread).map(|(_, ended)| *ended);
        if let Some(ended) = of_at(of.0) {
            return Some(ended);
        }
        let mut ended = of.0;
        for _ in 0..DEEPEST_TREE {
            let Some((joiner, seg)) = self.links.joined(ended) else { return Some(0) };
            if let Some(known) = of_at(joiner) {
                return Some(if seg < known { u32::MAX } else { 0 });
            }
            ended = joiner;
        }
        None
    }

    fn walk(&mut self, node: u32, count: u32) -> Clock {
        let mut touched: Vec<u32> = Vec::new();
        let mut open: Vec<(u32, u32)> =
            self.links.into(node)[..count as usize].iter().map(|link| (link.node, link.upto)).collect();
        self.steps += u64::from(count);
        while let Some((node, upto)) = open.pop() {
            let at = node as usize;
            if self.known[at] >= upto {
                continue;
            }
            if self.known[at] == 0 {
                touched.push(node);
            }
            self.known[at] = upto;
            let links = self.links.into(node);
            let mut next = self.scanned[at] as usize;
            while let Some(link) = links.get(next).filter(|link| link.seg < upto) {
                if self.known[link.node as usize] < link.upto {
                    open.push((link.node, link.upto));
                }
                next += 1;
            }
            self.steps += (next - self.scanned[at] as usize) as u64;
            self.scanned[at] = next as u32;
        }
        touched.sort_unstable();
        let clock: Clock = touched.iter().map(|node| (*node, self.known[*node as usize])).collect();
        for node in touched {
            self.known[node as usize] = 0;
            self.scanned[node as usize] = 0;
        }
        self.steps += clock.len() as u64;
        if self.kept + clock.len() > Self::MOST_KEPT {
            self.memo.clear();
            self.kept = 0;
        }
        self.kept += clock.len();
        self.memo.insert((node, count), clock.clone());
        clock
    }

    /// The links by which the segment `first` of `later` knows that the segment `last` of `earlier` had ended,
    /// the earliest first, each with the node that it leads into.
    pub fn path(&self, earlier: ThreadId, last: u32, later: ThreadId, first: u32) -> Vec<(u32, In)> {
        // What was reached, with the step it was reached from and the link between.
        let mut steps: Vec<Reached> = vec![(later.0, first.saturating_add(1), None)];
        let mut known: FxHashMap<u32, u32> = FxHashMap::default();
        let mut next = 0;
        while let Some((node, upto, _)) = steps.get(next).copied() {
            if next > 0 && node == earlier.0 && upto > last {
                let mut path = Vec::new();
                let mut at = next;
                while let Some((from, link)) = steps[at].2 {
                    path.push((steps[from].0, link));
                    at = from;
                }
                return path;
            }
            for link in self.links.into(node).iter().filter(|link| link.seg < upto) {
                let before = known.entry(link.node).or_insert(0);
                if *before < link.upto {
                    *before = link.upto;
                    steps.push((link.node, link.upto, Some((next, *link))));
                }
            }
            next += 1;
        }
        Vec::new()
    }

    /// Whether a path leads over a hand-over, and over which.
    pub fn soft_on(path: &[(u32, In)]) -> Option<(u32, In)> {
        path.iter().copied().find(|(_, link)| matches!(link.via, Via::Posted | Via::Met { hard: false, .. }))
    }
}
