//! A detour: a jump over the entry of a function in a running program, to a hook, and a way past the hook.
//!
//! The short form is a jump of two bytes over one instruction, to a long jump in the padding between two functions: no
//! thread can be in the middle of what it replaces. The near form is a jump of five bytes over several instructions;
//! a thread between them has to be moved to their copy.

use iced_x86::code_asm::{CodeAssembler, qword_ptr, r10, r11, rsp};
use iced_x86::{
    BlockEncoder, BlockEncoderOptions, Code, Decoder, DecoderOptions, FlowControl, IcedError, Instruction,
    InstructionBlock, Mnemonic,
};
use std::ops::Range;

use crate::sites::functions::Functions;
use crate::sites::image::Image;

/// Bytes of a near jump.
const NEAR: usize = 5;
/// As far as a short jump reaches, less a margin.
const REACH: u64 = 120;
/// Code that may be copied whole.
const WHOLE: u64 = 192;

/// Why a function has no detour; the text is for the person.
#[derive(Debug, thiserror::Error)]
pub enum DetourError {
    /// Its code is not what a detour can be put over.
    #[error("its code begins in a way that is not known ({0})")]
    Code(String),
    /// The copy could not be made.
    #[error("its code cannot be moved: {0}")]
    Move(#[from] IcedError),
}

/// Where a detour is put, and what it replaces: addresses in the file.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The first byte that changes.
    pub entry: u64,
    /// Where the long jump lies that the short one leads to; `None`: the near form.
    pub padding: Option<u64>,
    /// The instructions that are run elsewhere.
    moved: Vec<Instruction>,
    /// Bytes of them.
    length: usize,
    /// They are the whole function.
    is_whole: bool,
}

/// Where instructions went: from their address in the running program, and to.
type Places = Vec<(u64, u64)>;

/// The code that a detour needs, to be put somewhere.
pub struct Pieces {
    /// Where calls come from the entry.
    pub stub: Vec<u8>,
    /// Past the hook: what the detour replaced, and on.
    pub past: Vec<u8>,
    /// Where the instructions between the bytes of a near jump went: addresses in the running program.
    pub inner: Places,
}

impl Plan {
    /// Plans a detour over the function at an address. `used`: padding that others have.
    ///
    /// # Errors
    /// Where its code does not allow it.
    pub fn of(
        image: &Image,
        functions: &Functions,
        (address, size): (u64, u64),
        used: &[u64],
    ) -> Result<Self, DetourError> {
        let size = if size != 0 { size } else { functions.at(address).map_or(0, |function| function.end - address) };
        let body = image.code(address, address + size).filter(|body| !body.is_empty());
        let body = decode(body.ok_or_else(|| DetourError::Code("no code".to_owned()))?, address);
        let skipped = usize::from(body.first().is_some_and(|first| first.code() == Code::Endbr64));
        let Some(first) = body.get(skipped) else { return Err(DetourError::Code("no code".to_owned())) };
        let entry = first.ip();
        let targets: Vec<u64> = body.iter().filter(|it| is_branch(it)).map(Instruction::near_branch_target).collect();
        if first.len() >= 2 && can_move(first) && !first.is_jmp_short_or_near() && !targets.contains(&entry) {
            // A loop to the very entry would run the hook again.
            if let Some(padding) = padding(image, functions, entry, used) {
                let moved = vec![*first];
                return Ok(Self { entry, padding: Some(padding), length: first.len(), moved, is_whole: false });
            }
        }
        let (mut moved, mut length) = (Vec::new(), 0);
        for instruction in &body[skipped..] {
            if length >= NEAR {
                break;
            }
            if !can_move(instruction) {
                return Err(DetourError::Code(format!("{:?}", instruction.code())));
            }
            length += instruction.len();
            moved.push(*instruction);
            let ends =
                matches!(instruction.flow_control(), FlowControl::UnconditionalBranch | FlowControl::IndirectBranch);
            if ends && length < NEAR {
                return Err(DetourError::Code(format!("{:?}", instruction.code())));
            }
        }
        if length < NEAR {
            return Err(DetourError::Code("too short".to_owned()));
        }
        let is_inside = |target: &u64| (entry..entry + length as u64).contains(target);
        if targets.iter().any(is_inside) {
            // A small one that calls nobody is copied whole.
            let rest = &body[skipped..];
            let calls = |it: &Instruction| matches!(it.flow_control(), FlowControl::Call | FlowControl::IndirectCall);
            if size > WHOLE || rest.iter().any(calls) {
                return Err(DetourError::Code("a jump back to its beginning".to_owned()));
            }
            let length = rest.iter().map(Instruction::len).sum();
            return Ok(Self { entry, padding: None, moved: rest.to_vec(), length, is_whole: true });
        }
        Ok(Self { entry, padding: None, moved, length, is_whole: false })
    }

    /// How many bytes change at the entry.
    pub fn patched(&self) -> usize {
        if self.padding.is_some() { 2 } else { NEAR }
    }

    /// The code for it. `bias`: what is added to the file's addresses; `at`: where the stub will be, with the way past it
    /// directly behind; `own`: code whose calls pass the hook by.
    ///
    /// # Errors
    /// Where the instructions cannot be moved there.
    pub fn pieces(&self, bias: u64, at: u64, hook: u64, own: &[Range<u64>]) -> Result<Pieces, DetourError> {
        // Its length does not depend on where the way past it is, so the second time all is in its place.
        let room = stub(at, hook, at, own)?.len().next_multiple_of(16) as u64;
        let stub = stub(at, hook, at + room, own)?;
        let (past, places) = self.past(bias, at + room)?;
        let end = self.entry.wrapping_add(bias) + self.patched() as u64;
        let entry = self.entry.wrapping_add(bias);
        let inner = places.into_iter().filter(|(from, _)| self.padding.is_none() && (entry + 1..end).contains(from));
        Ok(Pieces { inner: inner.collect(), stub, past })
    }

    /// The replaced instructions at `at`, then a jump to the rest; and where each went.
    fn past(&self, bias: u64, at: u64) -> Result<(Vec<u8>, Places), DetourError> {
        let (mut code, mut places) = (Vec::new(), Vec::new());
        let mut run: Vec<Instruction> = Vec::new();
        for instruction in &self.moved {
            let there = crate::sites::moved::moved(instruction, bias);
            let from = instruction.ip().wrapping_add(bias);
            if instruction.flow_control() != FlowControl::Call {
                let mut there = there;
                there.set_ip(from);
                run.push(there);
                continue;
            }
            encode(&mut run, at, &mut code, &mut places)?;
            places.push((from, at + code.len() as u64));
            // The return address stays the function's own, so that unwinding works: pushed in two halves, then a jump.
            let back = from + instruction.len() as u64;
            code.push(0x68);
            code.extend((back as u32).to_le_bytes());
            code.extend([0xc7, 0x44, 0x24, 0x04]);
            code.extend(((back >> 32) as u32).to_le_bytes());
            jump_far(&mut code, instruction.near_branch_target().wrapping_add(bias));
        }
        encode(&mut run, at, &mut code, &mut places)?;
        if !self.is_whole {
            jump_far(&mut code, self.entry.wrapping_add(bias) + self.length as u64);
        }
        Ok((code, places))
    }
}

/// Where a call goes: past the hook if `own` code made it, else to the hook. Nothing of the call's is touched but what no
/// function may rely on.
fn stub(at: u64, hook: u64, past: u64, own: &[Range<u64>]) -> Result<Vec<u8>, IcedError> {
    let mut code = CodeAssembler::new(64)?;
    let mut by = code.create_label();
    code.mov(r11, qword_ptr(rsp))?;
    for range in own {
        code.mov(r10, range.start.wrapping_neg())?;
        code.add(r10, r11)?;
        code.cmp(r10, (range.end - range.start) as i32)?;
        code.jb(by)?;
    }
    code.mov(r11, hook)?;
    code.jmp(r11)?;
    code.set_label(&mut by)?;
    code.mov(r11, past)?;
    code.jmp(r11)?;
    code.assemble(at)
}

fn jump_far(code: &mut Vec<u8>, to: u64) {
    code.extend([0xff, 0x25, 0, 0, 0, 0]);
    code.extend(to.to_le_bytes());
}

/// Moves instructions behind the code that is there.
fn encode(run: &mut Vec<Instruction>, at: u64, code: &mut Vec<u8>, places: &mut Places) -> Result<(), IcedError> {
    if run.is_empty() {
        return Ok(());
    }
    let base = at + code.len() as u64;
    let options = BlockEncoderOptions::RETURN_NEW_INSTRUCTION_OFFSETS;
    let encoded = BlockEncoder::encode(64, InstructionBlock::new(run, base), options)?;
    for (instruction, offset) in run.iter().zip(&encoded.new_instruction_offsets) {
        // `u32::MAX`: it became several.
        if *offset != u32::MAX {
            places.push((instruction.ip(), base + u64::from(*offset)));
        }
    }
    code.extend(encoded.code_buffer);
    run.clear();
    Ok(())
}

fn decode(code: &[u8], at: u64) -> Vec<Instruction> {
    let decoder = Decoder::with_ip(64, code, at, DecoderOptions::NONE);
    decoder.into_iter().take_while(|instruction| !instruction.is_invalid()).collect()
}

fn is_branch(instruction: &Instruction) -> bool {
    matches!(instruction.flow_control(), FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch)
        && instruction.near_branch_target() != 0
}

fn can_move(instruction: &Instruction) -> bool {
    matches!(
        instruction.flow_control(),
        FlowControl::Next
            | FlowControl::ConditionalBranch
            | FlowControl::UnconditionalBranch
            | FlowControl::Call
            | FlowControl::IndirectBranch
    )
}

/// Padding directly before a function that has room for a near jump, in reach of a short one from this entry.
fn padding(image: &Image, functions: &Functions, entry: u64, used: &[u64]) -> Option<u64> {
    const LONGEST: u64 = 15;
    let near = |start: u64| start.abs_diff(entry) <= REACH && start.is_multiple_of(16);
    let mut starts: Vec<u64> = functions.all().iter().map(|function| function.start).filter(|at| near(*at)).collect();
    starts.sort_by_key(|start| start.abs_diff(entry));
    starts.into_iter().find_map(|start| {
        let before = image.code(start - LONGEST, start)?;
        let is_padding = (NEAR..=LONGEST as usize).any(|length| {
            let tail = &before[before.len() - length..];
            let nothing = decode(tail, start - length as u64);
            nothing.iter().map(Instruction::len).sum::<usize>() == length && nothing.iter().all(does_nothing)
        });
        let at = start - NEAR as u64;
        let is_free = !used.iter().any(|other| other.abs_diff(at) < NEAR as u64);
        let reaches = i8::try_from(at.wrapping_sub(entry + 2) as i64).is_ok();
        (is_padding && is_free && reaches).then_some(at)
    })
}

fn does_nothing(instruction: &Instruction) -> bool {
    matches!(instruction.mnemonic(), Mnemonic::Nop | Mnemonic::Int3)
        || instruction.mnemonic() == Mnemonic::Xchg && instruction.op0_register() == instruction.op1_register()
}

/// The bytes at the entry, and at the padding where there is one, of a detour to `stub`.
pub fn jumps(plan: &Plan, bias: u64, stub: u64) -> (Vec<u8>, Option<Vec<u8>>) {
    let near = |from: u64| {
        let mut bytes = vec![0xe9];
        bytes.extend((stub.wrapping_sub(from + NEAR as u64) as i32).to_le_bytes());
        bytes
    };
    match plan.padding {
        Some(padding) => {
            let distance = padding.wrapping_sub(plan.entry + 2) as u8;
            (vec![0xeb, distance], Some(near(padding.wrapping_add(bias))))
        }
        None => (near(plan.entry.wrapping_add(bias)), None),
    }
}
