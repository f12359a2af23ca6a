//! Operations that block but are not held afterwards: barrier, join, once, semaphore, condition.

use lockprof_wire::{Flags, Kind, Op, Record};

use super::caller::Caller;
use super::locks::{Lock, initial_of};
use crate::recorder;

/// How an operation ended.
#[derive(Clone, Copy)]
pub enum Operation {
    /// It went through; `waited`: it had to wait for that.
    Done { waited: bool },
    /// A try that would have had to wait.
    TryFailed,
    /// Its time was over.
    TimedOut,
    /// It was refused with this error.
    Failed(u32),
}

/// Writes down how an operation ended that began at `since` and took `duration`, both in ticks.
pub fn operation_done(caller: Caller, lock: Lock, kind: Kind, flags: Flags, since: u64, duration: u64, how: Operation) {
    let (op, payload) = match how {
        Operation::Done { waited } => (Op::Done, if waited { duration } else { 0 }),
        Operation::TryFailed => (Op::TryFailed, 0),
        Operation::TimedOut => (Op::TimedOut, duration),
        Operation::Failed(error) => (Op::Failed, u64::from(error)),
    };
    let contended = matches!(how, Operation::Done { waited: true });
    let flags = if contended { flags.with(Flags::CONTENDED) } else { flags };
    let orders = op == Op::Done && kind.orders_hard();
    let extra = if kind == Kind::Barrier { u64::from(initial_of(caller.thread, lock)) } else { 0 };
    let word = Record::pack(op, flags, payload);
    let record = Record { ticks: since, lock: lock.row(), stack: caller.stack, word, extra };
    recorder::emit_done(caller.thread.0, record, op == Op::Done, orders);
}
