//! Views: pure functions of the state. Every line is made to fit; colour is never the only sign.

mod ascii;
mod grid;
mod locks;
mod order;
mod threads;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style as Look};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph};

use super::plain::blocked_share;
use super::state::{State, Tab, help_text, lock_text};
use crate::render::names::{columns, fit_end, fit_start};
use crate::render::style::Style;
use crate::render::units::{duration, percent, plural, short_count};

/// Draws the whole screen.
pub fn draw(frame: &mut Frame<'_>, state: &State) {
    let area = frame.area();
    let width = usize::from(area.width);
    let mut lines = header(state, width);
    lines.push(tabs(state, width));
    if let Some(banner) = banner(state, width) {
        lines.push(banner);
    }
    let height = state.list_height();
    let mut body = match &state.page {
        Some(page) => paged(&page.lines, page.top, height, width, &page.title),
        None => match state.tab {
            Tab::Locks => locks::lines(state, width),
            Tab::Threads => threads::lines(state, width),
            Tab::Order => order::lines(state, width),
            Tab::Findings => order::findings(state, width),
            Tab::Lock => paged(&lock_text::lines(state), state.cursor().top, height, width, &lock_text::title(state)),
            Tab::Help => paged(&help_text::lines(state), state.cursor().top, height, width, "keys and columns"),
        },
    };
    body.truncate(height + 1);
    lines.extend(body);
    let last = usize::from(area.height).saturating_sub(1);
    lines.resize(last, Line::default());
    lines.push(footer(state, width));
    frame.render_widget(Paragraph::new(lines), area);
    if state.is_asking {
        ask(frame, state);
    }
    if state.setting.ascii {
        ascii::only(frame.buffer_mut());
    }
    if !state.setting.color {
        colourless(frame);
    }
}

/// A style as the terminal takes it.
pub(super) fn look(style: Style) -> Look {
    match style {
        Style::Plain => Look::new(),
        Style::Heading | Style::Strong => Look::new().add_modifier(Modifier::BOLD),
        Style::Dim => Look::new().add_modifier(Modifier::DIM),
        Style::Bad => Look::new().fg(Color::Red).add_modifier(Modifier::BOLD),
        Style::Warn => Look::new().fg(Color::Yellow),
        Style::Good => Look::new().fg(Color::Green),
        Style::Command => Look::new().fg(Color::Cyan),
    }
}

pub(super) fn span(style: Style, text: impl Into<String>) -> Span<'static> {
    Span::styled(text.into(), look(style))
}

/// What was run, and how much of it was seen.
fn header(state: &State, width: usize) -> Vec<Line<'static>> {
    let (now, part) = (&state.now, &state.part);
    let status = match (&state.over, state.is_paused) {
        (Some(how), _) => format!(" ENDED: {how} "),
        (None, true) => " PAUSED ".to_owned(),
        (None, false) => String::new(),
    };
    let facts = format!(
        "  pid {} · {} · {} · {} ",
        now.pid,
        plural(u64::from(now.processes), "process", "processes"),
        plural(now.threads.len() as u64, "thread", "threads"),
        duration(now.at_ns / 100_000_000 * 100_000_000)
    );
    let room = width.saturating_sub(columns(&facts) + columns(&status)).max(12);
    let first = Line::from(vec![
        span(Style::Heading, fit_start(&now.command, room)),
        span(Style::Plain, facts),
        Span::styled(status, look(Style::Warn).add_modifier(Modifier::REVERSED)),
    ]);
    let rate = (part.acquisitions as f64 * 1e9 / state.part_ns.max(1) as f64) as u64;
    let seen = now.recorded.saturating_add(now.folded);
    let open = now.acquisitions.saturating_sub(seen);
    let (word, style) = match (&state.over, open) {
        (_, 0) => ("lost 0".to_owned(), Style::Dim),
        (Some(_), _) => (format!("{} not in this view", short_count(open)), Style::Dim),
        (None, _) => (format!("{} on their way", short_count(open)), Style::Dim),
    };
    let mut second = vec![
        span(Style::Strong, format!("{} acq/s", short_count(rate))),
        span(Style::Plain, format!(" · blocked {}", percent(blocked_share(part, state.part_ns)))),
        span(Style::Dim, format!(" · {} recorded", short_count(now.recorded))),
        span(Style::Dim, format!(" · {} aggregated · ", short_count(now.folded))),
        span(style, word),
    ];
    if let Some(share) = overhead(state) {
        second.push(span(Style::Dim, format!(" · overhead {}", percent(share))));
    }
    vec![first, fitted(second, width)]
}

/// The part of the program's CPU time that recording took.
fn overhead(state: &State) -> Option<f64> {
    let (cost, cpu) = (state.cost_ns?, state.part.cpu_ns.filter(|cpu| *cpu > 0)?);
    Some((cost * state.part.acquisitions as f64 / cpu as f64).min(1.0))
}

/// The spans that fit, whole.
fn fitted(spans: Vec<Span<'static>>, width: usize) -> Line<'static> {
    let mut used = 0;
    let fits = |span: &Span<'static>| {
        used += span.width();
        used <= width
    };
    Line::from(spans.into_iter().take_while(fits).collect::<Vec<_>>())
}

fn tabs(state: &State, width: usize) -> Line<'static> {
    let mut spans: Vec<Span<'static>> = Tab::ALL
        .into_iter()
        .map(|tab| {
            let style = if tab == state.tab {
                Look::new().add_modifier(Modifier::REVERSED | Modifier::BOLD)
            } else {
                Look::new()
            };
            // The sign that needs no attributes at all.
            let text = if tab == state.tab { tab.label().replacen(' ', "[", 1) } else { tab.label() };
            let text = if tab == state.tab { format!("{}]", &text[..text.len() - 1]) } else { text };
            Span::styled(text, style)
        })
        .collect();
    let mut what = match state.tab {
        Tab::Locks | Tab::Threads => format!("{}{} ", if state.is_reversed { "↑" } else { "↓" }, state.sort.name()),
        _ => String::new(),
    };
    let whole = || format!("total {}", duration(state.part_ns / 1_000_000_000 * 1_000_000_000));
    what.push_str(&if state.is_window { "last 10 s".to_owned() } else { whole() });
    if !state.filter.is_empty() {
        what.push_str(&format!(" /{}", state.filter));
    }
    let used: usize = spans.iter().map(Span::width).sum();
    let what = fit_end(&what, width.saturating_sub(used + 2).max(1));
    let pad = width.saturating_sub(used + columns(&what) + 1);
    spans.push(Span::raw(" ".repeat(pad)));
    spans.push(span(Style::Command, what));
    fitted(spans, width)
}

fn banner(state: &State, width: usize) -> Option<Line<'static>> {
    let hang = state.now.hangs.get(state.alarm().unwrap_or(0))?;
    let hint = if state.alarm().is_some() { " — Enter: all stacks " } else { " — d: all stacks " };
    let room = width.saturating_sub(columns(hint) + 12);
    let text = format!(" DEADLOCK: {}{hint}", fit_start(&hang.title, room));
    let look = look(Style::Bad).add_modifier(Modifier::REVERSED);
    let rest = " ".repeat(width.saturating_sub(columns(&text)));
    Some(Line::from(Span::styled(text + &rest, look)))
}

fn footer(state: &State, width: usize) -> Line<'static> {
    if state.is_typing {
        return Line::from(span(
            Style::Strong,
            fit_start(&format!("/{}▏  Enter: keep · Esc: clear", state.filter), width),
        ));
    }
    if !state.message.is_empty() {
        return Line::from(span(Style::Warn, fit_start(&state.message, width)));
    }
    let keys = match (&state.page, state.tab) {
        (Some(_), _) => "↑↓ scroll · Esc back · q quit",
        (None, Tab::Locks) => "↑↓ Enter open · x each lock · / filter · s sort · w window · space pause · ? · q",
        (None, Tab::Threads) => "↑↓ · Enter the lock it waits for · / filter · s sort · space pause · ? · q",
        (None, Tab::Order | Tab::Findings) => "↑↓ · Enter why · / filter · space pause · ? · q",
        (None, Tab::Lock | Tab::Help) => "↑↓ scroll · Esc back · space pause · ? · q",
    };
    let mut spans = vec![span(Style::Dim, keys)];
    let log = format!("  output: {}", state.setting.log);
    let used = columns(keys);
    if !state.setting.log.is_empty() && used + 14 < width {
        spans.push(span(Style::Dim, fit_end(&log, width - used)));
    }
    fitted(spans, width)
}

/// A text with its title; where it is longer than the screen, the title says which part is shown.
fn paged(text: &[String], top: usize, height: usize, width: usize, title: &str) -> Vec<Line<'static>> {
    let part = if text.len() > height {
        format!("  {}–{} of {}", top + 1, (top + height).min(text.len()), text.len())
    } else {
        String::new()
    };
    let room = width.saturating_sub(columns(&part));
    let mut lines = vec![Line::from(vec![span(Style::Heading, fit_start(title, room)), span(Style::Dim, part)])];
    lines.extend(text.iter().skip(top).take(height).map(|line| Line::from(fit_start(line, width))));
    lines
}

/// What becomes of the program?
fn ask(frame: &mut Frame<'_>, state: &State) {
    let text = [
        format!("{} is still running.", fit_start(&state.now.command, 32)),
        String::new(),
        "e  end it: SIGTERM, after 10 s SIGKILL".into(),
        "l  leave it running, recorded no more".into(),
        "Esc  back to the screen".into(),
        String::new(),
        "The recording is written either way.".into(),
    ];
    let area = frame.area();
    let width = 54.min(area.width);
    let height = (text.len() as u16 + 2).min(area.height);
    let place = Rect::new((area.width - width) / 2, (area.height - height) / 2, width, height);
    frame.render_widget(Clear, place);
    let lines: Vec<Line<'_>> = text.into_iter().map(|line| Line::from(format!(" {line}"))).collect();
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(" quit ")), place);
}

/// Without colours: weight and inversion stay.
fn colourless(frame: &mut Frame<'_>) {
    for cell in &mut frame.buffer_mut().content {
        (cell.fg, cell.bg) = (Color::Reset, Color::Reset);
    }
}
