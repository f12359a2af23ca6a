//! Which locks, kinds and threads a view is about.
//!
//! A filter only leaves things out; it never changes how the rest is counted.

use crate::model::Kind;

/// A pattern with `*` (any run of characters) and `?` (any one character). Everything else stands for
/// itself, brackets too: lock names hold them (`cache.shard[3].mu`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(String);

impl Glob {
    /// The pattern as it was given.
    pub fn new(pattern: impl Into<String>) -> Self {
        Self(pattern.into())
    }

    /// Whether the whole of `text` matches.
    pub fn matches(&self, text: &str) -> bool {
        let pattern: Vec<char> = self.0.chars().collect();
        let text: Vec<char> = text.chars().collect();
        // The greedy walk: on a mismatch, let the last star swallow one character more.
        let (mut p, mut t, mut star) = (0, 0, None);
        while t < text.len() {
            if p < pattern.len() && pattern[p] == '*' {
                star = Some((p, t));
                p += 1;
            } else if p < pattern.len() && (pattern[p] == '?' || pattern[p] == text[t]) {
                p += 1;
                t += 1;
            } else if let Some((at, swallowed)) = star {
                p = at + 1;
                t = swallowed + 1;
                star = Some((at, t));
            } else {
                return false;
            }
        }
        pattern[p..].iter().all(|c| *c == '*')
    }

    /// Whether a lock of this name is meant: by the whole name, or by its last part, as members are often called
    /// (`mutex_` for `relay::Logger::mutex_`).
    pub fn matches_lock(&self, name: &str) -> bool {
        self.matches(name) || name.rsplit_once("::").is_some_and(|(_, last)| self.matches(last))
    }

    /// The pattern.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What to keep.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Locks whose name, id (`L3`) or class's id (`C2`) matches; all without it.
    pub lock: Option<Glob>,
    /// Locks of these kinds; all where empty.
    pub kinds: Vec<Kind>,
    /// Only what threads with such a name did.
    pub thread: Option<Glob>,
    /// Locks of the process with this id; of all without it.
    pub pid: Option<u32>,
    /// Locks that were waited for at least this long in total, ns.
    pub min_wait_ns: u64,
}

impl Filter {
    /// Whether nothing is left out.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a lock of this kind is kept.
    pub fn keeps_kind(&self, kind: Kind) -> bool {
        self.kinds.is_empty() || self.kinds.contains(&kind)
    }

    /// The filter in the words of its options, for headings; empty where nothing is left out.
    pub fn describe(&self) -> Vec<String> {
        let mut words = Vec::new();
        if let Some(glob) = &self.lock {
            words.push(format!("lock {}", glob.as_str()));
        }
        if !self.kinds.is_empty() {
            let kinds: Vec<_> = self.kinds.iter().map(|kind| kind.name()).collect();
            words.push(format!("kind {}", kinds.join(", ")));
        }
        if let Some(glob) = &self.thread {
            words.push(format!("thread {}", glob.as_str()));
        }
        if let Some(pid) = self.pid {
            words.push(format!("process {pid}"));
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (pattern, text, want) in [
            ("hot", "hot", true),
            ("hot", "hotter", false),
            ("*", "", true),
            ("", "", true),
            ("", "x", false),
            ("cache.*", "cache.shard[3].mu", true),
            ("cache.shard[3].mu", "cache.shard[3].mu", true),
            ("*.mu", "cache.mutex.mu", true),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b*", "xxbxxaxx", false),
            ("L?", "L3", true),
            ("L?", "L33", false),
            ("*ä?", "xäö", true),
        ] {
            assert_eq!(Glob::new(pattern).matches(text), want, "{pattern} on {text}");
        }
    }

    #[test]
    fn members_are_meant_by_their_own_name_too() {
        let meant = |pattern: &str| Glob::new(pattern).matches_lock("relay::Logger::mutex_");
        assert!(meant("mutex_") && meant("relay::Logger::mutex_") && meant("relay::*") && meant("*"));
        assert!(!meant("Logger::mutex_") && !meant("mutex") && !meant("relay"));
    }
}
