//! A recipe as bytes ([`stored`](super::super::super::stored)).

use super::super::super::stored::{Reader, Writer};
use super::super::super::table::FunctionRow;
use super::super::operations::{ATOMICS, COLD_CALLS, FUNCTIONS, OLD_READERS, OUTLINED};
use super::super::plan::{Operation, Planned};
use super::super::runtime::Runtime;
use super::{Recipe, Step};

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
        let mut out = Writer::default();
        out.long(self.steps.len() as u64);
        for step in &self.steps {
            let [what, row] = number(step.planned.operation)?;
            out.int(what);
            out.int(row);
            out.long(step.planned.address);
            out.long(step.frame);
            out.patch(&step.patch, &step.bytes)?;
        }
        let Runtime { goroutine_number, machine, current, signals, preempt } = self.runtime;
        [goroutine_number, machine, current, signals].into_iter().for_each(|field| out.int(field));
        out.long(preempt.unwrap_or(0));
        out.long(self.entry);
        out.int(self.is_position_independent.into());
        out.long(self.end);
        out.ranges(&self.data);
        out.bytes(&self.build_id);
        for range in [&self.handler, &self.park] {
            out.long(range.start);
            out.long(range.end);
        }
        out.long(self.inner_calls.len() as u64);
        self.inner_calls.iter().for_each(|call| out.long(*call));
        out.bytes(self.package.as_bytes());
        out.bytes(self.found.as_bytes());
        out.texts(&self.left_out);
        Some(out.0)
    }

    /// Out of bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut rest = Reader::new(bytes);
        let steps = rest.list(step)?;
        let (goroutine_number, machine, current, signals) = (rest.int()?, rest.int()?, rest.int()?, rest.int()?);
        let preempt = Some(rest.long()?).filter(|address| *address != 0);
        let recipe = Self {
            steps,
            runtime: Runtime { goroutine_number, machine, current, signals, preempt },
            entry: rest.long()?,
            is_position_independent: rest.int()? != 0,
            end: rest.long()?,
            data: rest.ranges()?,
            build_id: rest.bytes()?.to_vec(),
            handler: rest.long()?..rest.long()?,
            park: rest.long()?..rest.long()?,
            inner_calls: rest.list(Reader::long)?,
            package: rest.text()?,
            found: rest.text()?,
            left_out: rest.texts()?,
        };
        rest.is_at_end().then_some(recipe)
    }
}

fn step(rest: &mut Reader<'_>) -> Option<Step> {
    let operation = operation(rest.int()?, rest.int()?)?;
    let (address, frame) = (rest.long()?, rest.long()?);
    let (patch, bytes) = rest.patch()?;
    let planned = Planned { address, operation, patch: Ok(patch.clone()) };
    Some(Step { planned, patch, bytes, frame })
}
