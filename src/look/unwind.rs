//! A thread's call stack from outside: by the unwind tables of the files, Go's tables, and where there is neither (code that
//! was made at run time) by the chain of frame pointers.

use super::files::{Files, Loaded};
use super::memory::Memory;
use super::plt::called;
use super::registers::{Registers, number};
use crate::sites::unwind::{Machine, Step};

/// Deeper stacks are cut.
const DEEPEST: usize = 2048;

/// A frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its registers: of the innermost one where the thread is, of the others where they go on at.
    pub registers: Registers,
    /// Whether the one that it called is a signal's handler, or there is none: then it is at an instruction, not behind a call.
    pub is_exact: bool,
}

impl Frame {
    /// An address within the instruction that is executed, or within the call.
    pub fn inside(&self) -> u64 {
        let pc = self.registers.pc();
        if self.is_exact { pc } else { pc.wrapping_sub(1) }
    }
}

/// Why a stack is not whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// What unwinding needs is in a register that nobody read: the thread was not stopped.
    Register,
    /// No table tells how to go on.
    Table,
    /// Memory is missing.
    Memory,
    /// It is too deep.
    Deep,
}

/// A thread's stack.
#[derive(Clone, Debug, Default)]
pub struct Stack {
    /// Innermost first.
    pub frames: Vec<Frame>,
    pub cut: Option<Cut>,
    /// Whether a frame was found by the frame pointer only.
    pub is_guessed: bool,
}

struct View<'a> {
    registers: &'a Registers,
    memory: &'a Memory<'a>,
    bias: u64,
}

impl Machine for View<'_> {
    fn register(&self, number: u16) -> Option<u64> {
        self.registers.get(number.into())
    }

    fn word(&self, address: u64) -> Option<u64> {
        self.memory.word(address)
    }

    fn bias(&self) -> u64 {
        self.bias
    }
}

/// The stack of a thread with these registers.
pub fn walk(files: &Files<'_>, memory: &Memory<'_>, registers: Registers) -> Stack {
    from(files, memory, Frame { registers, is_exact: true })
}

/// The stack of what goes on behind a call with these registers.
pub fn walk_from_call(files: &Files<'_>, memory: &Memory<'_>, registers: Registers) -> Stack {
    from(files, memory, Frame { registers, is_exact: false })
}

fn from(files: &Files<'_>, memory: &Memory<'_>, mut frame: Frame) -> Stack {
    let mut stack = Stack::default();
    loop {
        if stack.frames.len() >= DEEPEST {
            stack.cut = Some(Cut::Deep);
            return stack;
        }
        stack.frames.push(frame);
        match caller(files, memory, &frame, &mut stack.is_guessed) {
            Ok(Some(next)) => frame = next,
            Ok(None) => return stack,
            Err(cut) => {
                stack.cut = Some(cut);
                return stack;
            }
        }
    }
}

/// The frame that called one; none where it is the outermost.
fn caller(files: &Files<'_>, memory: &Memory<'_>, frame: &Frame, is_guessed: &mut bool) -> Result<Option<Frame>, Cut> {
    let registers = &frame.registers;
    if registers.pc() == 0 && !frame.is_exact {
        return Ok(None);
    }
    let inside = frame.inside();
    let file = files.at(inside);
    if let Some(file) = file
        && let Some(table) = file.table()
    {
        let view = View { registers, memory, bias: file.opened.bias };
        match table.step(file.in_file(inside), &view) {
            Step::Caller { cfa, registers: found, is_signal } => {
                return Ok(Some(of_rules(registers, cfa, &found, is_signal)?))
                    .map(|next| next.filter(is_one(registers)));
            }
            Step::Outermost => return Ok(None),
            Step::NoRegister => {
                let start = table.start(file.in_file(inside)).map(|start| start.wrapping_add(file.opened.bias));
                let known = registers.get(number::RBP).is_some();
                let base = start.filter(|_| !known).and_then(|start| base_of(files, memory, registers.sp(), start));
                let base = base.ok_or(Cut::Register)?;
                *is_guessed = true;
                let whole = Frame { registers: registers.with(number::RBP, base), ..*frame };
                return caller(files, memory, &whole, is_guessed);
            }
            Step::NoMemory => return Err(Cut::Memory),
            Step::NoRow => {}
        }
    }
    if let Some(next) = file.and_then(|file| of_go(file, memory, registers, inside)) {
        return next;
    }
    // A call to nowhere: what called it is on top of the stack.
    if frame.is_exact && files.mapping(inside).is_none_or(|mapping| !mapping.executable) {
        let to = memory.word(registers.sp()).ok_or(Cut::Memory)?;
        let next = registers.with(number::RIP, to).with(number::RSP, registers.sp().wrapping_add(8));
        return if is_code(files, to) { Ok(Some(Frame { registers: next, is_exact: false })) } else { Err(Cut::Table) };
    }
    let base = registers.get(number::RBP).ok_or(Cut::Register)?;
    if base < registers.sp() || !base.is_multiple_of(8) || base - registers.sp() > 1 << 20 {
        return Err(Cut::Table);
    }
    let (outer, to) = memory.word(base).zip(memory.word(base.wrapping_add(8))).ok_or(Cut::Memory)?;
    if !is_code(files, to) {
        return Err(Cut::Table);
    }
    *is_guessed = true;
    let next = Registers::of_call(to, base.wrapping_add(16)).with(number::RBP, outer);
    Ok(Some(Frame { registers: next, is_exact: false }))
}

/// The frame pointer of a function that begins at `start`, where it is not known: the nearest place on the stack that has
/// another frame's pointer, and behind it the address behind a call of this very function.
fn base_of(files: &Files<'_>, memory: &Memory<'_>, sp: u64, start: u64) -> Option<u64> {
    const NEAR: u64 = 64 << 10;
    const FARTHEST: u64 = 1 << 20;
    let first = sp.checked_next_multiple_of(8)?;
    for at in (first..first.checked_add(NEAR)?).step_by(8) {
        let back = memory.word(at + 8)?;
        if !is_code(files, back) {
            continue;
        }
        let outer = memory.word(at)?;
        // That of the outermost frame is of nobody.
        let is_outer = outer <= 1 || outer > at && outer - at < FARTHEST;
        let begins_thread = || {
            let name = files.function(back).unwrap_or_default();
            name == "start_thread" || name.starts_with("__libc_start")
        };
        if is_outer && (called(back, memory) == Some(start) || begins_thread()) {
            return Some(at);
        }
    }
    None
}

fn is_code(files: &Files<'_>, address: u64) -> bool {
    files.mapping(address.wrapping_sub(1)).is_some_and(|mapping| mapping.executable)
}

/// The stack goes up from frame to frame, but where a signal's handler has one of its own.
fn is_one(inner: &Registers) -> impl Fn(&Frame) -> bool {
    let sp = inner.sp();
    move |next| next.registers.pc() != 0 && (next.is_exact || next.registers.sp() > sp)
}

fn of_rules(
    inner: &Registers,
    cfa: u64,
    found: &[Option<Option<u64>>; number::COUNT],
    is_signal: bool,
) -> Result<Frame, Cut> {
    let mut next = Registers::default().with(number::RSP, cfa);
    for number in number::KEPT {
        if let Some(value) = inner.get(number) {
            next = next.with(number, value);
        }
    }
    let mut kept = next;
    for (number, value) in found.iter().enumerate() {
        match value {
            Some(Some(value)) => kept = kept.with(number, *value),
            Some(None) if number == number::RIP => return Err(Cut::Memory),
            _ => {}
        }
    }
    Ok(Frame { registers: kept, is_exact: is_signal })
}

/// A frame of Go code: its size is known for each address.
fn of_go(
    file: &Loaded<'_>,
    memory: &Memory<'_>,
    registers: &Registers,
    inside: u64,
) -> Option<Result<Option<Frame>, Cut>> {
    let index = file.go()?;
    let function = index.function_at(file.in_file(inside))?;
    let name = index.name(function.name);
    if matches!(
        name,
        "runtime.goexit" | "runtime.mstart" | "runtime.rt0_go" | "runtime.mcall" | "runtime.systemstack_switch"
    ) {
        return Some(Ok(None));
    }
    let size = u64::from(index.frame_size(function, file.in_file(inside))?);
    let top = registers.sp().checked_add(size)?;
    let Some(to) = memory.word(top) else { return Some(Err(Cut::Memory)) };
    let mut next = Registers::of_call(to, top + 8);
    // Frames that are not empty keep the caller's frame pointer on their top.
    let base = if size >= 8 { memory.word(top - 8) } else { registers.get(number::RBP) };
    if let Some(base) = base {
        next = next.with(number::RBP, base);
    }
    Some(Ok(Some(Frame { registers: next, is_exact: false }).filter(|frame| frame.registers.pc() != 0)))
}
