//! How the preloaded library is built: by the root's `build.rs` for the CLI to carry it inside, by the tests for its oracle
//! build.
//!
//! The shim has no dependency but the wire crate, so two calls of the compiler and one of the linker do.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// With what a library is built.
pub struct Tools {
    /// The Rust compiler.
    pub compiler: OsString,
    /// The C compiler, as a linker.
    pub linker: OsString,
    /// The target's triple.
    pub target: String,
}

impl Tools {
    /// Builds the library of the sources of the shim and of the wire, which are in these folders, in the folder `out`; its
    /// path. `cfg`: one that is set besides.
    ///
    /// # Panics
    /// Where a tool cannot be run, or fails.
    pub fn build(&self, (shim, wire): (&Path, &Path), out: &Path, name: &str, cfg: Option<&str>) -> PathBuf {
        let compiled = out.join("liblockprof_wire.rlib");
        self.compile(
            &wire.join("src/lib.rs"),
            &compiled,
            &["--crate-type=rlib", "--crate-name=lockprof_wire"].map(OsString::from),
        );
        let mut arguments: Vec<OsString> =
            ["--crate-type=staticlib", "--crate-name=lockprof_shim", "--cfg=lockprof_preload"]
                .map(OsString::from)
                .into();
        arguments.extend(cfg.map(|cfg| format!("--cfg={cfg}").into()));
        let mut wire_crate = OsString::from("--extern=lockprof_wire=");
        wire_crate.push(&compiled);
        arguments.push(wire_crate);
        let archive = out.join(format!("lib{name}.a"));
        self.compile(&shim.join("src/lib.rs"), &archive, &arguments);
        let library = out.join(format!("lib{name}.so"));
        self.link(&archive, &shim.join("symbols.map"), &library);
        library
    }

    /// Makes the library of the compiled shim. The compiler would do it as well, but it has a list of exported names of its
    /// own, and such a list can have no versions in it.
    fn link(&self, archive: &Path, symbols: &Path, output: &Path) {
        let mut map = OsString::from("-Wl,--version-script=");
        map.push(symbols);
        let status = Command::new(&self.linker)
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
            Err(error) => panic!("the linker {} could not be run: {error}", self.linker.display()),
        }
    }

    fn compile(&self, source: &Path, output: &Path, arguments: &[OsString]) {
        let status = Command::new(&self.compiler)
            .args([
                "--edition=2024",
                "-Copt-level=3",
                "-Cpanic=abort",
                "-Ccodegen-units=1",
                "-Cdebuginfo=line-tables-only",
            ])
            // Frames of the shim are walked through by the program's exceptions and by cancellation.
            .args(["-Cforce-unwind-tables=yes", "-Cforce-frame-pointers=yes", "-Crelocation-model=pic"])
            .args([
                "--check-cfg=cfg(lockprof_preload)",
                "--check-cfg=cfg(lockprof_oracle)",
                "-Clto=fat",
                "-Cembed-bitcode=yes",
            ])
            .arg(format!("--target={}", self.target))
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
}
