//! Lines of source code with marks under them, in the manner of rustc.

use crate::render::names::fit_start;
use crate::render::sources::Source;
use crate::render::style::{Layout, Style, columns, printable};

/// A place to point at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// From 1.
    pub line: u32,
    /// From 1; 0 is unknown.
    pub column: u32,
    /// What happens there.
    pub label: String,
}

/// Lines shown before and after a mark.
const CONTEXT: u32 = 1;
/// A tab, as most editors show it.
const TAB: &str = "    ";

/// Digits of the longest line number that is shown with marks up to this line.
pub(super) fn gutter(last: u32) -> usize {
    (last + CONTEXT).to_string().len()
}

/// The lines at the marks, each with its number; gaps are shown as dots.
pub(super) fn snippet(source: &Source, marks: &[Mark], gutter: usize, layout: &Layout) -> String {
    let mut marks: Vec<&Mark> = marks.iter().filter(|mark| source.line(mark.line).is_some()).collect();
    marks.sort_by_key(|mark| (mark.line, mark.column));
    let bar = layout.paint(Style::Command, &format!("{} |", " ".repeat(gutter + 1)));
    let mut out = format!("{bar}\n");
    let mut last = 0;
    for (at, mark) in marks.iter().enumerate() {
        let from = mark.line.saturating_sub(CONTEXT).max(last + 1).max(1);
        let to = marks.get(at + 1).map_or(u32::MAX, |next| next.line.saturating_sub(1)).min(mark.line + CONTEXT);
        if last > 0 && from > last + 1 {
            // One line of code is no longer than the dots.
            if from == last + 2 {
                out.push_str(&numbered(source, last + 1, gutter, layout));
            } else {
                out.push_str(&layout.paint(Style::Command, &format!("{}...\n", " ".repeat(gutter))));
            }
        }
        // Of a second mark on one line the line is there already.
        (from..=mark.line).for_each(|line| out.push_str(&numbered(source, line, gutter, layout)));
        out.push_str(&underline(source, mark, &bar, gutter, layout));
        (mark.line + 1..=to).for_each(|line| out.push_str(&numbered(source, line, gutter, layout)));
        last = mark.line.max(to);
    }
    out.push_str(&bar);
    out.push('\n');
    out
}

fn numbered(source: &Source, line: u32, gutter: usize, layout: &Layout) -> String {
    let Some(text) = source.line(line) else { return String::new() };
    let number = layout.paint(Style::Command, &format!(" {line:>gutter$} |"));
    let text = fit_start(&expand(text), layout.width.saturating_sub(gutter + 4));
    format!("{number} {text}").trim_end().to_owned() + "\n"
}

fn underline(source: &Source, mark: &Mark, bar: &str, gutter: usize, layout: &Layout) -> String {
    let text = source.line(mark.line).unwrap_or_default();
    let (start, end) = extent(text, mark.column);
    let room = layout.width.saturating_sub(gutter + 4);
    let start = start.min(room.saturating_sub(2));
    let carets = "^".repeat(end.saturating_sub(start).clamp(1, room.saturating_sub(start).max(1)));
    let painted = layout.paint(Style::Bad, &carets);
    let label = layout.paint(Style::Bad, &mark.label);
    let pad = " ".repeat(start);
    if start + columns(&carets) + 1 + columns(&mark.label) <= room {
        return format!("{bar} {pad}{painted} {label}\n");
    }
    let pad_label = " ".repeat(start.min(room.saturating_sub(columns(&mark.label))));
    format!("{bar} {pad}{painted}\n{bar} {pad_label}{label}\n")
}

fn expand(text: &str) -> String {
    printable(&text.replace('\t', TAB))
}

/// From where to where to underline, in columns of the expanded line: the call that begins at `column`, or else the
/// whole line.
fn extent(text: &str, column: u32) -> (usize, usize) {
    let text = text.trim_end();
    let blank = text.len() - text.trim_start().len();
    let start = (column as usize).checked_sub(1).filter(|at| text.is_char_boundary(*at) && *at < text.len());
    let start = start.unwrap_or(blank);
    let mut depth = 0usize;
    let mut end = text.len();
    for (at, c) in text[start..].char_indices() {
        match c {
            '(' | '[' | '{' | '<' => depth += 1,
            ')' | ']' | '}' | '>' => {
                depth = depth.saturating_sub(1);
                if depth == 0 && c == ')' {
                    end = start + at + 1;
                    break;
                }
            }
            ';' if depth == 0 => {
                end = start + at;
                break;
            }
            _ => {}
        }
    }
    (columns(&expand(&text[..start])), columns(&expand(&text[..end.max(start)])))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source { path: "a.c".into(), inside: true, changed: false, lines: text.lines().map(str::to_owned).collect() }
    }

    fn mark(line: u32, column: u32, label: &str) -> Mark {
        Mark { line, column, label: label.into() }
    }

    #[test]
    fn what_is_underlined() {
        for (text, column, want) in [
            ("    pthread_mutex_lock(&a);", 5, (4, 26)),
            ("    pthread_mutex_lock(&a);", 0, (4, 26)),
            ("\tlock(a[f(1)]);", 2, (4, 17)),
            ("x = y;", 1, (0, 5)),
            ("} else {", 0, (0, 8)),
            ("short", 99, (0, 5)),
            ("    std::lock_guard<std::mutex> g(m);", 0, (4, 36)),
            ("", 0, (0, 0)),
        ] {
            assert_eq!(extent(text, column), want, "{text}");
        }
    }

    #[test]
    fn near_marks_share_a_snippet_and_gaps_are_dots() {
        let text: String = (1..=20).map(|at| format!("line {at};\n")).collect();
        let marks = [mark(3, 1, "takes a"), mark(6, 1, "wants b"), mark(15, 0, "again"), mark(15, 6, "twice")];
        let out = snippet(&source(&text), &marks, gutter(15), &Layout::default());
        let want = "    |\n  2 | line 2;\n  3 | line 3;\n    | ^^^^^^ takes a\n  4 | line 4;\n  5 | line 5;\n  \
                    6 | line 6;\n    | ^^^^^^ wants b\n  7 | line 7;\n  ...\n 14 | line 14;\n 15 | line 15;\n    \
                    | ^^^^^^^ again\n    |      ^^ twice\n 16 | line 16;\n    |\n";
        assert_eq!(out, want, "{out}");
    }

    #[test]
    fn nothing_is_wider_than_told() {
        let wide = format!("{}lock(me);", "x + ".repeat(60));
        let layout = Layout { color: false, width: 60 };
        for column in [0, 1, 40, 241] {
            let marks = [mark(1, column, "takes engine::storage::ShardedCache")];
            for line in snippet(&source(&wide), &marks, 2, &layout).lines() {
                assert!(columns(line) <= 60, "{line}");
            }
        }
    }
}
