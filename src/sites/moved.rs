//! Instructions of a file as they have to be in a trampoline.

use iced_x86::{Instruction, MemoryOperand, OpKind, Register};

/// The memory operand of an atomic, so many bytes further.
pub fn operand(atomic: &Instruction, by: i64) -> MemoryOperand {
    let displacement = (atomic.memory_displacement64() as i64).wrapping_add(by);
    let (base, index) = (atomic.memory_base(), atomic.memory_index());
    MemoryOperand::new(base, index, atomic.memory_index_scale(), displacement, 8, false, Register::None)
}

/// An instruction of the file as it has to be in the running program, at any address.
pub fn moved(instruction: &Instruction, base: u64) -> Instruction {
    let mut moved = *instruction;
    moved.set_ip(0);
    if matches!(moved.op0_kind(), OpKind::NearBranch64) {
        moved.set_near_branch64(moved.near_branch_target().wrapping_add(base));
    }
    if moved.is_ip_rel_memory_operand() {
        moved.set_memory_displacement64(moved.ip_rel_memory_address().wrapping_add(base));
    }
    moved
}
