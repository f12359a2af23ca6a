//! Whose code a file is: the program's or a library's, by a name that outlives a renamed or updated file.
//!
//! Lock classes and fingerprints are made of these names: the same binary under another name, and one library in
//! many programs, are the same code.

use rustc_hash::FxHashSet;

use super::ids::ModuleId;
use super::session::Session;

/// What the program's own code is called, whatever its file is called.
pub const PROGRAM: &str = "program";

/// The names of a session's modules.
#[derive(Clone, Debug, Default)]
pub struct Owners {
    names: Vec<(String, String)>,
}

impl Owners {
    /// Those of a session: an executable of one of its processes is the program.
    pub fn of(session: &Session) -> Self {
        let programs: FxHashSet<&str> = session.processes.iter().map(|process| on_disk(&process.exe)).collect();
        let names = session.stacks.modules.iter().map(|module| {
            let file = on_disk(module.name());
            let name = if programs.contains(on_disk(&module.path)) { PROGRAM } else { library(file) };
            (name.to_owned(), file.to_owned())
        });
        Self { names: names.collect() }
    }

    /// Whose code the module is; empty where there is none.
    pub fn name(&self, module: Option<ModuleId>) -> &str {
        self.get(module).map_or("", |(name, _)| name)
    }

    /// The module's file, without its folders; empty where there is none.
    pub fn file(&self, module: Option<ModuleId>) -> &str {
        self.get(module).map_or("", |(_, file)| file)
    }

    /// The file of the library of this name.
    pub fn file_of(&self, library: &str) -> Option<&str> {
        self.names.iter().find(|(name, _)| name == library).map(|(_, file)| file.as_str())
    }

    fn get(&self, module: Option<ModuleId>) -> Option<&(String, String)> {
        self.names.get(module?.index())
    }
}

/// A library's file without what an update changes: `libcache.so.1.4` → `libcache.so`.
pub fn library(file: &str) -> &str {
    match file.find(".so.") {
        Some(at) => &file[..at + ".so".len()],
        None => file,
    }
}

/// The path that the file had before it was removed.
pub fn on_disk(path: &str) -> &str {
    path.strip_suffix(" (deleted)").unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Module, Process};

    #[test]
    fn programs_and_libraries() {
        let mut session = Session::default();
        let exe = "/srv/server-2.1 (deleted)".to_owned();
        session.processes.push(Process { pid: 1, parent_pid: 0, exe, exit: None, threads: 1 });
        let paths = ["/srv/server-2.1", "/usr/lib/libcache.so.1.4.2", "/opt/server-2.1", "/opt/plug.so (deleted)"];
        let add = |path: &&str| session.stacks.intern_module(&Module { path: (*path).to_owned(), build_id: vec![] });
        let ids: Vec<_> = paths.iter().map(add).collect();
        let owners = Owners::of(&session);
        let names: Vec<_> = ids.iter().map(|id| owners.name(Some(*id))).collect();
        assert_eq!(names, [PROGRAM, "libcache.so", "server-2.1", "plug.so"]);
        assert_eq!(owners.file(Some(ids[1])), "libcache.so.1.4.2");
        assert_eq!((owners.file_of("libcache.so"), owners.file_of("none")), (Some("libcache.so.1.4.2"), None));
        assert_eq!((owners.name(None), owners.name(Some(ModuleId(9)))), ("", ""));
    }
}
