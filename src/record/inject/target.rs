//! A running program into which the recorder is to be brought: what it is, and whether that can be.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::ingest::{procfs, tasks};

/// One line of `/proc/PID/maps`.
#[derive(Clone, Debug)]
pub struct Mapping {
    /// Where it is.
    pub range: Range<u64>,
    /// Whether its code can be run.
    pub is_code: bool,
    /// Whether it can be written to.
    pub is_writable: bool,
    /// Where in its file it begins.
    pub offset: u64,
    /// Its file, or what else it is; empty for memory without a file.
    pub path: String,
}

/// A running program.
pub struct Target {
    /// Its number.
    pub pid: u32,
    /// Its memory.
    pub memory: File,
}

impl Target {
    /// Opens a program's memory.
    ///
    /// # Errors
    /// Where it is traced, has a sandbox, may not be touched, or is gone.
    pub fn open(pid: u32) -> anyhow::Result<Self> {
        let folder = tasks::folder(pid);
        let status =
            procfs::text(folder.join("status")).with_context(|| format!("there is no process {pid} (any more)"))?;
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        if let Some(tracer) = field("TracerPid:").filter(|tracer| *tracer != "0") {
            let name = procfs::text(Path::new("/proc").join(tracer).join("comm")).unwrap_or_default();
            bail!("process {pid} is traced by process {tracer} ({}): end that first", name.trim());
        }
        let memory = OpenOptions::new().read(true).write(true).open(folder.join("mem"));
        let memory = memory.map_err(|error| refused(pid, &folder, &error))?;
        Ok(Self { pid, memory })
    }

    /// What it has mapped, by address.
    ///
    /// # Errors
    /// Where it is gone.
    pub fn mappings(&self) -> io::Result<Vec<Mapping>> {
        let text = tasks::maps(&procfs::folder(self.pid))?;
        let text = String::from_utf8_lossy(&text);
        Ok(text.lines().filter_map(mapping).collect())
    }

    /// Reads its memory.
    ///
    /// # Errors
    /// Where there is none.
    pub fn read(&self, at: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.memory.read_exact_at(bytes, at)
    }

    /// So many bytes of its memory.
    ///
    /// # Errors
    /// Where there is none.
    pub fn bytes(&self, at: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.read(at, &mut bytes)?;
        Ok(bytes)
    }

    /// A word of its memory.
    ///
    /// # Errors
    /// Where there is none.
    pub fn word(&self, at: u64) -> io::Result<u64> {
        let mut word = [0; 8];
        self.read(at, &mut word)?;
        Ok(u64::from_ne_bytes(word))
    }

    /// Writes its memory, code too.
    ///
    /// # Errors
    /// Where there is none.
    pub fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.memory.write_all_at(bytes, at)
    }

    /// Opens the very file that it has mapped.
    ///
    /// # Errors
    /// Where that is not there any more.
    pub fn file(&self, mapping: &Mapping) -> anyhow::Result<Vec<u8>> {
        let folder = tasks::folder(self.pid);
        let Range { start, end } = mapping.range;
        // The one is right whatever became of the path, and needs a right.
        let direct = folder.join(format!("map_files/{start:x}-{end:x}"));
        let read = fs::read(direct).or_else(|_| fs::read(self.path(&mapping.path)));
        read.with_context(|| format!("process {}: {} cannot be read", self.pid, mapping.path))
    }

    /// What it calls by this path, as seen from here.
    pub fn path(&self, path: &str) -> PathBuf {
        tasks::folder(self.pid).join("root").join(path.trim_start_matches('/'))
    }

    /// Whether it finds the very same file by this path.
    pub fn sees(&self, path: &Path) -> bool {
        let there = path.to_str().map(|path| self.path(path)).and_then(|path| fs::metadata(path).ok());
        let here = fs::metadata(path).ok();
        there.zip(here).is_some_and(|(there, here)| (there.dev(), there.ino()) == (here.dev(), here.ino()))
    }
}

fn mapping(line: &str) -> Option<Mapping> {
    let mut words = line.splitn(6, ' ');
    let (start, end) = words.next()?.split_once('-')?;
    let rights = words.next()?.as_bytes();
    let hex = |text: &str| u64::from_str_radix(text, 16).ok();
    let offset = hex(words.next()?)?;
    let path = words.nth(2).unwrap_or_default().trim_start().to_owned();
    Some(Mapping {
        range: hex(start)?..hex(end)?,
        is_code: rights.get(2) == Some(&b'x'),
        is_writable: rights.get(1) == Some(&b'w'),
        offset,
        path,
    })
}

/// Why a process may not be touched.
fn refused(pid: u32, folder: &Path, error: &io::Error) -> anyhow::Error {
    let owner = fs::metadata(folder).map(|meta| meta.uid()).unwrap_or(u32::MAX);
    let user = crate::safe_file::user();
    if error.kind() != io::ErrorKind::PermissionDenied {
        return anyhow::anyhow!("process {pid} cannot be attached to: {error}");
    }
    let scope = procfs::text("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    let scope = scope.trim();
    anyhow::anyhow!(if user == 0 {
        format!(
            "process {pid} cannot be attached to: this container lacks the right to trace (CAP_SYS_PTRACE; with docker: \
             --cap-add SYS_PTRACE)"
        )
    } else if owner != user {
        format!("process {pid} belongs to another user: attach to it as that user, or as root")
    } else if !matches!(scope, "" | "0") {
        format!(
            "process {pid} cannot be attached to: the system lets nobody but root do so (kernel.yama.ptrace_scope is \
             {scope}): use root, or sysctl kernel.yama.ptrace_scope=0"
        )
    } else {
        format!(
            "process {pid} does not let itself be traced (PR_SET_DUMPABLE, or a file with capabilities): attach to it as root"
        )
    })
}
