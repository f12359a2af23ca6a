//! Classes that are locks by their name, and their methods: the way into a lock, whoever wrote it.

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
