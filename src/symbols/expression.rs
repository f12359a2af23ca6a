//! The words that name a lock in a line of source: `pthread_mutex_lock(&acct->lock);` → `acct->lock`.
//!
//! Three shapes are known: a call with the lock as an argument, a method call on the lock, and the
//! declaration of a guard. It is a reader of lines, not a parser: what is not plainly one lock is
//! no answer at all.

use super::tokens::{self, Token, arguments, closing, tokens};
use crate::model::Kind;

/// Longer names have no reader.
const LONGEST: usize = 80;

/// Methods that take a lock.
const LOCK_METHODS: [&str; 26] = [
    "lock",
    "try_lock",
    "try_lock_for",
    "try_lock_until",
    "lock_shared",
    "try_lock_shared",
    "try_lock_shared_for",
    "try_lock_shared_until",
    "lock_upgrade",
    "Lock",
    "TryLock",
    "ReadLock",
    "WriteLock",
    "ReaderLock",
    "WriterLock",
    "tryLock",
    "lockForRead",
    "lockForWrite",
    "tryLockForRead",
    "tryLockForWrite",
    "acquire",
    "Acquire",
    "enter",
    "Enter",
    "read",
    "write",
];

/// Names that people give to guards: `lk.lock()` says nothing about the lock.
const GUARD_NAMES: [&str; 8] = ["lk", "lck", "l", "g", "ul", "guard", "lock", "locker"];

/// A lock found in the text.
struct Candidate {
    text: String,
    start: usize,
    end: usize,
}

/// The lock that the first line of `text` asks for; the lines after it complete a broken call.
/// `column` (from 1, 0 unknown) tells which, where there are several.
pub fn lock_expression(text: &str, column: u32, kind: Kind) -> Option<String> {
    let first_line = text.find('\n').unwrap_or(text.len());
    let tokens = tokens(text);
    let mut found: Vec<Candidate> = Vec::new();
    for at in (0..tokens.len()).take_while(|at| tokens[*at].start < first_line) {
        if tokens[at].kind == tokens::Kind::Word {
            let shapes = [call(&tokens, at, kind), method(&tokens, at, kind), guard(&tokens, at, kind)];
            found.extend(shapes.into_iter().flatten());
        }
    }
    let same = found.windows(2).all(|pair| pair[0].text == pair[1].text);
    if same {
        return found.pop().map(|candidate| candidate.text);
    }
    let column = (column as usize).checked_sub(1)?;
    let mut around = found.into_iter().filter(|candidate| (candidate.start..candidate.end).contains(&column));
    let only = around.next_back()?;
    around.next().is_none().then_some(only.text)
}

/// What a method is called of, on the first line of `text`: `s.once` of `s.once.Do(f)`, if it is one thing.
pub fn receiver(text: &str, method: &str) -> Option<String> {
    let first_line = text.find('\n').unwrap_or(text.len());
    let tokens = tokens(text);
    let mut found: Option<String> = None;
    for at in (1..tokens.len()).take_while(|at| tokens[*at].start < first_line) {
        let is_call = tokens[at].is(method) && tokens.get(at + 1).is_some_and(|next| next.is("("));
        if is_call && tokens[at - 1].is(".") {
            let of = path(&tokens[before_postfix(&tokens, at - 1)?..at - 1])?;
            if found.replace(of.clone()).is_some_and(|before| before != of) {
                return None;
            }
        }
    }
    found
}

/// The argument at `index` of a call of `function` on the first line of `text`.
pub fn argument(text: &str, function: &str, index: usize) -> Option<String> {
    let first_line = text.find('\n').unwrap_or(text.len());
    let tokens = tokens(text);
    let mut calls = tokens.iter().enumerate().filter(|(at, token)| {
        token.start < first_line && token.is(function) && tokens.get(at + 1).is_some_and(|next| next.is("("))
    });
    let (at, _) = calls.next()?;
    if calls.next().is_some() {
        return None;
    }
    path(arguments(&tokens, at + 1)?.get(index)?)
}

/// `pthread_mutex_lock(&a)`, `LOCK(a)`, `std::call_once(flag, f)`.
fn call(tokens: &[Token<'_>], at: usize, kind: Kind) -> Option<Candidate> {
    if !tokens.get(at + 1)?.is("(") || at > 0 && (tokens[at - 1].is(".") || tokens[at - 1].is("->")) {
        return None;
    }
    let name = tokens[at].text;
    let arguments = arguments(tokens, at + 1)?;
    let text = match known_function(name, kind) {
        Some(Some(index)) => path(arguments.get(index)?)?,
        Some(None) => return None,
        None => {
            // Somebody's own function or macro: sure only of a single argument or an address, and not
            // where the result is what is locked.
            let first = arguments.first()?;
            let used = tokens.get(closing(tokens, at + 1)? + 1).is_some_and(is_link);
            let plain = arguments.len() == 1 || first.first()?.is("&");
            let named = kind.is_lock() && speaks_of_locks(name) && !used;
            (plain && named).then(|| path(first)).flatten()?
        }
    };
    Some(Candidate { text, start: tokens[at].start, end: tokens[closing(tokens, at + 1)?].end() })
}

/// For functions of the known interfaces: the argument that is the lock of this kind, or none.
fn known_function(name: &str, kind: Kind) -> Option<Option<usize>> {
    let waits = name.ends_with("wait");
    let (own, second) = if name.starts_with("pthread_mutex_") || name.starts_with("mtx_") {
        (Kind::Mutex, None)
    } else if name.starts_with("pthread_rwlock_") {
        (Kind::Rwlock, None)
    } else if name.starts_with("pthread_spin_") {
        (Kind::Spinlock, None)
    } else if name.starts_with("pthread_cond_") || name.starts_with("cnd_") {
        (Kind::Condvar, waits.then_some(Kind::Mutex))
    } else if name.starts_with("pthread_barrier_") {
        (Kind::Barrier, None)
    } else if name == "pthread_once" || name == "call_once" {
        (Kind::Once, None)
    } else if name == "pthread_join" || name == "thrd_join" {
        (Kind::Join, None)
    } else if name.starts_with("sem_") {
        (Kind::Semaphore, None)
    } else {
        return None;
    };
    let attributes = name.contains("attr_") || name.ends_with("_unlock") || name.ends_with("_destroy");
    Some(match kind {
        _ if attributes => None,
        _ if kind == own => Some(0),
        _ if Some(kind) == second => Some(1),
        _ => None,
    })
}

/// `mu.lock()`, `self.cv.wait(lk)`, `thread.join()`.
fn method(tokens: &[Token<'_>], at: usize, kind: Kind) -> Option<Candidate> {
    let before = at.checked_sub(1).filter(|before| tokens[*before].is(".") || tokens[*before].is("->"))?;
    if !tokens.get(at + 1)?.is("(") {
        return None;
    }
    let name = tokens[at].text;
    let fits = match kind {
        kind if kind.is_lock() => LOCK_METHODS.contains(&name),
        Kind::Condvar => name.starts_with("wait") || name.starts_with("Wait") || name == "TimedWait",
        Kind::Semaphore => name.contains("acquire") || name.starts_with("wait") || name == "Wait",
        Kind::Barrier => name.contains("arrive") || name.contains("wait"),
        Kind::Join => name == "join",
        _ => false,
    };
    let start = before_postfix(tokens, before)?;
    let text = path(&tokens[start..before]).filter(|_| fits)?;
    if GUARD_NAMES.contains(&text.as_str()) {
        return None;
    }
    Some(Candidate { text, start: tokens[start].start, end: tokens[closing(tokens, at + 1)?].end() })
}

/// The first token of the postfix expression that ends before `end`.
fn before_postfix(tokens: &[Token<'_>], end: usize) -> Option<usize> {
    let mut at = end;
    loop {
        at = at.checked_sub(1)?;
        while tokens[at].is("]") || tokens[at].is(")") {
            let close = at;
            let open = (0..at).rev().find(|open| closing(tokens, *open) == Some(close))?;
            let callee = open.checked_sub(1).filter(|before| {
                tokens[*before].kind == tokens::Kind::Word || matches!(tokens[*before].text, "]" | ")")
            });
            match callee {
                Some(before) => at = before,
                // `(*it)->mu`
                None => return tokens[open].is("(").then_some(open),
            }
        }
        if tokens[at].kind != tokens::Kind::Word {
            return None;
        }
        match at.checked_sub(1).map(|before| tokens[before].text) {
            Some("." | "->" | "::") => at -= 1,
            _ => return Some(at),
        }
    }
}

/// `std::lock_guard<std::mutex> g(mu)`, `std::unique_lock lk{mu}`, `MutexLock l(&mu)`.
fn guard(tokens: &[Token<'_>], at: usize, kind: Kind) -> Option<Candidate> {
    let name = tokens[at].text;
    if !kind.is_lock() || !speaks_of_locks(name) {
        return None;
    }
    let mut open = at + 1;
    let template = tokens.get(open)?.is("<");
    if template {
        open = closing(tokens, open)? + 1;
    }
    let declared = tokens.get(open)?.kind == tokens::Kind::Word;
    open += usize::from(declared);
    // Without a variable and without template arguments it is a call.
    let bracket = tokens.get(open)?;
    if !(bracket.is("(") || bracket.is("{")) || !(declared || template || bracket.is("{")) {
        return None;
    }
    let arguments = arguments(tokens, open)?;
    if name == "scoped_lock" && arguments.len() != 1 {
        return None;
    }
    let text = path(arguments.first()?)?;
    Some(Candidate { text, start: tokens[at].start, end: tokens[closing(tokens, open)?].end() })
}

/// Whether a name has a word for locking in it: `uv_mutex_lock`, `AutoLock`, `LOCK`; but not
/// `clock_gettime`, `blocks` or `unlock`.
fn speaks_of_locks(name: &str) -> bool {
    const WORDS: [&str; 16] = [
        "lock",
        "lock2",
        "mutex",
        "mtx",
        "rwlock",
        "rdlock",
        "wrlock",
        "trylock",
        "spinlock",
        "locker",
        "spin",
        "rlock",
        "wlock",
        "latch",
        "semaphore",
        "rwmutex",
    ];
    words(name).iter().any(|word| WORDS.contains(&word.as_str()))
}

/// `uv_mutexLock2` → uv, mutex, lock2.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut lower_before = false;
    for c in name.chars() {
        if c == '_' || c.is_uppercase() && lower_before {
            words.push(String::new());
        }
        lower_before = c.is_lowercase();
        if c != '_'
            && let Some(word) = words.last_mut()
        {
            word.extend(c.to_lowercase());
        }
    }
    words
}

/// The expression as one name, if it is one: a chain of members, indexes and calls, without the
/// address, casts and `this->` around it.
fn path(expression: &[Token<'_>]) -> Option<String> {
    let mut tokens = expression;
    loop {
        let first = tokens.first()?;
        if first.is("&") || first.is("*") {
            tokens = &tokens[1..];
        } else if first.is("(") {
            let close = closing(tokens, 0)?;
            if tokens.get(close + 1).is_some_and(is_link) {
                break;
            }
            let last = close + 1 == tokens.len();
            tokens = if last { &tokens[1..close] } else { &tokens[close + 1..] };
        } else if first.text.ends_with("_cast") && tokens.get(1)?.is("<") {
            let open = closing(tokens, 1)? + 1;
            let whole = closing(tokens, open)? + 1 == tokens.len();
            tokens = whole.then(|| &tokens[open + 1..tokens.len() - 1])?;
        } else {
            break;
        }
    }
    if tokens.len() > 2 && tokens[0].is("this") && tokens[1].is("->") {
        tokens = &tokens[2..];
    }
    is_chain(tokens).then(|| join(tokens)).filter(|text| text.len() <= LONGEST)
}

fn is_chain(tokens: &[Token<'_>]) -> bool {
    const NO_NAMES: [&str; 8] = ["NULL", "nullptr", "true", "false", "sizeof", "new", "this", "void"];
    let mut at = usize::from(tokens.first().is_some_and(|first| first.is("::")));
    if tokens.first().is_some_and(|first| first.is("(")) {
        // `(*it)->mu`
        match closing(tokens, 0) {
            Some(close) if tokens.get(close + 1).is_some_and(is_link) => at = close + 2,
            _ => return false,
        }
    }
    loop {
        match tokens.get(at) {
            Some(word) if word.kind == tokens::Kind::Word => {}
            _ => return false,
        }
        if tokens.len() == 1 && NO_NAMES.contains(&tokens[at].text) {
            return false;
        }
        at += 1;
        while tokens.get(at).is_some_and(|open| open.is("(") || open.is("[")) {
            match closing(tokens, at) {
                Some(close) => at = close + 1,
                None => return false,
            }
        }
        match tokens.get(at) {
            None => return true,
            Some(link) if matches!(link.text, "." | "->" | "::") => at += 1,
            Some(_) => return false,
        }
    }
}

fn is_link(token: &Token<'_>) -> bool {
    matches!(token.text, "." | "->")
}

fn join(tokens: &[Token<'_>]) -> String {
    let mut text = String::new();
    let mut word_before = false;
    for token in tokens {
        let word = token.kind != tokens::Kind::Punctuation;
        if word && word_before {
            text.push(' ');
        }
        text.push_str(token.text);
        word_before = word;
    }
    text
}

#[cfg(test)]
mod tests;
