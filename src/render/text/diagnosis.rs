//! What `doctor` found, as text: the verdict first, then check by check.

use crate::model::diagnosis::{Check, Diagnosis, Outcome};
use crate::render::explain::diagnosis::{verdict, word};
use crate::render::style::{Layout, Style, columns, printable, wrap};

/// Where what was found begins.
const INDENT: usize = 24;

/// The whole text.
pub fn diagnosis(diagnosis: &Diagnosis, layout: &Layout) -> String {
    let mut out = wrap(&printable(&verdict(diagnosis)), layout.width, "", "  ");
    if let Some((head, rest)) = out.split_once('\n') {
        out = format!("{}\n{rest}", layout.paint(style(diagnosis.verdict()), head));
    }
    for group in &diagnosis.groups {
        out.push_str(&format!("\n{}\n", layout.paint(Style::Heading, group.title)));
        for check in &group.checks {
            out.push_str(&shown(check, layout));
        }
    }
    out
}

fn shown(check: &Check, layout: &Layout) -> String {
    let word = word(check.outcome).0;
    let head = format!("  {}{}{}", layout.paint(style(check.outcome), word), " ".repeat(9 - columns(word)), check.id);
    let head = format!("{head}{}", " ".repeat(INDENT - 11 - columns(check.id)));
    let indent = " ".repeat(INDENT);
    let mut out = wrap(&printable(&check.found), layout.width, &head, &indent);
    let missing = if check.outcome == Outcome::Open { "not known: " } else { "missing: " };
    for (title, text) in [(missing, &check.missing), ("fix: ", &check.fix)] {
        if let Some(text) = text {
            let first = format!("{indent}{}", layout.paint(Style::Dim, title).trim_end());
            out.push_str(&wrap(&printable(text), layout.width, &format!("{first} "), &format!("{indent}  ")));
        }
    }
    out
}

fn style(outcome: Outcome) -> Style {
    match outcome {
        Outcome::Ok => Style::Good,
        Outcome::Note => Style::Strong,
        Outcome::Open | Outcome::InPart => Style::Warn,
        Outcome::Refused => Style::Bad,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::diagnosis::{Group, Subject};
    use crate::render::golden;
    use crate::render::json;

    fn example() -> Diagnosis {
        let check = |id, outcome, found: &str, missing: Option<&str>, fix: Option<&str>| Check {
            id,
            outcome,
            found: found.to_owned(),
            missing: missing.map(str::to_owned),
            fix: fix.map(str::to_owned),
        };
        let own = "locks that do not go through libc, in libjvm.so (Java's monitors)";
        let checks = vec![
            check("program", Outcome::Ok, "/usr/bin/java", None, None),
            check(
                "own-locks",
                Outcome::InPart,
                own,
                Some("the locks of libjvm.so"),
                Some("use the profiler of its language, and some more words than a line of eighty columns can hold"),
            ),
            check(
                "opens",
                Outcome::Open,
                "libjli.so can open libraries while it runs (dlopen)",
                Some("whether those bring locks"),
                None,
            ),
            check(
                "names",
                Outcome::Note,
                "it is stripped\u{1b}",
                Some("source lines"),
                Some("install openjdk-17-dbgsym"),
            ),
        ];
        let machine =
            vec![check("memory", Outcome::Ok, "/dev/shm has 24576 MB free for the shared memory", None, None)];
        Diagnosis {
            subject: Subject::Command(vec!["/usr/bin/java".into(), "-version".into()]),
            groups: vec![Group { title: "program", checks }, Group { title: "machine", checks: machine }],
        }
    }

    #[test]
    fn golden_files() {
        let text = diagnosis(&example(), &Layout::default());
        assert!(text.lines().all(|line| columns(line) <= 80), "{text}");
        golden::check("doctor.txt", &text);
        golden::check("doctor.json", &json::diagnosis(&example()));
    }

    #[test]
    fn the_verdict_is_the_worst_of_all() {
        let mut some = example();
        let mut said = Vec::new();
        for worst in [Outcome::Refused, Outcome::InPart, Outcome::Open, Outcome::Note] {
            some.groups[0].checks[0].outcome = worst;
            said.push(verdict(&some));
            some.groups[0].checks.retain(|check| check.outcome != worst || check.id == "program");
            some.groups[0].checks[0].outcome = Outcome::Ok;
        }
        assert!(said[0].starts_with("java cannot be recorded: "), "{said:?}");
        assert!(said[1].starts_with("java can be recorded in part"), "{said:?}");
        assert!(said[2].starts_with("java can be recorded; whether whole is not known"), "{said:?}");
        assert_eq!(said[3], "java can be recorded whole");
    }
}
