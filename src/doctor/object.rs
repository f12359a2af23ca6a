//! A program's file, or a library's: what its tables of symbols say.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use object::{Object as _, ObjectSection, ObjectSymbol};
use rustc_hash::FxHashSet;

use crate::model::Module;
use crate::record::shim;
use crate::symbols::elf::{self, Binary};
use crate::symbols::own_locks;

/// Functions that start threads.
const THREADS: [&str; 3] = ["pthread_create", "thrd_create", "clone"];
/// Functions that open libraries.
const OPENS: [&str; 2] = ["dlopen", "dlmopen"];
/// Functions that start other programs.
const STARTS: [&str; 13] = [
    "execve",
    "execv",
    "execvp",
    "execvpe",
    "execl",
    "execlp",
    "execle",
    "execveat",
    "fexecve",
    "posix_spawn",
    "posix_spawnp",
    "system",
    "popen",
];
/// Beginnings of the names of libc's functions on locks and threads. C++'s guards are found anew for each call.
const OF_LOCKS: [&str; 6] = ["pthread_", "sem_", "mtx_", "cnd_", "thrd_", "call_once"];

/// See the module.
pub struct Object {
    /// Its path.
    pub path: PathBuf,
    /// Its GNU build-id; empty where it has none.
    pub build_id: Vec<u8>,
    /// Of the functions that the recorder stands before, those that it has itself.
    pub own_functions: Vec<String>,
    /// It hands calls on to the next function of their name, as libraries do that stand before libc's.
    pub hands_on: bool,
    /// It has an allocator of its own.
    pub allocates: bool,
    /// It starts threads, opens libraries, starts programs.
    pub starts_threads: bool,
    pub opens: bool,
    pub starts: bool,
    /// The sanitizer that it was built with, or is.
    pub sanitizer: Option<&'static str>,
    /// It has a table of all its functions' names.
    pub has_symbols: bool,
    /// Call stacks can be followed through it.
    pub unwinds: bool,
    /// Where its debug information is.
    pub debug: Option<PathBuf>,
    /// What people call its own locks, which do not go through libc.
    pub own_locks: Vec<&'static str>,
}

impl Object {
    /// Of a file; `None` where it cannot be read.
    pub fn read(path: &Path) -> Option<Self> {
        let binary = Binary::open(path).ok()?;
        let file = binary.parse().ok()?;
        let build_id = file.build_id().ok().flatten().unwrap_or_default().to_vec();
        let (mut exports, mut imports) = (FxHashSet::default(), FxHashSet::default());
        for symbol in file.dynamic_symbols() {
            let Ok(name) = symbol.name() else { continue };
            if symbol.is_undefined() { &mut imports } else { &mut exports }.insert(name);
        }
        let mut own_functions: Vec<String> = (exports.iter())
            .filter(|name| OF_LOCKS.iter().any(|start| name.starts_with(start)) && hooks().contains(**name))
            .map(|name| (*name).to_owned())
            .collect();
        own_functions.sort_unstable();
        let has = |names: &[&str]| names.iter().any(|name| imports.contains(name));
        let sanitizers = [
            ("__asan_init", "AddressSanitizer"),
            ("__tsan_init", "ThreadSanitizer"),
            ("__msan_init", "MemorySanitizer"),
        ];
        let is_there = |mark: &str| exports.contains(mark) || imports.contains(mark);
        let module = Module { path: path.display().to_string(), build_id: build_id.clone() };
        let debug = elf::locate(&module).ok().flatten().and_then(|located| {
            let has = |binary: &&Binary| binary.parse().is_ok_and(|file| elf::has_debug_information(&file));
            located.files().find(has).map(|binary| binary.path().to_owned())
        });
        Some(Self {
            path: path.to_owned(),
            own_functions,
            hands_on: has(&["dlsym", "dlvsym"]),
            allocates: exports.contains("malloc"),
            starts_threads: has(&THREADS),
            opens: has(&OPENS),
            starts: has(&STARTS),
            sanitizer: sanitizers.iter().find(|(mark, _)| is_there(mark)).map(|(_, name)| *name),
            has_symbols: file.symbols().next().is_some(),
            unwinds: [".eh_frame", ".debug_frame"]
                .iter()
                .any(|name| file.section_by_name(name).is_some_and(|section| section.size() > 8)),
            debug,
            own_locks: own_locks::of_module(&module),
            build_id,
        })
    }

    /// Its file's name.
    pub fn name(&self) -> String {
        self.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// Whether it is the C library, or a part of it.
    pub fn is_libc(&self) -> bool {
        let name = self.name();
        ["libc.so", "libc-2.", "libpthread", "ld-linux", "librt.so", "libdl.so"].iter().any(|it| name.starts_with(it))
    }
}

/// The functions that the recorder stands before, as its library exports them.
fn hooks() -> &'static FxHashSet<String> {
    static HOOKS: OnceLock<FxHashSet<String>> = OnceLock::new();
    HOOKS.get_or_init(|| {
        let bytes = shim::bytes().unwrap_or_default();
        let Ok(file) = object::File::parse(&*bytes) else { return FxHashSet::default() };
        let names = file.dynamic_symbols().filter(|symbol| !symbol.is_undefined());
        names.filter_map(|symbol| symbol.name().ok().map(str::to_owned)).collect()
    })
}
