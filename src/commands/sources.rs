//! Finds the source files that a verdict points at, so that it can show their lines.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use crate::render::sources::{Source, Sources};

/// Larger files are not read.
const LARGEST: u64 = 8 << 20;

/// The root of the repository that a folder is in; the folder itself where it is in none.
pub(super) fn root(folder: &Path) -> PathBuf {
    let root = folder.ancestors().find(|folder| folder.join(".git").exists()).unwrap_or(folder);
    root.canonicalize().unwrap_or_else(|_| root.to_owned())
}

/// The files, each with the earliest start of a recording that knows it (ns since 1970).
pub(super) fn read(wanted: &BTreeMap<String, u64>, folder: &Path) -> Sources {
    let root = root(folder);
    let mut sources = Sources::default();
    for (file, started) in wanted {
        if let Some(source) = source(file, *started, folder, &root) {
            sources.insert(file, source);
        }
    }
    sources
}

fn source(file: &str, started_unix_ns: u64, folder: &Path, root: &Path) -> Option<Source> {
    let Some(path) = find(Path::new(file), folder, root) else {
        // It cannot be shown, but its place in the repository is known.
        let path = Path::new(file).strip_prefix(root).ok()?;
        return Some(Source { path: path.to_str()?.to_owned(), inside: true, ..Source::default() });
    };
    let meta = fs::metadata(&path).ok().filter(|meta| meta.is_file() && meta.len() <= LARGEST)?;
    let text = fs::read(&path).ok()?;
    let lines = String::from_utf8_lossy(&text).lines().map(str::to_owned).collect();
    let started = UNIX_EPOCH + Duration::from_nanos(started_unix_ns);
    let changed = started_unix_ns > 0 && meta.modified().is_ok_and(|at| at > started);
    let within = path.strip_prefix(root).ok();
    Some(Source { path: within.unwrap_or(&path).to_str()?.to_owned(), inside: within.is_some(), changed, lines })
}

/// Where a file of the debug information is on this machine: where it says, or, of a recording from another machine or
/// a build in another folder, where the end of its path is found in the repository.
fn find(file: &Path, folder: &Path, root: &Path) -> Option<PathBuf> {
    let exists = |path: PathBuf| path.canonicalize().ok().filter(|path| path.is_file());
    if let Some(path) = exists(folder.join(file)).or_else(|| exists(root.join(file))) {
        return Some(path);
    }
    let parts: Vec<Component<'_>> = file.components().filter(|part| matches!(part, Component::Normal(_))).collect();
    (1..parts.len()).find_map(|skipped| {
        let rest: PathBuf = parts[skipped..].iter().collect();
        exists(root.join(&rest)).or_else(|| exists(folder.join(&rest)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_where_they_are_now() {
        let tree = tempfile::tempdir().unwrap();
        let base = tree.path().canonicalize().unwrap();
        fs::create_dir_all(base.join("repo/.git")).unwrap();
        fs::create_dir_all(base.join("repo/src/deep")).unwrap();
        fs::write(base.join("repo/src/a.c"), "one\ntwo\n").unwrap();
        fs::write(base.join("outside.c"), "x\n").unwrap();
        let folder = base.join("repo/src/deep");
        let outside = base.join("outside.c").to_str().unwrap().to_owned();
        let gone = base.join("repo/src/gone.c").to_str().unwrap().to_owned();
        let here = base.join("repo/src/a.c").to_str().unwrap().to_owned();
        let names = [here.as_str(), "/build/7/repo/src/a.c", "../a.c", outside.as_str(), gone.as_str(), "/none/b.c"];
        let wanted = names.iter().map(|name| ((*name).to_owned(), 1)).collect();
        let sources = read(&wanted, &folder);
        for name in &names[..3] {
            let source = sources.get(name).unwrap();
            assert_eq!((source.path.as_str(), source.inside, source.line(2)), ("src/a.c", true, Some("two")), "{name}");
            assert!(source.changed, "it is newer than 1970");
        }
        assert!(!sources.get(&outside).unwrap().inside);
        assert_eq!(sources.path(&gone), "src/gone.c");
        assert_eq!(sources.get("/none/b.c"), None);
    }
}
