//! Rings in a graph of who waits for whom.
//!
//! Strongly connected components by Tarjan's algorithm (Depth-first search and linear graph algorithms, SIAM J. Comput. 1972),
//! without recursion, since a hostile segment may make chains of any length; then one short ring for each component.

use rustc_hash::FxHashMap;

/// Nodes from which a component's shortest ring is looked for; a larger component's is the shortest of those through
/// its first nodes.
const STARTS: usize = 64;

/// Marks a node that was not met yet.
const UNMET: u32 = u32::MAX;

/// Who waits for whom: `edges[a]` holds `b` where `a` waits for `b`. Whoever waits for several waits for all of them.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    edges: Vec<Vec<u32>>,
}

impl Graph {
    /// A graph without edges.
    pub fn new(nodes: usize) -> Self {
        Self { edges: vec![Vec::new(); nodes] }
    }

    /// One more node; its number.
    pub fn node(&mut self) -> u32 {
        self.edges.push(Vec::new());
        self.edges.len() as u32 - 1
    }

    /// `from` waits for `to`.
    pub fn edge(&mut self, from: u32, to: u32) {
        debug_assert!((to as usize) < self.edges.len());
        if let Some(edges) = self.edges.get_mut(from as usize) {
            edges.push(to);
        }
    }

    /// One ring for each strongly connected component that has one, beginning at its least node, in the order of the
    /// waits: each node waits for the next.
    pub fn rings(&self) -> Vec<Vec<u32>> {
        let components = self.components();
        let mut component_of = vec![0; self.edges.len()];
        for (number, component) in components.iter().enumerate() {
            component.iter().for_each(|node| component_of[*node as usize] = number);
        }
        let mut rings: Vec<Vec<u32>> = components
            .iter()
            .enumerate()
            .filter(|(_, nodes)| nodes.len() > 1 || self.edges[nodes[0] as usize].contains(&nodes[0]))
            .filter_map(|(number, nodes)| {
                let mut nodes = nodes.clone();
                nodes.sort_unstable();
                let starts = nodes.iter().take(STARTS);
                starts.filter_map(|start| self.ring_through(*start, number, &component_of)).min_by_key(Vec::len)
            })
            .collect();
        rings.sort_unstable();
        rings
    }

    /// The nodes from which one of `targets` can be reached, those included.
    pub fn reaching(&self, targets: &[u32]) -> Vec<bool> {
        let mut waiters: Vec<Vec<u32>> = vec![Vec::new(); self.edges.len()];
        for (from, to) in self.edges.iter().enumerate() {
            to.iter().for_each(|to| waiters[*to as usize].push(from as u32));
        }
        let mut reached = vec![false; self.edges.len()];
        let mut next: Vec<u32> = targets.to_vec();
        while let Some(node) = next.pop() {
            if !std::mem::replace(&mut reached[node as usize], true) {
                next.extend(&waiters[node as usize]);
            }
        }
        reached
    }

    /// A shortest ring through a node within its component, breadth first; rotated to begin at its least node.
    fn ring_through(&self, start: u32, component: usize, component_of: &[usize]) -> Option<Vec<u32>> {
        let mut from: FxHashMap<u32, u32> = FxHashMap::default();
        let mut queue = std::collections::VecDeque::from([start]);
        while let Some(node) = queue.pop_front() {
            for to in &self.edges[node as usize] {
                if *to == start {
                    let mut ring = vec![node];
                    while let Some(before) = ring.last().copied().filter(|last| *last != start) {
                        ring.push(*from.get(&before)?);
                    }
                    ring.reverse();
                    let least = (0..ring.len()).min_by_key(|at| ring[*at])?;
                    ring.rotate_left(least);
                    return Some(ring);
                }
                if component_of[*to as usize] == component && !from.contains_key(to) {
                    from.insert(*to, node);
                    queue.push_back(*to);
                }
            }
        }
        None
    }

    fn components(&self) -> Vec<Vec<u32>> {
        let count = self.edges.len();
        let (mut met, mut low) = (vec![UNMET; count], vec![0u32; count]);
        let mut on_stack = vec![false; count];
        let (mut stack, mut components, mut clock) = (Vec::new(), Vec::new(), 0);
        // A node and the edge of it that is followed next.
        let mut path: Vec<(u32, usize)> = Vec::new();
        for root in 0..count as u32 {
            if met[root as usize] == UNMET {
                path.push((root, 0));
            }
            while let Some((node, edge)) = path.pop() {
                let at = node as usize;
                if edge == 0 {
                    (met[at], low[at]) = (clock, clock);
                    clock += 1;
                    stack.push(node);
                    on_stack[at] = true;
                }
                if let Some(to) = self.edges[at].get(edge).map(|to| *to as usize) {
                    path.push((node, edge + 1));
                    if met[to] == UNMET {
                        path.push((to as u32, 0));
                    } else if on_stack[to] {
                        low[at] = low[at].min(met[to]);
                    }
                    continue;
                }
                if let Some((caller, _)) = path.last() {
                    low[*caller as usize] = low[*caller as usize].min(low[at]);
                }
                if low[at] == met[at] {
                    let from = stack.iter().rposition(|other| *other == node).unwrap_or(0);
                    let component = stack.split_off(from);
                    component.iter().for_each(|node| on_stack[*node as usize] = false);
                    components.push(component);
                }
            }
        }
        components
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn graph(nodes: u32, edges: &[(u32, u32)]) -> Graph {
        let mut graph = Graph::new(nodes as usize);
        edges.iter().for_each(|(from, to)| graph.edge(from % nodes, to % nodes));
        graph
    }

    /// Shortest distances by Floyd and Warshall, of at least one step.
    fn distances(graph: &Graph) -> Vec<Vec<Option<usize>>> {
        let count = graph.edges.len();
        let mut far = vec![vec![None; count]; count];
        for (from, to) in graph.edges.iter().enumerate() {
            to.iter().for_each(|to| far[from][*to as usize] = Some(1));
        }
        for middle in 0..count {
            for from in 0..count {
                for to in 0..count {
                    if let (Some(first), Some(second)) = (far[from][middle], far[middle][to])
                        && far[from][to].is_none_or(|known| known > first + second)
                    {
                        far[from][to] = Some(first + second);
                    }
                }
            }
        }
        far
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn rings_are_those_of_the_naive_model(nodes in 1u32..12, edges in vec((0u32..12, 0u32..12), 0..24)) {
            let graph = graph(nodes, &edges);
            let far = distances(&graph);
            let rings = graph.rings();
            for ring in &rings {
                for (at, node) in ring.iter().enumerate() {
                    let next = ring[(at + 1) % ring.len()];
                    prop_assert!(graph.edges[*node as usize].contains(&next), "no ring: {:?}", ring);
                    prop_assert!(!ring[..at].contains(node), "twice through {}: {:?}", node, ring);
                    prop_assert!(*node >= ring[0]);
                }
            }
            // Nodes that reach each other form classes; each class that reaches itself has one ring, its shortest.
            let ringed: Vec<usize> = (0..nodes as usize).filter(|node| far[*node][*node].is_some()).collect();
            for node in &ringed {
                let class = |other: &usize| other == node || (far[*node][*other].is_some() && far[*other][*node].is_some());
                let inside: Vec<_> = rings.iter().filter(|ring| class(&(ring[0] as usize))).collect();
                prop_assert_eq!(inside.len(), 1, "node {} in {:?}", node, rings);
                let shortest = ringed.iter().filter(|other| class(other)).filter_map(|other| far[*other][*other]).min();
                prop_assert_eq!(Some(inside[0].len()), shortest);
            }
            prop_assert!(rings.iter().all(|ring| ringed.contains(&(ring[0] as usize))));
        }

        #[test]
        fn who_waits_for_a_ring(nodes in 1u32..12, edges in vec((0u32..12, 0u32..12), 0..24), target in 0u32..12) {
            let (graph, target) = (graph(nodes, &edges), target % nodes);
            let far = distances(&graph);
            let want: Vec<bool> =
                (0..nodes).map(|node| node == target || far[node as usize][target as usize].is_some()).collect();
            prop_assert_eq!(graph.reaching(&[target]), want);
        }
    }

    #[test]
    fn a_chain_of_any_length() {
        const LONG: u32 = 200_000;
        let mut graph = Graph::new(LONG as usize);
        (0..LONG - 1).for_each(|node| graph.edge(node, node + 1));
        assert!(graph.rings().is_empty());
        graph.edge(LONG - 1, LONG - 3);
        assert_eq!(graph.rings(), [[LONG - 3, LONG - 2, LONG - 1]]);
        assert!(graph.reaching(&[LONG - 1]).iter().all(|reaches| *reaches));
    }

    #[test]
    fn a_node_that_waits_for_itself() {
        assert_eq!(graph(3, &[(1, 1), (0, 1), (2, 0)]).rings(), [[1]]);
        // The shorter of two rings in one component.
        assert_eq!(graph(4, &[(0, 1), (1, 2), (2, 0), (2, 2), (3, 3)]).rings(), [vec![2], vec![3]]);
    }
}
