//! A system call filter is installed by the program: what the recorder will need is made ready before, and what the filter
//! forbids is found out.

use core::sync::atomic::Ordering;

use lockprof_wire::layout::note;

use crate::recorder::threads::local_slowly;
use crate::state::dormant;
use crate::state::local::{local, set_local};
use crate::state::process::attached;
use crate::sys;
use crate::sys::filters::{
    ALL, BLIND, Program, forbid, forbid_to_all, forbidden, forbidden_to_all, hand_on, is_alone, not_allowed,
};

/// What is about to be installed.
#[derive(Clone, Copy)]
pub enum Filter {
    /// Reading, writing, ending: `SECCOMP_MODE_STRICT`.
    Strict,
    /// Only that the time stamp counter cannot be read: `PR_TSC_SIGSEGV`.
    NoClock,
    /// A `struct sock_fprog`.
    Program(*const Program),
}

/// Installs a filter by the real call. `everyone`: in all threads. While it is not known what it allows, no call is
/// made. `installed` says so of an answer.
///
/// # Safety
/// `real` installs this filter; its program, if it has one, can be read.
pub unsafe fn install<T: Copy>(
    filter: Filter,
    everyone: bool,
    real: impl FnOnce() -> T,
    installed: impl FnOnce(T) -> bool,
) -> T {
    if let Some(process) = attached() {
        let pid = sys::getpid();
        if pid != 0 && pid != process.tables.header().pid.load(Ordering::Relaxed) {
            // The child of a vfork: what is noted here would be its parent's.
            return real();
        }
    }
    // What is to be recorded at all has to be attached before: a forked child, this thread.
    let here = 0u64;
    local_slowly((&raw const here).addr() as u64 & !7);
    if let Some(process) = attached() {
        process.make_ready();
    }
    // An exec keeps the filter of the thread that makes it.
    let by_all = everyone || is_alone();
    // A thread that is made while the recorder sleeps does not learn what it inherits.
    let everyone = everyone || dormant::may_sleep();
    let blinds = !matches!(filter, Filter::Program(_));
    let local = local();
    if blinds {
        // It goes past the recorder from here on: what it takes is counted.
        set_local(None);
    }
    let (own, all) = (forbidden(), forbidden_to_all());
    forbid(if blinds { ALL | BLIND } else { ALL });
    if everyone {
        forbid_to_all(ALL);
    }
    let answer = real();
    let more = match filter {
        _ if !installed(answer) => 0,
        Filter::Strict => ALL | BLIND,
        Filter::NoClock => BLIND,
        // SAFETY: the kernel took the filter, so it is one.
        Filter::Program(program) => unsafe { not_allowed((*program).instructions()) },
    };
    if everyone {
        forbid_to_all(if more == 0 { all } else { (own | more) & ALL });
    }
    forbid(own | more);
    if by_all && more != 0 {
        hand_on((own | more) & ALL);
    }
    if blinds {
        let stays = more != 0;
        if stays && let Some(process) = attached() {
            process.tables.note(note::SANDBOX);
        }
        if !stays {
            set_local(local);
        }
    }
    answer
}
