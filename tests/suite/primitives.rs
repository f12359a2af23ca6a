//! Every kind of lock, in every mode that it has: what succeeded, failed and ran out of time, and each call's own result.

use crate::util::truth::of_kind;
use crate::util::{Target, fixture, verify, verify_varying};

#[test]
fn read_write_locks_in_every_mode() {
    verify(&Target::new(fixture("rwlock")));
}

#[test]
fn failed_tries_and_timeouts_are_no_acquisitions() {
    verify(&Target::new(fixture("timeouts")));
}

#[test]
fn every_type_of_mutex_keeps_its_return_codes() {
    verify(&Target::new(fixture("mutex_kinds")));
}

#[test]
fn spin_locks() {
    verify(&Target::new(fixture("spin")));
}

#[test]
fn condition_variables() {
    verify_varying(&Target::new(fixture("condvar")));
}

/// Binaries from before 2003 are bound to another version of the functions.
#[test]
fn condition_variables_of_the_oldest_version() {
    verify_varying(&Target::new(fixture("old_cond")));
}

#[test]
fn semaphores() {
    let recording = verify(&Target::new(fixture("semaphores")));
    assert_eq!(of_kind(&recording.report, "semaphore", "acquisitions"), 8000);
}

#[test]
fn barriers_and_once() {
    verify(&Target::new(fixture("barrier_once")));
}

#[test]
fn c11_threads() {
    verify_varying(&Target::new(fixture("c11")));
}

#[test]
fn cxx_standard_library() {
    verify_varying(&Target::new(fixture("cxx_std")));
}

#[test]
fn cxx_static_guards_raced_by_threads() {
    verify(&Target::new(fixture("static_guard")));
}

#[test]
fn errno_is_left_as_it_was() {
    verify(&Target::new(fixture("errno_kept")));
}

#[test]
fn a_lock_named_by_the_program() {
    verify(&Target::new(fixture("named")));
}
