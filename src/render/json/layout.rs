//! JSON that people can skim: the outer levels one item a line, call stacks and the like on one line.
//!
//! A report of thousands of locks would be mostly blanks if every frame's every key had a line.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::{Formatter, PrettyFormatter};

/// How deep there are lines for each item, usually.
const OPEN_DEPTH: usize = 3;
/// And where there are so many rows that each has one line.
const ROW_DEPTH: usize = 1;

/// Breaks lines on the outer levels only.
struct Skimmable {
    /// Objects up to this depth, and arrays one deeper, have a line for each item.
    deepest: usize,
    pretty: PrettyFormatter<'static>,
    /// For each open bracket, whether its items have lines of their own.
    open: Vec<bool>,
}

impl Skimmable {
    fn is_open(&self) -> bool {
        self.open.last().copied().unwrap_or(true)
    }

    /// Between items on one line. Blanks would be a tenth of a report of many rows.
    fn comma(&self) -> &'static [u8] {
        if self.deepest > ROW_DEPTH { b", " } else { b"," }
    }

    fn enter(&mut self, deepest: usize) -> bool {
        let open = self.is_open() && self.open.len() < deepest;
        self.open.push(open);
        open
    }
}

impl Formatter for Skimmable {
    fn begin_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        if self.enter(self.deepest + 1) { self.pretty.begin_array(out) } else { out.write_all(b"[") }
    }

    fn end_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        if self.open.pop().unwrap_or(true) { self.pretty.end_array(out) } else { out.write_all(b"]") }
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        match self.is_open() {
            true => self.pretty.begin_array_value(out, first),
            false if first => Ok(()),
            false => out.write_all(self.comma()),
        }
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        if self.is_open() { self.pretty.end_array_value(out) } else { Ok(()) }
    }

    fn begin_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        if self.enter(self.deepest) { self.pretty.begin_object(out) } else { out.write_all(b"{") }
    }

    fn end_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        if self.open.pop().unwrap_or(true) { self.pretty.end_object(out) } else { out.write_all(b"}") }
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        match self.is_open() {
            true => self.pretty.begin_object_key(out, first),
            false if first => Ok(()),
            false => out.write_all(self.comma()),
        }
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(if self.is_open() || self.deepest > ROW_DEPTH { b": " } else { b":" })
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        if self.is_open() { self.pretty.end_object_value(out) } else { Ok(()) }
    }
}

/// The value as text, ending in a line break.
pub(super) fn to_string(value: &impl Serialize) -> String {
    let mut out = Vec::new();
    // Plain structs of numbers, strings and lists, written to memory: this cannot fail.
    if write(value, &mut out).is_err() {
        return String::new();
    }
    String::from_utf8(out).unwrap_or_default()
}

/// Writes the same piece by piece: a report may be larger than memory.
pub(super) fn write(value: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    write_to_depth(OPEN_DEPTH, value, out)
}

/// The same with one line, without blanks, for each item of the lists in `value`.
pub(super) fn write_rows(value: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    write_to_depth(ROW_DEPTH, value, out)
}

fn write_to_depth(deepest: usize, value: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    let layout = Skimmable { deepest, pretty: PrettyFormatter::new(), open: Vec::new() };
    value.serialize(&mut Serializer::with_formatter(&mut *out, layout))?;
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    #[test]
    fn outer_levels_have_lines() {
        let value =
            json!({"locks": [{"id": "L1", "empty": [], "wait": {"p50": 1, "p90": 2}, "sites": [{"s": [{}, 1]}, 2]}]});
        let text = super::to_string(&value);
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
        assert!(text.contains("\n      \"wait\": {\"p50\": 1, \"p90\": 2}\n"), "{text}");
        assert!(text.contains("\n        {\"s\": [{}, 1]},\n"), "{text}");
        assert!(text.contains("\"empty\": [],"), "{text}");
    }
}
