//! A function's machine code, decoded for questions: which instruction is at an address, where jumps lead.

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, OpKind, Register};

/// The instructions of one function.
pub struct Code {
    instructions: Vec<Instruction>,
    /// The addresses that jumps of this function lead to, with the jumps' positions, sorted.
    jumps: Vec<(u64, usize)>,
    /// Other addresses that may be gone to: by tables of jumps, by unwinding.
    entries: Vec<u64>,
}

impl Code {
    /// Decodes the bytes of a function that begins at an address.
    pub fn decode(bytes: &[u8], start: u64) -> Self {
        let instructions: Vec<_> = Decoder::with_ip(64, bytes, start, DecoderOptions::NONE).iter().collect();
        let jumps = instructions.iter().enumerate().filter(|(_, instruction)| is_jump(instruction));
        let mut jumps: Vec<_> = jumps.map(|(at, instruction)| (instruction.near_branch_target(), at)).collect();
        jumps.sort_unstable();
        Self { instructions, jumps, entries: Vec::new() }
    }

    /// The same, where these addresses may be gone to as well.
    #[must_use]
    pub fn with_entries(mut self, mut entries: Vec<u64>) -> Self {
        entries.sort_unstable();
        self.entries = entries;
        self
    }

    /// All instructions, by address.
    pub fn instructions(&self) -> &[Instruction] {
        &self.instructions
    }

    /// Which instruction begins at an address.
    pub fn position(&self, address: u64) -> Option<usize> {
        self.instructions.binary_search_by_key(&address, Instruction::ip).ok()
    }

    /// Whether a jump of this function leads to an address, or something else may.
    pub fn is_target(&self, address: u64) -> bool {
        self.jumps_to(address).next().is_some() || self.entries.binary_search(&address).is_ok()
    }

    /// The positions of the jumps of this function that lead to an address.
    pub fn jumps_to(&self, address: u64) -> impl Iterator<Item = usize> + '_ {
        let from = self.jumps.partition_point(|(target, _)| *target < address);
        self.jumps[from..].iter().take_while(move |(target, _)| *target == address).map(|(_, at)| *at)
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
