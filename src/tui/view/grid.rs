//! Tables whose columns stay where they are when figures change: widths are fixed, one column takes the rest.

use ratatui::style::Modifier;
use ratatui::text::{Line, Span};

use super::{look, span};
use crate::render::names::{columns, fit_end, fit_start, pad_end, pad_start};
use crate::render::style::Style;

/// A column.
#[derive(Clone, Copy, Debug)]
pub struct Col {
    title: &'static str,
    /// 0: takes what is left.
    width: usize,
    right: bool,
    /// Its end is cut, not its front.
    sentence: bool,
    /// The highest goes first where there is no room; 0 stays.
    rank: u8,
    /// Where there is room left when names have theirs: the most columns that it takes.
    grows_to: usize,
}

impl Col {
    /// Words.
    pub const fn text(title: &'static str, width: usize, rank: u8) -> Self {
        Self { title, width, right: false, sentence: true, rank, grows_to: 0 }
    }

    /// Figures.
    pub const fn number(title: &'static str, width: usize, rank: u8) -> Self {
        Self { title, width, right: true, sentence: true, rank, grows_to: 0 }
    }

    /// The same, wider where there is room for it.
    pub const fn up_to(self, columns: usize) -> Self {
        Self { grows_to: columns, ..self }
    }

    /// What takes the room that is left.
    pub const fn rest(title: &'static str) -> Self {
        Self { title, width: 0, right: false, sentence: false, rank: 0, grows_to: 0 }
    }

    /// The same for sentences rather than names.
    pub const fn sentence(title: &'static str) -> Self {
        Self { title, width: 0, right: false, sentence: true, rank: 0, grows_to: 0 }
    }
}

/// A cell.
pub type Cell = (String, Style);

/// The column that takes the rest does not get narrower than this while another can go.
const LEAST_REST: usize = 18;
/// Nor wider than this, unless its texts are longer.
const MOST_REST: usize = 60;

/// Columns of this rank and above go where names would be cut.
const FOR_NAMES: u8 = 9;

/// Which columns are shown, and how wide.
#[derive(Debug)]
pub struct Shape<'a> {
    cols: &'a [Col],
    /// Positions in `cols`, and the columns that each takes.
    shown: Vec<(usize, usize)>,
    /// The column that the rows are sorted by, and its heading.
    sorted: Option<(usize, String)>,
}

impl<'a> Shape<'a> {
    /// For a screen so wide. `longest`: columns of the longest text in the column that takes the rest. `sorted`: the column
    /// that the rows are sorted by, which stays, and the arrow in its heading.
    pub fn of(cols: &'a [Col], longest: usize, sorted: Option<(usize, &str)>, width: usize) -> Self {
        let mut shown: Vec<usize> = (0..cols.len()).collect();
        let may_go = |at: &usize| cols[*at].rank > 0 && sorted.is_none_or(|(sorted, _)| sorted != *at);
        while let Some(worst) = shown.iter().copied().filter(may_go).max_by_key(|at| cols[*at].rank) {
            // Whole names before figures that few look at.
            let rest = if cols[worst].rank >= FOR_NAMES { longest.clamp(LEAST_REST, MOST_REST) } else { LEAST_REST };
            let least = |at: usize| if cols[at].width == 0 { rest } else { cols[at].width };
            if shown.iter().map(|at| least(*at) + 1).sum::<usize>() < width {
                break;
            }
            shown.retain(|at| *at != worst);
        }
        let mut spare = width.saturating_sub(1 + shown.iter().map(|at| cols[*at].width + 1).sum::<usize>());
        let mut take = |most: usize| {
            let taken = most.min(spare);
            spare -= taken;
            taken
        };
        // Names first, then what grows, then the names' column again.
        let mut rest = take(longest.max(LEAST_REST));
        let grown: Vec<usize> =
            shown.iter().map(|at| cols[*at].width + take(cols[*at].grows_to.saturating_sub(cols[*at].width))).collect();
        rest += take(MOST_REST.saturating_sub(rest));
        let wide = |(at, grown): (usize, usize)| (at, if cols[at].width == 0 { rest.max(1) } else { grown });
        let shown = shown.into_iter().zip(grown).map(wide).collect();
        let heading = |(at, arrow): (usize, &str)| {
            let title = cols[at].title;
            let room = if cols[at].width == 0 { rest } else { cols[at].width };
            // Where there is no room for the arrow, the line of screens has it.
            (at, if columns(title) + columns(arrow) <= room { format!("{arrow}{title}") } else { title.to_owned() })
        };
        Self { cols, shown, sorted: sorted.map(heading) }
    }

    /// Columns that this one has; 0 where it is not shown.
    pub fn width_of(&self, at: usize) -> usize {
        self.shown.iter().find(|(shown, _)| *shown == at).map_or(0, |(_, width)| *width)
    }

    fn fit(&self, at: usize, width: usize, text: &str) -> String {
        let col = &self.cols[at];
        if col.right {
            pad_start(&fit_start(text, width), width) + " "
        } else if !col.sentence {
            // The end of a qualified name says more.
            pad_end(&fit_end(text, width), width) + " "
        } else {
            pad_end(&fit_start(text, width), width) + " "
        }
    }

    /// The heading and the rows from `top` on; `chosen` is marked.
    pub fn lines(&self, rows: &[Vec<Cell>], top: usize, chosen: Option<usize>, height: usize) -> Vec<Line<'static>> {
        let heading = self.shown.iter().map(|(at, width)| match &self.sorted {
            Some((sorted, title)) if sorted == at => {
                Span::styled(self.fit(*at, *width, title), look(Style::Strong).add_modifier(Modifier::UNDERLINED))
            }
            _ => Span::styled(
                self.fit(*at, *width, self.cols[*at].title),
                look(Style::Dim).add_modifier(Modifier::UNDERLINED),
            ),
        });
        let mut lines = vec![Line::from(std::iter::once(Span::raw(" ")).chain(heading).collect::<Vec<_>>())];
        for (at, row) in rows.iter().enumerate().skip(top).take(height) {
            let is_chosen = chosen == Some(at);
            let mut spans = vec![Span::raw(if is_chosen { ">" } else { " " })];
            let cell = |(at, width): &(usize, usize)| {
                row.get(*at).map(|(text, style)| span(*style, self.fit(*at, *width, text)))
            };
            spans.extend(self.shown.iter().filter_map(cell));
            let line = Line::from(spans);
            lines.push(if is_chosen { line.patch_style(Modifier::REVERSED) } else { line });
        }
        lines
    }
}

/// The heading and the rows from `top` on, as wide as the screen; `chosen` is marked.
pub fn grid(
    cols: &[Col],
    rows: &[Vec<Cell>],
    top: usize,
    chosen: Option<usize>,
    height: usize,
    width: usize,
) -> Vec<Line<'static>> {
    let rest = cols.iter().position(|col| col.width == 0);
    let longest =
        rest.map_or(0, |at| rows.iter().filter_map(|row| row.get(at)).map(|cell| columns(&cell.0)).max().unwrap_or(0));
    Shape::of(cols, longest, None, width).lines(rows, top, chosen, height)
}
