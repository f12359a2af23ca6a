//! A process that lives: its threads, its mappings, its memory.
//!
//! A thread that sleeps in a system call is not stopped: the kernel tells where it is (`/proc/PID/task/TID/syscall`). One that
//! runs is stopped for as long as it takes to read its registers and to copy its stack. So is one whose stack needs a register
//! that the kernel does not tell, if it sleeps in a call that does not mind.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::LookError;
use super::files::{Bytes, Opened, bias};
use super::memory::{Memory, Source};
use super::registers::Registers;
use super::thread::{Call, RawThread, State};
use crate::ingest::mappings::{self, Mapping};
use crate::ingest::refusal::Refusal;
use crate::ingest::stop::{Stop, detach, registers, seize, stop_of};
use crate::ingest::{procfs, tasks};
use crate::sites::image::Image;

/// A thread that does not stop within this time is in the kernel, and let go.
const PATIENCE: Duration = Duration::from_millis(50);
/// Of a stack so much is copied while its thread is stopped.
const MOST_STACK: u64 = 1 << 20;
/// Calls that go on as if nothing had been when their thread was stopped.
const HARMLESS: [libc::c_long; 11] = [
    libc::SYS_futex,
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_select,
    libc::SYS_pselect6,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_pause,
    libc::SYS_rt_sigsuspend,
];

/// A process.
pub struct Process {
    pub pid: u32,
    folder: PathBuf,
    memory: File,
}

impl Source for Process {
    fn read(&self, address: u64, buffer: &mut [u8]) -> usize {
        let mut done = 0;
        while done < buffer.len() {
            match self.memory.read_at(&mut buffer[done..], address.wrapping_add(done as u64)) {
                Ok(0) | Err(_) => break,
                Ok(read) => done += read,
            }
        }
        done
    }
}

impl Process {
    /// Opens it, or says why that cannot be.
    pub fn open(pid: u32) -> Result<Self, LookError> {
        let folder = procfs::folder(pid);
        let status = procfs::text(folder.join("status")).map_err(|_| LookError::NoProcess(pid))?;
        if let Some(thread_of) = procfs::field(&status, "Tgid:").and_then(|id| id.parse::<u32>().ok())
            && procfs::field(&status, "Pid:").and_then(|id| id.parse().ok()) != Some(thread_of)
        {
            return Err(LookError::Thread(pid, thread_of));
        }
        if tasks::living(pid).next().is_none() {
            return Err(LookError::Over(pid));
        }
        let shown = tasks::folder(pid);
        if fs::read_link(shown.join("exe")).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            return Err(LookError::Kernel(pid));
        }
        let memory = File::open(shown.join("mem")).map_err(|error| refusal(pid, &status, &error))?;
        let exe = File::open(shown.join("exe")).or_else(|_| File::open(folder.join("exe")));
        let mut head = [0; 20];
        if exe.is_ok_and(|file| file.read_exact_at(&mut head, 0).is_ok()) && head.starts_with(b"\x7fELF") {
            // The class, and the processor: x86-64.
            if head[4] != 2 {
                return Err(LookError::Foreign(format!("process {pid} is a 32-bit program")));
            }
            if head[18..20] != [62, 0] {
                return Err(LookError::Foreign(format!("process {pid} is a program for another processor")));
            }
        }
        Ok(Self { pid, folder, memory })
    }

    /// What it has mapped.
    pub fn mappings(&self) -> Result<Vec<Mapping>, LookError> {
        mappings::of(&self.folder).map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => refusal(self.pid, "", &error),
            _ => LookError::NoProcess(self.pid),
        })
    }

    /// The files that it has mapped as code, and the kernel's own code in it.
    pub fn files(&self, mappings: &[Mapping]) -> Vec<Opened> {
        let mut found: Vec<Opened> = Vec::new();
        for mapping in mappings.iter().filter(|mapping| mapping.executable && !mapping.path.is_empty()) {
            let range = &mapping.range;
            let (place, bytes) = if mapping.path == "[vdso]" {
                let mut bytes = vec![0; (range.end - range.start).min(1 << 16) as usize];
                let read = self.read(range.start, &mut bytes);
                bytes.truncate(read);
                (PathBuf::new(), Some(Bytes::Copied(bytes)))
            } else if mapping.path.starts_with('/') {
                let known = found.iter().any(|file| file.path == mapping.path && has(file, mapping));
                if known {
                    continue;
                }
                self.open_file(mapping)
            } else {
                continue;
            };
            let Some(bytes) = bytes else { continue };
            let bias = Image::parse(bytes.get()).ok().and_then(|image| bias(bytes.get(), &image, mapping));
            if let Some(bias) = bias {
                found.push(Opened { path: mapping.path.clone(), place, bytes, bias });
            }
        }
        found
    }

    fn open_file(&self, mapping: &Mapping) -> (PathBuf, Option<Bytes>) {
        let path = PathBuf::from(mapping.path.strip_suffix(" (deleted)").unwrap_or(&mapping.path));
        let places = mapping.places(&tasks::memory_of(&self.folder)).into_iter().chain([path]);
        let opened = { places }.find_map(|place| Bytes::of_file(&place).map(|bytes| (place, bytes)));
        opened.map_or_else(Default::default, |(place, bytes)| (place, Some(bytes)))
    }

    /// Its threads; stacks of those that run are copied into `memory`.
    pub fn threads(&self, memory: &Memory<'_>, mappings: &[Mapping]) -> Vec<RawThread> {
        let mut threads: Vec<RawThread> = tasks::living_in(&self.folder).filter_map(|tid| self.thread(tid)).collect();
        threads.sort_by_key(|thread| (thread.tid != self.pid, thread.tid));
        for thread in threads.iter_mut().filter(|thread| thread.registers.is_none()) {
            self.stop(thread, memory, mappings);
        }
        threads
    }

    /// What the kernel tells of a thread.
    fn thread(&self, tid: u32) -> Option<RawThread> {
        let folder = self.folder.join(format!("task/{tid}"));
        let status = procfs::text(folder.join("status")).ok()?;
        let call = procfs::text(folder.join("syscall")).unwrap_or_default();
        let (registers, call) = read_call(&call);
        let (_, own) = procfs::known_as(&folder)?;
        let letter = procfs::field(&status, "State:").and_then(|state| state.chars().next());
        let state = match letter {
            Some('T' | 't') => State::Stopped,
            _ if registers.is_none() => State::Running,
            _ => State::Blocked,
        };
        let name = procfs::field(&status, "Name:").unwrap_or_default().to_owned();
        let number = |name| procfs::field(&status, name).and_then(|text| text.parse::<u64>().ok());
        let switches = number("voluntary_ctxt_switches:")?.wrapping_add(number("nonvoluntary_ctxt_switches:")?);
        Some(RawThread { tid, own_tid: own, name, state, registers, told: registers, call, switches })
    }

    /// Stops a thread, reads its registers, copies its stack and lets it go.
    fn stop(&self, thread: &mut RawThread, memory: &Memory<'_>, mappings: &[Mapping]) {
        let tid = thread.tid as libc::pid_t;
        if !seize(tid) {
            return;
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            match stop_of(tid) {
                Some(Stop::Stopped(signal)) => {
                    if let Some(found) = registers(tid) {
                        let words = words(&found);
                        thread.registers = Some(Registers::of_kernel(&words));
                        thread.call = Call::of_registers(&words, |address| self.is_call(address));
                        let sp = found.rsp;
                        let end = mappings.iter().find(|mapping| mapping.range.contains(&sp)).map(|m| m.range.end);
                        // What is below the pointer belongs to it (the red zone).
                        memory.prepare(sp.saturating_sub(128), end.unwrap_or(sp).min(sp.saturating_add(MOST_STACK)));
                    }
                    detach(tid, signal);
                    return;
                }
                Some(Stop::Over) => return,
                None if Instant::now() < deadline => std::thread::sleep(Duration::from_micros(30)),
                None => break,
            }
        }
        // It stops when it leaves the kernel: then it has to be let go.
        let pause = Duration::from_millis(1);
        for _ in 0..200 {
            if let Some(stop) = stop_of(tid) {
                if let Stop::Stopped(signal) = stop {
                    detach(tid, signal);
                }
                return;
            }
            std::thread::sleep(pause);
        }
    }

    /// Reads all registers of a thread that sleeps, where its call does not mind. It must sleep there still.
    pub fn complete(&self, thread: &RawThread, memory: &Memory<'_>, mappings: &[Mapping]) -> Option<Registers> {
        thread.call.filter(|call| HARMLESS.contains(&call.number))?;
        let mut stopped = thread.clone();
        stopped.registers = None;
        self.stop(&mut stopped, memory, mappings);
        let before = thread.registers?;
        stopped.registers.filter(|now| (now.pc(), now.sp()) == (before.pc(), before.sp()))
    }

    /// Waits until a thread that was stopped in its sleep sleeps again, as before; from there on it is watched.
    pub fn settle(&self, thread: &mut RawThread) {
        for _ in 0..40 {
            if let Some(now) = self.thread(thread.tid)
                && now.state == State::Blocked
                && (now.registers, now.call) == (thread.told, thread.call)
            {
                thread.switches = now.switches;
                return;
            }
            std::thread::sleep(Duration::from_micros(250));
        }
    }

    /// Whether a system call's instruction is before an address.
    fn is_call(&self, address: u64) -> bool {
        let mut bytes = [0; 2];
        self.read(address.wrapping_sub(2), &mut bytes) == 2 && bytes == [0x0f, 0x05]
    }

    /// The numbers of switches of its threads, for whoever looks whether one has run meanwhile.
    pub fn switches(&self) -> Vec<RawThread> {
        tasks::living_in(&self.folder).filter_map(|tid| self.thread(tid)).collect()
    }

    /// Whether no handler of a signal can run, beside those for faults, and nobody debugs it.
    pub fn is_left_alone(&self) -> bool {
        let status = procfs::text(tasks::memory_of(&self.folder).join("status")).unwrap_or_default();
        crate::ingest::watch::is_left_alone(&status)
    }

    /// The path of its program, as it sees it.
    pub fn exe(&self) -> String {
        let link = fs::read_link(tasks::memory_of(&self.folder).join("exe"));
        let link = link.or_else(|_| fs::read_link(self.folder.join("exe")));
        link.map(|link| link.display().to_string()).unwrap_or_default()
    }
}

/// Whether a mapping is one of this very loading of a file.
fn has(file: &Opened, mapping: &Mapping) -> bool {
    let image = Image::parse(file.bytes.get()).ok();
    image.and_then(|image| bias(file.bytes.get(), &image, mapping)) == Some(file.bias)
}

/// Why the memory of a process is not to be read.
fn refusal(pid: u32, status: &str, error: &io::Error) -> LookError {
    if error.kind() != io::ErrorKind::PermissionDenied {
        return LookError::Refused(pid, format!("its memory is not to be read: {error}"));
    }
    // SAFETY: always allowed.
    let why = match Refusal::of(status, unsafe { libc::geteuid() }) {
        Refusal::NoRight => {
            "this root has no right to look into it: it needs CAP_SYS_PTRACE (`docker run --cap-add SYS_PTRACE`)".to_owned()
        }
        Refusal::Owner(owner) => format!("it belongs to user {owner}: look at it as that user, or as root (sudo)"),
        Refusal::Scope(scope) => format!(
            "the kernel lets only root look into it (kernel.yama.ptrace_scope is {scope}): use sudo, or set it to 0 by sysctl"
        ),
        Refusal::NotDumpable => {
            "it does not let itself be looked into (PR_SET_DUMPABLE is 0, or its file has capabilities): use root (sudo)"
                .to_owned()
        }
    };
    LookError::Refused(pid, why)
}

/// A line of `syscall`: where the thread is, and the call that it is in. None of them where it runs.
fn read_call(line: &str) -> (Option<Registers>, Option<Call>) {
    let mut words = line.split_whitespace();
    let Some(number) = words.next().and_then(|word| word.parse::<libc::c_long>().ok()) else { return (None, None) };
    let numbers: Vec<u64> =
        words.filter_map(|word| u64::from_str_radix(word.trim_start_matches("0x"), 16).ok()).collect();
    let [.., sp, pc] = numbers.as_slice() else { return (None, None) };
    let registers = Some(Registers::of_call(*pc, *sp)).filter(|_| *pc != 0);
    let arguments = numbers.first_chunk::<6>().filter(|_| number >= 0 && numbers.len() == 8);
    (registers, arguments.map(|arguments| Call { number, arguments: *arguments }))
}

fn words(registers: &libc::user_regs_struct) -> [u64; 27] {
    let r = registers;
    [
        r.r15, r.r14, r.r13, r.r12, r.rbp, r.rbx, r.r11, r.r10, r.r9, r.r8, r.rax, r.rcx, r.rdx, r.rsi, r.rdi,
        r.orig_rax, r.rip, r.cs, r.eflags, r.rsp, r.ss, r.fs_base, r.gs_base, r.ds, r.es, r.fs, r.gs,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernel() {
        let (registers, call) = read_call("202 0x1 0x80 0x2 0x0 0x0 0x0 0x7ffd 0x7f11\n");
        assert_eq!(registers, Some(Registers::of_call(0x7f11, 0x7ffd)));
        assert_eq!(call, Some(Call { number: 202, arguments: [1, 128, 2, 0, 0, 0] }));
        assert_eq!(read_call("running\n"), (None, None));
        assert_eq!(read_call("-1 0x7ffd 0x7f11\n"), (Some(Registers::of_call(0x7f11, 0x7ffd)), None));
        assert_eq!(read_call(""), (None, None));
    }

    #[test]
    fn this_process_is_read() {
        let process = Process::open(std::process::id()).expect("this process");
        let text = *b"some bytes";
        let mut read = [0; 10];
        assert_eq!(process.read(text.as_ptr() as u64, &mut read), 10);
        assert_eq!((read, process.read(8, &mut read)), (text, 0));
        let mappings = process.mappings().expect("mappings");
        let files = process.files(&mappings);
        let own = std::env::current_exe().expect("a path").display().to_string();
        assert!(files.iter().any(|file| file.path == own) && files.iter().any(|file| file.path == "[vdso]"));
        assert!(matches!(Process::open(0), Err(LookError::NoProcess(0))));
    }
}
