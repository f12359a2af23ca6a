//! Tables of a recording, and the two formats that they are written in: Parquet and CSV.
//!
//! A table has columns, each with a name, a kind and values; the formats know nothing else of a recording.
//!
//! Ids are hashes of content (FNV-1a of 64 bits, as a signed number), so that tables of many runs and machines can be put
//! behind each other: those of classes, stacks and frames are the same wherever the same code runs, those of locks are of
//! their run. `docs/exports.md` has the columns.

mod code;
mod counts;
mod csv;
mod parquet;

use crate::analysis::Contention;
use crate::analysis::fingerprint::Fnv;
use crate::analysis::order::Graph;
use crate::model::{LockId, Mode, Session};

pub use code::{frames, stacks};
pub use counts::{edges, events, locks, meta, sites, waits};
pub use csv::csv;
pub use parquet::parquet;

/// Version of the columns: it changes when one is renamed or dropped, not when one is added.
pub const SCHEMA_VERSION: u64 = 1;

/// The values of a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Values {
    /// Hashes: for joins, not for people.
    Id(Vec<i64>),
    /// Numbers; times are in ns.
    Int(Vec<i64>),
    /// The same where some are unknown.
    MaybeInt(Vec<Option<i64>>),
    /// Points in time, µs since 1970 (UTC): finer ones are not known to every engine.
    Moment(Vec<i64>),
    /// Words.
    Text(Vec<String>),
    /// The same where some are unknown.
    MaybeText(Vec<Option<String>>),
    /// Yes or no.
    Flag(Vec<bool>),
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// Its values, one for each row.
    pub values: Values,
}

/// A table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its name: that of its Parquet file.
    pub name: &'static str,
    /// Its columns, all of one length.
    pub columns: Vec<Column>,
}

/// What the tables are made of.
pub struct TableInput<'a> {
    /// The recording.
    pub session: &'a Session,
    /// What of it is looked at.
    pub contention: &'a Contention,
    /// Its lock-order graph, by single locks.
    pub graph: &'a Graph,
    /// What only whoever exports it knows.
    pub labels: Labels,
}

/// What no recording knows of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    /// The machine's name; the recording's description of the machine without it.
    pub host: Option<String>,
    /// The release of the program.
    pub release: Option<String>,
}

/// All tables, in the order of their definition.
pub fn all(input: &TableInput<'_>) -> Vec<Table> {
    vec![
        meta(input),
        locks(input),
        sites(input),
        waits(input),
        events(input),
        edges(input),
        stacks(input),
        frames(input),
    ]
}

/// Numbers that Parquet's and SQL's signed ones cannot hold end at the greatest one.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Builds columns from rows.
struct Rows<'a, T> {
    rows: &'a [T],
    columns: Vec<Column>,
}

impl<'a, T> Rows<'a, T> {
    /// Every table begins with the run.
    fn new(input: &TableInput<'_>, rows: &'a [T]) -> Self {
        let run = run(input.session);
        Self { rows, columns: Vec::new() }.id("run", |_| run)
    }

    fn push(mut self, name: &'static str, values: Values) -> Self {
        self.columns.push(Column { name, values });
        self
    }

    fn id(self, name: &'static str, of: impl Fn(&T) -> u64) -> Self {
        let values = self.rows.iter().map(|row| of(row).cast_signed()).collect();
        self.push(name, Values::Id(values))
    }

    fn int(self, name: &'static str, of: impl Fn(&T) -> u64) -> Self {
        let values = self.rows.iter().map(|row| signed(of(row))).collect();
        self.push(name, Values::Int(values))
    }

    fn maybe_int(self, name: &'static str, of: impl Fn(&T) -> Option<u64>) -> Self {
        let values = self.rows.iter().map(|row| of(row).map(signed)).collect();
        self.push(name, Values::MaybeInt(values))
    }

    /// From ns since 1970.
    fn moment(self, name: &'static str, of: impl Fn(&T) -> u64) -> Self {
        let values = self.rows.iter().map(|row| signed(of(row) / 1_000)).collect();
        self.push(name, Values::Moment(values))
    }

    fn text(self, name: &'static str, of: impl Fn(&T) -> String) -> Self {
        let values = self.rows.iter().map(of).collect();
        self.push(name, Values::Text(values))
    }

    fn maybe_text(self, name: &'static str, of: impl Fn(&T) -> Option<String>) -> Self {
        let values = self.rows.iter().map(of).collect();
        self.push(name, Values::MaybeText(values))
    }

    fn flag(self, name: &'static str, of: impl Fn(&T) -> bool) -> Self {
        let values = self.rows.iter().map(of).collect();
        self.push(name, Values::Flag(values))
    }

    fn table(self, name: &'static str) -> Table {
        Table { name, columns: self.columns }
    }
}

fn hash(words: &[&str]) -> Fnv {
    // The length first, so that no two lists of words read as one.
    words.iter().fold(Fnv::new(), |hash, word| hash.number(word.len() as u64).bytes(word.as_bytes()))
}

/// The id of a run: what was run, where and when.
fn run(session: &Session) -> u64 {
    let meta = &session.meta;
    let words: Vec<&str> = meta.command.iter().map(String::as_str).chain([meta.host.as_str()]).collect();
    let numbers = [meta.started_unix_ns, meta.duration_ns, session.coverage.acquisitions];
    let hash = numbers.into_iter().fold(hash(&words), Fnv::number);
    session.processes.iter().fold(hash, |hash, process| hash.number(u64::from(process.pid))).end()
}

/// The id of a class of locks: the same on every machine.
fn class(session: &Session, lock: LockId) -> u64 {
    let lock = session.lock(lock);
    hash(&[lock.kind.name(), &lock.class]).end()
}

/// The id of a lock of this run.
fn lock(session: &Session, id: LockId) -> u64 {
    let row = session.lock(id);
    // The number tells generations at one address apart.
    let hash = hash(&[row.kind.name(), &row.class]).number(run(session)).number(u64::from(row.process.0));
    hash.number(row.address).number(u64::from(id.0)).end()
}

/// Hexadecimal digits; nothing of nothing.
fn hex(bytes: &[u8]) -> Option<String> {
    (!bytes.is_empty()).then(|| bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn mode(mode: Mode) -> String {
    match mode {
        Mode::Exclusive => "exclusive",
        Mode::Shared => "shared",
    }
    .to_owned()
}
