//! Go programs: their recorder, trampolines and tables.

use std::fs::File;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use super::{Assembled, GRAIN, InlineError, TRAMPOLINE, Target, Tracee, rings, round_up};
use crate::ingest::go::{self, HeapAccess, Language, Meaning, Patched, Rings};
use crate::model::Module;
use crate::sites::go::layout::{Place, Shared, SocketAddress};
use crate::sites::go::plan::Operation;
use crate::sites::go::recipe::{Recipe, Step};
use crate::sites::go::recorder;
use crate::sites::go::trampoline::{self, Context};
use crate::sites::layout::SHARED_BYTES;

/// Patches a program that is stopped at its exec. `path`: its file; `follow`: the socket where it announces that it starts
/// others.
///
/// # Errors
/// Where it cannot be patched. It is as it was then.
pub fn patch(tracee: &Tracee, recipe: &Recipe, path: &str, follow: Option<&Path>) -> Result<Patched, InlineError> {
    let rings = rings(tracee, go::Shape::GO)?;
    let file = Arc::new(File::open(format!("/proc/{}/exe", tracee.pid()))?);
    let (base, ours) = Patcher { tracee, recipe, follow }.patch(&rings)?;
    let subject = |what: &String| format!("in the Go program {path}, {what}");
    Ok(Patched {
        pid: tracee.pid(),
        module: Module { path: path.to_owned(), build_id: recipe.build_id.clone() },
        file,
        base,
        data: recipe.data.clone(),
        heap: Some(HeapAccess { number: recipe.runtime.goroutine_number.into(), ours }),
        inner_calls: recipe.inner_calls.clone(),
        meanings: recipe.steps.iter().map(|step| Meaning::of(&step.planned)).collect(),
        language: Language::Go,
        lacks_releases: false,
        counts_threads: true,
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
        let target = Target {
            tracee: self.tracee,
            entry: recipe.entry,
            is_position_independent: recipe.is_position_independent,
            end: recipe.end,
            patches: recipe.steps.iter().map(|step| (&step.patch, &step.bytes[..])).collect(),
        };
        let base = target.base()?;

        // The layout: code, then the shared block, the index of the code, the places.
        let steps = &recipe.steps;
        let room = round_up((steps.len() * TRAMPOLINE + 8192) as u64);
        let index_bytes = round_up(room / GRAIN as u64 * 4);
        let place_bytes = round_up((steps.len() * size_of::<Place>()) as u64);
        let data = SHARED_BYTES as u64 + index_bytes + place_bytes;
        let near = target.map_near(base, room + data)?;
        let shared = near + room;
        self.tracee.call(libc::SYS_mprotect, [shared, data, (libc::PROT_READ | libc::PROT_WRITE) as u64, 0, 0, 0])?;

        let (code, entries) = recorder::code(near, shared);
        let context = Context { base, entries, runtime: recipe.runtime };
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
            places.push(self.place(base, step, number));
            jumps.push(at);
        }
        let code = assembled.within(room)?;
        let address = self.follow.and_then(socket_address);
        let block = Shared {
            rings: target.map_rings(shared, rings)?,
            stride: rings.shape().stride() as u64,
            count: rings.shape().count as u64,
            mask: rings.shape().capacity as u64 - 1,
            room: rings.shape().room() as u64,
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
        target.apply(base, &jumps)?;
        Ok((base, near..near + room + data))
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
