//! Programs that `posix_spawn` starts: the child runs no code that could announce it, and has no number before it runs.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::Builder;
use std::time::Duration;

use super::{Kind, News, Outcome, Shared, find, lock, patch};
use crate::ingest::procfs;
use crate::record::cargo::Role;
use crate::record::inline::{Seized, Tracee};

/// The thread and the path of an announcement of a child, of which this was read so far.
pub fn child_of(stream: &mut UnixStream, mut told: Vec<u8>) -> Option<(u32, Vec<u8>)> {
    /// It comes in a few pieces.
    const LONGEST: u64 = 8192;
    const HEAD: usize = 5;
    let mut byte = [0];
    let mut rest = stream.take(LONGEST);
    // The number may have zeros in it.
    while told.len() <= HEAD || told.last() != Some(&0) {
        rest.read_exact(&mut byte).ok()?;
        told.push(byte[0]);
    }
    let thread = u32::from_le_bytes(told.get(1..HEAD)?.try_into().ok()?);
    Some((thread, told[HEAD..told.len() - 1].to_vec()))
}

/// A thread is about to start a program by `posix_spawn`.
pub fn follow(
    mut stream: UnixStream,
    (pid, thread): (u32, u32),
    path: &[u8],
    shared: &Arc<Shared>,
    sender: &Sender<News>,
) {
    let Some(file) = find(pid, path) else { return };
    let kind = shared.facts(&file).kind;
    // In another PID namespace its number is another one.
    if kind == Kind::Other || !is_thread(pid, thread) {
        return;
    }
    if lock(&shared.roles).of(pid) == Role::Builds {
        return;
    }
    let (shared, sender) = (Arc::clone(shared), sender.clone());
    // A large program takes a while, and others start meanwhile. Where there is no thread for it, the program is missed and
    // told as any other.
    let _ = Builder::new().name("follower".to_owned()).spawn(move || {
        let known = shared.recipe_of(kind, &file);
        if matches!(*known, Ok(None)) {
            return;
        }
        let Ok(Some(child)) = child(&mut stream, thread) else { return };
        let pid = child.pid();
        lock(&shared.busy).insert(pid);
        // It has ended where the program could not be executed.
        let tracee = child.at_exec().map_err(|error| error.to_string());
        let outcome = match tracee.map(|tracee| patch(tracee, &known, &shared.socket, &sender)) {
            Ok(Ok(Some(()))) => return,
            Ok(Ok(None)) | Err(_) => Outcome::Nothing,
            Ok(Err(why)) => Outcome::Refused(file, why),
        };
        let _ = sender.send(News { pid, outcome });
    });
}

/// Whether a process has this thread, and sees it under the number that it has here.
fn is_thread(pid: u32, thread: u32) -> bool {
    let process = procfs::folder(pid);
    let is_alike = procfs::namespace(&process) == procfs::namespace(Path::new("/proc/self"));
    is_alike && process.join("task").join(thread.to_string()).exists()
}

/// The child that a thread is about to make, which has not run yet.
fn child(stream: &mut UnixStream, thread: u32) -> std::io::Result<Option<Seized>> {
    let parent = Tracee::seize_parent(thread as i32)?;
    let is_told = stream.write_all(b"g").is_ok();
    let _ = stream.set_read_timeout(Some(Duration::from_millis(1)));
    parent.child(|| {
        // It says so by a byte; or its process has ended.
        !is_told || !matches!(stream.read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
    })
}
