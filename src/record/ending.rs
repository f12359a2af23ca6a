//! Ends a program with everything that it started: asks first, then kills.
//!
//! No process group is used. The program shares one with `lockprof`, so that Ctrl-C and the terminal work as without it, and
//! daemons leave their group anyway: the process tree tells who is meant.

use std::time::{Duration, Instant};

use super::process_tree::ProcessTree;

/// What even `SIGKILL` does not end within this time hangs in the kernel: it is left.
const GIVE_UP: Duration = Duration::from_secs(10);
/// Rounds of one kill: processes that start others while they are killed need several.
const ROUNDS: usize = 100;

/// See the module.
pub struct Ending<'a> {
    tree: &'a ProcessTree<'a>,
    began: Instant,
    grace: Duration,
    asked: Vec<u32>,
}

impl<'a> Ending<'a> {
    /// Sends `SIGTERM` to all; what still lives after `grace` gets `SIGKILL`.
    pub fn begin(tree: &'a ProcessTree<'a>, grace: Duration) -> Self {
        let mut ending = Self { tree, began: Instant::now(), grace, asked: Vec::new() };
        ending.ask();
        ending
    }

    /// To be called from time to time; true once nothing is left, or nothing can be done about it.
    pub fn is_over(&mut self) -> bool {
        if self.began.elapsed() >= self.grace {
            return self.kill() || self.gave_up();
        }
        self.ask() == 0
    }

    /// Whether something could not be ended.
    pub fn gave_up(&self) -> bool {
        self.began.elapsed() > self.grace + GIVE_UP
    }

    /// Asks those that were not asked yet; how many live.
    fn ask(&mut self) -> usize {
        let living = self.tree.living();
        for pid in &living {
            if !self.asked.contains(pid) {
                send(*pid, libc::SIGTERM);
                // A stopped process would not see it.
                send(*pid, libc::SIGCONT);
                self.asked.push(*pid);
            }
        }
        living.len()
    }

    /// Whether nothing is left.
    fn kill(&self) -> bool {
        for _ in 0..ROUNDS {
            let living = self.tree.living();
            if living.is_empty() {
                return true;
            }
            // First nobody may start others, then nobody lives.
            living.iter().for_each(|pid| send(*pid, libc::SIGSTOP));
            living.iter().for_each(|pid| send(*pid, libc::SIGKILL));
            std::thread::sleep(Duration::from_millis(1));
        }
        false
    }
}

fn send(pid: u32, signal: i32) {
    // SAFETY: two integers; a process that is gone is an error that does not matter.
    unsafe { libc::kill(pid as libc::pid_t, signal) };
}
