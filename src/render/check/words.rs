//! What is said of an entry of a verdict: its title, why, what to do, places in the code.

use super::names::Names;
use crate::analysis::order::Class;
use crate::gate::{Entry, Measure, Subject};
use crate::model::lock_frames::own_frames;
use crate::model::{Frame, HangKind, Session, StackId};
use crate::render::frames::{Line, code_label, lines};
use crate::render::names::{short_file, short_function};
use crate::render::paint::printable;
use crate::render::sources::Sources;
use crate::render::units::{count, duration};

/// One line that says what is wrong, without the word of its class.
pub(crate) fn title(entry: &Entry<'_>) -> String {
    let names = Names::of(entry);
    match &entry.subject {
        Subject::Cycle(cycle) => {
            let locks = names.cycle(cycle);
            match cycle.hang {
                Some(HangKind::Abandoned) => return format!("the program was stuck: a thread ended and held {locks}"),
                Some(HangKind::Stuck) => {
                    return format!(
                        "the program was stuck: nobody was left to wake who waits for {}",
                        names.waited(cycle)
                    );
                }
                _ => {}
            }
            if let Some(number) = cycle.component {
                return format!("{} locks are taken in every order, such as {locks}", count(number));
            }
            if cycle.sides.len() == 1 {
                return format!("{locks} is taken again by the thread that holds it");
            }
            match cycle.class {
                Class::Hung => format!("the program was deadlocked: {locks}"),
                Class::Confirmed => format!("{locks} deadlocked in a steered run"),
                Class::Feasible => format!("{locks} can deadlock"),
                Class::Possible => format!("{locks} may deadlock"),
                Class::NeedsWriter => format!("{locks} may deadlock if a writer comes in between"),
                Class::SoftOrdered => format!("{locks} in both orders, kept apart by a hand-over"),
                Class::Guarded => format!("{locks} in both orders, under a common lock"),
                Class::Ordered => format!("{locks} in both orders, one after the other"),
                Class::SameThread if cycle.sides.iter().any(|side| side.thread != cycle.sides[0].thread) => {
                    format!("{locks} in a ring of orders, by fewer threads than it takes")
                }
                Class::SameThread => format!("{locks} in both orders, by one thread"),
            }
        }
        Subject::Finding(finding) => {
            let lock = names.lock(finding.lock);
            finding.rule.wording.as_ref().map_or(finding.rule.title, |wording| wording.line).replace('X', &lock)
        }
        Subject::Budget(breach) => {
            let verb = match breach.budget.measure {
                Measure::Wait => "waited for",
                Measure::Hold => "held for",
            };
            format!(
                "{} was {verb} {}; --{} {} allows {}",
                names.lock(breach.lock),
                duration(breach.measured_ns),
                breach.budget.measure.name(),
                printable(breach.budget.locks.as_str()),
                duration(breach.budget.limit_ns)
            )
        }
    }
}

/// Why, in one sentence.
pub(crate) fn reason(entry: &Entry<'_>) -> String {
    match &entry.subject {
        Subject::Cycle(cycle) => printable(&cycle.reason),
        Subject::Finding(finding) => printable(&finding.message),
        Subject::Budget(breach) => {
            let who = breach
                .thread
                .map_or_else(String::new, |thread| format!("{} waited longest", Names::of(entry).thread(thread)));
            let what = match breach.budget.measure {
                Measure::Wait if !who.is_empty() => who,
                Measure::Wait => "this is the longest wait".into(),
                Measure::Hold => "this is the longest hold".into(),
            };
            let place = place(entry.recording.session, breach.stack);
            match breach.holder {
                Some(holder) => {
                    let holder = self::place(entry.recording.session, holder);
                    format!("{what}, in {place}; {holder} held the lock when the wait began.")
                }
                None => format!("{what}, in {place}."),
            }
        }
    }
}

/// What to do, where that can be said.
pub(crate) fn advice(entry: &Entry<'_>) -> Option<String> {
    let text = match &entry.subject {
        Subject::Cycle(cycle) => printable(&cycle.advice),
        Subject::Finding(finding) => finding.rule.wording.as_ref().map_or("", |wording| wording.advice).to_owned(),
        Subject::Budget(breach) => match breach.budget.measure {
            Measure::Wait => "`lockprof report --lock NAME` shows who held it meanwhile.".into(),
            Measure::Hold => "Move what does not need the lock out of that hold.".into(),
        },
    };
    (!text.is_empty()).then_some(text)
}

/// A place in the code that a person can open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spot<'a> {
    /// The function, or the module and offset of code without a symbol.
    pub function: String,
    /// The file as the debug information has it.
    pub file: Option<&'a str>,
    /// From 1; 0 is unknown.
    pub line: u32,
    /// From 1; 0 is unknown.
    pub column: u32,
}

/// Where a stack is, for people: the innermost frame of the program's own that lies in the repository, else the
/// innermost one with a line, else the innermost one.
pub(crate) fn spot<'a>(session: &'a Session, stack: StackId, sources: &Sources) -> Option<Spot<'a>> {
    let own = || own_frames(&session.stacks, stack).map(|(_, frame)| frame);
    let inside =
        |frame: &&Frame| frame.file.as_deref().and_then(|file| sources.get(file)).is_some_and(|source| source.inside);
    let named = |frame: &Frame| frame.function.as_deref().map(|name| printable(&short_function(name)));
    let best = own()
        .find(|frame| frame.line > 0 && inside(frame))
        .or_else(|| own().find(|frame| frame.line > 0 && frame.file.is_some()))
        .filter(|frame| frame.function.is_some());
    if let Some(frame) = best {
        return Some(Spot {
            function: named(frame).unwrap_or_default(),
            file: frame.file.as_deref(),
            line: frame.line,
            column: frame.column,
        });
    }
    let node = session.stacks.walk(stack).next()?;
    let function = own().next().and_then(named).unwrap_or_else(|| code_label(session, node));
    Some(Spot { function, file: None, line: 0, column: 0 })
}

/// A stack in one piece of text: `flush (journal.cc:42)`.
pub(crate) fn place(session: &Session, stack: StackId) -> String {
    crate::render::frames::headline(session, stack)
}

/// The callers of a stack's spot, innermost first, at most so many.
pub(crate) fn callers(session: &Session, stack: StackId, spot: &Spot<'_>, most: usize) -> Vec<String> {
    let all = lines(session, stack);
    let at = all.iter().position(|line| is_at(line, spot)).map_or(0, |at| at + 1);
    all[at.min(all.len())..].iter().take(most).map(Line::one).collect()
}

fn is_at(line: &Line, spot: &Spot<'_>) -> bool {
    let place = spot.file.map_or_else(String::new, |file| format!("{}:{}", printable(short_file(file)), spot.line));
    line.function == spot.function && (line.place == place || spot.file.is_none())
}
