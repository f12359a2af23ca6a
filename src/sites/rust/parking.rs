//! Threads that wait for something that is no lock, as far as atomics tell: parked ones, those who tell them to go on, and
//! initialisations that are over.

use iced_x86::Register;

use super::super::code::{is_atomic, is_call};
use super::super::flow::{calls_after, constant};
use super::super::table::Atomic;
use super::atomics::{asks_for_parked, asks_for_waiters, changes, exchanged, kind_of, takes_one, unparks};
use super::finder::{Body, FUTEX};
use super::names::Known;
use super::operations::{INITIALISED, INITIALISED_BYTE, PARK, PARKED, PARKED_FOR, Row, UNPARK};

/// The kernel's operations that wait for a word of this process: `std`'s, and the plain one.
const WAIT_PRIVATE: [u64; 2] = [0x89, 0x80];
/// What the word of a parked thread has.
const PARKED_WORD: u32 = u32::MAX;

impl Body<'_> {
    /// The word that a call of the kernel at a position waits to change from, if it is such a call.
    pub(super) fn waits_for(&self, at: usize) -> Option<Option<u64>> {
        let argument = |register| constant(self.code, at, register);
        let instruction = &self.code.instructions()[at];
        let is_wait = is_call(instruction)
            && argument(Register::RDI) == Some(FUTEX)
            && argument(Register::RDX).is_some_and(|operation| WAIT_PRIVATE.contains(&operation));
        is_wait.then(|| argument(Register::RCX))
    }

    /// The atomics by which a thread parks itself: behind them it waits as long as its word says "parked".
    pub(super) fn parks(&self) -> Vec<usize> {
        // Other calls come before it: how late it is.
        let is_wait = |at: usize| {
            let is_it = self.waits_for(at).flatten().is_some_and(|word| word as u32 == PARKED_WORD);
            is_it.then_some(true)
        };
        let parks = |at: &usize| takes_one(self.code, *at) && !calls_after(self.code, *at, &is_wait).is_empty();
        (0..self.code.instructions().len()).filter(parks).collect()
    }

    /// What an atomic at a position, or one that is called there, has to do with threads that wait for something that is no
    /// lock. `parks`: where this function parks its thread; `initialises`: it is one of an initialisation.
    pub(super) fn parking(&self, at: usize, parks: &[usize], initialises: bool) -> Option<&'static Row> {
        let instruction = &self.code.instructions()[at];
        if parks.contains(&at) {
            return Some(&PARK);
        }
        if !is_atomic(instruction) {
            let value = |register| constant(self.code, at, register);
            return match self.calls.get(&at) {
                Some(Known::Atomic(Atomic::Exchange)) if initialises => Some(&INITIALISED),
                Some(Known::Atomic(Atomic::Exchange)) => {
                    let tells = value(Register::RSI) == Some(1) && asks_for_parked(self.code, at, Register::RAX);
                    tells.then_some(&UNPARK)
                }
                _ => None,
            };
        }
        match kind_of(instruction)? {
            (Atomic::Exchange, 4) if initialises => Some(&INITIALISED),
            (Atomic::Exchange, 1) if initialises => Some(&INITIALISED_BYTE),
            (Atomic::Exchange, 4) if unparks(self.code, at) => Some(&UNPARK),
            (Atomic::Exchange, 4) if !parks.is_empty() => {
                let is_empty = constant(self.code, at, exchanged(instruction)?) == Some(0);
                (is_empty && !asks_for_waiters(self.code, at)).then_some(&PARKED_FOR)
            }
            (Atomic::CompareExchange, 4) if !parks.is_empty() => {
                changes(self.code, at, PARKED.change, PARKED.width).then_some(&PARKED)
            }
            _ => None,
        }
    }
}
