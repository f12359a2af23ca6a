//! `--fail-on`: which classes of cycles and kinds of misuse fail.

use crate::analysis::order::{Class, Cycle, Finding, FindingKind};

/// A class of cycles or a kind of misuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// A class of cycles.
    Class(Class),
    /// A kind of misuse.
    Kind(FindingKind),
}

impl Word {
    /// The class or kind of this name.
    pub fn parse(text: &str) -> Option<Self> {
        let class = Class::ALL.into_iter().find(|class| class.name() == text).map(Self::Class);
        class.or_else(|| FindingKind::ALL.into_iter().find(|kind| kind.name() == text).map(Self::Kind))
    }
}

/// What fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailOn {
    /// What fails by its own nature (`Cycle::fails`, `Finding::fails`).
    default: bool,
    words: Vec<Word>,
}

impl Default for FailOn {
    fn default() -> Self {
        Self { default: true, words: Vec::new() }
    }
}

impl FailOn {
    /// Classes and kinds by name; `default` stands for what fails without the option, `none` for nothing.
    ///
    /// # Errors
    /// Where a word is none of these.
    pub fn parse<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut result = Self { default: false, words: Vec::new() };
        for word in words.into_iter().map(str::trim).filter(|word| !word.is_empty()) {
            match (word, Word::parse(word)) {
                ("default", _) => result.default = true,
                ("none", _) => {}
                (_, Some(word)) => result.words.push(word),
                (other, None) => {
                    let known: Vec<_> = (Class::ALL.map(Class::name).into_iter())
                        .chain(FindingKind::ALL.map(FindingKind::name))
                        .collect();
                    return Err(format!("no class `{other}`: use default, none, {}", known.join(", ")));
                }
            }
        }
        Ok(result)
    }

    pub(super) fn cycle(&self, cycle: &Cycle) -> bool {
        (self.default && cycle.fails) || self.words.contains(&Word::Class(cycle.class))
    }

    pub(super) fn finding(&self, finding: &Finding) -> bool {
        (self.default && finding.fails) || self.words.contains(&Word::Kind(finding.kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_contract() {
        let parsed = FailOn::parse(["default", " guarded", "unlock-not-owner", ""]).unwrap();
        assert!(parsed.default);
        assert_eq!(parsed.words, [Word::Class(Class::Guarded), Word::Kind(FindingKind::UnlockNotOwner)]);
        assert_eq!(FailOn::parse(["none"]).unwrap(), FailOn { default: false, words: Vec::new() });
        assert!(FailOn::parse(["feasable"]).unwrap_err().contains("use default, none, hung"));
    }
}
