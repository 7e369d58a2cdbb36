//! The drawing itself, with plotters.

use plotters::chart::ChartContext;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::Figure;
use super::curve::Curve;
use super::ink::{Ink, dress};
use super::range::Range;
use crate::report::escape::escape;
use crate::report::format::{percent, si_scale};
use crate::report::record::Kind;

/// The size in CSS pixels; the page scales it.
const SIZE: (u32, u32) = (560, 380);
const FONT: (&str, i32) = ("sans-serif", 18);
/// Room on the right for the label of the teacher's level.
const RIGHT: u32 = 68;

type Backend<'a> = SVGBackend<'a>;
type Chart<'a, 'b> = ChartContext<
    'b,
    Backend<'a>,
    Cartesian2d<plotters::coord::types::RangedCoordf64, plotters::coord::types::RangedCoordf64>,
>;

/// Draws the curves and labels the element for screen readers.
pub fn svg(
    figure: Figure,
    curves: &[Curve],
    teacher: Option<f64>,
    range: &Range,
    label: &str,
) -> Result<String, String> {
    let mut text = String::new();
    {
        let root = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        draw(&root, figure, curves, teacher, range).map_err(|error| error.to_string())?;
        root.present().map_err(|error| error.to_string())?;
    }
    let body = text.find('>').map_or("", |end| &text[end + 1..]);
    let open = format!(
        "<svg class=\"plot\" viewBox=\"0 0 {} {}\" preserveAspectRatio=\"xMinYMin\" role=\"img\" aria-label=\"{}\">",
        SIZE.0,
        SIZE.1,
        escape(label)
    );
    Ok(open + &dress(body))
}

type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

fn draw(
    root: &DrawingArea<Backend<'_>, Shift>,
    figure: Figure,
    curves: &[Curve],
    teacher: Option<f64>,
    range: &Range,
) -> Drawn {
    let cost = CostAxis::of(figure, range.x_end);
    let mut chart = ChartBuilder::on(root)
        .margin_top(10)
        .margin_right(RIGHT)
        .x_label_area_size(58)
        .y_label_area_size(82)
        .build_cartesian_2d(0.0..range.x_end / cost.unit, range.low..range.high)?;
    draw_axes(&mut chart, figure, &cost)?;

    // Net2Net comes first in every list and last on the drawing, on top of the others.
    for curve in curves.iter().rev() {
        draw_band(&mut chart, curve, range, cost.unit)?;
    }
    if let Some(level) = teacher {
        draw_level(root, &mut chart, figure, level, range.x_end / cost.unit)?;
    }
    for curve in curves.iter().rev() {
        draw_line(&mut chart, curve, range, cost.unit)?;
    }
    Ok(())
}

/// The unit that keeps the numbers of the cost axis short.
struct CostAxis {
    unit: f64,
    title: String,
}

impl CostAxis {
    fn of(figure: Figure, end: f64) -> Self {
        let (unit, title) = match figure {
            Figure::AccuracyFlops => {
                let (scaled, prefix) = si_scale(end);
                let unit = end / scaled;
                let of = match prefix {
                    "" => String::new(),
                    prefix => format!(
                        " ({prefix}, 10{})",
                        superscript(unit.log10().round() as u32)
                    ),
                };
                (unit, format!("training FLOPs{of}"))
            }
            _ => {
                let (unit, name) = match end {
                    e if e >= 18_000.0 => (3_600.0, "h"),
                    e if e >= 1_800.0 => (60.0, "min"),
                    _ => (1.0, "s"),
                };
                let whose = if figure == Figure::AccuracyWithTeacher {
                    ", teacher's first"
                } else {
                    ""
                };
                (unit, format!("training time{whose} ({name})"))
            }
        };
        Self { unit, title }
    }
}

fn superscript(number: u32) -> String {
    const DIGITS: [char; 10] = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
    let digits = number.to_string();
    digits
        .chars()
        .filter_map(|c| c.to_digit(10))
        .map(|d| DIGITS[d as usize])
        .collect()
}

fn draw_axes(chart: &mut Chart<'_, '_>, figure: Figure, cost: &CostAxis) -> Drawn {
    let text = FONT.into_font().color(&Ink::Text.marker());
    let value_title = match figure {
        Figure::LossSeconds => "validation loss",
        Figure::CopiesSeconds => "distance of copies",
        _ => "validation accuracy",
    };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .max_light_lines(0)
        .bold_line_style(Ink::Grid.marker())
        .axis_style(Ink::Axis.marker())
        .label_style(text.clone())
        .axis_desc_style(text)
        .x_desc(cost.title.clone())
        .y_desc(value_title)
        .x_labels(7)
        .y_labels(7)
        .y_label_formatter(&|y| {
            if figure.is_accuracy() {
                tick_percent(*y)
            } else {
                tick(*y)
            }
        })
        .x_label_formatter(&|x| tick(*x))
        .draw()
}

fn tick_percent(share: f64) -> String {
    format!("{} %", tick(share * 100.0))
}

/// A round number without the noise of binary fractions.
fn tick(value: f64) -> String {
    let rounded = (value * 1e4).round() / 1e4;
    format!("{}", rounded + 0.0)
}

fn draw_band(chart: &mut Chart<'_, '_>, curve: &Curve, range: &Range, unit: f64) -> Drawn {
    if curve.points.iter().all(|p| p.low == p.high) {
        return Ok(());
    }
    let edge = |x: f64, y: f64| (x / unit, y.clamp(range.low, range.high));
    let above = curve.points.iter().map(|p| edge(p.x, p.high));
    let below = curve.points.iter().rev().map(|p| edge(p.x, p.low));
    let band = Polygon::new(
        above.chain(below).collect::<Vec<_>>(),
        Ink::Band(curve.kind).marker(),
    );
    chart.draw_series(std::iter::once(band)).map(drop)
}

fn draw_line(chart: &mut Chart<'_, '_>, curve: &Curve, range: &Range, unit: f64) -> Drawn {
    let color = Ink::Line(curve.kind).marker();
    let means: Vec<(f64, f64)> = curve.points.iter().map(|p| (p.x / unit, p.mean)).collect();
    for piece in range.clip(&means) {
        chart.draw_series(LineSeries::new(piece, color.stroke_width(2)))?;
    }
    if let Some(&(x, y)) = means.last().filter(|_| curve.diverged) {
        let end = (x, y.clamp(range.low, range.high));
        chart.draw_series(std::iter::once(Cross::new(end, 6, color.stroke_width(2))))?;
    }
    Ok(())
}

/// The teacher's final value: a line across, with its label outside of the curves.
fn draw_level(
    root: &DrawingArea<Backend<'_>, Shift>,
    chart: &mut Chart<'_, '_>,
    figure: Figure,
    level: f64,
    x_end: f64,
) -> Drawn {
    let line = [(0.0, level), (x_end, level)];
    chart.draw_series(LineSeries::new(line, Ink::Level.marker().stroke_width(1)))?;

    let (x, y) = chart.plotting_area().map_coordinate(&(x_end, level));
    let value = if figure.is_accuracy() {
        percent(level)
    } else {
        format!("{level:.3}")
    };
    let style = FONT
        .into_font()
        .resize(16.5)
        .color(&Ink::Line(Kind::Teacher).marker())
        .pos(Pos::new(HPos::Left, VPos::Center));
    root.draw(&Text::new("teacher", (x + 5, y - 8), style.clone()))?;
    root.draw(&Text::new(value, (x + 5, y + 8), style))
}
