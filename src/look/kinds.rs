//! The processes of this user (for root, of all), and what their programs are.

use std::os::unix::fs::MetadataExt;

use memchr::memmem;
use rustc_hash::FxHashMap;

use super::files::Bytes;
use super::live::Process;
use crate::ingest::{procfs, tasks};
use crate::model::{Language, Listed, ListedState};
use crate::sites::go;
use crate::sites::image::Image;

/// Of a program's constants so many bytes are searched for Rust's, at its beginning.
const SEARCHED: usize = 64 << 20;

/// What a program's file is.
#[derive(Clone)]
struct Program {
    language: Language,
    version: Option<String>,
    is_static: bool,
}

/// All processes that may be asked about, by number: without what only the recorder knows of them.
pub fn list() -> Vec<Listed> {
    // SAFETY: always allowed.
    let user = unsafe { libc::geteuid() };
    let mut known: FxHashMap<(u64, u64), Program> = FxHashMap::default();
    let mut entries: Vec<u32> = procfs::entries().collect();
    entries.sort_unstable();
    let listed = entries.into_iter().filter_map(|entry| {
        let folder = std::path::Path::new("/proc").join(entry.to_string());
        let owner = std::fs::metadata(&folder).ok()?.uid();
        let (pid, _) = procfs::known_as(&folder)?;
        if owner != user && user != 0 || pid == std::process::id() {
            return None;
        }
        let threads = tasks::living_in(&folder).count() as u32;
        let shown = tasks::memory_of(&folder);
        // The kernel's own have no memory.
        let status = procfs::text(shown.join("status")).ok()?;
        if threads == 0 || !status.lines().any(|line| line.starts_with("VmSize:")) {
            return None;
        }
        let exe = shown.join("exe");
        let program = match std::fs::metadata(&exe) {
            Ok(meta) => {
                let program = || program(&exe);
                known.entry((meta.dev(), meta.ino())).or_insert_with(program).clone()
            }
            Err(_) => Program { language: Language::Unknown, version: None, is_static: false },
        };
        let mut command = procfs::command(pid);
        if command.is_empty() {
            let name = status.lines().find_map(|line| line.strip_prefix("Name:")).unwrap_or_default();
            command.push(format!("[{}]", name.trim()));
        }
        let state = match Process::open(pid) {
            Ok(_) => ListedState::Seen,
            Err(error) => ListedState::Refused(error.reason()),
        };
        let maps = tasks::maps(&folder).unwrap_or_default();
        let has = |name: &[u8]| memmem::find(&maps, name).is_some();
        let language = match program.language {
            Language::C if has(b"libstdc++.so") => Language::Cxx,
            language => language,
        };
        let has_own = matches!(language, Language::Go | Language::Rust);
        let is_attachable = state == ListedState::Seen && (has(b"/libc.so.6") || has_own);
        let Program { version, is_static, .. } = program;
        Some(Listed { pid, command, threads, language, version, is_static, is_attachable, state })
    });
    listed.collect()
}

fn program(exe: &std::path::Path) -> Program {
    let unknown = Program { language: Language::Unknown, version: None, is_static: false };
    let Some(bytes) = Bytes::of_file(exe) else { return unknown };
    let Ok(image) = Image::parse(bytes.get()) else { return unknown };
    let is_static = !image.is_interpreted();
    if image.go_build_id().is_some() {
        return Program { language: Language::Go, version: go::version(&image).map(str::to_owned), is_static };
    }
    let constants = image.segments().iter().filter(|segment| !segment.executable && !segment.writable);
    let is_rust = constants
        .map(|segment| &segment.data[..segment.data.len().min(SEARCHED)])
        .any(|data| [&b"/rustc/"[..], b"library/std/src/"].iter().any(|mark| memmem::find(data, mark).is_some()));
    Program { language: if is_rust { Language::Rust } else { Language::C }, version: None, is_static }
}
