//! Programs that people run: the same answers with and without the recorder, a clean stop, and nothing lost.

mod java;
mod mariadb;
pub mod memcached;
mod nginx;
mod oracle;
mod python;
mod redis;
mod storage;
mod stress;

use std::path::PathBuf;

use crate::util::{Outcome, Recording, Report, Target};

/// The allocators that such programs are run with beside the recorder; `None` is the program's own.
const ALLOCATORS: [Option<&str>; 3] = [None, Some("libjemalloc.so.2"), Some("libtcmalloc_minimal.so.4")];

/// The target with an allocator preloaded by its user.
fn with_allocator(target: &Target, allocator: Option<&PathBuf>) -> Target {
    allocator.map_or_else(|| target.clone(), |library| target.clone().env("LD_PRELOAD", library))
}

/// The report is complete, and has at least so many acquisitions.
fn assert_seen(report: &Report, at_least: u64) {
    report.assert_accounted();
    assert_acquired(report, at_least);
}

/// The same of a program that uses futexes directly beside libc's locks.
fn assert_seen_but_for_futexes(report: &Report, at_least: u64) {
    report.assert_accounted_but_for("futexes used directly");
    assert_acquired(report, at_least);
}

fn assert_acquired(report: &Report, at_least: u64) {
    let seen = report.coverage("acquisitions");
    assert!(seen >= at_least, "only {seen} acquisitions, {at_least} at least were made");
}

/// Bare and recorded end with the same exit code.
fn both(target: &Target) -> (Outcome, Recording) {
    let (bare, recording) = (target.bare(), target.record());
    assert_eq!(recording.outcome.code(), bare.code(), "{}\n{}", recording.outcome.stdout, recording.outcome.stderr);
    (bare, recording)
}
