//! Rust programs: whether a file is one with locks that can be recorded, and how it is patched.

use std::path::Path;

use super::go::map;
use super::inline::Recipe;
use super::store::Store;
use crate::sites::rust::recipe;

/// How the program is patched; `None` where no lock of Rust's was found in it, or it may not be read.
pub fn recipe(path: &Path) -> Option<Recipe> {
    let store = Store::of(path, "rust");
    let kept = store.as_ref().and_then(|store| store.read(recipe::Recipe::from_bytes));
    let recipe = match kept {
        Some(recipe) => recipe,
        None => {
            let made = recipe::Recipe::of(&map(path)?).ok().flatten()?;
            store.into_iter().for_each(|store| store.write(made.to_bytes()));
            made
        }
    };
    Some(Recipe::Rust(Box::new(recipe)))
}

/// Whether it has locks of Rust, and no library can be preloaded into it.
pub fn is_static_program(path: &Path) -> bool {
    map(path).is_some_and(|map| recipe::is_static_program(&map))
}
