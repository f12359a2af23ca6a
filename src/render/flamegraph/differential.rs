//! Two recordings in one picture: as wide as now, red where it grew, blue where it shrank.
//!
//! inferno's own differential graphs colour the innermost frame of a stack only, and count the change of a frame
//! without that of the frames on top of it. Here every frame has the whole change, as it has the whole width: inferno
//! draws, and then each frame gets its colour and its words.

use rustc_hash::FxHashMap;

use super::tree::{Drawn, Ordered, Value};
use crate::analysis::diff::scaled;
use crate::render::text::growth;

/// Values before (scaled) and now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    pub old: u64,
    pub new: u64,
}

impl Value for Change {
    fn plus(self, other: Self) -> Self {
        Self { old: self.old.saturating_add(other.old), new: self.new.saturating_add(other.new) }
    }

    fn width(self) -> u64 {
        self.new
    }
}

/// Both recordings' stacks.
pub(super) struct Differential {
    drawn: Drawn<Change>,
    gone: u64,
}

impl Differential {
    /// Both recordings; values of `old` are multiplied by `scale`. Frames narrower than `least` are not drawn.
    pub fn of(old: Ordered<u64>, new: Ordered<u64>, scale: f64, least: f64) -> Self {
        let before = |value| Change { old: scaled(value, scale), new: 0 };
        let both = old.joined(new, before, |value| Change { old: 0, new: value });
        let gone = both.values().filter(|value| value.new == 0).fold(0, |sum: u64, gone| sum.saturating_add(gone.old));
        Self { drawn: both.drawn(least), gone }
    }

    /// The new recording's stacks as lines for inferno.
    pub fn lines(&self) -> Vec<String> {
        self.drawn.lines()
    }

    /// Sum before, scaled, and now.
    pub fn total(&self) -> Change {
        self.drawn.nodes()[0].whole
    }

    /// Sum of the stacks that are not there any more, scaled.
    pub fn gone(&self) -> u64 {
        self.gone
    }

    /// Paints a picture of [`Self::lines`] that was drawn with frames of this height, px. `unit`: a value in words.
    pub fn paint(&self, svg: &str, lines: &[String], frame_height: usize, unit: impl Fn(u64) -> String) -> String {
        let places = self.places(lines);
        let total = self.total();
        let changes = self.drawn.nodes().iter().map(|node| node.whole.old.abs_diff(node.whole.new));
        let most = changes.max().unwrap_or(0);
        let (head, mut rest) = svg.split_at(svg.find("id=\"frames\"").unwrap_or(svg.len()));
        let lowest = rest.split(" y=\"").skip(1).filter_map(number).max().unwrap_or(0);
        let mut out = head.to_owned();
        while let Some(frame) = Shape::next(rest) {
            let depth = lowest.saturating_sub(frame.y) as usize / frame_height.max(1);
            let change = places.get(&(depth, frame.start)).copied().unwrap_or(total);
            out.push_str(&rest[..frame.words]);
            // `name (figures)`: the figures hold no parenthesis, the name may.
            let words = &rest[frame.words..frame.words_end];
            let name = words.rfind(" (").map_or(words, |at| &words[..at]);
            let share = change.new as f64 / total.new.max(1) as f64 * 100.0;
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
    fn places(&self, lines: &[String]) -> FxHashMap<(usize, u64), Change> {
        let nodes = self.drawn.nodes();
        let on_top: FxHashMap<(u32, &str), u32> =
            (0..).zip(nodes).skip(1).map(|(at, node)| ((node.below, self.drawn.name(node)), at)).collect();
        let mut places = FxHashMap::default();
        let mut begin = 0u64;
        let (mut path, mut last): (Vec<u32>, Vec<u32>) = (Vec::new(), Vec::new());
        for line in lines {
            let (stack, value) = line.rsplit_once(' ').unwrap_or((line, "0"));
            path.clear();
            for name in stack.split(';') {
                let below = path.last().copied().unwrap_or(0);
                path.push(on_top.get(&(below, name)).copied().unwrap_or(0));
            }
            // A frame that both lines share goes on.
            let shared = path.iter().zip(&last).take_while(|(now, before)| now == before).count();
            for (depth, node) in (1..).zip(&path).skip(shared) {
                places.insert((depth, begin), nodes[*node as usize].whole);
            }
            begin = begin.saturating_add(value.parse().unwrap_or(0));
            std::mem::swap(&mut path, &mut last);
        }
        places
    }
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
struct Shape {
    words: usize,
    words_end: usize,
    colour: usize,
    colour_end: usize,
    y: u64,
    start: u64,
}

impl Shape {
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
