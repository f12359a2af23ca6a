//! Go programs for the tests: the toolchains of this machine, and the programs in `fixtures/go` built with each of them.

use std::collections::hash_map::DefaultHasher;
use std::env;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::build::scratch;
use super::skip;

/// A Go toolchain.
#[derive(Clone, Debug)]
pub struct Go {
    program: PathBuf,
    /// What it calls itself: `go1.24.11`.
    pub version: String,
}

/// The toolchains: those that `LOCKPROF_GO` lists (as `PATH` does), those in the tests' scratch folder (`.ci/run` puts
/// some there), and the one that is installed. Without any, says that the test is skipped.
pub fn toolchains() -> Vec<Go> {
    let listed = env::var_os("LOCKPROF_GO").unwrap_or_default();
    let listed = env::split_paths(&listed).filter(|path| !path.as_os_str().is_empty());
    let own = fs::read_dir(scratch().join("go")).into_iter().flatten().flatten();
    let own = own.map(|folder| folder.path().join("go/bin/go"));
    let mut found: Vec<Go> = listed.chain(own).chain(skip::find("go")).filter_map(Go::new).collect();
    found.sort_by(|one, other| one.version.cmp(&other.version));
    found.dedup_by(|one, other| one.version == other.version);
    if found.is_empty() {
        skip::skip("no Go toolchain");
    }
    found
}

impl Go {
    fn new(program: PathBuf) -> Option<Self> {
        let output = Command::new(&program).arg("version").env("GOTOOLCHAIN", "local").output().ok()?;
        let version = String::from_utf8_lossy(&output.stdout).split(' ').nth(2)?.to_owned();
        Some(Self { program, version })
    }

    /// The `go` command itself: a Go program as any other.
    pub fn program(&self) -> PathBuf {
        self.program.canonicalize().expect("the Go command")
    }

    /// What makes the `go` command work with what is here alone.
    pub fn environment() -> [(&'static str, PathBuf); 4] {
        [
            ("GOTOOLCHAIN", "local".into()),
            ("GOFLAGS", "-buildvcs=false".into()),
            ("GOPROXY", "off".into()),
            ("GOCACHE", scratch().join("go-cache")),
        ]
    }

    /// Builds a program of `fixtures/go` with these flags of `go build`, once; its path.
    pub fn build(&self, name: &str, flags: &[&str]) -> PathBuf {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/go").join(name);
        let mut hasher = DefaultHasher::new();
        (&self.version, flags).hash(&mut hasher);
        let mut sources: Vec<_> = fs::read_dir(&folder).expect("a program in Go").flatten().map(|e| e.path()).collect();
        sources.sort();
        for source in sources {
            fs::read(source).expect("a source").hash(&mut hasher);
        }
        let file = scratch().join("fixtures").join(format!("{:016x}", hasher.finish())).join(name);
        if file.exists() {
            return file;
        }
        fs::create_dir_all(file.parent().expect("a folder")).expect("a folder for the fixture");
        // Other tests may build it at the same time.
        let unfinished = file.with_extension(format!("{}-{:?}", std::process::id(), std::thread::current().id()));
        let output = Command::new(&self.program)
            .arg("build")
            .args(flags)
            .arg("-o")
            .arg(&unfinished)
            .arg(".")
            .current_dir(&folder)
            .envs(Self::environment())
            .output()
            .expect("the Go toolchain");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name} does not compile with {}:\n{said}", self.version);
        fs::rename(&unfinished, &file).expect("the fixture in its place");
        file
    }
}
