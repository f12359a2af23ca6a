//! Small programs with a known truth, compiled into a temporary folder. Tests only.

use std::path::{Path, PathBuf};
use std::process::Command;

use object::{Object, ObjectSymbol};
use tempfile::TempDir;

use super::elf::Binary;
use crate::model::Module;
use crate::skipped::{skip, unable};

/// A compiled program and its sources.
pub struct Program {
    /// Where everything is.
    pub folder: TempDir,
    /// The binary.
    pub path: PathBuf,
}

/// Compiles one source text; `None`, with the reason said, where there is no compiler or it does not
/// know the flags.
pub fn compile(name: &str, source: &str, flags: &[&str]) -> Option<Program> {
    let folder = TempDir::new().expect("a temporary folder");
    let file = folder.path().join(name);
    std::fs::write(&file, source).expect("a writable temporary folder");
    let path = folder.path().join("program");
    let compiler = if name.ends_with(".c") { "cc" } else { "c++" };
    let run = Command::new(compiler).args(flags).arg("-pthread").arg(&file).arg("-o").arg(&path).output();
    match run {
        Err(error) => {
            skip(&format!("no {compiler} ({error})"));
            None
        }
        Ok(output) if !output.status.success() => {
            let why = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(why.contains("unrecognized") || why.contains("not supported"), "{name} {flags:?}: {why}");
            unable(&format!("{compiler} refuses {flags:?}"));
            None
        }
        Ok(_) => Some(Program { folder, path }),
    }
}

/// What a tool prints; `None`, with the reason said, where it is not installed. It may not fail.
pub fn tool(name: &str, arguments: &[&Path]) -> Option<String> {
    match Command::new(name).args(arguments).output() {
        Ok(output) => {
            assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
            Some(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Err(error) => {
            skip(&format!("no {name} ({error})"));
            None
        }
    }
}

impl Program {
    /// The program as a recorded module.
    pub fn module(&self) -> Module {
        let binary = Binary::open(&self.path).expect("a compiled program");
        let build_id = binary.parse().expect("an ELF file").build_id().ok().flatten().unwrap_or_default().to_vec();
        Module { path: self.path.display().to_string(), build_id }
    }

    /// The address of a symbol.
    pub fn address(&self, symbol: &str) -> u64 {
        self.find(symbol).unwrap_or_else(|| panic!("no symbol {symbol}")).0
    }

    /// Whether there is such a symbol.
    pub fn has(&self, symbol: &str) -> bool {
        self.find(symbol).is_some()
    }

    /// The return addresses of calls in a function: every address inside, one by one, is good enough
    /// for tests that ask for all of them.
    pub fn inside(&self, function: &str) -> Vec<u64> {
        let (start, size) = self.find(function).unwrap_or_else(|| panic!("no function {function}"));
        (start + 1..=start + size).collect()
    }

    fn find(&self, symbol: &str) -> Option<(u64, u64)> {
        let binary = Binary::open(&self.path).ok()?;
        let file = binary.parse().ok()?;
        file.symbols().find(|found| found.name() == Ok(symbol)).map(|found| (found.address(), found.size()))
    }
}
