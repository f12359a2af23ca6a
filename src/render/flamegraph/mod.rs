//! Flame graphs: how long (or how often) by lock and call stack, as an SVG that works offline.
//!
//! inferno draws; this room makes the stacks, the colours and the words. The same recording gives the same
//! picture to the byte.

mod colours;
mod folded;

use inferno::flamegraph as inferno;

use crate::analysis::Contention;
use crate::model::Session;
use crate::render::paint::printable;
use crate::render::units::{count, duration};

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

/// The folded stacks: `frame;frame;frame value` lines, sorted. Values are ns, or counts.
pub fn folded(session: &Session, contention: &Contention, options: &Options) -> String {
    let view = View::choose(options.metric, options.side);
    folded::fold(session, contention, view).lines.join("\n") + "\n"
}

/// The picture.
pub fn draw(session: &Session, contention: &Contention, options: &Options) -> Picture {
    let view = View::choose(options.metric, options.side);
    let folded = folded::fold(session, contention, view);
    let title = options.title.as_deref().map_or_else(|| view.title().to_owned(), printable);
    if folded.total == 0 {
        let notice = nothing(session, contention, view);
        return Picture { svg: message(&title, &notice).into_bytes(), notice: Some(notice) };
    }
    let (unit, factor) = unit(view, folded.total);
    let mut palette = colours::palette(&folded);
    let mut drawing = inferno::Options::default();
    drawing.title = title;
    drawing.subtitle = Some(subtitle(session, contention, view, folded.total));
    drawing.count_name = format!("{unit} {}", view.verb());
    drawing.factor = factor;
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
    drawing.func_frameattrs = emphasis(&folded);
    let mut svg = Vec::new();
    match inferno::from_lines(&mut drawing, folded.lines.iter().map(String::as_str), &mut svg) {
        Ok(()) => Picture { svg, notice: view.notice(options.side) },
        Err(error) => {
            let notice = format!("the flame graph could not be drawn: {error}");
            Picture { svg: message(view.title(), &notice).into_bytes(), notice: Some(notice) }
        }
    }
}

/// Locks in bold.
fn emphasis(folded: &folded::Folded) -> inferno::FuncFrameAttrsMap {
    let lines: String =
        folded.locks.keys().map(|name| format!("{name}\tg_extra=style=\"font-weight:bold\"\n")).collect();
    // Read from memory, and a line that it does not understand is skipped.
    inferno::FuncFrameAttrsMap::from_reader(lines.as_bytes()).unwrap_or_default()
}

/// What is shown, of what, how much.
fn subtitle(session: &Session, contention: &Contention, view: View, total: u64) -> String {
    let command = printable(&session.meta.command.join(" "));
    let command: String =
        if command.chars().count() > 60 { command.chars().take(59).chain(['…']).collect() } else { command };
    let amount = if view.is_time() { duration(total) } else { count(total) };
    let mut parts = vec![command, format!("{amount} {}", view.verb()), view.explain().to_owned()];
    let filter = contention.query.filter.describe();
    parts.extend((!filter.is_empty()).then(|| format!("only {}", filter.join(", "))));
    if contention.query.filter.min_wait_ns > 0 {
        parts.push(format!("locks waited for at least {}", duration(contention.query.filter.min_wait_ns)));
    }
    parts.retain(|part| !part.is_empty());
    printable(&parts.join(" · "))
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
    let lines: String = super::paint::wrap(text, 120, "", "")
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
mod tests {
    use super::*;
    use crate::analysis::Query;
    use crate::analysis::testing::{Builder, busy, empty, server};
    use crate::model::{Kind, Mode};
    use crate::render::golden;

    fn options(metric: Metric, side: Option<Side>) -> Options {
        Options { metric, side, title: None }
    }

    fn view(session: &Session) -> Contention {
        Contention::of(session, &Query::default())
    }

    #[test]
    fn golden_stacks() {
        let session = server();
        for (name, metric, side) in [
            ("wait-waiter", Metric::Wait, None),
            ("wait-holder", Metric::Wait, Some(Side::Holder)),
            ("wait-both", Metric::Wait, Some(Side::Both)),
            ("count-both", Metric::Count, Some(Side::Both)),
            ("count", Metric::Count, None),
            ("hold", Metric::Hold, None),
        ] {
            let text = folded(&session, &view(&session), &options(metric, side));
            golden::check(&format!("folded-{name}.txt"), &text);
        }
    }

    #[test]
    fn values_are_those_of_the_report() {
        let session = server();
        let contention = view(&session);
        let sum = |metric, side| -> u64 {
            let text = folded(&session, &contention, &options(metric, side));
            text.lines().map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum()
        };
        let totals = contention.contention;
        for side in [Side::Waiter, Side::Holder, Side::Both] {
            assert_eq!(sum(Metric::Wait, Some(side)), totals.wait_ns);
            assert_eq!(sum(Metric::Count, Some(side)), totals.contended);
        }
        assert_eq!(sum(Metric::Hold, None), totals.hold_ns);
        assert_eq!(sum(Metric::Count, None), totals.acquisitions);
    }

    #[test]
    fn the_same_to_the_byte_and_well_formed() {
        let session = server();
        let both = options(Metric::Wait, Some(Side::Both));
        let picture = draw(&session, &view(&session), &both);
        assert_eq!(picture, draw(&session, &view(&session), &both));
        let svg = String::from_utf8(picture.svg).unwrap();
        assert!(svg.contains("Who waited for whom") && svg.contains(">journal.mu (") && svg.ends_with("</svg>"));
        assert_eq!(picture.notice, None);
    }

    #[test]
    fn nothing_to_draw_is_said_in_the_picture() {
        let picture = draw(&empty(), &view(&empty()), &Options::default());
        let svg = String::from_utf8(picture.svg).unwrap();
        assert!(svg.contains("No lock operation was seen") && svg.ends_with("</svg>\n"));
        assert!(picture.notice.is_some());

        let mut b = Builder::new();
        let (lock, thread) = (b.lock("quiet", Kind::Mutex), b.thread("t"));
        let stack = b.stack(&[("main", "", 0)]);
        b.take(lock, thread, stack, Mode::Exclusive, 3, 10);
        let picture = draw(&b.session, &view(&b.session), &Options::default());
        assert!(picture.notice.unwrap().contains("try --metric hold"));
        let held = draw(&b.session, &view(&b.session), &options(Metric::Hold, Some(Side::Both)));
        assert!(held.notice.unwrap().contains("--by has no effect"));
    }

    #[test]
    fn odd_names_do_no_harm() {
        let mut b = Builder::new();
        let (lock, thread) = (b.lock("# a;b <c> & \"d\" 7", Kind::Mutex), b.thread("t"));
        let odd = b.stack(&[("-", "", 0), ("f;g\u{1b}[31m", "", 0), ("x 12", "", 0), ("", "", 0), ("y_[k]", "", 0)]);
        b.wait(lock, thread, odd, Mode::Exclusive, 1000, 10, Some((thread, odd)));
        for side in [Side::Waiter, Side::Holder, Side::Both] {
            let picture = draw(&b.session, &view(&b.session), &options(Metric::Wait, Some(side)));
            assert_eq!(picture.notice, None);
            let svg = String::from_utf8(picture.svg).unwrap();
            assert!(!svg.contains('\u{1b}') && svg.contains("a:b &lt;c&gt; &amp;"));
            assert!(svg.contains("(1,000 ns waited"));
        }
    }

    /// Pictures to look at: `cargo test pictures -- --ignored` writes them to the target folder.
    #[test]
    #[ignore = "writes files for people to look at"]
    fn pictures() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/pictures");
        std::fs::create_dir_all(&folder).unwrap();
        let session = server();
        for (name, metric, side) in [
            ("waiter", Metric::Wait, None),
            ("holder", Metric::Wait, Some(Side::Holder)),
            ("both", Metric::Wait, Some(Side::Both)),
            ("hold", Metric::Hold, None),
            ("count", Metric::Count, None),
        ] {
            let picture = draw(&session, &view(&session), &options(metric, side));
            std::fs::write(folder.join(format!("{name}.svg")), picture.svg).unwrap();
        }
        let session = busy();
        for side in [Side::Waiter, Side::Holder, Side::Both] {
            let picture = draw(&session, &view(&session), &options(Metric::Wait, Some(side)));
            std::fs::write(folder.join(format!("busy-{side:?}.svg")), picture.svg).unwrap();
        }
        let quiet = draw(&empty(), &view(&empty()), &Options::default());
        std::fs::write(folder.join("empty.svg"), quiet.svg).unwrap();
    }
}
