//! The index of a Go program: address → the function that holds it, what was inlined there, and each one's file and line.
//!
//! What the runtime does for its tracebacks (`runtime/symtab.go`, `symtabinl.go`), read out of the file. Functions written
//! in C (cgo) are not in it.

use std::borrow::Cow;

use super::super::bytes::{text_at, u32_at};
use super::super::image::Image;
use super::pcvalue::{Run, Runs};
use super::tables::{Layout, Tables, TablesError};

/// The runtime's numbers of a function's tables (`internal/abi`).
const PCDATA_INLINE_INDEX: u32 = 2;
const FUNCDATA_INLINE_TREE: u32 = 3;

/// No table, for the data of a function.
const NONE: u32 = u32::MAX;

/// More calls in one place are a circle in a damaged tree. The compiler's own limit for a body keeps chains far shorter.
const DEEPEST: usize = 256;

/// A good number of trees to choose the base of the functions' data by.
const TREES_TO_TRY: usize = 2000;

/// Where a name stands in the table of names: the same function has the same one everywhere in a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NameId(pub u32);

/// A function of the machine code: one that was not only inlined.
#[derive(Clone, Copy, Debug)]
pub struct Function {
    /// Its first address.
    pub start: u64,
    /// The first address behind it.
    pub end: u64,
    /// Its name.
    pub name: NameId,
    unit: u32,
    stack: u32,
    file: u32,
    line: u32,
    inline_index: u32,
    inline_tree: Option<u32>,
}

/// One of the source functions that an address belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its name.
    pub name: NameId,
    /// An address with the position in it: that of the call of the next inner one, or of the instruction.
    address: u64,
}

/// A source function with the place in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame<'data> {
    /// Its name as the runtime prints it: types that it is made for (`[...]`) are left out.
    pub function: Cow<'data, str>,
    /// The file; `?` where the table does not tell.
    pub file: &'data str,
    /// The line; 0 where the table does not tell.
    pub line: u32,
}

/// The index.
#[derive(Debug)]
pub struct Pclntab<'data> {
    tables: Tables<'data>,
    functions: Vec<Function>,
    /// From the base of the functions' data to its end, if any function has inlined calls.
    trees: &'data [u8],
}

impl<'data> Pclntab<'data> {
    /// Reads it.
    pub fn read(image: &Image<'data>) -> Result<Self, TablesError> {
        let tables = Tables::find(image)?;
        let functions = functions(&tables)?;
        let mut index = Self { tables, functions, trees: &[] };
        let bases = tables.bases_of_data(image);
        let trees =
            bases.into_iter().filter_map(|base| image.from(base)).map(|trees| (index.named_trees(trees), trees));
        let (named, trees) = trees.max_by_key(|(named, _)| *named).unwrap_or_default();
        if named == 0 && index.functions.iter().any(|function| function.inline_tree.is_some()) {
            return Err(TablesError::Damaged("no inline trees"));
        }
        index.trees = trees;
        Ok(index)
    }

    /// All functions, by address.
    pub fn functions(&self) -> &[Function] {
        &self.functions
    }

    /// Where the code begins and ends.
    pub fn text(&self) -> std::ops::Range<u64> {
        self.tables.text..self.tables.end_of_text
    }

    /// The function that holds an address.
    pub fn function_at(&self, address: u64) -> Option<&Function> {
        let at = self.functions.partition_point(|function| function.start <= address).checked_sub(1)?;
        self.functions.get(at).filter(|function| address < function.end)
    }

    /// A name's text.
    pub fn name(&self, name: NameId) -> &'data str {
        text_at(self.tables.names, name.0 as usize).unwrap_or("?")
    }

    /// All names, those of functions that were always inlined too.
    pub fn names(&self) -> impl Iterator<Item = (NameId, &'data str)> {
        let mut at = 0;
        let names = self.tables.names.split(|byte| *byte == 0).map(move |name| {
            let id = NameId(at as u32);
            at += name.len() + 1;
            (id, name)
        });
        names.filter_map(|(id, name)| Some((id, str::from_utf8(name).ok().filter(|name| !name.is_empty())?)))
    }

    /// The source functions at an address, innermost first; the last is the function itself.
    pub fn frames(&self, address: u64) -> Vec<Frame<'data>> {
        let Some(function) = self.function_at(address) else { return Vec::new() };
        let chain = self.inlined(function).chain(address);
        chain.iter().map(|link| self.frame(function, link)).collect()
    }

    /// The place in a source function of a chain.
    pub fn frame(&self, function: &Function, link: &Link) -> Frame<'data> {
        let value = |table| self.runs(table, function).value_at(link.address);
        let line = value(function.line).and_then(|line| u32::try_from(line).ok());
        let file = value(function.file).and_then(|file| self.file(function.unit, u32::try_from(file).ok()?));
        Frame { function: printed(self.name(link.name)), file: file.unwrap_or("?"), line: line.unwrap_or(0) }
    }

    /// By how many bytes the stack pointer is below its value at the function's entry.
    pub fn frame_size(&self, function: &Function, address: u64) -> Option<u32> {
        self.runs(function.stack, function).value_at(address)?.try_into().ok()
    }

    /// What was inlined into a function, decoded for many questions.
    pub fn inlined(&self, function: &Function) -> Inlined<'data, '_> {
        let runs =
            if function.inline_tree.is_some() { self.runs(function.inline_index, function).collect() } else { vec![] };
        Inlined { index: self, function: *function, runs }
    }

    /// The names of the calls that were inlined into a function; those that only hold others may be missing.
    pub fn inlined_names(&self, function: &Function) -> impl Iterator<Item = NameId> {
        let mut last = -1;
        let table = if function.inline_tree.is_some() { function.inline_index } else { 0 };
        let changes = self.runs(table, function).map(|run| run.value).filter(move |value| {
            let changed = *value != last;
            last = *value;
            changed && *value >= 0
        });
        let tree = function.inline_tree;
        changes.filter_map(move |value| Some(self.call(self.trees, tree?, value)?.name))
    }

    fn file(&self, unit: u32, file: u32) -> Option<&'data str> {
        let at = usize::try_from(unit.checked_add(file)?).ok()?.checked_mul(4)?;
        let name = u32_at(self.tables.units, at).filter(|name| *name != NONE)?;
        text_at(self.tables.files, name as usize)
    }

    fn runs(&self, table: u32, function: &Function) -> Runs<'data> {
        let bytes = if table == 0 { &[] } else { self.tables.values.get(table as usize..).unwrap_or_default() };
        Runs::new(bytes, function.start)
    }

    /// A row of an inline tree.
    fn call(&self, trees: &[u8], tree: u32, row: i32) -> Option<Call> {
        let (size, name, parent) = match self.tables.layout {
            Layout::Go118 => (20, 12, 16),
            Layout::Go120 => (16, 4, 8),
        };
        let at = usize::try_from(row).ok()?.checked_mul(size)?.checked_add(tree as usize)?;
        let row = trees.get(at..)?.get(..size)?;
        Some(Call { name: NameId(u32_at(row, name)?), parent: u32_at(row, parent)? })
    }

    /// How many functions' trees begin with a call of something that has a name, if their data were here.
    fn named_trees(&self, trees: &[u8]) -> usize {
        let names = self.tables.names;
        let is_name =
            |at: usize| at > 0 && names.get(at - 1) == Some(&0) && names.get(at).is_some_and(|sign| *sign != 0);
        let trees_of = self.functions.iter().filter_map(|function| function.inline_tree).take(TREES_TO_TRY);
        trees_of.filter(|tree| self.call(trees, *tree, 0).is_some_and(|call| is_name(call.name.0 as usize))).count()
    }
}

/// A name as the runtime prints it (`runtime.funcNameForPrint`): from 1.20 on the table has the types that a generic
/// function was made for, which may be a thousand letters.
pub fn printed(name: &str) -> Cow<'_, str> {
    match (name.find('['), name.rfind(']')) {
        (Some(open), Some(close)) if open < close => format!("{}[...]{}", &name[..open], &name[close + 1..]).into(),
        _ => name.into(),
    }
}

/// An inlined call: whose, and an address (from the function's start) with the position of the call.
struct Call {
    name: NameId,
    parent: u32,
}

/// What was inlined into one function.
pub struct Inlined<'data, 'index> {
    index: &'index Pclntab<'data>,
    function: Function,
    runs: Vec<Run>,
}

impl Inlined<'_, '_> {
    /// The source functions at an address, innermost first; the last is the function itself.
    pub fn chain(&self, address: u64) -> Vec<Link> {
        let mut links = Vec::new();
        let mut address = address;
        while links.len() < DEEPEST
            && let Some(call) = self.call_at(address)
        {
            links.push(Link { name: call.name, address });
            address = self.function.start.saturating_add(call.parent.into());
        }
        links.push(Link { name: self.function.name, address });
        links
    }

    fn call_at(&self, address: u64) -> Option<Call> {
        let run = self.runs.get(self.runs.partition_point(|run| run.end <= address))?;
        self.index.call(self.index.trees, self.function.inline_tree?, run.value)
    }
}

/// The rows of all functions.
fn functions(tables: &Tables<'_>) -> Result<Vec<Function>, TablesError> {
    let offset = |at: usize| u32_at(tables.functions, 4 * at).ok_or(TablesError::Damaged("a short table of functions"));
    let mut functions = Vec::with_capacity(tables.count);
    for at in 0..tables.count {
        let (start, row, end) = (offset(2 * at)?, offset(2 * at + 1)?, offset(2 * at + 2)?);
        if end < start {
            return Err(TablesError::Damaged("functions are not in order"));
        }
        let address = |offset: u32| tables.text.checked_add(offset.into());
        let (start, end) = address(start).zip(address(end)).ok_or(TablesError::Damaged("no such address"))?;
        let row = tables.functions.get(row as usize..).unwrap_or_default();
        let function = function(tables.layout, row, start, end);
        functions.push(function.ok_or(TablesError::Damaged("a short row of a function"))?);
    }
    Ok(functions)
}

/// A function's row (`runtime._func`).
fn function(layout: Layout, row: &[u8], start: u64, end: u64) -> Option<Function> {
    let word = |at: usize| u32_at(row, at);
    // 1.20 put the function's first line behind the compilation unit.
    let fixed = match layout {
        Layout::Go118 => 40,
        Layout::Go120 => 44,
    };
    let (values, data) = (word(28)?, u32::from(*row.get(fixed - 1)?));
    let data_at = usize::try_from(values).ok()?.checked_mul(4)?.checked_add(fixed)?;
    let inline_index = if values > PCDATA_INLINE_INDEX { word(fixed + 4 * PCDATA_INLINE_INDEX as usize)? } else { 0 };
    let inline_tree = if data > FUNCDATA_INLINE_TREE {
        Some(word(data_at.checked_add(4 * FUNCDATA_INLINE_TREE as usize)?)?).filter(|tree| *tree != NONE)
    } else {
        None
    };
    Some(Function {
        start,
        end,
        name: NameId(word(4)?),
        unit: word(32)?,
        stack: word(16)?,
        file: word(20)?,
        line: word(24)?,
        inline_index,
        inline_tree: inline_tree.filter(|_| inline_index != 0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_left_out_of_names() {
        assert_eq!(printed("main.(*cache[go.shape.[]int,go.shape.string]).get"), "main.(*cache[...]).get");
        assert_eq!(printed("main.main.func1"), "main.main.func1");
        assert_eq!((printed("]["), printed("a[")), ("][".into(), "a[".into()));
    }
}
