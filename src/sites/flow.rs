//! Where the result of an atomic goes: the instructions that use it, and the calls that can follow it.
//!
//! Both look a few instructions ahead within one function; they do not follow calls or values through memory.

use iced_x86::{FlowControl, InstructionInfoFactory, Mnemonic, OpAccess, Register};

use super::code::{Code, first_register, is_atomic, is_call};

/// How far behind an atomic its result may be used: compilers move other work in between.
const REACH_OF_RESULT: usize = 40;

/// How far behind an atomic, along each branch, its cold call may be.
const REACH_OF_CALL: usize = 60;

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

/// The first call on any way onwards from a position, if it is one that is `wanted`: its address. A way ends at another
/// atomic and where it leaves the function.
pub fn call_after(code: &Code, at: usize, wanted: &dyn Fn(u64) -> bool) -> Option<u64> {
    follow(code, at + 1, wanted, REACH_OF_CALL, BRANCHES)
}

fn follow(code: &Code, mut at: usize, wanted: &dyn Fn(u64) -> bool, mut steps: usize, branches: usize) -> Option<u64> {
    while steps > 0 {
        let instruction = code.instructions().get(at)?;
        steps -= 1;
        if is_call(instruction) {
            let target = instruction.is_call_near().then(|| instruction.near_branch_target())?;
            return wanted(target).then(|| instruction.ip());
        }
        if is_atomic(instruction) {
            return None;
        }
        match instruction.flow_control() {
            FlowControl::Next => {}
            FlowControl::UnconditionalBranch => {
                at = code.position(instruction.near_branch_target())?;
                continue;
            }
            FlowControl::ConditionalBranch if branches == 0 => {}
            FlowControl::ConditionalBranch => {
                let taken = code.position(instruction.near_branch_target());
                if let Some(call) = taken.and_then(|taken| follow(code, taken, wanted, steps, branches - 1)) {
                    return Some(call);
                }
            }
            _ => return None,
        }
        at += 1;
    }
    None
}
