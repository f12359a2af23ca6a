//! The oracle build of the preloaded library: it walks every remembered stack anew and asks the `backtrace` crate too.

use std::path::PathBuf;

use super::{Recording, Report, Target};

/// What the oracle said.
#[derive(Clone, Copy, Debug)]
pub struct Verdict {
    pub checked: u64,
    pub wrong: u64,
}

/// The library with the second unwinder, which cargo builds next to the test binary.
fn second_unwinder() -> PathBuf {
    let binary = std::env::current_exe().expect("the test binary's path");
    let library = binary.parent().expect("its folder").join("liblockprof_oracle.so");
    assert!(library.is_file(), "cargo did not build {}", library.display());
    library
}

/// The program under the oracle; its user preloads the second unwinder.
pub fn under_oracle(target: &Target) -> Target {
    target.clone().env("LOCKPROF_SHIM", env!("LIBLOCKPROF_SHIM_ORACLE")).env("LD_PRELOAD", second_unwinder())
}

impl Verdict {
    pub fn of(report: &Report) -> Self {
        let note = report.notes().into_iter().find_map(|note| note.strip_prefix("oracle: "));
        let note = note.unwrap_or_else(|| panic!("the oracle says nothing: {:?}", report.notes()));
        let mut numbers = note.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok());
        let mut next = || numbers.next().unwrap_or_else(|| panic!("no two numbers in {note}"));
        Self { checked: next(), wrong: next() }
    }

    /// None is wrong, of at least so many.
    pub fn assert_right(self, what: &str, at_least: u64) {
        eprintln!("{what}: {self:?}");
        assert_eq!(self.wrong, 0, "{what}: {self:?}");
        assert!(self.checked >= at_least, "{what}: {self:?}, {at_least} at least were to be checked");
    }
}

/// Records under an oracle that is wrong in one way on purpose.
pub fn blinded(target: &Target, how: &str) -> (Recording, Verdict) {
    let recording = under_oracle(target).env("LOCKPROF_ORACLE_BLIND", how).record();
    let verdict = Verdict::of(&recording.report);
    eprintln!("blind for {how}: {verdict:?}");
    (recording, verdict)
}
