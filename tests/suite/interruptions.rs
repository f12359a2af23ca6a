//! Signals, jumps and exceptions that cut through locked code.

use crate::util::{Target, fixture, verify, verify_varying};

#[test]
fn a_handler_that_locks_while_a_timer_interrupts_anywhere() {
    verify_varying(&Target::new(fixture("signals")).args(["timer"]));
}

#[test]
fn a_handler_on_an_alternate_stack() {
    verify_varying(&Target::new(fixture("signals")).args(["altstack"]));
}

#[test]
fn a_handler_that_is_raised_inside_and_outside_of_the_lock() {
    verify(&Target::new(fixture("signals")).args(["raise", "50000"]));
}

#[test]
fn jumps_out_of_a_locked_region() {
    verify(&Target::new(fixture("longjmp")));
}

#[test]
fn exceptions_across_guards_and_once() {
    verify(&Target::new(fixture("exceptions")));
}
