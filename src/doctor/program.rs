//! What can be recorded of a program that is to be started: its file, the libraries that its loader would load, its language.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::loader::{self, Listed};
use super::machine::Machine;
use super::object::Object;
use super::{Finding, Row, names, objects};
use crate::model::diagnosis::Outcome;
use crate::record::preflight::{self, Followed, Refusal};
use crate::record::{cargo, go, inline, rust};
use crate::sites;
use crate::symbols::own_locks;

/// Libraries that open the machine that they are for by `dlopen`, and where that lies beside them.
const OPENED_LATER: [(&str, &str); 1] = [("libjli.so", "server/libjvm.so")];

/// See the module.
pub struct Program {
    /// The program as it is found, then for a script the interpreters.
    files: Vec<PathBuf>,
    refusal: Option<Refusal>,
    /// Its dynamic loader; `None` for a static program.
    loader: Option<PathBuf>,
    /// What the loader lists; `None` where it cannot be asked.
    listed: Option<Listed>,
    /// The library that is preloaded.
    library: Option<PathBuf>,
    /// The program's own file first, then libraries as the loader looks names up in them; without the recorder.
    pub objects: Vec<Object>,
    /// Of a Go program: how it is patched, or why it cannot be.
    go: Option<Result<sites::go::recipe::Recipe, String>>,
    /// Of a Rust program in which locks were found.
    rust: Option<Box<sites::rust::recipe::Recipe>>,
    /// Why it cannot be stopped at its start.
    cannot_stop: Option<String>,
    /// It is a command of cargo's, which is left alone.
    is_cargos: bool,
}

impl Program {
    /// Looks at a command.
    ///
    /// # Errors
    /// Where there is no such program.
    pub fn look(command: &[OsString], machine: &Machine) -> Result<Self, Refusal> {
        let Followed { files, refusal } = preflight::follow(command);
        let refusal = match refusal {
            Some(refusal @ Refusal::NotFound(_)) if files.is_empty() => return Err(refusal),
            other => other,
        };
        let mut program = Self {
            loader: None,
            listed: None,
            library: machine.library().map(Path::to_owned),
            objects: Vec::new(),
            go: None,
            rust: None,
            cannot_stop: machine.cannot_stop.as_ref().map(inline::stop_refused),
            is_cargos: false,
            files,
            refusal,
        };
        if program.refusal.is_none() {
            program.look_inside(command);
        }
        Ok(program)
    }

    fn look_inside(&mut self, command: &[OsString]) {
        let Some(file) = self.file().map(Path::to_owned) else { return };
        let words: Vec<String> = command.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        // Its folder is where the kernel finds it (`$ORIGIN`).
        let real = file.canonicalize().unwrap_or_else(|_| file.clone());
        self.is_cargos = cargo::is_left_alone(&real, &words);
        self.go = go::recipe(&file).map_err(|error| format!("{error:#}")).transpose();
        if self.go.is_none()
            && let Some(inline::Recipe::Rust(recipe)) = rust::recipe(&file)
        {
            self.rust = Some(recipe);
        }
        self.objects.extend(Object::read(&file));
        self.loader = preflight::loader(&file);
        if let (Some(loader), Some(library)) = (&self.loader, &self.library) {
            self.listed = loader::ask(loader, &real, library);
        }
        let listed = self.listed.iter().flat_map(|listed| &listed.files);
        let is_recorder = |path: &&PathBuf| Some(*path) == self.library.as_ref();
        let mut found: Vec<Object> =
            listed.filter(|path| !is_recorder(path)).filter_map(|path| Object::read(path)).collect();
        let later: Vec<Object> = (found.iter())
            .filter_map(|object| {
                let (_, later) = OPENED_LATER.iter().find(|(name, _)| *name == object.name())?;
                Object::read(&object.path.canonicalize().ok()?.parent()?.join(later))
            })
            .collect();
        found.extend(later);
        self.objects.extend(found);
    }

    /// The file that the kernel starts at last.
    fn file(&self) -> Option<&Path> {
        self.files.last().map(PathBuf::as_path)
    }

    /// Whether somebody could ever wait for somebody.
    fn starts_threads(&self) -> bool {
        self.loader.is_none() || self.objects.iter().any(|object| object.starts_threads && !object.is_libc())
    }

    /// Libraries that the loader was asked for, or that come later.
    fn libraries(&self) -> impl Iterator<Item = &Object> {
        self.objects.iter().skip(1)
    }
}

/// The checks.
pub const ROWS: &[Row<Program>] = &[
    Row { id: "program", look: program },
    Row { id: "script", look: script },
    Row { id: "loader", look: loader_ },
    Row { id: "libc", look: libc },
    Row { id: "libraries", look: libraries },
    Row { id: "preload", look: preload },
    Row { id: "functions", look: |program| objects::functions(&program.objects) },
    Row { id: "go", look: go_ },
    Row { id: "rust", look: rust_ },
    Row { id: "own-locks", look: locks },
    Row { id: "sanitizer", look: |program| objects::sanitizer(&program.objects) },
    Row { id: "allocator", look: |program| objects::allocator(&program.objects) },
    Row { id: "opens", look: |program| objects::opens(&program.objects) },
    Row { id: "starts", look: starts },
    Row { id: "stacks", look: stacks },
    Row { id: "names", look: names_ },
];

fn program(program: &Program) -> Option<Finding> {
    let Some(refusal) = &program.refusal else {
        let path = program.files.first()?;
        return Some(Finding::ok(format!("{}", path.display())));
    };
    let found = Finding::refused(refusal.what());
    Some(match refusal.fix() {
        Some(fix) => found.fix(fix),
        None => found,
    })
}

fn script(program: &Program) -> Option<Finding> {
    let (_, interpreters) = program.files.split_first()?;
    let last = interpreters.last()?;
    Some(Finding::ok(format!("it is a script: what is recorded is {} and what that starts", last.display())))
}

fn loader_(program: &Program) -> Option<Finding> {
    if program.refusal.is_some() {
        return None;
    }
    Some(match &program.loader {
        Some(loader) => Finding::ok(format!("{}, which preloads the recorder", loader.display())),
        None if program.go.is_some() || program.rust.is_some() => {
            Finding::ok("none (a static program): its own code is patched")
        }
        None if program.objects.is_empty() => Finding::new(Outcome::Open, "it may be executed, but not read")
            .missing("its loader, its libraries and its locks")
            .fix("look as a user who may read it"),
        None => {
            Finding::new(Outcome::Open, "the program is a loader itself, which loads the recorder into another one")
                .missing("what that program is: ask doctor about it")
        }
    })
}

fn libc(program: &Program) -> Option<Finding> {
    program.loader.as_ref()?;
    let libc = program
        .libraries()
        .find(|object| object.name().starts_with("libc.so.6") || object.name().starts_with("libc-2."));
    let Some(libc) = libc else {
        return program.listed.as_ref().filter(|listed| listed.missing.is_empty()).map(|_| {
            Finding::new(Outcome::Open, "no C library is among what it loads")
                .missing("whether it takes locks of libc at all")
        });
    };
    let path = libc.path.display();
    Some(match version(&libc.path) {
        Some(version) => Finding::ok(format!("glibc {version} ({path})")),
        None => Finding::ok(format!("glibc ({path})")),
    })
}

/// The version that glibc's library says of itself.
fn version(path: &Path) -> Option<String> {
    const BEFORE: &[u8] = b"stable release version ";
    let bytes = std::fs::read(path).ok()?;
    let at = memchr::memmem::find(&bytes, BEFORE)? + BEFORE.len();
    let is_of_version = |byte: &&u8| byte.is_ascii_digit() || **byte == b'.';
    let text: Vec<u8> = bytes[at..].iter().take_while(is_of_version).copied().collect();
    Some(String::from_utf8(text).ok()?.trim_end_matches('.').to_owned())
}

fn libraries(program: &Program) -> Option<Finding> {
    let loader = program.loader.as_ref()?;
    let Some(listed) = &program.listed else {
        return Some(
            Finding::new(Outcome::Open, format!("{} cannot be asked what it would load", loader.display()))
                .missing("which libraries it loads, and which locks those bring"),
        );
    };
    if !listed.missing.is_empty() {
        return Some(
            Finding::refused(format!("its loader does not find {}", listed.missing.join(", ")))
                .fix("install what is missing, or name its folder by LD_LIBRARY_PATH"),
        );
    }
    let is_loaded = program.library.as_ref().is_some_and(|library| listed.files.contains(library));
    if !is_loaded {
        let said = listed.said.first().map(|line| format!(": {line}")).unwrap_or_default();
        return Some(
            Finding::refused(format!("its loader does not load the recorder{said}"))
                .fix("see what the loader says about LD_PRELOAD: LD_DEBUG=libs"),
        );
    }
    // The program itself, the recorder and the loader are not among them.
    let count = program.libraries().filter(|object| !object.name().starts_with("ld-linux")).count();
    Some(Finding::ok(format!("{count}, all found, and the recorder before them")))
}

fn preload(_: &Program) -> Option<Finding> {
    let variable = std::env::var_os("LD_PRELOAD").unwrap_or_default();
    let system = std::fs::read_to_string("/etc/ld.so.preload").unwrap_or_default();
    let names: Vec<String> = (variable.as_bytes().split(|byte| b": ".contains(byte)))
        .map(|part| OsStr::from_bytes(part).to_string_lossy().into_owned())
        .chain(
            system
                .lines()
                .filter(|line| !line.trim_start().starts_with('#'))
                .flat_map(str::split_whitespace)
                .map(str::to_owned),
        )
        .filter(|part| !part.is_empty())
        .collect();
    (!names.is_empty()).then(|| Finding::ok(format!("{} as well, before the recorder", names.join(", "))))
}

fn go_(program: &Program) -> Option<Finding> {
    let recipe = match program.go.as_ref()? {
        Ok(recipe) => recipe,
        Err(why) => return Some(Finding::refused(why)),
    };
    if let Some(why) = &program.cannot_stop {
        return Some(Finding::refused(why).fix(inline::LET_STOP));
    }
    if recipe.is_go_command() {
        return Some(
            Finding::new(Outcome::Open, "the go command: it is not recorded itself")
                .missing("what it starts, as `go test` does, is recorded program by program"),
        );
    }
    Some(if recipe.left_out.is_empty() {
        Finding::ok(&recipe.found)
    } else {
        Finding::new(Outcome::InPart, &recipe.found).missing(in_program(&recipe.left_out))
    })
}

/// Sentences of a recipe, which have no subject.
fn in_program(left_out: &[String]) -> String {
    format!("in the program, {}", left_out.join("; "))
}

fn rust_(program: &Program) -> Option<Finding> {
    let recipe = program.rust.as_ref().filter(|_| !program.is_cargos)?;
    let (found, lacking) = match recipe.found.split_once(" (") {
        Some((found, lacking)) => (found, Some(lacking.trim_end_matches(')'))),
        None => (recipe.found.as_str(), None),
    };
    if let Some(why) = &program.cannot_stop {
        let is_needed = !recipe.is_interpreted;
        let outcome = if is_needed { Outcome::Refused } else { Outcome::InPart };
        return Some(Finding::new(outcome, why).missing("locks of Rust").fix(inline::LET_STOP));
    }
    let left_out = (!recipe.left_out.is_empty()).then(|| in_program(&recipe.left_out));
    let missing: Vec<&str> = left_out.iter().map(String::as_str).chain(lacking).collect();
    let finding = if recipe.left_out.is_empty() {
        if lacking.is_some() { Finding::note(found) } else { Finding::ok(found) }
    } else if program.starts_threads() {
        Finding::new(Outcome::InPart, found)
    } else {
        Finding::note(found)
    };
    Some(if missing.is_empty() { finding } else { finding.missing(missing.join("; ")) })
}

fn locks(program: &Program) -> Option<Finding> {
    let is_recorded = |object: &Object, name: &str| {
        let is_program = program.objects.first().is_some_and(|first| first.path == object.path);
        is_program && (program.go.is_some() || program.is_cargos || program.rust.is_some() && own_locks::is_rusts(name))
    };
    objects::own(&program.objects, is_recorded, program.starts_threads())
}

fn starts(program: &Program) -> Option<Finding> {
    let first = program.objects.first()?;
    if program.is_cargos {
        return Some(
            Finding::new(
                Outcome::Open,
                "cargo and what builds programs are not recorded; the programs that it runs are",
            )
            .missing("what those are"),
        );
    }
    let of_go = program.go.as_ref().and_then(|recipe| recipe.as_ref().ok()).filter(|recipe| !recipe.is_go_command());
    (first.starts || of_go.is_some_and(|recipe| recipe.starts_programs())).then(|| {
        Finding::new(Outcome::Open, "it can start other programs, which are recorded too, as far as each can be")
            .missing("which programs those are: ask doctor about each")
    })
}

fn stacks(program: &Program) -> Option<Finding> {
    if program.go.is_some() {
        return None;
    }
    objects::unwinding(&program.objects)
}

fn names_(program: &Program) -> Option<Finding> {
    let own = program.objects.first()?;
    if program.go.is_some() {
        return Some(Finding::ok("functions and lines are in the tables that every Go program carries"));
    }
    Some(names::of(own))
}
