//! Code that opens a library on a thread that waits in the kernel, and puts the thread back by itself: once it runs, nobody
//! has to be there any more, so `lockprof` may be killed at any moment.
//!
//! The thread enters it with all its registers as they were. On its own stack, below the red zone, it keeps the general
//! ones; everything else happens on memory that it maps. At the end it begins its system call again.

use std::arch::global_asm;

/// What the code works with: it maps these bytes, and whoever sent it there reads and fills them.
pub mod data {
    /// Bytes of all.
    pub const SIZE: u64 = 0x5_0000;
    /// How far it is: see [`State`](super::State).
    pub const STATE: u64 = 0;
    /// 1: the library is to be put into a file without a name first.
    pub const NAMELESS: u64 = 4;
    /// What mapping the room for code answered.
    pub const REGION: u64 = 8;
    /// Address of `__errno_location`.
    pub const ERRNO_LOCATION: u64 = 0x20;
    /// Address of `dlopen`.
    pub const DLOPEN: u64 = 0x38;
    /// Address of `dlerror`.
    pub const DLERROR: u64 = 0x40;
    /// What `dlopen` answered.
    pub const HANDLE: u64 = 0x48;
    /// The descriptor of the file without a name.
    pub const DESCRIPTOR: u64 = 0x50;
    /// The thread's own stack, where its registers are.
    pub const STACK: u64 = 0x58;
    /// The library's path, which ends with a NUL.
    pub const PATH: u64 = 0x100;
    /// Room for it, bytes.
    pub const PATH_BYTES: usize = 0x200;
    /// What `dlerror` said, which ends with a NUL.
    pub const MESSAGE: u64 = 0x300;
    /// Room for it, bytes.
    pub const MESSAGE_BYTES: usize = 0x100;
}

/// The values of [`data::STATE`].
pub mod state {
    /// The memory is there, and has to be filled.
    pub const MAPPED: u32 = 1;
    /// It was filled.
    pub const FILLED: u32 = 2;
    /// There is a file without a name, which has to be written.
    pub const NAMELESS: u32 = 3;
    /// It was written.
    pub const WRITTEN: u32 = 4;
    /// The library is open, or could not be opened, and the thread goes back.
    pub const DONE: u32 = 5;
    /// Nobody filled it in time, or it was refused.
    pub const GIVEN_UP: u32 = 6;
    /// The thread is to go on without.
    pub const REFUSED: u32 = 7;
}

/// Bytes that the code's mapping of room for more code has.
pub const REGION_BYTES: u64 = 0x1_0000;

/// What the code is told, behind it.
#[derive(Clone, Copy, Debug)]
pub struct Orders {
    /// Where its data is to be mapped.
    pub data: u64,
    /// Where the room for code is to be mapped.
    pub region: u64,
    /// Signals that are blocked meanwhile.
    pub blocked: u64,
    /// Where the thread goes on.
    pub back: u64,
    /// What it has in `rax` there: its system call's number.
    pub call: u64,
}

unsafe extern "C" {
    static lockprof_boot_begin: u8;
    static lockprof_boot_end: u8;
}

/// The code and its orders, for any address that is a multiple of eight.
pub fn code(orders: &Orders) -> Vec<u8> {
    // SAFETY: the two symbols are the ends of the code below.
    let mut code = unsafe {
        let begin = &raw const lockprof_boot_begin;
        std::slice::from_raw_parts(begin, (&raw const lockprof_boot_end).offset_from_unsigned(begin)).to_vec()
    };
    for word in [orders.data, orders.region, orders.blocked, orders.back, orders.call] {
        code.extend(word.to_le_bytes());
    }
    code
}

/// Bytes of [`code`].
pub fn length() -> usize {
    code(&Orders { data: 0, region: 0, blocked: 0, back: 0, call: 0 }).len()
}

global_asm!(
    ".pushsection .rodata",
    ".balign 16",
    "lockprof_boot_begin:",
    "lea rsp, [rsp - 128]",
    "pushfq",
    "push rax",
    "push rbx",
    "push rcx",
    "push rdx",
    "push rsi",
    "push rdi",
    "push rbp",
    "push r8",
    "push r9",
    "push r10",
    "push r11",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "mov rbp, rsp",
    "cld",
    // mmap(data, size, READ | WRITE, PRIVATE | ANONYMOUS | NORESERVE | FIXED_NOREPLACE, -1, 0)
    "mov eax, 9",
    "mov rdi, [rip + lockprof_boot_end]",
    "mov esi, {data_size}",
    "mov edx, 3",
    "mov r10d, 0x104022",
    "mov r8, -1",
    "xor r9d, r9d",
    "syscall",
    "cmp rax, [rip + lockprof_boot_end]",
    "jne 90f",
    "mov rbx, rax",
    "mov [rbx + {stack}], rbp",
    // The same for code: READ | EXEC.
    "mov eax, 9",
    "mov rdi, [rip + lockprof_boot_end + 8]",
    "mov esi, {region_size}",
    "mov edx, 5",
    "mov r10d, 0x104022",
    "mov r8, -1",
    "xor r9d, r9d",
    "syscall",
    "mov [rbx + {region}], rax",
    "lea rsp, [rbx + {data_size} - 64]",
    // rt_sigprocmask(SIG_SETMASK, …): a handler must not run here.
    "mov rax, [rip + lockprof_boot_end + 16]",
    "mov [rbx + 0x18], rax",
    "mov eax, 14",
    "mov edi, 2",
    "lea rsi, [rbx + 0x18]",
    "lea rdx, [rbx + 0x10]",
    "mov r10d, 8",
    "syscall",
    "mov eax, -1",
    "mov edx, -1",
    "xsave64 [rbx + 0x1000]",
    "mov dword ptr [rbx + {state}], {mapped}",
    "mov r12d, {filled}",
    "call 80f",
    "jne 60f",
    "cmp dword ptr [rbx + {nameless}], 1",
    "jne 20f",
    // memfd_create(path, MFD_CLOEXEC)
    "mov eax, 319",
    "lea rdi, [rbx + {path}]",
    "mov esi, 1",
    "syscall",
    "mov [rbx + {descriptor}], rax",
    "mov dword ptr [rbx + {state}], {named}",
    "mov r12d, {written}",
    "call 80f",
    "jne 60f",
    "20:",
    "call qword ptr [rbx + {errno_location}]",
    "mov [rbx + 0x28], rax",
    "mov ecx, [rax]",
    "mov [rbx + 0x30], ecx",
    "lea rdi, [rbx + {path}]",
    // RTLD_NOW
    "mov esi, 2",
    "call qword ptr [rbx + {dlopen}]",
    "mov [rbx + {handle}], rax",
    "test rax, rax",
    "jnz 50f",
    "cmp qword ptr [rbx + {dlerror}], 0",
    "je 50f",
    "call qword ptr [rbx + {dlerror}]",
    "test rax, rax",
    "jz 50f",
    "xor ecx, ecx",
    "40:",
    "mov dl, [rax + rcx]",
    "mov [rbx + rcx + {message}], dl",
    "inc ecx",
    "test dl, dl",
    "jz 50f",
    "cmp ecx, {message_bytes} - 1",
    "jb 40b",
    "50:",
    "mov rax, [rbx + 0x28]",
    "mov ecx, [rbx + 0x30]",
    "mov [rax], ecx",
    "mov r12d, {done}",
    "jmp 70f",
    "60:",
    "mov r12d, {given_up}",
    "70:",
    "cmp dword ptr [rbx + {nameless}], 1",
    "jne 75f",
    "mov rdi, [rbx + {descriptor}]",
    "mov eax, 3",
    "syscall",
    "75:",
    "mov eax, -1",
    "mov edx, -1",
    "xrstor64 [rbx + 0x1000]",
    "mov eax, 14",
    "mov edi, 2",
    "lea rsi, [rbx + 0x10]",
    "xor edx, edx",
    "mov r10d, 8",
    "syscall",
    "mov dword ptr [rbx + {state}], r12d",
    "90:",
    "mov rsp, rbp",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop r11",
    "pop r10",
    "pop r9",
    "pop r8",
    "pop rbp",
    "pop rdi",
    "pop rsi",
    "pop rdx",
    "pop rcx",
    "pop rbx",
    "pop rax",
    "popfq",
    "lea rsp, [rsp + 128]",
    "mov rax, [rip + lockprof_boot_end + 32]",
    "jmp qword ptr [rip + lockprof_boot_end + 24]",
    // Waits until the state is r12d: then equal. Gives up after 2^33 ticks, or where it is refused.
    "80:",
    "rdtsc",
    "shl rdx, 32",
    "or rax, rdx",
    "mov r13, rax",
    "81:",
    "cmp dword ptr [rbx + {state}], r12d",
    "je 82f",
    "cmp dword ptr [rbx + {state}], {refused}",
    "je 83f",
    // sched_yield()
    "mov eax, 24",
    "syscall",
    "rdtsc",
    "shl rdx, 32",
    "or rax, rdx",
    "sub rax, r13",
    "shr rax, 33",
    "jz 81b",
    "82:",
    "ret",
    // Not equal: no stack is at address 0.
    "83:",
    "test rsp, rsp",
    "ret",
    ".balign 8",
    "lockprof_boot_end:",
    ".popsection",
    data_size = const data::SIZE,
    region_size = const REGION_BYTES,
    region = const data::REGION,
    state = const data::STATE,
    stack = const data::STACK,
    refused = const state::REFUSED,
    nameless = const data::NAMELESS,
    path = const data::PATH,
    descriptor = const data::DESCRIPTOR,
    errno_location = const data::ERRNO_LOCATION,
    dlopen = const data::DLOPEN,
    dlerror = const data::DLERROR,
    handle = const data::HANDLE,
    message = const data::MESSAGE,
    message_bytes = const data::MESSAGE_BYTES,
    mapped = const state::MAPPED,
    filled = const state::FILLED,
    named = const state::NAMELESS,
    written = const state::WRITTEN,
    done = const state::DONE,
    given_up = const state::GIVEN_UP,
);
