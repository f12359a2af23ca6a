//! A program that is stopped at its first instruction: its memory, and system calls in its name.

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use libc::{c_long, pid_t, user_regs_struct};

/// `syscall; int3`.
const CALL: [u8; 4] = [0x0f, 0x05, 0xcc, 0xcc];

/// A traced process that is stopped.
pub struct Tracee {
    pid: pid_t,
    memory: File,
    /// Signals that came meanwhile: it gets them when it is let go.
    signals: RefCell<Vec<i32>>,
}

/// To be called by a child before its exec: it lets its parent stop it there.
///
/// # Errors
/// Where a sandbox forbids it.
pub fn allow() -> io::Result<()> {
    // SAFETY: no memory of ours is touched.
    check(unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) })
}

/// Whether somebody traces a process.
pub fn is_traced(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"));
    tracer.is_some_and(|tracer| tracer.trim() != "0")
}

impl Tracee {
    /// The process of this number, once it has stopped at its exec. This very thread traces it.
    pub fn at_exec(pid: pid_t) -> io::Result<Self> {
        let signals = RefCell::default();
        wait_for_trap(pid, &signals)?;
        let memory = OpenOptions::new().read(true).write(true).open(format!("/proc/{pid}/mem"))?;
        Ok(Self { pid, memory, signals })
    }

    /// A process with a single thread that waits in a system call: it is stopped there, and goes on waiting when it is let go.
    ///
    /// # Errors
    /// Where it may not be traced.
    pub fn stopped(pid: pid_t) -> io::Result<Self> {
        // SAFETY: no memory of ours is touched.
        check(unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, 0, 0) })?;
        // SAFETY: no memory of ours is touched.
        check(unsafe { libc::ptrace(libc::PTRACE_INTERRUPT, pid, 0, 0) })?;
        Self::at_exec(pid)
    }

    /// A process that is about to become another program, by its number: it is stopped when it has.
    ///
    /// # Errors
    /// Where it may not be traced.
    pub fn seize(pid: pid_t) -> io::Result<Seized> {
        // SAFETY: no memory of ours is touched.
        check(unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, 0, libc::PTRACE_O_TRACEEXEC) })?;
        Ok(Seized { pid })
    }

    /// A thread that is about to start a program by `vfork`, as `posix_spawn` does, by its number.
    ///
    /// # Errors
    /// Where it may not be traced.
    pub fn seize_parent(tid: pid_t) -> io::Result<Parent> {
        let options = libc::PTRACE_O_TRACEVFORK | libc::PTRACE_O_TRACEEXEC;
        // SAFETY: no memory of ours is touched.
        check(unsafe { libc::ptrace(libc::PTRACE_SEIZE, tid, 0, options) })?;
        Ok(Parent { tid })
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.pid as u32
    }

    /// Reads its memory.
    pub fn read(&self, address: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.memory.read_exact_at(bytes, address)
    }

    /// Writes its memory, code too.
    pub fn write(&self, address: u64, bytes: &[u8]) -> io::Result<()> {
        self.memory.write_all_at(bytes, address)
    }

    /// A system call in its name. Its registers and code are as before afterwards.
    pub fn call(&self, number: c_long, arguments: [u64; 6]) -> io::Result<u64> {
        let saved = self.registers()?;
        let mut code = [0; 4];
        self.read(saved.rip, &mut code)?;
        self.write(saved.rip, &CALL)?;
        let mut registers = saved;
        registers.rax = number as u64;
        // No system call is to be restarted.
        registers.orig_rax = u64::MAX;
        [registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8, registers.r9] = arguments;
        let result = self.set_registers(&registers).and_then(|()| self.run_to_stop());
        self.write(saved.rip, &code)?;
        self.set_registers(&saved)?;
        let result = result? as i64;
        if (-4095..0).contains(&result) { Err(io::Error::from_raw_os_error(-result as i32)) } else { Ok(result as u64) }
    }

    /// Lets it go.
    pub fn detach(self) -> io::Result<()> {
        // Before it runs: they come at its first instruction, as they would have without a stop.
        for signal in self.signals.take() {
            // SAFETY: sends a signal to our own child, which has not been waited for.
            unsafe { libc::kill(self.pid, signal) };
        }
        // SAFETY: no memory of ours is touched.
        check(unsafe { libc::ptrace(libc::PTRACE_DETACH, self.pid, 0, 0) })
    }

    fn run_to_stop(&self) -> io::Result<u64> {
        go_on(self.pid)?;
        wait_for_trap(self.pid, &self.signals)?;
        Ok(self.registers()?.rax)
    }

    fn registers(&self) -> io::Result<user_regs_struct> {
        let mut registers = std::mem::MaybeUninit::<user_regs_struct>::zeroed();
        // SAFETY: the kernel writes one structure of this kind there.
        check(unsafe { libc::ptrace(libc::PTRACE_GETREGS, self.pid, 0, registers.as_mut_ptr()) })?;
        // SAFETY: it was zeroed, and any bits are registers.
        Ok(unsafe { registers.assume_init() })
    }

    fn set_registers(&self, registers: &user_regs_struct) -> io::Result<()> {
        // SAFETY: the kernel reads one structure of this kind there.
        check(unsafe { libc::ptrace(libc::PTRACE_SETREGS, self.pid, 0, &raw const *registers) })
    }
}

/// Where the kernel entered the program of a process, by that one's folder in `/proc`: of its auxiliary vector.
///
/// # Errors
/// Where that cannot be read, or does not say.
pub fn entry(process: &Path) -> io::Result<u64> {
    let vector = std::fs::read(process.join("auxv"))?;
    let word = |bytes: &[u8]| bytes.try_into().map(u64::from_ne_bytes).unwrap_or_default();
    let mut pairs = vector.chunks_exact(16).map(|pair| (word(&pair[..8]), word(&pair[8..])));
    let entry = pairs.find(|(kind, _)| *kind == libc::AT_ENTRY).map(|(_, value)| value);
    entry.ok_or_else(|| io::Error::other("no entry in the auxiliary vector"))
}

fn check(result: c_long) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A process that is traced, and runs until its exec.
pub struct Seized {
    pid: pid_t,
}

impl Seized {
    /// Its number.
    pub fn pid(&self) -> u32 {
        self.pid as u32
    }

    /// Waits for the exec; the process is stopped then, before the new program's first instruction.
    ///
    /// # Errors
    /// Where it has ended before.
    pub fn at_exec(self) -> io::Result<Tracee> {
        const EXEC: i32 = libc::SIGTRAP | libc::PTRACE_EVENT_EXEC << 8;
        loop {
            let status = wait(self.pid)?;
            if status >> 8 == EXEC {
                break;
            }
            // A signal is handed on; any other stop is none of ours.
            let signal = if status >> 16 == 0 { libc::WSTOPSIG(status) } else { 0 };
            // SAFETY: no memory of ours is touched.
            check(unsafe { libc::ptrace(libc::PTRACE_CONT, self.pid, 0, signal) })?;
        }
        // It is still in the kernel, which is going to write its answer into a register: on to where that is done.
        // SAFETY: no memory of ours is touched.
        check(unsafe { libc::ptrace(libc::PTRACE_INTERRUPT, self.pid, 0, 0) })?;
        go_on(self.pid)?;
        Tracee::at_exec(self.pid)
    }

    /// Lets it go: it has not become another program.
    pub fn let_go(self) -> io::Result<()> {
        // SAFETY: no memory of ours is touched.
        check(unsafe { libc::ptrace(libc::PTRACE_INTERRUPT, self.pid, 0, 0) })?;
        let status = wait(self.pid)?;
        let signal = if status >> 16 == 0 { libc::WSTOPSIG(status) } else { 0 };
        // SAFETY: no memory of ours is touched.
        check(unsafe { libc::ptrace(libc::PTRACE_DETACH, self.pid, 0, signal) })
    }
}

/// A thread that is traced, and runs until it has made a child.
pub struct Parent {
    tid: pid_t,
}

impl Parent {
    /// Waits for the child, which is traced then in its parent's place and has not run yet; `None` where there is none:
    /// `has_failed` says so, and takes about a millisecond.
    ///
    /// # Errors
    /// Where the thread has ended before.
    pub fn child(self, mut has_failed: impl FnMut() -> bool) -> io::Result<Option<Seized>> {
        const VFORK: i32 = libc::SIGTRAP | libc::PTRACE_EVENT_VFORK << 8;
        loop {
            let Some(status) = wait_with(self.tid, libc::WNOHANG)? else {
                if has_failed() {
                    return Seized { pid: self.tid }.let_go().map(|()| None);
                }
                continue;
            };
            if status >> 8 == VFORK {
                let mut child: libc::c_ulong = 0;
                // SAFETY: the kernel writes the number there.
                check(unsafe { libc::ptrace(libc::PTRACE_GETEVENTMSG, self.tid, 0, &raw mut child) })?;
                // It waits for its child now, as it would.
                // SAFETY: no memory of ours is touched.
                check(unsafe { libc::ptrace(libc::PTRACE_DETACH, self.tid, 0, 0) })?;
                return Ok(Some(Seized { pid: child as pid_t }));
            }
            let signal = if status >> 16 == 0 { libc::WSTOPSIG(status) } else { 0 };
            // SAFETY: no memory of ours is touched.
            check(unsafe { libc::ptrace(libc::PTRACE_CONT, self.tid, 0, signal) })?;
        }
    }
}

/// Waits for a stop.
fn wait(pid: pid_t) -> io::Result<i32> {
    loop {
        if let Some(status) = wait_with(pid, 0)? {
            return Ok(status);
        }
    }
}

/// Waits for a stop as `flags` say; `None` where there was none yet.
fn wait_with(pid: pid_t, flags: i32) -> io::Result<Option<i32>> {
    let mut status = 0;
    // SAFETY: the kernel writes the status there.
    match unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL | flags) } {
        0 => Ok(None),
        -1 => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::Interrupted => Ok(None),
            error => Err(error),
        },
        _ if libc::WIFSTOPPED(status) => Ok(Some(status)),
        _ => Err(io::Error::other(format!("it ended before its first instruction (status {status:#x})"))),
    }
}

fn go_on(pid: pid_t) -> io::Result<()> {
    // SAFETY: no memory of ours is touched.
    check(unsafe { libc::ptrace(libc::PTRACE_CONT, pid, 0, 0) })
}

/// Waits until it is stopped by a trap. Other signals are kept for later.
fn wait_for_trap(pid: pid_t, signals: &RefCell<Vec<i32>>) -> io::Result<()> {
    loop {
        match libc::WSTOPSIG(wait(pid)?) {
            libc::SIGTRAP => return Ok(()),
            signal => {
                signals.borrow_mut().push(signal);
                go_on(pid)?;
            }
        }
    }
}
