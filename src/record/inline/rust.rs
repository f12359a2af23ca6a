//! Rust programs: their recorder, trampolines and tables.

use std::fs::File;
use std::sync::Arc;

use super::{Assembled, Block, InlineError, Placement, Room, Target, Tracee, code_bytes, rings, round_up};
use crate::ingest::go::{Language, Meaning, Patched, Rings, Shape};
use crate::model::Module;
use crate::sites::layout::{SHARED_BYTES, info};
use crate::sites::plan::Patch;
use crate::sites::rust::layout::{Return, Shared};
use crate::sites::rust::recipe::Recipe;
use crate::sites::rust::recorder;
use crate::sites::rust::trampoline::{self, Context};
use lockprof_wire::own_locks::{self, Joint};

/// Return addresses in a record.
const DEPTH: u64 = 48;

/// The numbers of the events that a call begins and ends, behind those of the patches.
const CALLS: [u32; 2] = [0, 1];

/// Patches a program that is stopped at its exec. `path`: its file; `joint`: where the shim in it wants to be told.
///
/// # Errors
/// Where it cannot be patched. It is as it was then.
pub fn patch(tracee: &Tracee, recipe: &Recipe, path: &str, joint: Option<Joint>) -> Result<Patched, InlineError> {
    let rings = rings(tracee, Shape::RUST)?;
    let file = Arc::new(File::open(format!("/proc/{}/exe", tracee.pid()))?);
    let target = Target { tracee, placement: placement(recipe), patches: patches(recipe) };
    let base = target.base()?;
    let room = room(recipe);
    let near = target.map_near(base, room.all())?;
    target.protect(near, room)?;
    // A child that is forked has the same rings and no number of its own: its block is to be empty.
    let wiped = [near + room.code, SHARED_BYTES as u64, libc::MADV_WIPEONFORK as u64, 0, 0, 0];
    tracee.call(libc::SYS_madvise, wiped)?;
    let first = target.map_rings(near + room.code, &rings)?;
    let block = build(recipe, (base, near), (first, rings.shape()), joint)?;
    // What the path of the rings left is overwritten.
    block.write(|at, bytes| tracee.write(at, bytes))?;
    target.apply(base, &block.jumps)?;
    if let Some(joint) = joint {
        let calls = CALLS.map(|call| (recipe.steps.len() as u32 + call) | info::NO_STACK);
        let entry = recorder::code(near, block.shared).1.to_le_bytes();
        let bytes: Vec<u8> = entry.into_iter().chain(calls.into_iter().flat_map(u32::to_le_bytes)).collect();
        debug_assert_eq!(bytes.len(), own_locks::BYTES);
        tracee.write(joint.at, &bytes)?;
    }
    Ok(described(recipe, (tracee.pid(), path), (file, rings), base))
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

fn place_bytes(recipe: &Recipe) -> u64 {
    round_up((recipe.steps.len() * size_of::<u32>()) as u64)
}

/// Bytes that the recorder takes in the program: code, then the shared block, the rules of the patches, those of return
/// addresses.
pub fn room(recipe: &Recipe) -> Room {
    let data = SHARED_BYTES as u64 + place_bytes(recipe) + round_up(recipe.returns.len() as u64);
    Room { code: code_bytes(recipe.steps.len()), data }
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
    joint: Option<Joint>,
) -> Result<Block, InlineError> {
    let steps = &recipe.steps;
    let room = room(recipe);
    let shared = near + room.code;
    let (code, entry) = recorder::code(near, shared);
    let context = Context { base, recorder: entry, holds: joint.map(|joint| joint.holds) };
    let mut assembled = Assembled { at: near, code: Vec::new() };
    assembled.add(&code);
    let mut jumps = Vec::with_capacity(steps.len());
    for (number, step) in steps.iter().enumerate() {
        let at = assembled.next();
        let operation = &step.planned.operation;
        assembled.add(&trampoline::assemble(context, operation, &step.patch, number as u32, at)?);
        jumps.push(at);
    }
    let code = assembled.within(room.code)?;
    let places = shared + SHARED_BYTES as u64;
    let block = Shared {
        rings: first,
        stride: shape.stride() as u64,
        count: shape.count as u64,
        mask: shape.capacity as u64 - 1,
        room: shape.room() as u64,
        depth: DEPTH,
        places,
        returns: places + place_bytes(recipe),
        returns_mask: (recipe.returns.len() / size_of::<Return>()) as u64 - 1,
        base,
    };
    let data = vec![
        (places, steps.iter().flat_map(|step| step.rule.0.to_ne_bytes()).collect::<Vec<_>>()),
        (block.returns, recipe.returns.clone()),
        (shared, block_bytes(&block)),
    ];
    Ok(Block { at: near, code, data, jumps, shared })
}

/// What the collector is told. `base`: what is added to the file's addresses.
pub fn described(recipe: &Recipe, (pid, path): (u32, &str), (file, rings): (Arc<File>, Rings), base: u64) -> Patched {
    Patched {
        pid,
        module: Module { path: path.to_owned(), build_id: recipe.build_id.clone() },
        file,
        base,
        data: recipe.data.clone(),
        heap: None,
        inner_calls: Vec::new(),
        meanings: (recipe.steps.iter().map(|step| Meaning::of_rust(&step.planned))).chain(Meaning::CALLS).collect(),
        language: Language::Rust,
        lacks_releases: recipe.lacks_releases,
        counts_threads: !recipe.is_interpreted,
        is_late: false,
        rings,
        found: format!("the program {path}: {}", recipe.found),
        left_out: recipe.left_out.iter().map(|what| format!("in the program {path}, {what}")).collect(),
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
        block.places,
        block.returns,
        block.returns_mask,
        block.base,
    ];
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}
