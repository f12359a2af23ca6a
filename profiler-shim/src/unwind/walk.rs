//! Unwinding by the call frame tables, noting what the answer depends on.
//!
//! Callee-saved registers are tracked by *where they are stored*, not by value: a slot is read, and
//! becomes a dependence, only when some frame's CFA is computed from it. In code without frame pointers
//! rbp holds anything; depending on it would make signatures useless.

use lockprof_wire::stack::TRUNCATED;

use super::cfi::{self, Cfa, R10, RA, RBP, RSP, Rule, SAVED};
use super::cursor::Cursor;
use super::row::{OWN, Row, RowForm, UNSAVED};
use crate::sys;
use crate::tables::Tables;
use crate::tables::signatures::{MAX_WORDS, Word};
use crate::tables::stacks::Frame;

/// Deepest stack that is kept, frames; what lies further out is cut.
pub const MAX_FRAMES: usize = 2048;
/// Rules kept per thread.
const ROWS: usize = 256;
const REGIONS: usize = 4;

/// A range of memory that may be read as a stack.
#[derive(Clone, Copy)]
#[repr(C)]
struct Region {
    low: u64,
    high: u64,
}

/// A thread's room for unwinding, in the shim's memory: the program's stack may be small. Valid when zero.
#[repr(C)]
pub struct Scratch {
    rows: [Row; ROWS],
    regions: [Region; REGIONS],
    next_region: usize,
    frames: [Frame; MAX_FRAMES],
    words: [Word; MAX_WORDS],
}

/// What a walk found.
pub struct Walked<'a> {
    /// Innermost first.
    pub frames: &'a [Frame],
    /// What it depended on, in order; `None` if that cannot be remembered.
    pub words: Option<&'a mut [Word]>,
    /// All of it is code that stays as long as the process.
    pub stays: bool,
    /// It goes on, but the unwinder could not, and a signal interrupted one of the frames: compilers' tables are wrong at some instructions
    /// (between the two halves of an epilogue that restores `rsp` from a register, in libgcc's `_Unwind_Resume`).
    #[cfg(lockprof_oracle)]
    pub lost_after_signal: bool,
}

struct Walk<'a> {
    scratch: &'a mut Scratch,
    stack_pointer: u64,
    words: usize,
    memorable: bool,
    stays: bool,
    /// Where each callee-saved register's value is stored; 0: still in the register itself.
    stored: [u64; SAVED],
    noted: [bool; SAVED],
}

enum Step {
    To { pc: u64, cfa: u64, exact: bool },
    End,
    Lost,
}

impl Scratch {
    /// Forgets rules: code may have gone.
    pub fn forget(&mut self) {
        for row in &mut self.rows {
            row.form = RowForm::Empty;
        }
    }

    /// Tells where the thread's own stack ends.
    pub fn set_stack(&mut self, stack_pointer: u64, high: u64) {
        self.regions[0] = Region { low: stack_pointer & !4095, high };
    }

    /// What of the thread's own stack is known to be mapped.
    pub fn stack(&self) -> (u64, u64) {
        (self.regions[0].low, self.regions[0].high)
    }

    /// Walks the stack of a hook's caller. `stack_pointer` is the caller's behind the return address, and
    /// the caller's rbp is stored in the word below the return address.
    pub fn walk(&mut self, tables: &Tables, stack_pointer: u64, return_address: u64) -> Walked<'_> {
        let mut stored = [0; SAVED];
        stored[RBP] = stack_pointer - 16;
        let mut walk = Walk {
            scratch: self,
            stack_pointer,
            words: 0,
            memorable: true,
            stays: true,
            stored,
            noted: [false; SAVED],
        };
        let (mut pc, mut cfa, mut exact) = (return_address, stack_pointer, false);
        let mut frames = 0;
        #[cfg(lockprof_oracle)]
        let mut interrupted = false;
        let truncated = loop {
            if frames == MAX_FRAMES {
                break true;
            }
            // Inside the call instruction, except where a signal interrupted.
            let lookup = if exact { pc } else { pc - 1 };
            #[cfg(lockprof_oracle)]
            {
                interrupted |= exact;
            }
            let (frame, own, step) = walk.step(tables, lookup, cfa);
            if !own {
                // Reporters look one byte before the address.
                walk.scratch.frames[frames] = Frame { address: frame.address.wrapping_add(1), module: frame.module };
                frames += 1;
            }
            match step {
                Step::To { pc: 0, .. } | Step::End => break false,
                Step::To { pc: next, cfa: next_cfa, exact: next_exact } => {
                    (pc, cfa, exact) = (next, next_cfa, next_exact)
                }
                Step::Lost => break true,
            }
        };
        let Walk { words, memorable, stays, scratch, .. } = walk;
        if truncated && frames > 0 {
            scratch.frames[frames - 1].module |= TRUNCATED;
        }
        Walked {
            frames: &scratch.frames[..frames],
            words: (memorable && frames < MAX_FRAMES).then_some(&mut scratch.words[..words]),
            stays,
            #[cfg(lockprof_oracle)]
            lost_after_signal: truncated && interrupted,
        }
    }

    fn row(&mut self, tables: &Tables, pc: u64) -> Row {
        let at = (pc.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as usize % ROWS;
        if self.rows[at].pc != pc || self.rows[at].form == RowForm::Empty {
            self.rows[at] = Row::look_up(tables, pc);
        }
        self.rows[at]
    }

    /// Whether eight bytes there may be read.
    pub fn readable(&mut self, address: u64) -> bool {
        address & 7 == 0
            && (self.regions.iter().any(|region| region.low <= address && address < region.high) || self.admit(address))
    }

    #[cold]
    fn admit(&mut self, address: u64) -> bool {
        /// A stack rarely grows more in one step.
        const FAR: u64 = 64 << 20;
        let page = address & !4095;
        for region in &mut self.regions {
            if region.high == 0 {
                continue;
            }
            let below = page < region.low && region.low - page <= FAR && sys::is_readable(page, region.low - page);
            if below {
                region.low = page;
                return true;
            }
            if page >= region.high && page - region.high < 4096 && sys::is_readable(page, 4096) {
                region.high = page + 4096;
                return true;
            }
        }
        if !sys::is_readable(page, 4096) {
            return false;
        }
        let at = 1 + self.next_region % (REGIONS - 1);
        self.next_region += 1;
        self.regions[at] = Region { low: page, high: page + 4096 };
        true
    }
}

impl Walk<'_> {
    fn step(&mut self, tables: &Tables, pc: u64, cfa_below: u64) -> (Frame, bool, Step) {
        let row = self.scratch.row(tables, pc);
        self.stays &= row.stays;
        let own = row.module == OWN;
        let frame = Frame { address: pc.wrapping_sub(row.bias), module: if own { 0 } else { row.module } };
        let step = match row.form {
            RowForm::Simple => self.simple(&row, cfa_below),
            RowForm::Complex => self.complex(tables, pc, cfa_below),
            RowForm::Outermost => Some(Step::End),
            RowForm::Empty | RowForm::Unknown => None,
        };
        (frame, own, step.unwrap_or(Step::Lost))
    }

    fn simple(&mut self, row: &Row, stack_pointer: u64) -> Option<Step> {
        let base = if row.cfa_is_rbp { self.register(RBP)? } else { stack_pointer };
        let cfa = base.wrapping_add_signed(i64::from(row.cfa_offset));
        let pc = self.depend(cfa.wrapping_add_signed(i64::from(row.ra_offset)), false)?;
        for (register, saved) in row.saved.iter().enumerate() {
            if *saved != UNSAVED {
                self.store(register, cfa.wrapping_add_signed(i64::from(*saved) * 8));
            }
        }
        Some(Step::To { pc, cfa, exact: false })
    }

    #[cold]
    fn complex(&mut self, tables: &Tables, pc: u64, stack_pointer: u64) -> Option<Step> {
        let module = tables.modules.find(tables, pc)?;
        // SAFETY: the module is loaded: the program runs in it.
        let rules = unsafe { cfi::rules(module.tables, pc) }?;
        let cfa = match rules.cfa {
            Cfa::Register(RSP, offset) => stack_pointer.wrapping_add_signed(offset),
            Cfa::Register(register, offset) if register < SAVED => self.register(register)?.wrapping_add_signed(offset),
            Cfa::Expression(expression) => self.evaluate(expression, stack_pointer, pc, None)?,
            _ => return None,
        };
        let place = |walk: &mut Self, rule: Rule| match rule {
            Rule::Offset(offset) => Some(cfa.wrapping_add_signed(offset)),
            Rule::At(expression) => walk.evaluate(expression, stack_pointer, pc, Some(cfa)),
            _ => None,
        };
        let return_place = place(self, rules.registers[RA])?;
        // Places of all registers first: their expressions speak of the frame's own registers.
        let mut places = [0u64; SAVED];
        for (register, to) in places.iter_mut().enumerate() {
            *to = match rules.registers[register] {
                Rule::Same => u64::MAX,
                Rule::Undefined | Rule::Register | Rule::Value(_) | Rule::ValueOf(_) => 0,
                rule => place(self, rule)?,
            };
        }
        let next_stack_pointer = match rules.registers[RSP] {
            Rule::Same | Rule::Undefined => cfa,
            Rule::Value(offset) => cfa.wrapping_add_signed(offset),
            rule => {
                let at = place(self, rule)?;
                self.depend(at, true)?
            }
        };
        let next = self.depend(return_place, false)?;
        for (register, at) in places.into_iter().enumerate() {
            if at != u64::MAX {
                self.store(register, at);
            }
        }
        Some(Step::To { pc: next, cfa: next_stack_pointer, exact: rules.signal })
    }

    fn store(&mut self, register: usize, at: u64) {
        self.stored[register] = at;
        self.noted[register] = false;
    }

    /// A callee-saved register's value; from now on the answer depends on it.
    fn register(&mut self, register: usize) -> Option<u64> {
        let at = self.stored[register];
        if at == 0 {
            // Never saved since the hook was entered, or lost: its value is not known here.
            return None;
        }
        if self.noted[register] {
            return self.read(at);
        }
        self.noted[register] = true;
        self.depend(at, true)
    }

    fn read(&mut self, address: u64) -> Option<u64> {
        if !self.scratch.readable(address) {
            return None;
        }
        // SAFETY: `readable` knows the page to be readable.
        Some(unsafe { (address as *const u64).read_volatile() })
    }

    /// Reads a stack word and notes that the answer depends on it.
    fn depend(&mut self, address: u64, relative: bool) -> Option<u64> {
        let value = self.read(address)?;
        match i32::try_from(address.wrapping_sub(self.stack_pointer) as i64) {
            Ok(offset) if self.words < MAX_WORDS && offset != i32::MIN => {
                self.scratch.words[self.words] = Word {
                    value: if relative { value.wrapping_sub(self.stack_pointer) } else { value },
                    offset,
                    prefix_and_relative: u32::from(relative),
                };
                self.words += 1;
            }
            _ => self.memorable = false,
        }
        Some(value)
    }

    /// A DWARF expression (DWARF 5, section 2.5), as far as call frame tables use it.
    fn evaluate(&mut self, expression: *const u8, stack_pointer: u64, pc: u64, first: Option<u64>) -> Option<u64> {
        const DEPTH: usize = 16;
        let mut stack = [0u64; DEPTH];
        let mut depth = 0;
        let push = |stack: &mut [u64; DEPTH], depth: &mut usize, value: u64| {
            *stack.get_mut(*depth)? = value;
            *depth += 1;
            Some(())
        };
        let pop = |stack: &[u64; DEPTH], depth: &mut usize| {
            *depth = depth.checked_sub(1)?;
            Some(stack[*depth])
        };
        if let Some(value) = first {
            push(&mut stack, &mut depth, value)?;
        }
        let mut at = Cursor(expression);
        // SAFETY: an expression begins with its length and is part of a loaded object's tables.
        unsafe {
            let len = at.unsigned();
            let end = at.0.add(len as usize);
            while at.0 < end {
                let op: u8 = at.take();
                let value = match op {
                    0x06 => {
                        let address = pop(&stack, &mut depth)?;
                        self.depend(address, true)?
                    }
                    0x08 => u64::from(at.take::<u8>()),
                    0x09 => at.take::<i8>() as u64,
                    0x0a => u64::from(at.take::<u16>()),
                    0x0b => at.take::<i16>() as u64,
                    0x0c => u64::from(at.take::<u32>()),
                    0x0d => at.take::<i32>() as u64,
                    0x10 => at.unsigned(),
                    0x11 => at.signed() as u64,
                    0x12 => {
                        let top = pop(&stack, &mut depth)?;
                        push(&mut stack, &mut depth, top)?;
                        top
                    }
                    0x1a | 0x1c | 0x22 | 0x24 | 0x2a => {
                        let right = pop(&stack, &mut depth)?;
                        let left = pop(&stack, &mut depth)?;
                        match op {
                            0x1a => left & right,
                            0x1c => left.wrapping_sub(right),
                            0x22 => left.wrapping_add(right),
                            0x24 => left.checked_shl(right as u32).unwrap_or(0),
                            _ => u64::from(left as i64 >= right as i64),
                        }
                    }
                    0x23 => pop(&stack, &mut depth)?.wrapping_add(at.unsigned()),
                    0x30..=0x4f => u64::from(op - 0x30),
                    0x70..=0x8f => {
                        let offset = at.signed();
                        let base = match op - 0x70 {
                            3 => self.register(0)?,
                            6 => self.register(RBP)?,
                            7 => stack_pointer,
                            10 => self.register(R10)?,
                            12..=15 => self.register(usize::from(op - 0x70) - 10)?,
                            16 => pc,
                            _ => return None,
                        };
                        base.wrapping_add_signed(offset)
                    }
                    _ => return None,
                };
                push(&mut stack, &mut depth, value)?;
            }
        }
        pop(&stack, &mut depth)
    }
}
