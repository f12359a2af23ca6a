//! A stack as lines, innermost frame first.

use crate::render::frames::Line;
use crate::render::names::{columns, fit_end};
use crate::render::style::{Layout, Style};

/// The first `few` frames, or all, and how many are left out. `indent` stands before each.
pub fn stack(lines: &[Line], few: Option<usize>, indent: &str, layout: &Layout) -> String {
    // One frame more is shown rather than counted.
    let most = few.filter(|few| lines.len() > few + 1).unwrap_or(lines.len());
    let mut out = String::new();
    for line in &lines[..most] {
        let room = layout.width.saturating_sub(indent.len() + columns(&line.place) + 3);
        let function = fit_end(&line.function, room.max(20));
        let place = if line.place.is_empty() { String::new() } else { format!("({})", line.place) };
        out.push_str(format!("{indent}{function} {}", layout.paint(Style::Dim, &place)).trim_end());
        out.push('\n');
    }
    if lines.len() > most {
        let more = format!("{indent}… {} more frames (-v shows them)", lines.len() - most);
        out.push_str(&layout.paint(Style::Dim, &more));
        out.push('\n');
    }
    out
}
