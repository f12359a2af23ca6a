//! Where the runtime keeps what a trampoline has to know: the running goroutine's number, its thread (the M), the goroutine
//! that an M runs.
//!
//! No symbols and no version tell it. It is read out of code of the runtime that uses it and is in every program: the head
//! of a goroutine's traceback prints its number, and the switch to the system stack compares the M's goroutines.

use iced_x86::{Instruction, Mnemonic, OpKind, Register};

use super::super::code::{Code, first_register, is_call};
use super::super::image::Image;
use super::pclntab::Pclntab;

/// Offsets within the runtime's structures, bytes. The goroutine (`g`) is in `r14` in all code of the Go ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Runtime {
    /// `g.goid`.
    pub goroutine_number: u32,
    /// `g.m`.
    pub machine: u32,
    /// `m.curg`: the goroutine for which an M is on its system stack.
    pub current: u32,
    /// `m.gsignal`: on its stack signals are handled.
    pub signals: u32,
    /// Where a goroutine that is preempted continues; a trampoline does it at its end.
    pub preempt: Option<u64>,
}

/// Why a program's runtime cannot be used; the text is for the person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuntimeError {
    /// A function is not there.
    #[error("its runtime has no {0}")]
    Missing(&'static str),
    /// A function does not look as in the known versions.
    #[error("its runtime's {0} does not look as in the known versions")]
    Unknown(&'static str),
}

const HEADER: &str = "runtime.goroutineheader";
const SWITCH: &str = "runtime.systemstack";

/// No field of `g` or `m` lies behind this.
const GREATEST_OFFSET: u64 = 4096;

impl Runtime {
    /// Reads it out of the runtime's code.
    pub fn find(image: &Image<'_>, index: &Pclntab<'_>) -> Result<Self, RuntimeError> {
        let (mut header, mut switch, mut preempt) = (None, None, None);
        let mut prints = Vec::new();
        for function in index.functions() {
            let Some(name) = index.name(function.name).strip_prefix("runtime.") else { continue };
            // Functions in assembly may be told by their ABI.
            match name.strip_suffix(".abi0").unwrap_or(name) {
                "goroutineheader" => header = Some(function),
                "systemstack" => switch = Some(function),
                "asyncPreempt" => preempt = Some(function.start),
                "printuint" | "printint" => prints.push(function.start),
                _ => {}
            }
        }
        let decode = |function: Option<&super::pclntab::Function>, name| {
            let function = function.ok_or(RuntimeError::Missing(name))?;
            let bytes = image.code(function.start, function.end).ok_or(RuntimeError::Missing(name))?;
            Ok(Code::decode(bytes, function.start))
        };
        let goroutine_number =
            number_printed(&decode(header, HEADER)?, &prints).ok_or(RuntimeError::Unknown(HEADER))?;
        let (machine, signals, current) =
            fields_compared(&decode(switch, SWITCH)?).ok_or(RuntimeError::Unknown(SWITCH))?;
        Ok(Self { goroutine_number, machine, current, signals, preempt })
    }
}

/// Where a value is while it is followed back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Register(Register),
    /// At this distance from the stack pointer.
    Slot(u64),
}

/// The field that is the first number printed: followed back from the argument (`rax`) to the load from a structure.
fn number_printed(code: &Code, prints: &[u64]) -> Option<u32> {
    let instructions = code.instructions();
    let call = instructions
        .iter()
        .position(|instruction| instruction.is_call_near() && prints.contains(&instruction.near_branch_target()))?;
    let mut place = Place::Register(Register::RAX);
    for instruction in instructions[..call].iter().rev() {
        let to = match instruction.op0_kind() {
            OpKind::Register => first_register(instruction).map(Place::Register),
            OpKind::Memory if instruction.memory_base() == Register::RSP => {
                Some(Place::Slot(instruction.memory_displacement64()))
            }
            _ => None,
        };
        let is_move = instruction.mnemonic() == Mnemonic::Mov && instruction.op_count() == 2;
        if is_call(instruction) && matches!(place, Place::Register(_)) {
            return None;
        } else if !is_move || to != Some(place) {
            continue;
        }
        place = match instruction.op1_kind() {
            OpKind::Register => Place::Register(instruction.op1_register().full_register()),
            OpKind::Memory if instruction.memory_base() == Register::RSP => {
                Place::Slot(instruction.memory_displacement64())
            }
            OpKind::Memory => return field(instruction),
            _ => return None,
        };
    }
    None
}

/// `g.m`, `m.gsignal` and `m.curg`: the goroutine in `rax` is compared with `m.gsignal` and `m.curg`.
fn fields_compared(code: &Code) -> Option<(u32, u32, u32)> {
    let instructions = code.instructions();
    let compares = |instruction: &Instruction| {
        instruction.mnemonic() == Mnemonic::Cmp
            && first_register(instruction) == Some(Register::RAX)
            && instruction.op1_kind() == OpKind::Memory
    };
    let first = instructions.iter().position(compares)?;
    let current = instructions[first + 1..].iter().find(|instruction| compares(instruction))?;
    let machine = instructions[first].memory_base();
    let load = instructions[..first]
        .iter()
        .rev()
        .find(|instruction| instruction.mnemonic() == Mnemonic::Mov && first_register(instruction) == Some(machine))?;
    (load.memory_base() == Register::RAX && current.memory_base() == machine).then_some(())?;
    Some((field(load)?, field(&instructions[first])?, field(current)?))
}

fn field(instruction: &Instruction) -> Option<u32> {
    let offset = instruction.memory_displacement64();
    let base = instruction.memory_base();
    let plain = base != Register::None && base != Register::RIP && instruction.memory_index() == Register::None;
    (plain && offset < GREATEST_OFFSET).then(|| u32::try_from(offset).ok())?
}
