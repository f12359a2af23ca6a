//! The processes of a machine as a table.

use crate::model::{Language, Listed, ListedState};
use crate::render::style::{Layout, Style, columns, printable, wrap};
use crate::render::table::{Column, table};
use crate::render::units::{count, plural};

/// The table, and what to do with it.
pub fn list(processes: &[Listed], layout: &Layout) -> String {
    let headings = [
        Column::number("pid", 0),
        Column::number("threads", 1),
        Column::text("program", 0),
        Column::text("state", 0),
        Column::flexible("command"),
    ];
    let rows: Vec<_> = processes
        .iter()
        .map(|process| {
            let (state, style) = match &process.state {
                ListedState::Recorded(Some(by)) => (format!("recorded by {by}"), Style::Good),
                ListedState::Recorded(None) => ("recorded".to_owned(), Style::Good),
                ListedState::Asleep => ("recorder asleep".to_owned(), Style::Good),
                ListedState::Seen if process.is_attachable => ("attach, where".to_owned(), Style::Plain),
                ListedState::Seen => ("where".to_owned(), Style::Plain),
                ListedState::Refused(_) => ("not ours".to_owned(), Style::Dim),
            };
            vec![
                (process.pid.to_string(), Style::Strong),
                (count(process.threads.into()), Style::Plain),
                (kind(process), Style::Plain),
                (state, style),
                (command(process, layout.width), Style::Plain),
            ]
        })
        .collect();
    let mut out = table(layout, &headings, &rows);
    out.push('\n');
    let mut say = |is: fn(&Listed) -> bool, word: &str, text: &str| {
        if processes.iter().any(is) {
            let head = layout.paint(Style::Strong, &format!("{word}: "));
            out.push_str(&wrap(text, layout.width, &head, "  "));
        }
    };
    say(
        |process| matches!(process.state, ListedState::Recorded(_)),
        "recorded",
        "a lockprof records it: `lockprof top -p PID` looks on",
    );
    say(
        |process| matches!(process.state, ListedState::Asleep),
        "recorder asleep",
        "it was started with the recorder preloaded: `lockprof run -p PID` or `lockprof top -p PID` records it",
    );
    say(
        |process| process.is_attachable,
        "attach",
        "`lockprof run -p PID` or `lockprof top -p PID` brings the recorder in, if nothing is in its way; they say what is",
    );
    say(
        |process| process.state == ListedState::Seen,
        "where",
        "`lockprof where PID` tells what its threads wait for; nothing is put into it",
    );
    let mut reasons: Vec<(&str, u64)> = Vec::new();
    for process in processes {
        let ListedState::Refused(reason) = &process.state else { continue };
        match reasons.iter_mut().find(|(other, _)| other == reason) {
            Some((_, times)) => *times += 1,
            None => reasons.push((reason, 1)),
        }
    }
    for (reason, times) in reasons {
        let head = layout.paint(Style::Strong, "not ours: ");
        let text = format!("{}: {reason}", plural(times, "process", "processes"));
        out.push_str(&wrap(&text, layout.width, &head, "  "));
    }
    out
}

/// The command without the program's folders. Its beginning tells most.
fn command(process: &Listed, width: usize) -> String {
    /// What the other columns take, as a rule, and the least that is left.
    const OTHERS: usize = 48;
    const LEAST: usize = 22;
    let mut words = process.command.iter();
    let first = words.next().map_or("", |program| program.rsplit('/').next().unwrap_or_default());
    let whole = printable(&std::iter::once(first).chain(words.map(String::as_str)).collect::<Vec<_>>().join(" "));
    let room = width.saturating_sub(OTHERS).max(LEAST);
    if columns(&whole) <= room {
        return whole;
    }
    let mut cut: String = whole.chars().take(room - 1).collect();
    while columns(&cut) >= room {
        cut.pop();
    }
    cut + "…"
}

/// `Go 1.24.11`, `C, static`.
fn kind(process: &Listed) -> String {
    let language = match (process.language, &process.version) {
        (Language::Go, Some(version)) => return format!("Go {}", printable(version.trim_start_matches("go"))),
        (Language::Go, None) => return "Go".to_owned(),
        (Language::C, _) => "C",
        (Language::Cxx, _) => "C++",
        (Language::Rust, _) => "Rust",
        (Language::Unknown, _) => return "–".to_owned(),
    };
    if process.is_static { format!("{language}, static") } else { language.to_owned() }
}
