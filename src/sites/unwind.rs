//! How to go from a frame to its caller without a frame pointer: where the return address is, for each place in the code,
//! as the unwind table says it; in a form that a recorder reads in a few nanoseconds.

use gimli::{
    BaseAddresses, CfaRule, CieOrFde, EhFrame, EhFrameHdr, EndianSlice, LittleEndian, Pointer, RegisterRule,
    UnwindContext, UnwindSection, X86_64,
};

use super::image::Image;

mod step;

pub use step::{Machine, Step, Table};

/// Bytes of a file.
pub(super) type Slice<'data> = EndianSlice<'data, LittleEndian>;

/// A rule in a word: bits 0 to 15 the distance of the frame's top from `rsp` (or from `rbp`: bit 31), in words; bits 16 to 23
/// where below the top `rbp` was saved, in words, 0 where it still is what it was. 0: not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rule(pub u32);

impl Rule {
    /// At the beginning of a function: nothing is on the stack but the return address.
    pub const ENTRY: Self = Self(1);

    const FROM_BASE: u32 = 1 << 31;

    fn new(cfa: &CfaRule<usize>, base: Option<&RegisterRule<usize>>) -> Option<Self> {
        let CfaRule::RegisterAndOffset { register, offset } = *cfa else { return None };
        let words = |bytes: i64, most: u32| {
            let words = u32::try_from(bytes / 8).ok().filter(|words| bytes % 8 == 0 && *words <= most);
            words.filter(|words| *words > 0)
        };
        let from_base = match register {
            X86_64::RSP => 0,
            X86_64::RBP => Self::FROM_BASE,
            _ => return None,
        };
        let saved = match base {
            None | Some(RegisterRule::SameValue | RegisterRule::Undefined) => 0,
            Some(RegisterRule::Offset(offset)) => words(-offset, 0xff)?,
            _ => return None,
        };
        Some(Self(from_base | saved << 16 | words(offset, 0xffff)?))
    }
}

/// The rules of a file's code, by address.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Where each holds, and behind that; sorted.
    rows: Vec<(u64, u64, Rule)>,
}

impl Rules {
    /// Reads a file's unwind table.
    pub fn read(image: &Image<'_>) -> Self {
        let mut rules = Self::default();
        let _ = rules.read_table(image);
        rules.rows.sort_unstable_by_key(|row| row.0);
        rules
    }

    /// The rule at an address.
    pub fn at(&self, address: u64) -> Rule {
        let behind = self.rows.partition_point(|row| row.0 <= address);
        let row = self.rows[..behind].last().filter(|row| address < row.1);
        row.map_or(Rule::default(), |row| row.2)
    }

    /// The rules at addresses, which are sorted.
    pub fn at_each(&self, addresses: impl Iterator<Item = u64>) -> impl Iterator<Item = Rule> {
        let mut next = 0;
        addresses.map(move |address| {
            while self.rows.get(next + 1).is_some_and(|row| row.0 <= address) {
                next += 1;
            }
            let row = self.rows.get(next).filter(|row| (row.0..row.1).contains(&address));
            row.map_or(Rule::default(), |row| row.2)
        })
    }

    fn read_table(&mut self, image: &Image<'_>) -> Option<()> {
        let (table, bases) = table_of(image)?;
        let mut entries = table.entries(&bases);
        let mut context = UnwindContext::new();
        while let Ok(Some(entry)) = entries.next() {
            let CieOrFde::Fde(partial) = entry else { continue };
            let Ok(function) = partial.parse(EhFrame::cie_from_offset) else { continue };
            let Ok(mut rows) = function.rows(&table, &bases, &mut context) else { continue };
            while let Ok(Some(row)) = rows.next_row() {
                let base = row.register(X86_64::RBP);
                if let Some(rule) = Rule::new(row.cfa(), base.as_ref()) {
                    self.rows.push((row.start_address(), row.end_address(), rule));
                }
            }
        }
        Some(())
    }
}

/// A file's unwind table, and what its pointers are relative to.
pub(super) fn table_of<'data>(image: &Image<'data>) -> Option<(EhFrame<Slice<'data>>, BaseAddresses)> {
    let index = image.unwind_index()?;
    let bases = BaseAddresses::default().set_eh_frame_hdr(index);
    let header = EhFrameHdr::new(image.from(index)?, LittleEndian).parse(&bases, 8).ok()?;
    let Pointer::Direct(start) = header.eh_frame_ptr() else { return None };
    Some((EhFrame::new(image.from(start)?, LittleEndian), bases.set_eh_frame(start)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entry_of_this_test_has_the_rule_of_entries() {
        let file = std::fs::read(std::env::current_exe().expect("this binary")).expect("its bytes");
        let image = Image::parse(&file).expect("an ELF file");
        let rules = Rules::read(&image);
        let functions = super::super::functions::Functions::read(&file, &image);
        let own = functions.names().iter().find(|(_, name)| name.contains("the_entry_of_this_test_has_the_rule"));
        assert_eq!(rules.at(own.expect("this function").0), Rule::ENTRY);
        assert_eq!(rules.at(0), Rule::default());
        let addresses: Vec<u64> = functions.all().iter().map(|function| function.start).collect();
        let each: Vec<Rule> = rules.at_each(addresses.iter().copied()).collect();
        assert!(each.len() > 100 && addresses.iter().zip(each).all(|(address, rule)| rules.at(*address) == rule));
    }

    #[test]
    fn a_rule_is_a_word() {
        let at = |register, offset| CfaRule::RegisterAndOffset { register, offset };
        assert_eq!(Rule::new(&at(X86_64::RSP, 8), None), Some(Rule::ENTRY));
        let saved = RegisterRule::Offset(-16);
        assert_eq!(Rule::new(&at(X86_64::RBP, 16), Some(&saved)), Some(Rule(1 << 31 | 2 << 16 | 2)));
        assert_eq!(Rule::new(&at(X86_64::RSP, 12), None), None);
        assert_eq!(Rule::new(&at(X86_64::RSP, 8 << 16), None), None);
        assert_eq!(Rule::new(&at(X86_64::R10, 8), None), None);
    }
}
