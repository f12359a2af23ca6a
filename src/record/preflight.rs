//! Looks at a program before it is started: whether the loader will put the shim into it.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use object::LittleEndian;
use object::elf;
use object::read::elf::{FileHeader, ProgramHeader};
use thiserror::Error;

use super::launch::Program;
use super::{go, rust};

/// Why a program cannot be recorded, and what to do. Its text is [`what`](Self::what), then [`fix`](Self::fix).
#[derive(Debug, Error)]
#[error("{}", self.sentence())]
pub enum Refusal {
    /// No such file.
    NotFound(String),
    /// Not a file that can be executed.
    NotExecutable(String, String),
    /// No dynamic loader.
    Static(String),
    /// Its dynamic loader is not there.
    NoLoader(String, String),
    /// Another C library.
    Musl(String),
    /// Another processor.
    Architecture(String, &'static str),
    /// Secure execution.
    Privileged(String, &'static str),
}

impl Refusal {
    /// What is in the way.
    pub fn what(&self) -> String {
        match self {
            Self::NotFound(name) => format!("there is no program {name}"),
            Self::NotExecutable(name, why) => format!("{name} cannot be executed: {why}"),
            Self::Static(name) => format!("{name} is statically linked, so no library can be preloaded into it"),
            Self::NoLoader(name, loader) => {
                format!("{name} cannot be started: its dynamic loader {loader} is not there")
            }
            Self::Musl(name) => format!("{name} uses the musl C library; lockprof records programs that use glibc"),
            Self::Architecture(name, what) => {
                format!("{name} is built for another architecture ({what}); lockprof records 64-bit x86 programs")
            }
            Self::Privileged(name, why) => format!("{name} {why}, and the loader preloads nothing into such programs"),
        }
    }

    /// What to do about it, where there is something.
    pub fn fix(&self) -> Option<&'static str> {
        Some(match self {
            Self::NotFound(_) => "check its name, or give its path",
            Self::NotExecutable(..) | Self::Architecture(..) => return None,
            Self::Static(_) => "link it dynamically (without -static) to record it",
            Self::NoLoader(..) => "install the C library that it was built for",
            Self::Musl(_) => "build it for a -gnu target",
            Self::Privileged(..) => "run a copy of it without that, or run lockprof as its owner",
        })
    }

    fn sentence(&self) -> String {
        let what = self.what();
        self.fix().map_or_else(|| what.clone(), |fix| format!("{what}: {fix}"))
    }
}

/// How often a script's interpreter may itself be a script.
const INTERPRETERS: usize = 4;

/// A command, followed to the file that the kernel starts at last.
pub struct Followed {
    /// The program as it is found, then for a script the interpreters. At least one, unless there is no such program.
    pub files: Vec<PathBuf>,
    /// Why it cannot be recorded, as far as its file tells.
    pub refusal: Option<Refusal>,
}

/// Finds a command's program, and that program's interpreter.
pub fn follow(command: &[OsString]) -> Followed {
    let name = command.first().map_or(OsStr::new(""), OsString::as_os_str);
    let mut files = Vec::new();
    let mut next = find(name).map(Some);
    loop {
        match next {
            Ok(Some(file)) if files.len() <= INTERPRETERS => {
                next = look_at(&file);
                files.push(file);
            }
            Ok(_) => return Followed { files, refusal: None },
            Err(refusal) => return Followed { files, refusal: Some(refusal) },
        }
    }
}

/// Finds the program and checks that it can be recorded.
///
/// # Errors
/// A [`Refusal`], which says what to do.
pub fn check(command: &[OsString]) -> Result<Program, Refusal> {
    let Followed { files, refusal } = follow(command);
    match (refusal, files.into_iter().next()) {
        (None, Some(path)) => Ok(Program { path, command: command.to_vec() }),
        (Some(refusal), _) => Err(refusal),
        (None, None) => Err(Refusal::NotFound(String::new())),
    }
}

fn find(name: &OsStr) -> Result<PathBuf, Refusal> {
    let shown = name.to_string_lossy().into_owned();
    if name.as_bytes().contains(&b'/') {
        return executable(Path::new(name), &shown).map(|()| PathBuf::from(name));
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    let mut first_refusal = None;
    for folder in std::env::split_paths(&path) {
        let candidate = if folder.as_os_str().is_empty() { Path::new(".").join(name) } else { folder.join(name) };
        match executable(&candidate, &shown) {
            Ok(()) => return Ok(candidate),
            Err(Refusal::NotFound(_)) => {}
            Err(other) => first_refusal = first_refusal.or(Some(other)),
        }
    }
    Err(first_refusal.unwrap_or(Refusal::NotFound(shown)))
}

fn executable(path: &Path, shown: &str) -> Result<(), Refusal> {
    let refuse = |why: &str| Err(Refusal::NotExecutable(shown.to_owned(), why.to_owned()));
    let meta = match fs::metadata(path) {
        Ok(meta) => meta,
        Err(error) if matches!(error.kind(), std::io::ErrorKind::PermissionDenied) => {
            return refuse("permission denied");
        }
        Err(_) => return Err(Refusal::NotFound(shown.to_owned())),
    };
    if meta.is_dir() {
        return refuse("it is a folder");
    }
    let name = std::ffi::CString::new(path.as_os_str().as_bytes()).unwrap_or_default();
    // SAFETY: `name` ends with a NUL.
    if unsafe { libc::access(name.as_ptr(), libc::X_OK) } != 0 {
        return refuse("it has no permission to execute (chmod +x)");
    }
    Ok(())
}

/// Why the loader puts nothing into this program, for the end of a sentence; `None` where it would.
pub(super) fn why_nothing_is_loaded(path: &Path) -> Option<String> {
    Some(match look_at(path).err()? {
        Refusal::Static(_) => "it is statically linked".to_owned(),
        Refusal::NoLoader(_, loader) => format!("its dynamic loader {loader} is not there"),
        Refusal::Musl(_) => "it uses the musl C library".to_owned(),
        Refusal::Architecture(_, what) => format!("it is built for another architecture ({what})"),
        Refusal::Privileged(_, why) => format!("it {why}, and the loader preloads nothing into such programs"),
        Refusal::NotFound(_) | Refusal::NotExecutable(..) => return None,
    })
}

/// The interpreter, if the file is a script.
fn look_at(path: &Path) -> Result<Option<PathBuf>, Refusal> {
    const ENOUGH: u64 = 1 << 20;
    let shown = path.display().to_string();
    check_privileges(path, &shown)?;
    let mut start = Vec::new();
    // A program that may be executed but not read is left to the kernel.
    let Ok(file) = File::open(path) else { return Ok(None) };
    let size = file.metadata().map_or(0, |meta| meta.len());
    start.reserve(size.min(ENOUGH) as usize + 1);
    if file.take(ENOUGH).read_to_end(&mut start).is_err() {
        return Ok(None);
    }
    if let Some(line) = start.strip_prefix(b"#!") {
        let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let mut words = line.split(|byte| byte.is_ascii_whitespace()).filter(|word| !word.is_empty());
        let Some(interpreter) = words.next().map(|word| PathBuf::from(OsStr::from_bytes(word))) else {
            return Ok(None);
        };
        if interpreter.file_name() == Some(OsStr::new("env")) {
            let named = words.find(|word| !word.starts_with(b"-") && !word.contains(&b'='));
            return Ok(named.and_then(|word| find(OsStr::from_bytes(word)).ok()).or(Some(interpreter)));
        }
        return Ok(Some(interpreter));
    }
    if start.starts_with(b"\x7fELF") {
        check_elf(&start, &shown)?;
        return Ok(None);
    }
    // What the kernel does not know, `execvp` takes for a script of the shell's (exec(3)).
    Ok(Some(PathBuf::from("/bin/sh")))
}

fn check_privileges(path: &Path, shown: &str) -> Result<(), Refusal> {
    let Ok(meta) = fs::metadata(path) else { return Ok(()) };
    // SAFETY: always allowed.
    let (user, group) = unsafe { (libc::geteuid(), libc::getegid()) };
    let refuse = |why| Err(Refusal::Privileged(shown.to_owned(), why));
    if meta.mode() & libc::S_ISUID != 0 && meta.uid() != user {
        return refuse("is set-user-id");
    }
    if meta.mode() & libc::S_ISGID != 0 && meta.mode() & libc::S_IXGRP != 0 && meta.gid() != group {
        return refuse("is set-group-id");
    }
    let name = std::ffi::CString::new(path.as_os_str().as_bytes()).unwrap_or_default();
    // SAFETY: both names end with a NUL; no value is asked for.
    let capabilities =
        unsafe { libc::getxattr(name.as_ptr(), c"security.capability".as_ptr(), std::ptr::null_mut(), 0) };
    if capabilities > 0 && user != 0 {
        return refuse("has file capabilities");
    }
    Ok(())
}

fn check_elf(bytes: &[u8], shown: &str) -> Result<(), Refusal> {
    if bytes.get(4) == Some(&elf::ELFCLASS32.0) {
        return Err(Refusal::Architecture(shown.to_owned(), "32-bit"));
    }
    let machine = bytes.get(18..20).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    match machine {
        Some(machine) if machine == elf::EM_X86_64.0 => {}
        Some(machine) if machine == elf::EM_AARCH64.0 => return Err(Refusal::Architecture(shown.to_owned(), "arm64")),
        _ => return Err(Refusal::Architecture(shown.to_owned(), "not x86-64")),
    }
    // What the kernel would refuse is left to the kernel.
    let Ok(header) = elf::FileHeader64::<LittleEndian>::parse(bytes) else { return Ok(()) };
    let endian = LittleEndian;
    let Ok(segments) = header.program_headers(endian, bytes) else { return Ok(()) };
    let interpreter = segments.iter().find_map(|segment| segment.interpreter(endian, bytes).ok().flatten());
    match interpreter {
        Some(loader) if loader.windows(7).any(|part| part == b"ld-musl") => Err(Refusal::Musl(shown.to_owned())),
        Some(loader) if !Path::new(OsStr::from_bytes(loader)).exists() => {
            Err(Refusal::NoLoader(shown.to_owned(), String::from_utf8_lossy(loader).into_owned()))
        }
        Some(_) => Ok(()),
        // Its own code is patched.
        None if go::is_program(Path::new(shown)) || rust::recipe(Path::new(shown)).is_some() => Ok(()),
        // A shared object without a loader is the loader itself (`ld.so ./program`), or a static-pie program.
        None if is_loader(shown) => Ok(()),
        None => Err(Refusal::Static(shown.to_owned())),
    }
}

fn is_loader(shown: &str) -> bool {
    fs::canonicalize(shown)
        .is_ok_and(|path| path.file_name().is_some_and(|name| name.as_bytes().starts_with(b"ld-linux")))
}

/// The dynamic loader that a program asks for; `None` for a static one.
pub fn loader(path: &Path) -> Option<PathBuf> {
    let file = go::map(path)?;
    let header = elf::FileHeader64::<LittleEndian>::parse(&*file).ok()?;
    let segments = header.program_headers(LittleEndian, &*file).ok()?;
    let named = segments.iter().find_map(|segment| segment.interpreter(LittleEndian, &*file).ok().flatten())?;
    Some(PathBuf::from(OsStr::from_bytes(named)))
}
