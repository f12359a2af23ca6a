//! A function's machine code, decoded for questions: which instruction is at an address, where jumps lead.

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, OpKind, Register};

/// The instructions of one function.
pub struct Code {
    instructions: Vec<Instruction>,
    /// The addresses that jumps of this function lead to, sorted.
    targets: Vec<u64>,
}

impl Code {
    /// Decodes the bytes of a function that begins at an address.
    pub fn decode(bytes: &[u8], start: u64) -> Self {
        let instructions: Vec<_> = Decoder::with_ip(64, bytes, start, DecoderOptions::NONE).iter().collect();
        let jumps = instructions.iter().filter(|instruction| is_jump(instruction));
        let mut targets: Vec<_> = jumps.map(Instruction::near_branch_target).collect();
        targets.sort_unstable();
        targets.dedup();
        Self { instructions, targets }
    }

    /// All instructions, by address.
    pub fn instructions(&self) -> &[Instruction] {
        &self.instructions
    }

    /// Which instruction begins at an address.
    pub fn position(&self, address: u64) -> Option<usize> {
        self.instructions.binary_search_by_key(&address, Instruction::ip).ok()
    }

    /// Whether a jump of this function leads to an address.
    pub fn is_target(&self, address: u64) -> bool {
        self.targets.binary_search(&address).is_ok()
    }
}

/// Whether it is a jump, conditional or not, to an address that stands in it.
pub fn is_jump(instruction: &Instruction) -> bool {
    instruction.is_jmp_short_or_near() || instruction.is_jcc_short_or_near()
}

/// Whether it is a call of any kind.
pub fn is_call(instruction: &Instruction) -> bool {
    matches!(instruction.flow_control(), FlowControl::Call | FlowControl::IndirectCall)
}

/// Whether the processor executes it as one step on memory for all others: a lock prefix, or an exchange with memory.
pub fn is_atomic(instruction: &Instruction) -> bool {
    let exchange = instruction.mnemonic() == iced_x86::Mnemonic::Xchg
        && (instruction.op0_kind() == OpKind::Memory || instruction.op1_kind() == OpKind::Memory);
    instruction.has_lock_prefix() || exchange
}

/// The register that an instruction names first, in full width.
pub fn first_register(instruction: &Instruction) -> Option<Register> {
    (instruction.op_count() > 0 && instruction.op0_kind() == OpKind::Register)
        .then(|| instruction.op0_register().full_register())
}
