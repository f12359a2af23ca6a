//! The lines of orders, and where there is room for their labels.

/// A point.
pub(super) type Point = (f64, f64);

/// A smooth line through points: cubic pieces.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Route {
    /// Where it begins.
    pub start: Point,
    /// Two handles and an end for each piece.
    pub pieces: Vec<[Point; 3]>,
}

impl Route {
    /// Through points that follow each other downwards (or upwards): it passes each of them vertically.
    pub(super) fn through(points: &[Point]) -> Self {
        let pieces = points.windows(2).map(|pair| {
            let (a, b) = (pair[0], pair[1]);
            let reach = (b.1 - a.1) / 2.0;
            [(a.0, a.1 + reach), (b.0, b.1 - reach), b]
        });
        Self { start: points[0], pieces: pieces.collect() }
    }

    /// An arc above two locks of one row.
    pub(super) fn arc(from: Point, to: Point, rise: f64) -> Self {
        Self { start: from, pieces: vec![[(from.0, from.1 - rise), (to.0, to.1 - rise), to]] }
    }

    /// A loop at the right side of a box, as wide as told.
    pub(super) fn ring(side: Point, width: f64) -> Self {
        let (x, y) = side;
        let handle = x + width * 1.3;
        Self { start: (x, y - 7.0), pieces: vec![[(handle, y - 20.0), (handle, y + 20.0), (x, y + 7.0)]] }
    }

    /// From its end to its start.
    pub(super) fn reversed(&self) -> Self {
        let mut points = vec![self.start];
        points.extend(self.pieces.iter().flatten());
        points.reverse();
        Self { start: points[0], pieces: points[1..].chunks(3).map(|three| [three[0], three[1], three[2]]).collect() }
    }

    /// The `d` of an SVG path.
    pub(super) fn path(&self) -> String {
        let mut out = format!("M{:.1},{:.1}", self.start.0, self.start.1);
        for [a, b, c] in &self.pieces {
            out.push_str(&format!(" C{:.1},{:.1} {:.1},{:.1} {:.1},{:.1}", a.0, a.1, b.0, b.1, c.0, c.1));
        }
        out
    }

    /// Points all along the line.
    pub(super) fn points(&self) -> impl Iterator<Item = Point> + '_ {
        let steps = self.pieces.len() * 14;
        (0..=steps).map(move |at| self.at(at as f64 / steps as f64))
    }

    /// The point at this share of the way, 0 to 1.
    pub(super) fn at(&self, share: f64) -> Point {
        let scaled = share.clamp(0.0, 1.0) * self.pieces.len() as f64;
        let piece = (scaled as usize).min(self.pieces.len().saturating_sub(1));
        let t = scaled - piece as f64;
        let start = if piece == 0 { self.start } else { self.pieces[piece - 1][2] };
        let [a, b, c] = self.pieces[piece];
        let mix = |of: fn(Point) -> f64| {
            let u = 1.0 - t;
            u * u * u * of(start) + 3.0 * u * u * t * of(a) + 3.0 * u * t * t * of(b) + t * t * t * of(c)
        };
        (mix(|point| point.0), mix(|point| point.1))
    }
}

/// A box: centre, width, height.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Block {
    pub centre: Point,
    pub width: f64,
    pub height: f64,
}

impl Block {
    fn covers(&self, point: Point) -> bool {
        (self.centre.0 - point.0).abs() < self.width / 2.0 && (self.centre.1 - point.1).abs() < self.height / 2.0
    }

    pub(super) fn overlaps(&self, other: &Self) -> bool {
        (self.centre.0 - other.centre.0).abs() < (self.width + other.width) / 2.0
            && (self.centre.1 - other.centre.1).abs() < (self.height + other.height) / 2.0
    }
}

/// Where on the line, or right beside it, a label of this size overlaps no block and as few other lines as may be;
/// `others` are points of these. `None` where there is no such place.
pub(super) fn place_label(route: &Route, width: f64, height: f64, taken: &[Block], others: &[Point]) -> Option<Block> {
    const SHARES: [f64; 13] = [0.5, 0.42, 0.58, 0.34, 0.66, 0.26, 0.74, 0.2, 0.8, 0.15, 0.85, 0.11, 0.89];
    /// What it costs to go on to the next share, to leave the line, and to cover a point of another one.
    const COSTS: (f64, f64, f64) = (0.1, 0.5, 1.0);
    let mut best: Option<(f64, Block)> = None;
    for (rank, share) in SHARES.into_iter().enumerate() {
        let on_line = route.at(share);
        for (side, leaves) in [(0.0, 0.0), (width / 2.0 + 5.0, 1.0), (-width / 2.0 - 5.0, 1.0)] {
            let block = Block { centre: (on_line.0 + side, on_line.1), width, height };
            if taken.iter().any(|other| other.overlaps(&block)) {
                continue;
            }
            let covered = others.iter().filter(|point| block.covers(**point)).count();
            let cost = rank as f64 * COSTS.0 + leaves * COSTS.1 + covered as f64 * COSTS.2;
            if best.as_ref().is_none_or(|(least, _)| cost < *least) {
                best = Some((cost, block));
            }
        }
    }
    best.map(|(_, block)| block)
}
