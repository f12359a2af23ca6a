//! A recipe as bytes ([`stored`](super::super::super::stored)).

use super::super::super::stored::{Reader, Writer};
use super::super::super::unwind::Rule;
use super::super::operations::{
    BLOCKING, COLD_PATHS, ColdPath, DOWNGRADE, OPERATIONS, PARK_TIMEOUT, PARKING, Row, TRIES, UPDATE,
};
use super::super::plan::{Operation, Planned};
use super::{Recipe, Step};

fn rows() -> impl Iterator<Item = &'static Row> {
    OPERATIONS.iter().chain(TRIES).chain([&UPDATE, &DOWNGRADE]).chain(PARKING)
}

fn colds() -> impl Iterator<Item = &'static ColdPath> {
    COLD_PATHS.iter().chain(BLOCKING).chain([&PARK_TIMEOUT])
}

/// An operation as a number: what it is, and its row.
fn number(operation: Operation) -> Option<[u32; 2]> {
    let of_row = |row: &Row| rows().position(|other| std::ptr::eq(other, row));
    let of_cold = |cold: &ColdPath| colds().position(|other| std::ptr::eq(other, cold));
    let (what, row) = match operation {
        Operation::Inlined(row) => (0, of_row(row)?),
        Operation::Called(row) => (1, of_row(row)?),
        Operation::Update(row) => (2, of_row(row)?),
        Operation::Asked(cold) => (3, of_cold(cold)?),
        Operation::Granted(cold, is_limited) => (4 + u32::from(is_limited), of_cold(cold)?),
    };
    Some([what, u32::try_from(row).ok()?])
}

fn operation(what: u32, row: u32) -> Option<Operation> {
    let row = row as usize;
    Some(match what {
        0 => Operation::Inlined(rows().nth(row)?),
        1 => Operation::Called(rows().nth(row)?),
        2 => Operation::Update(rows().nth(row)?),
        3 => Operation::Asked(colds().nth(row)?),
        4 | 5 => Operation::Granted(colds().nth(row)?, what == 5),
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
            out.int(step.rule.0);
            out.patch(&step.patch, &step.bytes)?;
        }
        out.bytes(&self.returns);
        out.long(self.entry);
        out.long(self.end);
        for flag in [self.is_position_independent, self.is_interpreted, self.lacks_releases] {
            out.int(flag.into());
        }
        out.ranges(&self.data);
        out.bytes(&self.build_id);
        out.bytes(self.found.as_bytes());
        out.texts(&self.left_out);
        Some(out.0)
    }

    /// Out of bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut rest = Reader::new(bytes);
        let recipe = Self {
            steps: rest.list(step)?,
            returns: rest.bytes()?.to_vec(),
            entry: rest.long()?,
            end: rest.long()?,
            is_position_independent: rest.int()? != 0,
            is_interpreted: rest.int()? != 0,
            lacks_releases: rest.int()? != 0,
            data: rest.ranges()?,
            build_id: rest.bytes()?.to_vec(),
            found: rest.text()?,
            left_out: rest.texts()?,
        };
        // The recorder's search for a return address ends at a free entry, and its mask needs a power of two.
        let is_table =
            recipe.returns.len().is_power_of_two() && recipe.returns.chunks(8).any(|entry| entry[4..] == [0; 4]);
        (rest.is_at_end() && is_table).then_some(recipe)
    }
}

fn step(rest: &mut Reader<'_>) -> Option<Step> {
    let operation = operation(rest.int()?, rest.int()?)?;
    let (address, rule) = (rest.long()?, Rule(rest.int()?));
    let (patch, bytes) = rest.patch()?;
    let planned = Planned { address, operation, patch: Ok(patch.clone()) };
    Some(Step { planned, patch, bytes, rule })
}
