//! Frames that were read out of much debug information are kept for the next recording.
//!
//! Each program with threads has libc's thread start at the root of its stacks. The debug file that tells its line (where one
//! is installed) is large and compressed: to read it again for the same two addresses took most of the time that the recording
//! of a short program took after its end.
//!
//! An answer is used only for the very files that gave it (their place on disk, size, times and build-ids), and only by the
//! very executable that wrote it down. What comes from files that refer to further ones is not kept. A list that cannot be
//! read or written costs time, nothing else.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use object::{Object, ObjectSection};
use rustc_hash::FxHashMap;

use super::elf::{self, Binary, ElfError, Located};
use crate::model::{Frame, Module};
use crate::safe_file;

const MAGIC: &[u8] = b"lockprof frames 1\n";
/// With more addresses of one file a list begins anew.
const MOST: usize = 4096;
/// Lists are of some hundred bytes: a longer one is none of ours.
const LONGEST: u64 = 4 << 20;
/// Debug information of fewer bytes is read as fast as a list.
const WORTH: u64 = 256 << 10;
/// Lists of files that are there no more go when there are so many.
const MOST_LISTS: usize = 256;

/// Frames by return address.
pub(super) type Known = FxHashMap<u64, Vec<Frame>>;

/// Where answers are kept.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    folder: Option<PathBuf>,
    /// Of fewer bytes of debug information nothing is kept.
    worth: u64,
    /// By a module's path: where the file is that was there when it was recorded.
    files: FxHashMap<String, PathBuf>,
    /// By build-id: files with debug information that the person named.
    debug: FxHashMap<Vec<u8>, PathBuf>,
}

impl Kept {
    /// In this folder, which nobody else may change. Without one nothing is kept.
    pub fn in_folder(folder: Option<PathBuf>) -> Self {
        Self { folder, worth: WORTH, ..Self::default() }
    }

    /// Beside it, where the files of modules are which may be no longer at their paths.
    #[must_use]
    pub fn with_files(self, files: FxHashMap<String, PathBuf>) -> Self {
        Self { files, ..self }
    }

    /// Beside it, files with debug information, by build-id.
    #[must_use]
    pub fn with_debug_files(self, debug: FxHashMap<Vec<u8>, PathBuf>) -> Self {
        Self { debug, ..self }
    }

    /// The files of a module.
    pub(super) fn locate(&self, module: &Module) -> Result<Option<Located>, ElfError> {
        let module = self.module(module);
        match self.debug.get(&module.build_id) {
            Some(debug) => elf::locate_with(&module, debug).map(Some),
            None => elf::locate(&module),
        }
    }

    /// The module, with a path at which its file is.
    fn module<'a>(&self, module: &'a Module) -> Cow<'a, Module> {
        match self.files.get(&module.path) {
            Some(path) => Cow::Owned(Module { path: path.display().to_string(), ..module.clone() }),
            None => Cow::Borrowed(module),
        }
    }

    /// The list for these files; `None` where none is kept.
    pub(super) fn list(&self, located: &Located) -> Option<List> {
        let folder = self.folder.as_ref()?;
        let own = located.binary.as_ref().filter(|_| located.debug.is_none());
        if own.is_some_and(has_link) || located.files().any(refers_to_others) {
            return None;
        }
        if located.files().map(debug_size).max()? < self.worth.max(1) {
            return None;
        }
        let identity = identity(located)?;
        let mut hasher = DefaultHasher::new();
        identity.hash(&mut hasher);
        let path = folder.join(format!("frames-{:016x}", hasher.finish()));
        let known = read(&path, &identity).unwrap_or_default();
        Some(List { path, identity, known })
    }
}

/// What is kept of the files of one module.
pub(super) struct List {
    path: PathBuf,
    identity: String,
    /// What is known already.
    pub(super) known: Known,
}

impl List {
    /// Adds answers.
    pub(super) fn add<'a>(self, new: impl Iterator<Item = (u64, &'a Vec<Frame>)>) {
        let mut known = self.known;
        known.extend(new.map(|(address, frames)| (address, frames.clone())).collect::<Vec<_>>());
        if known.len() > MOST {
            known.clear();
        }
        let _ = write(&self.path, &bytes(&self.identity, &known));
    }
}

/// Bytes of debug information in a file, uncompressed.
fn debug_size(binary: &Binary) -> u64 {
    let size = |file: object::File<'_>| file.section_by_name(".debug_info").map_or(0, |section| section.size());
    binary.parse().map_or(0, size)
}

/// Whether a file names another one that has its debug information: where it has some itself, that may come later.
fn has_link(binary: &Binary) -> bool {
    binary.parse().map_or(true, |file| file.section_by_name(".gnu_debuglink").is_some())
}

/// Whether the debug information may be in other files as well (dwz, split units).
fn refers_to_others(binary: &Binary) -> bool {
    let others = [".gnu_debugaltlink", ".debug_sup", ".debug_addr"];
    binary.parse().map_or(true, |file| others.iter().any(|name| file.section_by_name(name).is_some()))
}

/// Tells these files, and this executable, from all others.
fn identity(located: &Located) -> Option<String> {
    let mut text = String::new();
    let mut add = |path: &Path, meta: &fs::Metadata, build_id: &[u8]| {
        let _ = writeln!(text, "{path:?} {} {build_id:?}", safe_file::identity(meta));
    };
    for binary in located.files() {
        add(binary.path(), binary.metadata(), binary.parse().ok()?.build_id().ok().flatten().unwrap_or_default());
    }
    add(Path::new("lockprof"), &fs::metadata("/proc/self/exe").ok()?, &[]);
    Some(text)
}

fn read(path: &Path, identity: &str) -> Option<Known> {
    let mut bytes = Vec::new();
    safe_file::open(path)?.take(LONGEST).read_to_end(&mut bytes).ok()?;
    parse(&bytes, identity)
}

fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    make_room(path.parent().unwrap_or(Path::new("/")));
    safe_file::replace(path, bytes, 0o600)
}

/// Removes all lists where there are many: most are of files that were replaced since.
fn make_room(folder: &Path) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let lists: Vec<_> = entries.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"frames-")).collect();
    if lists.len() >= MOST_LISTS {
        lists.iter().for_each(|entry| drop(fs::remove_file(entry.path())));
    }
}

fn bytes(identity: &str, known: &Known) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    let text = |out: &mut Vec<u8>, text: &str| {
        out.extend((text.len() as u32).to_le_bytes());
        out.extend(text.as_bytes());
    };
    text(&mut out, identity);
    out.extend((known.len() as u32).to_le_bytes());
    for (address, frames) in known {
        out.extend(address.to_le_bytes());
        out.extend((frames.len() as u32).to_le_bytes());
        for frame in frames {
            let (function, file) = (frame.function.as_deref(), frame.file.as_deref());
            out.push(u8::from(function.is_some()) | u8::from(file.is_some()) << 1 | u8::from(frame.inlined) << 2);
            out.extend(frame.line.to_le_bytes());
            out.extend(frame.column.to_le_bytes());
            function.into_iter().chain(file).for_each(|word| text(&mut out, word));
        }
    }
    out.extend(crc32fast::hash(&out).to_le_bytes());
    out
}

fn parse(bytes: &[u8], identity: &str) -> Option<Known> {
    let (content, sum) = bytes.split_last_chunk()?;
    let mut input = Input(content.strip_prefix(MAGIC)?);
    if crc32fast::hash(content) != u32::from_le_bytes(*sum) || input.text()? != identity {
        return None;
    }
    let mut known = Known::default();
    for _ in 0..input.number()? {
        let address = u64::from_le_bytes(input.take()?);
        let mut frames = Vec::new();
        for _ in 0..input.number()? {
            let [flags] = input.take()?;
            let (line, column) = (input.number()?, input.number()?);
            let mut word = |flag: u8| if flags & flag == 0 { Some(None) } else { input.text().map(Some) };
            let (function, file) = (word(1)?, word(2)?);
            frames.push(Frame { function, file, line, column, inlined: flags & 4 != 0 });
        }
        known.insert(address, frames);
    }
    Some(known)
}

/// What is left to read.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn take<const SIZE: usize>(&mut self) -> Option<[u8; SIZE]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn number(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn text(&mut self) -> Option<String> {
        let length = self.number()? as usize;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok().map(str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::symbols::frames::resolve;
    use crate::symbols::testing::{compile, tool};

    #[test]
    fn what_is_kept_is_read_as_it_was_written() {
        let whole =
            Frame { function: Some("a::b".into()), file: Some("/c.cc".into()), line: 7, column: 3, inlined: true };
        let known = Known::from_iter([(1, vec![whole, Frame::default()]), (u64::MAX, Vec::new())]);
        let bytes = bytes("these files", &known);
        assert_eq!(parse(&bytes, "these files"), Some(known));
        assert_eq!(parse(&bytes, "those files"), None);
        for length in 0..bytes.len() {
            assert_eq!(parse(&bytes[..length], "these files"), None);
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            assert_eq!(parse(&changed, "these files"), None, "byte {at}");
        }
    }

    #[test]
    fn kept_frames_are_those_of_the_debug_file_as_long_as_it_is_the_same() {
        let source = "#include <pthread.h>\nint main(void) {\n  pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;\n  return pthread_mutex_lock(&m);\n}\n";
        let Some(program) = compile("kept.c", source, &["-g", "-Wl,--build-id"]) else { return };
        let debug = program.path.with_extension("debug");
        let split = |flags: &[&str], of: &Path, to: &Path| {
            let arguments: Vec<&Path> = flags.iter().map(Path::new).chain([of, to]).collect();
            tool("objcopy", &arguments)
        };
        if split(&["--only-keep-debug"], &program.path, &debug).is_none() {
            return;
        }
        let link = format!("--add-gnu-debuglink={}", debug.display());
        assert!(split(&["--strip-debug", &link], &program.path, &program.path).is_some());
        let place = tempfile::tempdir().expect("a folder");
        let kept = Kept { folder: Some(place.path().to_owned()), worth: 0, ..Kept::default() };
        let addresses = program.inside("main");
        let ask = |kept: &Kept| resolve(&program.module(), &addresses, kept, &mut Vec::new());
        let lists = || fs::read_dir(place.path()).expect("the folder").count();

        let without = ask(&Kept::default());
        assert!(without.iter().flatten().any(|frame| frame.line == 4), "{without:?}");
        assert_eq!(ask(&Kept::in_folder(kept.folder.clone())), without);
        assert_eq!(lists(), 0, "so little is not kept");
        assert_eq!(ask(&kept), without);
        assert_eq!(lists(), 1);
        assert_eq!(ask(&kept), without);
        // It is the list that answers.
        let path = fs::read_dir(place.path()).expect("the folder").flatten().next().expect("a list").path();
        let located = crate::symbols::elf::locate(&program.module()).expect("files").expect("files");
        let told = |line| vec![Frame { line, ..Frame::default() }];
        let known = addresses.iter().map(|address| (*address, told(99))).collect();
        fs::write(&path, bytes(&identity(&located).expect("an identity"), &known)).expect("written");
        assert_eq!(ask(&kept), vec![told(99); addresses.len()]);
        // The same debug file again is another file.
        let bytes = fs::read(&debug).expect("the debug file");
        fs::remove_file(&debug).expect("removed");
        fs::write(&debug, bytes).expect("written");
        assert_eq!(ask(&kept), without);
        assert_eq!(lists(), 2);
    }
}
