//! The program that is measured.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds a program of this folder into another one, as most programs are built: optimised, without frame pointers.
pub fn compile(name: &str, folder: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let program = folder.join(name);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches").join(name).with_extension("c");
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let flags = ["-O2", "-g", "-fomit-frame-pointer", "-pthread", "-o"];
    let status = Command::new(compiler).args(flags).arg(&program).arg(source).status()?;
    if status.success() { Ok(program) } else { Err(format!("benches/{name}.c does not compile").into()) }
}
