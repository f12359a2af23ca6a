//! A running program into which the recorder is to be brought: what it is, and whether that can be.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use anyhow::{Context, bail};

use crate::ingest::mappings::{self, Mapping};
use crate::ingest::refusal::Refusal;
use crate::ingest::{procfs, tasks};
use crate::safe_file::user;

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
        if let Some(tracer) = procfs::field(&status, "TracerPid:").filter(|tracer| *tracer != "0") {
            let name = procfs::text(Path::new("/proc").join(tracer).join("comm")).unwrap_or_default();
            bail!("process {pid} is traced by process {tracer} ({}): end that first", name.trim());
        }
        let memory = OpenOptions::new().read(true).write(true).open(folder.join("mem"));
        let memory = memory.map_err(|error| refused(pid, &status, &error))?;
        Ok(Self { pid, memory })
    }

    /// What it has mapped, by address.
    ///
    /// # Errors
    /// Where it is gone.
    pub fn mappings(&self) -> io::Result<Vec<Mapping>> {
        mappings::of(&procfs::folder(self.pid))
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
        let [direct, path] = mapping.places(&tasks::folder(self.pid));
        let read = fs::read(direct).or_else(|_| fs::read(path));
        read.with_context(|| format!("process {}: {} cannot be read", self.pid, mapping.path))
    }

    /// Whether it finds the very same file by this path.
    pub fn sees(&self, path: &Path) -> bool {
        let there = path
            .to_str()
            .map(|path| mappings::within(&tasks::folder(self.pid), path))
            .and_then(|path| fs::metadata(path).ok());
        let here = fs::metadata(path).ok();
        there.zip(here).is_some_and(|(there, here)| (there.dev(), there.ino()) == (here.dev(), here.ino()))
    }
}

/// Why a process may not be touched.
fn refused(pid: u32, status: &str, error: &io::Error) -> anyhow::Error {
    if error.kind() != io::ErrorKind::PermissionDenied {
        return anyhow::anyhow!("process {pid} cannot be attached to: {error}");
    }
    anyhow::anyhow!(match Refusal::of(status, user()) {
        Refusal::NoRight => format!(
            "process {pid} cannot be attached to: this container lacks the right to trace (CAP_SYS_PTRACE; with docker: \
             --cap-add SYS_PTRACE)"
        ),
        Refusal::Owner(_) => format!("process {pid} belongs to another user: attach to it as that user, or as root"),
        Refusal::Scope(scope) => format!(
            "process {pid} cannot be attached to: the system lets nobody but root do so (kernel.yama.ptrace_scope is \
             {scope}): use root, or sysctl kernel.yama.ptrace_scope=0"
        ),
        Refusal::NotDumpable => format!(
            "process {pid} does not let itself be traced (PR_SET_DUMPABLE, or a file with capabilities): attach to it as root"
        ),
    })
}
