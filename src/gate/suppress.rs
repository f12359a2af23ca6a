//! `--suppress`: what somebody decided to live with, and why.
//!
//! Two formats, told apart by their content: TOML with `[[allow]]` tables, and lines as ThreadSanitizer has them.

use toml::{Table, Value};

use super::fail_on::named;
use super::tsan::{self, Pattern, Target};
use super::{Date, Entry};
use crate::analysis::Glob;
use crate::analysis::findings;
use crate::model::Frame;

/// What an entry has to be like.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Allow {
        fingerprint: Option<String>,
        /// Every lock matches one of these, and every one of these a lock.
        locks: Vec<Glob>,
        function: Option<Glob>,
        word: Option<&'static findings::Rule>,
    },
    Sanitizer(Target, Pattern),
}

/// One suppression.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    test: Test,
    /// How people find it: `allow.toml:3 (vendor code)`.
    label: String,
    expires: Option<Date>,
}

/// Suppressions of all files, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Suppressions {
    rules: Vec<Rule>,
}

/// Which suppressions something was found for.
pub(super) type Used = Vec<bool>;

impl Suppressions {
    /// Adds those of a file.
    ///
    /// # Errors
    /// Says what is wrong, and where.
    pub fn add(&mut self, file: &str, text: &str) -> Result<(), String> {
        let is_toml = text.lines().any(|line| line.trim_start().starts_with('['));
        if is_toml { self.add_toml(file, text) } else { self.add_lines(file, text) }
    }

    fn add_lines(&mut self, file: &str, text: &str) -> Result<(), String> {
        for (at, line) in text.lines().enumerate() {
            let place = format!("{file}:{}", at + 1);
            if let Some((target, pattern)) = tsan::line(line).map_err(|error| format!("{place}: {error}"))? {
                let label = format!("{place} ({})", line.trim());
                self.rules.push(Rule { test: Test::Sanitizer(target, pattern), label, expires: None });
            }
        }
        Ok(())
    }

    fn add_toml(&mut self, file: &str, text: &str) -> Result<(), String> {
        let table: Table = text.parse().map_err(|error: toml::de::Error| {
            let line = error.span().map(|span| text[..span.start.min(text.len())].lines().count().max(1));
            let line = line.map_or_else(String::new, |line| format!(":{line}"));
            format!("{file}{line}: {}", error.message().replace('\n', ", "))
        })?;
        if let Some(key) = table.keys().find(|key| *key != "allow") {
            return Err(format!("{file}: no key `{key}` is known here: write [[allow]] tables"));
        }
        let rows = match table.get("allow") {
            Some(Value::Array(rows)) => rows.as_slice(),
            None => &[],
            Some(_) => return Err(format!("{file}: write [[allow]] with two brackets on each side")),
        };
        let mut lines = (text.lines().enumerate())
            .filter(|(_, line)| line.trim_start().starts_with("[[allow]]"))
            .map(|(at, _)| at + 1);
        for row in rows {
            let place = lines.next().map_or_else(|| file.to_owned(), |line| format!("{file}:{line}"));
            self.rules.push(allow(row, &place).map_err(|error| format!("{place}: {error}"))?);
        }
        Ok(())
    }

    /// Nothing is used yet.
    pub(super) fn fresh(&self) -> Used {
        vec![false; self.rules.len()]
    }

    /// The first rule that allows an entry. All that match are marked as used.
    pub(super) fn find(&self, entry: &Entry<'_>, today: Date, used: &mut Used) -> Option<String> {
        let mut first = None;
        for (rule, used) in self.rules.iter().zip(used) {
            if !rule.has_expired(today) && rule.test.matches(entry) {
                *used = true;
                first.get_or_insert_with(|| rule.label.clone());
            }
        }
        first
    }

    /// Those that matched nothing.
    pub(super) fn unused(&self, today: Date, used: &Used) -> Vec<String> {
        let rules = self.rules.iter().zip(used);
        rules.filter(|(rule, used)| !**used && !rule.has_expired(today)).map(|(rule, _)| rule.label.clone()).collect()
    }

    /// Those that are not applied any more.
    pub(super) fn expired(&self, today: Date) -> Vec<String> {
        let told = |rule: &Rule| Some(format!("{}: expired on {}", rule.label, rule.expires?));
        self.rules.iter().filter(|rule| rule.has_expired(today)).filter_map(told).collect()
    }
}

impl Rule {
    /// The day named is the last on which it holds.
    fn has_expired(&self, today: Date) -> bool {
        self.expires.is_some_and(|last| today > last)
    }
}

fn allow(row: &Value, place: &str) -> Result<Rule, String> {
    const KEYS: [&str; 7] = ["fingerprint", "locks", "function", "class", "kind", "reason", "expires"];
    let row = row.as_table().ok_or("an [[allow]] is a table")?;
    if let Some(key) = row.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Err(format!("no key `{key}` is known; known are {}", KEYS.join(", ")));
    }
    let text = |key: &str| match row.get(key) {
        None => Ok(None),
        Some(Value::String(text)) if !text.trim().is_empty() => Ok(Some(text.trim().to_owned())),
        Some(_) => Err(format!("`{key}` is a text in quotes that is not empty")),
    };
    let locks = match row.get("locks") {
        None => Vec::new(),
        Some(Value::Array(names)) if !names.is_empty() => names
            .iter()
            .map(|name| name.as_str().map(Glob::new).ok_or("`locks` is a list of names in quotes"))
            .collect::<Result<_, _>>()?,
        Some(_) => return Err("`locks` is a list of names, such as [\"cache.*\", \"journal.mu\"]".into()),
    };
    let words = [text("class")?, text("kind")?];
    let word = match words.iter().flatten().collect::<Vec<_>>()[..] {
        [] => None,
        [word] => Some(named(word).ok_or_else(|| format!("no class or kind `{word}`"))?),
        _ => return Err("an [[allow]] has a `class` or a `kind`, not both".into()),
    };
    let (fingerprint, function) = (text("fingerprint")?, text("function")?.map(Glob::new));
    if fingerprint.is_none() && locks.is_empty() && function.is_none() {
        return Err("say what is allowed: `fingerprint`, `locks` or `function`".into());
    }
    let reason = text("reason")?.ok_or("every [[allow]] has a `reason`")?;
    let expires = match row.get("expires") {
        None => None,
        Some(Value::Datetime(when)) => {
            let date =
                when.date.and_then(|date| Date::from_ymd_opt(date.year.into(), date.month.into(), date.day.into()));
            Some(date.ok_or("`expires` is a day, such as 2027-01-31")?)
        }
        Some(_) => return Err("`expires` is a day without quotes, such as 2027-01-31".into()),
    };
    Ok(Rule { test: Test::Allow { fingerprint, locks, function, word }, label: format!("{place} ({reason})"), expires })
}

impl Test {
    fn matches(&self, entry: &Entry<'_>) -> bool {
        match self {
            Self::Allow { fingerprint, locks, function, word } => {
                word.is_none_or(|word| word == entry.rule())
                    && fingerprint.as_ref().is_none_or(|text| is_called(entry, text))
                    && (locks.is_empty() || matches_locks(locks, &entry.lock_names()))
                    && function.as_ref().is_none_or(|glob| any_frame(entry, |frame, _| names(glob, frame)))
            }
            Self::Sanitizer(target, pattern) => {
                entry.rule().sanitizer.contains(&target.name())
                    && any_frame(entry, |frame, module| {
                        let texts = [frame.and_then(|frame| frame.function.as_deref()), frame.and_then(file), module];
                        texts.into_iter().flatten().any(|text| pattern.matches(text))
                    })
            }
        }
    }
}

fn is_called(entry: &Entry<'_>, fingerprint: &str) -> bool {
    entry.fingerprint() == fingerprint || entry.former_fingerprint().is_some_and(|former| former == fingerprint)
}

fn file(frame: &Frame) -> Option<&str> {
    frame.file.as_deref()
}

fn matches_locks(globs: &[Glob], names: &[String]) -> bool {
    names.iter().all(|name| globs.iter().any(|glob| glob.matches_lock(name)))
        && globs.iter().all(|glob| names.iter().any(|name| glob.matches_lock(name)))
}

/// A function's name, whole or without its arguments.
fn names(glob: &Glob, frame: Option<&Frame>) -> bool {
    let name = frame.and_then(|frame| frame.function.as_deref());
    name.is_some_and(|name| glob.matches(name) || name.split('(').next().is_some_and(|bare| glob.matches(bare)))
}

/// Whether any frame of any stack passes; code without symbols has its module only.
fn any_frame(entry: &Entry<'_>, mut test: impl FnMut(Option<&Frame>, Option<&str>) -> bool) -> bool {
    let stacks = &entry.recording.session.stacks;
    entry.finding.subject.stacks().any(|stack| {
        stacks.walk(stack).any(|node| {
            let module = node.address.module.map(|module| stacks.modules[module.index()].path.as_str());
            let mut frames = node.frames.iter();
            if node.frames.is_empty() { test(None, module) } else { frames.any(|frame| test(Some(frame), module)) }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Suppressions, String> {
        let mut all = Suppressions::default();
        all.add("s", text).map(|()| all)
    }

    #[test]
    fn both_formats_are_read() {
        let toml = parse("# ours\n[[allow]]\nlocks = [\"a*\"]\nreason = \"x\"\nexpires = 2027-01-31\n").unwrap();
        assert_eq!(toml.rules[0].label, "s:2 (x)");
        assert_eq!(toml.rules[0].expires, Date::from_ymd_opt(2027, 1, 31));
        let lines = parse("# theirs\nrace:x\n\ndeadlock:foo*bar\n").unwrap();
        assert_eq!((lines.rules.len(), lines.rules[0].label.as_str()), (1, "s:4 (deadlock:foo*bar)"));
        assert_eq!(parse("").unwrap(), Suppressions::default());
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        for (text, want) in [
            ("[[allow]]\nlocks = [\"a\"]\n", "s:1: every [[allow]] has a `reason`"),
            ("\n[[allow]]\nreason = \"x\"\n", "s:2: say what is allowed"),
            ("[[allow]]\nlock = \"a\"\nreason = \"x\"\n", "s:1: no key `lock` is known"),
            ("[[allow]]\nlocks = \"a\"\nreason = \"x\"\n", "`locks` is a list"),
            ("[[allow]]\nlocks = [\"a\"]\nclass = \"bad\"\nreason = \"x\"\n", "no class or kind `bad`"),
            ("[[allow]]\nlocks = [\"a\"]\nreason = \"x\"\nexpires = \"2027-01-31\"\n", "without quotes"),
            ("[[allow]]\nlocks = [\"a\"]\nreason = \"\"\n", "`reason` is a text"),
            ("[[allow]]\nreason =\n", "s:2: "),
            ("[allow]\nreason = \"x\"\n", "two brackets"),
            ("[[deny]]\nreason = \"x\"\n", "no key `deny`"),
            ("deadlock\n", "s:1: `deadlock` is no suppression"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(want), "{text}: {error}");
        }
    }

    #[test]
    fn every_lock_needs_a_name_and_every_name_a_lock() {
        let test = |globs: &[&str], names: &[&str]| {
            let globs: Vec<_> = globs.iter().map(|glob| Glob::new(*glob)).collect();
            matches_locks(&globs, &names.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert!(test(&["a", "b"], &["b", "a"]));
        assert!(test(&["a*"], &["a1", "a2"]));
        assert!(test(&["a", "*"], &["a", "z"]));
        assert!(!test(&["a"], &["a", "z"]), "another lock takes part");
        assert!(!test(&["a", "b", "c"], &["a", "b"]), "a lock is missing");
    }
}
