//! Builds the preloaded library and lets the CLI carry it inside.
//!
//! Its crate is also an ordinary member of the workspace, but only here are its hooks exported. If the CLI linked the crate,
//! the CLI itself would export `pthread_mutex_lock`.

use std::env;
use std::path::PathBuf;

#[path = "build/library.rs"]
mod library;

fn main() {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    // In the workspace they are below the root, in a published crate wherever cargo keeps the others.
    let [shim, wire] = lockprof_shim::SOURCES.map(PathBuf::from);
    let own = ["build.rs", "build"].map(|part| root.join(part));
    for watched in own.into_iter().chain([shim.join("symbols.map"), shim.join("src"), wire.join("src")]) {
        println!("cargo::rerun-if-changed={}", watched.display());
    }
    let tools = library::Tools {
        compiler: env::var_os("RUSTC").expect("cargo sets it"),
        linker: env::var_os("RUSTC_LINKER").unwrap_or_else(|| "cc".into()),
        target: env::var("TARGET").expect("cargo sets it"),
    };
    assert!(
        tools.target.starts_with("x86_64") && tools.target.contains("linux-gnu"),
        "lockprof records x86-64 Linux programs with glibc only; this target is {}",
        tools.target
    );
    let library = tools.build((&shim, &wire), &out, "lockprof_shim", None);
    println!("cargo::rustc-env=LIBLOCKPROF_SHIM={}", library.display());
    // The tests build another one with these.
    println!("cargo::rustc-env=LOCKPROF_RUSTC={}", tools.compiler.display());
    println!("cargo::rustc-env=LOCKPROF_LINKER={}", tools.linker.display());
    println!("cargo::rustc-env=LOCKPROF_TARGET={}", tools.target);
}
