//! Pictures of known recordings.

use super::*;
use crate::analysis::contention::GroupBy;
use crate::analysis::testing::{Builder, busy, empty, server};
use crate::analysis::{Filter, Query};
use crate::model::{Kind, Mode};
use crate::render::golden;

fn options(metric: Metric, side: Option<Side>) -> Options {
    Options { metric, side, title: None }
}

fn view(session: &Session) -> Contention {
    Contention::of(session, &Query::default())
}

#[test]
fn golden_stacks() {
    let session = server();
    for (name, metric, side) in [
        ("wait-waiter", Metric::Wait, None),
        ("wait-holder", Metric::Wait, Some(Side::Holder)),
        ("wait-both", Metric::Wait, Some(Side::Both)),
        ("count-both", Metric::Count, Some(Side::Both)),
        ("count", Metric::Count, None),
        ("hold", Metric::Hold, None),
    ] {
        let text = folded(&session, &view(&session), &options(metric, side));
        golden::check(&format!("folded-{name}.txt"), &text);
    }
}

#[test]
fn values_are_those_of_the_report() {
    let session = server();
    let contention = view(&session);
    let sum = |metric, side| -> u64 {
        let text = folded(&session, &contention, &options(metric, side));
        text.lines().map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum()
    };
    let totals = contention.contention;
    for side in [Side::Waiter, Side::Holder, Side::Both] {
        assert_eq!(sum(Metric::Wait, Some(side)), totals.wait_ns);
        assert_eq!(sum(Metric::Count, Some(side)), totals.contended);
    }
    assert_eq!(sum(Metric::Hold, None), totals.hold_ns);
    assert_eq!(sum(Metric::Count, None), totals.acquisitions);
}

#[test]
fn the_same_to_the_byte_and_well_formed() {
    let session = server();
    let both = options(Metric::Wait, Some(Side::Both));
    let picture = draw(&session, &view(&session), &both);
    assert_eq!(picture, draw(&session, &view(&session), &both));
    let svg = String::from_utf8(picture.svg).unwrap();
    assert!(svg.contains("Who waited for whom") && svg.contains(">journal.mu (") && svg.ends_with("</svg>"));
    assert_eq!(picture.notice, None);
}

#[test]
fn nothing_to_draw_is_said_in_the_picture() {
    let picture = draw(&empty(), &view(&empty()), &Options::default());
    let svg = String::from_utf8(picture.svg).unwrap();
    assert!(svg.contains("No lock operation was seen") && svg.ends_with("</svg>\n"));
    assert!(picture.notice.is_some());

    let mut b = Builder::new();
    let (lock, thread) = (b.lock("quiet", Kind::Mutex), b.thread("t"));
    let stack = b.stack(&[("main", "", 0)]);
    b.take(lock, thread, stack, Mode::Exclusive, 3, 10);
    let picture = draw(&b.session, &view(&b.session), &Options::default());
    assert!(picture.notice.unwrap().contains("try --metric hold"));
}

#[test]
fn what_has_no_meaning_is_refused() {
    let mut filter = Filter::default();
    for side in [Side::Waiter, Side::Both] {
        assert!(View::meaningless(Metric::Hold, Some(side), &filter).unwrap().contains("leave --by out"));
    }
    assert_eq!(View::meaningless(Metric::Hold, Some(Side::Holder), &filter), None);
    filter.kinds = vec![Kind::Mutex, Kind::Condvar];
    assert!(View::meaningless(Metric::Wait, Some(Side::Both), &filter).unwrap().contains("a condvar is not held"));
    assert_eq!(View::meaningless(Metric::Wait, Some(Side::Waiter), &filter), None);
}

/// Every frame has the whole change of what is on top of it.
#[test]
fn a_differential_graph_has_the_change_of_every_frame() {
    let (mut old, new) = (server(), server());
    let query = Query { by: GroupBy::Class, ..Query::default() };
    for site in &mut old.profile.sites {
        site.wait.sum /= 2;
    }
    let views = [&old, &new].map(|session| Contention::of(session, &query));
    let [before, after] =
        [(&old, &views[0]), (&new, &views[1])].map(|(session, contention)| Part { session, contention });
    let picture = draw_differential(before, after, 1.0, &options(Metric::Wait, None));
    let svg = String::from_utf8(picture.svg.clone()).unwrap();
    assert_eq!(picture, draw_differential(before, after, 1.0, &options(Metric::Wait, None)));
    let [old_ns, new_ns] = views.each_ref().map(|view| view.contention.wait_ns);
    let micros = |ns: u64| count((ns as f64 / 1e3).round() as u64);
    let all = format!("all ({} µs, 100.00%; was {} µs", micros(new_ns), micros(old_ns));
    assert!(svg.contains(&all), "{all}");
    let titles = svg.matches("<title>").count();
    assert!(titles > 10 && svg.matches("; was ").count() == titles, "each frame is told");
    assert!(svg.contains("fill=\"rgb(255,") && svg.contains("+100%"));
    assert!(svg.contains("red grew, blue shrank") && svg.contains("journal.mu ("));
    // The same twice: nothing is red or blue.
    let same = String::from_utf8(draw_differential(after, after, 1.0, &Options::default()).svg).unwrap();
    assert!(!same.contains("fill=\"rgb(255,") && !same.contains(",255)\"") && same.contains("±0"));
}

#[test]
fn odd_names_do_no_harm() {
    let mut b = Builder::new();
    let (lock, thread) = (b.lock("# a;b <c> & \"d\" 7", Kind::Mutex), b.thread("t"));
    let odd = b.stack(&[("-", "", 0), ("f;g\u{1b}[31m", "", 0), ("x 12", "", 0), ("", "", 0), ("y_[k]", "", 0)]);
    b.wait(lock, thread, odd, Mode::Exclusive, 1000, 10, Some((thread, odd)));
    for side in [Side::Waiter, Side::Holder, Side::Both] {
        let picture = draw(&b.session, &view(&b.session), &options(Metric::Wait, Some(side)));
        assert_eq!(picture.notice, None);
        let svg = String::from_utf8(picture.svg).unwrap();
        assert!(!svg.contains('\u{1b}') && svg.contains("a:b &lt;c&gt; &amp;"));
        assert!(svg.contains("(1,000 ns waited"));
    }
}

/// Pictures to look at: `cargo test pictures -- --ignored` writes them to the target folder.
#[test]
#[ignore = "writes files for people to look at"]
fn pictures() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/pictures");
    std::fs::create_dir_all(&folder).unwrap();
    let session = server();
    for (name, metric, side) in [
        ("waiter", Metric::Wait, None),
        ("holder", Metric::Wait, Some(Side::Holder)),
        ("both", Metric::Wait, Some(Side::Both)),
        ("hold", Metric::Hold, None),
        ("count", Metric::Count, None),
    ] {
        let picture = draw(&session, &view(&session), &options(metric, side));
        std::fs::write(folder.join(format!("{name}.svg")), picture.svg).unwrap();
    }
    let session = busy();
    for side in [Side::Waiter, Side::Holder, Side::Both] {
        let picture = draw(&session, &view(&session), &options(Metric::Wait, Some(side)));
        std::fs::write(folder.join(format!("busy-{side:?}.svg")), picture.svg).unwrap();
    }
    let quiet = draw(&empty(), &view(&empty()), &Options::default());
    std::fs::write(folder.join("empty.svg"), quiet.svg).unwrap();
}
