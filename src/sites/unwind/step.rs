//! One step from a frame to its caller, as the unwind table says it in full: for whoever looks at a stack from outside.

use std::cell::RefCell;

use gimli::{
    BaseAddresses, CfaRule, EhFrame, EhFrameHdr, Encoding, EvaluationResult, Format, LittleEndian, Location,
    ParsedEhFrameHdr, RegisterRule, UnwindContext, UnwindExpression, UnwindSection, Value, X86_64,
};

use object::elf::FileHeader64;
use object::read::elf::{FileHeader, SectionHeader};

use super::super::image::Image;
use super::Slice;

/// Registers that rules may name: those for integers, and the return address.
const REGISTERS: usize = 17;
/// Expressions take few steps.
const MOST_STEPS: u32 = 1000;

/// The thread whose stack it is.
pub trait Machine {
    /// A register in the frame; `None` where it is not known.
    fn register(&self, number: u16) -> Option<u64>;
    /// A word of its memory.
    fn word(&self, address: u64) -> Option<u64>;
    /// The process's addresses less the file's.
    fn bias(&self) -> u64;
}

/// What a step leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "one lives at a time, and most are the large one")]
pub enum Step {
    /// The caller.
    Caller {
        /// Its stack pointer.
        cfa: u64,
        /// By number, the return address last: what the rules say of it, if anything; of that `None` where it cannot be read.
        registers: [Option<Option<u64>>; REGISTERS],
        /// Whether the frame is that of a signal's delivery: the caller was interrupted, it did not call.
        is_signal: bool,
    },
    /// The frame has no caller.
    Outermost,
    /// The table does not know the address.
    NoRow,
    /// A register is needed that is not known.
    NoRegister,
    /// Memory is needed that is not there.
    NoMemory,
}

/// The unwind table of a file.
pub struct Table<'data> {
    entries: EhFrame<Slice<'data>>,
    index: Option<ParsedEhFrameHdr<Slice<'data>>>,
    bases: BaseAddresses,
    context: RefCell<UnwindContext<usize>>,
}

impl<'data> Table<'data> {
    /// Finds it. `file`: the whole of the image's.
    pub fn of(image: &Image<'data>, file: &'data [u8]) -> Option<Self> {
        let context = RefCell::new(UnwindContext::new());
        if let Some((entries, bases)) = super::table_of(image) {
            let index = EhFrameHdr::new(image.from(image.unwind_index()?)?, LittleEndian).parse(&bases, 8).ok()?;
            return Some(Self { entries, index: Some(index), bases, context });
        }
        // Static programs may have the table, but no index of it.
        let (address, bytes) = section(file)?;
        let bases = BaseAddresses::default().set_eh_frame(address);
        Some(Self { entries: EhFrame::new(bytes, LittleEndian), index: None, bases, context })
    }

    /// Where the function begins that an address is in.
    pub fn start(&self, address: u64) -> Option<u64> {
        let cie = EhFrame::cie_from_offset;
        let index = self.index.as_ref().and_then(ParsedEhFrameHdr::table)?;
        let entry = index.fde_for_address(&self.entries, &self.bases, address, cie).ok()?;
        Some(entry.initial_address())
    }

    /// Goes from a frame to its caller. `address`: the file's, inside the call.
    pub fn step(&self, address: u64, machine: &dyn Machine) -> Step {
        let cie = EhFrame::cie_from_offset;
        let entry = match self.index.as_ref().and_then(ParsedEhFrameHdr::table) {
            Some(index) => index.fde_for_address(&self.entries, &self.bases, address, cie),
            None => self.entries.fde_for_address(&self.bases, address, cie),
        };
        let Ok(entry) = entry else { return Step::NoRow };
        let encoding = entry.cie().encoding();
        let mut context = self.context.borrow_mut();
        let row = entry.unwind_info_for_address(&self.entries, &self.bases, &mut context, address);
        let Ok(row) = row else { return Step::NoRow };
        let expression = |of: &UnwindExpression<usize>, first: Option<u64>| {
            let expression = of.get(&self.entries).ok()?;
            evaluate(expression, encoding, machine, first)
        };
        let cfa = match row.cfa() {
            CfaRule::RegisterAndOffset { register, offset } => match machine.register(register.0) {
                Some(value) => value.wrapping_add_signed(*offset),
                None => return Step::NoRegister,
            },
            CfaRule::Expression(of) => match expression(of, None) {
                Some(value) => value,
                None => return Step::NoMemory,
            },
        };
        let mut registers = [None; REGISTERS];
        for (register, rule) in row.registers() {
            let Some(found) = registers.get_mut(usize::from(register.0)) else { continue };
            *found = match rule {
                RegisterRule::Undefined if *register == X86_64::RA => return Step::Outermost,
                RegisterRule::Offset(offset) => Some(machine.word(cfa.wrapping_add_signed(*offset))),
                RegisterRule::ValOffset(offset) => Some(Some(cfa.wrapping_add_signed(*offset))),
                RegisterRule::Register(other) => Some(machine.register(other.0)),
                RegisterRule::Expression(of) => {
                    Some(expression(of, Some(cfa)).and_then(|address| machine.word(address)))
                }
                RegisterRule::ValExpression(of) => Some(expression(of, Some(cfa))),
                _ => None,
            };
        }
        if registers[usize::from(X86_64::RA.0)].is_none() {
            return Step::Outermost;
        }
        Step::Caller { cfa, registers, is_signal: entry.is_signal_trampoline() }
    }
}

/// The section of a file that has the table, where there are sections.
fn section(file: &[u8]) -> Option<(u64, &[u8])> {
    let header = FileHeader64::<object::LittleEndian>::parse(file).ok()?;
    let endian = header.endian().ok()?;
    let (_, section) = header.sections(endian, file).ok()?.section_by_name(endian, b".eh_frame")?;
    Some((section.sh_addr(endian), section.data(endian, file).ok()?))
}

/// The value of an expression. `first`: what is on its stack at the beginning.
fn evaluate(
    expression: gimli::Expression<Slice<'_>>,
    encoding: Encoding,
    machine: &dyn Machine,
    first: Option<u64>,
) -> Option<u64> {
    let encoding = Encoding { address_size: 8, format: Format::Dwarf32, ..encoding };
    let mut evaluation = expression.evaluation(encoding);
    evaluation.set_max_iterations(MOST_STEPS);
    if let Some(first) = first {
        evaluation.set_initial_value(first);
    }
    let mut result = evaluation.evaluate().ok()?;
    loop {
        result = match result {
            EvaluationResult::Complete => break,
            EvaluationResult::RequiresMemory { address, size, .. } => {
                let word = machine.word(address)?;
                let kept = if size >= 8 { word } else { word & ((1 << (8 * size)) - 1) };
                evaluation.resume_with_memory(Value::Generic(kept)).ok()?
            }
            EvaluationResult::RequiresRegister { register, .. } => {
                evaluation.resume_with_register(Value::Generic(machine.register(register.0)?)).ok()?
            }
            EvaluationResult::RequiresRelocatedAddress(address) => {
                evaluation.resume_with_relocated_address(address.wrapping_add(machine.bias())).ok()?
            }
            _ => return None,
        };
    }
    match evaluation.result().first()?.location {
        Location::Address { address } => Some(address),
        Location::Value { value } => value.to_u64(u64::MAX).ok(),
        _ => None,
    }
}
