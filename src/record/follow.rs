//! Programs that the program starts: those of Go and Rust are patched before their first instruction, as the program itself is.
//!
//! Programs announce themselves at a socket in the session's folder, and wait for an answer. The shim does so at its own start:
//! if the program that it was loaded into has locks of Rust, that is stopped there, patched, and let go. Programs without the
//! shim, static ones, are announced by whoever is about to execute them: the shim in programs of C, a trampoline in those of
//! Go. Such a process is traced until it has become that program, is patched, and let go; all others get their answer at
//! once. Where the child of a `posix_spawn` is to become such a program, the thread that makes it is traced until it has, and
//! the child then: it has no number before, and runs no code that could announce it. Nobody is traced for longer than that
//! takes.

mod announced;
mod spawned;

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::Builder;
use std::time::Duration;

use lockprof_wire::own_locks::Joint;
use lockprof_wire::{FOLLOW, LEFT_ALONE, SPAWNS, STARTED, WITHOUT};
use rustc_hash::{FxHashMap, FxHashSet};

use announced::Announced;

use super::cargo::{Role, Roles};
use super::inline::{self, Recipe, Tracee};
use super::{go, preflight, rust};
use crate::ingest::go::Patched;
use crate::ingest::{procfs, tasks};
use crate::safe_file;

/// What became of a process that was about to be another program, or has just become one.
pub struct News {
    /// The process.
    pub pid: u32,
    /// What it is.
    pub outcome: Outcome,
}

/// See [`News`].
pub enum Outcome {
    /// It writes its lock operations.
    Patched(Box<Patched>),
    /// It cannot be patched, and why; with the program's path.
    Refused(PathBuf, String),
    /// It builds programs that are under test, or starts them, and is not recorded itself.
    LeftAlone,
    /// It did not become the program.
    Nothing,
}

/// The followers of a session.
pub struct Follower {
    news: Receiver<News>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// The recipes of files, by their identities.
    recipes: Mutex<HashMap<String, Arc<Known>>>,
    /// What is known of files, by their identities.
    files: Mutex<HashMap<String, Facts>>,
    /// What processes are in a command of cargo's.
    roles: Mutex<Roles>,
    /// Processes that are being patched, or were, and are in the news that nobody has read yet.
    busy: Mutex<FxHashSet<u32>>,
    /// What processes said that they become, the last of each.
    announced: Mutex<FxHashMap<u32, Announced>>,
    socket: PathBuf,
    /// Only the command itself is recorded.
    no_follow: bool,
}

/// What a file is that a process is about to execute.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A Go program.
    Go,
    /// A Rust program into which no library can be preloaded.
    StaticRust,
    /// It announces itself, or has nothing that is to be patched.
    Other,
}

/// What is known of a file that a process is about to execute.
#[derive(Clone)]
struct Facts {
    kind: Kind,
    /// Why the loader puts nothing into it, for the end of a sentence.
    why_not_loaded: Option<String>,
}

/// A recipe, that there is none, or why it cannot be patched.
type Known = Result<Option<Recipe>, String>;

impl Follower {
    /// Waits for announcements as long as this process lives; `None` where there can be no socket. `no_follow`: only the
    /// command itself is recorded.
    pub fn start(folder: &Path, no_follow: bool) -> Option<Self> {
        let socket = folder.join(FOLLOW);
        let listener = UnixListener::bind(&socket).ok()?;
        let shared = Arc::new(Shared { socket, no_follow, ..Shared::default() });
        let (sender, news) = channel();
        let of_thread = Arc::clone(&shared);
        let listen = move || listener.incoming().flatten().for_each(|stream| attend(stream, &of_thread, &sender));
        Builder::new().name("follow".to_owned()).spawn(listen).ok()?;
        Some(Self { news, shared })
    }

    /// Where programs that are about to be started are announced; `None` where they are not to be recorded.
    pub fn socket(&self) -> Option<&Path> {
        (!self.shared.no_follow).then_some(&self.shared.socket)
    }

    /// What came since the last time.
    pub fn news(&self) -> impl Iterator<Item = News> + '_ {
        self.news.try_iter().inspect(|news| _ = lock(&self.shared.busy).remove(&news.pid))
    }

    /// Whether a process is being patched, or was, and is not among the [news](Self::news) yet; or is none that is to be
    /// recorded.
    pub fn sees_to(&self, pid: u32) -> bool {
        lock(&self.shared.busy).contains(&pid) || lock(&self.shared.roles).of_parent(pid) == Role::Builds
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// One announcement. Whoever waits for the answer gets one whatever happens: the stream is closed.
fn attend(mut stream: UnixStream, shared: &Arc<Shared>, sender: &Sender<News>) {
    /// Longer paths are not announced whole.
    const LONGEST: usize = 4096;
    /// Who has connected and says nothing was stopped in between.
    const PATIENCE: Duration = Duration::from_secs(2);
    let _ = stream.set_read_timeout(Some(PATIENCE));
    let mut path = vec![0; LONGEST];
    let Ok(length) = stream.read(&mut path) else { return };
    path.truncate(length);
    let Some((pid, user)) = peer(&stream) else { return };
    if path.first() == Some(&STARTED) {
        started(stream, pid, Joint::of(&path), shared, sender);
        return;
    }
    let is_preloaded = path.first() != Some(&WITHOUT);
    if !is_preloaded {
        path.remove(0);
        if path.is_empty() {
            path.resize(LONGEST, 0);
            let Ok(length) = stream.read(&mut path) else { return };
            path.truncate(length);
        }
    }
    if shared.no_follow {
        return;
    }
    if path.first() != Some(&SPAWNS) {
        becomes(stream, (pid, user), (&path, is_preloaded), shared, sender);
    } else if let Some((thread, path)) = spawned::child_of(&mut stream, path) {
        spawned::follow(stream, (pid, thread), &path, shared, sender);
    }
}

/// A program with the shim in it is about to run.
fn started(mut stream: UnixStream, pid: u32, joint: Option<Joint>, shared: &Arc<Shared>, sender: &Sender<News>) {
    if lock(&shared.roles).enter(pid).is_left_alone() {
        let _ = sender.send(News { pid, outcome: Outcome::LeftAlone });
        let _ = stream.write_all(&[LEFT_ALONE]);
        return;
    }
    let file = procfs::folder(pid).join("exe");
    // Those were patched at their exec.
    if shared.facts(&file).kind == Kind::Go {
        return;
    }
    lock(&shared.busy).insert(pid);
    let (of_thread, sender) = (Arc::clone(shared), sender.clone());
    // A large program takes a while, and others start meanwhile.
    let follower = Builder::new().name("follower".to_owned()).spawn(move || {
        // What cannot be patched is told as for any program that brings locks of its own.
        let outcome = match of_thread.recipe(&file, || Ok(rust::recipe(&file))).as_ref() {
            Ok(Some(Recipe::Rust(recipe))) => patch_started(pid, recipe, joint).ok(),
            _ => None,
        };
        let outcome = outcome.map_or(Outcome::Nothing, |patched| Outcome::Patched(Box::new(patched)));
        // Before it runs: whoever sees it run knows it.
        let _ = sender.send(News { pid, outcome });
        drop(stream);
    });
    if follower.is_err() {
        lock(&shared.busy).remove(&pid);
    }
}

/// Patches a program that waits for its answer.
fn patch_started(
    pid: u32,
    recipe: &crate::sites::rust::recipe::Recipe,
    joint: Option<Joint>,
) -> Result<Patched, inline::InlineError> {
    // Other threads, of its libraries' making, may be anywhere in the code.
    if tasks::living(pid).count() != 1 {
        return Err(std::io::Error::other("it has more than one thread").into());
    }
    let path = fs::read_link(procfs::folder(pid).join("exe"))?.display().to_string();
    let tracee = Tracee::stopped(pid as i32)?;
    let patched = inline::rust::patch(&tracee, recipe, &path, joint);
    tracee.detach()?;
    patched
}

/// A process is about to become another program, with the recorder in its environment or without.
fn becomes(
    stream: UnixStream,
    (pid, user): (u32, u32),
    (path, is_preloaded): (&[u8], bool),
    shared: &Arc<Shared>,
    sender: &Sender<News>,
) {
    let found = find(pid, path).map(|file| (shared.facts(&file), file));
    let facts = found.as_ref().map(|(facts, _)| facts);
    lock(&shared.announced).insert(pid, Announced::new(path, facts, user, is_preloaded));
    let Some((Facts { kind, .. }, file)) = found else { return };
    if kind == Kind::Other || lock(&shared.roles).of_parent(pid) == Role::Builds {
        return;
    }
    lock(&shared.busy).insert(pid);
    let (of_thread, sender) = (Arc::clone(shared), sender.clone());
    // A large program takes a while, and others start meanwhile.
    let follower = Builder::new().name("follower".to_owned()).spawn(move || {
        let shared = of_thread;
        let known = shared.recipe_of(kind, &file);
        let outcome = match known.as_ref() {
            Ok(Some(_)) => follow(stream, pid, &known, &shared.socket, &sender),
            Ok(None) => Ok(None),
            Err(why) => Err(why.clone()),
        };
        // One that was patched is in the news already.
        if !matches!(outcome, Ok(Some(()))) {
            let outcome = outcome.map_or_else(|why| Outcome::Refused(file, why), |_| Outcome::Nothing);
            let _ = sender.send(News { pid, outcome });
        }
    });
    if follower.is_err() {
        // It is looked at as any other.
        lock(&shared.busy).remove(&pid);
    }
}

/// Traces the process until it has become the program, and patches that; `None` where it did not.
fn follow(
    mut stream: UnixStream,
    pid: u32,
    known: &Known,
    socket: &Path,
    sender: &Sender<News>,
) -> Result<Option<()>, String> {
    let seized = Tracee::seize(pid as i32).map_err(|error| format!("it may not be traced: {error}"))?;
    // It goes on now. At its exec its end of the stream is closed; a word means that there was no exec.
    let _ = stream.set_read_timeout(None);
    if stream.write_all(b"g").is_err() || stream.read(&mut [0]).unwrap_or(0) > 0 {
        return seized.let_go().map(|()| None).map_err(|error| error.to_string());
    }
    let tracee = seized.at_exec().map_err(|error| error.to_string())?;
    patch(tracee, known, socket, sender)
}

/// Patches a process at its exec as is known; `None` where it is another program.
fn patch(tracee: Tracee, known: &Known, socket: &Path, sender: &Sender<News>) -> Result<Option<()>, String> {
    let pid = tracee.pid();
    let path = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default().display().to_string();
    let applied = match known {
        Ok(Some(recipe)) => Ok(recipe.apply(&tracee, &path, Some(socket))),
        Ok(None) => return tracee.detach().map(|()| None).map_err(|error| error.to_string()),
        Err(why) => Err(why.clone()),
    };
    let outcome = match applied {
        Err(why) => Err(why),
        Ok(Ok(patched)) => {
            // Before it runs: whoever sees it run knows it.
            let _ = sender.send(News { pid, outcome: Outcome::Patched(Box::new(patched)) });
            Ok(Some(()))
        }
        // Another program is behind the path by now, as through `#!`.
        Ok(Err(inline::InlineError::Changed)) => Ok(None),
        Ok(Err(error)) => Err(error.to_string()),
    };
    tracee.detach().map_err(|error| error.to_string())?;
    outcome
}

impl Shared {
    fn facts(&self, file: &Path) -> Facts {
        let Some(key) = key(file) else { return Facts { kind: Kind::Other, why_not_loaded: None } };
        if let Some(known) = lock(&self.files).get(&key) {
            return known.clone();
        }
        let kind = if go::is_program(file) {
            Kind::Go
        } else if rust::is_static_program(file) {
            Kind::StaticRust
        } else {
            Kind::Other
        };
        let facts = Facts { kind, why_not_loaded: preflight::why_nothing_is_loaded(file) };
        lock(&self.files).insert(key, facts.clone());
        facts
    }

    fn recipe_of(&self, kind: Kind, file: &Path) -> Arc<Known> {
        self.recipe(file, || match kind {
            Kind::Go => go::recipe(file).map_err(|error| format!("{error:#}")).map(|recipe| recipe.map(Recipe::of_go)),
            _ => Ok(rust::recipe(file)),
        })
    }

    fn recipe(&self, file: &Path, make: impl FnOnce() -> Known) -> Arc<Known> {
        let Some(key) = key(file) else { return Arc::new(Ok(None)) };
        if let Some(known) = lock(&self.recipes).get(&key) {
            return Arc::clone(known);
        }
        let known = Arc::new(make());
        lock(&self.recipes).insert(key, Arc::clone(&known));
        known
    }
}

fn key(file: &Path) -> Option<String> {
    Some(safe_file::identity(&fs::metadata(file).ok()?))
}

/// The numbers of the process at the other end and of its user.
fn peer(stream: &UnixStream) -> Option<(u32, u32)> {
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: `peer` has the length that is given.
    let answer = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut length,
        )
    };
    (answer == 0 && peer.pid > 0).then_some((peer.pid as u32, peer.uid))
}

/// The file that a process is about to execute, as this side sees it.
fn find(pid: u32, path: &[u8]) -> Option<PathBuf> {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let path = Path::new(std::ffi::OsStr::from_bytes(path));
    let there = |path: &Path| {
        // Whoever reads this link is not who it is about.
        if let Ok(own) = path.strip_prefix("/proc/self") {
            let found = process.join(own);
            return found.is_file().then_some(found);
        }
        let found = match path.strip_prefix("/") {
            Ok(rest) => process.join("root").join(rest),
            Err(_) => process.join("cwd").join(path),
        };
        found.is_file().then_some(found)
    };
    if path.as_os_str().as_bytes().contains(&b'/') {
        return there(path);
    }
    let environment = fs::read(process.join("environ")).unwrap_or_default();
    let list = environment.split(|byte| *byte == 0).find_map(|variable| variable.strip_prefix(b"PATH="))?;
    let list = std::ffi::OsStr::from_bytes(list).to_owned();
    std::env::split_paths(&list).find_map(|folder| there(&folder.join(path)))
}
