//! Puts the slices of one thread on tracks so that on each track they nest.
//!
//! Locks need not be given back in the reverse order in which they were taken, but viewers of traces draw a track as a
//! stack: what overlaps without nesting goes to a track of its own.

/// For each slice `(start, end)`, ns, the number of its lane, from 0. A lane holds slices that nest or do not meet.
pub(super) fn lanes(slices: &[(u64, u64)]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..slices.len()).collect();
    order.sort_by_key(|at| (slices[*at].0, std::cmp::Reverse(slices[*at].1), *at));
    // Of each lane, the ends of the slices that are open, the innermost last.
    let mut open: Vec<Vec<u64>> = Vec::new();
    let mut lane_of = vec![0; slices.len()];
    for at in order {
        let (start, end) = slices[at];
        let fits = open.iter_mut().position(|ends| {
            while ends.pop_if(|last| *last <= start).is_some() {}
            ends.last().is_none_or(|last| *last >= end)
        });
        let lane = fits.unwrap_or_else(|| {
            open.push(Vec::new());
            open.len() - 1
        });
        open[lane].push(end);
        lane_of[at] = lane;
    }
    lane_of
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_nests_shares_a_lane() {
        assert_eq!(lanes(&[(0, 10), (2, 5), (5, 10), (10, 12)]), [0, 0, 0, 0]);
        // Taken a, b; given back a, b.
        assert_eq!(lanes(&[(0, 10), (5, 15)]), [0, 1]);
        assert_eq!(lanes(&[(5, 15), (0, 10), (12, 20), (11, 14)]), [1, 0, 2, 0]);
    }

    proptest! {
        #[test]
        fn no_lane_has_a_partial_overlap(raw in prop::collection::vec((0u64..40, 0u64..20), 0..30)) {
            let slices: Vec<(u64, u64)> = raw.iter().map(|(start, length)| (*start, start + length)).collect();
            let lanes = lanes(&slices);
            for (a, one) in slices.iter().enumerate() {
                for (b, other) in slices.iter().enumerate().filter(|(b, _)| lanes[*b] == lanes[a]) {
                    let crosses = one.0 < other.0 && other.0 < one.1 && one.1 < other.1;
                    prop_assert!(!crosses, "{a} {b}: {one:?} {other:?}");
                }
            }
        }
    }
}
