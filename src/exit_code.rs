//! Every exit code, with its meaning. Scripts and CI jobs rely on them.

/// How lockprof ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitCode {
    /// It did what it was asked to.
    Success,
    /// `check`: at least one finding fails the gate. `where`: a deadlock stands. `doctor`: locks will be
    /// missing, or nothing can be recorded.
    Findings,
    /// The same with `--error-exitcode`.
    FindingsAs(u8),
    /// Wrong usage, or lockprof itself could not do it: an unreadable or foreign trace, a program that
    /// cannot be traced, a file that cannot be written.
    Failure,
    /// `check --strict`: the recording is incomplete.
    Incomplete,
    /// `run`: the program's own code.
    Program(u8),
    /// `run`: this signal ended the program; the code is 128 plus its number.
    Signal(u8),
}

impl ExitCode {
    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Findings => 1,
            Self::FindingsAs(code) => code,
            Self::Failure => 2,
            Self::Incomplete => 3,
            Self::Program(code) => code,
            Self::Signal(signal) => signal.saturating_add(128),
        }
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        code.code().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_contract() {
        use ExitCode::{Failure, Findings, Incomplete, Program, Signal, Success};
        let codes = [Success, Findings, Failure, Incomplete, Program(7), Signal(9)].map(ExitCode::code);
        assert_eq!(codes, [0, 1, 2, 3, 7, 137]);
    }
}
