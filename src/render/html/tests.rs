//! What holds for every page. How pages look and behave is tested in a browser, by `tests/suite/html.rs`.

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::analysis::testing::{Builder, busy, empty, server};
use crate::analysis::{Query, findings};
use crate::gate::testing::bank;
use crate::model::arbitrary::arbitrary_session;
use crate::model::{Kind, Mode};

fn html(session: &Session, findings: &Findings) -> String {
    page(session, &Contention::of(session, &Query::default()), findings).html
}

/// The data of a page, as a browser finds them.
fn data_of(html: &str) -> Value {
    let (_, rest) = html.split_once("<script type=\"application/json\" id=\"data\">").unwrap();
    serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
}

#[test]
fn the_same_to_the_byte_with_the_sums_of_the_report() {
    for session in [server(), busy(), empty()] {
        let html = html(&session, &Findings::default());
        assert_eq!(html, super::tests::html(&session, &Findings::default()));
        let (data, view) = (data_of(&html), Contention::of(&session, &Query::default()));
        assert_eq!(data["contention"]["wait_ns"], view.contention.wait_ns);
        for (lock, row) in data["locks"].as_array().unwrap().iter().zip(&view.locks) {
            assert_eq!((&lock["id"], &lock["wait"][0]), (&row.id.clone().into(), &row.wait.total.into()));
        }
    }
}

#[test]
fn the_hottest_lock_is_told_in_a_sentence() {
    let data = data_of(&html(&server(), &Findings::default()));
    let sentence = data["hottest"]["sentence"].as_str().unwrap();
    assert!(sentence.starts_with("The hottest lock is journal.mu: threads waited "), "{sentence}");
    assert!(sentence.contains("of all waiting for locks), ") && sentence.contains("Journal::append"), "{sentence}");
    assert!(data["hottest"]["advice"].as_str().unwrap().contains("Journal::flush (journal.cc:77) held journal.mu"));
    assert!(data_of(&html(&empty(), &Findings::default()))["nothing"].as_str().unwrap().contains("No lock operation"));
}

#[test]
fn cycles_and_misuses_are_told_as_check_tells_them() {
    let (session, findings) = bank();
    let html = html(&session, &findings);
    let data = data_of(&html);
    let entries = data["orders"]["entries"].as_array().unwrap();
    assert_eq!((entries.len(), &data["orders"]["fails"]), (7, &true.into()));
    assert!(entries[0]["text"].as_str().unwrap().contains("this schedule reaches it"));
    assert!(html.contains("id=\"order-tiploud\""));
}

#[test]
fn nothing_of_a_recording_becomes_markup() {
    let mut b = Builder::new();
    let evil = "</script><img src=x onerror=alert(1)>{{data}}<!--";
    let (lock, other) = (b.lock(evil, Kind::Mutex), b.lock("<b>", Kind::Mutex));
    let thread = b.thread(evil);
    let stack = b.stack(&[(evil, evil, 1)]);
    b.wait(lock, thread, stack, Mode::Exclusive, 5_000, 10, Some((thread, stack)));
    b.take(other, thread, stack, Mode::Exclusive, 1, 1);
    b.session.meta.command = vec![evil.into()];
    b.session.coverage.notes.push(evil.into());
    let html = html(&b.session, &Findings::default());
    assert!(!html.contains("<img") && !html.contains("<b>"), "only escapes");
    assert_eq!(html.matches("<script").count(), 2);
    assert_eq!(html.matches("</script>").count(), 2);
    assert_eq!(data_of(&html)["locks"][0]["name"], evil);
}

#[test]
fn only_the_pages_own_script_and_style_may_be_used() {
    let html = html(&server(), &Findings::default());
    let (_, policy) = html.split_once("Content-Security-Policy\" content=\"").unwrap();
    let policy = policy.split_once('"').unwrap().0;
    assert!(policy.starts_with("default-src 'none'; script-src 'sha256-") && !policy.contains("unsafe"));
    let inline = |tag: &str| {
        let (_, rest) = html.rsplit_once(&format!("<{tag}>")).unwrap();
        sha256::source(rest.split_once(&format!("</{tag}>")).unwrap().0)
    };
    assert!(policy.contains(&inline("script")) && policy.contains(&inline("style")));
}

#[test]
fn files_of_the_page_stay_small() {
    for (name, text) in [("page.html", PAGE), ("page.css", STYLE)] {
        assert!(text.lines().count() <= 400, "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_recording_makes_a_page(session in arbitrary_session()) {
        let findings = findings::find(&session);
        prop_assert!(data_of(&html(&session, &findings))["locks"].is_array());
    }
}
