//! Records the locks of Go's and Rust's own in a program that runs already, and leaves it again
//! ([how, and what it may cost](../../docs/attach.md)).
//!
//! The places and what is put there are those of a program that is patched at its exec (`inline`). Here other threads run: the
//! recorder is put into memory that nobody knows yet, then all threads are stopped for a moment, in which jumps are written.
//! Each of them is right by itself, so nothing is lost if `lockprof` is killed in between. At the end the old bytes are put back.

use std::fs::{self, File};
use std::mem::offset_of;
use std::sync::Arc;

use anyhow::{Context, anyhow, bail};

use super::inject::enter::{self, CODE, LONGEST, Order, answers};
use super::inject::target::Target;
use super::inline::{self, Block, Placement, Recipe};
use super::patches::{Go, Note, Patches, Row, recorder};
use super::{go, rust};
use crate::ingest::go::{Patched, Rings};
use crate::ingest::mappings::Mapping;
use crate::ingest::tasks;
use crate::sites::go::layout::Shared;
use crate::sites::layout::{COMMON_BYTES, SHARED_BYTES};
use crate::sites::plan::{Form, JUMP, Patch};

const PAGE: u64 = 4096;
/// The note, and code that maps memory, are before the recorder.
const BEFORE: u64 = 2 * PAGE;

/// How a running program is patched; `None` where it has no locks of its own that are known.
///
/// # Errors
/// Where it is a Go program that cannot be patched, and why.
pub(super) fn recipe(pid: u32) -> anyhow::Result<Option<Recipe>> {
    let exe = tasks::folder(pid).join("exe");
    let shown = fs::read_link(&exe).unwrap_or_default();
    // Its path may lead elsewhere by now.
    let named = |error: anyhow::Error| {
        anyhow!("{}", format!("{error:#}").replace(&*exe.to_string_lossy(), &shown.to_string_lossy()))
    };
    let recipe = go::recipe(&exe).map_err(named)?;
    // Who starts programs is not followed where it was not from its start.
    let of_go = recipe.map(|recipe| Recipe::Go(Box::new(recipe.recorded_only())));
    Ok(of_go.or_else(|| rust::recipe(&exe)))
}

/// Looks whether a process may be touched. Nothing is changed in it.
///
/// # Errors
/// What is in the way.
pub(super) fn check(pid: u32) -> anyhow::Result<()> {
    Target::open(pid).map(drop)
}

/// Brings the recorder in. Nothing leads to it yet.
///
/// # Errors
/// Where that cannot be; the program is as it was then.
pub(super) fn bring(pid: u32, recipe: &Recipe) -> anyhow::Result<(Patches, Patched)> {
    let target = Target::open(pid)?;
    let file = Arc::new(File::open(tasks::folder(pid).join("exe"))?);
    let path = fs::read_link(tasks::folder(pid).join("exe"))?.display().to_string();
    let path = path.strip_suffix(" (deleted)").unwrap_or(&path).to_owned();
    let entry = inline::entry(&tasks::folder(pid));
    let entry = entry.with_context(|| format!("process {pid}: where it was entered is not known"))?;
    let base = recipe.placement().base(entry);
    let go = match recipe {
        Recipe::Go(of_go) => {
            let has_handler = !of_go.handler.is_empty() && !of_go.park.is_empty();
            let found = has_handler.then(|| Go::find(&target, of_go, base)).flatten();
            Some(found.with_context(|| format!("process {pid}: the list of its goroutines is not found"))?)
        }
        Recipe::Rust(_) => None,
    };
    let known = Patches::left_by_another(pid, go.as_ref())?;
    check_code(&target, recipe, base)?;
    let size = recipe.room();
    let rows = Note::bytes_of_rows(recipe.patches().len()).next_multiple_of(PAGE);
    let bytes = BEFORE + size.all() + rows;
    let known = match known {
        Some((room, note)) if note.is_clean && note.bytes == bytes && note.data == room + BEFORE + size.code => {
            Some((room, note))
        }
        // It is of another version, or threads may be in it: it is left alone.
        Some((room, _)) => {
            target.write(room, &[0; 8])?;
            None
        }
        None => None,
    };
    let mappings = target.mappings()?;
    let room = match &known {
        Some((room, _)) => *room,
        None => hole(&mappings, recipe.placement(), base, bytes)
            .with_context(|| format!("process {pid}: there is no free room of addresses near its code"))?,
    };
    let entered = if known.is_some() { None } else { Some(enter::tail(&target, &mappings)?) };
    let at = entered.unwrap_or(room + CODE);
    if let Some((room, note)) = &known {
        // What was mapped before is unmapped now: nobody is to do so once more.
        Note { is_clean: false, rings: (0, 0), recorder: recorder(), ..note.clone() }.write(&target, *room)?;
        target.write(room + answers::STATE, &[0; 4])?;
    }
    let shape = recipe.shape(pid);
    let data = room + BEFORE + size.code;
    let order = Order {
        room,
        bytes,
        data,
        wiped: (data, if go.is_none() { SHARED_BYTES as u64 } else { 0 }),
        known: known.as_ref().map(|(_, note)| note.rings),
        shared: shape.bytes(),
    };
    let brought = enter::bring(&target, &order, at)?;
    let block = recipe.build((base, room + BEFORE), (brought.shared + COMMON_BYTES as u64, shape))?;
    target.write(block.shared, &vec![0; SHARED_BYTES])?;
    block.write(|at, bytes| target.write(at, bytes))?;
    let note = Note {
        bytes,
        code: room + CODE..block.at + block.code.len() as u64,
        data,
        rows: room + bytes - rows,
        count: recipe.patches().len() as u64,
        rings: (brought.shared, order.shared),
        rings_word: block.shared,
        signals_word: go.as_ref().map_or(0, |_| block.shared + offset_of!(Shared, signals) as u64),
        is_clean: false,
        recorder: recorder(),
    };
    let mut own = Patches::new(target, room, note, rows_of(recipe, base, &block));
    own.entered = entered;
    (own.inner, own.go, own.file) = (inner(recipe, base), go, Some(brought.file.try_clone()?));
    if own.note.signals_word != 0 {
        own.target.write(own.note.signals_word, &[0; 8])?;
    }
    own.note.write_rows(&own.target, &own.rows)?;
    own.note.write(&own.target, room)?;
    let rings = Rings::of(brought.file, shape)?;
    let patched = recipe.described((pid, &path), (file, rings), (base, room..room + bytes));
    Ok((own, patched))
}

/// Bytes that change for a patch. What it displaces behind them stays: nobody comes there any more.
fn changed(patch: &Patch) -> usize {
    if patch.form == Form::Call { patch.length } else { JUMP }
}

fn rows_of(recipe: &Recipe, base: u64, block: &Block) -> Vec<Row> {
    let rows = recipe.patches().into_iter().zip(&block.jumps).enumerate();
    let row = |(number, ((patch, bytes), to)): (usize, ((&Patch, &[u8]), &u64))| {
        let at = patch.address.wrapping_add(base);
        let without = bytes[..changed(patch)].to_vec();
        Row { at, with: jump(patch, at, *to), without, is_of_signals: recipe.is_of_signals(number) }
    };
    rows.map(row).collect()
}

/// The bytes that lead to a trampoline. A call returns behind the one in whose place it is, also when that is back.
fn jump(patch: &Patch, at: u64, to: u64) -> Vec<u8> {
    const CALL: u8 = 0xe8;
    const JUMP: u8 = 0xe9;
    /// A prefix that changes nothing here (`addr32`).
    const PREFIX: u8 = 0x67;
    let mut bytes = vec![PREFIX; changed(patch) - self::JUMP];
    bytes.push(if patch.form == Form::Call { CALL } else { JUMP });
    let end = at + changed(patch) as u64;
    bytes.extend((to.wrapping_sub(end) as i32).to_le_bytes());
    bytes
}

/// Places between instructions of which bytes change.
fn inner(recipe: &Recipe, base: u64) -> Vec<u64> {
    let of_patch = |(patch, _): (&Patch, &[u8])| -> Vec<u64> {
        let end = patch.address + changed(patch) as u64;
        patch
            .displaced
            .iter()
            .skip(1)
            .map(|it| it.ip())
            .filter(|ip| *ip < end)
            .map(|ip| ip.wrapping_add(base))
            .collect()
    };
    let mut inner: Vec<u64> = recipe.patches().into_iter().flat_map(of_patch).collect();
    inner.sort_unstable();
    inner
}

/// The very bytes that the plan was made for have to be there.
fn check_code(target: &Target, recipe: &Recipe, base: u64) -> anyhow::Result<()> {
    for (patch, bytes) in recipe.patches() {
        if target.bytes(patch.address.wrapping_add(base), bytes.len())? != bytes {
            bail!(
                "process {}: its code is not what its file says: another tool has changed it, or a lockprof that was killed left \
                 something that cannot be undone",
                target.pid
            );
        }
    }
    Ok(())
}

/// Where so many bytes are free in the reach of the program's jumps.
fn hole(mappings: &[Mapping], placement: Placement, base: u64, bytes: u64) -> Option<u64> {
    let is_free = |at: &u64| {
        let wanted = at.saturating_sub(PAGE)..at.saturating_add(bytes + PAGE);
        *at >= 1 << 20 && mappings.iter().all(|it| it.range.end <= wanted.start || wanted.end <= it.range.start)
    };
    placement.near(base, bytes).find(is_free)
}

const _: () = assert!(LONGEST <= PAGE && CODE + PAGE == BEFORE);
