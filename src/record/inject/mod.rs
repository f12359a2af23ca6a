//! Brings the recorder into a program that runs already, and leads calls of libc's functions to it
//! ([how, and what it may cost](../../docs/attach.md)).
//!
//! A thread that waits in the kernel opens the library and goes back by itself (`boot`); meanwhile all others run. Then the
//! program is stopped for a moment, in which jumps are written over the entries of libc's functions
//! (`detours`). No page is ever writable and executable at once.

mod boot;
mod detour;
mod detours;
mod entrance;
mod library;
mod sandbox;
mod target;
mod waiting;

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
use self::entrance::{Entrance, Subject};
use self::library::Exports;
use self::target::Target;
use super::shim;
use crate::ingest::mappings::Mapping;
use crate::model::Coverage;
use crate::sites::functions::Functions;
use crate::sites::image::Image;

/// Families whose functions have no detour, though they have hooks. C++'s guards lie in libraries that may be there several
/// times. Programs that are started do not get the recorder, so nobody asks for them.
const LEFT_OUT: [Family; 2] = [Family::Guard, Family::Exec];
/// The same code as `_exit`, and as `pthread_spin_unlock`.
const TWINS: [&str; 2] = ["_Exit", "pthread_spin_init"];

/// What is missing in a recording since the recorder came late. `cxx`: the program has C++'s library.
pub(super) fn notes(cxx: bool) -> Vec<String> {
    let late = "the program was started without the recorder: programs that it starts are not recorded, and what threads held \
                or waited for when the recorder came counts from its next acquisition on; calls that block while a lock is \
                held (read, fsync, sleep) are not told as such";
    let guards = "one-time initialisation of C++'s static variables is not recorded in a program that was attached to";
    let guards = cxx.then(|| Coverage::in_part(guards));
    [late.to_owned()].into_iter().chain(guards).collect()
}

/// Opens the recorder in a program that does not have it. It is asleep then.
///
/// # Errors
/// Where that cannot be; the program is as it was then.
pub(super) fn open(pid: u32) -> anyhow::Result<()> {
    let subject = Subject::of(pid)?;
    let Subject { target, libc, file, .. } = &subject;
    let image = Image::parse(file).with_context(|| format!("process {pid}: {}", libc.path))?;
    let exports = Exports::read(file, &image);
    // Its lowest segment is at the beginning of the mapping.
    let first = image.segments().iter().map(|segment| segment.address).min().unwrap_or(0) & !0xfff;
    let bias = libc.range.start.wrapping_sub(first);
    let opened = open_library(&subject, subject.entrance(&exports, bias)?)?;
    let own = own_code(&subject.mappings, libc);
    let plans = Plans { image: &image, functions: &Functions::read(file, &image), exports: &exports, bias };
    let rows = plans.lead(target, &opened, &own)?;
    Detours::note(target, opened.region, &rows).context("its code cannot be written")
}

/// Looks whether the recorder can be brought into a program. A thread of it is stopped for a moment; nothing is changed.
///
/// # Errors
/// What is in the way.
pub(super) fn check(pid: u32) -> anyhow::Result<()> {
    let subject = Subject::of(pid)?;
    let image = Image::parse(&subject.file).with_context(|| format!("process {pid}: {}", subject.libc.path))?;
    subject.entrance(&Exports::read(&subject.file, &image), 0)?.waiting.let_go();
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
fn open_library(subject: &Subject, entrance: Entrance) -> anyhow::Result<Opened> {
    let Subject { target, .. } = subject;
    let Entrance { dlopen, dlerror, errno_location, path, tail, region, memory, waiting } = entrance;
    let pid = target.pid;
    let is_nameless = !target.sees(&path);
    let orders = Orders { data: memory, region, blocked: blocked(), back: waiting.back(), call: waiting.call() };
    if let Err(error) = target.write(tail, &boot::code(&orders)) {
        waiting.let_go();
        return Err(error).context(format!("process {pid}: its code cannot be written"));
    }
    if !waiting.send(tail) {
        bail!("process {pid} ended while it was attached to");
    }
    let boot = Boot { target, memory };
    boot.wait_for(&[state::MAPPED])?;
    let mapped = target.word(memory + data::REGION)?;
    boot.put(data::ERRNO_LOCATION, errno_location)?;
    boot.put(data::DLOPEN, if mapped == region { dlopen } else { errno_location })?;
    boot.put(data::DLERROR, dlerror)?;
    let library = path.to_str().context("the recorder's path is no text")?;
    boot.text(if is_nameless { "lockprof" } else { library })?;
    target.write(memory + data::NAMELESS, &u32::from(is_nameless).to_ne_bytes())?;
    boot.set(state::FILLED)?;
    if is_nameless {
        boot.wait_for(&[state::NAMELESS])?;
        let descriptor = target.word(memory + data::DESCRIPTOR)? as i32;
        let name = format!("/proc/self/fd/{descriptor}");
        let there = crate::ingest::tasks::folder(pid).join(format!("fd/{descriptor}"));
        // Where it is empty, the loader says so.
        let _ = fs::write(there, fs::read(&path)?);
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

/// What the detours are planned from.
struct Plans<'a> {
    image: &'a Image<'a>,
    functions: &'a Functions<'a>,
    exports: &'a Exports<'a>,
    bias: u64,
}

/// One function of the shim's list.
struct Listed {
    name: String,
    /// Where its entry is in the program.
    at: u64,
}

impl Plans<'_> {
    /// Writes the code of all detours, and tells the shim where calls go on; what is to be changed at the entries.
    fn lead(&self, target: &Target, opened: &Opened, own: &[Range<u64>]) -> anyhow::Result<Vec<Row>> {
        let file = shim::bytes()?;
        let hooks = Exports::read(&file, &Image::parse(&file).context("the recorder's own file")?);
        let list = list(target, opened, &hooks)?;
        let listed = functions_of(target, &list)?;
        let mut planned: Vec<(&Listed, Plan, u64)> = Vec::new();
        let (mut used, mut taken) = (Vec::new(), HashMap::new());
        for function in &listed {
            let name = function.name.as_str();
            let (Some(real), Some(hook)) = (self.exports.find(name), hooks.find(name)) else { continue };
            if TWINS.contains(&name) {
                continue;
            }
            if let Some(other) = taken.insert(real.address, name) {
                bail!(
                    "process {}: {name} and {other} are the same code in its C library, which is not known",
                    target.pid
                );
            }
            let plan = Plan::of(self.image, self.functions, (real.address, real.size), &used).map_err(|error| {
                anyhow!("process {}: {name} of its C library cannot be looked at: {error}", target.pid)
            })?;
            used.extend(plan.padding);
            planned.push((function, plan, hook.address.wrapping_add(opened.bias)));
        }
        if planned.is_empty() || planned.len() > Detours::MOST {
            bail!("process {}: its C library is not known", target.pid);
        }
        let (mut code, mut rows, mut pads, mut past) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (function, plan, hook) in &planned {
            let at = opened.region + CODE + code.len() as u64;
            let pieces = plan.pieces(self.bias, at, *hook, own)?;
            code.extend(&pieces.stub);
            code.resize(code.len().next_multiple_of(16), 0xcc);
            past.push((function.at, opened.region + CODE + code.len() as u64));
            code.extend(&pieces.past);
            code.resize(code.len().next_multiple_of(16), 0xcc);
            let (with, pad) = detour::jumps(plan, self.bias, at);
            if let (Some(padding), Some(jump)) = (plan.padding, pad) {
                pads.push((padding.wrapping_add(self.bias), jump));
            }
            let without = self.image.code(plan.entry, plan.entry + with.len() as u64).context("libc's code")?.to_vec();
            let entry = plan.entry.wrapping_add(self.bias);
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
        let is_left_out = LEFT_OUT.iter().any(|left_out| *left_out as u32 == family);
        if is_left_out || target.word(at + u64::from(list.version))? != 0 {
            continue;
        }
        let name = target.bytes(target.word(at + u64::from(list.name))?, LONGEST)?;
        let length = name.iter().position(|byte| *byte == 0).unwrap_or(0);
        found.push(Listed { name: String::from_utf8_lossy(&name[..length]).into_owned(), at });
    }
    Ok(found)
}
