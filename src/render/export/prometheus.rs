//! Prometheus' text exposition format, version 0.0.4.
//!
//! Locks of one name, class and kind are one series: numbers such as `L3` change from run to run, and a series must not.
//! Times are seconds with nine decimals, so nothing is rounded.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::analysis::Contention;
use crate::analysis::contention::Cut;
use crate::model::histogram::bucket;
use crate::model::{Histogram, Session, SiteId};
use crate::render::style::printable;

/// Bounds of the buckets are one less than these powers of two, ns: 255 ns to 17 s. The recorded histogram has an edge
/// there, so every bucket is exact.
const BOUNDS: std::ops::RangeInclusive<u32> = 8..=34;
const BOUND_STEP: usize = 2;

#[derive(Default)]
struct Series {
    locks: u64,
    counts: [u64; 5],
    wait_ns: u64,
    hold_ns: u64,
    wasted_ns: u64,
    wait: Histogram,
    hold: Histogram,
}

/// Name and help of the counters in `Series::counts`.
const COUNTS: [(&str, &str); 5] = [
    ("lockprof_lock_acquisitions_total", "Successful acquisitions; completed operations for kinds that are not held."),
    ("lockprof_lock_contentions_total", "Acquisitions that had to wait."),
    ("lockprof_lock_try_failures_total", "Tries that found the lock taken."),
    ("lockprof_lock_timeouts_total", "Timed requests that ran out."),
    ("lockprof_lock_owner_changes_total", "Acquisitions by another thread than the one before."),
];

/// The text.
pub fn prometheus(session: &Session, contention: &Contention) -> String {
    let series = series(session, contention);
    let mut out = String::new();
    for note in super::notes(session, contention) {
        let _ = writeln!(out, "# {note}");
    }
    let seen = &session.coverage;
    single(
        &mut out,
        "lockprof_run_duration_seconds",
        "gauge",
        "How long the program ran.",
        &seconds(session.meta.duration_ns),
    );
    let acquisitions = seen.acquisitions.to_string();
    single(
        &mut out,
        "lockprof_run_acquisitions_total",
        "counter",
        "Successful acquisitions of the whole run.",
        &acquisitions,
    );
    let lost = "Acquisitions of which nothing is known: anything but 0 makes the recording incomplete.";
    single(&mut out, "lockprof_run_acquisitions_lost_total", "counter", lost, &seen.lost.to_string());

    let mut family = |name: &str, kind: &str, help: &str, value: &dyn Fn(&Series) -> String| {
        head(&mut out, name, kind, help);
        for (labels, series) in &series {
            let _ = writeln!(out, "{name}{{{labels}}} {}", value(series));
        }
    };
    family("lockprof_locks", "gauge", "Locks that the series stands for.", &|series| series.locks.to_string());
    for (at, (name, help)) in COUNTS.into_iter().enumerate() {
        family(name, "counter", help, &|series| series.counts[at].to_string());
    }
    let help = "Time waited by acquisitions; time blocked for kinds that are not locks.";
    family("lockprof_lock_wait_seconds_total", "counter", help, &|series| seconds(series.wait_ns));
    let help = "Time held.";
    family("lockprof_lock_hold_seconds_total", "counter", help, &|series| seconds(series.hold_ns));
    let help = "Time waited by requests that ended without the lock; no part of the wait.";
    family("lockprof_lock_timed_out_wait_seconds_total", "counter", help, &|series| seconds(series.wasted_ns));
    if contention.query.filter.thread.is_none() {
        // The spread is kept for all threads together: of some of them there is no histogram.
        let name = "lockprof_lock_wait_duration_seconds";
        histogram(&mut out, name, "Single waits.", &series, |series| (&series.wait, series.counts[1], series.wait_ns));
        let name = "lockprof_lock_hold_duration_seconds";
        histogram(&mut out, name, "Single holds.", &series, |series| (&series.hold, series.hold.count, series.hold_ns));
    }
    out
}

fn series(session: &Session, contention: &Contention) -> BTreeMap<String, Series> {
    let labels: Vec<String> = (contention.locks.iter())
        .map(|row| {
            let (lock, class) = (escaped(&row.name), escaped(&row.class));
            format!("lock=\"{lock}\",class=\"{class}\",kind=\"{}\"", row.kind.name())
        })
        .collect();
    let mut all: BTreeMap<String, Series> = BTreeMap::new();
    for (row, labels) in contention.locks.iter().zip(&labels) {
        let sum = all.entry(labels.clone()).or_default();
        sum.locks = sum.locks.saturating_add(row.stands_for);
        let counts = [row.acquisitions, row.contended, row.try_failures, row.timeouts, row.owner_changes];
        for (sum, count) in sum.counts.iter_mut().zip(counts) {
            *sum = sum.saturating_add(count);
        }
        sum.wait_ns = sum.wait_ns.saturating_add(row.wait.total);
        sum.hold_ns = sum.hold_ns.saturating_add(row.hold.total);
        sum.wasted_ns = sum.wasted_ns.saturating_add(row.wasted_wait_ns);
    }
    let cut = Cut::new(session, contention.query.filter.thread.as_ref());
    for (at, site) in session.profile.sites.iter().enumerate() {
        let Some(row) = contention.row_index(site.key.lock) else { continue };
        if let (Some(sum), Some(kept)) = (all.get_mut(&labels[row]), cut.site(SiteId::from(at))) {
            sum.wait.merge(&kept.wait);
            sum.hold.merge(kept.hold);
        }
    }
    all
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn single(out: &mut String, name: &str, kind: &str, help: &str, value: &str) {
    head(out, name, kind, help);
    let _ = writeln!(out, "{name} {value}");
}

fn histogram<'a>(
    out: &mut String,
    name: &str,
    help: &str,
    series: &'a BTreeMap<String, Series>,
    of: impl Fn(&'a Series) -> (&'a Histogram, u64, u64),
) {
    head(out, name, "histogram", help);
    for (labels, series) in series {
        let (histogram, count, sum_ns) = of(series);
        for bound in BOUNDS.step_by(BOUND_STEP) {
            let first_above = bucket(1 << bound);
            let below = histogram.buckets().take_while(|(at, _)| *at < first_above);
            // A broken trace may have more in its buckets than it counts.
            let below = below.fold(0u64, |sum, (_, count)| sum.saturating_add(count)).min(count);
            let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{}\"}} {below}", seconds((1 << bound) - 1));
        }
        let _ = writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {count}");
        let _ = writeln!(out, "{name}_sum{{{labels}}} {}\n{name}_count{{{labels}}} {count}", seconds(sum_ns));
    }
}

fn seconds(ns: u64) -> String {
    format!("{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000)
}

/// As the format wants a label's value.
fn escaped(text: &str) -> String {
    printable(text).replace('\\', "\\\\").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::contention::Query;
    use crate::analysis::testing::{Builder, busy, server};
    use crate::model::Kind;
    use crate::render::golden;

    fn text(session: &Session) -> String {
        prometheus(session, &Contention::of(session, &Query::default()))
    }

    #[test]
    fn golden_text() {
        golden::check("prometheus.txt", &text(&server()));
    }

    #[test]
    fn no_series_is_told_twice() {
        let mut session = busy();
        for lock in &mut session.locks {
            lock.class = "pool".into();
            lock.name = None;
        }
        let text = text(&session);
        let mut names: Vec<&str> =
            text.lines().filter(|line| !line.starts_with('#')).map(|line| line.rsplit_once(' ').unwrap().0).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
        assert!(text.contains("lockprof_locks{lock=\"pool\",class=\"pool\",kind=\"mutex\"} 32"), "{text}");
    }

    #[test]
    fn labels_are_escaped() {
        let mut b = Builder::new();
        let lock = b.lock("say \"hi\" \\ \n", Kind::Mutex);
        let (thread, stack) = (b.thread("t"), b.stack(&[("main", "", 0)]));
        b.take(lock, thread, stack, crate::model::Mode::Exclusive, 1, 5);
        assert!(text(&b.session).contains("lock=\"say \\\"hi\\\" \\\\ \u{fffd}\""));
    }
}
