//! Where the threads and goroutines of a stopped program are: whether one of them would go on between instructions that are
//! about to be replaced.
//!
//! A thread's place is in its registers. If a signal's handler runs on it, where it will come back is on its stack; so is
//! where a goroutine goes on that Go's scheduler took its thread from by a signal. Calls return behind themselves, and no
//! patch has a call before its last instruction.

use std::ops::Range;

use super::super::inject::target::Target;
use crate::ingest::freeze::Frozen;
use crate::ingest::mappings::Mapping;
use crate::ingest::stop;
use crate::sites::go::goroutines::{LONGEST, PC, SCANNED, SP, is_list};
use crate::sites::go::recipe::Recipe;
use crate::sites::go::recorder::MACHINE_OF;

/// More of a stack is not looked at, bytes.
const STACK: u64 = 256 << 10;
/// What Go puts on a goroutine's stack to take its thread takes less, bytes.
const TAKEN: u64 = 4096;
/// More goroutines are not looked at while the program is stopped.
const MOST: u64 = 1 << 18;
/// Goroutine statuses with no code to go on in: `_Gidle`, `_Gdead`.
const IDLE: u32 = 0;
const DEAD: u32 = 6;

/// What has to be known of a Go program to find its goroutines: addresses in memory.
#[derive(Clone, Debug)]
pub struct Go {
    /// The slice of all goroutines.
    list: u64,
    number: u64,
    current: u64,
    signals: u64,
    handler: Range<u64>,
    park: Range<u64>,
}

impl Go {
    /// Looks for the list of goroutines; `None` where it is not found. `base`: what is added to the file's addresses.
    pub fn find(target: &Target, recipe: &Recipe, base: u64) -> Option<Self> {
        /// Longer variables are not searched.
        const MOST_DATA: u64 = 256 << 20;
        let moved = |range: &Range<u64>| range.start.wrapping_add(base)..range.end.wrapping_add(base);
        let number = u64::from(recipe.runtime.goroutine_number);
        let word = |at: u64| target.word(at).ok();
        let list = recipe.data.iter().map(moved).find_map(|range| {
            let start = range.start.next_multiple_of(8);
            let words = words(&readable(target, start, range.end.saturating_sub(start).min(MOST_DATA)));
            let may_be = |at: usize| {
                let (list, length, room) = (words[at], words[at + 1], words[at + 2]);
                list > 4096 && list.is_multiple_of(8) && (1..=room).contains(&length) && room <= LONGEST
            };
            let found = (0..words.len().saturating_sub(2)).filter(|at| may_be(*at)).map(|at| start + 8 * at as u64);
            found.into_iter().find(|at| is_list(&word, *at, number))
        })?;
        Some(Self {
            list,
            number,
            current: recipe.runtime.current.into(),
            signals: recipe.runtime.signals.into(),
            handler: moved(&recipe.handler),
            park: moved(&recipe.park),
        })
    }

    /// How many goroutines there are or were.
    pub fn count(&self, target: &Target) -> u64 {
        target.word(self.list + 8).unwrap_or(0)
    }

    /// The goroutine that a thread runs code for, and its M, by what it has for itself.
    fn of_thread(target: &Target, base: u64) -> Option<(u64, u64)> {
        /// Words before the thread's control block, where its own variables are.
        const REACH: u64 = 64;
        let start = base.checked_sub(8 * REACH).filter(|_| base != 0)?;
        let own = words(&target.bytes(start, 8 * REACH as usize).ok()?);
        own.into_iter().rev().filter(|word| *word > 4096 && word.is_multiple_of(8)).find_map(|goroutine| {
            let word = |at: u64| target.word(at).ok().filter(|word| *word > 4096 && word.is_multiple_of(8));
            let machine = word(goroutine.checked_add(MACHINE_OF.into())?)?;
            // An M begins with its own goroutine.
            let own = word(machine)?;
            (word(own.checked_add(MACHINE_OF.into())?)? == machine).then_some((goroutine, machine))
        })
    }

    /// A goroutine's stack.
    fn stack(target: &Target, goroutine: u64) -> Range<u64> {
        let word = |at: u64| target.word(goroutine + at).unwrap_or(0);
        if goroutine == 0 { 0..0 } else { word(0)..word(8) }
    }

    /// Where the stack of a thread ends, as far as it is to be looked at; `None` where it handles a signal.
    fn end_of_stack(&self, target: &Target, registers: &libc::user_regs_struct) -> Option<u64> {
        let sp = registers.rsp;
        let most = sp.saturating_add(STACK);
        let Some((_, machine)) = Self::of_thread(target, registers.fs_base) else { return Some(most) };
        let field = |at: u64| target.word(machine + at).unwrap_or(0);
        if Self::stack(target, field(self.signals)).contains(&sp) {
            return None;
        }
        let stacks = [Self::stack(target, field(self.current)), Self::stack(target, field(0))];
        Some(stacks.iter().find(|stack| stack.contains(&sp)).map_or(most, |stack| stack.end.min(most)))
    }

    /// What the goroutines have on top of their stacks, where they may go on at any place; `None` where there are too many, or
    /// they cannot be read.
    fn stacks(&self, target: &Target) -> Option<Vec<u64>> {
        let (list, count) = (target.word(self.list).ok()?, self.count(target));
        if count > MOST {
            return None;
        }
        let all = words(&target.bytes(list, 8 * count as usize).ok()?);
        let length = self.number + 8;
        let descriptions = read_all(target.pid, all.iter().map(|at| (*at, length)))?;
        let mut tops = Vec::new();
        for description in descriptions.chunks_exact(length as usize) {
            let word = |at: u64| word_of(&description[at as usize..]);
            let status = word(self.number - 8) as u32 & !SCANNED;
            let (sp, pc, stack) = (word(SP), word(PC), word(0)..word(8));
            if status != IDLE && status != DEAD && stack.contains(&sp) && !self.park.contains(&pc) {
                tops.push((sp & !7, TAKEN.min(stack.end - (sp & !7))));
            }
        }
        Some(words(&read_all(target.pid, tops.into_iter())?))
    }
}

/// Why a program cannot be changed at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InTheWay {
    /// A thread or goroutine goes on between instructions that are to be replaced.
    Between,
    /// A thread is where nobody may be.
    Inside,
    /// There are too many goroutines, or they cannot be read.
    Unknown,
}

/// Whether nobody goes on at one of these places (`inner`: sorted), and no thread is in this code (`closed`), nor handles a
/// signal in Go's runtime. `mappings`: what it has mapped.
pub fn is_free(
    target: &Target,
    (frozen, mappings): (&Frozen<'_>, &[Mapping]),
    go: Option<&Go>,
    (inner, closed): (&[u64], &Range<u64>),
) -> Result<(), InTheWay> {
    // Most words are no addresses of code.
    let all = inner.first().map_or(0..0, |first| *first..inner[inner.len() - 1] + 1);
    let is_inner = |place: u64| all.contains(&place) && inner.binary_search(&place).is_ok();
    for tid in frozen.threads() {
        let Some(registers) = stop::registers(tid) else { continue };
        if is_inner(registers.rip) {
            return Err(InTheWay::Between);
        }
        if closed.contains(&registers.rip) || go.is_some_and(|go| go.handler.contains(&registers.rip)) {
            return Err(InTheWay::Inside);
        }
        let end = match go {
            Some(go) => go.end_of_stack(target, &registers).ok_or(InTheWay::Inside)?,
            None => registers.rsp.saturating_add(STACK),
        };
        let start = registers.rsp & !7;
        let at = mappings.partition_point(|mapping| mapping.range.end <= start);
        let mapped = mappings.get(at).filter(|mapping| mapping.range.contains(&start));
        let end = mapped.map_or(end, |mapping| mapping.range.end.min(end));
        for word in words_of(&readable(target, start, end.saturating_sub(start))) {
            if is_inner(word) {
                return Err(InTheWay::Between);
            }
            // In Go a trampoline's address is on no stack but that of signals.
            if go.is_none() && closed.contains(&word) {
                return Err(InTheWay::Inside);
            }
        }
    }
    if let Some(go) = go.filter(|_| !inner.is_empty())
        && go.stacks(target).ok_or(InTheWay::Unknown)?.into_iter().any(is_inner)
    {
        return Err(InTheWay::Between);
    }
    Ok(())
}

/// Whether no thread has a place in this code among the next words of its stack.
pub fn is_on_no_stack(target: &Target, frozen: &Frozen<'_>, code: &Range<u64>) -> bool {
    /// What the kernel puts there for a handler, and what that has on top, bytes.
    const NEXT: u64 = 16 << 10;
    frozen.threads().filter_map(stop::registers).all(|registers| {
        let stack = readable(target, registers.rsp & !7, NEXT);
        words_of(&stack).all(|word| !code.contains(&word))
    })
}

fn word_of(bytes: &[u8]) -> u64 {
    bytes.get(..8).and_then(|word| word.try_into().ok()).map_or(0, u64::from_ne_bytes)
}

fn words_of(bytes: &[u8]) -> impl Iterator<Item = u64> + '_ {
    let (words, _) = bytes.as_chunks::<8>();
    words.iter().map(|word| u64::from_ne_bytes(*word))
}

fn words(bytes: &[u8]) -> Vec<u64> {
    words_of(bytes).collect()
}

/// As much of memory as there is from an address on.
fn readable(target: &Target, at: u64, most: u64) -> Vec<u8> {
    use std::os::unix::fs::FileExt;
    let mut bytes = vec![0; most as usize];
    let mut read = 0;
    while read < bytes.len() {
        match target.memory.read_at(&mut bytes[read..], at + read as u64) {
            Ok(more) if more > 0 => read += more,
            _ => break,
        }
    }
    bytes.truncate(read);
    bytes
}

/// Stretches of a process's memory, behind each other; `None` where one cannot be read.
fn read_all(pid: u32, parts: impl Iterator<Item = (u64, u64)>) -> Option<Vec<u8>> {
    /// The kernel takes no more at once (`IOV_MAX`).
    const AT_ONCE: usize = 1024;
    let parts: Vec<libc::iovec> =
        parts.map(|(at, length)| libc::iovec { iov_base: at as *mut libc::c_void, iov_len: length as usize }).collect();
    let mut bytes = vec![0u8; parts.iter().map(|part| part.iov_len).sum()];
    let mut at = 0;
    for some in parts.chunks(AT_ONCE) {
        let wanted: usize = some.iter().map(|part| part.iov_len).sum();
        let here = libc::iovec { iov_base: bytes[at..].as_mut_ptr().cast(), iov_len: wanted };
        // SAFETY: the kernel writes at most `wanted` bytes, for which there is room behind `at`; the other side's addresses are
        // the other process's.
        let read = unsafe {
            libc::process_vm_readv(
                pid as libc::pid_t,
                &raw const here,
                1,
                some.as_ptr(),
                some.len() as libc::c_ulong,
                0,
            )
        };
        if read != wanted as isize {
            return None;
        }
        at += wanted;
    }
    Some(bytes)
}
