//! Tables whose columns stay where they are when figures change: widths are fixed, one column takes the rest.

use ratatui::style::Modifier;
use ratatui::text::{Line, Span};

use super::{look, span};
use crate::render::names::{fit_end, fit_start, pad_end, pad_start};
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
}

impl Col {
    /// Words.
    pub const fn text(title: &'static str, width: usize, rank: u8) -> Self {
        Self { title, width, right: false, sentence: true, rank }
    }

    /// Figures.
    pub const fn number(title: &'static str, width: usize, rank: u8) -> Self {
        Self { title, width, right: true, sentence: true, rank }
    }

    /// What takes the room that is left.
    pub const fn rest(title: &'static str) -> Self {
        Self { title, width: 0, right: false, sentence: false, rank: 0 }
    }

    /// The same for sentences rather than names.
    pub const fn sentence(title: &'static str) -> Self {
        Self { title, width: 0, right: false, sentence: true, rank: 0 }
    }
}

/// A cell.
pub type Cell = (String, Style);

/// The column that takes the rest does not get narrower than this while another can go, nor wider than that.
const REST: std::ops::RangeInclusive<usize> = 18..=60;

/// The heading and the rows from `top` on; `chosen` is marked.
pub fn grid(
    cols: &[Col],
    rows: &[Vec<Cell>],
    top: usize,
    chosen: Option<usize>,
    height: usize,
    width: usize,
) -> Vec<Line<'static>> {
    let mut shown: Vec<usize> = (0..cols.len()).collect();
    let need = |shown: &[usize]| {
        1 + shown
            .iter()
            .map(|at| cols[*at].width.max(if cols[*at].width == 0 { *REST.start() } else { 0 }) + 1)
            .sum::<usize>()
    };
    while need(&shown) > width
        && let Some(worst) = shown.iter().copied().filter(|at| cols[*at].rank > 0).max_by_key(|at| cols[*at].rank)
    {
        shown.retain(|at| *at != worst);
    }
    let fixed: usize = shown.iter().map(|at| cols[*at].width + 1).sum();
    let rest = width.saturating_sub(1 + fixed).clamp(1, *REST.end());
    let width_of = |at: usize| if cols[at].width == 0 { rest } else { cols[at].width };
    let fit = |at: usize, text: &str| {
        let width = width_of(at);
        if cols[at].right {
            pad_start(&fit_start(text, width), width) + " "
        } else if !cols[at].sentence {
            // The end of a qualified name says more.
            pad_end(&fit_end(text, width), width) + " "
        } else {
            pad_end(&fit_start(text, width), width) + " "
        }
    };
    let mut lines =
        vec![Line::from(
            std::iter::once(Span::raw(" "))
                .chain(shown.iter().map(|at| {
                    Span::styled(fit(*at, cols[*at].title), look(Style::Dim).add_modifier(Modifier::UNDERLINED))
                }))
                .collect::<Vec<_>>(),
        )];
    for (at, row) in rows.iter().enumerate().skip(top).take(height) {
        let is_chosen = chosen == Some(at);
        let mut spans = vec![Span::raw(if is_chosen { ">" } else { " " })];
        spans.extend(shown.iter().filter_map(|at| row.get(*at).map(|(text, style)| span(*style, fit(*at, text)))));
        let line = Line::from(spans);
        lines.push(if is_chosen { line.patch_style(Modifier::REVERSED) } else { line });
    }
    lines
}
