//! Colour and emphasis, in one place.
//!
//! Sixteen-colour ANSI only, so that every terminal's own theme decides how it looks.

use crate::analysis::names::cells;

/// What a piece of text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Nothing special.
    Plain,
    /// A heading.
    Heading,
    /// What the eye should find first: a lock's name.
    Strong,
    /// What may be skipped.
    Dim,
    /// Bad: most of the wait.
    Bad,
    /// Worth a look.
    Warn,
    /// All is well.
    Good,
    /// A command to type.
    Command,
}

impl Style {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Heading | Self::Strong => "\x1b[1m",
            Self::Dim => "\x1b[2m",
            Self::Bad => "\x1b[1;31m",
            Self::Warn => "\x1b[33m",
            Self::Good => "\x1b[32m",
            Self::Command => "\x1b[36m",
        }
    }
}

/// How text is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Whether to write colours.
    pub color: bool,
    /// Columns that a line may fill.
    pub width: usize,
}

impl Default for Layout {
    fn default() -> Self {
        Self { color: false, width: 80 }
    }
}

impl Layout {
    /// `text` in a style. Padding belongs outside: it is made before painting.
    pub fn paint(&self, style: Style, text: &str) -> String {
        if !self.color || style == Style::Plain || text.is_empty() {
            return text.to_owned();
        }
        format!("{}{text}\x1b[0m", style.code())
    }
}

/// Columns that `text` fills on a terminal, without escape sequences.
pub fn columns(text: &str) -> usize {
    let mut count = 0;
    let mut escape = false;
    for c in text.chars() {
        match (escape, c) {
            (true, 'm') => escape = false,
            (true, _) => {}
            (false, '\x1b') => escape = true,
            (false, _) => count += cells(c),
        }
    }
    count
}

/// Text from a recording with control characters made visible: a thread or a lock may be called anything,
/// and a terminal must not obey it.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Text that Markdown takes literally, in a table as well.
pub fn markdown_escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in printable(text).chars() {
        if matches!(c, '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#' | '~') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// Words in lines of at most `width` columns, each after `indent`; the first after `first`. A number stays
/// on one line with its unit.
pub fn wrap(text: &str, width: usize, first: &str, indent: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match words.last_mut() {
            Some(last) if is_unit(word) && last.ends_with(|c: char| c.is_ascii_digit()) => {
                last.push(' ');
                last.push_str(word);
            }
            _ => words.push(word.to_owned()),
        }
    }
    fill(&words, width, first, indent)
}

fn is_unit(word: &str) -> bool {
    matches!(word.trim_end_matches(['.', ',', ':', ';', ')']), "ns" | "µs" | "ms" | "s" | "min" | "h")
}

/// Puts words, which may hold blanks, in lines of at most `width` columns.
pub fn fill(words: &[String], width: usize, first: &str, indent: &str) -> String {
    let mut out = String::from(first);
    let mut used = columns(first);
    let mut fresh = true;
    for word in words {
        let need = columns(word) + usize::from(!fresh);
        if !fresh && used + need > width {
            out.push('\n');
            out.push_str(indent);
            used = columns(indent);
            fresh = true;
        }
        if !fresh {
            out.push(' ');
            used += 1;
        }
        out.push_str(word);
        used += columns(word);
        fresh = false;
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paint_only_when_asked() {
        let plain = Layout::default();
        assert_eq!(plain.paint(Style::Bad, "x"), "x");
        let colored = Layout { color: true, ..plain }.paint(Style::Bad, "xyz");
        assert!(colored.contains('\x1b') && columns(&colored) == 3);
    }

    #[test]
    fn wrapping_keeps_to_the_width() {
        let text = wrap("one two three four five", 11, "- ", "  ");
        assert_eq!(text, "- one two\n  three\n  four five\n");
        assert_eq!(wrap("took 9.39 ms, twice", 11, "", ""), "took\n9.39 ms,\ntwice\n");
    }
}
