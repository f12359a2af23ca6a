//! How each operation could be patched: the window of instructions that makes room for a jump, what goes with it, and why
//! some cannot be.
//!
//! A jump takes five bytes. The instructions that stood there are executed in the trampoline, so none of them may be a
//! call (its return address would be there) or the target of a jump. What a trampoline changes has to be free: flags, and
//! the lock's address after the atomic. Nothing is written here.
//!
//! Longer than other files: the forms of patches and the reasons against them are told apart in one walk over the code.

use std::collections::BTreeMap;

use iced_x86::{Instruction, Mnemonic, OpKind, Register, RflagsBits};

use super::code::{Code, is_call};
use super::table::{Atomic, Reached, Success};

/// Bytes of a jump with a distance of 32 bits.
pub const JUMP: usize = 5;

/// How far behind an atomic the use of its flags is looked for.
const REACH_OF_FLAGS: usize = 11;

/// Within so many instructions a function's frame set-up begins.
const REACH_OF_SET_UP: usize = 8;

/// More instructions than this are no frame set-up.
const LONGEST_SET_UP: usize = 5;

/// What a trampoline does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// Executes the atomic, records if it succeeded, and executes what was displaced.
    Acquire,
    /// Records around the atomic: the time before it, the rest behind it.
    Release,
    /// Executes what was displaced, and records before the atomic (at a function's beginning: before all).
    Before,
    /// Stands in the place of a called function, records, and goes on to that.
    Call,
    /// Executes the frame set-up, and records.
    SetUp,
    /// Records, and executes the end of the function.
    Return,
    /// Stands in the place of a system call.
    SystemCall,
}

/// Why an operation cannot be patched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Refusal {
    /// There is no such instruction.
    Missing,
    /// The function ends before there is room.
    EndOfFunction,
    /// A jump leads into the window.
    JumpTarget,
    /// A call is in the window.
    Call,
    /// Flags that the trampoline changes are used behind the atomic.
    Flags,
    /// The atomic overwrites the register that its address is made of.
    AddressLost,
    /// Another patch has some of the bytes.
    Taken,
    /// The code checks itself.
    ChecksItself,
    /// The beginning of the function is none that is known.
    SetUp,
    /// The function ends in another one.
    NoReturn,
}

impl Refusal {
    /// For people, as a sentence.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Missing => "the instruction is not there",
            Self::EndOfFunction => "the function ends before there is room",
            Self::JumpTarget => "a jump leads between the instructions",
            Self::Call => "a call follows too soon",
            Self::Flags => "the flags are used behind it",
            Self::AddressLost => "the lock's address is lost behind it",
            Self::Taken => "it is too near to another place",
            Self::ChecksItself => "the code checks itself and must not be changed",
            Self::NoReturn => "its end is not a return of its own",
            Self::SetUp => "the function does not begin as those that are known",
        }
    }
}

/// A patch that can be made.
#[derive(Clone, Debug)]
pub struct Patch {
    /// Where the jump goes.
    pub address: u64,
    /// How many bytes it replaces.
    pub length: usize,
    /// What its trampoline does.
    pub form: Form,
    /// The instructions that stood there.
    pub displaced: Vec<Instruction>,
}

/// One operation of a language with its patch.
#[derive(Clone, Debug)]
pub struct Planned<O> {
    /// Of the instruction that is the operation, or of the function.
    pub address: u64,
    /// The operation.
    pub operation: O,
    /// Its patch.
    pub patch: Result<Patch, Refusal>,
}

impl Patch {
    /// The address behind it, where the program goes on.
    pub fn behind(&self) -> u64 {
        self.address + self.length as u64
    }

    /// Where the program seems to be while its trampoline runs, and has the frame that it has then.
    pub fn shown(&self) -> u64 {
        if matches!(self.form, Form::SetUp | Form::Call) { self.behind() } else { self.address }
    }

    fn new(form: Form, displaced: &[Instruction]) -> Option<Self> {
        let length = bytes(displaced);
        Some(Self { address: displaced.first()?.ip(), length, form, displaced: displaced.to_vec() })
    }
}

/// The patch of an inlined operation.
pub fn atomic(code: &Code, address: u64, atomic: Atomic, success: Success) -> Result<Patch, Refusal> {
    let at = code.position(address).ok_or(Refusal::Missing)?;
    let instruction = &code.instructions()[at];
    let form = if atomic == Atomic::ExchangeAdd && success == Success::Always { Form::Release } else { Form::Acquire };
    let window = window(code, at)?;
    let kept = match atomic {
        Atomic::CompareExchange => RflagsBits::ZF,
        Atomic::ExchangeAdd | Atomic::Exchange => RflagsBits::NONE,
    };
    if flags_used_behind(code, at) & !kept != 0 {
        return Err(Refusal::Flags);
    }
    // The lock's address is taken behind the atomic.
    let result = instruction.op1_register().full_register();
    if instruction.segment_prefix() != Register::None {
        return Err(Refusal::AddressLost);
    }
    let in_address = [instruction.memory_base(), instruction.memory_index()];
    if atomic == Atomic::ExchangeAdd && in_address.map(Register::full_register).contains(&result) {
        return Err(Refusal::AddressLost);
    }
    Patch::new(form, window).ok_or(Refusal::Missing)
}

/// The patch of an atomic that takes 1 from a word, of whose result only is asked whether it is 0.
pub fn taking_one(code: &Code, address: u64) -> Result<Patch, Refusal> {
    let at = code.position(address).ok_or(Refusal::Missing)?;
    let instruction = &code.instructions()[at];
    if instruction.mnemonic() == Mnemonic::Xadd {
        return atomic(code, address, Atomic::ExchangeAdd, Success::Equal);
    }
    if flags_used_behind(code, at) & !RflagsBits::ZF != 0 {
        return Err(Refusal::Flags);
    }
    if instruction.segment_prefix() != Register::None {
        return Err(Refusal::AddressLost);
    }
    Patch::new(Form::Acquire, window(code, at)?).ok_or(Refusal::Missing)
}

/// The patch of an inlined operation that gives something back, if it is recorded right before the atomic.
pub fn before(code: &Code, address: u64) -> Result<Patch, Refusal> {
    /// More instructions before it do not go with it.
    const MOST_BEFORE: usize = 4;
    let at = code.position(address).ok_or(Refusal::Missing)?;
    let atomic = &code.instructions()[at];
    // Flags from before an exchange, which leaves them as they are.
    if atomic.rflags_modified() == RflagsBits::NONE && flags_used_behind(code, at) != RflagsBits::NONE {
        return Err(Refusal::Flags);
    }
    if atomic.segment_prefix() != Register::None {
        return Err(Refusal::AddressLost);
    }
    let patch = |window: &[Instruction]| Patch::new(Form::Before, window).ok_or(Refusal::Missing);
    let refusal = match window(code, at) {
        Ok(window) => return patch(window),
        Err(refusal) => refusal,
    };
    // Then what is before it makes the room.
    for start in (at.saturating_sub(MOST_BEFORE)..at).rev() {
        let before = &code.instructions()[start..=at];
        let goes_on = before[0].flow_control() == iced_x86::FlowControl::Next;
        if !goes_on || free_of_jumps_and_calls(code, before).is_err() {
            break;
        }
        if bytes(before) >= JUMP {
            return patch(before);
        }
    }
    Err(refusal)
}

/// The patch of a function's very beginning, of one that is never begun anew.
pub fn beginning(code: &Code) -> Result<Patch, Refusal> {
    let first = code.instructions().first().ok_or(Refusal::Missing)?;
    if code.is_target(first.ip()) {
        return Err(Refusal::JumpTarget);
    }
    Patch::new(Form::Before, window(code, 0)?).ok_or(Refusal::Missing)
}

/// The patch of a call, direct or through a word at a fixed place: its target alone is changed.
pub fn call(code: &Code, address: u64) -> Result<Patch, Refusal> {
    let at = code.position(address).ok_or(Refusal::Missing)?;
    let instruction = &code.instructions()[at..=at];
    let through_word = instruction[0].is_call_near_indirect() && instruction[0].is_ip_rel_memory_operand();
    if !(instruction[0].is_call_near() && instruction[0].len() == JUMP || through_word) {
        return Err(Refusal::Missing);
    }
    Patch::new(Form::Call, instruction).ok_or(Refusal::Missing)
}

/// The patch of a function's beginning: its frame set-up, which comes once per call. Not its entry: a function whose stack
/// has to grow begins anew.
pub fn set_up(code: &Code) -> Result<Patch, Refusal> {
    let instructions = code.instructions();
    let before_call = instructions.iter().take(REACH_OF_SET_UP).take_while(|instruction| !is_call(instruction));
    let start = before_call.clone().position(begins_set_up).ok_or(Refusal::SetUp)?;
    let makes_frame = |instruction: &Instruction| {
        matches!(instruction.mnemonic(), Mnemonic::Mov | Mnemonic::Lea) && first_is(instruction, Register::RBP)
    };
    let length = instructions[start..].iter().take(LONGEST_SET_UP).position(makes_frame).ok_or(Refusal::SetUp)? + 1;
    let mut end = start + length;
    while bytes(&instructions[start..end]) < JUMP {
        end += 1;
        if end > instructions.len() {
            return Err(Refusal::EndOfFunction);
        }
    }
    free_of_jumps_and_calls(code, &instructions[start..end])?;
    Patch::new(Form::SetUp, &instructions[start..end]).ok_or(Refusal::SetUp)
}

/// The patches of a function's returns, each with the instructions before it that take the frame down.
pub fn returns(code: &Code) -> Vec<Result<Patch, (u64, Refusal)>> {
    let instructions = code.instructions();
    let returns = instructions.iter().enumerate().filter(|(_, instruction)| instruction.mnemonic() == Mnemonic::Ret);
    returns.map(|(at, instruction)| return_at(code, at).map_err(|refusal| (instruction.ip(), refusal))).collect()
}

fn return_at(code: &Code, at: usize) -> Result<Patch, Refusal> {
    let instructions = code.instructions();
    let mut start = at;
    while bytes(&instructions[start..=at]) < JUMP {
        start = start.checked_sub(1).ok_or(Refusal::EndOfFunction)?;
    }
    // The whole of it: up to 1.20 `mov rbp, [rsp+N]; add rsp, M; ret`, later `add rsp, M; pop rbp; ret`.
    let before = |start: usize| start.checked_sub(1).map(|before| &instructions[before]);
    let adds =
        |instruction: &Instruction| instruction.mnemonic() == Mnemonic::Add && first_is(instruction, Register::RSP);
    let loads_frame =
        |instruction: &Instruction| instruction.mnemonic() == Mnemonic::Mov && first_is(instruction, Register::RBP);
    let first = &instructions[start];
    if (adds(first) && before(start).is_some_and(loads_frame))
        || (first.mnemonic() == Mnemonic::Pop && before(start).is_some_and(adds))
    {
        start -= 1;
    }
    free_of_jumps_and_calls(code, &instructions[start..=at])?;
    Patch::new(Form::Return, &instructions[start..=at]).ok_or(Refusal::Missing)
}

/// The patch of the only system call of a function.
pub fn system_call(code: &Code) -> Result<Patch, Refusal> {
    let instructions = code.instructions();
    let is_call = |instruction: &Instruction| instruction.mnemonic() == Mnemonic::Syscall;
    let at = instructions.iter().position(is_call).ok_or(Refusal::Missing)?;
    if instructions[at + 1..].iter().any(is_call) {
        return Err(Refusal::Missing);
    }
    let mut end = at + 1;
    while bytes(&instructions[at..end]) < JUMP {
        end += 1;
        if end > instructions.len() {
            return Err(Refusal::EndOfFunction);
        }
    }
    // The call itself is none that leaves an address behind.
    free_of_jumps_and_calls(code, &instructions[at + 1..end])?;
    if code.is_target(instructions[at + 1].ip()) {
        return Err(Refusal::JumpTarget);
    }
    Patch::new(Form::SystemCall, &instructions[at..end]).ok_or(Refusal::Missing)
}

/// What a language's operation is called.
pub trait Named {
    /// The function that it is.
    fn name(&self) -> &'static str;
}

/// All operations of a program.
#[derive(Clone, Debug, Default)]
pub struct Plan<O> {
    /// By the addresses of their patches.
    pub operations: Vec<Planned<O>>,
}

impl<O: Named> Plan<O> {
    /// Sorts operations by the addresses of their patches, and refuses each patch of bytes that one before it has.
    pub fn of(mut operations: Vec<Planned<O>>) -> Self {
        let start = |planned: &Planned<O>| planned.patch.as_ref().map_or(planned.address, |patch| patch.address);
        operations.sort_by_key(start);
        let mut end = 0;
        for planned in &mut operations {
            let Ok(patch) = &planned.patch else { continue };
            if patch.address < end {
                planned.patch = Err(Refusal::Taken);
            } else {
                end = patch.address.saturating_add(patch.length as u64);
            }
        }
        Self { operations }
    }

    /// What can be patched, by address.
    pub fn patches(&self) -> impl Iterator<Item = (&Planned<O>, &Patch)> {
        self.operations.iter().filter_map(|planned| Some((planned, planned.patch.as_ref().ok()?)))
    }

    /// What cannot be, by operation and reason.
    pub fn refusals(&self) -> BTreeMap<(&'static str, Refusal), usize> {
        let mut counts = BTreeMap::new();
        for planned in &self.operations {
            if let Err(refusal) = planned.patch {
                *counts.entry((planned.operation.name(), refusal)).or_default() += 1;
            }
        }
        counts
    }

    /// What is not recorded, as sentences without their subject. `counts`: whether an operation that cannot be patched is
    /// missing then; `reached`: the finder's check of itself.
    pub fn left_out(&self, counts: impl Fn(&O) -> bool, reached: &[Reached]) -> Vec<String> {
        let mut refused: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for Planned { operation, patch, .. } in &self.operations {
            if let Err(refusal) = patch
                && counts(operation)
            {
                *refused.entry((operation.name(), refusal.reason())).or_default() += 1;
            }
        }
        let refused = refused.into_iter().map(|((operation, why), count)| {
            let places = if count == 1 { "one place".to_owned() } else { format!("{count} places") };
            format!("{places} of {operation} could not be patched: {why}")
        });
        let missing = reached.iter().filter(|row| row.reached < row.of).map(|row| {
            let missing = row.of - row.reached;
            format!("{missing} of {} calls of {} have no operation that is known", row.of, row.function)
        });
        refused.chain(missing).collect()
    }
}

/// The instructions from a position on that make room for a jump.
fn window(code: &Code, at: usize) -> Result<&[Instruction], Refusal> {
    let instructions = &code.instructions()[at..];
    let mut room = 0;
    let fits = |instruction: &Instruction| {
        room += instruction.len();
        room >= JUMP
    };
    let last = instructions.iter().position(fits).ok_or(Refusal::EndOfFunction)?;
    free_of_jumps_and_calls(code, &instructions[..=last])?;
    Ok(&instructions[..=last])
}

/// Whether a window can be moved: no jump leads into it (its first instruction may be a target), and it calls nothing.
fn free_of_jumps_and_calls(code: &Code, window: &[Instruction]) -> Result<(), Refusal> {
    if window.iter().skip(1).any(|instruction| code.is_target(instruction.ip())) {
        return Err(Refusal::JumpTarget);
    }
    if window.iter().any(is_call) { Err(Refusal::Call) } else { Ok(()) }
}

/// The flags of the atomic that the instructions behind it read, up to the first that changes flags.
fn flags_used_behind(code: &Code, at: usize) -> u32 {
    let mut used = RflagsBits::NONE;
    for instruction in code.instructions().iter().skip(at + 1).take(REACH_OF_FLAGS) {
        used |= instruction.rflags_read();
        let ends = instruction.rflags_modified() != RflagsBits::NONE
            || is_call(instruction)
            || instruction.mnemonic() == Mnemonic::Ret;
        if ends {
            break;
        }
    }
    used
}

fn begins_set_up(instruction: &Instruction) -> bool {
    match instruction.mnemonic() {
        Mnemonic::Push => first_is(instruction, Register::RBP),
        // Adding a negative number is shorter for 128 bytes.
        Mnemonic::Sub | Mnemonic::Add => first_is(instruction, Register::RSP),
        _ => false,
    }
}

fn first_is(instruction: &Instruction, register: Register) -> bool {
    instruction.op0_kind() == OpKind::Register && instruction.op0_register() == register
}

fn bytes(instructions: &[Instruction]) -> usize {
    instructions.iter().map(Instruction::len).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAS: &[u8] = &[0xf0, 0x0f, 0xb1, 0x0b]; // lock cmpxchg [rbx], ecx
    const ADD: &[u8] = &[0xf0, 0x0f, 0xc1, 0x0b]; // lock xadd [rbx], ecx
    const SETE: &[u8] = &[0x0f, 0x94, 0xc1]; // sete cl
    const TEST: &[u8] = &[0x84, 0xc9]; // test cl, cl
    const INC: &[u8] = &[0xff, 0xc1]; // inc ecx
    const CALL: &[u8] = &[0xe8, 0, 0, 0, 0];
    const RET: &[u8] = &[0xc3];

    fn code(parts: &[&[u8]]) -> Code {
        Code::decode(&parts.concat(), 0x1000)
    }

    fn swap(parts: &[&[u8]]) -> Result<Patch, Refusal> {
        atomic(&code(parts), 0x1000, Atomic::CompareExchange, Success::Equal)
    }

    #[test]
    fn an_atomic_goes_with_what_follows() {
        let patch = swap(&[CAS, SETE, TEST, RET]).expect("a patch");
        assert_eq!((patch.address, patch.length, patch.form, patch.displaced.len()), (0x1000, 7, Form::Acquire, 2));
        let code = code(&[ADD, INC, RET]);
        let release = atomic(&code, 0x1000, Atomic::ExchangeAdd, Success::Always).expect("a patch");
        assert_eq!((release.length, release.form), (6, Form::Release));
        let acquire = atomic(&code, 0x1000, Atomic::ExchangeAdd, Success::AtLeast(-1)).expect("a patch");
        assert_eq!(acquire.form, Form::Acquire);
    }

    #[test]
    fn what_cannot_be_moved_is_refused() {
        assert_eq!(swap(&[CAS, CALL]).err(), Some(Refusal::Call));
        assert_eq!(swap(&[CAS]).err(), Some(Refusal::EndOfFunction));
        assert_eq!(swap(&[CAS, SETE, TEST, &[0xeb, 0xf9]]).err(), Some(Refusal::JumpTarget), "jmp to the sete");
        assert_eq!(swap(&[CAS, SETE, TEST, &[0xeb, 0xf5]]).err(), None, "jmp to the atomic itself");
        assert_eq!(
            atomic(&code(&[RET]), 0x1001, Atomic::CompareExchange, Success::Equal).err(),
            Some(Refusal::Missing)
        );
    }

    #[test]
    fn what_is_before_makes_room_where_nothing_behind_can() {
        let xor = [0x31, 0xc0]; // xor eax, eax
        let exchange = [0x87, 0x43, 0x10]; // xchg [rbx+16], eax
        let compare = [0x83, 0xf8, 2]; // cmp eax, 2
        let patch =
            |parts: &[&[u8]], at: u64| before(&code(parts), 0x1000 + at).map(|patch| (patch.address, patch.length));
        assert_eq!(patch(&[&xor, &exchange, &compare, RET], 2), Ok((0x1002, 6)));
        let back = [0xeb, 0xfb]; // jmp to the comparison
        assert_eq!(patch(&[&xor, &exchange, &compare, &back], 2), Ok((0x1000, 5)));
        let jump = [0x74, 0x10]; // je
        assert_eq!(patch(&[&jump, &exchange, &compare, &back], 2), Err(Refusal::JumpTarget));
        let set = [0x0f, 0x94, 0xc1]; // sete cl
        assert_eq!(patch(&[&xor, &exchange, &set, RET], 2), Err(Refusal::Flags));
    }

    #[test]
    fn flags_that_are_used_are_kept() {
        assert_eq!(swap(&[CAS, &[0x0f, 0x92, 0xc1], RET]).err(), Some(Refusal::Flags), "setb cl");
        assert_eq!(swap(&[CAS, INC, &[0x0f, 0x92, 0xc1], RET]).err(), None, "inc comes between, and changes flags");
        let add = |parts: &[&[u8]]| atomic(&code(parts), 0x1000, Atomic::ExchangeAdd, Success::Always).err();
        assert_eq!(add(&[ADD, SETE, RET]), Some(Refusal::Flags));
        let lost = [0xf0, 0x0f, 0xc1, 0x1b]; // lock xadd [rbx], ebx
        assert_eq!(add(&[&lost, INC, RET]), Some(Refusal::AddressLost));
    }

    #[test]
    fn frames_are_set_up_and_taken_down_as_a_whole() {
        let push = [0x55]; // push rbp
        let mov = [0x48, 0x89, 0xe5]; // mov rbp, rsp
        let sub = [0x48, 0x83, 0xec, 0x18]; // sub rsp, 24
        let add = [0x48, 0x83, 0xc4, 0x18]; // add rsp, 24
        let pop = [0x5d]; // pop rbp
        let compare = [0x49, 0x3b, 0x66, 0x10, 0x76, 0x20]; // cmp rsp, [r14+16]; jbe
        let newer = code(&[&compare, &push, &mov, &sub, INC, &add, &pop, RET]);
        let patch = set_up(&newer).expect("a patch");
        assert_eq!((patch.address, patch.length, patch.form), (0x1006, 8, Form::SetUp));
        let patches = returns(&newer);
        let patch = patches[0].as_ref().expect("a patch");
        assert_eq!((patches.len(), patch.length, patch.form, patch.displaced.len()), (1, 6, Form::Return, 3));

        let store = [0x48, 0x89, 0x6c, 0x24, 0x10]; // mov [rsp+16], rbp
        let lea = [0x48, 0x8d, 0x6c, 0x24, 0x10]; // lea rbp, [rsp+16]
        let load = [0x48, 0x8b, 0x6c, 0x24, 0x10]; // mov rbp, [rsp+16]
        let older = code(&[&compare, &sub, &store, &lea, INC, &load, &add, RET]);
        assert_eq!(set_up(&older).map(|patch| (patch.address, patch.length)), Ok((0x1006, 14)));
        assert_eq!(returns(&older)[0].as_ref().map(|patch| patch.length), Ok(10));
        assert_eq!(set_up(&code(&[INC, RET])).err(), Some(Refusal::SetUp));
        assert_eq!(returns(&code(&[CALL, RET]))[0].as_ref().err(), Some(&(0x1005, Refusal::Call)));
    }
}
