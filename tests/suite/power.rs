//! The checks themselves have power: a report that is wrong in one place is caught.

use serde_json::{Value, json};

use crate::util::report::{Report, has_in_order, is_function};

fn sound() -> Value {
    let stack = json!([{"function": "take", "module": "program"}, {"function": "main", "module": "program"}]);
    let time = json!({"total": 9, "mean": 4, "p50": 4, "p90": 5, "p99": 5, "max": 5});
    json!({
        "coverage": {"acquisitions": 3, "recorded": 2, "folded": 1, "lost": 0, "complete": true, "notes": []},
        "locks": [{"id": "L1", "name": "hot", "kind": "rwlock", "acquisitions": 3, "read_acquisitions": 1, "write_acquisitions": 2,
            "contended": 1, "wait_ns": time, "hold_ns": time,
            "waiters": [{"count": 1, "wait_ns": 9, "stack": stack}], "holders": [],
            "sites": [{"count": 3, "contended": 1, "stack": stack}]}],
    })
}

fn is_caught(place: &str, wrong: Value) {
    let mut report = sound();
    *report.pointer_mut(place).expect("a place in the report") = wrong;
    let report = Report(report);
    let caught = std::panic::catch_unwind(|| report.assert_accounted()).is_err();
    assert!(caught, "{place} may be wrong unseen");
}

#[test]
fn a_report_that_contradicts_itself_is_caught() {
    Report(sound()).assert_accounted();
    for place in ["acquisitions", "recorded", "folded", "lost"] {
        is_caught(&format!("/coverage/{place}"), json!(7));
    }
    is_caught("/coverage/complete", json!(false));
    for place in [
        "acquisitions",
        "read_acquisitions",
        "contended",
        "wait_ns/p50",
        "hold_ns/max",
        "sites/0/count",
        "waiters/0/count",
    ] {
        is_caught(&format!("/locks/0/{place}"), json!(11));
    }
    is_caught("/locks/0/sites/0/stack/1/module", json!("liblockprof_shim.so"));
}

#[test]
fn symbols_are_compared_as_people_write_them() {
    let is = |symbol: &str, name: &str| is_function(&json!({"function": symbol}), name);
    assert!(is("take", "take") && is("take.constprop.0", "take") && is("Thing::Thing(long)", "Thing::Thing"));
    assert!(is("long get<3>()", "get") && is("ns::take(int)", "take"));
    assert!(!is("mistake", "take") && !is("take_cold", "take") && !is("", "take"));
}

#[test]
fn the_order_of_frames_matters() {
    let entry = json!({"stack": [{"function": "a"}, {"function": "x"}, {"function": "b"}]});
    assert!(
        has_in_order(&entry, &["a", "b"]) && !has_in_order(&entry, &["b", "a"]) && !has_in_order(&entry, &["a", "c"])
    );
}
