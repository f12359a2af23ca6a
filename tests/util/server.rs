//! Servers under test: started bare or recorded, reached when they listen, stopped by the signal that they know, never left behind.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::run::{Outcome, Target, signal, signal_group, start, wait};
use super::{Report, run};

/// A running server, in a folder of its own for its output and trace.
pub struct Server {
    child: Option<Child>,
    folder: TempDir,
    trace: Option<PathBuf>,
}

impl Server {
    pub fn start(target: &Target, recorded: bool) -> Self {
        let folder = run::folder();
        let trace = recorded.then(|| folder.path().join("t.lockprof"));
        let mut command = trace.as_ref().map_or_else(|| target.bare_command(), |trace| target.recorded_command(trace));
        let child = start(command.current_dir(folder.path()), folder.path());
        Self { child: Some(child), folder, trace }
    }

    /// The process of the server itself, also below `lockprof run`.
    pub fn pid(&self) -> i32 {
        let own = i32::try_from(self.child().id()).expect("a process id");
        if self.trace.is_none() {
            return own;
        }
        until("the program below lockprof", || {
            children(own).first().copied().ok_or_else(|| io::Error::other("none yet"))
        })
    }

    /// What the loader has mapped into the server.
    pub fn maps(&self) -> String {
        fs::read_to_string(format!("/proc/{}/maps", self.pid())).expect("the server's maps")
    }

    fn child(&self) -> &Child {
        self.child.as_ref().expect("a server that runs")
    }

    /// Sends the signal to the server alone and waits for its end.
    pub fn stop(mut self, number: i32) -> (Outcome, Option<Report>) {
        signal(self.pid(), number);
        let child = self.child.take().expect("a server that runs");
        let outcome = wait(child, self.folder.path(), Duration::from_secs(60));
        let report = self.trace.as_ref().map(|trace| Report::load(trace));
        (outcome, report)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Reached only when a test fails.
        if let Some(child) = &mut self.child {
            let stderr = fs::read_to_string(self.folder.path().join("stderr")).unwrap_or_default();
            eprintln!("the server said: {stderr}");
            if child.try_wait().ok().flatten().is_none() {
                signal_group(child, libc::SIGKILL);
                let _ = child.wait();
            }
        }
    }
}

fn children(parent: i32) -> Vec<i32> {
    let processes = fs::read_dir("/proc").expect("/proc").flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_child = |pid: &i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let after_name = stat.rsplit(')').next().unwrap_or("");
        after_name.split_whitespace().nth(1) == Some(&parent.to_string())
    };
    pids.filter(is_child).collect()
}

/// Tries until it succeeds, a minute at most.
pub fn until<T>(what: &str, mut attempt: impl FnMut() -> io::Result<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(error) => assert!(Instant::now() < deadline, "{what}: {error}"),
        }
        sleep(Duration::from_millis(5));
    }
}

/// A port of 127.0.0.1 that nobody listens on.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}

pub fn connect(port: u16) -> TcpStream {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let stream = until("nobody listens", || TcpStream::connect(address));
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a limit for reading");
    stream
}

pub fn connect_unix(socket: &Path) -> UnixStream {
    until("nobody listens", || UnixStream::connect(socket))
}
