//! Call frame information: from a code address to the rules that find the caller.
//!
//! Formats: DWARF 5, section 6.4, in the form that the LSB gives `.eh_frame` and `.eh_frame_hdr`.
//! Tables are those of loaded objects, as trustworthy as the code itself. Only the callee-saved
//! registers, the stack pointer and the return address are tracked.

use super::cursor::Cursor;

/// DWARF numbers of the tracked registers: rbx, rbp, r12 to r15, r10; the stack pointer and the return address.
/// (r10 has the caller's frame while a function with over-aligned variables begins: a signal may come then.)
pub const REGISTERS: [u64; 9] = [3, 6, 12, 13, 14, 15, 10, 7, 16];
/// General registers, the first of [`REGISTERS`].
pub const SAVED: usize = 7;
/// Position of rbp.
pub const RBP: usize = 1;
/// Position of r10.
pub const R10: usize = 6;
/// Position of the stack pointer.
pub const RSP: usize = 7;
/// Position of the return address.
pub const RA: usize = 8;

fn position(register: u64) -> Option<usize> {
    REGISTERS.iter().position(|known| *known == register)
}

/// Where a register's value in the caller is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Unchanged.
    Same,
    /// Cannot be known: for the return address, the outermost frame.
    Undefined,
    /// Stored at CFA + offset.
    Offset(i64),
    /// Is CFA + offset.
    Value(i64),
    /// Stored where the expression says.
    At(*const u8),
    /// Is what the expression says.
    ValueOf(*const u8),
    /// In another register.
    Register,
}

/// How the canonical frame address is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cfa {
    /// A tracked register (by position) plus an offset.
    Register(usize, i64),
    /// An expression.
    Expression(*const u8),
    /// By a register that is not tracked, or not at all; the offset may go with another register later.
    Unknown(i64),
}

impl Cfa {
    /// By a register, with an offset.
    fn by(register: u64, offset: i64) -> Self {
        position(register).map_or(Self::Unknown(offset), |position| Self::Register(position, offset))
    }

    /// By the same register with another offset; of an expression there is none.
    fn at(self, offset: i64) -> Option<Self> {
        match self {
            Self::Register(register, _) => Some(Self::Register(register, offset)),
            Self::Unknown(_) => Some(Self::Unknown(offset)),
            Self::Expression(_) => None,
        }
    }
}

/// The rules at one code address.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub cfa: Cfa,
    pub registers: [Rule; REGISTERS.len()],
    /// A signal frame: the caller's address is where it was interrupted, not behind a call.
    pub signal: bool,
}

#[derive(Clone, Copy)]
struct Common {
    code_factor: u64,
    data_factor: i64,
    encoding: u8,
}

/// The rules at `pc`, from the object whose `.eh_frame_hdr` is at `header`.
///
/// # Safety
/// `header` is the header of a loaded object that stays loaded meanwhile.
pub unsafe fn rules(header: u64, pc: u64) -> Option<Rules> {
    // SAFETY: the tables are in the format named above.
    unsafe {
        let start = header as *const u8;
        let mut cursor = Cursor(start.add(4));
        let (version, eh_encoding, count_encoding, table_encoding) =
            (*start, *start.add(1), *start.add(2), *start.add(3));
        // Only the sorted table of two 4-byte offsets relative to the header: what every linker writes.
        if version != 1 || table_encoding != 0x3b {
            return None;
        }
        cursor.encoded(eh_encoding, header)?;
        let count = cursor.encoded(count_encoding, header)? as usize;
        let table = cursor.0.cast::<[i32; 2]>();
        let wanted = i32::try_from(pc.wrapping_sub(header) as i64).ok()?;
        if count == 0 || wanted < table.read_unaligned()[0] {
            return None;
        }
        let (mut low, mut high) = (0, count);
        while high - low > 1 {
            let middle = usize::midpoint(low, high);
            if table.add(middle).read_unaligned()[0] <= wanted {
                low = middle;
            } else {
                high = middle;
            }
        }
        let description = start.offset(table.add(low).read_unaligned()[1] as isize);
        frame_description(description, pc)
    }
}

/// # Safety
/// `at` is a frame description of a loaded object that stays loaded meanwhile.
unsafe fn frame_description(at: *const u8, pc: u64) -> Option<Rules> {
    // SAFETY: `at` is a frame description entry, which names its common entry.
    unsafe {
        let mut entry = Cursor(at);
        let length: u32 = entry.take();
        if length == 0 || length == u32::MAX {
            return None;
        }
        let entry_end = entry.0.add(length as usize);
        let place = entry.0;
        let back: u32 = entry.take();
        let mut common = Cursor(place.sub(back as usize));
        let common_length: u32 = common.take();
        let common_end = common.0.add(common_length as usize);
        common.skip(4);
        let version: u8 = common.take();
        let augmentation = core::ffi::CStr::from_ptr(common.0.cast()).to_bytes();
        common.skip(augmentation.len() as u64 + 1);
        let code_factor = common.unsigned();
        let data_factor = common.signed();
        if version == 1 {
            common.skip(1);
        } else {
            common.unsigned();
        }
        let (mut encoding, mut signal) = (0u8, false);
        let augmented = augmentation.first() == Some(&b'z');
        if augmented {
            let length = common.unsigned();
            let behind = common.0.add(length as usize);
            for letter in &augmentation[1..] {
                match letter {
                    b'R' => encoding = common.take(),
                    b'L' => common.skip(1),
                    b'P' => {
                        let personality: u8 = common.take();
                        common.encoded(personality & 0x7f, 0)?;
                    }
                    b'S' => signal = true,
                    _ => {}
                }
            }
            common = Cursor(behind);
        }
        let begin = entry.encoded(encoding, 0)?;
        let size = entry.encoded(encoding & 15, 0)?;
        if pc < begin || pc - begin >= size {
            return None;
        }
        if augmented {
            let length = entry.unsigned();
            entry.skip(length);
        }
        let factors = Common { code_factor, data_factor, encoding };
        let blank = Rules { cfa: Cfa::Unknown(0), registers: [Rule::Same; REGISTERS.len()], signal };
        let initial = run(common, common_end, (0, u64::MAX), blank, None, factors)?;
        run(entry, entry_end, (begin, pc), initial, Some(&initial), factors)
    }
}

/// A call frame instruction (DWARF 5, section 6.4.2), its operands with their factors.
enum Instruction {
    Nothing,
    Advance(u64),
    Location(u64),
    Set(u64, Rule),
    /// What it was when the entry began.
    Restore(u64),
    Remember,
    Recall,
    Cfa(u64, i64),
    CfaRegister(u64),
    CfaOffset(i64),
    CfaExpression(*const u8),
}

/// Reads the next instruction; `None` where it is none that compilers write.
///
/// # Safety
/// The cursor is at an instruction in the tables of a loaded object.
unsafe fn next(at: &mut Cursor, common: Common) -> Option<Instruction> {
    use Instruction::{
        Advance, Cfa, CfaExpression, CfaOffset, CfaRegister, Location, Nothing, Recall, Remember, Restore, Set,
    };
    let factored = |offset: i64| offset.wrapping_mul(common.data_factor);
    // A location may be set up to an address that does not fit the factor.
    let advance = |delta: u32| Advance(u64::from(delta).wrapping_mul(common.code_factor));
    // SAFETY: the caller's contract: operands follow their instruction.
    unsafe {
        let byte: u8 = at.take();
        let low = byte & 63;
        Some(match (byte >> 6, low) {
            (1, _) => advance(u32::from(low)),
            (2, _) => Set(u64::from(low), Rule::Offset(factored(at.unsigned() as i64))),
            (3, _) => Restore(u64::from(low)),
            (_, 0x00) => Nothing,
            (_, 0x01) => Location(at.encoded(common.encoding, 0)?),
            (_, 0x02) => advance(u32::from(at.take::<u8>())),
            (_, 0x03) => advance(u32::from(at.take::<u16>())),
            (_, 0x04) => advance(at.take::<u32>()),
            (_, 0x05) => Set(at.unsigned(), Rule::Offset(factored(at.unsigned() as i64))),
            (_, 0x06) => Restore(at.unsigned()),
            (_, 0x07) => Set(at.unsigned(), Rule::Undefined),
            (_, 0x08) => Set(at.unsigned(), Rule::Same),
            (_, 0x09) => {
                let register = at.unsigned();
                at.unsigned();
                Set(register, Rule::Register)
            }
            (_, 0x0a) => Remember,
            (_, 0x0b) => Recall,
            (_, 0x0c) => Cfa(at.unsigned(), at.unsigned() as i64),
            (_, 0x0d) => CfaRegister(at.unsigned()),
            (_, 0x0e) => CfaOffset(at.unsigned() as i64),
            (_, 0x0f) => CfaExpression(at.expression()),
            (_, 0x10) => Set(at.unsigned(), Rule::At(at.expression())),
            (_, 0x16) => Set(at.unsigned(), Rule::ValueOf(at.expression())),
            (_, 0x11) => Set(at.unsigned(), Rule::Offset(factored(at.signed()))),
            (_, 0x12) => Cfa(at.unsigned(), factored(at.signed())),
            (_, 0x13) => CfaOffset(factored(at.signed())),
            (_, 0x14) => Set(at.unsigned(), Rule::Value(factored(at.unsigned() as i64))),
            (_, 0x15) => Set(at.unsigned(), Rule::Value(factored(at.signed()))),
            // DW_CFA_GNU_args_size: of no concern to the unwinder.
            (_, 0x2e) => {
                at.unsigned();
                Nothing
            }
            _ => return None,
        })
    }
}

/// Runs call frame instructions up to the wanted address.
///
/// # Safety
/// The instructions from the cursor to `end` are in the tables of a loaded object.
unsafe fn run(
    mut at: Cursor,
    end: *const u8,
    (mut location, wanted): (u64, u64),
    mut rules: Rules,
    initial: Option<&Rules>,
    common: Common,
) -> Option<Rules> {
    const REMEMBERED: usize = 8;
    let mut remembered = [rules; REMEMBERED];
    let mut depth = 0;
    while at.0 < end {
        // SAFETY: the caller's contract.
        match unsafe { next(&mut at, common) }? {
            Instruction::Nothing => {}
            Instruction::Advance(delta) => location = location.wrapping_add(delta),
            Instruction::Location(new) => location = new,
            Instruction::Set(register, rule) => {
                if let Some(position) = position(register) {
                    rules.registers[position] = rule;
                }
            }
            Instruction::Restore(register) => {
                if let (Some(position), Some(initial)) = (position(register), initial) {
                    rules.registers[position] = initial.registers[position];
                }
            }
            Instruction::Remember => {
                *remembered.get_mut(depth)? = rules;
                depth += 1;
            }
            Instruction::Recall => {
                depth = depth.checked_sub(1)?;
                rules = remembered[depth];
            }
            Instruction::Cfa(register, offset) => rules.cfa = Cfa::by(register, offset),
            Instruction::CfaRegister(register) => {
                let (Cfa::Register(_, offset) | Cfa::Unknown(offset)) = rules.cfa else { return None };
                rules.cfa = Cfa::by(register, offset);
            }
            Instruction::CfaOffset(offset) => rules.cfa = rules.cfa.at(offset)?,
            Instruction::CfaExpression(expression) => rules.cfa = Cfa::Expression(expression),
        }
        if location > wanted {
            break;
        }
    }
    Some(rules)
}
