//! Go programs: their recorder, trampolines and tables.

use std::fs::File;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use super::{Assembled, Block, GRAIN, InlineError, Placement, Room, Target, Tracee, code_bytes, rings, round_up};
use crate::ingest::go::{self, HeapAccess, Language, Meaning, Patched, Rings, Shape};
use crate::model::Module;
use crate::sites::go::layout::{HOLDS, Place, Shared, SocketAddress};
use crate::sites::go::plan::Operation;
use crate::sites::go::recipe::{Recipe, Step};
use crate::sites::go::recorder;
use crate::sites::go::trampoline::{self, Calls, Context};
use crate::sites::layout::SHARED_BYTES;
use crate::sites::plan::Patch;

/// Patches a program that is stopped at its exec. `path`: its file; `follow`: the socket where it announces that it starts
/// others.
///
/// # Errors
/// Where it cannot be patched. It is as it was then.
pub fn patch(tracee: &Tracee, recipe: &Recipe, path: &str, follow: Option<&Path>) -> Result<Patched, InlineError> {
    let rings = rings(tracee, Shape::GO)?;
    let file = Arc::new(File::open(format!("/proc/{}/exe", tracee.pid()))?);
    let target = Target { tracee, placement: placement(recipe), patches: patches(recipe) };
    let base = target.base()?;
    let room = room(recipe);
    let near = target.map_near(base, room.all())?;
    target.protect(near, room)?;
    if holds(recipe) != 0 {
        // A child that is forked writes into the same rings: nothing that it does before it is another program is recorded.
        let counts = near + room.all() - holds(recipe);
        tracee.call(libc::SYS_madvise, [counts, HOLDS, libc::MADV_WIPEONFORK as u64, 0, 0, 0])?;
    }
    let first = target.map_rings(near + room.code, &rings)?;
    let block = build(recipe, (base, near), (first, rings.shape()), follow)?;
    // What the path of the rings left is overwritten.
    block.write(|at, bytes| tracee.write(at, bytes))?;
    target.apply(base, &block.jumps)?;
    Ok(described(recipe, (tracee.pid(), path), (file, rings), (base, near..near + room.all())))
}

/// Where its file says that it lies.
pub fn placement(recipe: &Recipe) -> Placement {
    let (entry, end) = (recipe.entry, recipe.end);
    Placement { entry, is_position_independent: recipe.is_position_independent, end }
}

/// Its patches, with the bytes that have to be there.
pub fn patches(recipe: &Recipe) -> Vec<(&Patch, &[u8])> {
    recipe.steps.iter().map(|step| (&step.patch, &step.bytes[..])).collect()
}

/// Of the index of the code, and of the places.
fn tables(recipe: &Recipe) -> [u64; 2] {
    let code = code_bytes(recipe.steps.len());
    [round_up(code / GRAIN as u64 * 4), round_up((recipe.steps.len() * size_of::<Place>()) as u64)]
}

/// Bytes that the recorder takes in the program: code, then the shared block, the index of the code, the places.
pub fn room(recipe: &Recipe) -> Room {
    let [index, places] = tables(recipe);
    Room { code: code_bytes(recipe.steps.len()), data: SHARED_BYTES as u64 + index + places + holds(recipe) }
}

/// Bytes of the counts of what goroutines hold. They are for calls of the kernel, whose place is that of the announcements.
fn holds(recipe: &Recipe) -> u64 {
    if recipe.records() && recipe.starts_programs() { HOLDS } else { 0 }
}

/// What is to be there. `base`: what is added to the file's addresses; `near`: where it will be; `first`: where its first ring
/// is.
///
/// # Errors
/// Where a trampoline cannot be made.
pub fn build(
    recipe: &Recipe,
    (base, near): (u64, u64),
    (first, shape): (u64, Shape),
    follow: Option<&Path>,
) -> Result<Block, InlineError> {
    let steps = &recipe.steps;
    let room = room(recipe);
    let shared = near + room.code;
    let (code, entries) = recorder::code(near, shared);
    let index = shared + SHARED_BYTES as u64;
    let counts = index + tables(recipe).iter().sum::<u64>();
    let numbers = [0, 1].map(|event| steps.len() as u32 + event);
    let calls = (holds(recipe) != 0).then_some(Calls { holds: counts, numbers });
    let context = Context { base, entries, runtime: recipe.runtime, calls };
    let mut assembled = Assembled { at: near, code: Vec::new() };
    assembled.add(&code);
    let trampolines = assembled.next();
    let mut numbers = vec![0u32; assembled.code.len() / GRAIN];
    let mut places = Vec::with_capacity(steps.len());
    let mut jumps = Vec::with_capacity(steps.len());
    for (number, step) in steps.iter().enumerate() {
        let at = assembled.next();
        let operation = &step.planned.operation;
        assembled.add(&trampoline::assemble(&context, operation, &step.patch, number as u32, at)?);
        numbers.resize(assembled.code.len() / GRAIN, number as u32);
        places.push(place(recipe, base, step, number));
        jumps.push(at);
    }
    let code = assembled.within(room.code)?;
    let address = follow.and_then(socket_address);
    let block = Shared {
        rings: first,
        stride: shape.stride() as u64,
        count: shape.count as u64,
        mask: shape.capacity as u64 - 1,
        room: shape.room() as u64,
        depth: go::DEPTH as u64,
        goroutine_number: recipe.runtime.goroutine_number.into(),
        current: recipe.runtime.current.into(),
        code: near,
        trampolines,
        end: near + code.len() as u64,
        index,
        places: index + tables(recipe)[0],
        signals: 1,
        holds: counts,
        follow_length: address.map_or(0, |(length, _)| length),
        follow: address.map(|(_, address)| address).unwrap_or_default(),
    };
    let words = |place: &Place| [place.address, place.frame, place.behind, place.number].map(u64::to_ne_bytes);
    let data = vec![
        (block.index, numbers.iter().flat_map(|number| number.to_ne_bytes()).collect::<Vec<_>>()),
        (block.places, places.iter().flat_map(words).flatten().collect()),
        (shared, block_bytes(&block)),
    ];
    Ok(Block { at: near, code, data, jumps, shared })
}

/// What the collector is told. `base`: what is added to the file's addresses; `ours`: where the recorder is.
pub fn described(
    recipe: &Recipe,
    (pid, path): (u32, &str),
    (file, rings): (Arc<File>, Rings),
    (base, ours): (u64, Range<u64>),
) -> Patched {
    let subject = |what: &String| format!("in the Go program {path}, {what}");
    Patched {
        pid,
        module: Module { path: path.to_owned(), build_id: recipe.build_id.clone() },
        file,
        base,
        data: recipe.data.clone(),
        heap: Some(HeapAccess { number: recipe.runtime.goroutine_number.into(), ours }),
        inner_calls: recipe.inner_calls.clone(),
        meanings: (recipe.steps.iter().map(|step| Meaning::of(&step.planned))).chain(Meaning::CALLS).collect(),
        language: Language::Go,
        lacks_releases: false,
        counts_threads: true,
        is_late: false,
        rings,
        found: if recipe.records() {
            format!("the program {path}: {}", recipe.found)
        } else {
            format!("{path} is one of Go's own tools: it is not recorded, but the programs that it starts are")
        },
        left_out: recipe.left_out.iter().map(subject).collect(),
    }
}

fn place(recipe: &Recipe, base: u64, step: &Step, number: usize) -> Place {
    let patch = &step.patch;
    let preempts = matches!(step.planned.operation, Operation::Atomic(_)) && recipe.runtime.preempt.is_some();
    Place {
        address: patch.shown().wrapping_add(base),
        frame: step.frame,
        behind: if preempts { patch.behind().wrapping_add(base) } else { 0 },
        number: number as u64 + 1,
    }
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
        block.signals,
        block.holds,
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
