//! The simple cycles of a component, shortest first.
//!
//! Each cycle is found once, from its smallest node on (Tiernan 1970; Johnson 1975 adds the pruning of dead ends).
//! Here a cycle of length n is found by a walk of at most n steps that never goes where the way back would be too
//! long, so short cycles are found first, and dead ends are not entered at all. The number of cycles may be
//! exponential: the work is bounded, and who asks is reported.

use std::collections::VecDeque;

/// Where to stop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Edges that are looked at.
    pub steps: u64,
    /// Cycles of two nodes that are reported.
    pub pairs: u64,
    /// Longer cycles that are reported.
    pub longer: u64,
}

/// Reports the cycles of a graph whose edges are sorted by target. Returns whether all were reported, and the edges that
/// were looked at.
pub(super) fn cycles(edges: &[Vec<u32>], limits: Limits, mut report: impl FnMut(&[u32])) -> (bool, u64) {
    let (mut steps, mut reported) = (0, 0);
    for (from, targets) in (0u32..).zip(edges) {
        for to in targets.iter().copied().filter(|to| *to > from) {
            steps += 1;
            if edges[to as usize].binary_search(&from).is_ok() {
                if reported >= limits.pairs {
                    return (false, steps);
                }
                reported += 1;
                report(&[from, to]);
            }
        }
    }
    let mut search = Search::new(edges, limits.steps.saturating_sub(steps));
    let all = longer(&mut search, limits.longer, &mut report);
    (all, limits.steps.saturating_sub(search.steps))
}

/// The cycles of more than two nodes.
fn longer(search: &mut Search<'_>, most: u64, report: &mut impl FnMut(&[u32])) -> bool {
    let count = search.edges.len();
    // Nodes from which on there are cycles, with the length of the shortest.
    let mut starts: Vec<(u32, usize)> = Vec::new();
    for node in 0..count as u32 {
        match search.shortest(node) {
            None => return false,
            Some(usize::MAX) => {}
            Some(length) => starts.push((node, length.max(3))),
        }
    }
    let mut reported = 0;
    let mut length = 3;
    loop {
        starts.retain(|(node, _)| length <= count - *node as usize);
        let Some(least) = starts.iter().map(|(_, least)| *least).min() else { return true };
        length = length.max(least);
        for (node, _) in starts.iter().filter(|(node, least)| *least <= length && length <= count - *node as usize) {
            let all = search.of_length(*node, length, |cycle| {
                reported += 1;
                report(cycle);
                reported < most
            });
            if !all {
                return false;
            }
        }
        length += 1;
    }
}

struct Search<'a> {
    edges: &'a [Vec<u32>],
    back: Vec<Vec<u32>>,
    steps: u64,
    /// How far each node is from the start of the cycle, by nodes above it.
    distance: Vec<u32>,
    reached: Vec<u32>,
    on_path: Vec<bool>,
}

const FAR: u32 = u32::MAX;

impl<'a> Search<'a> {
    fn new(edges: &'a [Vec<u32>], steps: u64) -> Self {
        let mut back = vec![Vec::new(); edges.len()];
        for (from, targets) in (0u32..).zip(edges) {
            for to in targets {
                back[*to as usize].push(from);
            }
        }
        Self {
            edges,
            back,
            steps,
            distance: vec![FAR; edges.len()],
            reached: Vec::new(),
            on_path: vec![false; edges.len()],
        }
    }

    fn step(&mut self) -> bool {
        self.steps = self.steps.saturating_sub(1);
        self.steps > 0
    }

    /// Finds how far nodes above `start` are from it, up to `most`; ends at the first successor of `start` if asked.
    /// `None`: too much work.
    fn measure(&mut self, start: u32, most: u32, first: bool) -> Option<usize> {
        for node in self.reached.drain(..) {
            self.distance[node as usize] = FAR;
        }
        let mut open = VecDeque::from([start]);
        self.distance[start as usize] = 0;
        self.reached.push(start);
        while let Some(node) = open.pop_front() {
            let next = self.distance[node as usize] + 1;
            if next > most {
                break;
            }
            for at in 0..self.back[node as usize].len() {
                if !self.step() {
                    return None;
                }
                let from = self.back[node as usize][at];
                if from > start && self.distance[from as usize] == FAR {
                    self.distance[from as usize] = next;
                    self.reached.push(from);
                    open.push_back(from);
                    if first && self.edges[start as usize].binary_search(&from).is_ok() {
                        return Some(next as usize + 1);
                    }
                }
            }
        }
        Some(usize::MAX)
    }

    /// The length of the shortest cycle from a node on, `usize::MAX` where there is none.
    fn shortest(&mut self, start: u32) -> Option<usize> {
        self.measure(start, FAR - 1, true)
    }

    /// Reports the cycles of a length from a node on. Returns whether all were reported.
    fn of_length(&mut self, start: u32, length: usize, mut report: impl FnMut(&[u32]) -> bool) -> bool {
        if self.measure(start, length as u32 - 1, false).is_none() {
            return false;
        }
        let mut path = vec![start];
        let mut next = vec![0usize];
        while let Some(at) = next.last_mut() {
            let node = path[path.len() - 1];
            let Some(to) = self.edges[node as usize].get(*at).copied() else {
                next.pop();
                path.pop();
                self.on_path[node as usize] = false;
                continue;
            };
            *at += 1;
            if !self.step() {
                for node in path {
                    self.on_path[node as usize] = false;
                }
                return false;
            }
            let left = length - path.len();
            if left == 0 {
                if to == start && !report(&path) {
                    return false;
                }
                continue;
            }
            if to > start && !self.on_path[to as usize] && self.distance[to as usize] as usize <= left {
                self.on_path[to as usize] = true;
                path.push(to);
                next.push(0);
            }
        }
        true
    }
}
