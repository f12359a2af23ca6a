//! Lists that are made of few parts in order: what each thread did, thread after thread.
//!
//! The standard library's stable sort would look at all of a list, of which most is in order since the last time, and
//! sees such parts only in longer lists than a lock gets in a round.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

/// Puts a list, of which the first `sorted` are in order already, into the order of its keys by merging its parts; equal
/// ones stay in their order. `room` is kept for the next list.
pub fn merge<T: Copy>(list: &mut [T], sorted: usize, room: &mut Vec<T>, key: impl Fn(&T) -> u64) {
    if sorted == list.len() {
        return;
    }
    let mut ends: Vec<usize> = Vec::new();
    let mut least = u64::MAX;
    for at in sorted..list.len() {
        if at == sorted || key(&list[at]) < key(&list[at - 1]) {
            ends.push(at);
            least = least.min(key(&list[at]));
        }
    }
    // Before this nothing moves.
    let begin = list[..sorted].partition_point(|item| key(item) <= least);
    let list = &mut list[begin..];
    ends.iter_mut().for_each(|end| *end -= begin);
    ends.push(list.len());
    if ends[0] == 0 {
        ends.remove(0);
    }
    while ends.len() > 1 {
        room.clear();
        let mut from = 0;
        let pairs = ends.len().div_ceil(2);
        for pair in 0..pairs {
            let middle = ends[2 * pair];
            let end = ends.get(2 * pair + 1).copied().unwrap_or(middle);
            merge_two(&list[from..middle], &list[middle..end], room, &key);
            from = end;
            ends[pair] = end;
        }
        ends.truncate(pairs);
        list.copy_from_slice(room);
    }
}

/// The positions of a list's items in the order of their keys; equal ones in that of their positions. Nothing is moved: for
/// items that are large.
pub fn in_order<T>(list: &[T], key: impl Fn(&T) -> u64) -> impl Iterator<Item = usize> {
    let starts =
        (0..list.len()).filter(|at| at.checked_sub(1).is_none_or(|before| key(&list[*at]) < key(&list[before])));
    let starts: Vec<usize> = starts.collect();
    let ends: Vec<usize> = starts.iter().skip(1).copied().chain([list.len()]).collect();
    // The parts by the key of their next item and by their position.
    let mut next: BinaryHeap<Reverse<(u64, usize, usize)>> =
        starts.iter().zip(&ends).map(|(at, end)| Reverse((key(&list[*at]), *at, *end))).collect();
    std::iter::from_fn(move || {
        let mut first = next.peek_mut()?;
        let Reverse((_, at, end)) = *first;
        if at + 1 == end {
            PeekMut::pop(first);
        } else {
            *first = Reverse((key(&list[at + 1]), at + 1, end));
        }
        Some(at)
    })
}

fn merge_two<T: Copy>(first: &[T], second: &[T], out: &mut Vec<T>, key: impl Fn(&T) -> u64) {
    let (mut a, mut b) = (0, 0);
    while a < first.len() && b < second.len() {
        let is_first = key(&first[a]) <= key(&second[b]);
        out.push(if is_first { first[a] } else { second[b] });
        a += usize::from(is_first);
        b += usize::from(!is_first);
    }
    out.extend_from_slice(&first[a..]);
    out.extend_from_slice(&second[b..]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn as_a_stable_sort(values in prop::collection::vec(0u64..30, 0..200), sorted in 0usize..100) {
            let mut list: Vec<(u64, usize)> = values.into_iter().zip(0..).collect();
            let sorted = sorted.min(list.len());
            list[..sorted].sort_by_key(|(key, _)| *key);
            let mut want = list.clone();
            want.sort_by_key(|(key, _)| *key);
            let positions: Vec<_> = in_order(&list, |(key, _)| *key).map(|at| list[at]).collect();
            prop_assert_eq!(&positions, &want);
            merge(&mut list, sorted, &mut Vec::new(), |(key, _)| *key);
            prop_assert_eq!(list, want);
        }
    }
}
