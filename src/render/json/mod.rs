//! JSON: the contract that scripts rely on.
//!
//! Keys are never renamed or dropped; adding keys is free. The types are this room's own, so that the
//! model can change without changing the contract.

mod check;
mod diagnosis;
mod diff;
mod findings;
mod graph;
mod hangs;
mod layout;
mod list;
mod locks;
mod look;
mod report;
mod stack_table;

use std::io::{self, Write};

use serde::Serialize;
use serde::ser::{SerializeSeq, Serializer};

use crate::analysis::Contention;
use crate::analysis::findings::Findings;
use crate::model::{Exit, Session, StackId, Stacks, stacks::Node};
use stack_table::StackTable;

/// Version of the contract.
pub const SCHEMA_VERSION: u32 = 1;

pub use check::check;
pub use diagnosis::diagnosis;
pub use diff::{Judgement, diff};
pub use graph::graph;
pub use list::list;
pub use look::look;

/// How a report writes the stacks of its locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StackForm {
    /// Each in full where it stands.
    Inline,
    /// Each once, in a table; rows have its number.
    Table,
}

impl StackForm {
    /// Rows of locks of which each can have its stacks in full, if nobody asks for one or the other: with more, the text
    /// would have hundreds of megabytes.
    const MOST_INLINE: usize = 10_000;

    /// What suits so many rows.
    pub fn for_rows(rows: usize) -> Self {
        if rows > Self::MOST_INLINE { Self::Table } else { Self::Inline }
    }
}

/// Writes the report, ending in a line break. `limit` cuts the list of locks (and groups). `form`: [`StackForm::for_rows`]
/// if none.
///
/// # Errors
/// Those of `out`.
pub fn report(
    session: &Session,
    contention: &Contention,
    findings: &Findings,
    limit: Option<usize>,
    form: Option<StackForm>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let rows = || contention.locks.iter().take(limit.unwrap_or(usize::MAX));
    match form.unwrap_or_else(|| StackForm::for_rows(rows().len())) {
        StackForm::Inline => layout::write(&report::Report::of(session, contention, findings, limit, None), out),
        StackForm::Table => {
            let table = StackTable::of(session, rows());
            let report = report::Report::of(session, contention, findings, limit, Some(&table));
            layout::write_rows(&report, out)
        }
    }
}

/// A frame of a call stack.
#[derive(Serialize)]
struct Frame<'a> {
    function: Option<&'a str>,
    file: Option<&'a str>,
    line: Option<u32>,
    module: Option<&'a str>,
    /// In the file's own addresses (as in `nm` and `addr2line`), inside the call instruction.
    offset: String,
    inlined: bool,
}

/// A call instruction's frames, innermost first: several where functions were inlined.
fn frames_of<'a>(stacks: &'a Stacks, node: &'a Node) -> impl Iterator<Item = Frame<'a>> {
    let module = node.address.module.map(|module| stacks.modules[module.index()].name());
    let offset = node.address.address.saturating_sub(1);
    let bare = Frame { function: None, file: None, line: None, module, offset: format!("{offset:#x}"), inlined: false };
    let named = node.frames.iter().map(move |frame| Frame {
        function: frame.function.as_deref(),
        file: frame.file.as_deref(),
        line: (frame.line > 0).then_some(frame.line),
        module,
        offset: format!("{offset:#x}"),
        inlined: frame.inlined,
    });
    named.chain(node.frames.is_empty().then_some(bare))
}

/// A call stack: a list of frames, innermost first, or its number in the table of them. The frames are made when they are
/// written, as there may be millions.
#[derive(Clone, Copy, Debug)]
pub struct CallStack<'a> {
    stacks: &'a Stacks,
    id: StackId,
    number: Option<usize>,
}

impl<'a> CallStack<'a> {
    /// A stack of a recording.
    pub fn of(session: &'a Session, id: StackId) -> Self {
        Self { stacks: &session.stacks, id, number: None }
    }

    /// The same, by its number where there is a table that has it.
    fn within(session: &'a Session, id: StackId, table: Option<&StackTable>) -> Self {
        Self { number: table.and_then(|table| table.number(id)), ..Self::of(session, id) }
    }
}

impl Serialize for CallStack<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Some(number) = self.number {
            return serializer.serialize_u64(number as u64);
        }
        let mut list = serializer.serialize_seq(None)?;
        for frame in self.stacks.walk(self.id).flat_map(|node| frames_of(self.stacks, node)) {
            list.serialize_element(&frame)?;
        }
        list.end()
    }
}

/// `{"code": 0}` or `{"signal": 9}`.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ExitStatus {
    /// Its own code.
    Code(i32),
    /// The signal that ended it.
    Signal(i32),
}

impl From<Exit> for ExitStatus {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Code(code) => Self::Code(code),
            Exit::Signal(signal) => Self::Signal(signal),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::Query;
    use crate::analysis::contention::GroupBy;
    use crate::analysis::testing::server;
    use crate::render::golden;

    fn report(session: &Session, contention: &Contention, findings: &Findings) -> String {
        let mut out = Vec::new();
        super::report(session, contention, findings, None, None, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_was_not_measured_is_null() {
        let session = Session { overhead: Default::default(), ..server() };
        let text = report(&session, &Contention::of(&session, &Query::default()), &Findings::default());
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(json["overhead"]["ns_per_pair"].is_null() && json["overhead"]["share_of_runtime"].is_null());
    }

    #[test]
    fn orders_may_be_cut_where_every_acquisition_is_known() {
        let mut session = server();
        let coverage = |session: &Session| {
            let text = report(session, &Contention::of(session, &Query::default()), &Findings::default());
            serde_json::from_str::<serde_json::Value>(&text).unwrap()["coverage"].take()
        };
        assert_eq!(
            (&coverage(&session)["complete"], &coverage(&session)["order_complete"]),
            (&true.into(), &true.into())
        );
        session.order.dropped = 1;
        assert_eq!(
            (&coverage(&session)["complete"], &coverage(&session)["order_complete"]),
            (&true.into(), &false.into())
        );
    }

    #[test]
    fn golden_report() {
        let session = server();
        let query = Query { by: GroupBy::Thread, ..Query::default() };
        golden::check("report.json", &report(&session, &Contention::of(&session, &query), &Findings::default()));
    }

    #[test]
    fn has_every_key_of_the_contract() {
        let session = server();
        let text = report(&session, &Contention::of(&session, &Query::default()), &Findings::default());
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let has = |value: &serde_json::Value, keys: &str| {
            for key in keys.split_whitespace() {
                assert!(value.get(key).is_some(), "{key} is missing");
            }
        };
        has(&json, "schema_version command exit duration_ns processes coverage overhead counters locks findings");
        has(&json["exit"], "code");
        has(&json["processes"][0], "pid parent_pid exe threads exit");
        has(&json["coverage"], "acquisitions recorded folded lost complete notes");
        has(&json["overhead"], "ns_per_pair share_of_runtime");
        has(&json["counters"], "task_clock_ns context_switches cycles");
        let lock = &json["locks"][0];
        has(
            lock,
            "id name class kind pid acquisitions read_acquisitions write_acquisitions contended try_failures \
             timeouts owner_changes max_waiters wait_ns hold_ns waiters holders sites",
        );
        has(&lock["wait_ns"], "total mean p50 p90 p99 max");
        has(&lock["hold_ns"], "total mean p50 p90 p99 max");
        has(&lock["waiters"][0], "count wait_ns stack");
        has(&lock["holders"][0], "count blocked_ns hold_ns stack");
        has(&lock["sites"][0], "count contended stack");
        has(&lock["sites"][0]["stack"][0], "function file line module offset inlined");
        assert_eq!(lock["id"], "L1");
        let unsymbolised = json["locks"].as_array().unwrap().iter().find(|lock| lock["kind"] == "spinlock");
        let frame = &unsymbolised.unwrap()["sites"][0]["stack"][0];
        assert!(frame["function"].is_null() && frame["offset"] == "0x2344" && frame["module"] == "server");
    }

    #[test]
    fn a_table_of_stacks_says_the_same() {
        let session = server();
        let contention = Contention::of(&session, &Query::default());
        let written = |form| -> serde_json::Value {
            let mut out = Vec::new();
            super::report(&session, &contention, &Findings::default(), None, Some(form), &mut out).unwrap();
            serde_json::from_slice(&out).unwrap()
        };
        let (inline, mut table) = (written(StackForm::Inline), written(StackForm::Table));
        let [frames, stacks, defaults] =
            ["frames", "stacks", "defaults"].map(|key| table.as_object_mut().unwrap().remove(key).unwrap());
        let mut numbers = 0;
        let mut in_full = |row: &mut serde_json::Value, defaults: &serde_json::Value| {
            if let Some(number) = row["stack"].as_u64() {
                let list = stacks[number as usize].as_array().unwrap().iter();
                row["stack"] = list.map(|frame| frames[frame.as_u64().unwrap() as usize].clone()).collect();
                numbers += 1;
            }
            for (key, value) in defaults.as_object().into_iter().flatten() {
                if row.get(key).is_none() {
                    row[key] = value.clone();
                }
            }
        };
        for lock in table["locks"].as_array_mut().unwrap() {
            for list in ["waiters", "holders", "sites", "calls"] {
                for row in lock.get_mut(list).and_then(|rows| rows.as_array_mut()).into_iter().flatten() {
                    in_full(row, &defaults[list]);
                }
            }
            in_full(&mut lock["origin"], &serde_json::json!({}));
            in_full(lock, &defaults["locks"]);
        }
        assert!(numbers > 10, "{numbers}");
        assert_eq!(table, inline);
        assert_eq!([StackForm::for_rows(10), StackForm::for_rows(100_000)], [StackForm::Inline, StackForm::Table]);
    }

    #[test]
    fn findings_have_every_key_of_the_contract() {
        let (session, found) = crate::gate::testing::bank();
        let mut query = Query::default();
        let findings = |query: &Query| -> serde_json::Value {
            let text = report(&session, &Contention::of(&session, query), &found);
            serde_json::from_str::<serde_json::Value>(&text).unwrap()["findings"].take()
        };
        let all = findings(&query);
        assert_eq!(all.as_array().unwrap().len(), 2);
        for key in "kind severity lock name message count total_ns call stacks".split(' ') {
            assert!(all[0].get(key).is_some(), "{key} is missing");
        }
        assert_eq!((&all[0]["kind"], &all[0]["name"]), (&"self-deadlock".into(), &"config_lock".into()));
        assert!(
            all[0]["lock"].as_str().unwrap().starts_with('L') && all[0]["stacks"][0][0]["function"] == "load_config"
        );
        query.filter.lock = Some(crate::analysis::Glob::new("config_lock"));
        assert_eq!(findings(&query).as_array().unwrap().len(), 1, "a filter leaves findings out, too");
    }
}
