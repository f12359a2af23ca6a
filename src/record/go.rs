//! Go programs: whether a file is one, and how it is patched.

use std::fs::File;
use std::path::Path;

use anyhow::anyhow;
use memmap2::Mmap;

use super::store::Store;
use crate::sites::go::recipe::{self, Recipe};

/// How the program is patched; `None` where it is no Go program, or may not be read.
///
/// # Errors
/// Where it is a Go program that cannot be patched, and why.
pub fn recipe(path: &Path) -> anyhow::Result<Option<Recipe>> {
    let store = Store::of(path, "go");
    if let Some(recipe) = store.as_ref().and_then(|store| store.read(Recipe::from_bytes)) {
        return Ok(Some(recipe));
    }
    let Some(map) = map(path) else { return Ok(None) };
    let name = path.display();
    let made =
        Recipe::of(&map).map_err(|error| anyhow!("{name} is a Go program whose locks cannot be recorded: {error}"));
    if let (Some(store), Ok(Some(recipe))) = (store, &made) {
        store.write(recipe.to_bytes());
    }
    made
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
