//! Call stacks as the page holds them: a table of strings, one of frames, and a tree of frames in which stacks share
//! their callers. The tree has a budget in bytes, so that no recording makes a page that browsers cannot open.

use std::rc::Rc;

use rustc_hash::FxHashMap;
use serde::Serialize;

use crate::model::stacks::Node;
use crate::model::{CodeAddress, Session, StackId, Stacks};
use crate::render::frames::{Line, of_node};
use crate::render::names::fit_end;

/// Bytes that a node takes in the page: two numbers with their commas.
const NODE_BYTES: usize = 12;
/// And a frame: two numbers and a mark.
const FRAME_BYTES: usize = 16;
/// A longer name tells a person nothing more.
const NAME_WIDTH: usize = 240;

/// The tables as JSON. Node 0 is the stack that nobody saw; it has no frame.
#[derive(Debug, Default, Serialize)]
pub(super) struct Tables {
    /// Texts of the frames.
    strings: Vec<String>,
    /// Function and place (positions in `strings`), and 1 for a library's frame.
    frames: Vec<(u32, u32, u8)>,
    /// Of each node how many nodes before it its caller is; 0 at the outermost frame.
    callers: Vec<u32>,
    /// Of each node its frame.
    at: Vec<u32>,
}

/// The tables in the making.
pub(super) struct Builder<'a> {
    session: &'a Session,
    tables: Tables,
    strings: FxHashMap<String, u32>,
    frames: FxHashMap<(u32, u32, u8), u32>,
    nodes: FxHashMap<(u32, u32), u32>,
    known: FxHashMap<StackId, u32>,
    by_code: FxHashMap<(CodeAddress, usize), Rc<[u32]>>,
    bytes: usize,
}

impl<'a> Builder<'a> {
    pub fn new(session: &'a Session) -> Self {
        let mut tables = Tables::default();
        tables.callers.push(0);
        tables.at.push(0);
        Self {
            session,
            tables,
            strings: FxHashMap::default(),
            frames: FxHashMap::default(),
            nodes: FxHashMap::default(),
            known: FxHashMap::default(),
            by_code: FxHashMap::default(),
            bytes: 0,
        }
    }

    /// Bytes that everything takes so far, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes that this stack would add, about; its strings are not counted.
    pub fn cost(&self, stack: StackId) -> usize {
        let (mut at, mut frames) = (stack, 0);
        while at != Stacks::UNKNOWN && !self.known.contains_key(&at) {
            let node = self.session.stacks.node(at);
            frames += node.frames.len().max(1);
            at = node.caller;
        }
        frames * NODE_BYTES
    }

    /// The node of a stack, if the page has it.
    pub fn find(&self, stack: StackId) -> u32 {
        self.known.get(&stack).copied().unwrap_or(0)
    }

    /// The node of a stack, made where it is new.
    pub fn node(&mut self, stack: StackId) -> u32 {
        let mut path = Vec::new();
        let mut at = stack;
        while at != Stacks::UNKNOWN && !self.known.contains_key(&at) {
            path.push(at);
            at = self.session.stacks.node(at).caller;
        }
        let mut caller = self.find(at);
        for id in path.into_iter().rev() {
            for frame in &*self.frames_of(self.session.stacks.node(id)) {
                caller = self.child(caller, *frame);
            }
            self.known.insert(id, caller);
        }
        caller
    }

    /// The frames of an address, outermost first.
    fn frames_of(&mut self, node: &Node) -> Rc<[u32]> {
        let key = (node.address, node.frames.identity());
        if let Some(known) = self.by_code.get(&key) {
            return known.clone();
        }
        let lines = of_node(self.session, node);
        let frames: Rc<[u32]> = lines.iter().rev().map(|(line, library)| self.frame(line, *library)).collect();
        self.by_code.insert(key, frames.clone());
        frames
    }

    fn child(&mut self, caller: u32, frame: u32) -> u32 {
        let new = self.tables.at.len() as u32;
        let node = *self.nodes.entry((caller, frame)).or_insert(new);
        if node == new {
            self.tables.callers.push(if caller == 0 { 0 } else { new - caller });
            self.tables.at.push(frame);
            self.bytes += NODE_BYTES;
        }
        node
    }

    fn frame(&mut self, line: &Line, library: bool) -> u32 {
        let key = (self.string(&line.function), self.string(&line.place), u8::from(library));
        let new = self.tables.frames.len() as u32;
        let frame = *self.frames.entry(key).or_insert(new);
        if frame == new {
            self.tables.frames.push(key);
            self.bytes += FRAME_BYTES;
        }
        frame
    }

    fn string(&mut self, text: &str) -> u32 {
        let text = fit_end(text, NAME_WIDTH);
        if let Some(known) = self.strings.get(&text) {
            return *known;
        }
        let new = self.tables.strings.len() as u32;
        self.bytes += text.len() + 3;
        self.tables.strings.push(text.clone());
        self.strings.insert(text, new);
        new
    }

    /// The finished tables.
    pub fn finish(self) -> Tables {
        self.tables
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::testing::server;
    use crate::render::frames::lines;

    #[test]
    fn stacks_are_the_same_and_share_their_callers() {
        let session = server();
        let mut builder = Builder::new(&session);
        let ids: Vec<StackId> = (1..session.stacks.len()).map(StackId::from).collect();
        let nodes: Vec<u32> = ids.iter().map(|id| builder.node(*id)).collect();
        assert!(ids.iter().all(|id| builder.cost(*id) == 0 && builder.find(*id) == builder.node(*id)));
        let tables = builder.finish();
        // The model's nodes have one frame each.
        assert_eq!(tables.at.len(), session.stacks.len());
        for (id, node) in ids.iter().zip(nodes) {
            let (mut at, mut told) = (node as usize, Vec::new());
            while at != 0 {
                let (function, place, library) = tables.frames[tables.at[at] as usize];
                let text = |at: u32| tables.strings[at as usize].clone();
                if library == 0 {
                    told.push(Line { function: text(function), place: text(place) });
                }
                let step = tables.callers[at] as usize;
                at = if step == 0 { 0 } else { at - step };
            }
            let want = lines(&session, *id);
            // A stack of library frames only is shown by one of them; the page does so itself.
            assert!(told == want || told.is_empty(), "{told:?} {want:?}");
        }
        assert_eq!(Builder::new(&session).node(Stacks::UNKNOWN), 0);
    }
}
