//! Rust programs: whether a file is one with locks that can be recorded, and how it is patched.

use std::path::Path;

use super::go::map;
use super::inline::Recipe;
use crate::sites::rust::recipe;

/// How the program is patched; `None` where no lock of Rust's was found in it, or it may not be read.
pub fn recipe(path: &Path) -> Option<Recipe> {
    recipe::Recipe::of(&map(path)?).ok().flatten().map(|recipe| Recipe::Rust(Box::new(recipe)))
}

/// Whether it has locks of Rust, and no library can be preloaded into it.
pub fn is_static_program(path: &Path) -> bool {
    map(path).is_some_and(|map| recipe::is_static_program(&map))
}
