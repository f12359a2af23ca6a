//! Calls that may block, and other ways to be taken off the processor, while locks are held.
//!
//! A call inside another one is a part of it. Ends may be missing (`longjmp`, events that were only counted): what is open is
//! forgotten when the last lock is given back.

use super::{Goroutines, Target};
use crate::ingest::blame::Call;
use crate::model::{CallKey, StackId};
use lockprof_wire::blocking;

/// A call that is under way.
pub struct OpenCall {
    /// What it is known by; empty: it is none that blocks.
    name: &'static str,
    stack: StackId,
    since: u64,
}

impl Goroutines {
    /// A call begins. Nothing is kept where no lock is held.
    pub(super) fn calls(&mut self, number: u64, name: &'static str, stack: StackId, ticks: u64) {
        /// More are not inside each other.
        const MOST: usize = 8;
        let Some(goroutine) = self.all.get_mut(&number).filter(|goroutine| !goroutine.held.is_empty()) else { return };
        if goroutine.calls.len() >= MOST {
            goroutine.calls.clear();
        }
        goroutine.calls.push(OpenCall { name, stack, since: ticks });
    }

    /// The innermost call is over. The outermost is counted, for each lock that is held.
    pub(super) fn returns(&mut self, number: u64, ticks: u64, target: &mut Target) {
        let Some(goroutine) = self.all.get_mut(&number) else { return };
        let Some(OpenCall { name, stack, since }) = goroutine.calls.pop() else { return };
        if !goroutine.calls.is_empty() || name.is_empty() {
            return;
        }
        let held: Vec<_> = goroutine.held.iter().filter(|held| !held.is_doubtful && held.since <= since).collect();
        let held: Vec<_> = held.into_iter().map(|held| (held.lock, held.stack)).collect();
        let thread = self.row(number, ticks, target);
        let (start_ns, end_ns) = (target.ticks.moment_ns(since), target.ticks.moment_ns(ticks));
        let name = target.session.profile.call(name);
        for (lock, taken) in held {
            let key = CallKey { lock, call: name, stack, taken };
            let call = Call { start_ns, end_ns: end_ns.max(start_ns), key, thread };
            let for_work = blocking::waits_for_work(target.session.profile.call_name(name));
            target.accumulator.called(call, for_work, target.session);
        }
    }

    /// The program is over: its calls lasted until then.
    pub(super) fn end_calls(&mut self, ticks: u64, target: &mut Target) {
        let open = |(number, goroutine): (&u64, &super::Goroutine)| (!goroutine.calls.is_empty()).then_some(*number);
        let mut numbers: Vec<u64> = self.all.iter().filter_map(open).collect();
        numbers.sort_unstable();
        for number in numbers {
            self.all.entry(number).and_modify(|goroutine| goroutine.calls.truncate(1));
            self.returns(number, ticks, target);
        }
    }
}
