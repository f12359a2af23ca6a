//! Call stacks are whole and right: deep, ragged, with frames that others forget, on foreign stacks.

use crate::util::report::{frames_of, list, number, with_function};
use crate::util::{Target, fixture, verify};

#[test]
fn a_hundred_frames_are_all_there() {
    let recording = verify(&Target::new(fixture("deep")));
    let abyss = recording.report.lock("abyss", "mutex");
    for function in ["down", "down_wide"] {
        let sites = with_function(&abyss["sites"], function);
        assert!(!sites.is_empty(), "no stack with {function}");
        for site in sites {
            let (inner, outer) = (frames_of(site, function), frames_of(site, "main"));
            assert_eq!((inner, outer), (100, 1), "frames of {function} and main");
        }
    }
}

#[test]
fn every_depth_is_a_stack_of_its_own() {
    let recording = verify(&Target::new(fixture("deep")).args(["3", "200"]));
    let ragged = recording.report.lock("ragged", "mutex");
    let mut depths: Vec<usize> = list(&ragged["sites"]).iter().map(|site| frames_of(site, "down")).collect();
    depths.sort_unstable();
    assert_eq!(depths, (1..=200).collect::<Vec<_>>());
    assert!(list(&ragged["sites"]).iter().all(|site| number(site, "count") == 1));
}

#[test]
fn a_stale_chain_in_an_alloca_area_deceives_nobody() {
    let recording = verify(&Target::new(fixture("stale_chain")));
    let same = recording.report.lock("same", "mutex");
    for site in list(&same["sites"]) {
        let [long, middle, short] = ["enter_long", "middle", "enter_short"].map(|name| frames_of(site, name));
        assert!(matches!((long, middle, short), (1, 1, 0) | (0, 0, 1)), "{}", site["stack"]);
    }
}

#[test]
fn a_signal_handler_stands_above_what_it_interrupted() {
    let recording = verify(&Target::new(fixture("signals")).args(["raise", "50000"]));
    let handler = recording.report.lock("handler_lock", "mutex");
    for site in list(&handler["sites"]) {
        assert_eq!((frames_of(site, "in_handler"), frames_of(site, "main")), (1, 1), "{}", site["stack"]);
    }
}

#[test]
fn coroutines_on_stacks_of_their_own() {
    let recording = verify(&Target::new(fixture("coroutines")));
    let shared = recording.report.lock("shared", "mutex");
    for site in list(&shared["sites"]) {
        let deeper = frames_of(site, "deeper");
        assert!(deeper <= 8 && frames_of(site, "coroutine_body") == 1, "{}", site["stack"]);
    }
}

#[test]
fn a_guard_below_the_stack_is_never_touched() {
    verify(&Target::new(fixture("guarded")));
}

#[test]
fn one_address_with_several_locks_over_time() {
    let recording = verify(&Target::new(fixture("reuse")));
    let makers = ["on_stack_one", "on_stack_two", "on_heap_one", "on_heap_two"];
    for lock in recording.report.locks() {
        let made: Vec<_> = makers.iter().filter(|maker| !with_function(&lock["sites"], maker).is_empty()).collect();
        assert!(made.len() <= 1, "one lock of several makers: {made:?}");
    }
}

#[test]
fn programs_without_unwind_tables_or_frame_pointers_still_count() {
    let build = crate::util::Build::new("counts.c", "counts");
    let flags = ["-fno-asynchronous-unwind-tables", "-fno-unwind-tables", "-fomit-frame-pointer", "-g0"];
    let target = Target::new(build.flags(&flags).build()).args(["4", "2000"]);
    let recording = target.record();
    assert_eq!(recording.outcome.code(), 0);
    recording.report.assert_accounted();
    assert_eq!(number(recording.report.lock("hot", "mutex"), "acquisitions"), 8000);
}

#[test]
fn frame_pointers_optimisation_and_linkage_change_nothing() {
    let variants: [&[&str]; 5] =
        [&["-O0"], &["-O3"], &["-fno-omit-frame-pointer"], &["-no-pie", "-fno-pie"], &["-Wl,-z,now"]];
    for flags in variants {
        let program = crate::util::Build::new("counts.c", "counts").flags(flags).build();
        verify(&Target::new(program).args(["2", "2000"]));
    }
}
