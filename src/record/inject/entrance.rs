//! Where a program is entered: its C library, a thread that waits, room for code. Nothing of it is changed here.

use std::ops::Range;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};

use super::boot::{self, REGION_BYTES, data};
use super::library::Exports;
use super::target::Target;
use super::waiting::{Purpose, Waiting};
use super::{program, sandbox};
use crate::ingest::mappings::Mapping;
use crate::ingest::procfs;
use crate::record::shim;

/// Room around what is mapped, bytes.
const GAP: u64 = 1 << 20;
/// A near jump reaches twice as far.
pub(super) const NEAR: u64 = 1 << 30;

/// A program, with its C library.
pub(super) struct Subject {
    pub(super) target: Target,
    pub(super) mappings: Vec<Mapping>,
    pub(super) libc: Mapping,
    /// The C library's file.
    pub(super) file: Vec<u8>,
}

/// Where a program is entered, and what for.
pub(super) struct Entrance {
    /// Functions of the program's.
    pub(super) dlopen: u64,
    pub(super) dlerror: u64,
    pub(super) errno_location: u64,
    /// The library that is opened.
    pub(super) path: PathBuf,
    /// Where the code that opens it is put.
    pub(super) tail: u64,
    /// Free room near libc: for code, and for data.
    pub(super) region: u64,
    pub(super) memory: u64,
    /// Likewise, for a program's own gates.
    pub(super) room: u64,
    /// The thread that runs it, stopped; `None` where none waits.
    pub(super) waiting: Option<Waiting>,
}

impl Subject {
    pub(super) fn of(pid: u32) -> anyhow::Result<Self> {
        let target = Target::open(pid)?;
        let mappings = target.mappings()?;
        let libc = find_libc(pid, &mappings)?.clone();
        let file = target.file(&libc)?;
        Ok(Self { target, mappings, libc, file })
    }

    /// Finds all that is needed to enter it. `bias`: what is added to the addresses of its C library.
    pub(super) fn entrance(&self, exports: &Exports<'_>, bias: u64) -> anyhow::Result<Entrance> {
        let Self { target, mappings, libc, .. } = self;
        let pid = target.pid;
        let function = |name: &str| exports.find(name).map_or(0, |symbol| symbol.address.wrapping_add(bias));
        let dlopen = match function("dlopen") {
            0 => function("__libc_dlopen_mode"),
            found => found,
        };
        let errno_location = function("__errno_location");
        if dlopen == 0 || errno_location == 0 {
            bail!("process {pid}: its C library ({}) has no dlopen", libc.path);
        }
        let path = shim::install()?;
        let length = boot::length();
        let tail = tail(target, mappings, libc, length).ok_or_else(|| {
            anyhow!("process {pid}: there is no room for {length} bytes of code behind any library's")
        })?;
        let (region, memory, room) = holes(mappings, libc)
            .ok_or_else(|| anyhow!("process {pid}: there is no free room of addresses near its C library"))?;
        let mut waiting = find_waiting(pid)?;
        if let Some(thread) = waiting.take() {
            if let Err(refused) = sandbox::check(pid, thread.thread(), &sandbox::of_opening()) {
                thread.let_go();
                return Err(refused);
            }
            waiting = Some(thread);
        }
        let dlerror = function("dlerror");
        Ok(Entrance { dlopen, dlerror, errno_location, path, tail, region, memory, room, waiting })
    }
}

/// The mapping where its C library begins.
pub(super) fn find_libc(pid: u32, mappings: &[Mapping]) -> anyhow::Result<&Mapping> {
    let is_glibc = |name: &str| name == "libc.so.6" || name.starts_with("libc-2.") && name.ends_with(".so");
    if let Some(found) = mappings.iter().find(|mapping| mapping.offset == 0 && is_glibc(mapping.file_name())) {
        if found.range.end <= u64::from(u32::MAX) {
            bail!("process {pid} is a program of 32 bits: only 64-bit ones can be recorded");
        }
        return Ok(found);
    }
    if mappings.iter().any(|mapping| mapping.file_name().starts_with("ld-musl")) {
        bail!("process {pid} uses musl's C library: only glibc's locks can be recorded");
    }
    bail!(
        "process {pid} is a static program, and no locks of Go's or Rust's own were found in it: nothing of it can be recorded. \
         `lockprof where {pid}` shows what it waits for"
    )
}

/// A thread that waits where it harms nobody; `None` where there is none for long.
fn find_waiting(pid: u32) -> anyhow::Result<Option<Waiting>> {
    const PATIENCE: Duration = Duration::from_secs(1);
    let began = Instant::now();
    loop {
        if let Some(found) = Waiting::find(pid, Purpose::Loader) {
            return Ok(Some(found));
        }
        if !procfs::folder(pid).exists() {
            bail!("process {pid} ended while it was attached to");
        }
        if began.elapsed() > PATIENCE {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Room behind the code of a library: the last page of its mapping is filled up with zeros, which nobody runs.
fn tail(target: &Target, mappings: &[Mapping], libc: &Mapping, length: usize) -> Option<u64> {
    const PAGE: u64 = 4096;
    const MARGIN: usize = 64;
    let is_code = |it: &&Mapping| it.executable && !it.writable && it.path.starts_with('/');
    let of_libc = mappings.iter().filter(|it| it.path == libc.path);
    of_libc.chain(mappings).filter(is_code).find_map(|mapping| {
        let page = target.bytes(mapping.range.end - PAGE, PAGE as usize).ok()?;
        let zeros = page.iter().rev().take_while(|byte| **byte == 0).count();
        let at = mapping.range.end - (length.next_multiple_of(16)) as u64;
        (zeros >= length.next_multiple_of(16) + MARGIN).then_some(at)
    })
}

/// Free addresses near libc: for code, for data, and for a program's own gates.
fn holes(mappings: &[Mapping], libc: &Mapping) -> Option<(u64, u64, u64)> {
    let wanted = REGION_BYTES + data::SIZE + program::ROOM + 4 * GAP;
    let near = |at: u64| at.abs_diff(libc.range.start) < NEAR;
    let gaps = mappings.windows(2).map(|pair| pair[0].range.end..pair[1].range.start);
    let fits = |gap: &Range<u64>| gap.end.saturating_sub(gap.start) >= wanted;
    let mut found: Vec<u64> =
        (gaps.filter(fits)).flat_map(|gap| [gap.start + GAP, gap.end - wanted + GAP]).filter(|at| near(*at)).collect();
    // Below libc, where the kernel has the most room.
    found.sort_by_key(|at| (*at > libc.range.start, at.abs_diff(libc.range.start)));
    found.first().map(|at| (*at, at + REGION_BYTES + GAP, at + REGION_BYTES + data::SIZE + 2 * GAP))
}
