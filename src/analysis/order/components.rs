//! Strongly connected components (Tarjan 1972), without recursion: a graph may have millions of nodes.

/// A graph in rows: what follows each node.
#[derive(Debug, Default)]
pub(super) struct Rows {
    starts: Vec<u32>,
    targets: Vec<u32>,
}

impl Rows {
    /// From edges that are reported twice, in any order: once to be counted, once to be kept.
    pub fn new(nodes: usize, each: impl Fn(&mut dyn FnMut(u32, u32))) -> Self {
        let mut starts = vec![0u32; nodes + 1];
        each(&mut |from, _| starts[from as usize + 1] += 1);
        for at in 0..nodes {
            starts[at + 1] += starts[at];
        }
        let mut next = starts.clone();
        let mut targets = vec![0u32; starts[nodes] as usize];
        each(&mut |from, to| {
            let at = &mut next[from as usize];
            targets[*at as usize] = to;
            *at += 1;
        });
        Self { starts, targets }
    }

    /// What follows a node.
    pub fn of(&self, node: u32) -> &[u32] {
        &self.targets[self.starts[node as usize] as usize..self.starts[node as usize + 1] as usize]
    }

    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }
}

/// The component of each node, numbered so that an edge between two of them leads to the lower number.
pub(super) fn components(graph: &Rows) -> Vec<u32> {
    const NEW: u32 = u32::MAX;
    let nodes = graph.len();
    let mut component = vec![NEW; nodes];
    let mut low = vec![NEW; nodes];
    let mut stack: Vec<u32> = Vec::new();
    // A node, when it was met, and how many of its successors were looked at.
    let mut path: Vec<(u32, u32, u32)> = Vec::new();
    let (mut met, mut found) = (0, 0);
    for root in 0..nodes as u32 {
        if low[root as usize] != NEW {
            continue;
        }
        path.push((root, met, 0));
        low[root as usize] = met;
        stack.push(root);
        met += 1;
        while let Some((node, index, next)) = path.last_mut() {
            let (node, index) = (*node, *index);
            if let Some(target) = graph.of(node).get(*next as usize).copied() {
                *next += 1;
                if low[target as usize] == NEW {
                    path.push((target, met, 0));
                    low[target as usize] = met;
                    stack.push(target);
                    met += 1;
                } else if component[target as usize] == NEW {
                    low[node as usize] = low[node as usize].min(low[target as usize]);
                }
                continue;
            }
            path.pop();
            if let Some((parent, ..)) = path.last() {
                low[*parent as usize] = low[*parent as usize].min(low[node as usize]);
            }
            if low[node as usize] == index {
                while let Some(member) = stack.pop() {
                    component[member as usize] = found;
                    if member == node {
                        break;
                    }
                }
                found += 1;
            }
        }
    }
    component
}
