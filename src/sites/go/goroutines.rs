//! What a goroutine's description (`runtime.g`) has at the same distance in Go 1.18 to 1.27 on amd64, and how the list of all
//! goroutines is told.

/// Longer lists are none.
pub const LONGEST: u64 = 1 << 24;
/// `g.sched.sp` and `g.sched.pc`.
pub const SP: u64 = 56;
/// See [`SP`].
pub const PC: u64 = 64;
/// In a status (the word before the number): its stack is being looked at.
pub const SCANNED: u32 = 0x1000;

/// Whether a slice is the list of all goroutines: the first one ever is the first of them. `word`: reads the program's memory;
/// `number`: the distance of a goroutine's number in its description.
pub fn is_list(word: &impl Fn(u64) -> Option<u64>, at: u64, number: u64) -> bool {
    let fits = || {
        let list = word(at).filter(|list| *list > 4096 && list.is_multiple_of(8))?;
        let (length, room) = (word(at.checked_add(8)?)?, word(at.checked_add(16)?)?);
        ((1..=room).contains(&length) && room <= LONGEST).then_some(())?;
        let is_one = |place: u64| {
            let one = word(list.checked_add(8 * place)?)?;
            let (low, high) = (word(one)?, word(one.checked_add(8)?)?);
            let status = word(one.checked_add(number)?.wrapping_sub(8))? as u32 & !SCANNED;
            ((low < high && high - low < 1 << 32 || low == 0) && status < 16).then_some(one)
        };
        let first = is_one(0)?;
        is_one(length - 1)?;
        (word(first.checked_add(number)?)? == 1).then_some(())
    };
    fits().is_some()
}
