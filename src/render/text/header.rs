//! What was run, and how much of it was seen.

use crate::analysis::contention::share;
use crate::model::{Exit, Session};
use crate::render::style::{Layout, Style, printable, wrap};
use crate::render::units::{count, duration, percent, plural};

/// The head of the report: command, size, coverage, cost, notes. `first` are lines that have to be among the first five.
pub(super) fn header(session: &Session, first: &str, layout: &Layout) -> String {
    let mut out = String::new();
    let command = printable(&session.meta.command.join(" "));
    out.push_str(&layout.paint(Style::Heading, command.trim_end()));
    out.push('\n');

    let mut facts = Vec::new();
    if session.meta.duration_ns > 0 || !session.coverage.contended_only {
        facts.push(duration(session.meta.duration_ns));
    }
    if !session.coverage.contended_only {
        facts.push(format!(
            "{}{}, {}",
            if session.runs() > 1 { plural(session.runs() as u64, "run", "runs") + ", " } else { String::new() },
            plural(session.processes.len() as u64, "process", "processes"),
            plural(session.thread_count(), "thread", "threads")
        ));
    }
    facts.extend(exit(session));
    if !session.meta.host.is_empty() {
        facts.push(printable(&session.meta.host));
    }
    let facts = wrap(&facts.join(" · "), layout.width, "", "  ");
    let (before, behind) = if facts.lines().count() > 1 { (first, facts.as_str()) } else { (facts.as_str(), first) };
    out.push_str(before);
    out.push_str(behind);
    out.push_str(&coverage(session, layout));
    if let Some(text) = cost(session) {
        out.push_str(&layout.paint(Style::Dim, &wrap(&text, layout.width, "", "")));
    }
    if session.meta.cut {
        let text = "The trace was cut short: what follows is the part up to the cut.";
        out.push_str(&layout.paint(Style::Warn, &wrap(text, layout.width, "", "")));
    }
    for note in &session.coverage.notes {
        out.push_str(&layout.paint(Style::Warn, &wrap(&printable(note), layout.width, "note: ", "      ")));
    }
    out
}

/// What recording cost; `None` where that was not measured.
pub(crate) fn cost(session: &Session) -> Option<String> {
    let cost = &session.overhead;
    (cost.ns_per_pair > 0.0).then(|| {
        format!(
            "Recording cost about {:.0} ns for each lock and unlock: {} of the program's CPU time.",
            cost.ns_per_pair,
            percent(cost.share_of_runtime)
        )
    })
}

/// `exit code 0`, `killed by SIGKILL`.
pub(crate) fn exit(session: &Session) -> Option<String> {
    Some(match session.meta.exit? {
        Exit::Code(code) => format!("exit code {code}"),
        Exit::Signal(signal) => format!("ended by {}", signal_name(signal)),
    })
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        31 => "SIGSYS",
        _ => return format!("signal {signal}"),
    };
    name.to_owned()
}

/// The line that says whether every acquisition is accounted for.
pub(crate) fn coverage(session: &Session, layout: &Layout) -> String {
    let seen = &session.coverage;
    let taken = plural(seen.acquisitions, "acquisition", "acquisitions");
    let (text, style) = if seen.contended_only {
        let contended = plural(seen.acquisitions, "contended acquisition", "contended acquisitions");
        let text =
            format!("The profile of another tool, with {contended} only: it does not know how often locks were taken.");
        (text, Style::Warn)
    } else if seen.lost > 0 {
        let text = format!(
            "{taken}, of which {} are lost: this recording is incomplete ({} recorded + {} aggregated).",
            count(seen.lost),
            count(seen.recorded),
            count(seen.folded)
        );
        (text, Style::Bad)
    } else if !seen.complete() {
        let text = format!(
            "{taken} ({} recorded + {} aggregated), but not of everything that ran: this recording is incomplete.",
            count(seen.recorded),
            count(seen.folded)
        );
        (text, Style::Bad)
    } else if seen.folded > 0 {
        let text = format!(
            "{taken} = {} recorded + {} aggregated exactly; none lost.",
            count(seen.recorded),
            count(seen.folded)
        );
        (text, Style::Good)
    } else {
        (format!("{taken}, every one recorded."), Style::Good)
    };
    layout.paint(style, wrap(&text, layout.width, "", "  ").trim_end()) + "\n"
}

/// How the call stacks were found.
pub(super) fn stacks(session: &Session, layout: &Layout) -> String {
    let seen = &session.coverage;
    let total = seen.stack_hits + seen.stack_misses;
    let text = format!(
        "Call stacks: {:.3}% of {} found again by their remembered shape, {} unwound, {} cut short or unknown.",
        share(seen.stack_hits, total) * 100.0,
        count(total),
        count(seen.stack_misses),
        count(seen.stacks_truncated)
    );
    layout.paint(Style::Dim, &wrap(&text, layout.width, "", "  "))
}
