//! The trampoline of one patch: the displaced instructions with the record around them.
//!
//! What stands below the stack pointer (the red zone) is left alone. An atomic that takes a lock is executed first, with the
//! program's own registers; one that gives it back comes behind its record.

use std::slice::SliceIndex;

use iced_x86::code_asm::{CodeAssembler, al, dword_ptr, eax, ecx, edi, esi, ptr, rcx, rdi, rdx, rsi, rsp};
use iced_x86::{Code, IcedError, Instruction, Mnemonic, Register};

use super::super::code::is_atomic;
use super::super::layout::info;
use super::super::moved::{moved, operand};
use super::super::plan::{Form, Patch};
use super::super::table::{Event, Success};
use super::operations::{Row, WRITE_LOCKED};
use super::plan::Operation;

/// Bytes below the stack pointer that a function may use.
const RED_ZONE: i32 = 128;

/// Where the event's object is.
#[derive(Clone, Copy)]
enum Object<'a> {
    /// The word that an atomic is on.
    Word(&'a Instruction),
    /// The first argument.
    First,
    /// The result's truth value.
    Truth,
    /// There is none.
    Nothing,
}

/// What all trampolines of a program share.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// What is added to the file's addresses.
    pub base: u64,
    /// The recorder's entry.
    pub recorder: u64,
    /// Where each thread counts the locks that it holds, for calls that block: from the address in `fs`.
    pub holds: Option<i64>,
}

/// The code of a patch's trampoline that is to be at `at`. `number` is what its records say.
pub fn assemble(
    context: Context,
    operation: &Operation,
    patch: &Patch,
    number: u32,
    at: u64,
) -> Result<Vec<u8>, IcedError> {
    let mut assembly = Assembly { asm: CodeAssembler::new(64)?, context, patch };
    let base = context.base;
    let with_stack = number;
    let without = number | info::NO_STACK;
    match *operation {
        Operation::Inlined(row) if row.atomic.event == Event::Wait => {
            let atomic = moved(&patch.displaced[0], base);
            let mut out = assembly.asm.create_label();
            assembly.asm.add_instruction(atomic)?;
            let has_flags = atomic.mnemonic() != Mnemonic::Xadd;
            if !has_flags {
                let value_before = Code::Cmp_rm32_imm8;
                assembly.asm.add_instruction(Instruction::with2(value_before, atomic.op1_register(), 1)?)?;
            }
            // It was told to go on before: it does not wait.
            assembly.asm.je(out)?;
            assembly.record(Object::Word(&atomic), with_stack)?;
            if has_flags {
                // Not zero, as the atomic left it.
                assembly.asm.test(rsp, rsp)?;
            }
            assembly.asm.set_label(&mut out)?;
            assembly.asm.zero_bytes()?;
            assembly.displaced(1..)?;
        }
        Operation::Inlined(row) if patch.form == Form::Acquire => {
            debug_assert!(row.atomic.success == Success::Equal);
            let atomic = moved(&patch.displaced[0], base);
            let mut out = assembly.asm.create_label();
            assembly.asm.add_instruction(atomic)?;
            assembly.asm.jne(out)?;
            assembly.counts_one(row.atomic.event)?;
            assembly.record(Object::Word(&atomic), with_stack)?;
            // The zero flag, as the atomic left it.
            assembly.asm.cmp(eax, eax)?;
            assembly.asm.set_label(&mut out)?;
            assembly.asm.zero_bytes()?;
            assembly.displaced(1..)?;
        }
        Operation::Inlined(row) => {
            let info = if has_stack(row) { with_stack } else { without };
            let at = patch.displaced.iter().position(is_atomic).unwrap_or(0);
            let atomic = moved(&patch.displaced[at], base);
            assembly.displaced(0..at)?;
            assembly.counts_one(row.atomic.event)?;
            assembly.record(Object::Word(&atomic), info)?;
            assembly.displaced(at..)?;
        }
        Operation::Called(row) => {
            if row.atomic.success == Success::Always {
                let info = if has_stack(row) { with_stack } else { without };
                assembly.counts_one(row.atomic.event)?;
                assembly.record(Object::First, info)?;
                assembly.asm.push(rdi)?;
                assembly.displaced(..)?;
                assembly.asm.pop(rdi)?;
                assembly.asm.ret()?;
            } else {
                let mut out = assembly.asm.create_label();
                assembly.asm.push(rdi)?;
                assembly.displaced(..)?;
                assembly.asm.pop(rdi)?;
                // `Ok` is 0.
                assembly.asm.test(al, 1)?;
                assembly.asm.jne(out)?;
                assembly.counts_one(row.atomic.event)?;
                assembly.record(Object::First, with_stack)?;
                assembly.asm.set_label(&mut out)?;
                assembly.asm.ret()?;
            }
            return assembly.asm.assemble(at);
        }
        Operation::Update(_) => {
            let (mut out, mut writer) = (assembly.asm.create_label(), assembly.asm.create_label());
            for register in [rdi, rsi, rdx] {
                assembly.asm.push(register)?;
            }
            assembly.displaced(..)?;
            // What was expected, and what was put there.
            for register in [rcx, rsi, rdi] {
                assembly.asm.pop(register)?;
            }
            assembly.asm.test(al, 1)?;
            assembly.asm.jne(out)?;
            assembly.asm.sub(ecx, esi)?;
            assembly.asm.cmp(ecx, WRITE_LOCKED as i32)?;
            assembly.asm.je(writer)?;
            assembly.asm.cmp(ecx, 1)?;
            assembly.asm.jne(out)?;
            assembly.record(Object::First, with_stack)?;
            assembly.asm.set_label(&mut out)?;
            assembly.asm.ret()?;
            assembly.asm.set_label(&mut writer)?;
            assembly.record(Object::First, with_stack | info::FAILED)?;
            assembly.asm.ret()?;
            return assembly.asm.assemble(at);
        }
        Operation::Asked(_) => {
            assembly.record(Object::First, with_stack)?;
            assembly.displaced(..)?;
        }
        Operation::Granted(cold, is_limited) => {
            if let Some(Event::Requested(mode)) = cold.waits {
                let mut out = assembly.asm.create_label();
                if is_limited {
                    assembly.asm.test(al, 1)?;
                    assembly.asm.je(out)?;
                }
                assembly.counts_one(Event::Acquired(mode))?;
                assembly.asm.set_label(&mut out)?;
                assembly.asm.zero_bytes()?;
            }
            assembly.record(if is_limited { Object::Truth } else { Object::Nothing }, without)?;
            assembly.displaced(..)?;
            // Its last instruction is the return.
            return assembly.asm.assemble(at);
        }
    }
    assembly.asm.jmp(patch.behind().wrapping_add(base))?;
    assembly.asm.assemble(at)
}

/// Whether the place counts of what is no acquisition.
fn has_stack(row: &Row) -> bool {
    matches!(row.atomic.event, Event::Downgraded | Event::Wake)
}

struct Assembly<'a> {
    asm: CodeAssembler,
    context: Context,
    patch: &'a Patch,
}

impl Assembly<'_> {
    /// The displaced instructions of these numbers.
    fn displaced(&mut self, which: impl SliceIndex<[Instruction], Output = [Instruction]>) -> Result<(), IcedError> {
        for instruction in &self.patch.displaced[which] {
            self.asm.add_instruction(moved(instruction, self.context.base))?;
        }
        Ok(())
    }

    /// Counts what the thread holds. A word that looks like a lock that was tried may be none, and is not counted. The flags
    /// are free.
    fn counts_one(&mut self, event: Event) -> Result<(), IcedError> {
        let Some(holds) = self.context.holds else { return Ok(()) };
        let count = dword_ptr(holds).fs();
        match event {
            Event::Acquired(_) => self.asm.add(count, 1),
            Event::Released(_) => {
                // Never below 0: others may have been taken by a try.
                self.asm.sub(count, 1)?;
                self.asm.adc(count, 0)
            }
            _ => Ok(()),
        }
    }

    fn record(&mut self, object: Object<'_>, info: u32) -> Result<(), IcedError> {
        let asm = &mut self.asm;
        asm.lea(rsp, ptr(rsp - RED_ZONE))?;
        asm.push(rdi)?;
        match object {
            Object::Word(atomic) => {
                let pushed = if atomic.memory_base() == Register::RSP { i64::from(RED_ZONE) + 8 } else { 0 };
                asm.add_instruction(Instruction::with2(Code::Lea_r64_m, Register::RDI, operand(atomic, pushed))?)?;
            }
            Object::First => {}
            Object::Truth => asm.movzx(edi, al)?,
            Object::Nothing => asm.xor(edi, edi)?,
        }
        asm.push(rsi)?;
        asm.mov(esi, info as i32)?;
        asm.call(self.context.recorder)?;
        asm.pop(rsi)?;
        asm.pop(rdi)?;
        asm.lea(rsp, ptr(rsp + RED_ZONE))
    }
}
