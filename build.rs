//! Builds the preloaded library and lets the CLI carry it inside.
//!
//! The shim has no dependency but the wire crate, so two calls of the compiler and one of the linker do; its crate is also an
//! ordinary member of the workspace, but only here are its hooks exported. If the CLI linked the crate,
//! the CLI itself would export `pthread_mutex_lock`.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    for watched in ["build.rs", "profiler-shim/symbols.map", "profiler-shim/src", "profiler-shim/wire/src"] {
        println!("cargo::rerun-if-changed={}", root.join(watched).display());
    }
    let target = env::var("TARGET").expect("cargo sets it");
    assert!(
        target.starts_with("x86_64") && target.contains("linux-gnu"),
        "lockprof records x86-64 Linux programs with glibc only; this target is {target}"
    );
    let wire = out.join("liblockprof_wire.rlib");
    rustc(&root.join("profiler-shim/wire/src/lib.rs"), &wire, &["--crate-type=rlib", "--crate-name=lockprof_wire"]);
    let mut extern_wire = OsString::from("--extern=lockprof_wire=");
    extern_wire.push(&wire);
    let shim = ["--crate-type=staticlib", "--crate-name=lockprof_shim", "--cfg=lockprof_preload"];
    for (name, more) in [("lockprof_shim", None), ("lockprof_shim_oracle", Some("--cfg=lockprof_oracle"))] {
        let mut arguments: Vec<OsString> = shim.iter().map(OsString::from).collect();
        arguments.extend(more.map(OsString::from));
        arguments.push(extern_wire.clone());
        let archive = out.join(format!("lib{name}.a"));
        rustc(&root.join("profiler-shim/src/lib.rs"), &archive, &arguments);
        let library = out.join(format!("lib{name}.so"));
        link(&archive, &root.join("profiler-shim/symbols.map"), &library);
        println!("cargo::rustc-env=LIB{}={}", name.to_uppercase(), library.display());
    }
}

/// Makes the library of the compiled shim. The compiler would do it as well, but it has a list of exported names of its
/// own, and such a list can have no versions in it.
fn link(archive: &Path, symbols: &Path, output: &Path) {
    let linker = env::var_os("RUSTC_LINKER").unwrap_or_else(|| "cc".into());
    let mut map = OsString::from("-Wl,--version-script=");
    map.push(symbols);
    let status = Command::new(&linker)
        .args(["-shared", "-nostdlib", "-nostartfiles", "-Wl,-z,nodelete,-z,now,-z,relro,-z,noexecstack"])
        .args(["-Wl,--gc-sections,--strip-debug,--build-id,--eh-frame-hdr,--hash-style=gnu,--no-undefined-version"])
        // All hooks are in one object, so one of them brings them all.
        .args(["-Wl,-u,pthread_mutex_lock"])
        .arg(map)
        .arg(archive)
        .arg("-o")
        .arg(output)
        .status();
    match status {
        Ok(status) if status.success() => {}
        Ok(status) => panic!("linking the preloaded library failed: {status}"),
        Err(error) => panic!("the linker {} could not be run: {error}", linker.display()),
    }
}

fn rustc(source: &Path, output: &Path, arguments: &[impl AsRef<std::ffi::OsStr>]) {
    let compiler = env::var_os("RUSTC").expect("cargo sets it");
    let status = Command::new(compiler)
        .args(["--edition=2024", "-Copt-level=3", "-Cpanic=abort", "-Ccodegen-units=1", "-Cdebuginfo=line-tables-only"])
        // Frames of the shim are walked through by the program's exceptions and by cancellation.
        .args(["-Cforce-unwind-tables=yes", "-Cforce-frame-pointers=yes", "-Crelocation-model=pic"])
        .args([
            "--check-cfg=cfg(lockprof_preload)",
            "--check-cfg=cfg(lockprof_oracle)",
            "-Clto=fat",
            "-Cembed-bitcode=yes",
        ])
        .arg(format!("--target={}", env::var("TARGET").expect("cargo sets it")))
        .args(arguments)
        .arg("-o")
        .arg(output)
        .arg(source)
        .status();
    match status {
        Ok(status) if status.success() => {}
        Ok(status) => panic!("building the preloaded library failed: {status}"),
        Err(error) => panic!("the Rust compiler could not be run: {error}"),
    }
}
