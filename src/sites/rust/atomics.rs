//! What an atomic does to the word that it is on.

use iced_x86::{Instruction, Mnemonic, OpKind, Register};

use super::super::code::{Code, is_call};
use super::super::flow::{constant, immediate};
use super::super::table::Atomic;
use super::operations::Change;

/// The word of a `std::sync::Mutex` for whose owner others wait.
const CONTENDED: u64 = 2;
/// Within so many instructions behind the exchange of an unlock it is asked whether others wait.
const REACH_OF_QUESTION: usize = 4;
/// Within so many instructions before a compare-and-swap the new value is made.
const REACH_OF_VALUE: usize = 12;

/// The address of an operand that does not depend on registers.
pub fn in_memory(instruction: &Instruction) -> Option<u64> {
    if instruction.is_ip_rel_memory_operand() {
        return Some(instruction.ip_rel_memory_address());
    }
    let is_absolute = instruction.memory_base() == Register::None && instruction.memory_index() == Register::None;
    is_absolute.then(|| instruction.memory_displacement64())
}

/// Whether the atomic at a position changes the word like this.
pub fn changes(code: &Code, at: usize, change: Change, width: usize) -> bool {
    let instruction = &code.instructions()[at];
    let mask = if width == 8 { u64::MAX } else { (1 << (8 * width)) - 1 };
    let Some(new) = exchanged(instruction) else { return false };
    let value = |register| constant(code, at, register).map(|value| value & mask);
    match change {
        Change::Any => true,

        Change::From(from, to) => value(Register::RAX) == Some(from) && value(new) == Some(to),
        Change::By(by) if instruction.mnemonic() == Mnemonic::Xadd => value(new) == Some(by as u64 & mask),
        Change::By(by) => is_made(code, at, new, &|made| match made.mnemonic() {
            Mnemonic::Lea => {
                made.memory_base().full_register() == Register::RAX
                    && made.memory_index() == Register::None
                    && made.memory_displacement64() as i64 == by
            }
            Mnemonic::Inc => by == 1,
            Mnemonic::Add => immediate(made) == Some(by as u64),
            _ => false,
        }),
        Change::Sets(bits) => is_made(code, at, new, &|made| {
            made.mnemonic() == Mnemonic::Or && immediate(made).is_some_and(|set| set & mask == bits)
        }),
    }
}

/// Whether the instruction that made a register's value, not long before a position, is such a one.
fn is_made(code: &Code, at: usize, register: Register, is: &dyn Fn(&Instruction) -> bool) -> bool {
    let before = &code.instructions()[at.saturating_sub(REACH_OF_VALUE)..at];
    let makes = |made: &&Instruction| {
        made.op_count() > 0
            && made.op0_kind() == OpKind::Register
            && made.op0_register().full_register() == register
            && made.mnemonic() != Mnemonic::Cmp
            && made.mnemonic() != Mnemonic::Test
    };
    before.iter().rev().take_while(|made| !is_call(made)).find(makes).is_some_and(is)
}

/// Whether the exchange at a position unlocks a mutex of `std`: 0 is put there, and it is asked whether others wait.
pub fn asks_for_waiters(code: &Code, at: usize) -> bool {
    let exchange = &code.instructions()[at];
    let Some(register) = exchanged(exchange).filter(|_| kind_of(exchange) == Some((Atomic::Exchange, 4))) else {
        return false;
    };
    let is_zero = constant(code, at, register) == Some(0);
    let mut behind = code.instructions().iter().skip(at + 1).take(REACH_OF_QUESTION);
    let asks = |question: &Instruction| {
        question.mnemonic() == Mnemonic::Cmp
            && question.op0_kind() == OpKind::Register
            && question.op0_register().full_register() == register
            && immediate(question) == Some(CONTENDED)
    };
    is_zero && behind.any(asks)
}

/// Whether the atomic at a position takes 1 from a word of 32 bits.
pub fn takes_one(code: &Code, at: usize) -> bool {
    let atomic = &code.instructions()[at];
    if !atomic.has_lock_prefix() || atomic.op0_kind() != OpKind::Memory || atomic.memory_size().size() != 4 {
        return false;
    }
    let added = |by: i32| immediate(atomic).is_some_and(|value| value as u32 == by as u32);
    match atomic.mnemonic() {
        Mnemonic::Dec => true,
        Mnemonic::Sub => added(1),
        Mnemonic::Add => added(-1),
        Mnemonic::Xadd => changes(code, at, Change::By(-1), 4),
        _ => false,
    }
}

/// Whether the exchange at a position tells a parked thread to go on: 1 is put there, and it is asked whether -1 was there.
pub fn unparks(code: &Code, at: usize) -> bool {
    let exchange = &code.instructions()[at];
    let Some(register) = exchanged(exchange).filter(|_| kind_of(exchange) == Some((Atomic::Exchange, 4))) else {
        return false;
    };
    constant(code, at, register) == Some(1) && asks_for_parked(code, at, register)
}

/// Whether it is asked behind a position whether a register is -1.
pub fn asks_for_parked(code: &Code, at: usize, register: Register) -> bool {
    let mut behind = code.instructions().iter().skip(at + 1).take(REACH_OF_QUESTION);
    behind.any(|question| {
        question.op_count() > 0
            && question.op0_kind() == OpKind::Register
            && question.op0_register().full_register() == register
            && (question.mnemonic() == Mnemonic::Inc
                || question.mnemonic() == Mnemonic::Cmp
                    && immediate(question).is_some_and(|value| value as u32 == u32::MAX))
    })
}

/// The register whose value an atomic puts into memory.
pub fn exchanged(instruction: &Instruction) -> Option<Register> {
    let other = if instruction.op0_kind() == OpKind::Memory { 1 } else { 0 };
    (instruction.op_kind(other) == OpKind::Register).then(|| instruction.op_register(other).full_register())
}

/// What kind of atomic an instruction is, and how many bytes it is on.
pub fn kind_of(instruction: &Instruction) -> Option<(Atomic, usize)> {
    let atomic = match instruction.mnemonic() {
        Mnemonic::Cmpxchg => Atomic::CompareExchange,
        Mnemonic::Xadd => Atomic::ExchangeAdd,
        Mnemonic::Xchg => Atomic::Exchange,
        _ => return None,
    };
    Some((atomic, instruction.memory_size().size()))
}
