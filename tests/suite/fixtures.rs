//! The fixtures themselves, bare: each ends well and its truth can be read. What fails here is no fault of the recorder.

use crate::util::truth::truths;
use crate::util::{Target, fixture, kinds};

#[test]
fn every_fixture_is_right_about_itself() {
    let plain = [
        "blocked",
        "close_fds",
        "coroutines",
        "counts",
        "deep",
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
        "old_cond_size",
        "preinit",
        "own_limits",
        "process_shared",
        "raw_clone",
        "reuse",
        "short_lived",
        "short_threads",
        "small_stacks",
        "stale_chain",
        "thread_end",
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
                "orphan",
                "chain",
                "daemon",
                "daemon-wait",
            ],
        ),
        ("crowd", &["mutex", "timed", "read", "write", "semaphore"]),
        ("signals", &["timer", "altstack", "raise"]),
    ];
    let kinds = kinds();
    for name in plain.into_iter().chain(kinds.iter().map(String::as_str)) {
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
