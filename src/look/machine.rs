//! What is known of a thread's registers and memory on a way that it may go, and what instructions do to it.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

use iced_x86::{Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register};
use rustc_hash::FxHasher;

use super::memory::Memory;
use super::registers::Registers;

/// Registers in the order of their numbers in instructions, and the numbers of unwind tables.
const ORDER: [(Register, usize); 16] = [
    (Register::RAX, 0),
    (Register::RCX, 2),
    (Register::RDX, 1),
    (Register::RBX, 3),
    (Register::RSP, 7),
    (Register::RBP, 6),
    (Register::RSI, 4),
    (Register::RDI, 5),
    (Register::R8, 8),
    (Register::R9, 9),
    (Register::R10, 10),
    (Register::R11, 11),
    (Register::R12, 12),
    (Register::R13, 13),
    (Register::R14, 14),
    (Register::R15, 15),
];
const RAX: usize = 0;
pub const RDI: usize = 7;
pub const RSP: usize = 4;
/// What a called function keeps, by places in [`ORDER`].
const KEPT: [usize; 7] = [3, 4, 5, 12, 13, 14, 15];

/// What is known at a place on a way.
#[derive(Clone, Default)]
pub struct State {
    pub registers: [Option<u64>; 16],
    pub wide: [Option<[u64; 2]>; 16],
    /// Words that were written on the way.
    pub written: BTreeMap<u64, Option<u64>>,
    /// Where the functions that were entered on the way go back to.
    pub calls: Vec<u64>,
    /// How many steps there were when the last one was entered.
    pub entered: usize,
    /// A table of jumps that a case was read from.
    pub table: Option<u64>,
    /// The frame of the thread's own that the way is in.
    pub frame: usize,
    /// By lock: how often it was taken, and given back beyond that.
    pub locks: BTreeMap<u64, (u32, u32)>,
    /// A lock that was taken and is not known: the first one that is given back.
    pub unknown: u32,
}

impl State {
    /// It takes a lock.
    pub fn taken(&mut self, lock: u64) {
        self.locks.entry(lock).or_default().0 += 1;
    }

    /// What has to be the same where ways come together.
    pub fn identity(&self) -> u64 {
        let mut hasher = FxHasher::default();
        (self.frame, &self.calls, self.unknown).hash(&mut hasher);
        self.locks.iter().for_each(|(lock, row)| (lock, row.0, row.1.min(2)).hash(&mut hasher));
        hasher.finish()
    }

    /// Goes back from the function that was entered last.
    pub fn leave(&mut self) -> Option<u64> {
        let back = self.calls.pop()?;
        self.registers[RSP] = self.registers[RSP].map(|sp| sp.wrapping_add(8));
        Some(back)
    }

    /// It gives a lock back.
    pub fn given(&mut self, lock: u64) {
        let row = self.locks.entry(lock).or_default();
        match (row.0, self.unknown) {
            (0, 0) => row.1 += 1,
            (0, _) => self.unknown -= 1,
            _ => row.0 -= 1,
        }
    }
}

/// Executes instructions on what is known.
#[derive(Clone, Copy)]
pub struct Machine<'a> {
    pub memory: &'a Memory<'a>,
}

impl Machine<'_> {
    /// Does what an instruction does.
    pub fn execute(&self, instruction: &Instruction, state: &mut State) {
        let is_atomic = instruction.has_lock_prefix() || instruction.mnemonic() == Mnemonic::Xchg;
        if is_atomic && instruction.op0_kind() == OpKind::Memory {
            self.atomic(instruction, state);
            return;
        }
        if is_atomic && instruction.op1_kind() == OpKind::Memory {
            // `xchg` has its operands in either order.
            if let Some(address) = self.address(instruction, state) {
                state.given(address);
            }
            set(state, instruction.op0_register(), None);
            return;
        }
        let wide = |register: Register| (register.is_xmm()).then(|| register.number()).filter(|at| *at < 16);
        match instruction.mnemonic() {
            Mnemonic::Mov | Mnemonic::Movzx | Mnemonic::Movsxd | Mnemonic::Movsx => {
                let value = self.operand(instruction, 1, state);
                if instruction.mnemonic() == Mnemonic::Movsxd && value.is_none() {
                    state.table = place(instruction.memory_base()).and_then(|base| state.registers[base]);
                }
                self.store(instruction, value, state);
            }
            Mnemonic::Lea => {
                let value = self.address(instruction, state);
                set(state, instruction.op0_register(), value);
            }
            Mnemonic::Push => {
                let value = self.operand(instruction, 0, state);
                if let Some(sp) = state.registers[RSP].map(|sp| sp.wrapping_sub(8)) {
                    state.registers[RSP] = Some(sp);
                    state.written.insert(sp, value);
                }
            }
            Mnemonic::Pop => {
                let value = state.registers[RSP].and_then(|sp| self.word(sp, state));
                state.registers[RSP] = state.registers[RSP].map(|sp| sp.wrapping_add(8));
                set(state, instruction.op0_register(), value);
            }
            Mnemonic::Leave => {
                let base = state.registers[5];
                state.registers[5] = base.and_then(|base| self.word(base, state));
                state.registers[RSP] = base.map(|base| base.wrapping_add(8));
            }
            Mnemonic::Xor | Mnemonic::Sub if is_same(instruction) => set(state, instruction.op0_register(), Some(0)),
            Mnemonic::Add | Mnemonic::Sub | Mnemonic::And | Mnemonic::Or | Mnemonic::Xor => {
                let both = self.operand(instruction, 0, state).zip(self.operand(instruction, 1, state));
                let value = both.map(|(one, other)| match instruction.mnemonic() {
                    Mnemonic::Add => one.wrapping_add(other),
                    Mnemonic::Sub => one.wrapping_sub(other),
                    Mnemonic::And => one & other,
                    Mnemonic::Or => one | other,
                    _ => one ^ other,
                });
                self.store(instruction, value, state);
            }
            Mnemonic::Movups | Mnemonic::Movaps | Mnemonic::Movdqa | Mnemonic::Movdqu | Mnemonic::Movupd => {
                let pair = match (instruction.op1_kind(), wide(instruction.op1_register())) {
                    (OpKind::Memory, _) => self
                        .address(instruction, state)
                        .and_then(|at| Some([self.word(at, state)?, self.word(at.wrapping_add(8), state)?])),
                    (_, Some(from)) => state.wide[from],
                    _ => None,
                };
                match (instruction.op0_kind(), wide(instruction.op0_register())) {
                    (OpKind::Memory, _) => {
                        if let Some(at) = self.address(instruction, state) {
                            state.written.insert(at, pair.map(|pair| pair[0]));
                            state.written.insert(at.wrapping_add(8), pair.map(|pair| pair[1]));
                        }
                    }
                    (_, Some(to)) => state.wide[to] = pair,
                    _ => {}
                }
            }
            Mnemonic::Cmp | Mnemonic::Test | Mnemonic::Nop | Mnemonic::Endbr64 => {}
            _ => self.forget(instruction, state),
        }
    }

    /// An atomic on a word: whether it takes a lock or gives one back is told by how it changes the word.
    fn atomic(&self, instruction: &Instruction, state: &mut State) {
        let address = self.address(instruction, state);
        let width = instruction.memory_size().size();
        let by = (instruction.op_count() > 1).then(|| self.operand(instruction, 1, state)).flatten();
        let mask = if width >= 8 { u64::MAX } else { (1 << (8 * width)) - 1 };
        let is_negative = by.map(|by| by & mask > mask / 2);
        if let Some(address) = address {
            match (instruction.mnemonic(), is_negative) {
                (Mnemonic::Xchg, _) if by.is_some_and(|by| by & mask != 0) => state.taken(address),
                (Mnemonic::Xchg, _) => state.given(address),
                (Mnemonic::Cmpxchg, _) => match state.registers[RAX].map(|expected| expected & mask) {
                    Some(0) => state.taken(address),
                    Some(expected) if by.is_some_and(|by| by & mask < expected) => state.given(address),
                    _ => {}
                },
                (Mnemonic::Xadd | Mnemonic::Add, Some(true)) | (Mnemonic::Sub, Some(false)) => state.given(address),
                // Go's write lock is given back so.
                (Mnemonic::Xadd | Mnemonic::Add, Some(false)) if by == Some(1 << 30) => state.given(address),
                (Mnemonic::Xadd | Mnemonic::Add, Some(false)) => state.taken(address),
                (Mnemonic::Dec, _) => state.given(address),
                (Mnemonic::Inc, _) => state.taken(address),
                _ => {}
            }
        }
        match instruction.mnemonic() {
            Mnemonic::Cmpxchg => state.registers[RAX] = None,
            Mnemonic::Xadd | Mnemonic::Xchg => set(state, instruction.op1_register(), None),
            _ => {}
        }
    }

    /// What an instruction that is not known writes is not known any more.
    fn forget(&self, instruction: &Instruction, state: &mut State) {
        let mut factory = InstructionInfoFactory::new();
        let info = factory.info(instruction);
        let writes = |access: OpAccess| {
            matches!(access, OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite)
        };
        for register in info.used_registers().iter().filter(|register| writes(register.access())) {
            let register = register.register();
            if register.is_xmm() || register.is_ymm() || register.is_zmm() {
                if let Some(wide) = state.wide.get_mut(register.number()) {
                    *wide = None;
                }
            } else {
                set(state, register, None);
            }
        }
        let is_written = info.used_memory().iter().any(|memory| writes(memory.access()));
        if let Some(at) = self.address(instruction, state).filter(|_| is_written) {
            for word in 0..instruction.memory_size().size().div_ceil(8).min(8) as u64 {
                state.written.insert((at & !7).wrapping_add(8 * word), None);
            }
        }
    }

    /// The address of an instruction's memory operand.
    fn address(&self, instruction: &Instruction, state: &State) -> Option<u64> {
        if instruction.segment_prefix() != Register::None {
            return None;
        }
        let base = instruction.memory_base();
        if base == Register::RIP {
            return Some(instruction.ip_rel_memory_address());
        }
        let of = |register: Register| match register {
            Register::None => Some(0),
            register => value(state, register),
        };
        let index = of(instruction.memory_index())?.wrapping_mul(instruction.memory_index_scale().into());
        Some(of(base)?.wrapping_add(index).wrapping_add(instruction.memory_displacement64()))
    }

    /// The value of an operand.
    pub fn operand(&self, instruction: &Instruction, at: u32, state: &State) -> Option<u64> {
        match instruction.op_kind(at) {
            OpKind::Register => value(state, instruction.op_register(at)),
            OpKind::Memory => {
                let address = self.address(instruction, state)?;
                match instruction.memory_size().size() {
                    8 => self.word(address, state),
                    4 => {
                        let word = self.word(address & !7, state)?;
                        let half = if address & 7 >= 4 { word >> 32 } else { word & 0xffff_ffff };
                        (address & 3 == 0).then_some(half)
                    }
                    _ => None,
                }
            }
            OpKind::NearBranch64 => Some(instruction.near_branch_target()),
            _ => instruction.try_immediate(at).ok(),
        }
    }

    fn word(&self, address: u64, state: &State) -> Option<u64> {
        match state.written.get(&address) {
            Some(value) => *value,
            None => self.memory.word(address),
        }
    }

    fn store(&self, instruction: &Instruction, value: Option<u64>, state: &mut State) {
        if instruction.op0_kind() == OpKind::Register {
            set(state, instruction.op0_register(), value);
        } else if let Some(address) = self.address(instruction, state) {
            let whole = instruction.memory_size().size() == 8;
            let place = if whole { address } else { address & !7 };
            state.written.insert(place, value.filter(|_| whole));
        }
    }
}

/// What a called function does not keep is not known any more.
pub fn clobber(state: &mut State, is_go: bool) {
    for (at, register) in state.registers.iter_mut().enumerate() {
        if if is_go { at != RSP && at != 14 } else { !KEPT.contains(&at) } {
            *register = None;
        }
    }
    state.wide = [None; 16];
}

fn is_same(instruction: &Instruction) -> bool {
    instruction.op0_kind() == OpKind::Register
        && instruction.op1_kind() == OpKind::Register
        && instruction.op0_register() == instruction.op1_register()
}

/// What a frame's registers are.
pub fn of_frame(registers: &Registers) -> [Option<u64>; 16] {
    ORDER.map(|(_, number)| registers.get(number))
}

fn place(register: Register) -> Option<usize> {
    ORDER.iter().position(|(other, _)| *other == register.full_register())
}

fn value(state: &State, register: Register) -> Option<u64> {
    let whole = state.registers[place(register)?]?;
    match register.size() {
        8 => Some(whole),
        4 => Some(whole & 0xffff_ffff),
        1 if !matches!(register, Register::AH | Register::BH | Register::CH | Register::DH) => Some(whole & 0xff),
        _ => None,
    }
}

fn set(state: &mut State, register: Register, value: Option<u64>) {
    let Some(place) = place(register) else { return };
    state.registers[place] = match register.size() {
        8 => value,
        4 => value.map(|value| value & 0xffff_ffff),
        // What is above it matters to nobody who wants a byte.
        1 => value.map(|value| state.registers[place].unwrap_or(0) & !0xff | value & 0xff),
        _ => None,
    };
}
