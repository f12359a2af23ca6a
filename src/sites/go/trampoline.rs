//! The trampoline of one patch: the displaced instructions with the record around them.
//!
//! An atomic is executed by its trampoline's first instruction that touches memory, with the program's own registers: if the
//! lock's address is bad, the fault is the one that the program would have had.

use iced_x86::code_asm::{
    CodeAssembler, al, cl, dword_ptr, eax, ecx, edi, edx, esi, qword_ptr, r8, r8d, r9, r9d, r10, r10d, r11, r11d, r14,
    rax, rbx, rcx, rdi, rdx, rsi, rsp,
};
use iced_x86::{BlockEncoderOptions, Code, IcedError, Instruction, Register};

use super::super::layout::info;
use super::super::moved::{moved, operand};
use super::super::plan::{Form, Patch};
use super::super::table::{AtomicRow, Event, FunctionRow, Object, Success};
use super::layout::{HOLDS_MASK, HOLDS_SHIFT};
use super::plan::Operation;
use super::recorder::{EXIT_MARK, Entries};
use super::runtime::Runtime;

/// `clone`, `fork`, `vfork`, `clone3`.
const COPIES: [i32; 4] = [56, 57, 58, 435];

/// What all trampolines of a program share.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// What is added to the file's addresses.
    pub base: u64,
    /// The recorder.
    pub entries: Entries,
    /// The runtime's offsets.
    pub runtime: Runtime,
    /// Calls of the kernel, while locks are held.
    pub calls: Option<Calls>,
}

/// What is needed to record calls of the kernel.
#[derive(Clone, Copy, Debug)]
pub struct Calls {
    /// Where the counts of held locks are ([`HOLDS_MASK`]).
    pub holds: u64,
    /// What a record says that a call begins by, and one that it ends by.
    pub numbers: [u32; 2],
}

impl Context {
    /// The word that the recorder is given for this event of a patch with this number.
    fn word(&self, number: u32, event: Option<Event>) -> u32 {
        let counts = match event.filter(|_| self.calls.is_some()) {
            // What was asked for is held when the goroutine goes on.
            Some(Event::Requested(_) | Event::Acquired(_) | Event::TryAcquired(_)) => info::TAKES,
            Some(Event::Released(_)) => info::GIVES,
            Some(Event::Ended) => info::TAKES | info::GIVES,
            _ => 0,
        };
        number | counts
    }
}

/// The code of a patch's trampoline that is to be at `at`. `number` is what its records say.
pub fn assemble(
    context: &Context,
    operation: &Operation,
    patch: &Patch,
    number: u32,
    at: u64,
) -> Result<Vec<u8>, IcedError> {
    let mut assembly = Assembly { asm: CodeAssembler::new(64)?, context, patch, number };
    match *operation {
        Operation::Atomic(row) => {
            return match patch.form {
                Form::Release => assembly.release(row, at),
                _ => assembly.acquire(row, at),
            };
        }
        Operation::Call(row) => {
            let offset = row.event.map_or(0, |(_, offset)| i32::from(offset));
            let target = patch.displaced[0].near_branch_target();
            assembly.record_object(Object::First, -offset, row.event.map(|(event, _)| event))?;
            assembly.asm.jmp(target.wrapping_add(context.base))?;
        }
        Operation::Entry(row) => {
            assembly.displaced(0)?;
            assembly.hook(row, row.entry, row.object)?;
            assembly.asm.jmp(assembly.behind())?;
        }
        Operation::Start => assembly.start()?,
        Operation::Exit(row) => {
            let object = match (row.exit, row.object) {
                (Some(Event::Tried(_)), _) => Object::Truth,
                (Some(Event::Created), _) => Object::Goroutine,
                _ => Object::Nothing,
            };
            assembly.hook(row, row.exit, object)?;
            assembly.displaced(0)?;
        }
    }
    assembly.asm.assemble(at)
}

struct Assembly<'a> {
    asm: CodeAssembler,
    context: &'a Context,
    patch: &'a Patch,
    number: u32,
}

impl Assembly<'_> {
    /// Where the program goes on.
    fn behind(&self) -> u64 {
        self.patch.behind().wrapping_add(self.context.base)
    }

    /// The displaced instructions from the one of this number on.
    fn displaced(&mut self, from: usize) -> Result<(), IcedError> {
        for instruction in &self.patch.displaced[from..] {
            self.asm.add_instruction(moved(instruction, self.context.base))?;
        }
        Ok(())
    }

    /// `atomic; if it succeeded, record; the rest`.
    fn acquire(mut self, row: &AtomicRow, at: u64) -> Result<Vec<u8>, IcedError> {
        let (offset, success) = (i64::from(row.offset), row.success);
        let atomic = moved(&self.patch.displaced[0], self.context.base);
        let (mut out, mut failed) = (self.asm.create_label(), self.asm.create_label());
        self.asm.add_instruction(atomic)?;
        let swaps = matches!(success, Success::Equal | Success::EqualAndClear(_));
        match success {
            Success::Equal => self.asm.jne(if row.failure.is_some() { failed } else { out })?,
            Success::EqualAndClear(bits) => {
                let mut clear = self.asm.create_label();
                self.asm.jne(out)?;
                self.asm.test(al, i32::from(bits))?;
                self.asm.je(clear)?;
                // The zero flag, as the atomic left it.
                self.asm.cmp(eax, eax)?;
                self.asm.jmp(out)?;
                self.asm.set_label(&mut clear)?;
                self.asm.zero_bytes()?;
            }
            Success::AtLeast(least) => {
                let compare = Instruction::with2(Code::Cmp_rm32_imm8, atomic.op1_register(), i32::from(least))?;
                self.asm.add_instruction(compare)?;
                self.asm.jl(out)?;
            }
            Success::Always => {}
        }
        self.asm.push(rdi)?;
        self.lock_address(&atomic, offset, 8)?;
        self.asm.push(rsi)?;
        self.asm.mov(esi, self.context.word(self.number, Some(row.event)) as i32)?;
        self.asm.call(self.context.entries.now)?;
        let tail = |this: &mut Self| {
            this.asm.pop(rsi)?;
            this.asm.pop(rdi)?;
            if swaps { this.asm.cmp(eax, eax) } else { Ok(()) }
        };
        let mark = self.exit_mark()?;
        tail(&mut self)?;
        self.asm.set_label(&mut out)?;
        self.asm.zero_bytes()?;
        self.displaced(1)?;
        self.asm.jmp(self.behind())?;
        if row.failure.is_some() {
            self.asm.set_label(&mut failed)?;
            self.asm.push(rdi)?;
            self.lock_address(&atomic, offset, 8)?;
            self.asm.push(rsi)?;
            self.asm.mov(esi, (self.context.word(self.number, row.failure) | info::FAILED) as i32)?;
            self.asm.call(self.context.entries.now)?;
            self.asm.pop(rsi)?;
            self.asm.pop(rdi)?;
            // The zero flag is not set: no stack is at address 0.
            self.asm.test(rsp, rsp)?;
            self.asm.jmp(out)?;
        }
        self.finish(mark, tail, at)
    }

    /// `time; atomic; record; the rest`.
    fn release(mut self, row: &AtomicRow, at: u64) -> Result<Vec<u8>, IcedError> {
        let offset = i64::from(row.offset);
        let atomic = moved(&self.patch.displaced[0], self.context.base);
        // A bad address faults here, with all registers as they were. The flags are free.
        let touch = Instruction::with2(Code::Test_rm8_r8, operand(&atomic, 0), Register::AL)?;
        self.asm.add_instruction(touch)?;
        self.asm.push(rax)?;
        self.asm.push(rdx)?;
        self.asm.rdtsc()?;
        self.asm.shl(rdx, 32)?;
        self.asm.or(rax, rdx)?;
        self.asm.push(rax)?;
        self.asm.mov(rax, qword_ptr(rsp + 16))?;
        self.asm.mov(rdx, qword_ptr(rsp + 8))?;
        self.asm.add_instruction(with_stack_moved(&atomic, 24))?;
        self.asm.push(rdi)?;
        self.lock_address(&atomic, offset, 32)?;
        self.asm.push(rsi)?;
        self.asm.mov(esi, (self.context.word(self.number, Some(row.event)) | info::NO_STACK) as i32)?;
        self.asm.call(self.context.entries.before)?;
        let tail = |this: &mut Self| {
            this.asm.pop(rsi)?;
            this.asm.pop(rdi)?;
            this.asm.lea(rsp, qword_ptr(rsp + 24))
        };
        let mark = self.exit_mark()?;
        tail(&mut self)?;
        self.displaced(1)?;
        self.asm.jmp(self.behind())?;
        self.finish(mark, tail, at)
    }

    /// `if it starts another program, announce it; the call; the rest`. Who comes back from starting one has failed.
    fn start(&mut self) -> Result<(), IcedError> {
        const EXECVE: i32 = 59;
        const CLOSE: i32 = 3;
        const SEND: i32 = 44;
        const NO_SIGNAL: i32 = 0x4000;
        let start = self.context.entries.start;
        let (mut plain, mut unheard, mut behind) =
            (self.asm.create_label(), self.asm.create_label(), self.asm.create_label());
        let asm = &mut self.asm;
        asm.cmp(eax, EXECVE)?;
        asm.jne(plain)?;
        asm.call(start)?;
        asm.push(rax)?;
        asm.mov(eax, EXECVE)?;
        asm.syscall()?;
        // The answer and the connection.
        asm.pop(rcx)?;
        asm.test(ecx, ecx)?;
        asm.js(unheard)?;
        asm.push(rax)?;
        for register in [rdi, rsi, rdx, r8, r9, r10] {
            asm.push(register)?;
        }
        asm.push(rcx)?;
        // One byte says that it failed: the one at the top of the stack will do.
        asm.mov(edi, ecx)?;
        asm.mov(rsi, rsp)?;
        asm.mov(edx, 1)?;
        asm.mov(r10d, NO_SIGNAL)?;
        asm.xor(r8d, r8d)?;
        asm.xor(r9d, r9d)?;
        asm.mov(eax, SEND)?;
        asm.syscall()?;
        asm.pop(rdi)?;
        asm.mov(eax, CLOSE)?;
        asm.syscall()?;
        for register in [r10, r9, r8, rdx, rsi, rdi] {
            asm.pop(register)?;
        }
        asm.pop(rax)?;
        asm.set_label(&mut unheard)?;
        asm.jmp(behind)?;
        asm.set_label(&mut plain)?;
        self.call()?;
        let asm = &mut self.asm;
        asm.set_label(&mut behind)?;
        self.displaced(1)?;
        self.asm.jmp(self.behind())
    }

    /// A call of the kernel (`eax` is its number), recorded if the goroutine holds a lock. `rcx` and `r11` are free.
    fn call(&mut self) -> Result<(), IcedError> {
        let entry = self.context.entries.now;
        let asm = &mut self.asm;
        let Some(calls) = self.context.calls else { return asm.syscall() };
        let (mut recorded, mut plain, mut behind) = (asm.create_label(), asm.create_label(), asm.create_label());
        asm.mov(r11, r14)?;
        asm.shr(r11, HOLDS_SHIFT as i32)?;
        asm.and(r11d, HOLDS_MASK as i32)?;
        asm.mov(rcx, calls.holds)?;
        asm.cmp(dword_ptr(rcx + r11), 0)?;
        asm.jne(recorded)?;
        asm.set_label(&mut plain)?;
        asm.syscall()?;
        asm.jmp(behind)?;
        asm.set_label(&mut recorded)?;
        // A child would come back here, too.
        for number in COPIES {
            asm.cmp(eax, number)?;
            asm.je(plain)?;
        }
        asm.push(rdi)?;
        asm.push(rsi)?;
        asm.mov(edi, eax)?;
        asm.mov(esi, calls.numbers[0] as i32)?;
        asm.call(entry)?;
        asm.pop(rsi)?;
        asm.pop(rdi)?;
        asm.syscall()?;
        asm.push(rdi)?;
        asm.push(rsi)?;
        asm.xor(edi, edi)?;
        asm.mov(esi, (calls.numbers[1] | info::NO_STACK) as i32)?;
        asm.call(entry)?;
        asm.pop(rsi)?;
        asm.pop(rdi)?;
        asm.set_label(&mut behind)?;
        asm.zero_bytes()
    }

    fn hook(&mut self, row: &FunctionRow, event: Option<Event>, object: Object) -> Result<(), IcedError> {
        if event == Some(Event::Signal) {
            let entries = self.context.entries;
            let entry = self.patch.form == Form::SetUp;
            return self.asm.call(if entry { entries.signal } else { entries.signal_end });
        }
        debug_assert!(row.entry == event || row.exit == event);
        self.record_object(object, 0, event)
    }

    fn record_object(&mut self, object: Object, offset: i32, event: Option<Event>) -> Result<(), IcedError> {
        let asm = &mut self.asm;
        asm.push(rdi)?;
        asm.push(rsi)?;
        match object {
            Object::First => asm.lea(rdi, qword_ptr(rax + offset))?,
            Object::FirstAndSecond => {
                asm.mov(rdi, rbx)?;
                asm.shl(rdi, 48)?;
                asm.or(rdi, rax)?;
            }
            Object::SecondAndThird => {
                asm.movzx(edi, cl)?;
                asm.shl(rdi, 56)?;
                asm.or(rdi, rbx)?;
            }
            Object::Third => asm.mov(rdi, rcx)?,
            Object::Goroutine => asm.mov(rdi, qword_ptr(rax + self.context.runtime.goroutine_number as i32))?,
            Object::Truth => asm.movzx(edi, al)?,
            Object::Nothing => asm.xor(edi, edi)?,
        }
        // A function that returns has its frame no longer, and its caller's stack was told at the beginning.
        let stack = if self.patch.form == Form::Return { info::NO_STACK } else { 0 };
        let word = |event| (self.context.word(self.number, event) | stack) as i32;
        asm.mov(esi, word(event))?;
        if let (Some(Event::Tried(mode)), Some(_)) = (event, self.context.calls) {
            // It has the lock if the result says so.
            let mut missed = asm.create_label();
            asm.test(edi, edi)?;
            asm.je(missed)?;
            asm.mov(esi, word(Some(Event::TryAcquired(mode))))?;
            asm.set_label(&mut missed)?;
        }
        asm.call(self.context.entries.now)?;
        asm.pop(rsi)?;
        asm.pop(rdi)
    }

    /// The lock's address into `rdi`, with so many bytes pushed on the stack.
    fn lock_address(&mut self, atomic: &Instruction, offset: i64, pushed: i64) -> Result<(), IcedError> {
        let on_stack = if atomic.memory_base() == Register::RSP { pushed } else { 0 };
        self.asm.add_instruction(Instruction::with2(
            Code::Lea_r64_m,
            Register::RDI,
            operand(atomic, on_stack - offset),
        )?)
    }

    /// A long no-op behind the recorder's call, which tells it the distance of the exit for a preemption.
    fn exit_mark(&mut self) -> Result<iced_x86::code_asm::CodeLabel, IcedError> {
        let mut mark = self.asm.create_label();
        self.asm.set_label(&mut mark)?;
        let [one, two, three] = EXIT_MARK;
        self.asm.db(&[one, two, three, 0x7f, 0x7f, 0x7f, 0x7f])?;
        Ok(mark)
    }

    /// With the exit for a preemption: the rest, and then the runtime's own way to stop, with the return address that it
    /// would have put there.
    fn finish(
        mut self,
        mark: iced_x86::code_asm::CodeLabel,
        tail: impl Fn(&mut Self) -> Result<(), IcedError>,
        at: u64,
    ) -> Result<Vec<u8>, IcedError> {
        let (mut exit, mut behind) = (self.asm.create_label(), self.asm.create_label());
        self.asm.set_label(&mut exit)?;
        tail(&mut self)?;
        self.displaced(1)?;
        self.asm.push(qword_ptr(behind))?;
        match self.context.runtime.preempt {
            Some(preempt) => self.asm.jmp(preempt.wrapping_add(self.context.base))?,
            None => self.asm.ret()?,
        }
        self.asm.set_label(&mut behind)?;
        self.asm.dq(&[self.behind()])?;
        let result = self.asm.assemble_options(at, BlockEncoderOptions::RETURN_NEW_INSTRUCTION_OFFSETS)?;
        let (mark, exit) = (result.label_ip(&mark)?, result.label_ip(&exit)?);
        let mut code = result.inner.code_buffer;
        let place = (mark - at) as usize + EXIT_MARK.len();
        code[place..place + 4].copy_from_slice(&((exit - mark) as u32).to_le_bytes());
        Ok(code)
    }
}

/// The same while so many bytes more are on the stack.
fn with_stack_moved(instruction: &Instruction, pushed: u64) -> Instruction {
    let mut moved = *instruction;
    if moved.memory_base() == Register::RSP {
        moved.set_memory_displacement64(moved.memory_displacement64().wrapping_add(pushed));
        moved.set_memory_displ_size(8);
    }
    moved
}
