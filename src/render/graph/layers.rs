//! Which row each lock is in, and in which order within its row: few crossings, little travel.
//!
//! Rows follow the levels of the hierarchy. A level gets several rows where locks of a cycle share it (an order among
//! them then goes from row to row) and where it is too wide. An order that passes rows gets a *bend* in each of
//! them, which keeps its line clear of the locks there.

use crate::analysis::order::Graph;

/// What takes room in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// A lock: a position in the graph's nodes.
    Node(usize),
    /// An order on its way: a position in the graph's edges.
    Bend(usize),
}

/// Rows from top to bottom.
#[derive(Clone, Debug, Default)]
pub(super) struct Layers {
    /// What is in each row, from left to right.
    pub rows: Vec<Vec<Item>>,
    /// The level that each row belongs to.
    pub levels: Vec<u32>,
    /// The row of each lock.
    pub row_of: Vec<usize>,
}

/// Neighbours above and below of each item, as positions in the neighbouring rows' items.
type Links = Vec<Vec<Vec<usize>>>;

impl Layers {
    /// `widths` are those of the locks, `widest` what a row may hold.
    pub(super) fn of(graph: &Graph, widths: &[f64], gap: f64, widest: f64) -> Self {
        let mut layers = Self::rows(graph, widths, gap, widest);
        layers.bend(graph);
        layers.order(graph);
        layers
    }

    fn rows(graph: &Graph, widths: &[f64], gap: f64, widest: f64) -> Self {
        let mut layers = Self { row_of: vec![0; graph.nodes.len()], ..Self::default() };
        let mut levels: Vec<u32> = graph.nodes.iter().map(|node| node.level).collect();
        levels.sort_unstable();
        levels.dedup();
        for level in levels {
            let members: Vec<usize> = (0..graph.nodes.len()).filter(|at| graph.nodes[*at].level == level).collect();
            let depth = depths(graph, &members);
            let deepest = depth.iter().copied().max().unwrap_or(0);
            for step in 0..=deepest {
                let mut used = f64::INFINITY;
                for (_, at) in depth.iter().zip(&members).filter(|(depth, _)| **depth == step) {
                    if used + gap + widths[*at] > widest {
                        layers.rows.push(Vec::new());
                        layers.levels.push(level);
                        used = -gap;
                    }
                    used += gap + widths[*at];
                    let row = layers.rows.len() - 1;
                    layers.rows[row].push(Item::Node(*at));
                    layers.row_of[*at] = row;
                }
            }
        }
        layers
    }

    /// Puts a bend into every row that an order passes.
    fn bend(&mut self, graph: &Graph) {
        for (at, edge) in graph.edges.iter().enumerate() {
            let (from, to) = (self.row_of[edge.from as usize], self.row_of[edge.to as usize]);
            for row in from.min(to) + 1..from.max(to) {
                self.rows[row].push(Item::Bend(at));
            }
        }
    }

    /// Sorts each row by where its neighbours are, up and down in turns, and keeps the best.
    fn order(&mut self, graph: &Graph) {
        let mut best = (self.crossings(graph), self.rows.clone());
        for turn in 0..24 {
            let down_turn = turn % 2 == 0;
            let rows: Vec<usize> = if down_turn {
                (1..self.rows.len()).collect()
            } else {
                (0..self.rows.len().saturating_sub(1)).rev().collect()
            };
            for row in rows {
                let (up, down) = self.links(graph);
                let links = if down_turn { &up[row] } else { &down[row] };
                let key = |place: usize| {
                    let near = &links[place];
                    if near.is_empty() {
                        // Whoever has no neighbour keeps its place, as a share of the row.
                        return place as f64;
                    }
                    near.iter().sum::<usize>() as f64 / near.len() as f64
                };
                let mut keyed: Vec<(f64, usize, Item)> =
                    self.rows[row].iter().enumerate().map(|(place, item)| (key(place), place, *item)).collect();
                keyed.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
                self.rows[row] = keyed.into_iter().map(|(_, _, item)| item).collect();
            }
            self.swap(graph);
            let crossings = self.crossings(graph);
            if crossings < best.0 {
                best = (crossings, self.rows.clone());
            }
            if best.0 == 0 {
                break;
            }
        }
        self.rows = best.1;
    }

    /// Swaps neighbours in a row where that makes fewer crossings.
    fn swap(&mut self, graph: &Graph) {
        for row in 0..self.rows.len() {
            let (up, down) = self.links(graph);
            for place in 1..self.rows[row].len() {
                let count = |a: usize, b: usize| -> usize {
                    [&up[row], &down[row]].into_iter().map(|links| crossed(&links[a], &links[b])).sum()
                };
                if count(place, place - 1) < count(place - 1, place) {
                    self.rows[row].swap(place - 1, place);
                    // The links of this row are stale now; the next turn sees to the rest.
                    break;
                }
            }
        }
    }

    fn crossings(&self, graph: &Graph) -> usize {
        let (_, down) = self.links(graph);
        let mut total = 0;
        for row in &down {
            for left in 0..row.len() {
                for right in left + 1..row.len() {
                    total += crossed(&row[left], &row[right]);
                }
            }
        }
        total
    }

    /// The stations of an order from the upper end to the lower one: (row, item).
    pub(super) fn stations(&self, graph: &Graph, edge: usize) -> Vec<(usize, Item)> {
        let (from, to) = (graph.edges[edge].from as usize, graph.edges[edge].to as usize);
        let (top, bottom) = if self.row_of[from] <= self.row_of[to] { (from, to) } else { (to, from) };
        let mut stations = vec![(self.row_of[top], Item::Node(top))];
        stations.extend((self.row_of[top] + 1..self.row_of[bottom]).map(|row| (row, Item::Bend(edge))));
        if top != bottom {
            stations.push((self.row_of[bottom], Item::Node(bottom)));
        }
        stations
    }

    fn links(&self, graph: &Graph) -> (Links, Links) {
        let blank = || self.rows.iter().map(|row| vec![Vec::new(); row.len()]).collect::<Links>();
        let (mut up, mut down) = (blank(), blank());
        let place = |row: usize, item: Item| self.rows[row].iter().position(|other| *other == item).unwrap_or(0);
        for edge in 0..graph.edges.len() {
            for pair in self.stations(graph, edge).windows(2) {
                let ((upper, a), (lower, b)) = (pair[0], pair[1]);
                if upper == lower {
                    continue;
                }
                let (a, b) = (place(upper, a), place(lower, b));
                down[upper][a].push(b);
                up[lower][b].push(a);
            }
        }
        (up, down)
    }
}

/// Crossings between the lines of a left and a right item.
fn crossed(left: &[usize], right: &[usize]) -> usize {
    left.iter().map(|a| right.iter().filter(|b| *b < a).count()).sum()
}

/// How many rows below its level's first each member comes: along the orders within the level, as far as these do
/// not lead back.
fn depths(graph: &Graph, members: &[usize]) -> Vec<usize> {
    let place = |node: u32| members.iter().position(|member| *member == node as usize);
    let inner: Vec<(usize, usize)> = graph
        .edges
        .iter()
        .filter_map(|edge| Some((place(edge.from)?, place(edge.to)?)))
        .filter(|(a, b)| a != b)
        .collect();
    let mut depth = vec![0; members.len()];
    // What leads back is what leads to a member that comes first in the list: names decide, not chance.
    for at in 0..members.len() {
        for (from, to) in inner.iter().filter(|(from, to)| from < to && *to == at) {
            depth[*to] = depth[*to].max(depth[*from] + 1);
        }
    }
    depth
}
