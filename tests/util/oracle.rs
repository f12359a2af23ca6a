//! The oracle build of the preloaded library: it walks every remembered stack anew and asks the `backtrace` crate too.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::{fs, process};

use super::{Recording, Report, Target};

#[path = "../../build/library.rs"]
mod library;

/// What the oracle said.
#[derive(Clone, Copy, Debug)]
pub struct Verdict {
    pub checked: u64,
    pub wrong: u64,
}

/// The library with the second unwinder, which cargo builds next to the test binary.
fn second_unwinder() -> PathBuf {
    let binary = std::env::current_exe().expect("the test binary's path");
    let library = binary.parent().expect("its folder").join("liblockprof_oracle.so");
    assert!(library.is_file(), "cargo did not build {}", library.display());
    library
}

/// The library, built when a test asks for it first: a change of the shim does not have to wait for it. It stays in the
/// target folder under the hash of its sources.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut hasher = DefaultHasher::new();
        env!("LOCKPROF_RUSTC").hash(&mut hasher);
        let (shim, wire) = (root.join("profiler-shim"), root.join("profiler-shim/wire"));
        let parts = [root.join("build"), shim.join("symbols.map"), shim.join("src"), wire.join("src")];
        parts.iter().for_each(|part| hash_files(part, &mut hasher));
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("oracle");
        let library = folder.join(format!("{:016x}.so", hasher.finish()));
        if !library.is_file() {
            let work = folder.join(process::id().to_string());
            fs::create_dir_all(&work).expect("a folder for the oracle build");
            let tools = library::Tools {
                compiler: env!("LOCKPROF_RUSTC").into(),
                linker: env!("LOCKPROF_LINKER").into(),
                target: env!("LOCKPROF_TARGET").into(),
            };
            let made = tools.build((&shim, &wire), &work, "lockprof_shim_oracle", Some("lockprof_oracle"));
            fs::rename(made, &library).expect("the oracle build in its place");
            fs::remove_dir_all(&work).expect("the folder of the oracle build gone");
        }
        library
    })
}

/// Puts names and contents of all files below a path into the hash.
fn hash_files(path: &Path, hasher: &mut DefaultHasher) {
    if !path.is_dir() {
        path.hash(hasher);
        fs::read(path).expect("a source of the shim").hash(hasher);
        return;
    }
    let mut entries: Vec<_> = fs::read_dir(path).expect("a folder of the shim").flatten().map(|e| e.path()).collect();
    entries.sort();
    entries.iter().for_each(|entry| hash_files(entry, hasher));
}

/// The program under the oracle; its user preloads the second unwinder.
pub fn under_oracle(target: &Target) -> Target {
    target.clone().env("LOCKPROF_SHIM", library()).env("LD_PRELOAD", second_unwinder())
}

impl Verdict {
    pub fn of(report: &Report) -> Self {
        let note = report.notes().into_iter().find_map(|note| note.strip_prefix("oracle: "));
        let note = note.unwrap_or_else(|| panic!("the oracle says nothing: {:?}", report.notes()));
        let mut numbers = note.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok());
        let mut next = || numbers.next().unwrap_or_else(|| panic!("no two numbers in {note}"));
        Self { checked: next(), wrong: next() }
    }

    /// None is wrong, of at least so many.
    pub fn assert_right(self, what: &str, at_least: u64) {
        eprintln!("{what}: {self:?}");
        assert_eq!(self.wrong, 0, "{what}: {self:?}");
        assert!(self.checked >= at_least, "{what}: {self:?}, {at_least} at least were to be checked");
    }
}

/// Records under an oracle that is wrong in one way on purpose.
pub fn blinded(target: &Target, how: &str) -> (Recording, Verdict) {
    let recording = under_oracle(target).env("LOCKPROF_ORACLE_BLIND", how).record();
    let verdict = Verdict::of(&recording.report);
    eprintln!("blind for {how}: {verdict:?}");
    (recording, verdict)
}
