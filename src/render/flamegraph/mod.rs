//! Flame graphs: how long (or how often) by lock and call stack, as an SVG that works offline.
//!
//! inferno draws; this room makes the stacks, the colours and the words. The same recording gives the same
//! picture to the byte.

mod colours;
mod differential;
mod folded;
mod tree;

use inferno::flamegraph as inferno;

use crate::analysis::{Contention, at_once};
use crate::model::Session;
use crate::render::names::{columns, fit_start};
use crate::render::style::printable;
use crate::render::text::growth;
use crate::render::units::{count, duration};

use differential::Differential;

pub(in crate::render) use folded::labels;
pub use folded::{Metric, Side, View};

/// What to draw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// How wide a frame is.
    pub metric: Metric,
    /// Whose stacks; the metric's own side without it.
    pub side: Option<Side>,
    /// The title in place of the usual one.
    pub title: Option<String>,
}

/// A picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// The SVG.
    pub svg: Vec<u8>,
    /// What the person should know about it: that there was nothing to draw, or that an option had no effect.
    pub notice: Option<String>,
}

/// Height of a frame and size of its text, px.
const FRAME_HEIGHT: usize = 18;
const FONT_SIZE: usize = 12;
/// Width where no script runs, px.
const WIDTH: usize = 1200;
/// Narrower frames are left out, percent.
const MIN_WIDTH_PERCENT: f64 = 0.02;

/// Characters of a subtitle that fit [`WIDTH`], and of the command in it.
const SUBTITLE_WIDTH: usize = 165;
const LEAST_COMMAND: usize = 16;
const MOST_COMMAND: usize = 60;

/// The folded stacks: `frame;frame;frame value` lines, sorted. Values are ns, or counts.
pub fn folded(session: &Session, contention: &Contention, options: &Options) -> String {
    let view = View::choose(options.metric, options.side);
    folded::fold(session, contention, view).stacks.lines().join("\n") + "\n"
}

/// The picture.
pub fn draw(session: &Session, contention: &Contention, options: &Options) -> Picture {
    let view = View::choose(options.metric, options.side);
    let mut folded = folded::fold(session, contention, view);
    let title = options.title.as_deref().map_or_else(|| view.title().to_owned(), printable);
    if folded.total == 0 {
        return told(&title, nothing(session, contention, view));
    }
    let (name, factor) = unit(view, folded.total);
    let subtitle = fitted(&subtitle(session, contention, view, folded.total));
    let figures = Figures { title, subtitle, name, factor };
    let lines = std::mem::take(&mut folded.stacks).drawn(least(folded.total)).lines();
    match svg(view, &folded, &lines, &figures) {
        Ok(svg) => Picture { svg, notice: None },
        Err(error) => told(&figures.title, format!("the flame graph could not be drawn: {error}")),
    }
}

/// A recording with its contention.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// The recording.
    pub session: &'a Session,
    /// Its contention, by class: classes are the same in both recordings.
    pub contention: &'a Contention,
}

/// The picture of `new` in which frames that grew since `old` are red and those that shrank are blue. Values of `old`
/// are multiplied by `scale` first.
pub fn draw_differential(old: Part<'_>, new: Part<'_>, scale: f64, options: &Options) -> Picture {
    let view = View::choose(options.metric, options.side);
    let fold = |part: Part<'_>| folded::fold(part.session, part.contention, view);
    let (before, mut folded) = at_once(|| fold(old), || fold(new));
    let both = Differential::of(before.stacks, std::mem::take(&mut folded.stacks), scale, least(folded.total));
    let title = options.title.as_deref().map_or_else(|| format!("{}: what changed", view.title()), printable);
    if folded.total == 0 {
        return told(&title, nothing(new.session, new.contention, view));
    }
    let (name, factor) = unit(view, folded.total);
    let amount = |value| if view.is_time() { duration(value) } else { count(value) };
    let (total, gone) = (both.total(), both.gone());
    let scaled = if scale == 1.0 { "not scaled".into() } else { format!("scaled by {scale:.4}") };
    let mut words = subtitle(new.session, new.contention, view, folded.total);
    // What the reader needs most comes before what may be cut.
    let rest = words.split_off(words.len().min(2));
    words.push(format!("before {}, {scaled} ({})", amount(total.old), growth(total.old, total.new)));
    words.push("red grew, blue shrank".into());
    words.extend((gone > 0).then(|| format!("not shown: {} that are gone", amount(gone))));
    words.extend(rest);
    let figures = Figures { title, subtitle: fitted(&words), name, factor };
    let lines = both.lines();
    match svg(view, &folded, &lines, &figures) {
        Ok(svg) => {
            let words = |value: u64| format!("{} {name}", count((value as f64 * factor).round() as u64));
            let svg = both.paint(&String::from_utf8_lossy(&svg), &lines, FRAME_HEIGHT, words);
            Picture { svg: svg.into_bytes(), notice: None }
        }
        Err(error) => told(&figures.title, format!("the flame graph could not be drawn: {error}")),
    }
}

/// Words and unit of a picture.
struct Figures {
    title: String,
    subtitle: String,
    /// The unit's name, and what to multiply values by.
    name: &'static str,
    factor: f64,
}

/// A picture of words.
fn told(title: &str, notice: String) -> Picture {
    Picture { svg: message(title, &notice).into_bytes(), notice: Some(notice) }
}

/// What frames are drawn at least. inferno leaves out the same ones, but takes its time to.
fn least(total: u64) -> f64 {
    MIN_WIDTH_PERCENT / 100.0 * total as f64
}

/// inferno's drawing of these lines, which are sorted.
fn svg(view: View, folded: &folded::Folded, lines: &[String], figures: &Figures) -> std::io::Result<Vec<u8>> {
    let mut palette = colours::palette(folded, lines);
    let mut drawing = inferno::Options::default();
    drawing.title.clone_from(&figures.title);
    drawing.subtitle = Some(figures.subtitle.clone());
    drawing.count_name = format!("{} {}", figures.name, view.verb());
    drawing.factor = figures.factor;
    drawing.name_type = String::new();
    drawing.frame_height = FRAME_HEIGHT;
    drawing.font_size = FONT_SIZE;
    drawing.font_type = "monospace".into();
    drawing.min_width = MIN_WIDTH_PERCENT;
    // The end of `engine::net::Connection<…>::flush` tells more than its beginning.
    drawing.text_truncate_direction = inferno::TextTruncateDirection::Left;
    drawing.bgcolors = Some(inferno::color::BackgroundColor::Flat(colours::BACKGROUND));
    drawing.uicolor = colours::TEXT;
    drawing.notes = "drawn by lockprof; the script is inferno's (CDDL-1.0)".into();
    drawing.palette_map = Some(&mut palette);
    drawing.no_sort = true;
    drawing.func_frameattrs = emphasis(folded);
    let mut svg = Vec::new();
    inferno::from_lines(&mut drawing, lines.iter().map(String::as_str), &mut svg)?;
    // inferno hides the search nearly.
    let faint = b"#search { text-anchor:end; opacity:0.1;";
    if let Some(at) = svg.windows(faint.len()).position(|text| text == faint) {
        svg[at + faint.len() - 2] = b'7';
    }
    Ok(svg)
}

/// Locks in bold.
fn emphasis(folded: &folded::Folded) -> inferno::FuncFrameAttrsMap {
    let lines: String =
        folded.locks.keys().map(|name| format!("{name}\tg_extra=style=\"font-weight:bold\"\n")).collect();
    // Read from memory, and a line that it does not understand is skipped.
    inferno::FuncFrameAttrsMap::from_reader(lines.as_bytes()).unwrap_or_default()
}

/// What is shown, of what, how much; the command comes first.
fn subtitle(session: &Session, contention: &Contention, view: View, total: u64) -> Vec<String> {
    let command = printable(&session.meta.command.join(" "));
    let amount = if view.is_time() { duration(total) } else { count(total) };
    let mut parts = vec![command, format!("{amount} {}", view.verb()), view.explain().to_owned()];
    let filter = contention.query.filter.describe();
    parts.extend((!filter.is_empty()).then(|| format!("only {}", filter.join(", "))));
    if contention.query.filter.min_wait_ns > 0 {
        parts.push(format!("locks waited for at least {}", duration(contention.query.filter.min_wait_ns)));
    }
    parts.iter_mut().for_each(|part| *part = printable(part));
    parts
}

/// The parts of a subtitle in one line that has room for them: the first one is shortened before the others are cut.
fn fitted(parts: &[String]) -> String {
    let length = |parts: &[String]| parts.iter().map(|part| columns(part) + 3).sum::<usize>();
    let Some((first, rest)) = parts.split_first() else { return String::new() };
    let room = SUBTITLE_WIDTH.saturating_sub(length(rest)).clamp(LEAST_COMMAND, MOST_COMMAND);
    let first = fit_start(first, room);
    let parts: Vec<&str> =
        std::iter::once(&first).chain(rest).map(String::as_str).filter(|part| !part.is_empty()).collect();
    fit_start(&parts.join(" · "), SUBTITLE_WIDTH)
}

/// The unit of tooltips: coarse enough to read, fine enough that the whole has at least five digits.
fn unit(view: View, total_ns: u64) -> (&'static str, f64) {
    match total_ns {
        _ if !view.is_time() => ("times", 1.0),
        10_000_000_000.. => ("ms", 1e-6),
        10_000_000.. => ("µs", 1e-3),
        _ => ("ns", 1.0),
    }
}

/// Why there is nothing to draw, and what to try.
fn nothing(session: &Session, contention: &Contention, view: View) -> String {
    let filtered = !contention.query.filter.is_empty();
    if let Some(reason) = super::text::nothing_seen(session) {
        return reason;
    }
    if filtered && contention.locks.is_empty() {
        return "no lock is left by the filter: `lockprof report` lists them all".into();
    }
    match view {
        View::Waits(_) | View::WaitCounts(_) => {
            "no contended acquisition: no thread had to wait; try --metric hold or --metric count".into()
        }
        View::Holds => "no lock was held; try --metric count".into(),
        View::Acquisitions => "no lock was taken".into(),
    }
}

/// A picture that says something.
fn message(title: &str, text: &str) -> String {
    let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let lines: String = super::style::wrap(text, 120, "", "")
        .lines()
        .enumerate()
        .map(|(at, line)| format!("<text x=\"600\" y=\"{}\" font-size=\"14\">{}</text>\n", 90 + 20 * at, escape(line)))
        .collect();
    format!(
        "<?xml version=\"1.0\" standalone=\"no\"?>\n\
         <svg version=\"1.1\" width=\"{WIDTH}\" height=\"160\" viewBox=\"0 0 {WIDTH} 160\" \
         xmlns=\"http://www.w3.org/2000/svg\" font-family=\"monospace\" text-anchor=\"middle\" fill=\"#222222\">\n\
         <rect x=\"0\" y=\"0\" width=\"100%\" height=\"160\" fill=\"#fafafa\"/>\n\
         <text x=\"600\" y=\"40\" font-size=\"17\">{}</text>\n{lines}</svg>\n",
        escape(title)
    )
}

#[cfg(test)]
mod tests;
