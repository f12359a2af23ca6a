//! The stacks of a picture, and the frames that are wide enough to be seen.

use std::ops::Range;

use rustc_hash::FxHashMap;

/// What a stack is worth.
pub(super) trait Value: Copy + Default {
    /// The sum; the greatest number where it has no room.
    fn plus(self, other: Self) -> Self;
    /// How wide it is drawn.
    fn width(self) -> u64;
}

impl Value for u64 {
    fn plus(self, other: Self) -> Self {
        self.saturating_add(other)
    }

    fn width(self) -> u64 {
        self
    }
}

/// A list of frames, outermost first, as positions in a list of names.
type Path = Range<usize>;

/// Stacks in the making, in any order.
#[derive(Default)]
pub(super) struct Gathering {
    numbers: FxHashMap<Box<str>, u32>,
    frames: Vec<u32>,
    stacks: Vec<(Path, u64)>,
    open: usize,
}

impl Gathering {
    /// The number of a name.
    pub fn name(&mut self, text: &str) -> u32 {
        let next = self.numbers.len() as u32;
        match self.numbers.get(text) {
            Some(known) => *known,
            None => *self.numbers.entry(text.into()).or_insert(next),
        }
    }

    /// Adds a frame to the stack that is being made: the next inner one.
    pub fn push(&mut self, name: u32) {
        self.frames.push(name);
    }

    /// Ends that stack.
    pub fn end(&mut self, value: u64) {
        self.stacks.push((self.open..self.frames.len(), value));
        self.open = self.frames.len();
    }

    /// The stacks by their names, each once.
    pub fn in_order(self) -> Ordered<u64> {
        let Self { numbers, mut frames, stacks, .. } = self;
        let mut names: Vec<(Box<str>, u32)> = numbers.into_iter().collect();
        names.sort_unstable();
        let mut places = vec![0u32; names.len()];
        for (place, (_, number)) in (0..).zip(&names) {
            places[*number as usize] = place;
        }
        frames.iter_mut().for_each(|name| *name = places[*name as usize]);
        Ordered::of(names.into_iter().map(|(text, _)| text).collect(), frames, stacks)
    }
}

/// Stacks in the order of their names, each once.
#[derive(Default)]
pub(super) struct Ordered<V> {
    /// Ascending.
    names: Vec<Box<str>>,
    frames: Vec<u32>,
    stacks: Vec<(Path, V)>,
}

impl<V: Value> Ordered<V> {
    fn of(names: Vec<Box<str>>, frames: Vec<u32>, mut stacks: Vec<(Path, V)>) -> Self {
        stacks.sort_by(|a, b| frames[a.0.clone()].cmp(&frames[b.0.clone()]));
        stacks.dedup_by(|later, first| {
            let same = frames[later.0.clone()] == frames[first.0.clone()];
            if same {
                first.1 = first.1.plus(later.1);
            }
            same
        });
        Self { names, frames, stacks }
    }

    /// What each stack is worth.
    pub fn values(&self) -> impl Iterator<Item = V> {
        self.stacks.iter().map(|(_, value)| *value)
    }

    /// Each stack as `frame;frame;frame value`, sorted as such.
    pub fn lines(&self) -> Vec<String> {
        let names = |path: &Path| self.frames[path.clone()].iter().map(|name| &*self.names[*name as usize]);
        let mut lines: Vec<_> =
            self.stacks.iter().map(|(path, value)| line(names(path).collect(), value.width())).collect();
        lines.sort_unstable();
        lines
    }

    /// The frames that are at least so wide. What the others are worth belongs to the frame below them.
    pub fn drawn(self, least: f64) -> Drawn<V> {
        let mut nodes = vec![Node { below: 0, name: NO_NAME, own: V::default(), whole: V::default() }];
        // Frames that may go on, with the whole at the outer end: their positions.
        let mut open: Vec<usize> = vec![0];
        let mut last: &[u32] = &[];
        for (path, value) in &self.stacks {
            let path = &self.frames[path.clone()];
            let shared = path.iter().zip(last).take_while(|(now, before)| now == before).count();
            close(&mut nodes, &mut open, shared + 1, least);
            for name in &path[shared..] {
                let below = open.last().map_or(0, |at| *at as u32);
                open.push(nodes.len());
                nodes.push(Node { below, name: *name, own: V::default(), whole: V::default() });
            }
            let top = &mut nodes[open.last().copied().unwrap_or(0)];
            (top.own, top.whole) = (top.own.plus(*value), top.whole.plus(*value));
            last = path;
        }
        close(&mut nodes, &mut open, 1, least);
        let narrow = std::mem::take(&mut nodes[0].own);
        if narrow.width() > 0 {
            nodes.push(Node { below: 0, name: OTHERS, own: narrow, whole: narrow });
        }
        Drawn { names: self.names, nodes }
    }
}

/// Ends open frames until so many are left. One that is too narrow is taken out; it is the last one then, as nothing on
/// top of it was wider.
fn close<V: Value>(nodes: &mut Vec<Node<V>>, open: &mut Vec<usize>, left: usize, least: f64) {
    while open.len() > left {
        let Some(at) = open.pop() else { return };
        let Node { below, whole, .. } = nodes[at];
        let below = &mut nodes[below as usize];
        below.whole = below.whole.plus(whole);
        if whole.width() == 0 || (whole.width() as f64) < least {
            if whole.width() > 0 {
                below.own = below.own.plus(whole);
            }
            nodes.truncate(at);
        }
    }
}

impl Ordered<u64> {
    /// Both lists as one, their values by `first` and `second`.
    pub fn joined<V: Value>(self, other: Self, first: impl Fn(u64) -> V, second: impl Fn(u64) -> V) -> Ordered<V> {
        let mut names = [&self.names[..], &other.names[..]].concat();
        names.sort_unstable();
        names.dedup();
        let mut frames = Vec::with_capacity(self.frames.len() + other.frames.len());
        let mut stacks = Vec::with_capacity(self.stacks.len() + other.stacks.len());
        let place = |name: &str| names.binary_search_by(|known| (**known).cmp(name)).unwrap_or_default() as u32;
        let mut add = |part: Self, value: &dyn Fn(u64) -> V| {
            let places: Vec<u32> = part.names.iter().map(|name| place(name)).collect();
            let begin = frames.len();
            frames.extend(part.frames.iter().map(|name| places[*name as usize]));
            let moved = |(path, own): &(Path, u64)| (path.start + begin..path.end + begin, value(*own));
            stacks.extend(part.stacks.iter().map(moved));
        };
        add(self, &first);
        add(other, &second);
        Ordered::of(names, frames, stacks)
    }
}

/// A frame with everything below it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node<V> {
    /// Position of the frame below; the whole is 0.
    pub below: u32,
    name: u32,
    /// What ends here, and what is on top but too narrow to be drawn.
    pub own: V,
    /// With everything on top.
    pub whole: V,
}

/// The name of the whole.
const NO_NAME: u32 = u32::MAX;
/// Stands for frames that are too narrow to be drawn and lie on no other one.
const OTHERS: u32 = u32::MAX - 1;

/// Frames that are drawn, those below before those on top of them.
pub(super) struct Drawn<V> {
    names: Vec<Box<str>>,
    nodes: Vec<Node<V>>,
}

impl<V: Value> Drawn<V> {
    /// The frames; the first one is the whole.
    pub fn nodes(&self) -> &[Node<V>] {
        &self.nodes
    }

    /// The name of a frame.
    pub fn name(&self, node: &Node<V>) -> &str {
        match node.name {
            NO_NAME => "",
            OTHERS => "[others]",
            name => &self.names[name as usize],
        }
    }

    /// The stacks as lines for inferno, sorted as such.
    pub fn lines(&self) -> Vec<String> {
        let of_node = |node: &Node<V>| {
            let mut names = Vec::new();
            let mut at = *node;
            while at.name != NO_NAME {
                names.push(self.name(&at));
                at = self.nodes[at.below as usize];
            }
            names.reverse();
            line(names, node.own.width())
        };
        let mut lines: Vec<_> = self.nodes.iter().filter(|node| node.own.width() > 0).map(of_node).collect();
        lines.sort_unstable();
        lines
    }
}

fn line(names: Vec<&str>, value: u64) -> String {
    let value = value.to_string();
    // There may be 100,000 of them, of a kilobyte each: no room to spare.
    let mut line = String::with_capacity(names.iter().map(|name| name.len() + 1).sum::<usize>() + value.len() + 1);
    for (at, name) in names.into_iter().enumerate() {
        line.push_str(if at == 0 { "" } else { ";" });
        line.push_str(name);
    }
    line.push(' ');
    line.push_str(&value);
    line
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    type Stack = (Vec<usize>, u64);

    fn stacks() -> impl Strategy<Value = Vec<Stack>> {
        prop::collection::vec((prop::collection::vec(0usize..4, 1..5), 1u64..50), 0..40)
    }

    /// Names of which one is another's beginning, with a letter below and one above the separator in between.
    const NAMES: [&str; 4] = ["a", "a b", "ab", "a!"];

    fn ordered(stacks: &[Stack]) -> Ordered<u64> {
        let mut gathering = Gathering::default();
        for (path, value) in stacks {
            for name in path {
                let name = gathering.name(NAMES[*name]);
                gathering.push(name);
            }
            gathering.end(*value);
        }
        gathering.in_order()
    }

    fn text(path: &[usize]) -> String {
        path.iter().map(|name| NAMES[*name]).collect::<Vec<_>>().join(";")
    }

    /// What each frame is worth with everything on top, by its path.
    fn wholes(stacks: &[Stack]) -> BTreeMap<String, u64> {
        let mut sums = BTreeMap::new();
        for (path, value) in stacks {
            (1..=path.len()).for_each(|depth| *sums.entry(text(&path[..depth])).or_default() += value);
        }
        sums
    }

    proptest! {
        #[test]
        fn lines_are_the_sums_of_equal_stacks(stacks in stacks()) {
            let mut sums: BTreeMap<String, u64> = BTreeMap::new();
            stacks.iter().for_each(|(path, value)| *sums.entry(text(path)).or_default() += value);
            let mut want: Vec<_> = sums.into_iter().map(|(path, value)| format!("{path} {value}")).collect();
            want.sort_unstable();
            prop_assert_eq!(&ordered(&stacks).lines(), &want);
            // Nothing is too narrow.
            prop_assert_eq!(&ordered(&stacks).drawn(0.0).lines(), &want);
        }

        #[test]
        fn what_is_wide_enough_is_drawn_and_nothing_is_lost(stacks in stacks(), least in 0u64..200) {
            let drawn = ordered(&stacks).drawn(least as f64);
            let total: u64 = stacks.iter().map(|(_, value)| value).sum();
            prop_assert_eq!(drawn.nodes()[0].whole, total);
            prop_assert_eq!(drawn.nodes().iter().map(|node| node.own).sum::<u64>(), total);
            let mut paths: Vec<String> = Vec::new();
            let mut found = BTreeMap::new();
            for node in drawn.nodes() {
                let below = paths.get(node.below as usize).cloned().unwrap_or_default();
                let name = drawn.name(node);
                let path = if below.is_empty() { name.to_owned() } else { format!("{below};{name}") };
                found.insert(path.clone(), node.whole);
                paths.push(path);
            }
            found.retain(|path, _| !path.is_empty() && path != "[others]");
            let mut want = wholes(&stacks);
            want.retain(|_, whole| *whole >= least);
            prop_assert_eq!(found, want);
        }

        #[test]
        fn two_lists_are_joined(old in stacks(), new in stacks()) {
            let both = ordered(&old).joined(ordered(&new), |value| 1_000 * value, |value| value);
            let scaled: Vec<Stack> = old.into_iter().map(|(path, value)| (path, 1_000 * value)).chain(new).collect();
            prop_assert_eq!(both.lines(), ordered(&scaled).lines());
        }
    }
}
