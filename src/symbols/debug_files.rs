//! Files with debug information, looked for by build-id: in folders that a person names, however those are arranged, or by
//! the client of a debug information server.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use object::Object;
use rustc_hash::{FxHashMap, FxHashSet};

use super::elf::{self, Binary};

/// Folders within folders.
const DEEPEST: usize = 12;
/// Files that are opened: a mistaken `--debug-dir /` ends some time.
const MOST: usize = 200_000;

/// The files of these build-ids. A file with debug information is better than one with symbols only.
pub fn find(folders: &[PathBuf], wanted: &FxHashSet<Vec<u8>>) -> FxHashMap<Vec<u8>, PathBuf> {
    let mut search = Search { wanted, found: FxHashMap::default() };
    // Where distributions and debuginfod's cache put them, nothing has to be searched.
    for (folder, build_id) in folders.iter().flat_map(|folder| wanted.iter().map(move |build_id| (folder, build_id))) {
        let hex = hex(build_id);
        if let Some((first, rest)) = hex.split_at_checked(2) {
            search.take(&folder.join(format!(".build-id/{first}/{rest}.debug")));
            search.take(&folder.join(format!("{hex}/debuginfo")));
        }
    }
    let mut open: Vec<(PathBuf, usize)> = folders.iter().rev().map(|folder| (folder.clone(), 0)).collect();
    let mut opened = 0;
    while let Some((path, depth)) = open.pop().filter(|_| opened < MOST && !search.is_done()) {
        if !path.is_dir() {
            opened += 1;
            search.take(&path);
        } else if depth < DEEPEST && (depth == 0 || !path.is_symlink()) {
            // A link may lead back.
            open.extend(fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| (entry.path(), depth + 1)));
        }
    }
    search.found.into_iter().map(|(build_id, (_, path))| (build_id, path)).collect()
}

struct Search<'a> {
    wanted: &'a FxHashSet<Vec<u8>>,
    /// With whether the file has debug information.
    found: FxHashMap<Vec<u8>, (bool, PathBuf)>,
}

impl Search<'_> {
    fn take(&mut self, path: &Path) {
        let Some((build_id, has_debug)) = identity(path).filter(|(build_id, _)| self.wanted.contains(build_id)) else {
            return;
        };
        if self.found.get(&build_id).is_none_or(|(known, _)| has_debug && !known) {
            self.found.insert(build_id, (has_debug, path.to_owned()));
        }
    }

    fn is_done(&self) -> bool {
        self.found.values().filter(|(has_debug, _)| *has_debug).count() == self.wanted.len()
    }
}

/// A file's build-id, and whether it has debug information.
fn identity(path: &Path) -> Option<(Vec<u8>, bool)> {
    let binary = Binary::open(path).ok().filter(|binary| binary.bytes().starts_with(b"\x7fELF"))?;
    let file = binary.parse().ok()?;
    Some((file.build_id().ok().flatten()?.to_vec(), elf::has_debug_information(&file)))
}

/// A build-id as tools write it.
pub fn hex(build_id: &[u8]) -> String {
    build_id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether servers of debug information are named.
pub fn has_server() -> bool {
    std::env::var_os("DEBUGINFOD_URLS").is_some_and(|urls| !urls.is_empty())
}

/// Asks the servers that `DEBUGINFOD_URLS` names for a file, by their own client; where the client has put it.
///
/// # Errors
/// Where there is no client, no server is named, or none has the file.
pub fn fetch(build_id: &[u8]) -> Result<PathBuf, String> {
    if !has_server() {
        return Err("DEBUGINFOD_URLS names no server".to_owned());
    }
    let output = Command::new("debuginfod-find").arg("debuginfo").arg(hex(build_id)).stdin(Stdio::null()).output();
    let output = output
        .map_err(|error| format!("debuginfod-find cannot be started ({error}): install the package debuginfod"))?;
    let path = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() && !path.is_empty() {
        return Ok(path.into());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(if said.is_empty() { "no server has it".to_owned() } else { said })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::symbols::testing::{compile, tool};

    #[test]
    fn a_file_is_found_however_its_folder_is_arranged() {
        let source = "int main(void) { return 0; }";
        let Some(program) = compile("a.c", source, &["-g", "-Wl,--build-id=sha1"]) else { return };
        let build_id = program.module().build_id;
        let hex = hex(&build_id);
        let wanted = FxHashSet::from_iter([build_id.clone()]);
        let by_id = format!(".build-id/{}/{}.debug", &hex[..2], &hex[2..]);
        for place in [by_id, format!("{hex}/debuginfo"), "a/b/c".into()] {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join(&place);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(folder.path().join("text"), "no program").unwrap();
            std::os::unix::fs::symlink(folder.path(), folder.path().join("back")).unwrap();
            assert_eq!(find(&[folder.path().to_owned()], &wanted).len(), 0, "nothing is there yet");
            if tool("objcopy", &[Path::new("--only-keep-debug"), &program.path, &file]).is_none() {
                return;
            }
            assert_eq!(find(&[folder.path().to_owned()], &wanted).get(&build_id), Some(&file), "{place}");
            assert_eq!(find(&[folder.path().to_owned()], &FxHashSet::from_iter([vec![7; 20]])).len(), 0);
        }
    }
}
