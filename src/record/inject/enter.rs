//! Brings memory into a running program by code that needs nothing of the thread on which it runs: no stack, no flags, no lock.
//! It makes its calls of the kernel and goes back by itself, so `lockprof` may be killed at any moment.
//!
//! All that the thread had in its registers stands behind the code, from where it is loaded at the end.

use std::arch::global_asm;
use std::fs::{File, OpenOptions};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};

use super::sandbox;
use super::target::Target;
use super::waiting::{Purpose, Waiting};
use crate::ingest::mappings::Mapping;
use crate::ingest::{procfs, tasks};
use crate::sites::image::Image;

/// What the code writes, from the beginning of the room that it maps.
pub mod answers {
    /// How far it is (four bytes): see the values below.
    pub const STATE: u64 = 16;
    /// What making the data writable answered.
    pub const PROTECTED: u64 = 24;
    /// What `madvise` answered.
    pub const WIPED: u64 = 32;
    /// The descriptor of the file that is shared.
    pub const DESCRIPTOR: u64 = 40;
    /// Where that is mapped.
    pub const SHARED: u64 = 48;
    /// Bytes of these.
    pub const BYTES: u64 = 56;

    /// The room is there, and the file.
    pub const MAPPED: u32 = 1;
    /// The file is as long as it has to be.
    pub const FILLED: u32 = 2;
    /// The thread goes back.
    pub const DONE: u32 = 3;
}

/// Where the code is put in a room that is there already.
pub const CODE: u64 = 4096;
const PAGE: u64 = 4096;
/// No code that is put somewhere is longer.
pub const LONGEST: u64 = 1024;

/// What is to be mapped. The room is code, but for its first page and its end.
#[derive(Clone, Debug)]
pub struct Order {
    /// Where the room is.
    pub room: u64,
    /// Bytes of it.
    pub bytes: u64,
    /// From here to its end it can be written.
    pub data: u64,
    /// The part of that which a forked child sees empty: where and how long.
    pub wiped: (u64, u64),
    /// The room is there; and what was mapped of an earlier file is not wanted any more.
    pub known: Option<(u64, u64)>,
    /// Bytes of the file to map.
    pub shared: u64,
}

/// What was mapped.
pub struct Brought {
    /// The file that both have.
    pub file: File,
    /// Where the program has it.
    pub shared: u64,
}

unsafe extern "C" {
    static lockprof_enter_begin: u8;
    static lockprof_enter_end: u8;
}

/// The code without what stands behind it.
fn template() -> &'static [u8] {
    // SAFETY: the two symbols are the ends of the code below.
    unsafe {
        let begin = &raw const lockprof_enter_begin;
        std::slice::from_raw_parts(begin, (&raw const lockprof_enter_end).offset_from_unsigned(begin))
    }
}

fn code(order: &Order, thread: &Waiting) -> Vec<u8> {
    let r = thread.registers();
    let (old, old_bytes) = order.known.unwrap_or_default();
    let words = [
        order.room,
        order.bytes,
        order.room.wrapping_neg(),
        order.data,
        order.room + order.bytes - order.data,
        order.wiped.0,
        order.wiped.1,
        old,
        old_bytes,
        order.shared,
        thread.back(),
        r.rax,
        r.rbx,
        r.rcx,
        r.rdx,
        r.rsi,
        r.rdi,
        r.r8,
        r.r9,
        r.r10,
        r.r11,
        r.r12,
        u64::from(order.known.is_some()),
        0,
        100_000,
    ];
    template().iter().copied().chain(words.iter().flat_map(|word| word.to_le_bytes())).collect()
}

/// Brings it in. `at`: where the code is put.
///
/// # Errors
/// Where that cannot be; the program is as it was then.
pub fn bring(target: &Target, order: &Order, at: u64) -> anyhow::Result<Brought> {
    let pid = target.pid;
    let thread = thread_of(pid)?;
    if let Err(refused) = sandbox::check(pid, thread.thread(), &sandbox::OF_MEMORY) {
        thread.let_go();
        return Err(refused);
    }
    if let Err(error) = target.write(at, &code(order, &thread)) {
        thread.let_go();
        return Err(error).context(format!("process {pid}: its code cannot be written"));
    }
    if !thread.send(at) {
        bail!("process {pid} ended while it was attached to");
    }
    let answer = |at: u64| target.word(order.room + at);
    wait_for(target, order.room, answers::MAPPED)?;
    let descriptor = answer(answers::DESCRIPTOR)? as i64;
    let file = tasks::folder(pid).join(format!("fd/{descriptor}"));
    let file = OpenOptions::new().read(true).write(true).open(file);
    let file = file.with_context(|| format!("process {pid}: memory that both have cannot be made"))?;
    file.set_len(order.shared)?;
    target.write(order.room + answers::STATE, &answers::FILLED.to_ne_bytes())?;
    wait_for(target, order.room, answers::DONE)?;
    let shared = answer(answers::SHARED)?;
    if answer(answers::PROTECTED)? != 0 || shared == 0 || (shared as i64) < 0 {
        bail!("process {pid}: memory for the recorder cannot be mapped in it (a limit of address space?)");
    }
    Ok(Brought { file, shared })
}

/// A thread that waits in the kernel, or else any that runs.
fn thread_of(pid: u32) -> anyhow::Result<Waiting> {
    const PATIENCE: Duration = Duration::from_secs(3);
    const FOR_ONE_THAT_WAITS: Duration = Duration::from_millis(200);
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        let any = || (began.elapsed() > FOR_ONE_THAT_WAITS).then(|| Waiting::anywhere(pid)).flatten();
        if let Some(found) = Waiting::find(pid, Purpose::Calls).or_else(any) {
            return Ok(found);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    bail!("process {pid}: no thread of it can be stopped where memory could be mapped in its name: try again")
}

fn wait_for(target: &Target, room: u64, wanted: u32) -> anyhow::Result<()> {
    /// The code waits for three seconds itself.
    const PATIENCE: Duration = Duration::from_secs(5);
    let (pid, began) = (target.pid, Instant::now());
    while began.elapsed() < PATIENCE {
        let mut word = [0; 4];
        // Until it is mapped there is nothing.
        if target.read(room + answers::STATE, &mut word).is_ok() {
            match u32::from_ne_bytes(word) {
                state if state == wanted => return Ok(()),
                answers::DONE => bail!("process {pid}: lockprof was too slow to attach to it: try again"),
                _ => {}
            }
        } else if !procfs::folder(pid).exists() {
            bail!("process {pid} ended while it was attached to");
        }
        std::thread::sleep(Duration::from_micros(100));
    }
    bail!("process {pid}: the thread in whose name memory was to be mapped does not answer: it goes on by itself")
}

/// Room for the code in the unused rest of a file's last page: behind what the file says that there is.
///
/// # Errors
/// Where there is none.
pub fn tail(target: &Target, mappings: &[Mapping]) -> anyhow::Result<u64> {
    let is_code = |it: &&Mapping| {
        it.executable && !it.writable && !it.shared && (it.path.starts_with('/') || it.path == "[vdso]")
    };
    let found = mappings.iter().filter(is_code).find_map(|mapping| {
        let at = mapping.range.end - LONGEST;
        let page = target.bytes(mapping.range.end - PAGE, PAGE as usize).ok()?;
        let rest = &page[(PAGE - LONGEST) as usize..];
        let is_unused = rest.iter().all(|byte| *byte == 0) || is_left(target.pid, rest, at);
        (is_unused && is_behind(target, mappings, mapping, at)).then_some(at)
    });
    found.ok_or_else(|| {
        anyhow!("process {}: there is no room for {LONGEST} bytes of code behind any file's", target.pid)
    })
}

/// Whether it is the code of a `lockprof` that was killed, and no thread is in it.
fn is_left(pid: u32, bytes: &[u8], at: u64) -> bool {
    let is_outside = |tid: u32| {
        let text = procfs::text(procfs::folder(pid).join(format!("task/{tid}/syscall"))).unwrap_or_default();
        let place =
            text.split_whitespace().last().and_then(|word| u64::from_str_radix(word.trim_start_matches("0x"), 16).ok());
        place.is_some_and(|place| !(at..at + LONGEST).contains(&place))
    };
    bytes.starts_with(template()) && tasks::living(pid).all(is_outside)
}

/// Whether an address is behind all that the file of a mapping has there.
fn is_behind(target: &Target, mappings: &[Mapping], mapping: &Mapping, at: u64) -> bool {
    let bytes = if mapping.path.starts_with('/') {
        target.file(mapping).ok()
    } else {
        target.bytes(mapping.range.start, (mapping.range.end - mapping.range.start) as usize).ok()
    };
    let Some(bytes) = bytes else { return false };
    let Ok(image) = Image::parse(&bytes) else { return false };
    // Where its first part lies says where all lie.
    let Some(lowest) = image.segments().iter().map(|part| part.address).min() else { return false };
    let first = mappings.iter().filter(|it| it.path == mapping.path).map(|it| it.range.start).min();
    let bias = first.unwrap_or(0).wrapping_sub(lowest & !(PAGE - 1));
    let in_file = at.wrapping_sub(bias);
    let ends = image.segments().iter().map(|part| (part.address, part.address.saturating_add(part.size)));
    let mut inside = ends.clone().filter(|(start, end)| *start < in_file + LONGEST && in_file < *end);
    let begins = ends.into_iter().any(|(start, end)| end <= in_file && in_file - end < PAGE && start < end);
    inside.next().is_none() && begins
}

global_asm!(
    ".pushsection .rodata",
    ".balign 16",
    "lockprof_enter_begin:",
    "mov rbx, [rip + lockprof_enter_end]",
    "mov rcx, [rip + lockprof_enter_end + 8*22]",
    "jrcxz 10f",
    // The room is there: what was mapped before goes.
    "mov eax, 11",
    "mov rdi, [rip + lockprof_enter_end + 8*7]",
    "mov rsi, [rip + lockprof_enter_end + 8*8]",
    "syscall",
    "jmp 30f",
    // mmap(room, bytes, READ | EXEC, PRIVATE | ANONYMOUS | NORESERVE | FIXED_NOREPLACE, -1, 0)
    "10:",
    "mov eax, 9",
    "mov rdi, rbx",
    "mov rsi, [rip + lockprof_enter_end + 8*1]",
    "mov edx, 5",
    "mov r10d, 0x104022",
    "mov r8, -1",
    "mov r9d, 0",
    "syscall",
    "mov rcx, [rip + lockprof_enter_end + 8*2]",
    "lea rcx, [rcx + rax]",
    "jrcxz 11f",
    "jmp 90f",
    // mprotect(room, a page, READ | WRITE)
    "11:",
    "mov eax, 10",
    "mov rdi, rbx",
    "mov esi, 4096",
    "mov edx, 3",
    "syscall",
    "mov rcx, rax",
    "jrcxz 12f",
    "jmp 90f",
    "12:",
    "mov eax, 10",
    "mov rdi, [rip + lockprof_enter_end + 8*3]",
    "mov rsi, [rip + lockprof_enter_end + 8*4]",
    "mov edx, 3",
    "syscall",
    "mov [rbx + {protected}], rax",
    // madvise(wiped, bytes, WIPEONFORK)
    "mov eax, 28",
    "mov rdi, [rip + lockprof_enter_end + 8*5]",
    "mov rsi, [rip + lockprof_enter_end + 8*6]",
    "mov edx, 18",
    "syscall",
    "mov [rbx + {wiped}], rax",
    // memfd_create(name, CLOEXEC)
    "30:",
    "mov eax, 319",
    "lea rdi, [rip + 95f]",
    "mov esi, 1",
    "syscall",
    "mov [rbx + {descriptor}], rax",
    "mov dword ptr [rbx + {state}], {mapped}",
    "mov r12d, 30000",
    "40:",
    "mov ecx, [rbx + {state}]",
    "lea rcx, [rcx - {filled}]",
    "jrcxz 50f",
    "lea r12, [r12 - 1]",
    "mov rcx, r12",
    "jrcxz 41f",
    // nanosleep(0.1 ms)
    "mov eax, 35",
    "lea rdi, [rip + lockprof_enter_end + 8*23]",
    "mov esi, 0",
    "syscall",
    "jmp 40b",
    "41:",
    "jmp 60f",
    // mmap(anywhere, bytes, READ | WRITE, SHARED | NORESERVE, file, 0)
    "50:",
    "mov eax, 9",
    "mov edi, 0",
    "mov rsi, [rip + lockprof_enter_end + 8*9]",
    "mov edx, 3",
    "mov r10d, 0x4001",
    "mov r8, [rbx + {descriptor}]",
    "mov r9d, 0",
    "syscall",
    "mov [rbx + {shared}], rax",
    "60:",
    "mov eax, 3",
    "mov rdi, [rbx + {descriptor}]",
    "syscall",
    "mov dword ptr [rbx + {state}], {done}",
    "90:",
    "mov rax, [rip + lockprof_enter_end + 8*11]",
    "mov rbx, [rip + lockprof_enter_end + 8*12]",
    "mov rcx, [rip + lockprof_enter_end + 8*13]",
    "mov rdx, [rip + lockprof_enter_end + 8*14]",
    "mov rsi, [rip + lockprof_enter_end + 8*15]",
    "mov rdi, [rip + lockprof_enter_end + 8*16]",
    "mov r8, [rip + lockprof_enter_end + 8*17]",
    "mov r9, [rip + lockprof_enter_end + 8*18]",
    "mov r10, [rip + lockprof_enter_end + 8*19]",
    "mov r11, [rip + lockprof_enter_end + 8*20]",
    "mov r12, [rip + lockprof_enter_end + 8*21]",
    "jmp qword ptr [rip + lockprof_enter_end + 8*10]",
    "95:",
    ".asciz \"lockprof\"",
    ".balign 8",
    "lockprof_enter_end:",
    ".popsection",
    state = const answers::STATE,
    protected = const answers::PROTECTED,
    wiped = const answers::WIPED,
    descriptor = const answers::DESCRIPTOR,
    shared = const answers::SHARED,
    mapped = const answers::MAPPED,
    filled = const answers::FILLED,
    done = const answers::DONE,
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_room() {
        assert!(template().len() + 25 * 8 <= LONGEST as usize, "{} bytes", template().len());
    }
}
