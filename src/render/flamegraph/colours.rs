//! Colours: one per lock, quiet ones for stacks.
//!
//! A lock's colour depends on its name alone, unless two names in one picture would share it: then the
//! later name takes the next free one.

use inferno::flamegraph::color::{Color, PaletteMap};
use rustc_hash::FxHashSet;

use super::folded::{Folded, HOLDER_MARK};

/// Behind everything.
pub(super) const BACKGROUND: Color = rgb(0xfa, 0xfa, 0xfa);
/// Titles.
pub(super) const TEXT: Color = rgb(0x22, 0x22, 0x22);

/// Light enough for black text, far enough apart to be told from each other and from the stacks.
const LOCKS: [Color; 14] = [
    rgb(0x5b, 0xb5, 0xe8),
    rgb(0x6c, 0xc4, 0x6c),
    rgb(0xe8, 0x7d, 0xb4),
    rgb(0xb3, 0x95, 0xe8),
    rgb(0x3f, 0xc1, 0xb0),
    rgb(0xe8, 0x6f, 0x5f),
    rgb(0xa8, 0xc0, 0x2f),
    rgb(0x84, 0x9c, 0xf0),
    rgb(0xd9, 0x84, 0xe0),
    rgb(0x4f, 0xc8, 0xd8),
    rgb(0x8f, 0xb8, 0x8a),
    rgb(0xc7, 0x8a, 0x9c),
    rgb(0x9f, 0xa8, 0xc8),
    rgb(0x7f, 0xb0, 0xb8),
];

const fn rgb(r: u8, g: u8, b: u8) -> Color {
    Color { r, g, b }
}

/// FNV-1a: the same on every machine and in every version.
fn hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// A colour near `base`, the same for the same name.
fn near(base: (u8, u8, u8), spread: u8, name: &str) -> Color {
    let hash = hash(name);
    let shift = |value: u8, bits: u64| value.saturating_sub((bits % u64::from(spread)) as u8);
    rgb(shift(base.0, hash >> 8), shift(base.1, hash >> 24), shift(base.2, hash >> 40))
}

/// The colour of every frame in the picture.
pub(super) fn palette(folded: &Folded, lines: &[String]) -> PaletteMap {
    let mut palette = PaletteMap::default();
    let mut known = FxHashSet::default();
    for line in lines {
        let stack = line.rsplit_once(' ').map_or(line.as_str(), |(stack, _)| stack);
        for name in stack.split(';').filter(|name| known.insert(*name)) {
            let bare = name.strip_suffix(HOLDER_MARK).unwrap_or(name);
            let color = if folded.wrappers.contains(bare) || bare.starts_with('[') {
                near((0xe4, 0xe4, 0xe2), 8, bare)
            } else if bare.len() < name.len() {
                near((0xc4, 0xd8, 0xee), 24, bare)
            } else {
                near((0xfa, 0xd8, 0x90), 24, bare)
            };
            palette.insert(name, color);
        }
    }
    palette.insert("", rgb(0xd8, 0xd8, 0xd8));
    let mut taken = [false; LOCKS.len()];
    for name in folded.locks.keys() {
        let first = hash(name) as usize % LOCKS.len();
        let free = (0..LOCKS.len()).map(|step| (first + step) % LOCKS.len()).find(|at| !taken[*at]);
        let at = free.unwrap_or(first);
        taken[at] = true;
        palette.insert(name, LOCKS[at]);
    }
    palette
}
