//! The functions of a file by its unwind table, which stripped files have too, with their names where there are symbols.

use gimli::{CieOrFde, DwEhPe, EhFrame, EndianSlice, LittleEndian, Pointer, Reader, UnwindSection};
use object::elf::FileHeader64;
use object::read::elf::{FileHeader, Sym};

use super::code::Code;
use super::image::Image;
use super::unwind::{self, Slice};

/// More cases than this has no table of jumps that is looked at.
const MOST_CASES: u64 = 4096;

/// One function, or a part of one that was moved elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function {
    /// Where it begins.
    pub start: u64,
    /// Behind it.
    pub end: u64,
    /// Where the places are that unwinding goes on at, 0 for none.
    handlers: u64,
}

/// The functions of a file.
#[derive(Debug, Default)]
pub struct Functions<'data> {
    functions: Vec<Function>,
    /// By address.
    names: Vec<(u64, &'data str)>,
}

impl<'data> Functions<'data> {
    /// Reads what a file says of its functions. `file`: the whole of it; `image`: the same.
    pub fn read(file: &'data [u8], image: &Image<'data>) -> Self {
        let mut found = Self::default();
        let sized = found.read_symbols(file).unwrap_or_default();
        found.read_unwind_table(image);
        found.functions.sort_by_key(|function| (function.start, function.end));
        found.functions.dedup_by_key(|function| function.start);
        // Written in assembly, as a rule: without a row in that table.
        let listed = std::mem::take(&mut found.functions);
        let is_new = |function: &Function| {
            let before = listed.partition_point(|other| other.start <= function.start);
            let covered = before.checked_sub(1).is_some_and(|at| listed[at].end > function.start);
            !covered && listed.get(before).is_none_or(|other| other.start >= function.end)
        };
        found.functions = sized.into_iter().filter(is_new).collect();
        found.functions.extend_from_slice(&listed);
        found.functions.sort_by_key(|function| (function.start, function.end));
        found.functions.dedup_by_key(|function| function.start);
        found.names.sort_unstable();
        found
    }

    /// All, by address.
    pub fn all(&self) -> &[Function] {
        &self.functions
    }

    /// The names of functions, by address; one may have several.
    pub fn names(&self) -> &[(u64, &'data str)] {
        &self.names
    }

    /// The names of the function that begins at an address.
    pub fn names_at(&self, address: u64) -> impl Iterator<Item = &'data str> + '_ {
        let from = self.names.partition_point(|(at, _)| *at < address);
        self.names[from..].iter().take_while(move |(at, _)| *at == address).map(|(_, name)| *name)
    }

    /// The function that an address is in.
    pub fn at(&self, address: u64) -> Option<&Function> {
        let behind = self.functions.partition_point(|function| function.start <= address);
        self.functions[..behind].last().filter(|function| address < function.end)
    }

    /// A function's code, with all addresses in it that are gone to.
    pub fn decode(&self, image: &Image<'data>, function: &Function) -> Option<Code> {
        let code = Code::decode(image.code(function.start, function.end)?, function.start);
        let mut entries = landing_pads(image, function).unwrap_or_default();
        entries.extend(cases(image, function, &code));
        Some(code.with_entries(entries))
    }

    /// The names; returns the functions that have a size.
    fn read_symbols(&mut self, file: &'data [u8]) -> Option<Vec<Function>> {
        let header = FileHeader64::<object::LittleEndian>::parse(file).ok()?;
        let endian = header.endian().ok()?;
        let sections = header.sections(endian, file).ok()?;
        let symbols = sections.symbols(endian, file, object::elf::SHT_SYMTAB).ok()?;
        let mut sized = Vec::new();
        for symbol in symbols.iter() {
            let (start, size) = (symbol.st_value(endian), symbol.st_size(endian));
            if symbol.st_type() != object::elf::STT_FUNC || start == 0 {
                continue;
            }
            if let Some(name) = symbol.name(endian, symbols.strings()).ok().and_then(|name| str::from_utf8(name).ok()) {
                self.names.push((start, name));
            }
            if let Some(end) = start.checked_add(size).filter(|end| *end > start) {
                sized.push(Function { start, end, handlers: 0 });
            }
        }
        Some(sized)
    }

    fn read_unwind_table(&mut self, image: &Image<'data>) -> Option<()> {
        let (table, bases) = unwind::table_of(image)?;
        let mut entries = table.entries(&bases);
        // What is damaged ends the list.
        while let Ok(Some(entry)) = entries.next() {
            let CieOrFde::Fde(partial) = entry else { continue };
            let Ok(row) =
                partial.parse(|section: &EhFrame<Slice<'data>>, bases, offset| section.cie_from_offset(bases, offset))
            else {
                continue;
            };
            let handlers = match row.lsda() {
                Some(Pointer::Direct(address)) => address,
                Some(Pointer::Indirect(slot)) => image.word(slot).unwrap_or(0),
                None => 0,
            };
            let start = row.initial_address();
            if let Some(end) = start.checked_add(row.len()).filter(|end| *end > start && start > 0) {
                self.functions.push(Function { start, end, handlers });
            }
        }
        Some(())
    }
}

/// Where unwinding may go on in a function, of its language-specific data (as GCC lays it out, for C++ and Rust).
fn landing_pads(image: &Image<'_>, function: &Function) -> Option<Vec<u64>> {
    if function.handlers == 0 {
        return None;
    }
    let mut data = EndianSlice::new(image.from(function.handlers)?, LittleEndian);
    let omitted = gimli::DW_EH_PE_omit;
    let base = match DwEhPe(data.read_u8().ok()?) {
        encoding if encoding == omitted => function.start,
        // Only the start of the function itself is used.
        _ => return None,
    };
    if DwEhPe(data.read_u8().ok()?) != omitted {
        data.read_uleb128().ok()?;
    }
    let encoding = DwEhPe(data.read_u8().ok()?);
    let length = data.read_uleb128().ok()? as usize;
    let mut rows = data.split(length.min(data.len())).ok()?;
    let mut found = Vec::new();
    let number = |rows: &mut Slice<'_>| match encoding.format() {
        gimli::DW_EH_PE_uleb128 => rows.read_uleb128().ok(),
        gimli::DW_EH_PE_udata4 => rows.read_u32().ok().map(u64::from),
        gimli::DW_EH_PE_sdata4 => rows.read_i32().ok().map(|value| value as u64),
        gimli::DW_EH_PE_udata2 => rows.read_u16().ok().map(u64::from),
        gimli::DW_EH_PE_udata8 | gimli::DW_EH_PE_sdata8 | gimli::DW_EH_PE_absptr => rows.read_u64().ok(),
        _ => None,
    };
    while !rows.is_empty() {
        let (Some(_), Some(_), Some(pad)) = (number(&mut rows), number(&mut rows), number(&mut rows)) else { break };
        if rows.read_uleb128().is_err() {
            break;
        }
        if pad != 0 {
            found.push(base.wrapping_add(pad));
        }
    }
    Some(found)
}

/// The cases of a function's tables of jumps: distances from the table, which an instruction takes the address of.
fn cases(image: &Image<'_>, function: &Function, code: &Code) -> Vec<u64> {
    use iced_x86::{FlowControl, Mnemonic};
    let instructions = code.instructions();
    if !instructions.iter().any(|instruction| instruction.flow_control() == FlowControl::IndirectBranch) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for instruction in instructions {
        if instruction.mnemonic() != Mnemonic::Lea || !instruction.is_ip_rel_memory_operand() {
            continue;
        }
        let table = instruction.ip_rel_memory_address();
        let entries = image.from(table).unwrap_or_default().chunks_exact(4).take(MOST_CASES as usize);
        let cases = entries.map(|entry| {
            let distance = i32::from_le_bytes(entry.try_into().unwrap_or_default());
            table.wrapping_add_signed(distance.into())
        });
        found.extend(cases.take_while(|case| (function.start..function.end).contains(case)));
    }
    // Those of programs that are not position-independent hold addresses: `jmp [table + 8 * r]`.
    for instruction in instructions {
        if instruction.flow_control() == FlowControl::IndirectBranch && instruction.memory_index_scale() == 8 {
            let table = instruction.memory_displacement64();
            let words = (0..MOST_CASES).map_while(|number| image.word(table.checked_add(8 * number)?));
            found.extend(words.take_while(|case| (function.start..function.end).contains(case)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_test_has_functions_with_names_and_landing_pads() {
        let file = std::fs::read(std::env::current_exe().expect("this binary")).expect("its bytes");
        let image = Image::parse(&file).expect("an ELF file");
        let functions = Functions::read(&file, &image);
        let is_own = |name: &str| name.contains("this_test_has_functions_with_names_and_landing_pads");
        let mut unwinds = 0;
        for (address, name) in functions.names().iter().filter(|(_, name)| is_own(name)) {
            let function = functions.at(*address).expect("its code");
            assert!(function.start == *address && functions.at(function.end - 1) == Some(function));
            assert!(functions.names_at(*address).any(|other| other == *name));
            let code = functions.decode(&image, function).expect("its code");
            let pads = landing_pads(&image, function).unwrap_or_default();
            assert!(pads.iter().all(|pad| code.position(*pad).is_some() && code.is_target(*pad)));
            unwinds += usize::from(!pads.is_empty());
        }
        // It has closures, which need not.
        assert!(unwinds > 0);
        assert!(functions.at(0).is_none());
    }

    #[test]
    fn every_case_and_landing_pad_of_this_test_is_an_instruction() {
        let file = std::fs::read(std::env::current_exe().expect("this binary")).expect("its bytes");
        let image = Image::parse(&file).expect("an ELF file");
        let functions = Functions::read(&file, &image);
        let (mut pads, mut tables) = (0, 0);
        for function in functions.all().iter().step_by(17) {
            let Some(code) = functions.decode(&image, function) else { continue };
            let of_function = landing_pads(&image, function).unwrap_or_default();
            assert!(of_function.iter().all(|pad| code.position(*pad).is_some()), "{function:x?}");
            pads += of_function.len();
            tables += cases(&image, function, &code).iter().filter(|case| code.position(**case).is_some()).count();
        }
        assert!(pads > 100 && tables > 100, "{pads} {tables}");
    }

    #[test]
    fn damaged_tables_do_not_panic() {
        let file = std::fs::read(std::env::current_exe().expect("this binary")).expect("its bytes");
        let index = Image::parse(&file).expect("an ELF file").unwind_index().expect("an unwind table") as usize;
        let mut damaged = file.clone();
        for at in (index..damaged.len().min(index + 4096)).step_by(7) {
            damaged[at] ^= 0x5a;
        }
        if let Ok(image) = Image::parse(&damaged) {
            let functions = Functions::read(&damaged, &image);
            functions.all().iter().take(500).for_each(|function| _ = functions.decode(&image, function));
        }
    }
}
