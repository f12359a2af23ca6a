//! Which package a file belongs to, where the system's database of packages is Debian's; and how a person gets the debug
//! information that is missing.

use std::fs;
use std::path::{Path, PathBuf};

use memchr::memmem;

use super::debug_files::{has_server, hex};

/// dpkg's lists of files, one for each package.
const LISTS: &str = "/var/lib/dpkg/info";

/// The package that a file came with; `None` where it came with none, or the database is another one.
pub fn of(file: &Path) -> Option<String> {
    of_in(file, Path::new(LISTS))
}

fn of_in(file: &Path, lists: &Path) -> Option<String> {
    let real = file.canonicalize().ok();
    // Since `/lib` became a link to `/usr/lib`, lists have the one name or the other.
    let names = [Some(file.to_path_buf()), real].into_iter().flatten();
    let other = |path: PathBuf| {
        let text = path.to_str()?;
        Some(text.strip_prefix("/usr").map_or_else(|| format!("/usr{text}"), str::to_owned))
    };
    let names: Vec<String> = names.flat_map(|path| [path.to_str().map(str::to_owned), other(path)]).flatten().collect();
    let mut entries: Vec<PathBuf> = fs::read_dir(lists).ok()?.flatten().map(|entry| entry.path()).collect();
    entries.retain(|path| path.extension().is_some_and(|ending| ending == "list"));
    entries.sort_unstable();
    entries.into_iter().find_map(|path| {
        let list = fs::read(&path).ok()?;
        let has = |name: &String| memmem::find(&list, format!("\n{name}\n").as_bytes()).is_some();
        // `libc6:amd64.list`
        let package = path.file_stem()?.to_str()?.split(':').next()?.to_owned();
        names.iter().any(has).then_some(package)
    })
}

/// How to get the debug information of a file.
pub fn advice(file: &Path, build_id: &[u8]) -> String {
    let hex = hex(build_id);
    let by_server =
        if has_server() && !hex.is_empty() { ", or let `lockprof symbolize --debuginfod` fetch it" } else { "" };
    match of(file) {
        Some(package) => {
            format!("install {package}-dbgsym (or -dbg) of Debian's archive of debug packages{by_server}")
        }
        None if hex.is_empty() => "build it with -g, and do not strip it".to_owned(),
        None => format!("build it with -g, or name a folder with its debug file (build-id {hex}){by_server}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_names_its_package() {
        let lists = tempfile::tempdir().unwrap();
        fs::write(lists.path().join("other.list"), "/.\n/usr\n/usr/bin/ab\n").unwrap();
        fs::write(lists.path().join("libthing1:amd64.list"), "/.\n/usr\n/lib/x/libthing.so.1\n/usr/bin/a\n").unwrap();
        let of = |path: &str| of_in(Path::new(path), lists.path());
        assert_eq!(of("/usr/bin/a").as_deref(), Some("libthing1"));
        assert_eq!(of("/usr/lib/x/libthing.so.1").as_deref(), Some("libthing1"));
        assert_eq!(of("/usr/bin/b"), None);
    }
}
