//! The pages of `docs/findings`: what each finding and verdict means, with a bad and a good program.

use crate::analysis::findings::catalog::RULES;
use crate::analysis::findings::{Area, Rule};
use crate::render::style::{Layout, Style, wrap};
use crate::render::table::{Column, table};

macro_rules! pages {
    ($($kind:literal),* $(,)?) => {
        &[$(($kind, include_str!(concat!("../../../docs/findings/", $kind, ".md")))),*]
    };
}

/// Every page, by the id of its rule.
static PAGES: &[(&str, &str)] = pages![
    "confirmed",
    "convoy",
    "destroyed-while-held",
    "feasible",
    "guarded",
    "held-across-blocking-call",
    "hot-global-lock",
    "hung",
    "lock-held-at-thread-exit",
    "long-hold",
    "max-hold",
    "max-wait",
    "needs-writer",
    "never-shared",
    "ordered",
    "pending-writer",
    "possible",
    "rwlock-not-worth-it",
    "same-thread",
    "saturating-lock",
    "self-deadlock-refused",
    "self-deadlock",
    "shared-cache-line",
    "slow-once",
    "soft-ordered",
    "starvation",
    "thundering-herd",
    "tiny-critical-section",
    "unlock-not-locked",
    "unlock-not-owner",
    "writer-starvation",
];

/// The page of a rule as Markdown.
pub fn page(rule: &Rule) -> Option<&'static str> {
    PAGES.iter().find(|(kind, _)| *kind == rule.id).map(|(_, page)| *page)
}

/// The same for a terminal.
pub fn shown(rule: &Rule, layout: &Layout) -> String {
    let mut out = String::new();
    let mut in_code = false;
    for line in page(rule).unwrap_or(rule.help).lines() {
        if line.starts_with("```") {
            in_code = !in_code;
        } else if in_code {
            out.push_str(&layout.paint(Style::Command, &format!("    {line}")));
            out.push('\n');
        } else if let Some(heading) = line.trim_start_matches('#').strip_prefix(' ').filter(|_| line.starts_with('#')) {
            let heading = heading.trim_matches('`');
            let title =
                if line.starts_with("# ") { format!("{heading}: {}", lower(rule.title)) } else { heading.to_owned() };
            out.push_str(&layout.paint(Style::Heading, wrap(&title, layout.width, "", "  ").trim_end()));
            out.push('\n');
        } else if line.is_empty() {
            out.push('\n');
        } else {
            out.push_str(&wrap(&without_links(line), layout.width, "", ""));
        }
    }
    out
}

/// Every rule with its title, by what they are about.
pub fn list(layout: &Layout) -> String {
    let mut out = String::new();
    for area in Area::ALL {
        let head = match area {
            Area::Order => "Verdicts on the order of locks, the most serious first",
            Area::Misuse => "Locks used as they may not be",
            Area::Contention => "What costs time",
            Area::Budget => "Limits given by options of check",
        };
        out.push_str(&format!("{}\n", layout.paint(Style::Heading, head)));
        let columns = [Column::text("", 0), Column::flexible("")];
        let of_area = RULES.iter().filter(|rule| rule.area == area);
        let rows: Vec<_> = of_area
            .map(|rule| vec![(rule.id.to_owned(), Style::Strong), (rule.title.to_owned(), Style::Plain)])
            .collect();
        out.push_str(&table(layout, &columns, &rows));
        out.push('\n');
    }
    out
}

fn lower(text: &str) -> String {
    let mut signs = text.chars();
    signs.next().map_or_else(String::new, |first| first.to_lowercase().chain(signs).collect())
}

/// `[text](target)` as `text`.
fn without_links(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('[') {
        out.push_str(before);
        let link = after.split_once("](").and_then(|(text, target)| Some((text, target.split_once(')')?.1)));
        match link {
            Some((text, behind)) => {
                out.push_str(text);
                rest = behind;
            }
            None => {
                out.push('[');
                rest = after;
            }
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_has_its_page() {
        for rule in RULES {
            let page = page(rule).unwrap_or_else(|| panic!("no docs/findings/{}.md", rule.id));
            assert!(page.starts_with(&format!("# `{}`\n", rule.id)), "{}", rule.id);
            for part in ["## Bad", "## Good", "## What to do"] {
                assert!(page.contains(part), "{}: {part}", rule.id);
            }
            let text = shown(rule, &Layout { color: false, width: 80 });
            assert!(text.contains(rule.id) && !text.contains("```"), "{text}");
        }
        assert_eq!(PAGES.len(), RULES.len(), "a page without a rule");
    }

    #[test]
    fn links_are_left_out() {
        assert_eq!(without_links("a [b c](d.md) e [f] (g)"), "a b c e [f] (g)");
    }
}
