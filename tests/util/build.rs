//! Builds fixtures with the system's compilers, once per content: the folder's name is a hash of sources and flags.

use std::collections::hash_map::DefaultHasher;
use std::ffi::OsString;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// A program or library to be made of files in `fixtures/targets`.
#[derive(Clone)]
pub struct Build {
    sources: Vec<String>,
    flags: Vec<String>,
    compiler: Option<OsString>,
    output: String,
}

/// A plain fixture: `NAME.c` or `NAME.cpp`, built as its users would build it.
pub fn fixture(name: &str) -> PathBuf {
    let sources =
        ["", KINDS].into_iter().flat_map(|folder| ["c", "cpp"].map(|ending| format!("{folder}{name}.{ending}")));
    let source = sources.into_iter().find(|file| targets().join(file).exists());
    Build::new(&source.unwrap_or_else(|| panic!("no fixture {name} in {}", targets().display())), name).build()
}

/// In the folder of fixtures: those that need no argument, one for each kind of lock or interface.
const KINDS: &str = "kinds/";

/// The names of the fixtures in `kinds`.
pub fn kinds() -> Vec<String> {
    let files = fs::read_dir(targets().join(KINDS)).expect("the folder of fixtures").flatten();
    let name = |file: fs::DirEntry| Some(file.path().file_stem()?.to_str()?.to_owned());
    let mut names: Vec<String> = files.filter_map(name).collect();
    names.sort();
    names
}

/// The folder of the fixtures' sources.
pub fn targets() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/targets")
}

/// The folder for what the tests make.
pub fn scratch() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
}

impl Build {
    pub fn new(source: &str, output: &str) -> Self {
        Self { sources: vec![source.into()], flags: Vec::new(), compiler: None, output: output.into() }
    }

    pub fn source(mut self, source: &str) -> Self {
        self.sources.push(source.into());
        self
    }

    pub fn flags(mut self, flags: &[&str]) -> Self {
        self.flags.extend(flags.iter().map(ToString::to_string));
        self
    }

    pub fn compiler(mut self, compiler: impl Into<OsString>) -> Self {
        self.compiler = Some(compiler.into());
        self
    }

    /// Builds it where that has not been done yet; the path of the result.
    pub fn build(&self) -> PathBuf {
        let file = scratch().join("fixtures").join(format!("{:016x}", self.hash())).join(&self.output);
        if file.exists() {
            return file;
        }
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let folder = file.parent().expect("a folder above the output");
        fs::create_dir_all(folder).expect("a folder for the fixture");
        let unfinished = folder.join(format!(".{}.{}", std::process::id(), SERIAL.fetch_add(1, Ordering::Relaxed)));
        let output = Command::new(self.compiler_or_default())
            .args(["-O2", "-g", "-pthread"])
            .args(self.sources.iter().map(|source| targets().join(source)))
            .args(&self.flags)
            .arg("-o")
            .arg(&unfinished)
            .output()
            .unwrap_or_else(|error| panic!("no compiler for {}: {error}", self.sources[0]));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{} does not compile:\n{said}", self.sources[0]);
        fs::rename(&unfinished, &file).expect("the fixture in its place");
        file
    }

    fn compiler_or_default(&self) -> OsString {
        let default = if self.sources[0].ends_with(".cpp") { "c++" } else { "cc" };
        self.compiler.clone().unwrap_or_else(|| default.into())
    }

    fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.compiler_or_default().hash(&mut hasher);
        self.flags.hash(&mut hasher);
        self.output.hash(&mut hasher);
        for source in self.sources.iter().map(String::as_str).chain(["truth.h"]) {
            let text = fs::read(targets().join(source));
            text.unwrap_or_else(|error| panic!("no source {source}: {error}")).hash(&mut hasher);
        }
        hasher.finish()
    }
}
