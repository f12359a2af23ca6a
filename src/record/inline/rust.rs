//! Rust programs: their recorder, trampolines and tables.

use std::fs::File;
use std::sync::Arc;

use super::{Assembled, InlineError, TRAMPOLINE, Target, Tracee, rings, round_up};
use crate::ingest::go::{Language, Meaning, Patched, Rings, Shape};
use crate::model::Module;
use crate::sites::layout::SHARED_BYTES;
use crate::sites::rust::layout::{Return, Shared};
use crate::sites::rust::recipe::Recipe;
use crate::sites::rust::{recorder, trampoline};

/// Return addresses in a record.
const DEPTH: u64 = 48;

/// Patches a program that is stopped at its exec. `path`: its file.
///
/// # Errors
/// Where it cannot be patched. It is as it was then.
pub fn patch(tracee: &Tracee, recipe: &Recipe, path: &str) -> Result<Patched, InlineError> {
    let rings = rings(tracee, Shape::RUST)?;
    let file = Arc::new(File::open(format!("/proc/{}/exe", tracee.pid()))?);
    let base = apply(tracee, recipe, &rings)?;
    Ok(Patched {
        pid: tracee.pid(),
        module: Module { path: path.to_owned(), build_id: recipe.build_id.clone() },
        file,
        base,
        data: recipe.data.clone(),
        heap: None,
        inner_calls: Vec::new(),
        meanings: recipe.steps.iter().map(|step| Meaning::of_rust(&step.planned)).collect(),
        language: Language::Rust,
        lacks_releases: recipe.lacks_releases,
        counts_threads: !recipe.is_interpreted,
        rings,
        found: format!("the program {path}: {}", recipe.found),
        left_out: recipe.left_out.iter().map(|what| format!("in the program {path}, {what}")).collect(),
    })
}

/// What is added to the file's addresses.
fn apply(tracee: &Tracee, recipe: &Recipe, rings: &Rings) -> Result<u64, InlineError> {
    let target = Target {
        tracee,
        entry: recipe.entry,
        is_position_independent: recipe.is_position_independent,
        end: recipe.end,
        patches: recipe.steps.iter().map(|step| (&step.patch, &step.bytes[..])).collect(),
    };
    let base = target.base()?;

    // The layout: code, then the shared block, the rules of the patches, those of return addresses.
    let steps = &recipe.steps;
    let room = round_up((steps.len() * TRAMPOLINE + 8192) as u64);
    let place_bytes = round_up((steps.len() * size_of::<u32>()) as u64);
    let data = SHARED_BYTES as u64 + place_bytes + round_up(recipe.returns.len() as u64);
    let near = target.map_near(base, room + data)?;
    let shared = near + room;
    tracee.call(libc::SYS_mprotect, [shared, data, (libc::PROT_READ | libc::PROT_WRITE) as u64, 0, 0, 0])?;
    // A child that is forked has the same rings and no number of its own: its block is to be empty.
    tracee.call(libc::SYS_madvise, [shared, SHARED_BYTES as u64, libc::MADV_WIPEONFORK as u64, 0, 0, 0])?;

    let (code, entry) = recorder::code(near, shared);
    let mut assembled = Assembled { at: near, code: Vec::new() };
    assembled.add(&code);
    let mut trampolines = Vec::with_capacity(steps.len());
    for (number, step) in steps.iter().enumerate() {
        let at = assembled.next();
        let operation = &step.planned.operation;
        assembled.add(&trampoline::assemble(operation, &step.patch, (base, entry), number as u32, at)?);
        trampolines.push(at);
    }
    let code = assembled.within(room)?;
    let places = shared + SHARED_BYTES as u64;
    let block = Shared {
        rings: target.map_rings(shared, rings)?,
        stride: rings.shape().stride() as u64,
        count: rings.shape().count as u64,
        mask: rings.shape().capacity as u64 - 1,
        room: rings.shape().room() as u64,
        depth: DEPTH,
        places,
        returns: places + place_bytes,
        returns_mask: (recipe.returns.len() / size_of::<Return>()) as u64 - 1,
        base,
    };
    tracee.write(near, &code)?;
    tracee.write(places, &steps.iter().flat_map(|step| step.rule.0.to_ne_bytes()).collect::<Vec<_>>())?;
    tracee.write(block.returns, &recipe.returns)?;
    // What the path of the rings left is overwritten.
    tracee.write(shared, &block_bytes(&block))?;
    target.apply(base, &trampolines)?;
    Ok(base)
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
