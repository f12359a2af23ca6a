//! What can be recorded, and what stands in the way: the checks of `doctor`.

/// What a check came to, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// All is well.
    Ok,
    /// Locks are recorded all the same; something else is less than it could be.
    Note,
    /// It is seen only while the program runs.
    Open,
    /// Some locks will not be recorded.
    InPart,
    /// Nothing can be recorded.
    Refused,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What is looked at: one word, the same for ever.
    pub id: &'static str,
    /// What it came to.
    pub outcome: Outcome,
    /// What was found: the end of a sentence.
    pub found: String,
    /// What will be missing, or is not known: the end of a sentence.
    pub missing: Option<String>,
    /// What to do about it.
    pub fix: Option<String>,
}

/// Checks of one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// What they are about: `program`, `process` or `machine`.
    pub title: &'static str,
    /// In the order in which a person reads them.
    pub checks: Vec<Check>,
}

/// What was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// What this machine allows.
    Machine,
    /// A command.
    Command(Vec<String>),
    /// A running process, with its command.
    Process(u32, Vec<String>),
}

/// The whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// What was looked at.
    pub subject: Subject,
    /// All checks.
    pub groups: Vec<Group>,
}

impl Diagnosis {
    /// All checks.
    pub fn checks(&self) -> impl Iterator<Item = &Check> {
        self.groups.iter().flat_map(|group| &group.checks)
    }

    /// What they come to together. A [`Outcome::Note`] takes nothing from the recording of locks.
    pub fn verdict(&self) -> Outcome {
        match self.checks().map(|check| check.outcome).max() {
            None | Some(Outcome::Note) => Outcome::Ok,
            Some(worst) => worst,
        }
    }
}
