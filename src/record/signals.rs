//! Signals that come to `lockprof` while it records: they are meant for the program, and handed on to it.
//!
//! All of them are blocked in this process, and one thread takes them one by one. So none is ignored or lost, whatever the
//! shell that started us has set: the program gets the mask and the ignored signals that it would have without us.
//!
//! | a signal from | is |
//! |---|---|
//! | the terminal | not handed on: the program is in the same process group and has it already |
//! | a timer that whoever started us has set | handed on |
//! | the program, or what it started | not handed on: it is meant for us, or for the whole group |
//! | anybody else | handed on, a queued one with its value |
//!
//! `SIGKILL` and `SIGSTOP` cannot be taken, those that faults raise (`SIGSEGV` …) stay ours.
//!
//! Job control: a signal that stops (Ctrl-Z) leaves it to the program whether it stops; if it does, we stop too, so that the
//! shell sees the job stopped. Continued, we continue the program where the shell has not.

use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::{Builder, sleep};
use std::time::{Duration, Instant};

use crate::ingest::procfs;

/// Those that faults raise (blocked, they would end us without a word), our own children's, and those that nobody can take.
const OURS: [i32; 9] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGTRAP,
    libc::SIGSYS,
    libc::SIGCHLD,
    libc::SIGKILL,
    libc::SIGSTOP,
];
/// What a screen needs itself.
const SCREEN: &[i32] = &[libc::SIGWINCH, libc::SIGTTIN, libc::SIGTTOU];
/// The job is our own where the program was there before.
const JOB: &[i32] = &[libc::SIGWINCH, libc::SIGTTIN, libc::SIGTTOU, libc::SIGTSTP, libc::SIGCONT];
/// Those that stop a job.
const STOPS: [i32; 3] = [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];
/// Those by which people and service managers end programs.
const ENDS: [i32; 4] = [libc::SIGINT, libc::SIGTERM, libc::SIGQUIT, libc::SIGHUP];
/// Those of the keyboard, which a shell that has no job control ignores for what it starts in the background.
const KEYS: [i32; 2] = [libc::SIGINT, libc::SIGQUIT];
/// Those of timers, which live on through exec.
const TIMERS: [i32; 3] = [libc::SIGALRM, libc::SIGVTALRM, libc::SIGPROF];
/// A program that does not stop within this time after it was asked to does not mean to.
const STOPPING: Duration = Duration::from_secs(5);

/// Process id that signals are handed on to; 0 for none.
static CHILD: AtomicI32 = AtomicI32::new(0);
/// Signals that asked us to end while there was no program to hand them to.
static INTERRUPTS: AtomicU32 = AtomicU32::new(0);
/// Signals that asked the program, or us on its behalf, to end.
static ASKED_TO_END: AtomicU32 = AtomicU32::new(0);
/// The program was there before us: who sends a signal here means the recording.
static ON_OUR_OWN: AtomicBool = AtomicBool::new(false);
/// The recording is over: who wants to end us now waits for names or for the file.
static OVER: AtomicBool = AtomicBool::new(false);
/// When the job was last asked to stop.
static STOP: Mutex<Option<Instant>> = Mutex::new(None);
/// We stopped with the program: the signal that continues us was not for the program alone.
static STOPPED: AtomicBool = AtomicBool::new(false);
/// `SIGPIPE` was ignored before Rust's runtime began, which always ignores it.
static PIPE_WAS_IGNORED: AtomicBool = AtomicBool::new(false);

#[used]
#[unsafe(link_section = ".init_array")]
static AT_START: extern "C" fn() = look_at_pipe;

extern "C" fn look_at_pipe() {
    PIPE_WAS_IGNORED.store(is_ignored(libc::SIGPIPE), Ordering::Relaxed);
}

fn is_ignored(signal: i32) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: `action` is valid to write to, and zeros are a valid one.
    unsafe {
        libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr());
        action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

/// What this process was started with, and the program is to be started with.
pub(super) struct Inherited {
    mask: libc::sigset_t,
    child_ignored: bool,
    /// Bit N: signal N is ignored.
    ignored: u128,
}

static INHERITED: OnceLock<Inherited> = OnceLock::new();

impl Inherited {
    /// To be called in the child before exec: makes system calls only.
    pub fn restore(&self) {
        let set = |signal: i32, ignored: bool| {
            // SAFETY: sets one of the two actions that need no function.
            unsafe { libc::signal(signal, if ignored { libc::SIG_IGN } else { libc::SIG_DFL }) };
        };
        set(libc::SIGPIPE, PIPE_WAS_IGNORED.load(Ordering::Relaxed));
        set(libc::SIGCHLD, self.child_ignored);
        // SAFETY: the mask is one that the kernel gave us.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.mask, std::ptr::null_mut()) };
    }

    fn ignores(&self, signal: i32) -> bool {
        self.ignored >> signal & 1 != 0
    }
}

/// Keeps all signals for the program from now on; what comes before it is there waits for it. To be called before this
/// process has other threads, which would take some: later calls change nothing.
pub fn hold(has_screen: bool) {
    hold_but(if has_screen { SCREEN } else { &[] });
}

fn hold_but(left: &'static [i32]) {
    INHERITED.get_or_init(|| {
        let mut ignored = 0;
        for signal in (1..65).filter(|signal| is_ignored(*signal)) {
            ignored |= 1u128 << signal;
        }
        let child_ignored = is_ignored(libc::SIGCHLD);
        if child_ignored {
            // The kernel would not tell us how the program ended.
            // SAFETY: sets the default.
            unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
        }
        let mut mask = MaybeUninit::zeroed();
        let set = set(|signal| !left.contains(&signal));
        // SAFETY: both masks are valid; the old one is written.
        let mask = unsafe {
            libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, mask.as_mut_ptr());
            mask.assume_init()
        };
        Inherited { mask, child_ignored, ignored }
    });
}

/// All signals but [`OURS`] that are `wanted`.
fn set(wanted: impl Fn(i32) -> bool) -> libc::sigset_t {
    let mut set = MaybeUninit::zeroed();
    // SAFETY: `set` is valid to write to; libc refuses numbers that it keeps for itself.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in (1..=libc::SIGRTMAX()).filter(|signal| !OURS.contains(signal) && wanted(*signal)) {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        set.assume_init()
    }
}

/// What the program is to be started with.
pub(super) fn inherited() -> &'static Inherited {
    hold(false);
    // Filled by the line before.
    INHERITED.get().expect("filled")
}

/// From now on signals go to this process.
pub(super) fn hand_on_to(child: u32) {
    CHILD.store(child as i32, Ordering::SeqCst);
    take();
}

/// The program is no more.
pub(super) fn child_ended() {
    CHILD.store(0, Ordering::SeqCst);
    INTERRUPTS.store(0, Ordering::SeqCst);
}

/// The recording is over. What is left (names, the file) is done in spite of a signal; a second one ends us.
pub(super) fn recording_is_over() {
    OVER.store(true, Ordering::SeqCst);
}

/// Signals ask to stop recording a program that was not started here. As [`hold`], to be called before there are other threads.
pub fn stop_on_any() {
    hold_but(JOB);
    ON_OUR_OWN.store(true, Ordering::SeqCst);
    take();
}

/// Whether a signal, Ctrl-C mostly, asked the program to end.
pub fn asked_to_end() -> bool {
    ASKED_TO_END.load(Ordering::SeqCst) > 0
}

/// Whether a signal asked to end while no program was there any more to hand it to.
pub(super) fn interrupted() -> bool {
    INTERRUPTS.load(Ordering::SeqCst) > 0
}

/// Stops this process if the program has stopped because the job was told to; to be called from time to time.
pub(super) fn stop_with(child: u32) {
    let mut stop = STOP.lock().unwrap_or_else(PoisonError::into_inner);
    if stop.is_none_or(|asked| asked.elapsed() > STOPPING) {
        *stop = None;
        return;
    }
    if !is_stopped(child) {
        return;
    }
    *stop = None;
    drop(stop);
    STOPPED.store(true, Ordering::SeqCst);
    // SAFETY: stops this process; it goes on here when it is continued.
    unsafe { libc::kill(libc::getpid(), libc::SIGSTOP) };
    // A shell continues the whole job at once. Somebody else may have meant us, the only process they know.
    const SHELL: Duration = Duration::from_millis(20);
    sleep(SHELL);
    if !is_stopped(child) {
        return;
    }
    // Or it was stopped again by now: then that signal has come here too.
    sleep(SHELL);
    if STOP.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
        send(child as i32, libc::SIGCONT, None);
    }
}

fn take() {
    static TAKING: OnceLock<()> = OnceLock::new();
    TAKING.get_or_init(|| {
        let taken = move || {
            let set = set(|_| true);
            loop {
                let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
                // SAFETY: the set is valid, `info` is written; zeros are a valid one.
                let (signal, info) =
                    unsafe { (libc::sigwaitinfo(&raw const set, info.as_mut_ptr()), info.assume_init()) };
                if signal > 0 {
                    take_one(signal, &info);
                }
            }
        };
        // Without the thread signals wait for ever: SIGKILL is left.
        let _ = Builder::new().name("signals".to_owned()).spawn(taken);
    });
}

fn take_one(signal: i32, info: &libc::siginfo_t) {
    let by_kernel = info.si_code > 0;
    // `kill -INT` in a script reaches what the script has put in the background.
    let is_meant = !by_kernel && KEYS.contains(&signal) && ON_OUR_OWN.load(Ordering::SeqCst);
    let ends = ENDS.contains(&signal) && (is_meant || !inherited().ignores(signal));
    if ends {
        ASKED_TO_END.fetch_add(1, Ordering::SeqCst);
    }
    if STOPS.contains(&signal) {
        *STOP.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
    let child = CHILD.load(Ordering::SeqCst);
    if child == 0 {
        if ends && INTERRUPTS.fetch_add(1, Ordering::SeqCst) > 0 && OVER.load(Ordering::SeqCst) {
            die_of(signal);
        }
        return;
    }
    if signal == libc::SIGCONT && STOPPED.swap(false, Ordering::SeqCst) {
        // `stop_with` looks whether the program goes on as well.
        return;
    }
    // SAFETY: for a signal that a process sent, the kernel has filled in who it was.
    let sender = if by_kernel { 0 } else { unsafe { info.si_pid() } };
    let is_for_program = if by_kernel { TIMERS.contains(&signal) } else { !is_descendant(sender) };
    if is_for_program {
        send(child, signal, (info.si_code == libc::SI_QUEUE).then_some(info));
    }
}

/// Hands a signal on; a queued one with its value.
fn send(process: i32, signal: i32, queued: Option<&libc::siginfo_t>) {
    // SAFETY: numbers, and a value that is only carried; a process that is gone is an error that does not matter.
    unsafe {
        match queued {
            Some(info) => libc::sigqueue(process, signal, info.si_value()),
            None => libc::kill(process, signal),
        };
    }
}

/// Ends this process as the signal would have done.
fn die_of(signal: i32) {
    let mut only = MaybeUninit::zeroed();
    // SAFETY: `only` is valid to write to; the default action ends us.
    unsafe {
        libc::sigemptyset(only.as_mut_ptr());
        libc::sigaddset(only.as_mut_ptr(), signal);
        libc::signal(signal, libc::SIG_DFL);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, only.as_ptr(), std::ptr::null_mut());
        libc::kill(libc::getpid(), signal);
    }
}

/// State and parent of a process (proc(5)): behind its name, which may hold anything.
fn state_and_parent(pid: i32) -> Option<(String, i32)> {
    let stat = procfs::text(format!("/proc/{pid}/stat")).ok()?;
    let mut words = stat.rsplit_once(')')?.1.split_whitespace();
    Some((words.next()?.to_owned(), words.next()?.parse().ok()?))
}

fn is_stopped(pid: u32) -> bool {
    state_and_parent(pid as i32).is_some_and(|(state, _)| state == "T")
}

/// Whether we started this process, or one that did.
fn is_descendant(mut pid: i32) -> bool {
    const DEEPEST: usize = 1000;
    let own = std::process::id() as i32;
    for _ in 0..DEEPEST {
        match state_and_parent(pid) {
            Some((_, parent)) if parent == own => return true,
            Some((_, parent)) if parent > 0 => pid = parent,
            _ => return false,
        }
    }
    false
}
