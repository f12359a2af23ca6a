//! The lock-order graph as a picture that works offline: no script, no font of its own, light and dark.

use super::layers::{Item, Layers};
use super::places::{Centres, centres};
use super::routes::{Block, Point, Route, place_label};
use super::{Fitted, Options, Tone, facts, kind, story, tone};
use crate::analysis::order::{Graph, GraphEdge, GraphNode};
use crate::model::Session;
use crate::render::check::xml;
use crate::render::names::{columns, fit_end, fit_start};
use crate::render::style::printable;
use crate::render::units::{plural, short_count};

/// Height of a lock's box, px.
const HEIGHT: f64 = 40.0;
/// Between boxes of a row.
const GAP: f64 = 26.0;
/// Between a line on its way and a box, and between two lines.
const LINE_GAPS: [f64; 2] = [16.0, 13.0];
/// Room beside a box for an order of a class to itself.
const RING: f64 = 34.0;
/// Between rows, where few orders pass.
const ROW_GAP: f64 = 62.0;
/// A row is not wider than this where it can be split.
const WIDEST: f64 = 1500.0;
/// Left of the locks: the names of the levels.
const LEFT: f64 = 96.0;
const RIGHT: f64 = 30.0;
const TOP: f64 = 74.0;
/// Letters of the monospace font, px: 12 px and 11 px high ones.
const LETTER: f64 = 7.3;
const SMALL_LETTER: f64 = 6.7;
/// Letters of a name; the tooltip has all of it.
const NAME: usize = 34;
/// A narrower picture has no room for its heading.
const LEAST_WIDTH: f64 = 680.0;

const STYLE: &str = "\
.bg{fill:#ffffff}.band{fill:#f3f5f8}.band.odd{fill:#e9edf2}\
text{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;font-size:12px;fill:#1f2328}\
.title{font-size:16px;font-weight:bold}.dim{fill:#59636e;font-size:11px}.level{fill:#59636e}\
.lock rect{fill:#ffffff;stroke:#6e7781;stroke-width:1.2}.lock .name{font-weight:bold}\
.lock.looping rect{stroke:#c62828;stroke-width:2.4}\
.edge path{fill:none}.edge .line{stroke:#6e7781;stroke-width:1.4}.edge .hit{stroke:#000;stroke-opacity:0;stroke-width:11}\
.edge.quiet .line{stroke:#b26a00;stroke-width:1.8;stroke-dasharray:3 3}\
.edge.loud .line{stroke:#c62828;stroke-width:2.8;stroke-dasharray:9 4}\
.edge:hover .line{stroke-width:4}\
.count{font-size:11px;fill:#59636e;stroke:#f3f5f8;stroke-width:4px;paint-order:stroke;stroke-linejoin:round}\
.quiet .count{fill:#8a5200}.loud .count{fill:#b71c1c;font-weight:bold}\
.tip{fill:#6e7781}.tip.quiet{fill:#b26a00}.tip.loud{fill:#c62828}\
@media (prefers-color-scheme: dark){.bg{fill:#0d1117}.band{fill:#151b23}.band.odd{fill:#1c232d}text{fill:#e6edf3}\
.dim,.level{fill:#9198a1}.lock rect{fill:#0d1117;stroke:#9198a1}.lock.looping rect{stroke:#ff7b72}\
.edge .line{stroke:#9198a1}.edge.quiet .line{stroke:#e3a341}.edge.loud .line{stroke:#ff7b72}\
.count{fill:#9198a1;stroke:#151b23}.quiet .count{fill:#e3a341}.loud .count{fill:#ff7b72}\
.tip{fill:#9198a1}.tip.quiet{fill:#e3a341}.tip.loud{fill:#ff7b72}}";

/// The picture as a file of its own.
pub fn svg(session: &Session, fitted: &Fitted, options: &Options) -> String {
    let style = format!("<style>{STYLE}</style>\n");
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}", drawing(session, fitted, options, &style))
}

/// The picture as a part of a page, which has the style for it. Its ids begin with `order-`.
pub fn part(session: &Session, fitted: &Fitted, options: &Options) -> String {
    drawing(session, fitted, options, "")
}

fn drawing(session: &Session, fitted: &Fitted, options: &Options, style: &str) -> String {
    let graph = &fitted.graph;
    if graph.nodes.is_empty() {
        return nothing(options, style);
    }
    let sketch = Sketch::of(session, graph);
    let width = sketch.width.max(LEAST_WIDTH);
    let legend = legend(graph, fitted);
    let height = sketch.bottom + 26.0 + 18.0 * legend.len() as f64 + 12.0;
    let mut out = head(options, width, height, style);
    out.push_str(&format!(
        "<text x=\"24\" y=\"52\" class=\"dim\">{}</text>\n",
        xml(&fit_start(&facts(fitted, options), ((width - 48.0) / SMALL_LETTER) as usize))
    ));
    out.push_str(&sketch.bands(width));
    // Lines below boxes, cycles above other lines.
    let mut order: Vec<usize> = (0..graph.edges.len()).collect();
    order.sort_by_key(|at| (tone(&graph.edges[*at]), *at));
    let labels = sketch.labels(graph, &order);
    for at in &order {
        out.push_str(&line(session, graph, &graph.edges[*at], &sketch.routes[*at], labels[*at].as_ref()));
    }
    for (at, node) in graph.nodes.iter().enumerate() {
        out.push_str(&lock(session, graph, node, sketch.blocks[at]));
    }
    for (at, (tone, text)) in legend.iter().enumerate() {
        let y = sketch.bottom + 26.0 + 18.0 * at as f64;
        if let Some(tone) = tone {
            out.push_str(&format!(
                "<g class=\"edge{}\"><path class=\"line\" d=\"M24,{:.1} L72,{:.1}\" marker-end=\"url(#order-tip{})\"/></g>\n",
                class_of(*tone),
                y - 4.0,
                y - 4.0,
                class_of(*tone).trim()
            ));
        }
        let x = if tone.is_some() { 84 } else { 24 };
        out.push_str(&format!("<text x=\"{x}\" y=\"{y:.1}\" class=\"dim\">{}</text>\n", xml(text)));
    }
    out + "</svg>\n"
}

/// Everything with its place.
struct Sketch {
    layers: Layers,
    centres: Centres,
    /// By lock.
    blocks: Vec<Block>,
    /// By order.
    routes: Vec<Route>,
    /// Upper and lower edge of each row.
    rows: Vec<(f64, f64)>,
    width: f64,
    bottom: f64,
}

impl Sketch {
    fn of(session: &Session, graph: &Graph) -> Self {
        let ringed = |at: usize| graph.edges.iter().any(|edge| edge.from == edge.to && edge.from as usize == at);
        let box_widths: Vec<f64> = graph.nodes.iter().map(|node| box_width(session, node)).collect();
        let widths: Vec<f64> = (box_widths.iter().enumerate())
            .map(|(at, width)| width + if ringed(at) { 2.0 * RING } else { 0.0 })
            .collect();
        let layers = Layers::of(graph, &widths, GAP, WIDEST);
        let width_of = |item: Item| match item {
            Item::Node(at) => widths[at],
            Item::Bend(_) => 0.0,
        };
        let gap_of = |a: Item, b: Item| match (a, b) {
            (Item::Node(_), Item::Node(_)) => GAP,
            (Item::Bend(_), Item::Bend(_)) => LINE_GAPS[1],
            _ => LINE_GAPS[0],
        };
        let centres = centres(graph, &layers, &width_of, &gap_of);
        // More orders between two rows need more room, to tell them apart.
        let mut between = vec![0usize; layers.rows.len()];
        for edge in 0..graph.edges.len() {
            let stations = layers.stations(graph, edge);
            stations.windows(2).filter(|pair| pair[0].0 != pair[1].0).for_each(|pair| between[pair[0].0] += 1);
        }
        let mut rows = Vec::new();
        let mut y = TOP + 34.0;
        for passing in &between {
            rows.push((y, y + HEIGHT));
            y += HEIGHT + ROW_GAP + (*passing as f64 * 2.2).min(70.0);
        }
        let bottom = rows.last().map_or(y, |row| row.1 + 34.0);
        let x = |row: usize, item: Item| x_of(&layers, &centres, row, item);
        let blocks: Vec<Block> = (0..graph.nodes.len())
            .map(|at| {
                let row = layers.row_of[at];
                let centre = (x(row, Item::Node(at)), (rows[row].0 + rows[row].1) / 2.0);
                Block { centre, width: box_widths[at], height: HEIGHT }
            })
            .collect();
        let right = rightmost(&layers, &centres, &width_of);
        let width = LEFT + 24.0 + right + RIGHT;
        let mut sketch = Self { layers, centres, blocks, routes: Vec::new(), rows, width, bottom };
        sketch.routes = sketch.routes(graph);
        sketch
    }

    fn x(&self, row: usize, item: Item) -> f64 {
        x_of(&self.layers, &self.centres, row, item)
    }

    /// The lines, each to a port of its own at the boxes.
    fn routes(&self, graph: &Graph) -> Vec<Route> {
        let stations: Vec<_> = (0..graph.edges.len()).map(|edge| self.layers.stations(graph, edge)).collect();
        // Who leaves a box downwards, or comes to it from above, sorted by where the line goes.
        let mut ports: Vec<(bool, usize, f64, usize)> = Vec::new();
        for (edge, stations) in stations.iter().enumerate() {
            let last = stations.len() - 1;
            let [first, end] = [stations[0], stations[last]];
            if let ((_, Item::Node(upper)), (_, Item::Node(lower))) = (first, end)
                && first.0 != end.0
            {
                ports.push((true, upper, self.x(stations[1].0, stations[1].1), edge));
                ports.push((false, lower, self.x(stations[last - 1].0, stations[last - 1].1), edge));
            }
        }
        ports.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)).then(a.2.total_cmp(&b.2)).then(a.3.cmp(&b.3)));
        let port = |below: bool, node: usize, edge: usize| -> Point {
            let all: Vec<_> = ports.iter().filter(|port| port.0 == below && port.1 == node).collect();
            let at = all.iter().position(|port| port.3 == edge).unwrap_or(0) as f64;
            let block = self.blocks[node];
            let step = (block.width * 0.8 / all.len().max(1) as f64).min(26.0);
            let offset = (at - (all.len() as f64 - 1.0) / 2.0) * step;
            (block.centre.0 + offset, block.centre.1 + if below { HEIGHT / 2.0 } else { -HEIGHT / 2.0 })
        };
        (graph.edges.iter().enumerate())
            .map(|(at, edge)| {
                let (from, to) = (edge.from as usize, edge.to as usize);
                if from == to {
                    let block = self.blocks[from];
                    return Route::ring((block.centre.0 + block.width / 2.0, block.centre.1), RING);
                }
                if self.layers.row_of[from] == self.layers.row_of[to] {
                    let side = if self.blocks[from].centre.0 < self.blocks[to].centre.0 { 1.0 } else { -1.0 };
                    let top = |node: usize, sign: f64| {
                        let block = self.blocks[node];
                        (block.centre.0 + sign * block.width / 4.0, block.centre.1 - HEIGHT / 2.0)
                    };
                    let (a, b) = (top(from, side), top(to, -side));
                    return Route::arc(a, b, 26.0 + (a.0 - b.0).abs().min(400.0) * 0.05);
                }
                let down = self.layers.row_of[from] < self.layers.row_of[to];
                let (upper, lower) = if down { (from, to) } else { (to, from) };
                let mut points = vec![port(true, upper, at)];
                for (row, item) in &stations[at][1..stations[at].len() - 1] {
                    let x = self.x(*row, *item);
                    points.extend([(x, self.rows[*row].0 - 6.0), (x, self.rows[*row].1 + 6.0)]);
                }
                points.push(port(false, lower, at));
                let route = Route::through(&points);
                if down { route } else { route.reversed() }
            })
            .collect()
    }

    /// Room for each order's label, the loud ones first.
    fn labels(&self, graph: &Graph, order: &[usize]) -> Vec<Option<(Block, String)>> {
        let mut taken: Vec<Block> = self.blocks.clone();
        let points: Vec<Vec<Point>> = self.routes.iter().map(|route| route.points().collect()).collect();
        let mut labels = vec![None; graph.edges.len()];
        for at in order.iter().rev() {
            let edge = &graph.edges[*at];
            let others: Vec<Point> = (points.iter().enumerate())
                .filter(|(other, _)| other != at)
                .flat_map(|(_, points)| points.iter().copied())
                .collect();
            let mut texts = vec![format!("{}×", short_count(edge.count))];
            texts.extend(edge.cycle.map(|class| format!("{}× {}", short_count(edge.count), class.name())));
            labels[*at] = texts.into_iter().rev().find_map(|text| {
                let width = columns(&text) as f64 * SMALL_LETTER + 4.0;
                let block = place_label(&self.routes[*at], width, 14.0, &taken, &others)?;
                Some((block, text))
            });
            taken.extend(labels[*at].as_ref().map(|(block, _)| *block));
        }
        labels
    }

    /// A band behind each level, with its name.
    fn bands(&self, width: f64) -> String {
        let mut out = String::new();
        let mut levels: Vec<(u32, f64, f64)> = Vec::new();
        for (level, row) in self.layers.levels.iter().zip(&self.rows) {
            match levels.last_mut() {
                Some(last) if last.0 == *level => last.2 = row.1,
                _ => levels.push((*level, row.0, row.1)),
            }
        }
        for (at, (level, top, bottom)) in levels.iter().enumerate() {
            let odd = if at % 2 == 1 { " odd" } else { "" };
            let (top, bottom) = (top - 18.0, bottom + 18.0);
            out.push_str(&format!(
                "<rect class=\"band{odd}\" x=\"12\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"6\"/>\n\
                 <text class=\"level\" x=\"24\" y=\"{:.1}\">level {level}</text>\n",
                width - 24.0,
                bottom - top,
                top + 22.0
            ));
        }
        out
    }
}

fn x_of(layers: &Layers, centres: &Centres, row: usize, item: Item) -> f64 {
    let place = layers.rows[row].iter().position(|other| *other == item).unwrap_or(0);
    LEFT + 24.0 + centres[row][place]
}

fn rightmost(layers: &Layers, centres: &Centres, width: &dyn Fn(Item) -> f64) -> f64 {
    let ends = layers.rows.iter().zip(centres);
    ends.flat_map(|(row, centres)| row.iter().zip(centres).map(|(item, x)| x + width(*item) / 2.0)).fold(0.0, f64::max)
}

fn box_width(session: &Session, node: &GraphNode) -> f64 {
    let name = columns(&fit_end(&printable(&node.name), NAME)) as f64 * LETTER;
    let kind = columns(&kind(session, node)) as f64 * SMALL_LETTER;
    name.max(kind) + 24.0
}

fn class_of(tone: Tone) -> &'static str {
    match tone {
        Tone::Plain => "",
        Tone::Quiet => " quiet",
        Tone::Loud => " loud",
    }
}

fn line(session: &Session, graph: &Graph, edge: &GraphEdge, route: &Route, label: Option<&(Block, String)>) -> String {
    let (class, path) = (class_of(tone(edge)), route.path());
    let label = label.map_or_else(String::new, |(block, text)| {
        let (x, y) = (block.centre.0, block.centre.1 + 4.0);
        format!("<text class=\"count\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{}</text>", xml(text))
    });
    format!(
        "<g class=\"edge{class}\"><title>{}</title><path class=\"line\" d=\"{path}\" marker-end=\"url(#order-tip{})\"/>\
         <path class=\"hit\" d=\"{path}\"/>{label}</g>\n",
        xml(&story(session, graph, edge)),
        class.trim()
    )
}

fn lock(session: &Session, graph: &Graph, node: &GraphNode, block: Block) -> String {
    let (x, y) = (block.centre.0 - block.width / 2.0, block.centre.1 - HEIGHT / 2.0);
    let looping = if node.component.is_some() { " looping" } else { "" };
    let at = graph.nodes.iter().position(|other| std::ptr::eq(other, node)).unwrap_or(0);
    let over = graph.edges.iter().filter(|edge| edge.from as usize == at).count() as u64;
    let under = graph.edges.iter().filter(|edge| edge.to as usize == at).count() as u64;
    let title = format!(
        "{}\n{}, level {}\ntaken under {}; {} taken under it",
        printable(&node.name),
        kind(session, node),
        node.level,
        plural(under, "other", "others"),
        over
    );
    format!(
        "<g class=\"lock{looping}\"><title>{}</title>\
         <rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{HEIGHT:.1}\" rx=\"6\"/>\
         <text class=\"name\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
         <text class=\"dim\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text></g>\n",
        xml(&title),
        block.width,
        block.centre.0,
        block.centre.1 - 3.0,
        xml(&fit_end(&printable(&node.name), NAME)),
        block.centre.0,
        block.centre.1 + 13.0,
        xml(&kind(session, node))
    )
}

/// What the lines mean, as far as they occur.
fn legend(graph: &Graph, fitted: &Fitted) -> Vec<(Option<Tone>, String)> {
    let has = |wanted: Tone| graph.edges.iter().any(|edge| tone(edge) == wanted);
    let mut legend = Vec::new();
    for (wanted, text) in [
        (Tone::Plain, "the lower lock was taken while the upper one was held, so many times"),
        (Tone::Quiet, "part of a cycle that does not fail `lockprof check`"),
        (Tone::Loud, "part of a cycle that can deadlock: `lockprof check` tells how"),
    ] {
        if has(wanted) {
            legend.push((Some(wanted), text.to_owned()));
        }
    }
    if let Some(notice) = fitted.notice() {
        legend.extend(crate::render::style::wrap(&notice, 96, "", "").lines().map(|line| (None, line.to_owned())));
    }
    legend
}

fn head(options: &Options, width: f64, height: f64, style: &str) -> String {
    let title = xml(&fit_start(&printable(&options.title), ((width - 48.0) / 9.8) as usize));
    let tips: String = ["", "quiet", "loud"]
        .iter()
        .map(|class| {
            format!(
                "<marker id=\"order-tip{class}\" viewBox=\"0 0 10 10\" refX=\"9\" refY=\"5\" markerWidth=\"10\" \
                 markerHeight=\"10\" markerUnits=\"userSpaceOnUse\" orient=\"auto\">\
                 <path class=\"tip {class}\" d=\"M0,0.5 L10,5 L0,9.5 z\"/></marker>"
            )
        })
        .collect();
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" aria-label=\"{title}\">\n\
         {style}<defs>{tips}</defs>\n\
         <rect class=\"bg\" x=\"0\" y=\"0\" width=\"100%\" height=\"100%\"/>\n\
         <text x=\"24\" y=\"32\" class=\"title\">{title}</text>\n"
    )
}

/// A picture that says that there is nothing to see, and why.
fn nothing(options: &Options, style: &str) -> String {
    let text = if options.cycles_only {
        "No cycle: every lock is only ever taken in one order. Without --cycles-only the whole hierarchy is drawn."
    } else {
        "No lock was asked for while another one was held: there is no order to draw."
    };
    let width = (columns(text) as f64 * LETTER + 48.0).max(LEAST_WIDTH);
    format!("{}<text x=\"24\" y=\"64\">{}</text>\n</svg>\n", head(options, width, 96.0, style), xml(text))
}
