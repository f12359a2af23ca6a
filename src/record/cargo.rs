//! `cargo test`, `cargo run` and the like: which of the programs that come of them are under test, and which only build those,
//! and are left alone.
//!
//! Told by a program's name, its folder, its arguments and what started it.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::ingest::procfs;

/// What a process is in a command of cargo's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It has nothing to do with cargo.
    Stranger,
    /// It starts programs under test, and what builds them: cargo, rustup, nextest.
    Starts,
    /// It builds documentation's examples, and starts them: rustdoc.
    Documents,
    /// It builds, with all that it starts: rustc, build scripts, linkers.
    Builds,
    /// It is under test.
    Tested,
}

impl Role {
    /// Whether it is not to be recorded.
    pub fn is_left_alone(self) -> bool {
        matches!(self, Self::Starts | Self::Documents | Self::Builds)
    }
}

/// The processes that were told apart, each with when it was started.
#[derive(Default)]
pub struct Roles(HashMap<u32, (u64, Role)>);

impl Roles {
    /// The role of a process that has just become a program.
    pub fn enter(&mut self, pid: u32) -> Role {
        let folder = procfs::folder(pid);
        let (Some(started), Some(program)) = (procfs::started(&folder), Program::of(pid)) else {
            return Role::Stranger;
        };
        let role = program.role(self.of_parent(pid), &is_of_tools, &is_built);
        self.0.insert(pid, (started, role));
        role
    }

    /// The role of a process that starts another one.
    pub fn of(&self, pid: u32) -> Role {
        let known = self.0.get(&pid).filter(|(then, _)| procfs::started(&procfs::folder(pid)) == Some(*then));
        known.map_or_else(|| self.of_parent(pid), |(_, role)| *role)
    }

    /// What a process that is to become another program was started by.
    pub fn of_parent(&self, pid: u32) -> Role {
        /// Processes that were forked and became no program of their own.
        const DEEPEST: usize = 16;
        let own = std::process::id();
        let mut at = pid;
        for _ in 0..DEEPEST {
            let Some(parent) = procfs::parent(&procfs::folder(at)).filter(|parent| *parent > 1 && *parent != own)
            else {
                break;
            };
            let known = self.0.get(&parent).filter(|(then, _)| procfs::started(&procfs::folder(parent)) == Some(*then));
            if let Some((_, role)) = known {
                return *role;
            }
            at = parent;
        }
        Role::Stranger
    }
}

/// Whether a command is one of cargo's, which is not recorded itself. `file`: without links.
pub fn is_left_alone(file: &Path, command: &[String]) -> bool {
    let program = Program { file: file.to_path_buf(), arguments: command.to_vec() };
    program.role(Role::Stranger, &is_of_tools, &is_built).is_left_alone()
}

/// What a process is.
struct Program {
    file: PathBuf,
    arguments: Vec<String>,
}

impl Program {
    fn of(pid: u32) -> Option<Self> {
        let file = fs::read_link(procfs::folder(pid).join("exe")).ok()?;
        Some(Self { file, arguments: procfs::command(pid) })
    }

    /// `is_of_tools`: whether a folder is one of the compiler's or cargo's own programs; `is_built`: whether a file was
    /// built by cargo and not installed.
    fn role(&self, parent: Role, is_of_tools: &dyn Fn(&Path) -> bool, is_built: &dyn Fn(&Path) -> bool) -> Role {
        let name = self.name();
        if parent == Role::Builds {
            return Role::Builds;
        }
        let is_tool = || self.file.parent().is_some_and(is_of_tools);
        let is_inside = parent != Role::Stranger;
        // Commands of cargo's that others bring are given their name as the first argument, wherever they are installed.
        let command =
            name.strip_prefix("cargo-").filter(|name| self.arguments.get(1).is_some_and(|first| first == name));
        let is_command = || command.is_some() && !is_built(&self.file);
        if name == "cargo" && runs_programs(&self.arguments) && is_tool()
            || is_inside && ((name == "cargo" || name == "rustup") && is_tool() || is_command())
            || command == Some("nextest") && is_command()
        {
            return Role::Starts;
        }
        if !is_inside {
            return Role::Stranger;
        }
        if name == "rustdoc" && is_tool() {
            return Role::Documents;
        }
        let is_compiler = ["rustc", "clippy-driver", "rustfmt", "miri"].contains(&name) && is_tool();
        // A wrapper has the compiler as its first argument.
        let first = self.arguments.get(1).map_or("", |first| base(first));
        let builds = match parent {
            Role::Starts => {
                name.starts_with("build-script-")
                    || ["rustc", "clippy-driver"].contains(&first)
                    || ["git", "ssh"].contains(&name)
            }
            // A tool that is to run the example has that as its first argument.
            Role::Documents => !name.starts_with("rust_out") && !first.starts_with("rust_out"),
            _ => false,
        };
        if is_compiler || builds { Role::Builds } else { Role::Tested }
    }

    /// What it is called: rustup is what it is asked to be.
    fn name(&self) -> &str {
        let file = self.file.file_name().unwrap_or_default();
        // What was replaced meanwhile is still that.
        let file = OsStr::from_bytes(file.as_bytes().strip_suffix(b" (deleted)").unwrap_or(file.as_bytes()));
        match (file.to_str().unwrap_or_default(), self.arguments.first()) {
            ("rustup", Some(called)) => base(called),
            (name, _) => name,
        }
    }
}

fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Whether a folder is one of the compiler's or cargo's own programs.
fn is_of_tools(folder: &Path) -> bool {
    folder.ends_with(".cargo/bin") || ["rustc", "rustup"].iter().any(|name| folder.join(name).exists())
}

/// Whether a file lies in a folder that cargo builds in: it marks those.
fn is_built(file: &Path) -> bool {
    file.ancestors().skip(1).take(4).any(|folder| folder.join("CACHEDIR.TAG").exists())
}

/// Whether cargo is asked to run programs. Commands that are none of its own may be others' names for that.
fn runs_programs(arguments: &[String]) -> bool {
    const WITH_VALUE: [&str; 6] = ["--color", "--config", "--manifest-path", "--target-dir", "-C", "-Z"];
    const RUN_NOTHING: [&str; 40] = [
        "add",
        "b",
        "build",
        "c",
        "check",
        "clean",
        "clippy",
        "config",
        "d",
        "doc",
        "fetch",
        "fix",
        "fmt",
        "generate-lockfile",
        "git-checkout",
        "help",
        "info",
        "init",
        "install",
        "locate-project",
        "login",
        "logout",
        "metadata",
        "new",
        "owner",
        "package",
        "pkgid",
        "publish",
        "read-manifest",
        "remove",
        "report",
        "rm",
        "rustc",
        "search",
        "tree",
        "uninstall",
        "update",
        "vendor",
        "version",
        "yank",
    ];
    let mut words = arguments.iter().skip(1);
    while let Some(word) = words.next() {
        if WITH_VALUE.contains(&word.as_str()) {
            words.next();
        } else if !word.starts_with(['-', '+']) {
            return !RUN_NOTHING.contains(&word.as_str());
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(parent: Role, command: &str) -> Role {
        let words: Vec<String> = command.split(' ').map(str::to_owned).collect();
        let file = PathBuf::from(&words[0]);
        let program = Program { file, arguments: words };
        program.role(parent, &|folder| folder == Path::new("/tools"), &|file| file.starts_with("/own/target"))
    }

    #[test]
    fn programs_under_test_and_what_builds_them() {
        use Role::{Builds, Documents, Starts, Stranger, Tested};
        for (parent, command, wanted) in [
            (Stranger, "/tools/cargo test", Starts),
            (Stranger, "/tools/cargo +nightly --config a=b t", Starts),
            (Stranger, "/tools/cargo run -- test", Starts),
            (Stranger, "/tools/cargo nextest run", Starts),
            (Stranger, "/tools/cargo metadata", Stranger),
            (Stranger, "/tools/cargo --config test build", Stranger),
            (Stranger, "/tools/cargo --version", Stranger),
            (Stranger, "/tools/rustc a.rs", Stranger),
            (Stranger, "/own/cargo test", Stranger),
            (Starts, "/tools/cargo metadata", Starts),
            (Starts, "/usr/local/bin/cargo-nextest nextest run", Starts),
            (Stranger, "/usr/local/bin/cargo-nextest nextest run", Starts),
            (Starts, "/own/target/debug/cargo-mine mine", Tested),
            (Starts, "/tools/rustc a.rs", Builds),
            (Starts, "/other/sccache /tools/rustc -vV", Builds),
            (Starts, "/own/target/debug/build/a-1/build-script-build", Builds),
            (Starts, "/tools/rustdoc --test", Documents),
            (Starts, "/own/target/debug/deps/a-1 --exact", Tested),
            (Starts, "/own/target/debug/cargo test", Tested),
            (Documents, "/tools/rustc a.rs", Builds),
            (Documents, "/usr/bin/cc -o /tmp/rustdoctest1/rust_out", Builds),
            (Documents, "/tmp/rustdoctest1/rust_out", Tested),
            (Documents, "/usr/bin/valgrind /tmp/rustdoctest1/rust_out", Tested),
            (Builds, "/usr/bin/ld -o a", Builds),
            (Builds, "/tools/cargo test", Builds),
            (Tested, "/usr/bin/sh -c x", Tested),
            (Tested, "/tools/cargo metadata", Starts),
            (Tested, "/tools/rustc a.rs", Builds),
        ] {
            assert_eq!(role(parent, command), wanted, "{command} of {parent:?}");
        }
    }
}
