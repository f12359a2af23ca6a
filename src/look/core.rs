//! A core file: what a process was when it ended, or when a debugger copied it.
//!
//! A core is hostile input: everything in it is checked against its length. What it lacks of the program's memory (code, as a
//! rule) comes from the files that it names, as far as they are here.

use std::path::{Path, PathBuf};

use object::LittleEndian;
use object::elf::{self, FileHeader64};
use object::read::elf::{FileHeader, ProgramHeader};

mod parts;

use super::LookError;
use super::files::{Bytes, Opened, bias};
use super::memory::Source;
use super::registers::Registers;
use super::thread::{Call, RawThread, State};
use crate::ingest::mappings::Mapping;
use crate::sites::bytes::{u16_at, u32_at, u64_at};
use crate::sites::image::Image;
use parts::{Load, Mapped, mappings, missing, packer, read_files};

type Header = FileHeader64<LittleEndian>;

/// Notes of one thread, of the process, of its files, of what the kernel gave it.
const PRSTATUS: u32 = 1;
const PRPSINFO: u32 = 3;
const AUXV: u32 = 6;
const FILES: u32 = 0x4649_4c45;
/// Where the registers begin in a thread's note.
const REGISTERS: usize = 112;

/// See the module.
pub struct Core {
    bytes: Bytes,
    loads: Vec<Load>,
    pub mappings: Vec<Mapping>,
    /// Each thread's number, signal and registers.
    threads: Vec<(u32, i32, [u64; 27])>,
    pub pid: u32,
    /// The kernel's name of the program, and its command line as far as the core has it.
    pub name: String,
    pub command: Vec<String>,
    /// Where the kernel's own code is.
    vdso: u64,
    pub notes: Vec<String>,
}

/// The files of a core, and what it lacks out of them.
pub struct CoreMemory<'a> {
    core: &'a Core,
    opened: &'a [Opened],
}

impl Core {
    /// Reads a core.
    pub fn open(path: &Path) -> Result<Self, LookError> {
        let shown = path.display().to_string();
        let meta = std::fs::metadata(path).map_err(|error| LookError::Open(shown.clone(), error.to_string()))?;
        if !meta.is_file() {
            return Err(LookError::NoCore(shown, "it is no regular file".to_owned()));
        }
        let bytes = Bytes::of_file(path).ok_or_else(|| match meta.len() {
            0 => LookError::NoCore(shown.clone(), "it is empty".to_owned()),
            _ => LookError::Open(shown.clone(), "permission denied".to_owned()),
        })?;
        Self::parse(bytes, &shown)
    }

    fn parse(bytes: Bytes, shown: &str) -> Result<Self, LookError> {
        let none = |why: &str| LookError::NoCore(shown.to_owned(), why.to_owned());
        let data = bytes.get();
        if let Some(packer) = packer(data) {
            return Err(none(&format!("it is compressed: unpack it first ({packer})")));
        }
        if !data.starts_with(b"\x7fELF") {
            return Err(none("it is not an ELF file"));
        }
        if data.get(4) == Some(&elf::ELFCLASS32.0) {
            return Err(LookError::Foreign(format!("{shown} is a core of a 32-bit program")));
        }
        let damaged = |error: object::Error| none(&format!("its headers are damaged ({error})"));
        let header = Header::parse(data).map_err(damaged)?;
        let endian = header.endian().map_err(damaged)?;
        if header.e_type(endian) != elf::ET_CORE {
            return Err(none("it is a program or a library: give the number of a process, or a core file"));
        }
        if header.e_machine(endian) != elf::EM_X86_64 {
            return Err(LookError::Foreign(format!("{shown} is a core of another processor")));
        }
        let mut loads = Vec::new();
        let mut core = Self {
            loads: Vec::new(),
            mappings: Vec::new(),
            threads: Vec::new(),
            pid: 0,
            name: String::new(),
            command: Vec::new(),
            vdso: 0,
            notes: Vec::new(),
            bytes: Bytes::Copied(Vec::new()),
        };
        let mut files = Vec::new();
        for part in header.program_headers(endian, data).map_err(damaged)? {
            match part.p_type(endian) {
                elf::PT_LOAD => loads.push(Load {
                    address: part.p_vaddr(endian),
                    size: part.p_memsz(endian),
                    offset: part.p_offset(endian),
                    length: part.p_filesz(endian).min(part.p_memsz(endian)),
                    flags: part.p_flags(endian).0,
                }),
                elf::PT_NOTE => {
                    let Ok(Some(mut notes)) = part.notes(endian, data) else { continue };
                    while let Ok(Some(note)) = notes.next() {
                        core.read_note(note.n_type(endian).0, note.desc(), &mut files);
                    }
                }
                _ => {}
            }
        }
        if core.threads.is_empty() {
            return Err(none("it tells of no thread (is it cut short?)"));
        }
        loads.retain(|load| load.size > 0 && load.address.checked_add(load.size).is_some());
        loads.sort_by_key(|load| load.address);
        let missing: u64 = loads.iter().map(|load| missing(load, data.len() as u64)).sum();
        if missing > 0 {
            core.notes.push(format!(
                "the core is cut short: {} MiB of memory are missing in it, so stacks and locks may be",
                missing.div_ceil(1 << 20)
            ));
        }
        if files.is_empty() {
            core.notes.push("the core does not name the files that were mapped: its functions stay unnamed".to_owned());
        }
        core.mappings = mappings(&loads, &files);
        core.loads = loads;
        core.bytes = bytes;
        Ok(core)
    }

    fn read_note(&mut self, kind: u32, data: &[u8], files: &mut Vec<Mapped>) {
        match kind {
            PRSTATUS => {
                let tid = u32_at(data, 32);
                let signal = u16_at(data, 12).unwrap_or(0).into();
                let mut registers = [0; 27];
                let all = registers
                    .iter_mut()
                    .enumerate()
                    .all(|(at, register)| u64_at(data, REGISTERS + 8 * at).map(|value| *register = value).is_some());
                self.threads.extend(tid.filter(|_| all).map(|tid| (tid, signal, registers)));
            }
            PRPSINFO => {
                let text = |from: usize, length: usize| {
                    let bytes = data.get(from..from + length).unwrap_or_default();
                    let bytes = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
                    String::from_utf8_lossy(bytes).trim_end().to_owned()
                };
                self.pid = u32_at(data, 24).unwrap_or(0);
                self.name = text(40, 16);
                self.command = text(56, 80).split(' ').map(str::to_owned).collect();
            }
            AUXV => {
                const VDSO: u64 = 33;
                let mut pairs = data.as_chunks::<16>().0.iter();
                let found = pairs.find(|pair| u64_at(*pair, 0) == Some(VDSO));
                self.vdso = found.and_then(|pair| u64_at(pair, 8)).unwrap_or(0);
            }
            FILES => files.extend(read_files(data).unwrap_or_default()),
            _ => {}
        }
    }

    /// Its threads.
    pub fn threads(&self) -> Vec<RawThread> {
        let bare = CoreMemory { core: self, opened: &[] };
        let before = |address: u64| {
            let mut bytes = [0; 2];
            // Code that the core lacks is taken for a call: the registers say so already.
            bare.read(address.wrapping_sub(2), &mut bytes) < 2 || bytes == [0x0f, 0x05]
        };
        let of = |(tid, _, registers): &(u32, i32, [u64; 27])| {
            let call = Call::of_registers(registers, before);
            RawThread {
                tid: *tid,
                own_tid: *tid,
                name: String::new(),
                state: if call.is_some() { State::Blocked } else { State::Running },
                registers: Some(Registers::of_kernel(registers)),
                told: None,
                call,
                switches: 0,
            }
        };
        let mut threads: Vec<RawThread> = self.threads.iter().map(of).collect();
        threads.sort_by_key(|thread| (thread.tid != self.pid, thread.tid));
        threads.dedup_by_key(|thread| thread.tid);
        threads
    }

    /// The signal that made it, and the thread that got it.
    pub fn signal(&self) -> (i32, u32) {
        self.threads.first().map_or((0, 0), |(tid, signal, _)| (*signal, *tid))
    }

    /// The files that it names, as far as they are here; says which are missing, or others by now. `exe` stands for the
    /// program, `root` is the folder in which all others are.
    pub fn files(&mut self, exe: Option<&Path>, root: Option<&Path>) -> Vec<Opened> {
        let program = self.program();
        let (mut found, mut missing): (Vec<Opened>, Vec<String>) = (Vec::new(), Vec::new());
        let (mut changed, mut seen) = (Vec::new(), Vec::new());
        for mapping in self.mappings.iter().filter(|mapping| mapping.executable && mapping.path.starts_with('/')) {
            if found.iter().any(|file| file.path == mapping.path)
                || missing.contains(&mapping.path)
                || seen.contains(&mapping.path)
            {
                continue;
            }
            let path = mapping.path.strip_suffix(" (deleted)").unwrap_or(&mapping.path);
            let place = match (exe, root) {
                (Some(exe), _) if Some(&mapping.path) == program.as_ref() => exe.to_owned(),
                (_, Some(root)) => root.join(path.trim_start_matches('/')),
                _ => PathBuf::from(path),
            };
            let Some(bytes) = Bytes::of_file(&place) else {
                missing.push(mapping.path.clone());
                continue;
            };
            let image = Image::parse(bytes.get()).ok().filter(|_| self.may_be(&mapping.path, bytes.get()));
            let Some(bias) = image.and_then(|image| bias(bytes.get(), &image, mapping)) else {
                changed.push(place.display().to_string());
                seen.push(mapping.path.clone());
                continue;
            };
            found.push(Opened { path: mapping.path.clone(), place, bytes, bias });
        }
        for place in &changed {
            self.notes.push(format!(
                "{place} is not the file that was running (another build): it is left out; name the right ones by \
                 --exe FILE, --root DIR"
            ));
        }
        if let Some(first) = missing.first() {
            let more = match missing.len() - 1 {
                0 => String::new(),
                1 => " and one more file".to_owned(),
                more => format!(" and {more} more files"),
            };
            self.notes.push(format!(
                "{first}{more} of the core cannot be read here: stacks end there; name them by --exe FILE, --root DIR"
            ));
        }
        if let Some(vdso) = self.mappings.iter().find(|mapping| mapping.range.start == self.vdso && self.vdso != 0) {
            let mut bytes = vec![0; (vdso.range.end - vdso.range.start).min(1 << 16) as usize];
            let read = CoreMemory { core: self, opened: &[] }.read(vdso.range.start, &mut bytes);
            bytes.truncate(read);
            let bias = Image::parse(&bytes).ok().and_then(|image| bias(&bytes, &image, vdso));
            if let Some(bias) = bias {
                let bytes = Bytes::Copied(bytes);
                found.push(Opened { path: "[vdso]".to_owned(), place: PathBuf::new(), bytes, bias });
            }
        }
        found
    }

    /// The program's path: that of the first file mapped that has the program's name, or the first at all.
    pub fn program(&self) -> Option<String> {
        let mut paths = self.mappings.iter().map(|mapping| &mapping.path).filter(|path| path.starts_with('/'));
        let named = |path: &&String| {
            let name = path.rsplit('/').next().unwrap_or_default();
            !self.name.is_empty() && name.as_bytes().starts_with(self.name.as_bytes())
        };
        let first = paths.clone().next();
        paths.find(named).or(first).cloned()
    }

    /// Whether the first page of a file is as the core has it, if it has it: the headers, and mostly the build-id.
    fn may_be(&self, path: &str, bytes: &[u8]) -> bool {
        let first = self.mappings.iter().find(|mapping| mapping.path == path && mapping.offset == 0);
        let mut page = [0; 4096];
        let bare = CoreMemory { core: self, opened: &[] };
        let read = first.map_or(0, |first| bare.read(first.range.start, &mut page));
        let length = read.min(bytes.len());
        !page.starts_with(b"\x7fELF") || page[..length] == bytes[..length]
    }
}

impl<'a> CoreMemory<'a> {
    pub fn new(core: &'a Core, opened: &'a [Opened]) -> Self {
        Self { core, opened }
    }

    /// As much as is there in one piece.
    fn piece(&self, address: u64) -> Option<&'a [u8]> {
        let loads = &self.core.loads;
        let behind = loads.partition_point(|load| load.address <= address);
        let load = loads[..behind].last().filter(|load| address - load.address < load.size);
        if let Some(load) = load
            && address - load.address < load.length
        {
            let start = usize::try_from(load.offset.checked_add(address - load.address)?).ok()?;
            let end = usize::try_from(load.offset.checked_add(load.length)?).ok()?;
            let data = self.core.bytes.get();
            return data.get(start..end.min(data.len())).filter(|piece| !piece.is_empty());
        }
        let at = self.core.mappings.partition_point(|mapping| mapping.range.end <= address);
        let mapping = self.core.mappings.get(at).filter(|mapping| mapping.range.contains(&address))?;
        let file = self.opened.iter().find(|file| file.path == mapping.path)?;
        let start = usize::try_from(mapping.offset.checked_add(address - mapping.range.start)?).ok()?;
        let length = usize::try_from(mapping.range.end - address).ok()?;
        let rest = file.bytes.get().get(start..)?;
        Some(&rest[..rest.len().min(length)]).filter(|piece| !piece.is_empty())
    }
}

impl Source for CoreMemory<'_> {
    fn read(&self, address: u64, buffer: &mut [u8]) -> usize {
        let mut done = 0;
        while done < buffer.len() {
            let Some(piece) = self.piece(address.wrapping_add(done as u64)) else { break };
            let length = piece.len().min(buffer.len() - done);
            buffer[done..done + length].copy_from_slice(&piece[..length]);
            done += length;
        }
        done
    }
}
