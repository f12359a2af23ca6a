//! Programs with little room: small stacks, a limited address space, no file descriptors.

use crate::util::{Target, fixture, verify};

#[test]
fn the_smallest_thread_stacks() {
    verify(&Target::new(fixture("small_stacks")));
}

#[test]
fn a_limited_address_space() {
    for megabytes in ["1024", "256", "64"] {
        verify(&Target::new(fixture("limited_memory")).args([megabytes]));
    }
}

#[test]
fn a_limit_set_before_lockprof_starts() {
    let fixture = fixture("limited_memory");
    let command = format!("ulimit -v 1000000 && exec '{}' 1000", fixture.display());
    verify(&Target::new("/bin/sh").args(["-c", &command]));
}

#[test]
fn all_file_descriptors_closed() {
    verify(&Target::new(fixture("close_fds")));
}

#[test]
fn few_file_descriptors_allowed() {
    let command = format!("ulimit -n 5 && exec '{}'", fixture("counts").display());
    verify(&Target::new("/bin/sh").args(["-c", &command]));
}

/// The limit is 4 KB: enough for what the program says, not for what a recorder might write in its place.
#[test]
fn no_large_file_may_be_written() {
    let command = format!("ulimit -f 8 && exec '{}'", fixture("counts").display());
    verify(&Target::new("/bin/sh").args(["-c", &command]));
}
