//! `--baseline`: what is known already and does not fail again.

use rustc_hash::FxHashSet;
use serde_json::{Value, json};

use super::fail_on::named;
use super::{BaselineUse, Entry};
use crate::analysis::findings::Rule;

/// The format's version.
const VERSION: u64 = 1;
/// Tells our files from others.
const MARK: &str = "lockprof_baseline";

/// One thing that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    fingerprint: String,
    rule: &'static Rule,
    /// For people.
    what: String,
}

/// What is known already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Baseline {
    known: Vec<Known>,
}

/// What the baseline says of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    New,
    /// It is known.
    Known,
    /// It is known, but was less serious then.
    LessSerious(&'static Rule),
}

impl Baseline {
    /// Reads a baseline.
    ///
    /// # Errors
    /// Says what is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let json: Value = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
        match json.get(MARK).and_then(Value::as_u64) {
            Some(VERSION) => {}
            Some(other) => return Err(format!("written by a newer lockprof (version {other} of the format)")),
            None => return Err(format!("not a baseline: it has no \"{MARK}\"")),
        }
        let rows = json.get("known").and_then(Value::as_array).ok_or("it has no list \"known\"")?;
        let known = rows.iter().enumerate().map(|(at, row)| {
            let word = |key: &str| row.get(key).and_then(Value::as_str);
            let fail = |what: &str| format!("entry {} has {what}", at + 1);
            Ok(Known {
                fingerprint: word("fingerprint").ok_or_else(|| fail("no \"fingerprint\""))?.to_owned(),
                rule: word("class").and_then(named).ok_or_else(|| fail("no \"class\" that this lockprof knows"))?,
                what: word("what").unwrap_or_default().to_owned(),
            })
        });
        Ok(Self { known: known.collect::<Result<_, String>>()? })
    }

    /// A baseline that knows these entries; budgets are no part of it, they have limits of their own.
    pub fn of<'e>(entries: impl Iterator<Item = &'e Entry<'e>>) -> Self {
        let mut known: Vec<Known> = entries
            .filter_map(|entry| {
                let rule = Some(entry.rule()).filter(|rule| rule.is_selectable())?;
                let what = entry.lock_names().join(" ↔ ");
                Some(Known { fingerprint: entry.fingerprint().to_owned(), rule, what })
            })
            .collect();
        // An order that depends on nothing else: the file's differences are readable.
        known.sort_by(|a, b| (&a.fingerprint, &a.what).cmp(&(&b.fingerprint, &b.what)));
        Self { known }
    }

    /// The file's text: an entry a line.
    pub fn to_text(&self) -> String {
        let rows: Vec<String> = (self.known.iter())
            .map(|known| {
                // In this order, whatever order a map would give the keys.
                format!(
                    "    {{\"fingerprint\": {}, \"class\": {}, \"what\": {}}}",
                    json!(known.fingerprint),
                    json!(known.rule.id),
                    json!(known.what)
                )
            })
            .collect();
        let rows = if rows.is_empty() { "[]".into() } else { format!("[\n{}\n  ]", rows.join(",\n")) };
        format!("{{\n  \"{MARK}\": {VERSION},\n  \"known\": {rows}\n}}\n")
    }

    /// How many things it knows.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether it knows nothing.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// What it says of an entry.
    pub(super) fn look_up(&self, entry: &Entry<'_>) -> Found {
        let mut same = self.find(entry.fingerprint());
        if same.is_empty() {
            same = entry.former_fingerprint().map_or_else(Vec::new, |former| self.find(&former));
        }
        let rule = entry.rule();
        let mut same = same.into_iter().map(|known| known.rule).filter(|known| known.area == rule.area);
        if !rule.area.is_graded() {
            return if same.any(|known| known == rule && rule.is_selectable()) { Found::Known } else { Found::New };
        }
        match same.min_by_key(|known| known.position()) {
            Some(known) if rule.position() >= known.position() => Found::Known,
            Some(known) => Found::LessSerious(known),
            None => Found::New,
        }
    }

    fn find(&self, fingerprint: &str) -> Vec<&Known> {
        self.known.iter().filter(|known| known.fingerprint == fingerprint).collect()
    }

    pub(super) fn usage(&self, entries: &[Entry<'_>]) -> BaselineUse {
        let met: FxHashSet<String> = (entries.iter())
            .flat_map(|entry| {
                let fingerprint = entry.fingerprint().to_owned();
                let former = self.find(&fingerprint).is_empty().then(|| entry.former_fingerprint()).flatten();
                [Some(fingerprint), former]
            })
            .flatten()
            .collect();
        let not_met = (self.known.iter())
            .filter(|known| !met.contains(&known.fingerprint))
            .map(|known| format!("{} ({})", known.what, known.fingerprint))
            .collect();
        let known = entries.iter().filter(|entry| entry.standing == super::Standing::Known).count();
        BaselineUse { known, not_met }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_files_are_told() {
        for (text, want) in [
            ("", "not JSON"),
            ("[]", "not a baseline"),
            (r#"{"lockprof_baseline": 9}"#, "newer lockprof"),
            (r#"{"lockprof_baseline": 1}"#, "no list"),
            (r#"{"lockprof_baseline": 1, "known": [{}]}"#, "entry 1 has no \"fingerprint\""),
            (r#"{"lockprof_baseline": 1, "known": [{"fingerprint": "a", "class": "x"}]}"#, "entry 1 has no \"class\""),
        ] {
            let error = Baseline::parse(text).unwrap_err();
            assert!(error.contains(want), "{text}: {error}");
        }
        assert!(Baseline::parse(&Baseline::default().to_text()).unwrap().is_empty());
    }
}
