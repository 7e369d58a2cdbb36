//! Axes, and what stands between them, as SVG.

use std::fmt::Write as _;

use crate::report::escape::escape;

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 380.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 56.0;

/// A drawing over two axes.
pub(crate) struct Chart {
    x: (f64, f64),
    y: (f64, f64),
    body: String,
}

/// How the numbers of an axis are written.
pub(crate) type Format = fn(f64) -> String;

impl Chart {
    /// Axes that hold all of some points, with a little room around them.
    pub(crate) fn around(points: impl Iterator<Item = (f64, f64)>) -> Option<Chart> {
        let mut range: Option<[f64; 4]> = None;
        for (x, y) in points.filter(|(x, y)| x.is_finite() && y.is_finite()) {
            let [a, b, c, d] = range.unwrap_or([x, x, y, y]);
            range = Some([a.min(x), b.max(x), c.min(y), d.max(y)]);
        }
        let [a, b, c, d] = range?;
        let room = |low: f64, high: f64| {
            let span = if high > low {
                high - low
            } else {
                high.abs().max(1e-3)
            };
            (low - 0.05 * span, high + 0.05 * span)
        };
        let (low, high) = room(a, b);
        Some(Chart {
            // A cost below nothing says nothing.
            x: (if a >= 0.0 { low.max(0.0) } else { low }, high),
            y: room(c, d),
            body: String::new(),
        })
    }

    /// The same axes, their values no lower than one.
    pub(crate) fn cut_below(mut self, low: f64) -> Chart {
        self.y.0 = self.y.0.max(low.min(self.y.1 - 1e-6));
        self
    }

    fn at(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let share = |value: f64, (low, high): (f64, f64)| (value - low) / (high - low);
        let across = LEFT + share(x, self.x) * (WIDTH - LEFT - RIGHT);
        let down = HEIGHT - BOTTOM - share(y, self.y).clamp(0.0, 1.0) * (HEIGHT - TOP - BOTTOM);
        (across, down)
    }

    /// A dot that says what it is when pointed at.
    pub(crate) fn dot(&mut self, at: (f64, f64), class: &str, title: &str) {
        let (x, y) = self.at(at);
        // Writing to a string cannot fail.
        let _ = writeln!(
            self.body,
            "<circle class=\"dot {class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5\"><title>{}</title></circle>",
            escape(title)
        );
    }

    /// A line through points.
    pub(crate) fn line(&mut self, points: &[(f64, f64)], class: &str, title: &str) {
        let finite = points
            .iter()
            .filter(|(x, y)| x.is_finite() && y.is_finite());
        let places: Vec<String> = finite
            .map(|point| {
                let (x, y) = self.at(*point);
                format!("{x:.1},{y:.1}")
            })
            .collect();
        let _ = writeln!(
            self.body,
            "<polyline class=\"{class}\" points=\"{}\"><title>{}</title></polyline>",
            places.join(" "),
            escape(title)
        );
    }

    /// The element, with axes.
    pub(crate) fn svg(self, titles: [&str; 2], formats: [Format; 2], label: &str) -> String {
        let mut axes = String::new();
        let (right, floor) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for y in ticks(self.y) {
            let (_, down) = self.at((self.x.0, y));
            let _ = write!(
                axes,
                "<line class=\"ink-grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{down:.1}\" y2=\"{down:.1}\"/>\n\
                 <text class=\"ink-text\" text-anchor=\"end\" x=\"{:.1}\" y=\"{:.1}\">{}</text>\n",
                LEFT - 8.0,
                down + 5.0,
                escape(&formats[1](y))
            );
        }
        for x in ticks(self.x) {
            let (across, _) = self.at((x, self.y.0));
            let _ = write!(
                axes,
                "<line class=\"ink-axis\" x1=\"{across:.1}\" x2=\"{across:.1}\" y1=\"{floor}\" y2=\"{:.1}\"/>\n\
                 <text class=\"ink-text\" text-anchor=\"middle\" x=\"{across:.1}\" y=\"{:.1}\">{}</text>\n",
                floor + 5.0,
                floor + 21.0,
                escape(&formats[0](x))
            );
        }
        let middle = (TOP + floor) / 2.0;
        let _ = write!(
            axes,
            "<line class=\"ink-axis\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{floor}\" y2=\"{floor}\"/>\n\
             <text class=\"ink-text\" text-anchor=\"middle\" x=\"{:.1}\" y=\"{:.1}\">{}</text>\n\
             <text class=\"ink-text\" text-anchor=\"middle\" transform=\"translate(16 {middle:.1}) rotate(-90)\">{}</text>\n",
            (LEFT + right) / 2.0,
            HEIGHT - 10.0,
            escape(titles[0]),
            escape(titles[1])
        );
        format!(
            "<svg class=\"plot\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n{axes}{}</svg>\n",
            escape(label),
            self.body
        )
    }
}

/// Four to eight round numbers within a range.
fn ticks((low, high): (f64, f64)) -> Vec<f64> {
    let rough = (high - low) / 5.0;
    let unit = 10f64.powf(rough.log10().floor());
    let steps = [1.0, 2.0, 2.5, 5.0, 10.0];
    let fits = steps.into_iter().find(|step| step * unit >= rough);
    let step = fits.unwrap_or(10.0) * unit;
    let first = (low / step).ceil() as i64;
    (first..)
        .map(|n| n as f64 * step)
        .take_while(|x| *x <= high)
        .take(12)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::ticks;

    #[test]
    fn ticks_are_round_and_within() {
        assert_eq!(ticks((0.0, 10.0)), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(ticks((0.81, 0.89)).len(), 4);
    }
}
