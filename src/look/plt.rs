//! Calls of other files' functions, which go through a stub of the linker's and a word that the loader fills.

use super::memory::Memory;

fn relative(behind: u64, at: u64, memory: &Memory<'_>) -> Option<u64> {
    Some(behind.wrapping_add_signed(i64::from(memory.half(at)? as i32)))
}

/// Where a stub jumps to; `None` where there is no stub.
pub fn jumped(stub: u64, memory: &Memory<'_>) -> Option<u64> {
    let mut bytes = [0; 16];
    memory.read(stub, &mut bytes)?;
    // It jumps through a word, behind a mark for branches.
    let jump = [0, 4].into_iter().find_map(|skip| match bytes[skip..] {
        [0xff, 0x25, ..] => Some(skip as u64 + 2),
        [0xf2, 0xff, 0x25, ..] => Some(skip as u64 + 3),
        _ => None,
    });
    let skip = jump?;
    memory.word(relative(stub + skip + 4, stub + skip, memory)?)
}

/// Where the call before a return address led.
pub fn called(behind: u64, memory: &Memory<'_>) -> Option<u64> {
    let mut bytes = [0; 6];
    memory.read(behind.wrapping_sub(6), &mut bytes)?;
    match bytes {
        // Through a word, directly.
        [0xff, 0x15, ..] => memory.word(relative(behind, behind.wrapping_sub(4), memory)?),
        [_, 0xe8, ..] => {
            let to = relative(behind, behind.wrapping_sub(4), memory)?;
            Some(jumped(to, memory).unwrap_or(to))
        }
        _ => None,
    }
}
