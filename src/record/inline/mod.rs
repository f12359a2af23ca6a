//! Patches a program's own code at its exec, as `sites` plans it, so that it writes its lock operations into rings.
//!
//! The program is started, stopped before its first instruction by ptrace, and let go for good when it is patched: no
//! debugger stays. Code is written through `/proc/PID/mem`; no page is ever writable and executable at once.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use crate::ingest::go::{self, Patched, Rings};
use crate::model::Module;
use crate::sites::go::layout::{COMMON_BYTES, Place, SHARED_BYTES, Shared, SocketAddress};
use crate::sites::go::plan::Operation;
use crate::sites::go::recipe::{Recipe, Step};
use crate::sites::go::recorder;
use crate::sites::go::trampoline::{self, Context};
use crate::sites::plan::{Form, Patch};

mod tracee;

pub use tracee::{Tracee, allow};

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

/// Patches a program that is stopped at its exec. `path`: its file; `follow`: the socket where it announces that it starts
/// others.
///
/// # Errors
/// Where it cannot be patched. It is as it was then.
pub fn patch(tracee: &Tracee, recipe: &Recipe, path: &str, follow: Option<&Path>) -> Result<Patched, InlineError> {
    let rings =
        Rings::new(tracee.address_space().map_or(go::COUNT, |limit| (limit / SHARE / go::STRIDE as u64) as usize))?;
    let file = Arc::new(File::open(format!("/proc/{}/exe", tracee.pid()))?);
    let (base, ours) = Patcher { tracee, recipe, follow }.patch(&rings)?;
    let subject = |what: &String| format!("in the Go program {path}, {what}");
    Ok(Patched {
        pid: tracee.pid(),
        module: Module { path: path.to_owned(), build_id: recipe.build_id.clone() },
        file,
        base,
        data: recipe.data.clone(),
        ours,
        goroutine_number: recipe.runtime.goroutine_number,
        inner_calls: recipe.inner_calls.clone(),
        operations: recipe.steps.iter().map(|step| step.planned.clone()).collect(),
        rings,
        found: if recipe.records() {
            format!("the program {path}: {}", recipe.found)
        } else {
            format!("{path} is one of Go's own tools: it is not recorded, but the programs that it starts are")
        },
        left_out: recipe.left_out.iter().map(subject).collect(),
    })
}

struct Patcher<'a> {
    tracee: &'a Tracee,
    recipe: &'a Recipe,
    follow: Option<&'a Path>,
}

impl Patcher<'_> {
    /// What is added to the file's addresses, and where the recorder is.
    fn patch(&self, rings: &Rings) -> Result<(u64, Range<u64>), InlineError> {
        let recipe = self.recipe;
        let base = if recipe.is_position_independent { self.tracee.entry()?.wrapping_sub(recipe.entry) } else { 0 };
        self.check(base)?;

        // The layout: code, then the shared block, the index of the code, the places.
        let steps = &recipe.steps;
        let room = round_up((steps.len() * TRAMPOLINE + 8192) as u64);
        let index_bytes = round_up(room / GRAIN as u64 * 4);
        let place_bytes = round_up((steps.len() * size_of::<Place>()) as u64);
        let data = SHARED_BYTES as u64 + index_bytes + place_bytes;
        let near = self.map_near(base, room + data)?;
        let shared = near + room;
        self.tracee.call(libc::SYS_mprotect, [shared, data, (libc::PROT_READ | libc::PROT_WRITE) as u64, 0, 0, 0])?;

        let (mut code, entries) = recorder::code(near, shared);
        let context = Context { base, entries, runtime: recipe.runtime };
        pad(&mut code);
        let trampolines = near + code.len() as u64;
        let mut numbers = vec![0u32; code.len() / GRAIN];
        let mut places = Vec::with_capacity(steps.len());
        let mut jumps = Vec::with_capacity(steps.len());
        for (number, step) in steps.iter().enumerate() {
            let at = near + code.len() as u64;
            let operation = &step.planned.operation;
            code.extend(trampoline::assemble(&context, operation, &step.patch, number as u32, at)?);
            pad(&mut code);
            numbers.resize(code.len() / GRAIN, number as u32);
            places.push(self.place(base, step, number));
            jumps.push((step.patch.address.wrapping_add(base), jump(&step.patch, base, at)));
        }
        if code.len() as u64 > room {
            return Err(io::Error::other("the trampolines are larger than expected").into());
        }
        let address = self.follow.and_then(socket_address);
        let block = Shared {
            rings: self.map_rings(shared, rings)?,
            stride: go::STRIDE as u64,
            count: rings.count() as u64,
            mask: go::CAPACITY as u64 - 1,
            room: go::ROOM as u64,
            depth: go::DEPTH as u64,
            goroutine_number: recipe.runtime.goroutine_number.into(),
            current: recipe.runtime.current.into(),
            code: near,
            trampolines,
            end: near + code.len() as u64,
            index: shared + SHARED_BYTES as u64,
            places: shared + SHARED_BYTES as u64 + index_bytes,
            follow_length: address.map_or(0, |(length, _)| length),
            follow: address.map(|(_, address)| address).unwrap_or_default(),
        };
        self.tracee.write(near, &code)?;
        self.tracee.write(block.index, &numbers.iter().flat_map(|number| number.to_ne_bytes()).collect::<Vec<_>>())?;
        let words = |place: &Place| [place.address, place.frame, place.behind, place.number].map(u64::to_ne_bytes);
        self.tracee.write(block.places, places.iter().flat_map(words).flatten().collect::<Vec<_>>().as_slice())?;
        self.tracee.write(shared, &block_bytes(&block))?;
        // The program itself comes last, and is left as a whole or not at all.
        for (at, (address, bytes)) in jumps.iter().enumerate() {
            if let Err(error) = self.tracee.write(*address, bytes) {
                for (step, (address, _)) in steps.iter().zip(&jumps[..=at]) {
                    self.tracee.write(*address, &step.bytes)?;
                }
                return Err(error.into());
            }
        }
        Ok((base, near..near + room + data))
    }

    /// The very bytes that the plan was made for have to be there.
    fn check(&self, base: u64) -> Result<(), InlineError> {
        for Step { patch, bytes, .. } in &self.recipe.steps {
            let mut found = vec![0; bytes.len()];
            self.tracee.read(patch.address.wrapping_add(base), &mut found)?;
            if found != *bytes {
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
        for attempt in 0..TRIES {
            let at = if base == 0 {
                (self.recipe.end + DISTANCE + attempt * STEP) & !(STEP - 1)
            } else {
                base.saturating_sub(bytes + (attempt + 1) * STEP) & !(PAGE - 1)
            };
            match self.tracee.call(libc::SYS_mmap, [at, bytes, protection, flags, u64::MAX, 0]) {
                Ok(near) if near == at => return Ok(near),
                Ok(_) => {}
                Err(error) => last = error,
            }
        }
        Err(last.into())
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

    fn place(&self, base: u64, step: &Step, number: usize) -> Place {
        let patch = &step.patch;
        let preempts = matches!(step.planned.operation, Operation::Atomic(_)) && self.recipe.runtime.preempt.is_some();
        Place {
            address: patch.shown().wrapping_add(base),
            frame: step.frame,
            behind: if preempts { patch.behind().wrapping_add(base) } else { 0 },
            number: number as u64 + 1,
        }
    }
}

/// The bytes that lead to a trampoline, as long as what they replace.
fn jump(patch: &Patch, base: u64, to: u64) -> Vec<u8> {
    const CALL: u8 = 0xe8;
    const JUMP: u8 = 0xe9;
    const TRAP: u8 = 0xcc;
    let from = patch.address.wrapping_add(base);
    let mut bytes = vec![if patch.form == Form::Call { CALL } else { JUMP }];
    // Room was looked for where the distance fits.
    bytes.extend((to.wrapping_sub(from + 5) as i32).to_le_bytes());
    bytes.resize(patch.length, TRAP);
    bytes
}

fn pad(code: &mut Vec<u8>) {
    code.resize(code.len().next_multiple_of(GRAIN), 0xcc);
}

fn round_up(bytes: u64) -> u64 {
    bytes.next_multiple_of(PAGE)
}

fn block_bytes(block: &Shared) -> Vec<u8> {
    let words = [
        block.rings,
        block.stride,
        block.count,
        block.mask,
        block.room,
        block.depth,
        block.goroutine_number,
        block.current,
        block.code,
        block.trampolines,
        block.end,
        block.index,
        block.places,
        block.follow_length,
    ];
    words.iter().flat_map(|word| word.to_ne_bytes()).chain(block.follow.0).collect()
}

/// A socket's path as the kernel takes it, and its length; `None` where it is too long.
fn socket_address(path: &Path) -> Option<(u64, SocketAddress)> {
    let path = path.as_os_str().as_bytes();
    let mut address = SocketAddress::default();
    address.0[..2].copy_from_slice(&(libc::AF_UNIX as u16).to_ne_bytes());
    // `sun_path` has 108 bytes, the last of them a zero.
    let room = address.0.get_mut(2..2 + path.len()).filter(|_| path.len() < 108)?;
    room.copy_from_slice(path);
    Some((2 + path.len() as u64 + 1, address))
}
