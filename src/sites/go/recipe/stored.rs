//! A recipe as bytes, so that the next start of the same program need not find everything again.
//!
//! Numbers are little-endian, lists and texts have their length before them. What cannot be read is no recipe: it is made
//! anew. Instructions are not stored, but decoded from the bytes that have to be there.

use iced_x86::{Decoder, DecoderOptions};

use super::super::super::plan::{Form, Patch};
use super::super::super::table::FunctionRow;
use super::super::operations::{ATOMICS, COLD_CALLS, FUNCTIONS, OLD_READERS, OUTLINED};
use super::super::plan::{Operation, Planned};
use super::super::runtime::Runtime;
use super::{Recipe, Step};
use crate::sites::bytes::{u32_at, u64_at};

const FORMS: [Form; 6] = [Form::Acquire, Form::Release, Form::Call, Form::SetUp, Form::Return, Form::SystemCall];

fn functions() -> impl Iterator<Item = &'static FunctionRow> {
    FUNCTIONS.iter().chain([&OLD_READERS]).chain(&OUTLINED)
}

/// An operation as a number: what it is, and its row.
fn number(operation: Operation) -> Option<[u32; 2]> {
    let of_function = |row: &FunctionRow| functions().position(|other| std::ptr::eq(other, row));
    let (what, row) = match operation {
        Operation::Atomic(row) => (0, ATOMICS.iter().position(|other| std::ptr::eq(other, row))?),
        Operation::Call(row) => (1, COLD_CALLS.iter().position(|other| std::ptr::eq(other, row))?),
        Operation::Entry(row) => (2, of_function(row)?),
        Operation::Exit(row) => (3, of_function(row)?),
        Operation::Start => (4, 0),
    };
    Some([what, u32::try_from(row).ok()?])
}

fn operation(what: u32, row: u32) -> Option<Operation> {
    let row = row as usize;
    Some(match what {
        0 => Operation::Atomic(ATOMICS.get(row)?),
        1 => Operation::Call(COLD_CALLS.get(row)?),
        2 => Operation::Entry(functions().nth(row)?),
        3 => Operation::Exit(functions().nth(row)?),
        4 => Operation::Start,
        _ => return None,
    })
}

impl Recipe {
    /// As bytes; `None` where an operation is in no table.
    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        let mut out = Writer(Vec::new());
        out.long(self.steps.len() as u64);
        for step in &self.steps {
            let [what, row] = number(step.planned.operation)?;
            out.int(what);
            out.int(row);
            out.long(step.planned.address);
            out.long(step.patch.address);
            out.int(FORMS.iter().position(|form| *form == step.patch.form)? as u32);
            out.long(step.frame);
            out.bytes(&step.bytes);
        }
        let Runtime { goroutine_number, machine, current, preempt } = self.runtime;
        [goroutine_number, machine, current].into_iter().for_each(|field| out.int(field));
        out.long(preempt.unwrap_or(0));
        out.long(self.entry);
        out.int(self.is_position_independent.into());
        out.long(self.end);
        out.long(self.data.len() as u64);
        self.data.iter().flat_map(|range| [range.start, range.end]).for_each(|end| out.long(end));
        out.bytes(&self.build_id);
        out.long(self.inner_calls.len() as u64);
        self.inner_calls.iter().for_each(|call| out.long(*call));
        out.bytes(self.package.as_bytes());
        out.bytes(self.found.as_bytes());
        out.long(self.left_out.len() as u64);
        self.left_out.iter().for_each(|text| out.bytes(text.as_bytes()));
        Some(out.0)
    }

    /// Out of bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut rest = Reader { bytes, at: 0 };
        let steps = rest.list(Reader::step)?;
        let (goroutine_number, machine, current) = (rest.int()?, rest.int()?, rest.int()?);
        let preempt = Some(rest.long()?).filter(|address| *address != 0);
        let recipe = Self {
            steps,
            runtime: Runtime { goroutine_number, machine, current, preempt },
            entry: rest.long()?,
            is_position_independent: rest.int()? != 0,
            end: rest.long()?,
            data: rest.list(|rest| Some(rest.long()?..rest.long()?))?,
            build_id: rest.bytes()?.to_vec(),
            inner_calls: rest.list(Reader::long)?,
            package: rest.text()?,
            found: rest.text()?,
            left_out: rest.list(Reader::text)?,
        };
        (rest.at == bytes.len()).then_some(recipe)
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn int(&mut self, value: u32) {
        self.0.extend(value.to_le_bytes());
    }

    fn long(&mut self, value: u64) {
        self.0.extend(value.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.long(bytes.len() as u64);
        self.0.extend(bytes);
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn int(&mut self) -> Option<u32> {
        let value = u32_at(self.bytes, self.at)?;
        self.at += 4;
        Some(value)
    }

    fn long(&mut self) -> Option<u64> {
        let value = u64_at(self.bytes, self.at)?;
        self.at += 8;
        Some(value)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.long()?).ok()?;
        let bytes = self.bytes.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some(bytes)
    }

    fn text(&mut self) -> Option<String> {
        Some(str::from_utf8(self.bytes()?).ok()?.to_owned())
    }

    fn list<T>(&mut self, mut next: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.long()?;
        // Each entry takes some bytes: a wild number ends with them, and nothing is reserved for it.
        (0..count).map(|_| next(self)).collect()
    }

    fn step(&mut self) -> Option<Step> {
        let operation = operation(self.int()?, self.int()?)?;
        let (address, at) = (self.long()?, self.long()?);
        let form = *FORMS.get(self.int()? as usize)?;
        let frame = self.long()?;
        let bytes = self.bytes()?.to_vec();
        let displaced: Vec<_> = Decoder::with_ip(64, &bytes, at, DecoderOptions::NONE).iter().collect();
        if displaced.is_empty() || displaced.iter().any(iced_x86::Instruction::is_invalid) {
            return None;
        }
        let patch = Patch { address: at, length: bytes.len(), form, displaced };
        let planned = Planned { address, operation, patch: Ok(patch.clone()) };
        Some(Step { planned, patch, bytes, frame })
    }
}
