//! What this machine and this user's rights allow.

use std::fs;
use std::path::{Path, PathBuf};

use crate::ingest::procfs;
use crate::model::diagnosis::Outcome;
use crate::record::folder::{Folder, Place};
use crate::record::limits::{self, Limits};
use crate::record::{inline, shim};
use crate::safe_file::user;

use super::{Finding, Row};

/// What the machine is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum For {
    /// Whatever a person may want to record.
    Anything,
    /// A program that is started.
    Command,
    /// A process that runs.
    Process,
}

/// See the module.
pub struct Machine {
    what_for: For,
    place: Result<Place, String>,
    /// The library that is preloaded, and the scratch folder where it lies if there is no other place.
    library: Result<(PathBuf, Option<Folder>), String>,
    limits: Result<(), String>,
    /// Why programs cannot be stopped at their start.
    pub cannot_stop: Option<std::io::Error>,
}

impl Machine {
    /// Looks at it, as a recording does at its start.
    pub fn look(what_for: For) -> Self {
        // As at the start of a recording.
        Limits::widen();
        let installed = shim::install().map(|path| (path, None)).or_else(|error| {
            let folder = Folder::scratch().map_err(|_| ());
            let placed = folder.and_then(|folder| Ok((shim::install_in(folder.path()).map_err(|_| ())?, Some(folder))));
            placed.map_err(|()| error)
        });
        Self {
            what_for,
            place: Place::choose().map_err(|error| error.to_string()),
            library: installed.map_err(|error| format!("{error:#}")),
            limits: limits::check().map_err(|error| error.to_string()),
            cannot_stop: inline::may_stop_children().err(),
        }
    }

    /// Where the library that is preloaded lies.
    pub fn library(&self) -> Option<&Path> {
        self.library.as_ref().ok().map(|(path, _)| path.as_path())
    }
}

/// The checks.
pub const ROWS: &[Row<Machine>] = &[
    Row { id: "memory", look: memory },
    Row { id: "library", look: library },
    Row { id: "limits", look: limits_ },
    Row { id: "ptrace", look: ptrace },
    Row { id: "attach", look: attach },
    Row { id: "perf", look: perf },
    Row { id: "sandbox", look: sandbox },
    Row { id: "clock", look: clock },
];

fn memory(machine: &Machine) -> Option<Finding> {
    Some(match &machine.place {
        Err(error) => Finding::refused(error),
        Ok(place) => {
            let found = format!("{} has {} MB free for the shared memory", place.path.display(), place.room >> 20);
            let has_room = place.note().is_none();
            if has_room && is_in_memory(&place.path) {
                return Some(Finding::ok(found));
            }
            let missing = if has_room {
                "it is on a disk: recording may be slower"
            } else {
                "with many threads or much load, acquisitions are counted without an event of their own"
            };
            Finding::note(found)
                .missing(missing)
                .fix("give /dev/shm 64 MB or more (docker: --shm-size), or name a folder by LOCKPROF_SHM")
        }
    })
}

/// Whether a folder is on a file system that lives in memory (statfs(2)).
fn is_in_memory(folder: &Path) -> bool {
    const TMPFS: i64 = 0x0102_1994;
    const RAMFS: i64 = 0x8584_58f6;
    let Ok(path) = std::ffi::CString::new(folder.as_os_str().as_encoded_bytes()) else { return false };
    // SAFETY: zeros are a valid `statfs` to write to.
    let mut answer: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: `path` ends with a NUL, and `answer` is valid to write to.
    let done = unsafe { libc::statfs(path.as_ptr(), &raw mut answer) } == 0;
    done && [TMPFS, RAMFS].contains(&answer.f_type)
}

fn library(machine: &Machine) -> Option<Finding> {
    Some(match &machine.library {
        Err(error) => Finding::refused(error),
        Ok((path, scratch)) => {
            let found = format!("the recorder is put into {}", path.parent().unwrap_or(path).display());
            match (scratch, shim::passed_over()) {
                (None, None) => Finding::ok(found),
                (None, Some(why)) => Finding::note(found).missing(format!("the named cache is not used: {why}")),
                (Some(_), _) => Finding::note(
                    "no cache folder can hold the recorder: it is put beside the shared memory",
                )
                .missing("programs that run on when the recording has ended cannot start others with it")
                .fix("set XDG_CACHE_HOME to a folder that only you can write to, on a file system that lets code run"),
            }
        }
    })
}

fn limits_(machine: &Machine) -> Option<Finding> {
    if let Err(error) = &machine.limits {
        return Some(Finding::refused(error));
    }
    /// An address space in which rings and stacks of many threads have room.
    const ENOUGH: u64 = 4 << 30;
    let space = limits::get(libc::RLIMIT_AS).map_or(u64::MAX, |limit| limit.rlim_cur);
    if space < ENOUGH {
        return Some(
            Finding::note(format!("the address space is limited to {} MB (ulimit -v)", space >> 20))
                .missing("the recorder has less room: more is aggregated or counted together than need be")
                .fix("ulimit -v unlimited"),
        );
    }
    Some(Finding::ok("of file sizes and address space: none that matters"))
}

fn ptrace(machine: &Machine) -> Option<Finding> {
    if machine.what_for == For::Process {
        return None;
    }
    let Some(why) = &machine.cannot_stop else {
        return Some(Finding::ok("programs of Go and Rust can be patched at their start"));
    };
    // For a program, its own row says what that means.
    let outcome = if machine.what_for == For::Anything { Outcome::InPart } else { Outcome::Note };
    Some(
        Finding::new(outcome, format!("a program cannot be stopped at its start ({why})"))
            .missing("Go programs and static Rust programs cannot be recorded, nor locks of Rust in dynamic ones")
            .fix(inline::LET_STOP),
    )
}

fn attach(machine: &Machine) -> Option<Finding> {
    if machine.what_for != For::Anything {
        return None;
    }
    let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    let scope = scope.trim();
    /// `CAP_SYS_PTRACE`.
    const TRACE: u32 = 19;
    let has_right = capabilities().is_some_and(|set| set & 1 << TRACE != 0);
    Some(match (has_right, scope) {
        (_, "3") => Finding::note("nobody may attach to programs that run (kernel.yama.ptrace_scope is 3)")
            .missing("`run -p`, `top -p` and `where` cannot be used, but for programs that carry the recorder asleep")
            .fix("it can be lowered only by a restart; or start programs with the recorder preloaded (lockprof shim)"),
        (true, _) => Finding::ok("any process can be attached to (CAP_SYS_PTRACE)"),
        (false, "1" | "2") => {
            Finding::note(format!("kernel.yama.ptrace_scope is {scope}: only root may attach to programs that run"))
                .missing("`run -p`, `top -p` and `where` need root, but for programs that carry the recorder asleep")
                .fix("use root, or sysctl kernel.yama.ptrace_scope=0")
        }
        (false, _) if user() == 0 => Finding::note("this container lacks the right to trace (CAP_SYS_PTRACE)")
            .missing("processes of other users cannot be attached to")
            .fix("docker: --cap-add SYS_PTRACE"),
        (false, _) => Finding::ok("your own processes can be attached to"),
    })
}

/// The effective capabilities, as bits.
fn capabilities() -> Option<u64> {
    let status = procfs::text("/proc/self/status").ok()?;
    u64::from_str_radix(procfs::field(&status, "CapEff:")?, 16).ok()
}

fn perf(machine: &Machine) -> Option<Finding> {
    if machine.what_for == For::Process {
        return None;
    }
    let level = fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").ok();
    let level = level.as_deref().map(str::trim);
    if crate::record::execs::is_allowed() {
        return Some(Finding::ok("the kernel's events are open: each program that is started is seen"));
    }
    let found = match level {
        Some(level) => format!("the kernel's events are closed (kernel.perf_event_paranoid is {level})"),
        None => "this kernel has no events (perf)".to_owned(),
    };
    Some(
        Finding::note(found)
            .missing("a program that lives for a moment and is not recorded is counted, not named; `--counters` may lack cycles")
            .fix("use root, or CAP_PERFMON"),
    )
}

fn sandbox(_: &Machine) -> Option<Finding> {
    let status = procfs::text("/proc/self/status").ok()?;
    let filters = procfs::field(&status, "Seccomp:").is_some_and(|mode| mode != "0");
    let container = container();
    Some(match (filters, container) {
        (false, None) => Finding::ok("no container and no system call filter is around us"),
        (false, Some(kind)) => Finding::ok(format!("inside {kind}, without a system call filter")),
        (true, kind) => {
            let place = kind.map_or_else(
                || "a system call filter (seccomp)".to_owned(),
                |kind| format!("{kind} with a system call filter"),
            );
            Finding::note(format!("inside {place}"))
                .missing("programs inherit it: what it forbids them, the recorder does without")
        }
    })
}

/// The container that this process is in, as far as one sees it.
fn container() -> Option<&'static str> {
    let is_there = |path: &str| Path::new(path).exists();
    let group = || fs::read_to_string("/proc/1/cgroup").unwrap_or_default();
    if is_there("/.dockerenv") {
        Some("a Docker container")
    } else if is_there("/run/.containerenv") {
        Some("a Podman container")
    } else if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() || group().contains("kubepods") {
        Some("a Kubernetes pod")
    } else {
        None
    }
}

fn clock(_: &Machine) -> Option<Finding> {
    /// Leaf of the processor's power management; bit 8 of `edx`: the time stamp counter never stops (Intel SDM vol. 3, 18.17.1).
    const POWER: u32 = 0x8000_0007;
    let highest = std::arch::x86_64::__cpuid(0x8000_0000).eax;
    let is_invariant = highest >= POWER && std::arch::x86_64::__cpuid(POWER).edx & 1 << 8 != 0;
    Some(if is_invariant {
        Finding::ok("the processor's time stamp counter is invariant")
    } else {
        Finding::note("the processor's time stamp counter is not invariant")
            .missing("slower clock readings are used: each acquisition costs some 20 ns more")
    })
}
