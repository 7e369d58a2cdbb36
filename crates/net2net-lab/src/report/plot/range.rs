//! Which part of the axes to show. The first evaluations from random weights would squeeze all differences into a
//! corner, so the bad end of the value axis is cut, and the reader told.

use super::curve::{Curve, Point};
use crate::report::record::Kind;

/// The share of all evaluations that may fall to the cut.
const CUT: f64 = 0.12;

/// Free space beyond the outermost value, as a share of the range.
const MARGIN: f64 = 0.05;

/// The bad end of the value axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Accuracies: the low ones are cut.
    Low,
    /// Losses: the high ones are cut.
    High,
}

/// What the axes show.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    /// The end of the cost axis, which starts at zero.
    pub x_end: f64,
    /// The lowest value shown.
    pub low: f64,
    /// The highest value shown.
    pub high: f64,
    /// Means of evaluations beyond the cut.
    pub hidden: usize,
}

impl Range {
    /// The range for curves and the teacher's level; none without a point.
    ///
    /// Net2Net's own curve and the teacher's level are never cut: the dip after growth is part of the story.
    pub fn of(curves: &[Curve], teacher: Option<f64>, cut: Side) -> Option<Self> {
        // With the bad end turned low, there is one case: the negated losses.
        let sign = if cut == Side::Low { 1.0 } else { -1.0 };
        let points = || curves.iter().flat_map(|curve| &curve.points);
        let net2net = curves
            .iter()
            .filter(|c| c.kind == Kind::Net2net && !c.diverged);
        let kept = net2net
            .flat_map(|c| &c.points)
            .map(|p| sign * p.mean)
            .chain(teacher.map(|t| sign * t));

        let mut values: Vec<f64> = points().map(|p| sign * p.mean).collect();
        values.sort_by(f64::total_cmp);
        let quantile = *values.get((values.len() as f64 * CUT) as usize)?;
        let worst = kept.fold(quantile, f64::min);
        let best = points()
            .map(|p| best(p, cut))
            .chain(teacher.map(|t| sign * t))
            .fold(worst, f64::max);
        // A flat line still needs an axis around it.
        let margin = ((best - worst) * MARGIN).max(1e-3);

        let bad_end = worst - margin;
        let hidden = values.iter().filter(|value| **value < bad_end).count();
        let (low, high) = match cut {
            Side::Low => (bad_end.max(0.0), (best + margin).min(1.0)),
            Side::High => ((-best - margin).max(0.0), -bad_end),
        };
        let x_end = points().map(|p| p.x).fold(0.0, f64::max);
        let x_end = if x_end > 0.0 { x_end * 1.01 } else { 1.0 };
        Some(Self {
            x_end,
            low,
            high,
            hidden,
        })
    }

    /// A line cut into the pieces that are within the range, with the points where it crosses the edge.
    pub fn clip(&self, line: &[(f64, f64)]) -> Vec<Vec<(f64, f64)>> {
        let inside = |y: f64| (self.low..=self.high).contains(&y);
        let mut pieces = vec![Vec::new()];
        for (i, &(x, y)) in line.iter().enumerate() {
            if let Some(&before) = i.checked_sub(1).and_then(|i| line.get(i))
                && inside(before.1) != inside(y)
            {
                let edge = self.crossing(before, (x, y));
                if inside(y) {
                    pieces.push(vec![edge]);
                } else if let Some(piece) = pieces.last_mut() {
                    piece.push(edge);
                }
            }
            if let Some(piece) = pieces.last_mut().filter(|_| inside(y)) {
                piece.push((x, y));
            }
        }
        pieces.retain(|piece| !piece.is_empty());
        pieces
    }

    /// Where the way from a point inside to one outside, or back, crosses the edge.
    fn crossing(&self, a: (f64, f64), b: (f64, f64)) -> (f64, f64) {
        let edge = if a.1.min(b.1) < self.low {
            self.low
        } else {
            self.high
        };
        let share = (edge - a.1) / (b.1 - a.1);
        (a.0 + share * (b.0 - a.0), edge)
    }
}

fn best(point: &Point, cut: Side) -> f64 {
    match cut {
        Side::Low => point.high,
        Side::High => -point.low,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(kind: Kind, ys: &[f64]) -> Curve {
        let point = |(i, y): (usize, &f64)| Point {
            x: i as f64,
            mean: *y,
            low: *y,
            high: *y,
        };
        Curve {
            kind,
            points: ys.iter().enumerate().map(point).collect(),
            diverged: false,
        }
    }

    #[test]
    fn first_points_of_scratch_are_cut_and_counted() {
        let scratch = curve(
            Kind::Scratch,
            &[0.1, 0.6, 0.65, 0.7, 0.75, 0.78, 0.8, 0.8, 0.8, 0.8],
        );
        let range = Range::of(&[scratch], Some(0.66), Side::Low).unwrap();
        assert_eq!(range.hidden, 1);
        assert!(
            (range.low - 0.59).abs() < 1e-9 && (range.high - 0.81).abs() < 1e-9,
            "{range:?}"
        );
    }

    #[test]
    fn the_dip_of_net2net_is_never_cut() {
        let dip = curve(
            Kind::Net2net,
            &[0.7, 0.3, 0.75, 0.76, 0.77, 0.78, 0.78, 0.79, 0.8, 0.8],
        );
        assert_eq!(Range::of(&[dip], None, Side::Low).unwrap().hidden, 0);
    }

    #[test]
    fn lines_are_clipped_at_the_edge() {
        let range = Range {
            x_end: 4.0,
            low: 0.5,
            high: 1.0,
            hidden: 1,
        };
        let pieces = range.clip(&[(0.0, 0.0), (1.0, 1.0), (2.0, 0.75), (3.0, 0.25)]);
        assert_eq!(
            pieces,
            [vec![(0.5, 0.5), (1.0, 1.0), (2.0, 0.75), (2.5, 0.5)]]
        );
    }
}
