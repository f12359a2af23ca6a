//! Patches a program's own code at its exec, as `sites` plans it, so that it writes its lock operations into rings.
//!
//! The program is started, stopped before its first instruction by ptrace, and let go for good when it is patched: no
//! debugger stays. Code is written through `/proc/PID/mem`; no page is ever writable and executable at once.

use std::io;
use std::path::Path;

use crate::ingest::go::{Patched, Rings, Shape};
use crate::ingest::tasks;
use crate::sites::layout::COMMON_BYTES;
use crate::sites::plan::{Form, Patch};

pub mod go;
pub mod rust;
mod tracee;

pub use tracee::{Seized, Tracee, allow, entry, is_traced};

/// Whether a child of this process lets itself be stopped at its start, as programs are that are patched.
///
/// # Errors
/// Where a sandbox or the system forbids it.
pub fn may_stop_children() -> io::Result<()> {
    // SAFETY: the child makes two system calls and ends.
    let child = unsafe { libc::fork() };
    match child {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let code = allow().err().map_or(0, |error| error.raw_os_error().unwrap_or(libc::EPERM));
            // SAFETY: nothing of the parent's is run at the end.
            unsafe { libc::_exit(code) }
        }
        child => {
            let mut status = 0;
            // SAFETY: `status` is valid to write to.
            if unsafe { libc::waitpid(child, &raw mut status, 0) } != child {
                return Err(io::Error::last_os_error());
            }
            match (libc::WIFEXITED(status), libc::WEXITSTATUS(status)) {
                (true, 0) => Ok(()),
                (true, code) => Err(io::Error::from_raw_os_error(code)),
                (false, _) => Err(io::Error::other("a sandbox ends a program that asks for it")),
            }
        }
    }
}

/// Why a program that has to be patched cannot be recorded; `why`: what [`may_stop_children`] said.
pub fn stop_refused(why: &io::Error) -> String {
    format!("it has to be patched at its start, and stopping it for that (ptrace) is forbidden ({why})")
}

/// What to do about that.
pub const LET_STOP: &str = "let the container's seccomp profile allow ptrace; kernel.yama.ptrace_scope must not be 3";

/// How a program is patched.
#[derive(Clone, Debug)]
pub enum Recipe {
    /// One of Go.
    Go(Box<crate::sites::go::recipe::Recipe>),
    /// One with locks of Rust.
    Rust(Box<crate::sites::rust::recipe::Recipe>),
}

impl Recipe {
    /// Of a Go program. Go's own tools are followed, and not recorded.
    pub fn of_go(recipe: crate::sites::go::recipe::Recipe) -> Self {
        Self::Go(Box::new(if recipe.is_tool() { recipe.followed_only() } else { recipe }))
    }

    /// Whether the program cannot be recorded without: no library can be preloaded into it, or none sees its locks.
    pub fn is_needed(&self) -> bool {
        match self {
            Self::Go(_) => true,
            Self::Rust(recipe) => !recipe.is_interpreted,
        }
    }

    /// Patches a program that is stopped at its exec. `path`: its file; `follow`: the socket where it announces that it
    /// starts others, if it is one of Go.
    ///
    /// # Errors
    /// Where it cannot be patched. It is as it was then.
    pub fn apply(&self, tracee: &Tracee, path: &str, follow: Option<&Path>) -> Result<Patched, InlineError> {
        match self {
            Self::Go(recipe) => go::patch(tracee, recipe, path, follow),
            Self::Rust(recipe) => rust::patch(tracee, recipe, path, None),
        }
    }

    /// What of its locks is not recorded, as sentences without their subject.
    pub fn left_out(&self) -> &[String] {
        match self {
            Self::Go(recipe) => &recipe.left_out,
            Self::Rust(recipe) => &recipe.left_out,
        }
    }

    /// Where its file says that it lies.
    pub fn placement(&self) -> Placement {
        match self {
            Self::Go(recipe) => go::placement(recipe),
            Self::Rust(recipe) => rust::placement(recipe),
        }
    }

    /// Its patches, with the bytes that have to be there.
    pub fn patches(&self) -> Vec<(&Patch, &[u8])> {
        match self {
            Self::Go(recipe) => go::patches(recipe),
            Self::Rust(recipe) => rust::patches(recipe),
        }
    }

    /// Whether the patch of this number is of the runtime's handler of signals.
    pub fn is_of_signals(&self, number: usize) -> bool {
        match self {
            Self::Go(recipe) => recipe.steps[number].planned.operation.is_of_signals(),
            Self::Rust(_) => false,
        }
    }

    /// What its recorder takes.
    pub fn room(&self) -> Room {
        match self {
            Self::Go(recipe) => go::room(recipe),
            Self::Rust(recipe) => rust::room(recipe),
        }
    }

    /// What rings a process of it gets.
    pub fn shape(&self, pid: u32) -> Shape {
        shape(pid, if matches!(self, Self::Go(_)) { Shape::GO } else { Shape::RUST })
    }

    /// Its recorder. `base`: what is added to the file's addresses; `near`: where it will be; `first`: where its first ring is.
    ///
    /// # Errors
    /// Where a trampoline cannot be made.
    pub fn build(&self, places: (u64, u64), rings: (u64, Shape)) -> Result<Block, InlineError> {
        match self {
            Self::Go(recipe) => go::build(recipe, places, rings, None),
            Self::Rust(recipe) => rust::build(recipe, places, rings, None),
        }
    }

    /// What the collector is told of a process that ran already. `ours`: where the recorder is.
    pub fn described(
        &self,
        process: (u32, &str),
        shared: (std::sync::Arc<std::fs::File>, Rings),
        (base, ours): (u64, std::ops::Range<u64>),
    ) -> Patched {
        let patched = match self {
            Self::Go(recipe) => go::described(recipe, process, shared, (base, ours)),
            Self::Rust(recipe) => rust::described(recipe, process, shared, base),
        };
        Patched { is_late: true, ..patched }
    }
}

/// The greatest size of one trampoline, with its alignment.
const TRAMPOLINE: usize = 512;
/// Trampolines begin at multiples of this; the index has an entry for each.
const GRAIN: usize = 16;
const PAGE: u64 = 4096;
/// Where the program's address space is limited, the rings take such a part of it.
const SHARE: u64 = 32;
/// Where room near the program is looked for: so far behind it (or, if it can be anywhere, before it), in such steps.
const DISTANCE: u64 = 0x3000_0000;
const STEP: u64 = 0x100_0000;
const TRIES: u64 = 64;

/// Why a program was not patched; the text is for the person.
#[derive(Debug, thiserror::Error)]
pub enum InlineError {
    /// It could not be stopped or changed.
    #[error("its code cannot be changed: {0}")]
    System(#[from] io::Error),
    /// A trampoline could not be made.
    #[error("no code for a patch: {0}")]
    Code(#[from] iced_x86::IcedError),
    /// What is in memory is not what the file says.
    #[error("the program in memory is not its file")]
    Changed,
}

/// Where a program's file says that it lies.
#[derive(Clone, Copy, Debug)]
pub struct Placement {
    /// Where it is entered.
    pub entry: u64,
    /// It may be put anywhere.
    pub is_position_independent: bool,
    /// The address behind its last segment.
    pub end: u64,
}

impl Placement {
    /// What is added to the file's addresses. `entry`: where the kernel entered it.
    pub fn base(&self, entry: u64) -> u64 {
        if self.is_position_independent { entry.wrapping_sub(self.entry) } else { 0 }
    }

    /// Where so many bytes would be in the reach of the program's jumps.
    pub fn near(&self, base: u64, bytes: u64) -> impl Iterator<Item = u64> + use<> {
        let end = self.end;
        (0..TRIES).map(move |attempt| {
            if base == 0 {
                (end + DISTANCE + attempt * STEP) & !(STEP - 1)
            } else {
                base.saturating_sub(bytes + (attempt + 1) * STEP) & !(PAGE - 1)
            }
        })
    }
}

/// Bytes that a recorder takes in a program: of code, and of data behind it.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Of code.
    pub code: u64,
    /// Of data.
    pub data: u64,
}

impl Room {
    /// Of both.
    pub fn all(self) -> u64 {
        self.code + self.data
    }
}

/// The recorder of a program, for the place where it is to be.
pub struct Block {
    /// Where it is.
    pub at: u64,
    /// Its code, which begins there.
    pub code: Vec<u8>,
    /// Its data, with the addresses of its parts.
    pub data: Vec<(u64, Vec<u8>)>,
    /// Where the jump of each patch leads.
    pub jumps: Vec<u64>,
    /// Its private block, which begins with the address of the rings.
    pub shared: u64,
}

impl Block {
    /// Puts it there.
    ///
    /// # Errors
    /// Where that fails.
    pub fn write(&self, mut write: impl FnMut(u64, &[u8]) -> io::Result<()>) -> io::Result<()> {
        write(self.at, &self.code)?;
        self.data.iter().try_for_each(|(at, bytes)| write(*at, bytes))
    }
}

/// A stopped program, and what is to be changed in it.
struct Target<'a> {
    tracee: &'a Tracee,
    placement: Placement,
    /// The patches, with the bytes that have to be there.
    patches: Vec<(&'a Patch, &'a [u8])>,
}

impl Target<'_> {
    /// What is added to the file's addresses.
    fn base(&self) -> Result<u64, InlineError> {
        let base = self.placement.base(entry(&tasks::folder(self.tracee.pid()))?);
        self.check(base)?;
        Ok(base)
    }

    /// The very bytes that the plan was made for have to be there.
    fn check(&self, base: u64) -> Result<(), InlineError> {
        for (patch, bytes) in &self.patches {
            let mut found = vec![0; bytes.len()];
            self.tracee.read(patch.address.wrapping_add(base), &mut found)?;
            if found != **bytes {
                return Err(InlineError::Changed);
            }
        }
        Ok(())
    }

    /// Maps room that jumps of the program reach.
    fn map_near(&self, base: u64, bytes: u64) -> Result<u64, InlineError> {
        let protection = (libc::PROT_READ | libc::PROT_EXEC) as u64;
        let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE) as u64;
        let mut last = io::Error::other("no room near the program");
        for at in self.placement.near(base, bytes) {
            match self.tracee.call(libc::SYS_mmap, [at, bytes, protection, flags, u64::MAX, 0]) {
                Ok(near) if near == at => return Ok(near),
                Ok(_) => {}
                Err(error) => last = error,
            }
        }
        Err(last.into())
    }

    /// Lets the program write what is data of it.
    fn protect(&self, near: u64, room: Room) -> Result<(), InlineError> {
        let protection = (libc::PROT_READ | libc::PROT_WRITE) as u64;
        self.tracee.call(libc::SYS_mprotect, [near + room.code, room.data, protection, 0, 0, 0])?;
        Ok(())
    }

    /// Maps the rings there, by a path that is written where the shared block will be.
    fn map_rings(&self, scratch: u64, rings: &Rings) -> Result<u64, InlineError> {
        let path = format!("/proc/{}/fd/{}\0", std::process::id(), rings.descriptor());
        self.tracee.write(scratch, path.as_bytes())?;
        let descriptor = self.tracee.call(libc::SYS_open, [scratch, libc::O_RDWR as u64, 0, 0, 0, 0])?;
        let protection = (libc::PROT_READ | libc::PROT_WRITE) as u64;
        let flags = (libc::MAP_SHARED | libc::MAP_NORESERVE) as u64;
        let mapped = self.tracee.call(libc::SYS_mmap, [0, rings.bytes(), protection, flags, descriptor, 0]);
        self.tracee.call(libc::SYS_close, [descriptor, 0, 0, 0, 0, 0])?;
        Ok(mapped? + COMMON_BYTES as u64)
    }

    /// Leads the program to its trampolines. It comes last, and is done as a whole or not at all.
    fn apply(&self, base: u64, trampolines: &[u64]) -> Result<(), InlineError> {
        for (at, ((patch, _), to)) in self.patches.iter().zip(trampolines).enumerate() {
            if let Err(error) = self.tracee.write(patch.address.wrapping_add(base), &jump(patch, base, *to)) {
                for (patch, bytes) in &self.patches[..=at] {
                    self.tracee.write(patch.address.wrapping_add(base), bytes)?;
                }
                return Err(error.into());
            }
        }
        Ok(())
    }
}

/// Code that is to be at an address, made piece by piece.
struct Assembled {
    at: u64,
    code: Vec<u8>,
}

impl Assembled {
    /// Where the next piece will be.
    fn next(&self) -> u64 {
        self.at + self.code.len() as u64
    }

    fn add(&mut self, piece: &[u8]) {
        self.code.extend(piece);
        self.code.resize(self.code.len().next_multiple_of(GRAIN), 0xcc);
    }

    /// The code, if it has this room.
    fn within(self, room: u64) -> Result<Vec<u8>, InlineError> {
        if self.code.len() as u64 > room {
            return Err(io::Error::other("the trampolines are larger than expected").into());
        }
        Ok(self.code)
    }
}

/// The rings for a program, as many as its address space allows.
fn rings(tracee: &Tracee, most: Shape) -> io::Result<Rings> {
    Rings::new(shape(tracee.pid(), most))
}

/// How many rings a program's address space allows.
fn shape(pid: u32, most: Shape) -> Shape {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid to write to, and nothing is set.
    let answer = unsafe { libc::prlimit(pid as libc::pid_t, libc::RLIMIT_AS, std::ptr::null(), &raw mut limit) };
    let limit = (answer == 0 && limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur);
    let fit = limit.map_or(most.count, |limit| (limit / SHARE) as usize / most.stride());
    Shape { count: fit.clamp(1, most.count), ..most }
}

/// The bytes that lead to a trampoline, as long as what they replace.
fn jump(patch: &Patch, base: u64, to: u64) -> Vec<u8> {
    const CALL: u8 = 0xe8;
    const JUMP: u8 = 0xe9;
    const TRAP: u8 = 0xcc;
    const NOTHING: u8 = 0x90;
    let from = patch.address.wrapping_add(base);
    let mut bytes = vec![if patch.form == Form::Call { CALL } else { JUMP }];
    // Room was looked for where the distance fits.
    bytes.extend((to.wrapping_sub(from + 5) as i32).to_le_bytes());
    // Behind a call the program goes on, and what the call has less than the one before does nothing.
    bytes.resize(patch.length, if patch.form == Form::Call { NOTHING } else { TRAP });
    bytes
}

/// Room for the code of a recorder with so many patches.
fn code_bytes(patches: usize) -> u64 {
    round_up((patches * TRAMPOLINE + 8192) as u64)
}

fn round_up(bytes: u64) -> u64 {
    bytes.next_multiple_of(PAGE)
}
