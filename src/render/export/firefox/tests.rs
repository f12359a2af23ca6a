//! What the profiler demands of a profile: columns of one length, positions that are there, times in order.

use serde_json::Value;

use super::*;
use crate::analysis::contention::Query;
use crate::analysis::testing::{empty, server};
use crate::render::golden;

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().expect("a list")
}

/// All columns of a table are as long as it says, but those that are not there.
fn length(table: &Value) -> usize {
    let length = table["length"].as_u64().expect("a length") as usize;
    for (name, column) in table.as_object().expect("a table") {
        if let Some(column) = column.as_array() {
            assert_eq!(column.len(), length, "{name}");
        }
    }
    length
}

/// Each position of a column is one of the other table, or none where that may be.
fn refers(column: &Value, length: usize, may_be_none: bool) {
    for at in list(column) {
        let none = at.is_null() || at.as_i64() == Some(-1);
        assert!(none && may_be_none || at.as_u64().is_some_and(|at| (at as usize) < length), "{at} of {length}");
    }
}

/// Holds a profile against the format; the sum of its weights, ns.
pub(crate) fn assert_sound(profile: &Value) -> u64 {
    let meta = &profile["meta"];
    assert_eq!(meta["preprocessedProfileVersion"], 55);
    let categories = list(&meta["categories"]).len();
    assert!(list(&meta["categories"]).iter().any(|category| category["color"] == "grey"));
    let libs = list(&profile["libs"]).len();
    let mut sum = 0u64;
    for thread in list(&profile["threads"]) {
        assert!(thread["pid"].is_string() && thread["name"].is_string() && thread["isMainThread"].is_boolean());
        let texts = list(&thread["stringArray"]).len();
        let (funcs, frames, stacks) = (&thread["funcTable"], &thread["frameTable"], &thread["stackTable"]);
        let [func_count, frame_count, stack_count] = [funcs, frames, stacks].map(length);
        let resources = &thread["resourceTable"];
        refers(&resources["lib"], libs, false);
        refers(&resources["name"], texts, false);
        refers(&funcs["name"], texts, false);
        refers(&funcs["fileName"], texts, true);
        refers(&funcs["resource"], length(resources), true);
        refers(&frames["func"], func_count, false);
        refers(&frames["category"], categories, false);
        refers(&stacks["frame"], frame_count, false);
        for (at, prefix) in list(&stacks["prefix"]).iter().enumerate() {
            assert!(prefix.as_u64().is_none_or(|prefix| (prefix as usize) < at), "callers come first");
        }
        let samples = &thread["samples"];
        length(samples);
        refers(&samples["stack"], stack_count, true);
        let times: Vec<f64> = list(&samples["time"]).iter().map(|time| time.as_f64().unwrap()).collect();
        assert!(times.is_sorted(), "{times:?}");
        assert_eq!(samples["weightType"], "tracing-ms");
        let weights = list(&samples["weight"]).iter().map(|weight| (weight.as_f64().unwrap() * 1e6).round() as u64);
        sum = weights.fold(sum, u64::saturating_add);
        let markers = &thread["markers"];
        length(markers);
        refers(&markers["name"], texts, false);
        refers(&markers["category"], categories, false);
        for (at, data) in list(&markers["data"]).iter().enumerate() {
            let schema =
                list(&meta["markerSchema"]).iter().find(|schema| schema["name"] == data["type"]).expect("a schema");
            for field in list(&schema["fields"]) {
                let value = &data[field["key"].as_str().unwrap()];
                assert!(value.is_null() || value.is_string(), "{data}");
            }
            assert!(data["cause"].is_null() || data["cause"]["stack"].as_u64().unwrap() < stack_count as u64);
            assert!(markers["startTime"][at].as_f64() <= markers["endTime"][at].as_f64());
        }
    }
    sum
}

#[test]
fn golden_file() {
    let session = server();
    let contention = Contention::of(&session, &Query::default());
    golden::check("firefox.json", &firefox(&session, &contention).replace("],\"", "],\n\""));
}

#[test]
fn sound_and_whole() {
    for session in [server(), crate::analysis::testing::busy(), empty()] {
        let contention = Contention::of(&session, &Query::default());
        let profile: Value = serde_json::from_str(&firefox(&session, &contention)).unwrap();
        assert_eq!(assert_sound(&profile), contention.contention.wait_ns);
    }
}

proptest::proptest! {
    #[test]
    fn any_session_gives_a_sound_profile(session in crate::model::arbitrary::arbitrary_session()) {
        let contention = Contention::of(&session, &Query::default());
        assert_sound(&serde_json::from_str(&firefox(&session, &contention)).unwrap());
    }
}
