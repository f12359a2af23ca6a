//! Rust programs: whether a file is one with locks that can be recorded, and how it is patched.

use std::path::Path;

use super::go::map;
use crate::sites::rust::recipe::Recipe;

/// How the program is patched; `None` where no lock of Rust's was found in it, or it may not be read.
pub fn recipe(path: &Path) -> Option<Recipe> {
    Recipe::of(&map(path)?).ok().flatten()
}
