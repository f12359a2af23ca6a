//! Classes of locks as texts, and classes of C++ that are locks by their name, with their methods.

use super::owners::{PROGRAM, library, on_disk};
use super::session::Session;

/// The beginning of the class of a global variable.
pub const GLOBAL: &str = "global:";

/// A class with the name of whose it is replaced: of `kind@OWNER!…` and `kind@OWNER+0x…` by `owner`, of a library's
/// `global:OWNER!…` by `global`, where an empty answer drops it. No answer leaves it.
pub fn with_owner(
    class: &str,
    owner: impl FnOnce(&str) -> Option<String>,
    global: impl FnOnce(&str) -> Option<String>,
) -> String {
    if let Some(variable) = class.strip_prefix(GLOBAL) {
        return match variable.split_once('!').and_then(|(of, rest)| Some((global(of)?, rest))) {
            Some((of, rest)) if of.is_empty() => format!("{GLOBAL}{rest}"),
            Some((of, rest)) => format!("{GLOBAL}{of}!{rest}"),
            None => class.to_owned(),
        };
    }
    let Some((kind, place)) = class.split_once('@') else { return class.to_owned() };
    let end = place.find('!').or_else(|| place.rfind("+0x"));
    match end.and_then(|end| Some((owner(&place[..end])?, &place[end..]))) {
        Some((of, rest)) => format!("{kind}@{of}{rest}"),
        None => class.to_owned(),
    }
}

/// Whether the class is of the program's own code, not of a library's.
pub fn is_programs(class: &str) -> bool {
    match class.strip_prefix(GLOBAL) {
        Some(variable) => !variable.contains('!'),
        None => class.split_once('@').is_none_or(|(_, place)| {
            place.strip_prefix(PROGRAM).is_some_and(|rest| rest.starts_with('!') || rest.starts_with("+0x"))
        }),
    }
}

/// Gives the locks of a recording whose classes hold the names of files the classes that they have today.
pub fn forget_file_names(session: &mut Session) {
    for lock in &mut session.locks {
        let Some(process) = session.processes.get(lock.process.index()) else { continue };
        let exe = on_disk(&process.exe);
        let exe = exe.rsplit('/').next().unwrap_or(exe);
        let today = |file: &str| Some(if file == exe { PROGRAM } else { library(file) }.to_owned());
        if lock.class.contains('@') {
            lock.class = with_owner(&lock.class, today, |_| None);
        }
    }
}

/// Operations of a lock class.
const OPERATIONS: [&str; 30] = [
    "lock",
    "Lock",
    "unlock",
    "Unlock",
    "try_lock",
    "tryLock",
    "TryLock",
    "lock_shared",
    "unlock_shared",
    "try_lock_shared",
    "ReadLock",
    "WriteLock",
    "ReadUnlock",
    "WriteUnlock",
    "ReaderLock",
    "ReaderUnlock",
    "WriterLock",
    "WriterUnlock",
    "lockForRead",
    "lockForWrite",
    "acquire",
    "Acquire",
    "release",
    "Release",
    "wait",
    "Wait",
    "TimedWait",
    "Enter",
    "Leave",
    "Init",
];

/// Whether a function is a lock class's operation, constructor or destructor. `name`: qualified, without arguments.
pub fn is_method(name: &str) -> bool {
    let name = without_templates(name);
    let mut parts = name.rsplit("::");
    let (Some(method), Some(class)) = (parts.next(), parts.next()) else { return false };
    let constructor = method.trim_start_matches('~') == class;
    is_lock_name(class) && (constructor || OPERATIONS.contains(&method))
}

/// Whether a class is, by its name, a lock or a guard of one: `MutexLock`, `port::RWMutex`,
/// `spinlock_t`, `AutoLock`; but not `Clock` or `Block`.
pub fn is_lock_name(class: &str) -> bool {
    const ENDINGS: [&str; 17] = [
        "Mutex",
        "mutex",
        "MUTEX",
        "Lock",
        "_lock",
        "spinlock",
        "rwlock",
        "Spinlock",
        "Semaphore",
        "semaphore",
        "CondVar",
        "condvar",
        "Locker",
        "lock_guard",
        "LockGuard",
        "LockHolder",
        "CriticalSection",
    ];
    let class = without_templates(class);
    let class = class.rsplit("::").next().unwrap_or(&class);
    let stem = class.strip_suffix("_t").unwrap_or(class).trim_end_matches('_');
    stem == "lock" || ENDINGS.iter().any(|ending| stem.ends_with(ending))
}

/// `std::unique_lock<std::mutex>::lock` → `std::unique_lock::lock`.
pub fn without_templates(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut depth = 0usize;
    for c in name.chars() {
        match c {
            '<' => depth += 1,
            '>' if depth > 0 => depth -= 1,
            _ if depth == 0 => out.push(c),
            _ => {}
        }
    }
    out
}

/// Two names as one, if they differ in numbers in brackets only; one of them may have stars already.
pub fn starred(one: &str, other: &str) -> Option<String> {
    let (mut out, mut in_brackets) = (String::new(), false);
    let (mut one, mut other) = (one.chars().peekable(), other.chars().peekable());
    let is_number = |c: &char| c.is_ascii_digit() || *c == '*';
    loop {
        let (a, b) = (one.peek().copied(), other.peek().copied());
        if in_brackets && a.is_some_and(|c| is_number(&c)) && b.is_some_and(|c| is_number(&c)) {
            let take = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>| {
                let mut number = String::new();
                while let Some(c) = chars.next_if(is_number) {
                    number.push(c);
                }
                number
            };
            let (a, b) = (take(&mut one), take(&mut other));
            out.push_str(if a == b { &a } else { "*" });
            continue;
        }
        if a != b {
            return None;
        }
        let Some(c) = a else { return Some(out) };
        in_brackets = c == '[' || in_brackets && c != ']';
        out.push(c);
        one.next();
        other.next();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Kind, Lock, Process, ProcessId};

    #[test]
    fn classes_of_old_recordings_lose_the_names_of_files() {
        let mut session = Session::default();
        let exe = "/srv/server-2.1".to_owned();
        session.processes.push(Process { pid: 1, parent_pid: 0, exe, exit: None, threads: 1 });
        let cases = [
            ("mutex@server-2.1!Queue::mu_", "mutex@program!Queue::mu_", true),
            ("mutex@server-2.1!open:3", "mutex@program!open:3", true),
            ("mutex@server-2.1+0x1234", "mutex@program+0x1234", true),
            ("mutex@libcache.so.1.4!open:3", "mutex@libcache.so!open:3", false),
            ("mutex@program!open:3", "mutex@program!open:3", true),
            ("global:cache.mu", "global:cache.mu", true),
            ("global:libcache.so!cache.mu", "global:libcache.so!cache.mu", false),
            ("mutex", "mutex", true),
            ("", "", true),
        ];
        for (class, ..) in cases {
            session.locks.push(Lock { class: class.to_owned(), ..Lock::new(ProcessId(0), 1, Kind::Mutex) });
        }
        forget_file_names(&mut session);
        for (lock, (_, want, programs)) in session.locks.iter().zip(cases) {
            assert_eq!((lock.class.as_str(), is_programs(&lock.class)), (want, programs));
        }
    }
}
