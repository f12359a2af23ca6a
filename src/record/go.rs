//! Go programs: whether a file is one, and how it is patched.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use memmap2::Mmap;

use super::shim;
use crate::safe_file;
use crate::sites::go::recipe::{self, Recipe};

/// How the program is patched; `None` where it is no Go program, or may not be read.
///
/// # Errors
/// Where it is a Go program that cannot be patched, and why.
pub fn recipe(path: &Path) -> anyhow::Result<Option<Recipe>> {
    let store = Store::of(path);
    if let Some(recipe) = store.as_ref().and_then(Store::read) {
        return Ok(Some(recipe));
    }
    let Some(map) = map(path) else { return Ok(None) };
    let name = path.display();
    let made =
        Recipe::of(&map).map_err(|error| anyhow!("{name} is a Go program whose locks cannot be recorded: {error}"));
    if let (Some(store), Ok(Some(recipe))) = (store, &made) {
        store.write(recipe);
    }
    made
}

/// Where a program's recipe is kept for its next start. It is used only for the very file that it was made of, and by the
/// very executable that made it; the bytes in the program are compared with it before any is changed.
struct Store {
    folder: PathBuf,
    path: PathBuf,
    identity: String,
}

impl Store {
    /// Recipes of smaller files are made as fast as they are read.
    const WORTH: u64 = 4 << 20;
    /// Larger ones are none of ours.
    const LONGEST: u64 = 64 << 20;
    /// When there are so many, all go.
    const MOST: usize = 64;
    const PREFIX: &str = "go-";

    fn of(path: &Path) -> Option<Self> {
        let about = fs::metadata(path).ok().filter(|about| about.len() >= Self::WORTH)?;
        let folder = shim::cache_folder()?;
        let own = fs::metadata("/proc/self/exe").ok()?;
        let identity = format!("lockprof recipe\n{}\n{}\n", safe_file::identity(&own), safe_file::identity(&about));
        let mut hasher = DefaultHasher::new();
        identity.hash(&mut hasher);
        let path = folder.join(format!("{}{:016x}", Self::PREFIX, hasher.finish()));
        Some(Self { folder, path, identity })
    }

    fn read(&self) -> Option<Recipe> {
        let mut bytes = Vec::new();
        safe_file::open(&self.path)?.take(Self::LONGEST).read_to_end(&mut bytes).ok()?;
        Recipe::from_bytes(bytes.strip_prefix(self.identity.as_bytes())?)
    }

    /// Where it cannot be kept, the next start takes longer, and nothing else.
    fn write(&self, recipe: &Recipe) {
        let Some(bytes) = recipe.to_bytes() else { return };
        let is_one = |entry: &fs::DirEntry| entry.file_name().as_encoded_bytes().starts_with(Self::PREFIX.as_bytes());
        let kept: Vec<_> = fs::read_dir(&self.folder).into_iter().flatten().flatten().filter(is_one).collect();
        if kept.len() >= Self::MOST {
            kept.iter().for_each(|entry| drop(fs::remove_file(entry.path())));
        }
        let _ = safe_file::replace(&self.path, &[self.identity.as_bytes(), &bytes].concat(), 0o600);
    }
}

/// Whether it is a Go program, of whatever version.
pub fn is_program(path: &Path) -> bool {
    map(path).is_some_and(|map| recipe::is_program(&map))
}

/// A program's file.
pub(super) fn map(path: &Path) -> Option<Mmap> {
    let file = File::open(path).ok()?;
    file.metadata().is_ok_and(|about| about.is_file()).then_some(())?;
    // SAFETY: the map is only read. Whoever cuts the file short meanwhile ends this process by a signal; programs that are
    // executed cannot be written.
    unsafe { Mmap::map(&file) }.ok()
}
