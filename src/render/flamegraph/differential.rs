//! Two recordings in one picture: as wide as now, red where it grew, blue where it shrank.
//!
//! inferno's own differential graphs colour the innermost frame of a stack only, and count the change of a frame
//! without that of the frames on top of it. Here every frame has the whole change, as it has the whole width: inferno
//! draws, and then each frame gets its colour and its words.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::folded::Folded;
use crate::analysis::diff::scaled;
use crate::render::text::growth;

/// Values before (scaled) and now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    pub old: u64,
    pub new: u64,
}

/// Both recordings' stacks.
pub(super) struct Differential {
    /// Stacks that are still there, for inferno: `frame;frame value`, sorted.
    pub lines: Vec<String>,
    /// Sum before, scaled, and now.
    pub total: Change,
    /// Sum of the stacks that are not there any more, scaled.
    pub gone: u64,
    /// By a stack's outer frames.
    frames: BTreeMap<String, Change>,
}

impl Differential {
    pub fn of(old: &Folded, new: &Folded, scale: f64) -> Self {
        let mut stacks: BTreeMap<&str, Change> = BTreeMap::new();
        for (stack, value) in &old.stacks {
            stacks.entry(stack).or_default().old = scaled(*value, scale);
        }
        for (stack, value) in &new.stacks {
            stacks.entry(stack).or_default().new = *value;
        }
        let mut result = Self { lines: Vec::new(), total: Change::default(), gone: 0, frames: BTreeMap::new() };
        for (stack, change) in stacks {
            for outer in prefixes(stack) {
                grow(result.frames.entry(outer.to_owned()).or_default(), change);
            }
            grow(&mut result.total, change);
            match change.new {
                0 => result.gone = result.gone.saturating_add(change.old),
                value => result.lines.push(format!("{stack} {value}")),
            }
        }
        result.lines.sort_unstable();
        result
    }

    /// Paints a picture of `lines` that was drawn with frames of this height, px. `unit`: a value in words.
    pub fn paint(&self, svg: &str, frame_height: usize, unit: impl Fn(u64) -> String) -> String {
        let places = self.places();
        // The whole is left out: everything would be pale against it.
        let most = self.frames.values().map(|change| change.old.abs_diff(change.new)).max().unwrap_or(0);
        let (head, mut rest) = svg.split_at(svg.find("id=\"frames\"").unwrap_or(svg.len()));
        let lowest = rest.split(" y=\"").skip(1).filter_map(number).max().unwrap_or(0);
        let mut out = head.to_owned();
        while let Some(frame) = Drawn::next(rest) {
            let depth = lowest.saturating_sub(frame.y) as usize / frame_height.max(1);
            let change = places.get(&(depth, frame.start)).copied().unwrap_or(self.total);
            out.push_str(&rest[..frame.words]);
            // `name (figures)`: the figures hold no parenthesis, the name may.
            let words = &rest[frame.words..frame.words_end];
            let name = words.rfind(" (").map_or(words, |at| &words[..at]);
            let share = change.new as f64 / self.total.new.max(1) as f64 * 100.0;
            out.push_str(&format!(
                "{name} ({}, {share:.2}%; was {}, {})",
                unit(change.new),
                unit(change.old),
                growth(change.old, change.new).replace('<', "&lt;")
            ));
            out.push_str(&rest[frame.words_end..frame.colour]);
            out.push_str(&colour(change, most));
            rest = &rest[frame.colour_end..];
        }
        out + rest
    }

    /// The change of each frame that inferno draws, by its depth (0 is the whole) and where it begins.
    fn places(&self) -> FxHashMap<(usize, u64), Change> {
        let mut places = FxHashMap::default();
        let (mut begin, mut last) = (0u64, "");
        for line in &self.lines {
            let (stack, value) = line.rsplit_once(' ').unwrap_or((line, "0"));
            for (depth, outer) in (1..).zip(prefixes(stack)) {
                let goes_on = last.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(';'));
                if let (false, Some(change)) = (goes_on, self.frames.get(outer)) {
                    places.insert((depth, begin), *change);
                }
            }
            begin = begin.saturating_add(value.parse().unwrap_or(0));
            last = stack;
        }
        places
    }
}

fn grow(sum: &mut Change, change: Change) {
    sum.old = sum.old.saturating_add(change.old);
    sum.new = sum.new.saturating_add(change.new);
}

/// `a`, `a;b`, `a;b;c` of `a;b;c`.
fn prefixes(stack: &str) -> impl Iterator<Item = &str> {
    stack.match_indices(';').map(|(at, _)| &stack[..at]).chain([stack])
}

/// From nearly white, for no change, to red or blue.
fn colour(change: Change, most: u64) -> String {
    let share = change.old.abs_diff(change.new) as f64 / most.max(1) as f64;
    // The root makes small changes visible beside a large one.
    let pale = 244 - (144.0 * share.min(1.0).sqrt()) as u8;
    match change.new.cmp(&change.old) {
        std::cmp::Ordering::Greater => format!("rgb(255,{pale},{pale})"),
        std::cmp::Ordering::Less => format!("rgb({pale},{pale},255)"),
        std::cmp::Ordering::Equal => "rgb(240,240,236)".into(),
    }
}

/// Where the parts of a drawn frame are in the text.
struct Drawn {
    words: usize,
    words_end: usize,
    colour: usize,
    colour_end: usize,
    y: u64,
    start: u64,
}

impl Drawn {
    /// The first frame in the text.
    fn next(text: &str) -> Option<Self> {
        let find = |what: &str, from: usize| text.get(from..)?.find(what).map(|at| from + at + what.len());
        let words = find("<title>", 0)?;
        let words_end = find("</title>", words)? - "</title>".len();
        let rect = find("<rect ", words_end)?;
        let colour = find(" fill=\"", rect)?;
        let colour_end = find("\"", colour)? - 1;
        let attribute = |name: &str| find(name, rect).and_then(|at| number(&text[at..]));
        Some(Self { words, words_end, colour, colour_end, y: attribute(" y=\"")?, start: attribute(" fg:x=\"")? })
    }
}

/// The digits that a text begins with.
fn number(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    // Texts have fractions of pixels; frames do not.
    (!text[end..].starts_with('.')).then(|| text[..end].parse().ok())?
}
