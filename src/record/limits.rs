//! The limits of this process: as wide as allowed while it records, and as they were for the program.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::bail;
use lockprof_wire::layout::SIZE_MIN;

/// What the recorder needs more of than its shell may have thought of: the size of files (shared memory is made of them),
/// open files (one for each process), address space (each process's shared memory).
const WIDENED: [u32; 3] = [libc::RLIMIT_FSIZE, libc::RLIMIT_NOFILE, libc::RLIMIT_AS];

/// Limits as they were at the start.
#[derive(Clone, Copy)]
pub struct Limits([Option<libc::rlimit>; WIDENED.len()]);

impl Limits {
    /// Raises the soft limits to the hard ones. From here on a file that grows too large is an error, and not the end.
    pub fn widen() -> Self {
        ignore_too_large_files();
        Self(WIDENED.map(|resource| {
            let before = get(resource)?;
            let wide = libc::rlimit { rlim_cur: before.rlim_max, ..before };
            // SAFETY: the kernel reads an `rlimit`; where it refuses, all stays as it was.
            unsafe { libc::setrlimit(resource, &raw const wide) };
            Some(before)
        }))
    }

    /// Lets a command begin with the limits that this process began with.
    pub fn give_to(self, command: &mut Command) {
        let restore = move || {
            for (resource, limit) in WIDENED.into_iter().zip(self.0) {
                let Some(limit) = limit else { continue };
                // SAFETY: the kernel reads an `rlimit`.
                if unsafe { libc::setrlimit(resource, &raw const limit) } != 0 {
                    return Err(io::Error::last_os_error());
                }
            }
            Ok(())
        };
        // SAFETY: between fork and exec only system calls are made.
        unsafe { command.pre_exec(restore) };
    }
}

/// Looks whether the limits leave room for a recording.
///
/// # Errors
/// Where neither this process nor the program may make a file as large as the smallest segment.
pub fn check() -> anyhow::Result<()> {
    let largest = get(libc::RLIMIT_FSIZE).map_or(u64::MAX, |limit| limit.rlim_cur);
    if largest < SIZE_MIN {
        bail!(
            "files may have {} KB at most here, and the shared memory needs {}: raise the limit (ulimit -f unlimited)",
            largest >> 10,
            SIZE_MIN >> 10
        );
    }
    Ok(())
}

/// A limit of this process; `None` where the kernel does not say.
pub fn get(resource: u32) -> Option<libc::rlimit> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes an `rlimit`.
    (unsafe { libc::getrlimit(resource, &raw mut limit) } == 0).then_some(limit)
}

/// A handler that does nothing, and not `SIG_IGN`: a program that is started gets the default again.
fn ignore_too_large_files() {
    extern "C" fn nothing(_: libc::c_int) {}
    // SAFETY: zeros are a valid `sigaction`, and the handler does nothing.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(libc::SIGXFSZ, std::ptr::null(), &raw mut action);
        if action.sa_sigaction == libc::SIG_DFL {
            action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as usize;
            libc::sigaction(libc::SIGXFSZ, &raw const action, std::ptr::null_mut());
        }
    }
}
