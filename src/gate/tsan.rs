//! Suppression lines as ThreadSanitizer writes them: `deadlock:GLOB`.

/// A pattern of ThreadSanitizer's: found anywhere in the text, `*` stands for any run of characters, `^` at the
/// beginning and `$` at the end hold it there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    parts: Vec<String>,
    from_start: bool,
    to_end: bool,
}

impl Pattern {
    pub(super) fn new(text: &str) -> Self {
        let (from_start, text) = text.strip_prefix('^').map_or((false, text), |rest| (true, rest));
        let (to_end, text) = text.strip_suffix('$').map_or((false, text), |rest| (true, rest));
        Self { parts: text.split('*').map(str::to_owned).collect(), from_start, to_end }
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        if text.is_empty() {
            return false;
        }
        let mut rest = text;
        let last = self.parts.len() - 1;
        for (at, part) in self.parts.iter().enumerate() {
            if at == last && self.to_end {
                // The last part has to end the text; with a single part that is held at both ends, it is the text.
                return rest.ends_with(part.as_str()) && (at > 0 || !self.from_start || rest.len() == part.len());
            }
            match rest.find(part.as_str()) {
                Some(found) if at > 0 || !self.from_start || found == 0 => rest = &rest[found + part.len()..],
                _ => return false,
            }
        }
        true
    }
}

/// What a line suppresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// `deadlock`: cycles, and a lock taken twice.
    Deadlock,
    /// `mutex`: misuse.
    Mutex,
}

impl Target {
    /// The word before the colon.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Deadlock => "deadlock",
            Self::Mutex => "mutex",
        }
    }
}

/// A line's meaning; `None` where it is ThreadSanitizer's own business (`race:…`) or says nothing.
///
/// # Errors
/// Says what is wrong with the line.
pub(super) fn line(text: &str) -> Result<Option<(Target, Pattern)>, String> {
    let text = text.trim();
    if text.is_empty() || text.starts_with('#') {
        return Ok(None);
    }
    let Some((kind, pattern)) = text.split_once(':') else {
        return Err(format!("`{text}` is no suppression: write deadlock:GLOB, or [[allow]] tables (TOML)"));
    };
    let target = match kind {
        "deadlock" => Target::Deadlock,
        "mutex" => Target::Mutex,
        "race" | "race_top" | "thread" | "signal" | "called_from_lib" => return Ok(None),
        _ => return Err(format!("`{kind}` is no kind of suppression: deadlock:GLOB and mutex:GLOB are read")),
    };
    if pattern.is_empty() {
        return Err(format!("`{text}` has no pattern: `{kind}:*` suppresses everything"));
    }
    Ok(Some((target, Pattern::new(pattern))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_the_sanitizer_does() {
        for (pattern, text, want) in [
            ("foo", "a::foo(int)", true),
            ("foo", "bar", false),
            ("^foo", "foo(int)", true),
            ("^foo", "a::foo", false),
            ("foo$", "a::foo", true),
            ("foo$", "foo(int)", false),
            ("^foo$", "foo", true),
            ("^foo$", "foofoo", false),
            ("foo*bar", "x foo y bar z", true),
            ("foo*bar", "bar foo", false),
            ("^a*z$", "abcz", true),
            ("^a*z$", "abczy", false),
            ("*", "x", true),
            ("*", "", false),
            ("libfoo.so", "/usr/lib/libfoo.so.1", true),
        ] {
            assert_eq!(Pattern::new(pattern).matches(text), want, "{pattern} on {text}");
        }
    }

    #[test]
    fn lines() {
        assert_eq!(line("  # a comment").unwrap(), None);
        assert_eq!(line("race:foo").unwrap(), None);
        assert_eq!(line("deadlock:Foo::bar").unwrap().unwrap().0, Target::Deadlock);
        assert_eq!(line("mutex:legacy.c\r").unwrap().unwrap().0, Target::Mutex);
        assert!(line("deadlock").unwrap_err().contains("write deadlock:GLOB"));
        assert!(line("deadlocks:x").unwrap_err().contains("no kind"));
        assert!(line("deadlock:").unwrap_err().contains("no pattern"));
    }
}
