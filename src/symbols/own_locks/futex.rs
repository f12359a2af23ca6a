//! Code that asks the kernel for `futex` itself (x86-64).

use memchr::memmem;
use object::{File, Object, ObjectSection, ObjectSymbol, ObjectSymbolTable, RelocationTarget};

/// `mov edi, 202`: the number of `futex` as the first argument of `syscall`.
const FUTEX_FOR_SYSCALL: &[u8] = &[0xbf, 202, 0, 0, 0];
/// The end of `mov register, 202`, for the instruction: compilers keep the number in any register.
const FUTEX_FOR_KERNEL: &[u8] = &[202, 0, 0, 0];
/// The call is this near, in bytes: what is between sets the other arguments.
const FUTEX_CALL_WITHIN: usize = 64;

/// Whether the code asks for `futex`: by the instruction, or by `syscall` with the number as its first argument.
pub fn calls_futex(file: &File<'_>) -> bool {
    let Some(text) = file.section_by_name(".text") else { return false };
    let data = text.data().unwrap_or_default();
    let follows =
        |from: usize, is_call: &dyn Fn(usize) -> bool| (from..data.len().min(from + FUTEX_CALL_WITHIN)).any(is_call);
    // Where the address of `syscall` is kept.
    let kept = addresses_of(file, b"syscall");
    let calls_import = |at: usize| {
        let here = text.address().wrapping_add(at as u64);
        match data[at..] {
            // `call` (or `jmp`) of a stub that jumps to the kept address.
            [0xe8 | 0xe9, a, b, c, d, ..] => {
                let stub = beside(here.wrapping_add(5), [a, b, c, d]);
                stub_jumps_to(file, stub).is_some_and(|place| kept.contains(&place))
            }
            // `call` (or `jmp`) of the kept address (`-fno-plt`).
            [0xff, 0x15 | 0x25, a, b, c, d, ..] => kept.contains(&beside(here.wrapping_add(6), [a, b, c, d])),
            _ => false,
        }
    };
    let calls_kernel = |at: usize| data[at..].starts_with(&[0x0f, 0x05]);
    !kept.is_empty()
        && memmem::find_iter(data, FUTEX_FOR_SYSCALL).any(|at| follows(at + FUTEX_FOR_SYSCALL.len(), &calls_import))
        || memmem::find_iter(data, FUTEX_FOR_KERNEL).any(|at| {
            let is_mov = at > 0 && data[at - 1] & 0xf8 == 0xb8;
            is_mov && follows(at + FUTEX_FOR_KERNEL.len(), &calls_kernel)
        })
}

/// The addresses at which the loader keeps the address of an imported function.
fn addresses_of(file: &File<'_>, name: &[u8]) -> Vec<u64> {
    let (Some(symbols), Some(relocations)) = (file.dynamic_symbol_table(), file.dynamic_relocations()) else {
        return Vec::new();
    };
    let is_named =
        |index| symbols.symbol_by_index(index).and_then(|symbol| symbol.name_bytes()).is_ok_and(|n| n == name);
    relocations
        .filter(|(_, relocation)| matches!(relocation.target(), RelocationTarget::Symbol(index) if is_named(index)))
        .map(|(at, _)| at)
        .collect()
}

/// What an instruction means by a distance from its end.
fn beside(end: u64, distance: [u8; 4]) -> u64 {
    end.wrapping_add_signed(i64::from(i32::from_le_bytes(distance)))
}

/// Where the stub of an imported function finds its address: `jmp [rip + distance]`, after `endbr64` or `bnd` perhaps.
fn stub_jumps_to(file: &File<'_>, stub: u64) -> Option<u64> {
    const LONGEST: u64 = 16;
    let section = file.sections().find(|section| {
        section.name().is_ok_and(|name| name.starts_with(".plt"))
            && (section.address()..section.address().saturating_add(section.size())).contains(&stub)
    })?;
    let bytes = section.data_range(stub, LONGEST).ok()??;
    let at = memmem::find(bytes, &[0xff, 0x25])?;
    let distance = bytes.get(at + 2..at + 6)?.try_into().ok()?;
    Some(beside(stub.wrapping_add(at as u64 + 6), distance))
}
