//! Fingerprints that stay the same from run to run: the definition is in `docs/lock-order.md`.
//!
//! The hash is FNV-1a of 64 bits (Fowler, Noll, Vo), written down here as no library's hash promises to stay.

pub mod identities;

/// A hash in the making.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fnv(u64);

impl Fnv {
    pub fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        self
    }

    pub fn number(self, number: u64) -> Self {
        self.bytes(&number.to_le_bytes())
    }

    pub fn end(self) -> u64 {
        self.0
    }
}

/// The hash of a text.
pub(in crate::analysis) fn text(text: &str) -> u64 {
    Fnv::new().bytes(text.as_bytes()).end()
}

/// Where the smallest rotation of a sequence begins (Booth 1980, in the form of two candidates that race).
pub(in crate::analysis) fn smallest_rotation<T: Ord>(items: &[T]) -> usize {
    let count = items.len();
    let (mut one, mut other, mut same) = (0, 1, 0);
    while one < count && other < count && same < count {
        let (a, b) = (&items[(one + same) % count], &items[(other + same) % count]);
        match a.cmp(b) {
            std::cmp::Ordering::Equal => same += 1,
            order => {
                if order.is_gt() {
                    one += same + 1;
                } else {
                    other += same + 1;
                }
                if one == other {
                    other += 1;
                }
                same = 0;
            }
        }
    }
    one.min(other)
}

/// The fingerprint of a cycle with these sides.
pub(in crate::analysis) fn of_cycle(sides: &[u64]) -> u64 {
    let start = smallest_rotation(sides);
    let turned = sides[start..].iter().chain(&sides[..start]);
    turned.fold(Fnv::new().bytes(b"cycle"), |hash, side| hash.number(*side)).end()
}

/// As it is written.
pub(in crate::analysis) fn written(fingerprint: u64) -> String {
    format!("{fingerprint:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_published_one() {
        assert_eq!(text(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(text("a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(text("foobar"), 0x8594_4171_f739_67e8);
        assert_eq!(written(0x1f), "000000000000001f");
    }

    proptest::proptest! {
        #[test]
        fn rotations_are_one(items in proptest::collection::vec(0u64..4, 1..9), by in 0usize..9) {
            let by = by % items.len();
            let turned: Vec<u64> = items[by..].iter().chain(&items[..by]).copied().collect();
            proptest::prop_assert_eq!(of_cycle(&items), of_cycle(&turned));
            let least = (0..items.len())
                .map(|at| [&items[at..], &items[..at]].concat()).min().unwrap_or_default();
            let start = smallest_rotation(&items);
            proptest::prop_assert_eq!([&items[start..], &items[..start]].concat(), least);
        }
    }
}
