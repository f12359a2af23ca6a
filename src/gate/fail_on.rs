//! `--fail-on`: which classes of cycles and other rules fail.

use crate::analysis::findings::{Finding, Rule};

/// The rule of this id, where a policy may name it.
pub(super) fn named(id: &str) -> Option<&'static Rule> {
    Rule::selectable().find(|rule| rule.id == id)
}

/// What fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailOn {
    /// What fails by its own nature ([`Finding::fails`]).
    default: bool,
    rules: Vec<&'static Rule>,
}

impl Default for FailOn {
    fn default() -> Self {
        Self { default: true, rules: Vec::new() }
    }
}

impl FailOn {
    /// Rules by their id, `finding:` before it or not; `default` stands for what fails without the option, `none` for nothing.
    ///
    /// # Errors
    /// Where a word is none of these.
    pub fn parse<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut result = Self { default: false, rules: Vec::new() };
        for word in words.into_iter().map(str::trim).filter(|word| !word.is_empty()) {
            match (word, named(word.strip_prefix("finding:").unwrap_or(word))) {
                ("default", _) => result.default = true,
                ("none", _) => {}
                (_, Some(rule)) => result.rules.push(rule),
                (other, None) => {
                    let known: Vec<_> = Rule::selectable().map(|rule| rule.id).collect();
                    return Err(format!("no class `{other}`: use default, none, {}", known.join(", ")));
                }
            }
        }
        Ok(result)
    }

    /// Whether a finding fails.
    pub(super) fn fails(&self, finding: &Finding) -> bool {
        (self.default && finding.fails()) || self.rules.contains(&finding.rule)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::findings::catalog;

    #[test]
    fn words_are_those_of_the_contract() {
        let parsed = FailOn::parse(["default", " guarded", "unlock-not-owner", ""]).unwrap();
        assert!(parsed.default);
        assert_eq!(parsed.rules, [&catalog::GUARDED, &catalog::UNLOCK_NOT_OWNER]);
        assert_eq!(FailOn::parse(["none"]).unwrap(), FailOn { default: false, rules: Vec::new() });
        assert_eq!(FailOn::parse(["finding:long-hold"]).unwrap().rules, [&catalog::costs::LONG_HOLD]);
        assert!(FailOn::parse(["feasable"]).unwrap_err().contains("use default, none, hung"));
    }
}
