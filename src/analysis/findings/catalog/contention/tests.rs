//! What a recording says, and what it says too little for.

use crate::analysis::findings::cost::What;
use crate::analysis::findings::{Finding, Severity, find};
use crate::analysis::testing::{Builder, server};
use crate::model::{Kind, Mode, Session};

fn kinds(session: &Session) -> Vec<&'static str> {
    find(session).list.iter().map(|finding| finding.rule.id).collect()
}

/// A session of so long, ns, in which `keeper` holds a lock while `one` and `other` wait for it, so often and long.
fn kept(duration_ns: u64, waits: u64, wait_ns: u64) -> Session {
    let mut b = Builder::new();
    b.session.meta.duration_ns = duration_ns;
    let (keeper, one, other) = (b.thread("keeper"), b.thread("one"), b.thread("other"));
    let lock = b.lock("state", Kind::Mutex);
    let (keep, ask) = (b.stack(&[("keep", "a.c", 1)]), b.stack(&[("ask", "a.c", 2)]));
    b.take(lock, keeper, keep, Mode::Exclusive, waits, wait_ns);
    for at in 0..waits {
        let thread = if at % 2 == 0 { one } else { other };
        b.wait(lock, thread, ask, Mode::Exclusive, wait_ns, 200, Some((keeper, keep)));
    }
    b.session
}

#[test]
fn a_lock_that_is_held_long() {
    let findings = find(&kept(1_000_000_000, 50, 5_000_000));
    let [finding] = findings.list.as_slice() else { panic!("{findings:#?}") };
    assert_eq!((finding.rule.id, finding.count, finding.severity), ("long-hold", 50, Severity::Warning));
    let cost = finding.cost().expect("a cost");
    assert_eq!(cost.lost_ns, 250_000_000);
    let What::LongHold(hold) = &cost.what else { panic!("{cost:?}") };
    assert_eq!((hold.holds, hold.mean_ns, hold.few), (50, 5_000_000, None));
}

/// 8 ms in 14 s of many threads are nothing to speak of; neither is what is little beside the threads' lives.
#[test]
fn little_time_is_no_finding() {
    assert!(kinds(&kept(14_000_000_000, 2, 4_000_000)).is_empty());
    assert!(kinds(&kept(14_000_000_000, 30, 5_000_000)).is_empty());
    assert_eq!(kinds(&kept(14_000_000_000, 300, 5_000_000)), ["long-hold"]);
}

/// What costs time never fails by itself, and says so in the same words in every run.
#[test]
fn costs_do_not_fail() {
    let (one, other) = (find(&server()).list, find(&server()).list);
    let costs: Vec<&Finding> = one.iter().filter(|finding| finding.cost().is_some()).collect();
    assert!(!costs.is_empty() && costs.iter().all(|finding| !finding.fails()), "{costs:#?}");
    assert_eq!(one, other);
}

/// One thread that another keeps at a mutex until there is something to do is idle.
#[test]
fn a_gate_is_no_contention() {
    let mut b = Builder::new();
    b.session.meta.duration_ns = 2_000_000_000;
    let (main, io) = (b.thread("main"), b.thread("io"));
    let lock = b.lock("io_mutex", Kind::Mutex);
    let (park, wait) = (b.stack(&[("park", "a.c", 1)]), b.stack(&[("io_main", "a.c", 2)]));
    b.take(lock, main, park, Mode::Exclusive, 1, 1_700_000_000);
    b.wait(lock, io, wait, Mode::Exclusive, 1_700_000_000, 100, Some((main, park)));
    assert!(kinds(&b.session).is_empty());
}

#[test]
fn a_lock_that_will_saturate() {
    let mut session = kept(1_000_000_000, 200, 400_000);
    let growing = |at: usize| 100_000 + 3_000 * at as u64;
    for (at, event) in session.profile.wait_events.iter_mut().enumerate() {
        (event.start_ns, event.wait_ns) = (at as u64 * 5_000_000, growing(at));
    }
    // The hold is a part of the run.
    let keep = session.profile.sites.iter_mut().find(|site| site.contended == 0).expect("the keeper's");
    keep.hold = Default::default();
    (0..200).for_each(|_| keep.hold.record(2_500_000));
    let found = find(&session);
    let saturating = found.list.iter().find(|finding| finding.rule.id == "saturating-lock");
    let Some(What::Saturating { held_share, quarters }) =
        saturating.and_then(Finding::cost).map(|cost| cost.what.clone())
    else {
        panic!("{found:#?}")
    };
    assert!((0.45..0.55).contains(&held_share) && quarters.is_sorted(), "{held_share} {quarters:?}");
    let steady = kept(1_000_000_000, 200, 400_000);
    assert!(!kinds(&steady).contains(&"saturating-lock"));
}
