//! Source files as they lie on this machine: which words does the line at a frame use for the lock?
//!
//! A file is read once and kept in memory until the [`Sources`] are dropped. Files that are not
//! there, are not text or are very large give no words. Whether a file is still the one that was
//! compiled is not checked: a line that no longer locks anything gives no words either.

use std::fs;

use rustc_hash::FxHashMap;

use super::expression::{argument, lock_expression, receiver};
use super::tokens::{Kind as Token, arguments, tokens};
use crate::model::lock_class::without_templates;
use crate::model::{Frame, Kind};

/// Larger source files are not read.
const LARGEST: u64 = 16 << 20;
/// A broken call is followed this many lines.
const FOLLOWED: usize = 3;
/// A longer line is not written by people.
const LONGEST_LINE: usize = 2000;
/// A function's head is looked for this many lines above a frame.
const LOOKED_ABOVE: usize = 200;

/// The source files read so far.
#[derive(Debug, Default)]
pub struct Sources {
    files: FxHashMap<String, Option<String>>,
}

impl Sources {
    /// The lock that a frame's source line asks for: `acct->lock`.
    pub fn words(&mut self, frame: &Frame, kind: Kind) -> Option<String> {
        lock_expression(self.text(frame)?, frame.column, kind)
    }

    /// What a frame's source line calls a method of: `s.once` of `s.once.Do(f)`.
    pub fn receiver(&mut self, frame: &Frame, method: &str) -> Option<String> {
        receiver(self.text(frame)?, method)
    }

    /// What the caller's source line hands to `callee` as its parameter `index`.
    pub fn argument(&mut self, caller: &Frame, callee: &Frame, index: usize) -> Option<String> {
        argument(self.text(caller)?, &plain_name(callee)?, index)
    }

    /// Which parameter of the frame's function has this name, as far as the function's head can be
    /// found above the frame's line.
    pub fn parameter(&mut self, frame: &Frame, name: &str) -> Option<usize> {
        let function = plain_name(frame)?;
        let text = self.file(frame.file.as_deref()?)?;
        let last = (frame.line as usize).checked_sub(1)?;
        let from = last.saturating_sub(LOOKED_ABOVE);
        let lines: Vec<&str> = text.lines().skip(from).take(last - from + 1).collect();
        let head = lines.iter().rposition(|line| line.contains(&function) && line.len() <= LONGEST_LINE)?;
        let head = lines[head..].iter().take(1 + FOLLOWED).copied().collect::<Vec<_>>().join("\n");
        let tokens = tokens(&head);
        let at = tokens.iter().position(|token| token.is(&function))?;
        if !tokens.get(at + 1)?.is("(") {
            return None;
        }
        let parameters = arguments(&tokens, at + 1)?;
        let named = |parameter: &[super::tokens::Token<'_>]| {
            // A type and a name: a call has an expression there.
            parameter.len() > 1 && parameter.last().is_some_and(|last| last.kind == Token::Word && last.text == name)
        };
        parameters.iter().position(|parameter| named(parameter))
    }

    /// Go: the type of a variable that the head of the function at a frame names, or of that whose closure it is: of its
    /// receiver, of a parameter.
    pub fn type_of(&mut self, frame: &Frame, variable: &str) -> Option<String> {
        let function = go_function(frame.function.as_deref()?)?;
        let text = self.file(frame.file.as_deref()?)?;
        let last = (frame.line as usize).checked_sub(1)?;
        let from = last.saturating_sub(LOOKED_ABOVE);
        let lines: Vec<&str> = text.lines().skip(from).take(last - from + 1).collect();
        lines.iter().rev().find_map(|line| type_in_head(line.strip_prefix("func ")?, &function, variable))
    }

    /// The line at a frame and what follows it.
    fn text(&mut self, frame: &Frame) -> Option<&str> {
        let line = (frame.line as usize).checked_sub(1)?;
        let text = self.file(frame.file.as_deref()?)?;
        let start = line_start(text, line)?;
        let rest = &text[start..];
        let end = line_start(rest, 1 + FOLLOWED).unwrap_or(rest.len());
        (end <= LONGEST_LINE).then(|| &rest[..end])
    }

    fn file(&mut self, path: &str) -> Option<&str> {
        if !self.files.contains_key(path) {
            self.files.insert(path.to_owned(), read(path));
        }
        self.files.get(path)?.as_deref()
    }
}

/// The last of a Go function's name that stands in its head: `a.(*T).Move.func1` → `Move`, `main.run.func1` → `run`.
fn go_function(function: &str) -> Option<String> {
    // The types of a generic function are told as dots.
    let function = function.replace("[...]", "");
    let mut parts = function.rsplit('/').next()?.split('.').skip(1);
    let (first, second) = (parts.next()?, parts.next());
    let is_closure =
        |name: &str| name.strip_prefix("func").is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()));
    let name = second.filter(|second| first.starts_with('(') || !is_closure(second)).unwrap_or(first);
    Some(name.to_owned())
}

/// The type of a variable in the head of a function, behind the word `func`: `(x *Account) Move(y *Account) {`.
fn type_in_head(head: &str, function: &str, variable: &str) -> Option<String> {
    let (receiver, rest) = match head.strip_prefix('(') {
        Some(rest) => rest.split_once(')')?,
        None => ("", head),
    };
    let rest = rest.trim_start().strip_prefix(function)?;
    let parameters = rest.get(rest.find('(')? + 1..)?;
    let parameters = &parameters[..parameters.find(')')?];
    // A list of names may share the type behind the last of them.
    let mut of = None;
    for part in receiver.split(',').chain(parameters.split(',')).rev() {
        let (name, own) = part.trim().split_once(' ').map_or((part.trim(), None), |(name, own)| (name, Some(own)));
        of = own.or(of);
        if name == variable {
            let of = of?.trim();
            let of = &of[..of.find('[').unwrap_or(of.len())];
            let is_plain = |sign: char| sign.is_alphanumeric() || matches!(sign, '_' | '.');
            return of.trim_start_matches('*').chars().all(is_plain).then(|| of.to_owned()).filter(|of| !of.is_empty());
        }
    }
    None
}

fn read(path: &str) -> Option<String> {
    let about = fs::metadata(path).ok()?;
    if !about.is_file() || about.len() > LARGEST {
        return None;
    }
    Some(String::from_utf8_lossy(&fs::read(path).ok()?).into_owned())
}

/// The byte at which a line (from 0) begins.
fn line_start(text: &str, line: usize) -> Option<usize> {
    if line == 0 {
        return Some(0);
    }
    text.match_indices('\n').nth(line - 1).map(|(at, _)| at + 1).filter(|start| *start < text.len())
}

/// A frame's function without scopes and template arguments: `Cache::get<int>` → `get`.
pub(super) fn plain_name(frame: &Frame) -> Option<String> {
    let name = without_templates(frame.function.as_deref()?);
    Some(name.rsplit("::").next().unwrap_or(&name).to_owned()).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "#include \"bank.h\"

static void lock_it(int why,
                    pthread_mutex_t *m)
{
    pthread_mutex_lock(m);
}

void transfer(struct account *a) {
    lock_it(3, &a->lock);
    pthread_mutex_lock(
        &a->journal->lock
    );
}
";

    fn frame(file: &str, function: &str, line: u32) -> Frame {
        Frame { function: Some(function.to_owned()), file: Some(file.to_owned()), line, ..Frame::default() }
    }

    #[test]
    fn words_and_the_callers_words() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("bank.c");
        std::fs::write(&path, TEXT).expect("writable");
        let path = path.display().to_string();
        let mut sources = Sources::default();
        let inner = frame(&path, "lock_it", 6);
        assert_eq!(sources.words(&inner, Kind::Mutex).as_deref(), Some("m"));
        assert_eq!(sources.parameter(&inner, "m"), Some(1));
        assert_eq!(sources.parameter(&inner, "why"), Some(0));
        assert_eq!(sources.parameter(&inner, "other"), None);
        let outer = frame(&path, "transfer", 10);
        assert_eq!(sources.argument(&outer, &inner, 1).as_deref(), Some("a->lock"));
        assert_eq!(sources.words(&frame(&path, "transfer", 11), Kind::Mutex).as_deref(), Some("a->journal->lock"));
        for line in [0, 1, 14, 15, 99] {
            assert_eq!(sources.words(&frame(&path, "transfer", line), Kind::Mutex), None);
        }
    }

    #[test]
    fn types_in_the_heads_of_go_functions() {
        for (function, name) in [
            ("example.com/bank/a.(*Account).Move", "Move"),
            ("example.com/bank/a.(*Account).Move.func1", "Move"),
            ("main.Value.get", "get"),
            ("main.Box[...].get", "get"),
            ("main.run", "run"),
            ("main.run.func1", "run"),
        ] {
            assert_eq!(go_function(function).as_deref(), Some(name), "{function}");
        }
        for (head, function, variable, of) in [
            ("(x *Account) Move(y *Account) {", "Move", "x", Some("*Account")),
            ("(x *Account) Move(y *Account) {", "Move", "y", Some("*Account")),
            ("(x *Account) Move(y *Account) {", "Other", "x", None),
            ("(b Box[T]) get() {", "get", "b", Some("Box")),
            ("transfer(from, to *bank.Account, n int) error {", "transfer", "from", Some("*bank.Account")),
            ("transfer(from, to *bank.Account, n int) error {", "transfer", "n", Some("int")),
            ("call(f func(int) error) {", "call", "f", None),
        ] {
            assert_eq!(type_in_head(head, function, variable).as_deref(), of, "{head} {variable}");
        }
    }

    #[test]
    fn what_is_not_a_source_file_has_no_words() {
        let mut sources = Sources::default();
        for path in ["/nonexistent/file.c", "/dev/null", "/", ""] {
            assert_eq!(sources.words(&frame(path, "f", 1), Kind::Mutex), None);
        }
        assert_eq!(sources.words(&Frame::default(), Kind::Mutex), None);
    }
}
