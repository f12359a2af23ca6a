//! The cycles of random graphs, against a search that knows no tricks.

use std::collections::BTreeSet;

use proptest::prelude::*;

use crate::analysis::order::components::{Rows, components};
use crate::analysis::order::cycles::{Limits, cycles};

fn naive(edges: &[Vec<u32>]) -> BTreeSet<Vec<u32>> {
    fn walk(edges: &[Vec<u32>], path: &mut Vec<u32>, found: &mut BTreeSet<Vec<u32>>) {
        for to in &edges[path[path.len() - 1] as usize] {
            if *to == path[0] && path.len() > 1 {
                found.insert(path.clone());
            } else if *to > path[0] && !path.contains(to) {
                path.push(*to);
                walk(edges, path, found);
                path.pop();
            }
        }
    }
    let mut found = BTreeSet::new();
    (0..edges.len() as u32).for_each(|start| walk(edges, &mut vec![start], &mut found));
    found
}

const ALL: Limits = Limits { steps: u64::MAX, pairs: u64::MAX, longer: u64::MAX };

prop_compose! {
    fn graph()(nodes in 1usize..8)(
        edges in proptest::collection::btree_set((0..nodes as u32, 0..nodes as u32), 0..24),
        nodes in Just(nodes),
    ) -> Vec<Vec<u32>> {
        let mut graph = vec![Vec::new(); nodes];
        edges.iter().filter(|(from, to)| from != to).for_each(|(from, to)| graph[*from as usize].push(*to));
        graph
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn each_cycle_is_told_once_and_the_short_ones_first(graph in graph()) {
        let mut reported: Vec<Vec<u32>> = Vec::new();
        let (all, _) = cycles(&graph, ALL, |cycle| reported.push(cycle.to_vec()));
        prop_assert!(all);
        prop_assert!(reported.windows(2).all(|pair| pair[0].len() <= pair[1].len()), "{reported:?}");
        let distinct: BTreeSet<_> = reported.iter().cloned().collect();
        prop_assert_eq!(distinct.len(), reported.len());
        prop_assert_eq!(distinct, naive(&graph));
    }

    #[test]
    fn limits_are_kept_and_told(graph in graph(), pairs in 0u64..4, longer in 1u64..4, steps in 0u64..60) {
        let (mut two, mut more) = (0, 0);
        let (all, _) = cycles(&graph, Limits { steps, pairs, longer }, |cycle| {
            if cycle.len() == 2 { two += 1 } else { more += 1 }
        });
        prop_assert!(two <= pairs && more <= longer);
        let found = naive(&graph);
        prop_assert!(!all || two + more == found.len() as u64);
    }

    #[test]
    fn components_are_what_reaches_each_other(graph in graph()) {
        let rows = Rows::new(graph.len(), |edge| {
            (0u32..).zip(&graph).for_each(|(from, targets)| targets.iter().for_each(|to| edge(from, *to)));
        });
        let of = components(&rows);
        let reach = |from: usize| {
            let (mut known, mut open) = (BTreeSet::from([from]), vec![from]);
            while let Some(at) = open.pop() {
                open.extend(graph[at].iter().map(|to| *to as usize).filter(|to| known.insert(*to)));
            }
            known
        };
        for from in 0..graph.len() {
            for to in reach(from) {
                prop_assert_eq!(of[from] == of[to], reach(to).contains(&from));
                prop_assert!(of[from] >= of[to]);
            }
        }
    }
}
