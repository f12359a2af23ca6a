//! The fixtures themselves, bare: each ends well and its truth can be read. What fails here is no fault of the recorder.

use crate::util::truth::truths;
use crate::util::{Target, fixture};

#[test]
fn every_fixture_is_right_about_itself() {
    let plain = [
        "barrier_once",
        "blocked",
        "c11",
        "close_fds",
        "condvar",
        "coroutines",
        "counts",
        "cxx_std",
        "deep",
        "errno_kept",
        "exceptions",
        "guarded",
        "half_seen",
        "holds",
        "idle_wait",
        "limited_files",
        "limited_memory",
        "locked_memory",
        "longjmp",
        "malloc_user",
        "members",
        "mutex_kinds",
        "old_cond",
        "old_cond_size",
        "preinit",
        "own_limits",
        "named",
        "process_shared",
        "raw_clone",
        "reuse",
        "rwlock",
        "semaphores",
        "short_lived",
        "short_threads",
        "small_stacks",
        "spin",
        "stale_chain",
        "static_guard",
        "thread_end",
        "timeouts",
        "waits",
    ];
    let with_mode = [
        ("endings", &["exit", "_exit", "quick_exit", "thread-exit", "abort", "kill", "segv", "return"][..]),
        (
            "forks",
            &[
                "child",
                "atfork",
                "prefork",
                "held",
                "raw",
                "vfork",
                "spawn",
                "system",
                "chain",
                "daemon",
                "daemon-wait",
            ],
        ),
        ("crowd", &["mutex", "timed", "read", "write", "semaphore"]),
        ("signals", &["timer", "altstack", "raise"]),
    ];
    for name in plain {
        assert_tells(&Target::new(fixture(name)), name, 0);
    }
    for (name, modes) in with_mode {
        for (place, mode) in modes.iter().enumerate() {
            let code = if name == "endings" { [11, 12, 14, 13, 134, 137, 139, 10][place] } else { 0 };
            assert_tells(&Target::new(fixture(name)).args([mode]), &format!("{name} {mode}"), code);
        }
    }
}

fn assert_tells(target: &Target, what: &str, code: i32) {
    let outcome = target.bare();
    assert_eq!(outcome.code(), code, "{what}: {outcome:?}");
    assert!(!truths(&outcome.stdout).is_empty(), "{what}: {outcome:?}");
}
