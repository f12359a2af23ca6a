//! The interpreter of call frame tables against gimli: at every row of every function of the system's libraries.

extern crate std;

use std::format;
use std::fs;
use std::println;
use std::string::String;
use std::vec::Vec;

use gimli::{BaseAddresses, CfaRule, EhFrame, NativeEndian, RegisterRule, UnwindContext, UnwindSection};
use object::{Object, ObjectSection, ObjectSegment};

use super::cfi::{Cfa, REGISTERS, Rule, rules};

/// The libraries that this test itself has loaded, and those that many programs load.
const LIBRARIES: [&str; 5] = ["libc.so.6", "libstdc++.so.6", "libgcc_s.so.1", "libm.so.6", "ld-linux-x86-64.so.2"];
const FOLDERS: [&str; 4] = ["/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64"];

/// A file laid out as the loader does, so that the tables' relative addresses lead to where they should.
struct Image(Vec<u64>);

impl Image {
    fn of(file: &object::File<'_>) -> Self {
        let end = file.segments().map(|segment| segment.address() + segment.size()).max().expect("segments");
        let mut words = std::vec![0u64; end as usize / 8 + 2];
        for segment in file.segments() {
            let bytes = segment.data().expect("a segment's content");
            // SAFETY: the image reaches to the end of the last segment.
            unsafe {
                let to = words.as_mut_ptr().cast::<u8>().add(segment.address() as usize);
                to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            }
        }
        Self(words)
    }

    fn base(&self) -> u64 {
        self.0.as_ptr() as u64
    }
}

/// The bytes of an expression, behind their length.
fn bytes_of(expression: *const u8) -> Vec<u8> {
    let mut cursor = super::cursor::Cursor(expression);
    // SAFETY: the expression lies in the image.
    unsafe {
        let len = cursor.unsigned();
        std::slice::from_raw_parts(cursor.0, len as usize).to_vec()
    }
}

fn ours(rule: Rule) -> String {
    match rule {
        // Never named, or named as unchanged: the same to an unwinder.
        Rule::Same => "same".into(),
        Rule::Undefined => "undefined".into(),
        Rule::Offset(offset) => format!("at cfa {offset}"),
        Rule::Value(offset) => format!("cfa {offset}"),
        Rule::At(expression) => format!("at {:?}", bytes_of(expression)),
        Rule::ValueOf(expression) => format!("is {:?}", bytes_of(expression)),
        Rule::Register => "register".into(),
    }
}

fn theirs(rule: &RegisterRule<usize>, section: &[u8]) -> String {
    let bytes = |expression: &gimli::UnwindExpression<usize>| {
        section[expression.offset..expression.offset + expression.length].to_vec()
    };
    match rule {
        RegisterRule::Undefined => "undefined".into(),
        RegisterRule::SameValue => "same".into(),
        RegisterRule::Offset(offset) => format!("at cfa {offset}"),
        RegisterRule::ValOffset(offset) => format!("cfa {offset}"),
        RegisterRule::Register(_) => "register".into(),
        RegisterRule::Expression(expression) => format!("at {:?}", bytes(expression)),
        RegisterRule::ValExpression(expression) => format!("is {:?}", bytes(expression)),
        other => format!("{other:?}"),
    }
}

/// Compares all rows; their number.
fn compare(path: &str) -> usize {
    let content = fs::read(path).expect("the library");
    let file = object::File::parse(&*content).expect("an ELF file");
    let image = Image::of(&file);
    let section = |name: &str| file.section_by_name(name).expect("a section");
    let (table, header) = (section(".eh_frame"), section(".eh_frame_hdr").address());
    let data = table.data().expect("its content");
    let frames = EhFrame::new(data, NativeEndian);
    let bases = BaseAddresses::default()
        .set_eh_frame(table.address())
        .set_eh_frame_hdr(header)
        .set_text(section(".text").address());
    let mut context = UnwindContext::new();
    let mut entries = frames.entries(&bases);
    let mut compared = 0;
    while let Some(entry) = entries.next().expect("entries") {
        let gimli::CieOrFde::Fde(partial) = entry else { continue };
        let description = partial.parse(EhFrame::cie_from_offset).expect("an entry");
        let mut rows = description.rows(&frames, &bases, &mut context).expect("rows");
        while let Some(row) = rows.next_row().expect("a row") {
            let last = row.end_address().wrapping_sub(1);
            for pc in [row.start_address(), last] {
                if row.start_address() >= row.end_address() || !description.contains(pc) {
                    continue;
                }
                // SAFETY: the image has the tables where a loader would have them.
                let found = unsafe { rules(image.base() + header, image.base() + pc) };
                let found = found.unwrap_or_else(|| panic!("{path}: no rules at {pc:#x}"));
                let place = format!("{path} at {pc:#x}");
                let cfa = match found.cfa {
                    Cfa::Register(position, offset) => format!("{} {offset}", REGISTERS[position]),
                    Cfa::Expression(expression) => format!("{:?}", bytes_of(expression)),
                    Cfa::Unknown(_) => "unknown".into(),
                };
                let other_cfa = match row.cfa() {
                    CfaRule::RegisterAndOffset { register, .. } if !REGISTERS.contains(&u64::from(register.0)) => {
                        "unknown".into()
                    }
                    CfaRule::RegisterAndOffset { register, offset } => format!("{} {offset}", register.0),
                    CfaRule::Expression(expression) => {
                        format!("{:?}", &data[expression.offset..expression.offset + expression.length])
                    }
                };
                assert_eq!(cfa, other_cfa, "{place}: CFA");
                for (position, number) in REGISTERS.iter().enumerate() {
                    let rule = row.register(gimli::Register(*number as u16));
                    let rule = rule.map_or("same".into(), |rule| theirs(&rule, data));
                    assert_eq!(ours(found.registers[position]), rule, "{place}: register {number}");
                }
                assert_eq!(found.signal, description.is_signal_trampoline(), "{place}: signal frame");
                compared += 1;
            }
        }
    }
    compared
}

#[test]
fn every_row_of_the_systems_libraries_is_read_as_by_gimli() {
    let mut all = 0;
    for name in LIBRARIES {
        let paths = FOLDERS.map(|folder| format!("{folder}/{name}"));
        if let Some(path) = paths.iter().find(|path| fs::exists(path).unwrap_or(false)) {
            let compared = compare(path);
            println!("{name}: {compared} addresses compared");
            all += compared;
        }
    }
    assert!(all > 10_000, "only {all} addresses were compared");
}
