//! Slices nest, arrows have both ends, what is not drawn is told.

use proptest::prelude::*;

use super::*;
use crate::analysis::contention::Query;
use crate::analysis::testing::{Builder, empty, server};
use crate::model::Kind;
use crate::model::arbitrary::arbitrary_session;
use crate::model::order::Logged;
use crate::render::golden;

fn of(session: &Session) -> Value {
    serde_json::from_str(&chrome(session, &Contention::of(session, &Query::default()))).unwrap()
}

/// Two threads and a lock: one has it for 100 to 900 ns, the other waits from 200 on.
fn pair() -> Session {
    let mut b = Builder::new();
    let (lock, one, other) = (b.lock("mu", Kind::Mutex), b.thread("one"), b.thread("other"));
    let stack = b.stack(&[("work", "w.c", 3), ("main", "w.c", 9)]);
    b.take(lock, one, stack, Mode::Exclusive, 1, 800);
    b.wait(lock, other, stack, Mode::Exclusive, 700, 50, Some((one, stack)));
    b.session.profile.wait_events[0].start_ns = 200;
    let section = LoggedWhat::Section(Mode::Exclusive);
    for (thread, at_ns, until_ns) in [(one, 100, 900), (other, 901, 951)] {
        b.session.order.log.push(Logged { at_ns, until_ns, thread, lock, stack, what: section });
    }
    b.session
}

#[test]
fn an_arrow_leads_from_the_release_to_the_waiter() {
    let json = of(&pair());
    let events = json["traceEvents"].as_array().unwrap();
    let found = |ph: &str| events.iter().filter(|event| event["ph"] == ph).collect::<Vec<_>>();
    let times: Vec<_> = found("X").iter().map(|event| (event["ts"].clone(), event["dur"].clone())).collect();
    assert_eq!(times, [(0.1.into(), 0.8.into()), (0.2.into(), 0.7.into()), (0.9.into(), 0.051.into())]);
    let (from, to) = (found("s"), found("f"));
    assert_eq!((from.len(), to.len(), &from[0]["tid"], &to[0]["tid"]), (1, 1, &4242.into(), &4243.into()));
    assert_eq!((&from[0]["ts"], &to[0]["ts"], &from[0]["id"]), (&0.899.into(), &0.899.into(), &to[0]["id"]));
    assert_eq!((&json["otherData"]["wait_ns"], &json["otherData"]["waits_counted_only"]), (&700.into(), &0.into()));
}

#[test]
fn golden_file() {
    let contention = Contention::of(&pair(), &Query::default());
    golden::check("chrome.json", &chrome(&pair(), &contention));
}

#[test]
fn what_is_not_drawn_is_told() {
    let mut session = server();
    let total = Contention::of(&session, &Query::default()).contention;
    let sum = |json: &Value| {
        let told = |key: &str| json["otherData"][key].as_u64().unwrap();
        (told("waits") + told("waits_counted_only"), told("wait_ns") + told("wait_ns_counted_only"))
    };
    assert_eq!(sum(&of(&session)), (total.contended, total.wait_ns));
    session.profile.wait_events.truncate(3);
    let json = of(&session);
    assert_eq!((sum(&json), &json["otherData"]["waits"]), ((total.contended, total.wait_ns), &3.into()));
    assert_eq!(of(&empty())["traceEvents"], json!([]));
}

proptest! {
    #[test]
    fn any_session_gives_slices_that_nest(session in arbitrary_session()) {
        let json = of(&session);
        let mut ends: BTreeMap<(u64, u64), Vec<(u64, u64)>> = BTreeMap::new();
        for event in json["traceEvents"].as_array().unwrap().iter().filter(|event| event["ph"] == "X") {
            let number = |key: &str| (event[key].as_f64().unwrap() * 1000.0).round() as u64;
            let track = (event["pid"].as_u64().unwrap(), event["tid"].as_u64().unwrap());
            let (start, end) = (number("ts"), number("ts").saturating_add(number("dur")));
            // Beyond 13 days, µs as JSON's numbers are coarser than a nanosecond.
            if end < 1 << 50 {
                ends.entry(track).or_default().push((start, end));
            }
        }
        for slices in ends.values() {
            for (a, b) in slices.iter().flat_map(|a| slices.iter().map(move |b| (a, b))) {
                prop_assert!(!(a.0 < b.0 && b.0 < a.1 && a.1 < b.1), "{a:?} {b:?}");
            }
        }
    }
}
