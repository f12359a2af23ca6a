//! Every kind of lock, in every mode that it has: what succeeded, failed and ran out of time, and each call's own result.

use crate::util::truth::of_kind;
use crate::util::{Target, fixture, kinds, verify, verify_varying};

/// Those of `kinds` whose own counts differ from run to run.
const VARYING: [&str; 4] = ["c11", "condvar", "cxx_std", "old_cond"];

/// Whatever is in the folder: a new kind of lock needs nothing here.
#[test]
fn every_kind_of_lock_is_recorded_as_its_program_says() {
    let kinds = kinds();
    assert!(kinds.len() >= 13 && VARYING.iter().all(|name| kinds.iter().any(|kind| kind == name)), "{kinds:?}");
    for name in &kinds {
        // The last one is the one that failed.
        println!("kinds/{name}");
        let verify = if VARYING.contains(&name.as_str()) { verify_varying } else { verify };
        verify(&Target::new(fixture(name)));
    }
}

#[test]
fn semaphores_are_told_from_what_they_guard() {
    let recording = verify(&Target::new(fixture("semaphores")));
    assert_eq!(of_kind(&recording.report, "semaphore", "acquisitions"), 8000);
}
