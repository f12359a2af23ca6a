//! Recipes of programs, kept from run to run: a large program takes a while to be searched, and is there at once the next
//! time.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::shim;
use crate::safe_file;

/// Where a program's recipe is kept for its next start. It is used only for the very file that it was made of, and by the
/// very executable that made it; the bytes in the program are compared with it before any is changed.
pub struct Store {
    folder: PathBuf,
    path: PathBuf,
    identity: String,
}

impl Store {
    /// Recipes of smaller files are made as fast as they are read.
    const WORTH: u64 = 1 << 20;
    /// Larger ones are none of ours.
    const LONGEST: u64 = 64 << 20;
    /// When there are so many, all go.
    const MOST: usize = 64;
    const PREFIX: &str = "recipe-";

    /// For a program; `None` where that is not worth it, or there is no place. `language`: which finder makes the recipe.
    pub fn of(path: &Path, language: &str) -> Option<Self> {
        let about = fs::metadata(path).ok().filter(|about| about.len() >= Self::WORTH)?;
        let folder = shim::cache_folder()?;
        let own = fs::metadata("/proc/self/exe").ok()?;
        let identity =
            format!("lockprof recipe {language}\n{}\n{}\n", safe_file::identity(&own), safe_file::identity(&about));
        let mut hasher = DefaultHasher::new();
        identity.hash(&mut hasher);
        let path = folder.join(format!("{}{:016x}", Self::PREFIX, hasher.finish()));
        Some(Self { folder, path, identity })
    }

    /// What is kept, if it can be read.
    pub fn read<T>(&self, parse: impl FnOnce(&[u8]) -> Option<T>) -> Option<T> {
        let mut bytes = Vec::new();
        safe_file::open(&self.path)?.take(Self::LONGEST).read_to_end(&mut bytes).ok()?;
        parse(bytes.strip_prefix(self.identity.as_bytes())?)
    }

    /// Where it cannot be kept, the next start takes longer, and nothing else.
    pub fn write(&self, recipe: Option<Vec<u8>>) {
        let Some(bytes) = recipe else { return };
        let is_one = |entry: &fs::DirEntry| entry.file_name().as_encoded_bytes().starts_with(Self::PREFIX.as_bytes());
        let kept: Vec<_> = fs::read_dir(&self.folder).into_iter().flatten().flatten().filter(is_one).collect();
        if kept.len() >= Self::MOST {
            kept.iter().for_each(|entry| drop(fs::remove_file(entry.path())));
        }
        let _ = safe_file::replace(&self.path, &[self.identity.as_bytes(), &bytes].concat(), 0o600);
    }
}
