//! The keys, and what the columns mean.

use super::State;

const TEXT: &[&str] = &[
    " ↑ ↓ j k PgUp PgDn g G   move              Enter  open a lock, a cycle …",
    " Tab ← → h l  1 – 6      other screens     Esc    back, or clear the filter",
    " Enter on several locks (×N): each of them     x   a row for every lock",
    " /   filter by name      s S   what comes first; the other way round",
    " w   the last 10 s, or the total           r      count from now on",
    " space  pause: the program goes on, the view stands still",
    " e   write a recording and a report of what is shown",
    " d   the stacks of a deadlock              q      quit (asks once)",
    " The mouse chooses rows and tabs, a second click opens; the wheel moves.",
    "",
    " waits/s     acquisitions that had to wait, per second",
    " wait share  of all the time that threads waited for locks; \"idle\": waiting for",
    "             work (conditions, joins …), never added to lock contention",
    " p50 p99 max of the waits; hold p99 of the time held; now: who waits this moment",
    " held        share of the time that it was held; above 100%: by several at once",
    " blocked     share of its time that a thread waited for locks, waits that go on",
    "             included",
    " aggregated  counted exactly, but without an event of their own (overload)",
    " on their way  counted by the program, but not read yet: rows lack them so far",
    " verdict, gate  of cycles in the order of locks: as `lockprof check` judges them",
];

/// The whole text.
pub fn lines(state: &State) -> Vec<String> {
    let mut lines: Vec<String> = TEXT.iter().map(|line| (*line).to_owned()).collect();
    if !state.setting.log.is_empty() {
        lines.push(String::new());
        lines.push(format!(" The program's output goes to {}", state.setting.log));
    }
    let notes = state.now.notes.iter().chain(state.now.judged.iter().flat_map(|judged| &judged.notes));
    for (at, note) in notes.enumerate() {
        if at == 0 {
            lines.push(String::new());
        }
        lines.extend(
            crate::render::style::wrap(note, usize::from(state.size.0), " note: ", "       ")
                .lines()
                .map(str::to_owned),
        );
    }
    lines
}
