//! Brings the recorder into a program that runs already, and leads calls of libc's functions to it
//! ([how, and what it may cost](../../docs/attach.md)).
//!
//! A thread that waits in the kernel opens the library and goes back by itself (`boot`); meanwhile all others run. Then the
//! program is stopped for a moment, in which jumps are written over the entries of libc's functions
//! (`detours`). No page is ever writable and executable at once.

mod boot;
mod detour;
mod detours;
pub(super) mod enter;
mod entrance;
pub(super) mod hurry;
mod library;
mod program;
pub(super) mod sandbox;
pub(super) mod target;
pub(super) mod waiting;

use std::collections::HashMap;
use std::fs;
use std::mem::offset_of;
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use lockprof_wire::Family;
use lockprof_wire::functions::{Functions as List, SYMBOL};

use self::boot::{Orders, REGION_BYTES, data, state};
use self::detour::Plan;
pub(super) use self::detours::Detours;
use self::detours::{CODE, Row};
use self::entrance::{Entrance, NEAR, Subject, find_libc};
use self::library::Exports;
use self::program::Gates;
use self::target::Target;
use self::waiting::Waiting;
use super::patches::Patches;
use super::shim;
use crate::ingest::mappings::{self, Mapping};
use crate::ingest::{procfs, tasks};
use crate::model::Coverage;
use crate::sites::functions::Functions;
use crate::sites::image::Image;

/// Functions of this family have no detour, though they have hooks: programs that are started do not get the recorder, so
/// nobody asks for them.
const LEFT_OUT: Family = Family::Exec;
/// The same code as `_exit`, and as `pthread_spin_unlock`. And what ends an initialisation in C++: its hook only hands on.
const WITHOUT: [&str; 4] = ["_Exit", "pthread_spin_init", "__cxa_guard_release", "__cxa_guard_abort"];

/// Whether the recorder was opened in a process that ran already: what the thread worked with that did so is still there.
pub(super) fn was_opened_late(pid: u32) -> bool {
    let Ok(target) = Target::open(pid) else { return false };
    let may_be = |it: &&Mapping| it.writable && it.path.is_empty() && it.range.end - it.range.start == data::SIZE;
    let is = |it: &Mapping| {
        let path = target.bytes(it.range.start + data::PATH, data::PATH_BYTES).unwrap_or_default();
        path.windows(8).any(|word| word == b"lockprof") || path.starts_with(b"/proc/self/fd/")
    };
    target.mappings().is_ok_and(|mappings| mappings.iter().filter(may_be).any(is))
}

/// What is missing in a recording since the recorder came late.
pub(super) fn notes(pid: u32, detours: &Detours) -> Vec<String> {
    let guards = "one-time initialisation of C++'s static variables is not recorded: the program has more than one library for \
                  it, or has opened it since the recorder came, or its code is not known";
    let mappings = mappings::of(&procfs::folder(pid)).unwrap_or_default();
    let is_left_out = mappings.iter().any(|it| is_cxx(it) && !detours.has_in(&code_of(&mappings, it)));
    let guards = is_left_out.then(|| Coverage::in_part(guards));
    [late_note()].into_iter().chain(guards).collect()
}

/// The same, before it is brought in.
pub(super) fn expected(pid: u32) -> Vec<String> {
    let mappings = mappings::of(&procfs::folder(pid)).unwrap_or_default();
    let guards = "one-time initialisation of C++'s static variables is not recorded: the program has more than one library for it";
    let guards = (mappings.iter().filter(|it| is_cxx(it)).count() > 1).then(|| Coverage::in_part(guards));
    [late_note()].into_iter().chain(guards).collect()
}

/// Whether a mapping is the beginning of a library with C++'s guards.
fn is_cxx(mapping: &Mapping) -> bool {
    let name = mapping.file_name();
    mapping.offset == 0 && (name.starts_with("libstdc++.so") || name.starts_with("libc++abi.so"))
}

/// All that is mapped of the file of a mapping.
fn code_of(mappings: &[Mapping], first: &Mapping) -> Range<u64> {
    let end = mappings.iter().filter(|it| it.path == first.path).map(|it| it.range.end).max();
    first.range.start..end.unwrap_or(first.range.end)
}

/// What is missing in any.
pub(super) fn late_note() -> String {
    "the program was started without the recorder: programs that it starts are not recorded, and what threads held or waited for \
     when the recorder came counts from its next acquisition on; calls that block while a lock is held (read, fsync, sleep) are \
     not told as such"
        .to_owned()
}

/// Opens the recorder in a program that does not have it. It is asleep then.
///
/// # Errors
/// Where that cannot be; the program is as it was then.
pub(super) fn open(pid: u32) -> anyhow::Result<()> {
    Patches::undo_left(pid)?;
    let subject = Subject::of(pid)?;
    let Subject { target, mappings, libc, file } = &subject;
    let image = Image::parse(file).with_context(|| format!("process {pid}: {}", libc.path))?;
    let exports = Exports::read(file, &image);
    let bias = libc.range.start.wrapping_sub(lowest(&image));
    let own = own_code(mappings, libc);
    let functions = Functions::read(file, &image);
    let libc = Source { image: &image, functions: &functions, exports: &exports, bias };
    let opened = open_library(&subject, libc)?;
    let found = cxx(target, mappings, opened.region);
    let cxx_image = found.as_ref().and_then(|(file, _)| Image::parse(file).ok());
    let cxx = found.as_ref().zip(cxx_image.as_ref()).map(|((file, start), image)| {
        (Functions::read(file, image), Exports::read(file, image), start.wrapping_sub(lowest(image)), image)
    });
    let cxx = cxx.as_ref().map(|(functions, exports, bias, image)| Source { image, functions, exports, bias: *bias });
    let rows = Plans { libc, cxx }.lead(target, &opened, &own)?;
    Detours::note(target, opened.region, &rows).context("its code cannot be written")
}

/// Whether a process has a C library by which the recorder can be opened in it.
pub(super) fn has_libc(pid: u32) -> bool {
    mappings::of(&procfs::folder(pid)).is_ok_and(|mappings| find_libc(pid, &mappings).is_ok())
}

/// The page of a file's lowest segment, which is at the beginning of its first mapping.
fn lowest(image: &Image<'_>) -> u64 {
    image.segments().iter().map(|segment| segment.address).min().unwrap_or(0) & !0xfff
}

/// The file of the library with C++'s guards, and where it begins; `None` where there is none, or there are several.
fn cxx(target: &Target, mappings: &[Mapping], region: u64) -> Option<(Vec<u8>, u64)> {
    let mut found = mappings.iter().filter(|it| is_cxx(it));
    let one = found.next()?;
    let is_near = code_of(mappings, one).end.abs_diff(region) < NEAR && one.range.start.abs_diff(region) < NEAR;
    (found.next().is_none() && is_near).then(|| Some((target.file(one).ok()?, one.range.start)))?
}

/// Looks whether the recorder can be brought into a program. A thread of it is stopped for a moment; nothing is changed.
///
/// # Errors
/// What is in the way.
pub(super) fn check(pid: u32) -> anyhow::Result<()> {
    let subject = Subject::of(pid)?;
    let image = Image::parse(&subject.file).with_context(|| format!("process {pid}: {}", subject.libc.path))?;
    let entrance = subject.entrance(&Exports::read(&subject.file, &image), 0)?;
    entrance.waiting.into_iter().for_each(Waiting::let_go);
    Ok(())
}

/// Code whose calls are libc's own affairs: they are not recorded in programs that were started with the recorder either.
fn own_code(mappings: &[Mapping], libc: &Mapping) -> Vec<Range<u64>> {
    let is_loader = |it: &Mapping| it.file_name().starts_with("ld-");
    let is_own = |it: &&Mapping| it.executable && (it.path == libc.path || is_loader(it));
    mappings.iter().filter(is_own).map(|it| it.range.clone()).collect()
}

/// The library as it lies in the program.
struct Opened {
    /// What is added to the addresses of its file.
    bias: u64,
    /// Room for code near libc.
    region: u64,
}

/// Has a thread of the program open the library.
fn open_library(subject: &Subject, source: Source<'_>) -> anyhow::Result<Opened> {
    let Subject { target, mappings, libc, .. } = subject;
    let entrance = subject.entrance(source.exports, source.bias)?;
    let Entrance { dlopen, dlerror, errno_location, path, tail, region, memory, room, waiting } = entrance;
    let pid = target.pid;
    let is_nameless = !target.sees(&path);
    let functions = Called { dlopen, dlerror, errno_location };
    let boot = Boot { target, memory };
    let fill = Fill { boot: &boot, region, path: &path, is_nameless, functions };
    match waiting {
        Some(waiting) => {
            let orders =
                Orders { data: memory, region, blocked: blocked(), back: waiting.back(), call: waiting.call() };
            if let Err(error) = target.write(tail, &boot::code(&orders)) {
                waiting.let_go();
                return Err(error).context(format!("process {pid}: its code cannot be written"));
            }
            if !waiting.send(tail) {
                bail!("process {pid} ended while it was attached to");
            }
            boot.wait_for(&[state::MAPPED])?;
            fill.fill()
        }
        // Then the program does it by itself.
        None => {
            let orders = Orders { data: memory, region, blocked: blocked(), back: 0, call: 0 };
            let (own, has_come) = (Target::open(pid)?, || boot.is(state::MAPPED));
            let mut gates = Gates::make(own, mappings, (libc, source), &orders, room)?;
            gates.open(has_come)?;
            let stack = target.word(memory + data::STACK)?;
            let opened = if program::is_in_no_handler(target, &target.mappings()?, stack) {
                fill.fill()
            } else {
                boot.set(state::REFUSED)?;
                boot.wait_for_end();
                Err(anyhow!("process {pid}: its locks are taken in handlers of signals only, right now: try again"))
            };
            gates.close()?;
            opened
        }
    }
}

/// What the thread calls.
#[derive(Clone, Copy)]
struct Called {
    dlopen: u64,
    dlerror: u64,
    errno_location: u64,
}

/// What a thread that opens the library is given.
struct Fill<'a> {
    boot: &'a Boot<'a>,
    region: u64,
    path: &'a Path,
    is_nameless: bool,
    functions: Called,
}

impl Fill<'_> {
    /// Gives it to a thread that has mapped its memory, and waits until the library is open.
    fn fill(&self) -> anyhow::Result<Opened> {
        let Self { boot, region, path, is_nameless, functions } = *self;
        let (target, memory, pid) = (boot.target, boot.memory, boot.target.pid);
        let mapped = target.word(memory + data::REGION)?;
        boot.put(data::ERRNO_LOCATION, functions.errno_location)?;
        boot.put(data::DLOPEN, if mapped == region { functions.dlopen } else { functions.errno_location })?;
        boot.put(data::DLERROR, functions.dlerror)?;
        let library = path.to_str().context("the recorder's path is no text")?;
        boot.text(if is_nameless { "lockprof" } else { library })?;
        target.write(memory + data::NAMELESS, &u32::from(is_nameless).to_ne_bytes())?;
        boot.set(state::FILLED)?;
        if is_nameless {
            boot.wait_for(&[state::NAMELESS])?;
            let descriptor = target.word(memory + data::DESCRIPTOR)? as i32;
            let name = format!("/proc/self/fd/{descriptor}");
            let there = tasks::folder(pid).join(format!("fd/{descriptor}"));
            // Where it is empty, the loader says so.
            let _ = fs::write(there, fs::read(path)?);
            boot.text(&name)?;
            boot.set(state::WRITTEN)?;
        }
        boot.wait_for(&[state::DONE])?;
        if mapped != region {
            bail!("process {pid}: no room could be mapped near its C library (a limit of address space?)");
        }
        let handle = target.word(memory + data::HANDLE)?;
        if handle == 0 {
            let message = target.bytes(memory + data::MESSAGE, data::MESSAGE_BYTES)?;
            let length = message.iter().position(|byte| *byte == 0).unwrap_or(0);
            bail!("process {pid}: its loader refuses the recorder: {}", String::from_utf8_lossy(&message[..length]));
        }
        // A handle is the loader's `struct link_map`, which begins with what is added to addresses.
        Ok(Opened { bias: target.word(handle)?, region })
    }
}

/// All signals but those that a thread's own instruction raises: those have to reach the program, or end it.
fn blocked() -> u64 {
    let raised = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP, libc::SIGSYS];
    raised.iter().fold(u64::MAX, |all, signal| all & !(1 << (signal - 1)))
}

/// The thread that opens the library, as far as one can see it.
struct Boot<'a> {
    target: &'a Target,
    memory: u64,
}

impl Boot<'_> {
    fn put(&self, at: u64, word: u64) -> anyhow::Result<()> {
        Ok(self.target.write(self.memory + at, &word.to_ne_bytes())?)
    }

    fn set(&self, state: u32) -> anyhow::Result<()> {
        Ok(self.target.write(self.memory + data::STATE, &state.to_ne_bytes())?)
    }

    fn text(&self, text: &str) -> anyhow::Result<()> {
        if text.len() >= data::PATH_BYTES {
            bail!("the recorder's path is too long: {text}");
        }
        Ok(self.target.write(self.memory + data::PATH, format!("{text}\0").as_bytes())?)
    }

    /// Whether it is so far, and no further.
    fn is(&self, wanted: u32) -> bool {
        let mut word = [0; 4];
        self.target.read(self.memory + data::STATE, &mut word).is_ok() && u32::from_ne_bytes(word) == wanted
    }

    /// Waits until a thread that was refused goes on.
    fn wait_for_end(&self) {
        const PATIENCE: Duration = Duration::from_secs(1);
        let began = Instant::now();
        while began.elapsed() < PATIENCE && !self.is(state::GIVEN_UP) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until the thread is so far.
    fn wait_for(&self, wanted: &[u32]) -> anyhow::Result<()> {
        /// The loader may have to read from a disk; a debugger or SIGSTOP may hold the thread.
        const PATIENCE: Duration = Duration::from_secs(20);
        let pid = self.target.pid;
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            let mut word = [0; 4];
            // Until it is mapped there is nothing.
            if self.target.read(self.memory + data::STATE, &mut word).is_ok() {
                let state = u32::from_ne_bytes(word);
                if wanted.contains(&state) {
                    return Ok(());
                }
                if state == state::GIVEN_UP {
                    bail!("process {pid}: lockprof was too slow to bring the recorder in: try again");
                }
            } else if !Path::new("/proc").join(pid.to_string()).exists() {
                bail!("process {pid} ended while it was attached to");
            }
            std::thread::sleep(Duration::from_micros(100));
        }
        bail!("process {pid}: the thread that was to open the recorder does not answer: it goes on by itself")
    }
}

/// A library whose functions get detours.
#[derive(Clone, Copy)]
struct Source<'a> {
    image: &'a Image<'a>,
    functions: &'a Functions<'a>,
    exports: &'a Exports<'a>,
    bias: u64,
}

/// What the detours are planned from.
struct Plans<'a> {
    libc: Source<'a>,
    /// That with C++'s guards.
    cxx: Option<Source<'a>>,
}

/// A detour that is planned.
struct Planned<'a> {
    function: &'a Listed,
    source: Source<'a>,
    plan: Plan,
    hook: u64,
}

/// One function of the shim's list.
struct Listed {
    name: String,
    /// Where its entry is in the program.
    at: u64,
    family: u32,
}

impl Plans<'_> {
    /// Writes the code of all detours, and tells the shim where calls go on; what is to be changed at the entries.
    fn lead(&self, target: &Target, opened: &Opened, own: &[Range<u64>]) -> anyhow::Result<Vec<Row>> {
        let file = shim::bytes()?;
        let hooks = Exports::read(&file, &Image::parse(&file).context("the recorder's own file")?);
        let list = list(target, opened, &hooks)?;
        let listed = functions_of(target, &list)?;
        let mut planned: Vec<Planned<'_>> = Vec::new();
        let (mut used, mut taken) = (Vec::new(), HashMap::new());
        for function in &listed {
            let name = function.name.as_str();
            let is_cxx = function.family == Family::Guard as u32;
            let Some(source) = (if is_cxx { self.cxx } else { Some(self.libc) }) else { continue };
            let (Some(real), Some(hook)) = (source.exports.find(name), hooks.find(name)) else { continue };
            if WITHOUT.contains(&name) {
                continue;
            }
            if let Some(other) = taken.insert(real.address.wrapping_add(source.bias), name) {
                bail!(
                    "process {}: {name} and {other} are the same code in its C library, which is not known",
                    target.pid
                );
            }
            let of_libc: &[u64] = if is_cxx { &[] } else { &used };
            let plan = match Plan::of(source.image, source.functions, (real.address, real.size), of_libc) {
                Ok(plan) => plan,
                // It is told that these are missing.
                Err(_) if is_cxx => continue,
                Err(error) => {
                    bail!("process {}: {name} of its C library cannot be looked at: {error}", target.pid)
                }
            };
            if !is_cxx {
                used.extend(plan.padding);
            }
            planned.push(Planned { function, source, plan, hook: hook.address.wrapping_add(opened.bias) });
        }
        if planned.is_empty() || planned.len() > Detours::MOST {
            bail!("process {}: its C library is not known", target.pid);
        }
        let (mut code, mut rows, mut pads, mut past) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for Planned { function, source, plan, hook } in &planned {
            let at = opened.region + CODE + code.len() as u64;
            let pieces = plan.pieces(source.bias, at, *hook, own)?;
            code.extend(&pieces.stub);
            code.resize(code.len().next_multiple_of(16), 0xcc);
            past.push((function.at, opened.region + CODE + code.len() as u64));
            code.extend(&pieces.past);
            code.resize(code.len().next_multiple_of(16), 0xcc);
            let (with, pad) = detour::jumps(plan, source.bias, at);
            if let (Some(padding), Some(jump)) = (plan.padding, pad) {
                pads.push((padding.wrapping_add(source.bias), jump));
            }
            let without = source.image.code(plan.entry, plan.entry + with.len() as u64).context("its code")?.to_vec();
            let entry = plan.entry.wrapping_add(source.bias);
            if target.bytes(entry, with.len())? != without {
                bail!(
                    "process {}: another tool has changed {} in it: that one has to be taken out first",
                    target.pid,
                    function.name
                );
            }
            rows.push(Row { entry, without, with, inner: pieces.inner });
        }
        if code.len() as u64 > REGION_BYTES - CODE {
            bail!("process {}: its C library is not known: more code than expected", target.pid);
        }
        target.write(opened.region + CODE, &code)?;
        for (at, jump) in pads {
            target.write(at, &jump)?;
        }
        for (entry, past) in past {
            // The address comes first: whoever sees that calls are recorded finds where they go on.
            target.write(entry + u64::from(list.at), &past.to_ne_bytes())?;
            target.write(entry + u64::from(list.how), &list.recorded.to_ne_bytes())?;
        }
        Ok(rows)
    }
}

/// The shim's list of functions, as it lies in the program.
fn list(target: &Target, opened: &Opened, hooks: &Exports<'_>) -> anyhow::Result<List<u64>> {
    let symbol = hooks.find(SYMBOL).context("the recorder's file has no list of functions")?;
    let at = opened.bias.wrapping_add(symbol.address);
    let half = |offset: usize| -> anyhow::Result<u32> {
        let mut bytes = [0; 4];
        target.read(at + offset as u64, &mut bytes)?;
        Ok(u32::from_ne_bytes(bytes))
    };
    Ok(List {
        first: target.word(at + offset_of!(List<u64>, first) as u64)?,
        count: half(offset_of!(List<u64>, count))?,
        bytes: half(offset_of!(List<u64>, bytes))?,
        name: half(offset_of!(List<u64>, name))?,
        version: half(offset_of!(List<u64>, version))?,
        how: half(offset_of!(List<u64>, how))?,
        at: half(offset_of!(List<u64>, at))?,
        recorded: half(offset_of!(List<u64>, recorded))?,
        family: half(offset_of!(List<u64>, family))?,
    })
}

/// The functions of the list that have a detour: those of older versions, which no program gets today, have none.
fn functions_of(target: &Target, list: &List<u64>) -> anyhow::Result<Vec<Listed>> {
    const LONGEST: usize = 64;
    let mut found = Vec::new();
    for number in 0..u64::from(list.count.min(1024)) {
        let at = list.first + number * u64::from(list.bytes);
        let mut family = [0; 4];
        target.read(at + u64::from(list.family), &mut family)?;
        let family = u32::from_ne_bytes(family);
        if family == LEFT_OUT as u32 || target.word(at + u64::from(list.version))? != 0 {
            continue;
        }
        let name = target.bytes(target.word(at + u64::from(list.name))?, LONGEST)?;
        let length = name.iter().position(|byte| *byte == 0).unwrap_or(0);
        found.push(Listed { name: String::from_utf8_lossy(&name[..length]).into_owned(), at, family });
    }
    Ok(found)
}
