//! Rust programs for the tests: the compilers of this machine, and the programs in `fixtures/rust` built with each of them.

use std::collections::hash_map::DefaultHasher;
use std::env;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::build::scratch;
use super::skip;

/// The ways to build a program.
pub const VARIANTS: [&[&str]; 13] = [
    &["-Copt-level=0"],
    &["-Copt-level=1"],
    &["-Copt-level=2"],
    &["-Copt-level=3"],
    &["-Copt-level=s"],
    &["-Copt-level=z"],
    &["-Copt-level=3", "-Clto=thin"],
    &["-Copt-level=3", "-Clto=fat", "-Ccodegen-units=1"],
    &["-Copt-level=3", "-Cpanic=abort"],
    &["-Copt-level=3", "-Ctarget-cpu=native"],
    &["-Copt-level=3", "-Csymbol-mangling-version=v0"],
    &["-Copt-level=3", "-Ctarget-feature=+crt-static"],
    &["-Copt-level=3", "-Ctarget-feature=+crt-static", "-Crelocation-model=static"],
];

/// A compiler.
#[derive(Clone, Debug)]
pub struct Rust {
    program: PathBuf,
    /// What it calls itself: `rustc 1.95.0 (59807616e 2026-04-14)`.
    pub version: String,
}

/// The compilers: those that `LOCKPROF_RUSTC` lists (as `PATH` does), and the one that is installed.
pub fn compilers() -> Vec<Rust> {
    let listed = env::var_os("LOCKPROF_RUSTC").unwrap_or_default();
    let listed = env::split_paths(&listed).filter(|path| !path.as_os_str().is_empty());
    let mut found: Vec<Rust> = listed.chain(skip::find("rustc")).filter_map(Rust::new).collect();
    found.dedup_by(|one, other| one.version == other.version);
    if found.is_empty() {
        skip::skip("no Rust compiler");
    }
    found
}

impl Rust {
    fn new(program: PathBuf) -> Option<Self> {
        let output = Command::new(&program).arg("--version").output().ok()?;
        Some(Self { program, version: String::from_utf8_lossy(&output.stdout).trim().to_owned() })
    }

    /// A program beside the compiler, as its own distribution has it.
    pub fn tool(&self, name: &str) -> Option<PathBuf> {
        let output = Command::new(&self.program).args(["--print", "sysroot"]).output().ok()?;
        let root = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
        Some(root.join("bin").join(name)).filter(|file| file.is_file())
    }

    /// Builds a program of `fixtures/rust` with these flags, once; its path.
    pub fn build(&self, name: &str, flags: &[&str]) -> PathBuf {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/rust").join(format!("{name}.rs"));
        let mut hasher = DefaultHasher::new();
        (&self.version, flags).hash(&mut hasher);
        fs::read(&source).expect("a program in Rust").hash(&mut hasher);
        let file = scratch().join("fixtures").join(format!("{:016x}", hasher.finish())).join(name);
        if file.exists() {
            return file;
        }
        // Other tests may build it at the same time.
        let unfinished = file.with_extension(format!("{}-{:?}", std::process::id(), std::thread::current().id()));
        fs::create_dir_all(&unfinished).expect("a folder for the fixture");
        let output = Command::new(&self.program)
            .args(["--edition=2021", "--crate-type=bin"])
            .args(flags)
            .arg("-o")
            .arg(unfinished.join(name))
            .arg(&source)
            .output()
            .expect("the compiler");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name} does not compile with {} {flags:?}:\n{said}", self.version);
        fs::rename(unfinished.join(name), &file).expect("the fixture in its place");
        let _ = fs::remove_dir_all(&unfinished);
        file
    }
}
