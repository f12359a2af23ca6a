//! Where the result of an atomic goes: the instructions that use it, and the calls that can follow it.
//!
//! Both look a few instructions ahead within one function; they do not follow calls or values through memory.

use iced_x86::{
    ConditionCode, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register, RflagsBits,
};

use super::code::{Code, first_register, is_atomic, is_call, is_jump};

/// How far behind an atomic its result may be used: compilers move other work in between.
const REACH_OF_RESULT: usize = 40;

/// How far behind an atomic, along each branch, its cold call may be.
const REACH_OF_CALL: usize = 60;

/// How far behind a compare-and-swap the jump may be that asks whether it failed.
const REACH_OF_JUMP: usize = 12;

/// How many conditional jumps may be between.
const BRANCHES: usize = 3;

/// The positions of the instructions that use the result of the atomic at a position, up to the end of its block.
///
/// The result is the flag and what is computed of it (compare-and-swap), or the register that was exchanged. A register
/// that is written anew holds it no longer.
pub fn users_of_result(code: &Code, at: usize) -> Vec<usize> {
    let Some((atomic, behind)) = code.instructions().get(at..).and_then(<[_]>::split_first) else { return Vec::new() };
    let by_flag = atomic.mnemonic() == Mnemonic::Cmpxchg;
    let mut holders: Vec<Register> = Vec::new();
    if atomic.mnemonic() == Mnemonic::Xadd {
        holders.push(atomic.op1_register().full_register());
    }
    let mut users = Vec::new();
    let mut factory = InstructionInfoFactory::new();
    for (number, instruction) in behind.iter().take(REACH_OF_RESULT - 1).enumerate() {
        let sets = matches!(instruction.mnemonic(), Mnemonic::Sete | Mnemonic::Setne);
        if number == 0 && by_flag && (sets || instruction.is_jcc_short_or_near()) {
            users.push(at + 1);
            holders.extend(first_register(instruction).filter(|_| sets));
        } else {
            let mut reads = false;
            let mut written = Vec::new();
            for used in factory.info(instruction).used_registers() {
                let register = used.register().full_register();
                let (read, write) = access(used.access());
                reads |= read && holders.contains(&register);
                written.extend(write.then_some(register));
            }
            if reads {
                users.push(at + 1 + number);
                holders.extend(written);
            } else {
                holders.retain(|holder| !written.contains(holder));
            }
        }
        if holders.is_empty() || instruction.flow_control() != FlowControl::Next || instruction.has_lock_prefix() {
            break;
        }
    }
    users
}

/// Whether a register is read and whether it is written.
fn access(access: OpAccess) -> (bool, bool) {
    match access {
        OpAccess::Read | OpAccess::CondRead => (true, false),
        OpAccess::ReadWrite | OpAccess::ReadCondWrite => (true, true),
        OpAccess::Write | OpAccess::CondWrite => (false, true),
        OpAccess::None | OpAccess::NoMemAccess => (false, false),
    }
}

/// The first call on each way onwards from behind a position, as far as it is one that is `wanted`: their positions. A call of
/// which nothing is said (`None`) is passed over. A way ends at another atomic and where it leaves the function; a jump out of
/// it that is wanted is a call too.
pub fn calls_after(code: &Code, at: usize, wanted: &dyn Fn(usize) -> Option<bool>) -> Vec<usize> {
    let mut found = Vec::new();
    follow(code, at + 1, wanted, (REACH_OF_CALL, BRANCHES), &mut found);
    found
}

/// The same from where a compare-and-swap goes on if it failed, as far as that can be told: else from behind it.
pub fn calls_after_failure(code: &Code, at: usize, wanted: &dyn Fn(usize) -> Option<bool>) -> Vec<usize> {
    let mut found = Vec::new();
    follow(code, failure(code, at).unwrap_or(at + 1), wanted, (REACH_OF_CALL, BRANCHES), &mut found);
    found
}

/// Where a compare-and-swap goes on if it failed, if the first use of its flags is a jump.
fn failure(code: &Code, at: usize) -> Option<usize> {
    for (number, instruction) in code.instructions().iter().enumerate().skip(at + 1).take(REACH_OF_JUMP) {
        match instruction.code().condition_code() {
            ConditionCode::ne if instruction.is_jcc_short_or_near() => {
                return code.position(instruction.near_branch_target());
            }
            ConditionCode::e if instruction.is_jcc_short_or_near() => return Some(number + 1),
            _ => {}
        }
        if instruction.flow_control() != FlowControl::Next || instruction.rflags_modified() != RflagsBits::NONE {
            return None;
        }
    }
    None
}

fn follow(
    code: &Code,
    mut at: usize,
    wanted: &dyn Fn(usize) -> Option<bool>,
    (mut steps, branches): (usize, usize),
    found: &mut Vec<usize>,
) {
    while steps > 0 {
        let Some(instruction) = code.instructions().get(at) else { return };
        steps -= 1;
        if is_atomic(instruction) {
            return;
        }
        // Where a jump leads in this function.
        let inside = is_jump(instruction).then(|| code.position(instruction.near_branch_target())).flatten();
        let leaves = is_call(instruction)
            || instruction.flow_control() == FlowControl::IndirectBranch
            || is_jump(instruction) && inside.is_none();
        match leaves.then(|| wanted(at)) {
            Some(Some(true)) => {
                if !found.contains(&at) {
                    found.push(at);
                }
                return;
            }
            Some(Some(false)) if is_call(instruction) => return,
            _ => {}
        }
        match instruction.flow_control() {
            FlowControl::Next | FlowControl::Call | FlowControl::IndirectCall => {}
            FlowControl::UnconditionalBranch => {
                let Some(target) = inside else { return };
                at = target;
                continue;
            }
            FlowControl::ConditionalBranch => {
                if let Some(taken) = inside.filter(|_| branches > 0) {
                    follow(code, taken, wanted, (steps, branches - 1), found);
                }
            }
            _ => return,
        }
        at += 1;
    }
}

/// The positions of the instructions that may have written a register last when a position is reached, as far as this
/// function does; `None` where it was not it in some way.
pub fn definitions(code: &Code, at: usize, register: Register) -> Option<Vec<usize>> {
    let mut factory = InstructionInfoFactory::new();
    let mut seen = vec![false; code.instructions().len()];
    let mut found = Vec::new();
    let mut open = before(code, at);
    if open.is_empty() {
        return None;
    }
    while let Some(position) = open.pop() {
        if std::mem::replace(&mut seen[position], true) {
            continue;
        }
        let instruction = &code.instructions()[position];
        let writes = factory
            .info(instruction)
            .used_registers()
            .iter()
            .any(|used| used.register().full_register() == register && access(used.access()).1);
        // A call leaves these alone; the others are lost.
        let is_kept = matches!(
            register,
            Register::RBX | Register::RBP | Register::R12 | Register::R13 | Register::R14 | Register::R15
        );
        if writes {
            found.push(position);
        } else if is_call(instruction) && !is_kept {
            return None;
        } else {
            let next = before(code, position);
            // What unwinding goes on at, or a table of jumps leads to, has come by one of the other ways before.
            if next.is_empty() && position == 0 {
                return None;
            }
            open.extend(next);
        }
    }
    (!found.is_empty()).then_some(found)
}

/// The number that a register has when a position is reached, if it is one for sure.
pub fn constant(code: &Code, at: usize, register: Register) -> Option<u64> {
    /// More copies are not followed.
    const COPIES: usize = 3;
    constant_within(code, at, register, COPIES)
}

fn constant_within(code: &Code, at: usize, register: Register, depth: usize) -> Option<u64> {
    let mut values = definitions(code, at, register)?.into_iter().map(|position| {
        let instruction = &code.instructions()[position];
        let is_same = instruction.op_count() == 2
            && instruction.op0_kind() == OpKind::Register
            && instruction.op1_kind() == OpKind::Register
            && instruction.op0_register() == instruction.op1_register();
        match instruction.mnemonic() {
            Mnemonic::Mov if instruction.op1_kind() == OpKind::Register && depth > 0 => {
                constant_within(code, position, instruction.op1_register().full_register(), depth - 1)
            }
            Mnemonic::Mov if instruction.op0_kind() == OpKind::Register => immediate(instruction),
            Mnemonic::Xor | Mnemonic::Sub if is_same => Some(0),
            // `push n; pop r`, which is shorter.
            Mnemonic::Pop => {
                let push = position.checked_sub(1).map(|before| &code.instructions()[before])?;
                (push.mnemonic() == Mnemonic::Push).then(|| push.try_immediate(0).ok()).flatten()
            }
            // `or r, -1`.
            Mnemonic::Or => immediate(instruction).filter(|value| *value == u64::MAX),
            _ => None,
        }
    });
    let first = values.next()??;
    values.all(|value| value == Some(first)).then_some(first)
}

/// The number that is an instruction's second operand.
pub fn immediate(instruction: &Instruction) -> Option<u64> {
    let is_immediate = instruction.op_count() == 2
        && matches!(
            instruction.op1_kind(),
            OpKind::Immediate8
                | OpKind::Immediate32
                | OpKind::Immediate64
                | OpKind::Immediate8to32
                | OpKind::Immediate8to64
                | OpKind::Immediate32to64
        );
    is_immediate.then(|| instruction.immediate(1))
}

/// The positions from which one is reached.
fn before(code: &Code, at: usize) -> Vec<usize> {
    let instructions = code.instructions();
    let falls_through = |position: &usize| {
        let flow = instructions[*position].flow_control();
        let is_end = matches!(
            flow,
            FlowControl::UnconditionalBranch
                | FlowControl::IndirectBranch
                | FlowControl::Return
                | FlowControl::Exception
                | FlowControl::Interrupt
        );
        !is_end
    };
    let Some(address) = instructions.get(at).map(Instruction::ip) else { return Vec::new() };
    at.checked_sub(1).filter(falls_through).into_iter().chain(code.jumps_to(address)).collect()
}
