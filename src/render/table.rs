//! Columns that line up, one of which takes what room is left.

use super::names::fit_end;
use super::style::{Layout, Style, columns};

/// Which side a column's text keeps to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// A column.
#[derive(Clone, Debug)]
pub struct Column {
    /// Its heading.
    pub title: &'static str,
    /// Which side its text keeps to.
    pub align: Align,
    /// May be left out where the line is too narrow; the highest number goes first, 0 always stays.
    pub expendable: u8,
    /// Takes what room is left, and is cut where there is too little.
    pub flexible: bool,
}

impl Column {
    /// A column of numbers.
    pub fn number(title: &'static str, expendable: u8) -> Self {
        Self { title, align: Align::Right, expendable, flexible: false }
    }

    /// A column of words.
    pub fn text(title: &'static str, expendable: u8) -> Self {
        Self { title, align: Align::Left, expendable, flexible: false }
    }

    /// The column that is cut.
    pub fn flexible(title: &'static str) -> Self {
        Self { title, align: Align::Left, expendable: 0, flexible: true }
    }
}

/// A cell.
pub type Cell = (String, Style);

/// The flexible column never gets narrower while another can be left out.
const LEAST_FLEXIBLE: usize = 22;
/// Blanks between columns; one where two would cost a column.
const GAPS: [usize; 2] = [2, 1];
/// Blanks before the first column.
const INDENT: usize = 2;

/// The table with its heading, each line indented by two columns, ending in a line break.
pub fn table(layout: &Layout, headings: &[Column], rows: &[Vec<Cell>]) -> String {
    let natural: Vec<usize> = (headings.iter().enumerate())
        .map(|(at, column)| {
            let cells = rows.iter().filter_map(|row| row.get(at)).map(|(text, _)| columns(text));
            cells.chain([columns(column.title)]).max().unwrap_or(0)
        })
        .collect();
    let mut shown: Vec<usize> = (0..headings.len()).collect();
    let need = |shown: &[usize], gap: usize| -> usize {
        let cells: usize = (shown.iter())
            .map(|at| if headings[*at].flexible { natural[*at].min(LEAST_FLEXIBLE) } else { natural[*at] })
            .sum();
        INDENT + cells + gap * shown.len().saturating_sub(1)
    };
    let gap = loop {
        if let Some(gap) = GAPS.into_iter().find(|gap| need(&shown, *gap) <= layout.width) {
            break gap;
        }
        let least = shown.iter().copied().max_by_key(|at| headings[*at].expendable);
        match least.filter(|at| headings[*at].expendable > 0) {
            Some(at) => shown.retain(|other| *other != at),
            None => break GAPS[1],
        }
    };
    let fixed: usize = (shown.iter()).filter(|at| !headings[**at].flexible).map(|at| natural[*at]).sum();
    let room = layout.width.saturating_sub(INDENT + fixed + gap * shown.len().saturating_sub(1));
    let width = |at: usize| if headings[at].flexible { natural[at].min(room.max(8)) } else { natural[at] };

    let mut out = String::new();
    let head: Vec<Cell> = headings.iter().map(|column| (column.title.to_owned(), Style::Dim)).collect();
    for row in std::iter::once(&head).chain(rows) {
        let mut line = String::new();
        for at in &shown {
            let Some((text, style)) = row.get(*at) else { continue };
            let width = width(*at);
            let text =
                if headings[*at].flexible && columns(text) > width { fit_end(text, width) } else { text.clone() };
            let pad = " ".repeat(width.saturating_sub(columns(&text)));
            line.push_str(&" ".repeat(if line.is_empty() { INDENT } else { gap }));
            let text = layout.paint(*style, &text);
            match headings[*at].align {
                Align::Left => line.push_str(&format!("{text}{pad}")),
                Align::Right => line.push_str(&format!("{pad}{text}")),
            }
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}
