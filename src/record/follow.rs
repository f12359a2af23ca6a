//! Go programs that the program starts: they are patched at their exec, as the program itself is.
//!
//! Whoever is about to start a program announces it at a socket in the session's folder and waits for an answer: the shim in
//! programs of C, a trampoline in those of Go. If it is a Go program, the process is traced until it has become that, is
//! patched, and let go; all others get their answer at once. Nobody is traced for longer than its start takes.

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

use lockprof_wire::FOLLOW;
use rustc_hash::FxHashSet;

use super::go;
use super::inline::{self, Tracee};
use crate::ingest::go::Patched;
use crate::safe_file;
use crate::sites::go::recipe::Recipe;

/// What became of a process that was about to be a Go program.
pub struct News {
    /// The process.
    pub pid: u32,
    /// What it is recorded by; why it is not, with the program's path; `None` where it did not become the program.
    pub outcome: Result<Option<Box<Patched>>, (PathBuf, String)>,
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
    /// Whether files are Go programs.
    kinds: Mutex<HashMap<String, bool>>,
    /// Processes that are being patched, or were, and are in the news that nobody has read yet.
    busy: Mutex<FxHashSet<u32>>,
    socket: PathBuf,
}

/// A recipe, that it is no Go program, or why it cannot be patched.
type Known = Result<Option<Recipe>, String>;

impl Follower {
    /// Waits for announcements as long as this process lives; `None` where there can be no socket.
    pub fn start(folder: &Path) -> Option<Self> {
        let socket = folder.join(FOLLOW);
        let listener = UnixListener::bind(&socket).ok()?;
        let shared = Arc::new(Shared { socket, ..Shared::default() });
        let (sender, news) = channel();
        let of_thread = Arc::clone(&shared);
        let listen = move || listener.incoming().flatten().for_each(|stream| attend(stream, &of_thread, &sender));
        Builder::new().name("follow".to_owned()).spawn(listen).ok()?;
        Some(Self { news, shared })
    }

    /// Where programs that are about to be started are announced.
    pub fn socket(&self) -> &Path {
        &self.shared.socket
    }

    /// What came since the last time.
    pub fn news(&self) -> impl Iterator<Item = News> + '_ {
        self.news.try_iter().inspect(|news| _ = lock(&self.shared.busy).remove(&news.pid))
    }

    /// Whether a process is being patched, or was, and is not among the [news](Self::news) yet.
    pub fn is_busy(&self, pid: u32) -> bool {
        lock(&self.shared.busy).contains(&pid)
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
    let Some(pid) = peer(&stream) else { return };
    let Some(file) = find(pid, &path).filter(|file| shared.is_go(file)) else { return };
    lock(&shared.busy).insert(pid);
    let (of_thread, sender) = (Arc::clone(shared), sender.clone());
    // A large program takes a while, and others start meanwhile.
    let follower = Builder::new().name("follower".to_owned()).spawn(move || {
        let shared = of_thread;
        let outcome = match shared.recipe(&file).as_ref() {
            Ok(Some(recipe)) => follow(stream, pid, recipe, &shared.socket, &sender),
            Ok(None) => Ok(None),
            Err(why) => Err(why.clone()),
        };
        // One that was patched is in the news already.
        if !matches!(outcome, Ok(Some(()))) {
            let outcome = outcome.map(|_| None).map_err(|why| (file, why));
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
    recipe: &Recipe,
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
    let path = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default().display().to_string();
    // Go's own tools are followed, and not recorded.
    let followed_only = recipe.is_tool().then(|| recipe.clone().followed_only());
    let recipe = followed_only.as_ref().unwrap_or(recipe);
    let outcome = match inline::go::patch(&tracee, recipe, &path, Some(socket)) {
        Ok(patched) => {
            // Before it runs: whoever sees it run knows it.
            let _ = sender.send(News { pid, outcome: Ok(Some(Box::new(patched))) });
            Ok(Some(()))
        }
        // Another program is behind the path by now, as through `#!`.
        Err(inline::InlineError::Changed) => Ok(None),
        Err(error) => Err(error.to_string()),
    };
    tracee.detach().map_err(|error| error.to_string())?;
    outcome
}

impl Shared {
    fn is_go(&self, file: &Path) -> bool {
        let Some(key) = key(file) else { return false };
        if let Some(known) = lock(&self.kinds).get(&key) {
            return *known;
        }
        let is_go = go::is_program(file);
        lock(&self.kinds).insert(key, is_go);
        is_go
    }

    fn recipe(&self, file: &Path) -> Arc<Known> {
        let Some(key) = key(file) else { return Arc::new(Ok(None)) };
        if let Some(known) = lock(&self.recipes).get(&key) {
            return Arc::clone(known);
        }
        let known = Arc::new(go::recipe(file).map_err(|error| format!("{error:#}")));
        lock(&self.recipes).insert(key, Arc::clone(&known));
        known
    }
}

fn key(file: &Path) -> Option<String> {
    Some(safe_file::identity(&fs::metadata(file).ok()?))
}

/// The number of whoever is at the other end.
fn peer(stream: &UnixStream) -> Option<u32> {
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
    (answer == 0 && peer.pid > 0).then_some(peer.pid as u32)
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
