//! Two recordings side by side: what got worse, what got better, and which stacks did it.

use std::cmp::Ordering;

use crate::analysis::diff::{Diff, Figures, LockChange, Measure, StackChange};
use crate::model::{Session, StackId, Stacks};
use crate::render::explain::notes::comparison;
use crate::render::frames::lines;
use crate::render::names::{fit_end, fit_start};
use crate::render::style::{Layout, Style, columns, fill, printable, wrap};
use crate::render::table::{Column, table};
use crate::render::units::{count, duration, plural, short_count};

/// Locks of each direction where nobody said otherwise.
const DEFAULT_ROWS: usize = 5;
/// Locks whose stacks are shown.
const DETAILED: usize = 2;
/// Stacks shown of each side.
const STACKS: usize = 3;
/// Callers shown of each stack.
const CALLERS: usize = 3;
/// A stack whose part changed by less than this share of the largest change is left out.
const LEAST_SHARE: f64 = 0.01;

/// A recording with the name that the person gave it.
#[derive(Clone, Copy, Debug)]
pub struct Labelled<'a> {
    /// Its path.
    pub name: &'a str,
    /// It.
    pub session: &'a Session,
}

/// How the comparison is laid out.
#[derive(Clone, Debug, Default)]
pub struct DiffOptions {
    /// Colour and width.
    pub layout: Layout,
    /// Rows of each table; 5 without it.
    pub limit: Option<usize>,
}

/// The comparison.
pub fn diff(old: Labelled<'_>, new: Labelled<'_>, diff: &Diff, options: &DiffOptions) -> String {
    let layout = &options.layout;
    let mut out = String::new();
    for (which, named) in [("OLD", old), ("NEW", new)] {
        out.push_str(&head(which, named, layout));
    }
    for note in &diff.notes {
        out.push_str(
            &layout.paint(Style::Warn, &wrap(&printable(&comparison(note)), layout.width, "note: ", "      ")),
        );
    }
    if diff.scale != 1.0 {
        let text = format!(
            "Totals of OLD are scaled to the duration of NEW (× {:.4}); --absolute compares them as they are.",
            diff.scale
        );
        out.push_str(&layout.paint(Style::Dim, &wrap(&text, layout.width, "", "")));
    }
    out.push('\n');
    out.push_str(&totals(diff, layout));

    let measure = diff.question.measure;
    let direction = |order: Ordering| -> Vec<&LockChange> {
        (diff.locks.iter())
            .filter(|lock| {
                let (before, after) = lock.values(measure);
                after.cmp(&before) == order
            })
            .collect()
    };
    let rows = options.limit.unwrap_or(DEFAULT_ROWS);
    for (title, order, style) in [("Worse", Ordering::Greater, Style::Bad), ("Better", Ordering::Less, Style::Good)] {
        out.push_str(&changes(title, &direction(order), measure, style, rows, layout));
    }
    let same = direction(Ordering::Equal).len();
    if same > 0 {
        let text = format!("\n{} the same.\n", plural(same as u64, "class of locks is", "classes of locks are"));
        out.push_str(&layout.paint(Style::Dim, &text));
    }
    let changed = diff.locks.iter().filter(|lock| lock.old != lock.new);
    for lock in changed.take(DETAILED.min(rows)) {
        out.push_str(&detail(old.session, new.session, lock, layout));
    }
    out
}

fn head(which: &str, named: Labelled<'_>, layout: &Layout) -> String {
    let Session { meta, coverage, .. } = named.session;
    let facts = [
        format!("{which} {}", printable(named.name)),
        fit_start(&printable(&meta.command.join(" ")), 40),
        duration(meta.duration_ns),
        plural(coverage.acquisitions, "acquisition", "acquisitions"),
    ];
    let facts: Vec<_> = facts.into_iter().filter(|fact| !fact.is_empty()).collect();
    layout.paint(Style::Strong, wrap(&facts.join(" · "), layout.width, "", "    ").trim_end()) + "\n"
}

fn totals(diff: &Diff, layout: &Layout) -> String {
    let Diff { old, new, .. } = diff;
    let time =
        |what: &str, old: u64, new: u64| format!("{what} {} → {} ({})", duration(old), duration(new), growth(old, new));
    let parts = [
        time("waited", old.wait_ns, new.wait_ns),
        time("held", old.hold_ns, new.hold_ns),
        format!(
            "taken {} → {} ({})",
            short_count(old.acquisitions),
            short_count(new.acquisitions),
            growth(old.acquisitions, new.acquisitions)
        ),
    ];
    wrap(&format!("All locks: {}.", parts.join(", ")), layout.width, "", "  ")
}

/// `+12%`, `-3.4%`, `×5.2`, `from 0`, `-100%`, `±0`.
pub fn growth(old: u64, new: u64) -> String {
    match (old, new) {
        (old, new) if old == new => "±0".into(),
        (0, _) => "from 0".into(),
        (_, 0) => "-100%".into(),
        (old, new) => {
            let share = (new as f64 - old as f64) / old as f64;
            let percent = share * 100.0;
            match percent.abs() {
                // Ten times as much reads better as such.
                size if percent > 0.0 && size >= 900.0 => format!("×{}", short_count((share + 1.0).round() as u64)),
                size if size >= 9.95 => format!("{percent:+.0}%"),
                size if size >= 0.05 => format!("{percent:+.1}%"),
                _ => format!("{}<0.1%", if percent > 0.0 { '+' } else { '-' }),
            }
        }
    }
}

/// The word for what is in one recording only: where it is in both and something is 0, it is neither new nor gone.
fn presence(was_there: bool, is_there: bool) -> Option<&'static str> {
    match (was_there, is_there) {
        (false, true) => Some("new"),
        (true, false) => Some("gone"),
        _ => None,
    }
}

fn value(measure: Measure, value: u64) -> String {
    if measure == Measure::Count { short_count(value) } else { duration(value) }
}

fn changes(
    title: &str,
    locks: &[&LockChange],
    measure: Measure,
    style: Style,
    limit: usize,
    layout: &Layout,
) -> String {
    if locks.is_empty() {
        return String::new();
    }
    let [was, now] = match measure {
        Measure::Wait => ["wait was", "is now"],
        Measure::Hold => ["held was", "is now"],
        Measure::Count => ["taken was", "is now"],
        Measure::P99 => ["p99 was", "is now"],
    };
    let headings = [
        Column::flexible("locks"),
        Column::text("kind", 4),
        Column::number(was, 0),
        Column::number(now, 0),
        Column::number("change", 0),
        Column::number("p99", 1),
        Column::number("held", 2),
        Column::number("taken", 3),
    ];
    let row = |lock: &&LockChange| {
        let (before, after) = lock.values(measure);
        let (was_there, is_there) = (lock.old.is_some(), lock.new.is_some());
        let change = presence(was_there, is_there).map_or_else(|| growth(before, after), str::to_owned);
        let (old, new) = (lock.old.unwrap_or_default(), lock.new.unwrap_or_default());
        let plain = |text: String| (text, Style::Plain);
        let part = |of: fn(&Figures) -> u64| {
            let (old, new) = (of(&old), of(&new));
            let word = presence(was_there, is_there).filter(|_| old != new);
            plain(word.map_or_else(|| growth(old, new), str::to_owned))
        };
        vec![
            (label(lock), Style::Strong),
            plain(lock.kind.name().into()),
            plain(if lock.old.is_none() { "-".into() } else { value(measure, before) }),
            plain(if lock.new.is_none() { "-".into() } else { value(measure, after) }),
            (change, style),
            part(|figures| figures.wait_p99_ns),
            part(|figures| figures.hold_ns),
            part(|figures| figures.acquisitions),
        ]
    };
    let rows: Vec<_> = locks.iter().take(limit).map(row).collect();
    let mut out = format!("\n{}\n{}", layout.paint(Style::Heading, title), table(layout, &headings, &rows));
    if locks.len() > limit {
        let text =
            format!("  … and {} more; --limit {} shows them\n", count((locks.len() - limit) as u64), locks.len());
        out.push_str(&layout.paint(Style::Dim, &text));
    }
    out
}

fn label(lock: &LockChange) -> String {
    let most = lock.old.map_or(0, |figures| figures.locks).max(lock.new.map_or(0, |figures| figures.locks));
    let name = printable(&lock.name);
    if most > 1 { format!("{name} ×{}", short_count(most)) } else { name }
}

/// Which stacks changed most.
fn detail(old: &Session, new: &Session, lock: &LockChange, layout: &Layout) -> String {
    let name = fit_end(&label(lock), layout.width.saturating_sub(24));
    let mut out = format!("\n{}\n", layout.paint(Style::Heading, &format!("What changed in {name}")));
    let sides = if lock.kind.is_lock() { ["who waited", "who held it meanwhile"] } else { ["who was blocked", ""] };
    for (title, stacks) in sides.into_iter().zip([&lock.waiters, &lock.holders]) {
        let most = stacks.first().map_or(0, |stack| stack.old_ns.abs_diff(stack.new_ns));
        let told = |stack: &&StackChange| {
            let size = stack.old_ns.abs_diff(stack.new_ns);
            size > 0 && size as f64 >= most as f64 * LEAST_SHARE
        };
        let mut told = stacks.iter().filter(told).take(STACKS).peekable();
        if told.peek().is_none() {
            continue;
        }
        out.push_str(&format!("  {}\n", layout.paint(Style::Dim, title)));
        told.for_each(|stack| out.push_str(&stack_change(old, new, stack, layout)));
    }
    out
}

fn stack_change(old: &Session, new: &Session, stack: &StackChange, layout: &Layout) -> String {
    let (session, id) = shown(old, new, stack);
    let figures = format!(
        "{:>9} → {:>9} {:>6}  ",
        duration(stack.old_ns),
        duration(stack.new_ns),
        presence(stack.old.is_some(), stack.new.is_some())
            .map_or_else(|| growth(stack.old_ns, stack.new_ns), str::to_owned)
    );
    let indent = " ".repeat(columns(&figures));
    let room = layout.width.saturating_sub(indent.len()).max(20);
    let frames = lines(session, id);
    let Some((first, callers)) = frames.split_first() else {
        return wrap("not seen, or its stack is unknown", layout.width, &figures, &indent);
    };
    let mut out = format!("{figures}{}\n", layout.paint(Style::Strong, &fit_start(&first.one(), room)));
    let mut words: Vec<String> =
        callers.iter().take(CALLERS).map(|line| fit_start(&format!("← {}", line.one()), room)).collect();
    if callers.len() > CALLERS {
        words.push(format!("← {} more", callers.len() - CALLERS));
    }
    if !words.is_empty() {
        out.push_str(&layout.paint(Style::Dim, &fill(&words, layout.width, &indent, &indent)));
    }
    out
}

/// Where to read the frames of a stack: in NEW, if it is there.
pub(crate) fn shown<'a>(old: &'a Session, new: &'a Session, stack: &StackChange) -> (&'a Session, StackId) {
    match (stack.new, stack.old) {
        (Some(id), _) => (new, id),
        (None, id) => (old, id.unwrap_or(Stacks::UNKNOWN)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::diff::Question;
    use crate::analysis::testing::{busy, server};
    use crate::model::{LockId, Module};
    use crate::render::golden;

    fn named<'a>(name: &'a str, session: &'a Session) -> Labelled<'a> {
        Labelled { name, session }
    }

    /// The journal waits half as long as before, the cache is new, and the accounts' lock vanished.
    pub(crate) fn before() -> Session {
        let mut old = server();
        old.meta.duration_ns = 10_000_000_000;
        old.coverage.lost = 12;
        old.stacks.modules[0] = Module { path: "/old/server".into(), build_id: vec![7] };
        old.locks[1].class = "server+0x9999".into();
        old.locks[1].name = None;
        let journal = LockId(0);
        for (key, stats) in old.profile.waits.iter_mut().filter(|(key, _)| key.lock == journal) {
            if key.thread.0 % 2 == 0 {
                stats.wait_ns /= 4;
            }
        }
        for site in old.profile.sites.iter_mut().filter(|site| site.key.lock == journal) {
            site.wait.sum /= 2;
        }
        old
    }

    #[test]
    fn golden_comparison() {
        let (old, new) = (before(), server());
        for (name, measure) in [("diff.txt", Measure::Wait), ("diff-count.txt", Measure::Count)] {
            let result = Diff::of(&old, &new, &Question { measure, ..Question::default() });
            let text = diff(named("old.lockprof", &old), named("new.lockprof", &new), &result, &DiffOptions::default());
            text.lines().for_each(|line| assert!(columns(line) <= 80, "over 80 columns: {line}"));
            golden::check(name, &text);
        }
    }

    #[test]
    fn any_width_is_kept_to() {
        let (old, new) = (busy(), server());
        let result = Diff::of(&old, &new, &Question::default());
        for width in [60, 80, 140] {
            let options = DiffOptions { layout: Layout { color: false, width }, limit: Some(100) };
            let text = diff(named("a.lockprof", &old), named("b.lockprof", &new), &result, &options);
            text.lines().for_each(|line| assert!(columns(line) <= width, "over {width} columns: {line}"));
        }
    }

    #[test]
    fn growth_in_words() {
        for (old, new, want) in [
            (0, 0, "±0"),
            (0, 5, "from 0"),
            (5, 0, "-100%"),
            (100, 112, "+12%"),
            (1000, 966, "-3.4%"),
            (100, 520, "+420%"),
            (10, 1000, "×100"),
            (100_000, 100_001, "+<0.1%"),
        ] {
            assert_eq!(growth(old, new), want, "{old} {new}");
        }
    }
}
