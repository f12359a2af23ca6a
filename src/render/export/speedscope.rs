//! speedscope's JSON: two sampled profiles, the time waited and the contended acquisitions.
//!
//! The stacks are the flame graph's: the lock is a frame at the root. The format is described by
//! `src/lib/file-format-spec.ts` of speedscope and by its schema in `fixtures/speedscope`.

use rustc_hash::FxHashMap;
use serde::Serialize;

use super::{outermost_first, unseen};
use crate::analysis::Contention;
use crate::analysis::blame::{Part, Whose, parts};
use crate::model::{Session, Stacks};
use crate::render::flamegraph::labels;
use crate::render::frames::code_label;
use crate::render::names::short_function;
use crate::render::style::printable;

const SCHEMA: &str = "https://www.speedscope.app/file-format-schema.json";

#[derive(Serialize)]
struct File {
    #[serde(rename = "$schema")]
    schema: &'static str,
    exporter: String,
    name: String,
    #[serde(rename = "activeProfileIndex")]
    active: u32,
    shared: Shared,
    profiles: [Profile; 2],
}

#[derive(Serialize)]
struct Shared {
    frames: Vec<Frame>,
}

#[derive(Clone, PartialEq, Eq, Hash, Serialize)]
struct Frame {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
}

#[derive(Serialize)]
struct Profile {
    #[serde(rename = "type")]
    kind: &'static str,
    name: &'static str,
    unit: &'static str,
    #[serde(rename = "startValue")]
    start: u64,
    #[serde(rename = "endValue")]
    end: u64,
    samples: Vec<Vec<usize>>,
    weights: Vec<u64>,
}

impl Profile {
    fn of(name: &'static str, unit: &'static str, samples: &[Vec<usize>], weights: Vec<u64>) -> Self {
        let end = weights.iter().fold(0, |sum: u64, weight| sum.saturating_add(*weight));
        Self { kind: "sampled", name, unit, start: 0, end, samples: samples.to_vec(), weights }
    }
}

#[derive(Default)]
struct Frames {
    all: Vec<Frame>,
    known: FxHashMap<Frame, usize>,
}

impl Frames {
    fn id(&mut self, frame: Frame) -> usize {
        *self.known.entry(frame).or_insert_with_key(|frame| {
            self.all.push(frame.clone());
            self.all.len() - 1
        })
    }

    fn named(&mut self, name: String) -> usize {
        self.id(Frame { name, file: None, line: None })
    }

    /// The lock, then the stack, outermost first.
    fn stack(&mut self, session: &Session, lock: &str, part: &Part, whose: Whose) -> Vec<usize> {
        let mut ids = vec![self.named(lock.to_owned())];
        if part.stack == Stacks::UNKNOWN {
            ids.push(self.named(unseen(whose).to_owned()));
        }
        for node in outermost_first(session, part.stack) {
            if node.frames.is_empty() {
                ids.push(self.named(code_label(session, node)));
            }
            for frame in node.frames.iter().rev() {
                let name = match &frame.function {
                    Some(function) => printable(&short_function(function)),
                    None => code_label(session, node),
                };
                let line = (frame.line > 0 && frame.file.is_some()).then_some(frame.line);
                ids.push(self.id(Frame { name, file: frame.file.as_deref().map(printable), line }));
            }
        }
        ids
    }
}

/// The file, ending in a line break.
pub fn speedscope(session: &Session, contention: &Contention, whose: Whose) -> String {
    let labels = labels(contention);
    let parts = parts(session, contention, whose);
    let mut frames = Frames::default();
    let samples: Vec<_> = parts.iter().map(|part| frames.stack(session, &labels[part.row], part, whose)).collect();
    let names = match whose {
        Whose::Waiter => ["time waited for locks", "contended acquisitions"],
        Whose::Holder => ["time that holders made others wait", "contended acquisitions, by holder"],
    };
    let file = File {
        schema: SCHEMA,
        exporter: format!("lockprof {}", session.meta.version),
        name: printable(&session.meta.command.join(" ")),
        active: 0,
        profiles: [
            Profile::of(names[0], "nanoseconds", &samples, parts.iter().map(|part| part.wait_ns).collect()),
            Profile::of(names[1], "none", &samples, parts.iter().map(|part| part.count).collect()),
        ],
        shared: Shared { frames: frames.all },
    };
    // Plain structs of numbers, strings and lists: this cannot fail.
    serde_json::to_string(&file).unwrap_or_default() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::contention::Query;
    use crate::analysis::testing::{empty, server};
    use crate::render::golden;

    #[test]
    fn golden_file() {
        let session = server();
        let contention = Contention::of(&session, &Query::default());
        golden::check("speedscope.json", &speedscope(&session, &contention, Whose::Waiter).replace("},", "},\n"));
    }

    #[test]
    fn indices_and_sums_hold() {
        for session in [server(), empty()] {
            let contention = Contention::of(&session, &Query::default());
            for whose in [Whose::Waiter, Whose::Holder] {
                let json: serde_json::Value = serde_json::from_str(&speedscope(&session, &contention, whose)).unwrap();
                let frames = json["shared"]["frames"].as_array().unwrap().len() as u64;
                for (at, total) in [contention.contention.wait_ns, contention.contention.contended].iter().enumerate() {
                    let profile = &json["profiles"][at];
                    let weights = profile["weights"].as_array().unwrap();
                    assert_eq!(weights.iter().map(|weight| weight.as_u64().unwrap()).sum::<u64>(), *total);
                    assert_eq!(
                        (profile["endValue"].as_u64(), weights.len()),
                        (Some(*total), profile["samples"].as_array().unwrap().len())
                    );
                    let ids = profile["samples"].as_array().unwrap().iter().flat_map(|ids| ids.as_array().unwrap());
                    assert!(ids.map(|id| id.as_u64().unwrap()).all(|id| id < frames));
                }
            }
        }
    }
}
