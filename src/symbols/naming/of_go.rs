//! What Go's source calls a lock.

use crate::model::Frame;
use crate::symbols::source::Sources;

/// Go: what the source calls an object of the library's that has locks inside, and its type: `s.once` and `sync.Once`, where
/// `sync.(*Once).Do` was called.
pub fn part_of_go(inside: &Frame, frame: &Frame, sources: &mut Sources) -> Option<(String, String)> {
    // What their methods take is the object itself.
    const LOCKS: [&str; 4] = ["sync.Mutex", "sync.RWMutex", "sync.WaitGroup", "sync.Cond"];
    inside.file.as_deref().filter(|file| file.ends_with(".go"))?;
    let (package, method) = inside.function.as_deref()?.split_once(".(*")?;
    let (name, method) = method.split_once(").")?;
    let name = name.split('[').next()?;
    let of = format!("{package}.{name}");
    let words = sources.receiver(frame, method).filter(|_| !LOCKS.contains(&of.as_str()))?;
    Some((words, of))
}

/// Go: `x.mu`, where the function's head has `x *Account`, is `(*Account).mu`, and `x` alone the lock that is embedded there.
pub fn member_of_go(frame: &Frame, words: &str, embedded: &str, sources: &mut Sources) -> Option<(String, String)> {
    frame.file.as_deref().filter(|file| file.ends_with(".go"))?;
    let (variable, member) = words.split_once('.').unwrap_or((words, embedded));
    let of = sources.type_of(frame, variable)?;
    if of.ends_with("sync.Mutex") || of.ends_with("sync.RWMutex") {
        // It was handed over by itself: the caller's words say more.
        return None;
    }
    let of = if of.starts_with('*') { format!("({of})") } else { of };
    let function = frame.function.as_deref()?;
    let start = function.rfind('/').map_or(0, |at| at + 1);
    let package = &function[..start + function[start..].find('.')?];
    Some((format!("{of}.{member}"), package.to_owned()))
}
