//! The libraries that a program's loader would load, in their order, as the loader itself lists them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::record::launch::preload;

/// What the loader says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// The files, in the order in which names are looked for in them, behind the program's own.
    pub files: Vec<PathBuf>,
    /// Libraries that it does not find.
    pub missing: Vec<String>,
    /// What else it complained about.
    pub said: Vec<String>,
}

/// Asks a loader about a program, with a library preloaded as a recording does; `None` where it is none that can be asked.
/// Nothing of the program is run.
pub fn ask(loader: &Path, program: &Path, library: &Path) -> Option<Listed> {
    // Others have no such option, or run the program.
    loader.file_name()?.to_str()?.starts_with("ld-linux").then_some(())?;
    let mut command = Command::new(loader);
    command.arg("--list").arg(program).env("LD_PRELOAD", preload(library)).stdin(Stdio::null());
    let output = command.output().ok()?;
    let mut listed = parse(&String::from_utf8_lossy(&output.stdout));
    listed.said.extend(String::from_utf8_lossy(&output.stderr).lines().map(str::to_owned));
    Some(listed)
}

/// Lines such as `libc.so.6 => /lib/libc.so.6 (0x7f…)`, `/lib64/ld-linux-x86-64.so.2 (0x7f…)`, `libx.so => not found`.
fn parse(text: &str) -> Listed {
    let mut listed = Listed::default();
    for line in text.lines().map(str::trim) {
        let (name, place) = line.split_once(" => ").unwrap_or((line, line));
        if place == "not found" {
            listed.missing.push(name.to_owned());
            continue;
        }
        let path = place.rsplit_once(" (0x").map_or(place, |(path, _)| path);
        if path.starts_with('/') {
            listed.files.push(path.into());
        }
    }
    listed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_loader() {
        let text = "\tlinux-vdso.so.1 (0x00007ffc)\n\t/a b/shim.so (0x00007f01)\n\tlibx.so.1 => not found\n\
                    \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f02)\n\t/lib64/ld-linux-x86-64.so.2 (0x7f03)\n";
        let listed = parse(text);
        let files = ["/a b/shim.so", "/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"];
        assert_eq!(listed.files, files.map(PathBuf::from));
        assert_eq!(listed.missing, ["libx.so.1"]);
        assert_eq!(parse("\tstatically linked\n"), Listed::default());
    }
}
