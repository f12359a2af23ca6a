//! Where in its row everything is: near its neighbours, in its order, without overlaps.

use super::layers::{Item, Layers};
use crate::analysis::order::Graph;

/// Centres of the items, by row and place in the row.
pub(super) type Centres = Vec<Vec<f64>>;

/// Times that every row is moved towards its neighbours.
const ROUNDS: usize = 40;

/// Finds the centres; the leftmost item begins at 0.
pub(super) fn centres(
    graph: &Graph,
    layers: &Layers,
    width: &dyn Fn(Item) -> f64,
    gap: &dyn Fn(Item, Item) -> f64,
) -> Centres {
    // How far apart the centres of neighbours in a row have to be.
    let apart: Vec<Vec<f64>> = (layers.rows.iter())
        .map(|row| row.windows(2).map(|pair| (width(pair[0]) + width(pair[1])) / 2.0 + gap(pair[0], pair[1])).collect())
        .collect();
    let mut centres: Centres = (apart.iter().zip(&layers.rows))
        .map(|(apart, row)| {
            let mut at = 0.0;
            let mut line = vec![0.0];
            apart.iter().for_each(|step| {
                at += step;
                line.push(at);
            });
            line.truncate(row.len());
            let middle = at / 2.0;
            line.iter().map(|x| x - middle).collect()
        })
        .collect();
    let place = |row: usize, item: Item| layers.rows[row].iter().position(|other| *other == item).unwrap_or(0);
    // Lines between bends want to be straight more than lines to locks do.
    let mut near: Vec<Vec<Vec<(usize, usize, f64)>>> =
        layers.rows.iter().map(|row| vec![Vec::new(); row.len()]).collect();
    for edge in 0..graph.edges.len() {
        for pair in layers.stations(graph, edge).windows(2) {
            let ((upper, a), (lower, b)) = (pair[0], pair[1]);
            if upper == lower {
                continue;
            }
            let bends = [a, b].iter().filter(|item| matches!(item, Item::Bend(_))).count();
            let weight = [1.0, 2.0, 8.0][bends];
            let (a, b) = (place(upper, a), place(lower, b));
            near[upper][a].push((lower, b, weight));
            near[lower][b].push((upper, a, weight));
        }
    }
    for round in 0..ROUNDS {
        let rows: Vec<usize> =
            if round % 2 == 0 { (0..centres.len()).collect() } else { (0..centres.len()).rev().collect() };
        for row in rows {
            let wish: Vec<(f64, f64)> = (near[row].iter().enumerate())
                .map(|(at, near)| {
                    let weight: f64 = near.iter().map(|(_, _, weight)| weight).sum();
                    if weight == 0.0 {
                        return (centres[row][at], 0.1);
                    }
                    (near.iter().map(|(row, at, weight)| centres[*row][*at] * weight).sum::<f64>() / weight, weight)
                })
                .collect();
            centres[row] = settle(&wish, &apart[row]);
        }
    }
    let left = (layers.rows.iter().zip(&centres))
        .flat_map(|(row, centres)| row.iter().zip(centres).map(|(item, x)| x - width(*item) / 2.0))
        .fold(f64::INFINITY, f64::min);
    if left.is_finite() {
        centres.iter_mut().flatten().for_each(|x| *x -= left);
    }
    centres
}

/// The places nearest to the wishes (with their weights) that keep the order and the distances: pools of neighbours
/// that would overlap move as one.
fn settle(wish: &[(f64, f64)], apart: &[f64]) -> Vec<f64> {
    let mut offset = vec![0.0];
    apart.iter().for_each(|step| offset.push(offset[offset.len() - 1] + step));
    // (sum of weighted places, weight, members)
    let mut pools: Vec<(f64, f64, usize)> = Vec::new();
    for ((place, weight), offset) in wish.iter().zip(&offset) {
        pools.push(((place - offset) * weight, *weight, 1));
        while pools.len() > 1 {
            let (last, before) = (pools[pools.len() - 1], pools[pools.len() - 2]);
            if before.0 / before.1 <= last.0 / last.1 {
                break;
            }
            pools.pop();
            let at = pools.len() - 1;
            pools[at] = (before.0 + last.0, before.1 + last.1, before.2 + last.2);
        }
    }
    let free = pools.iter().flat_map(|(sum, weight, members)| std::iter::repeat_n(sum / weight, *members));
    free.zip(&offset).map(|(place, offset)| place + offset).collect()
}

#[cfg(test)]
mod tests {
    use super::settle;

    #[test]
    fn wishes_are_met_where_there_is_room() {
        assert_eq!(settle(&[(0.0, 1.0), (30.0, 1.0)], &[10.0]), [0.0, 30.0]);
        assert_eq!(settle(&[(5.0, 1.0), (5.0, 1.0)], &[10.0]), [0.0, 10.0]);
        assert_eq!(settle(&[(9.0, 1.0), (0.0, 1.0)], &[2.0]), [3.5, 5.5]);
        assert_eq!(settle(&[(0.0, 3.0), (0.0, 1.0)], &[8.0]), [-2.0, 6.0]);
        assert!(settle(&[], &[]).is_empty());
    }
}
