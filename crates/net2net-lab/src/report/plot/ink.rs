//! The look of the curves.
//!
//! The drawing library knows fixed colours only. Each role is drawn in a marker colour of its own, and the markers in
//! the finished SVG are replaced by classes, to which [`STYLE`] gives colours for light, dark and print.

use plotters::style::RGBColor;

use crate::report::record::Kind;

/// The style sheet that the classes refer to. Colours are Okabe and Ito's, safe for colour-blind readers, darkened or
/// lightened to stand out from the page; every line also has a dash pattern of its own.
pub const STYLE: &str = include_str!("plot.css");

/// What a stroke, an area or a text is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ink {
    /// Numbers and titles of the axes.
    Text,
    /// The two axes.
    Axis,
    /// Lines across the drawing.
    Grid,
    /// The teacher's final value.
    Level,
    /// A kind's mean.
    Line(Kind),
    /// A kind's band of seeds.
    Band(Kind),
}

impl Ink {
    fn all() -> impl Iterator<Item = Self> {
        let fixed = [Self::Text, Self::Axis, Self::Grid, Self::Level];
        let kinds = Kind::ALL.into_iter();
        fixed
            .into_iter()
            .chain(kinds.flat_map(|kind| [Self::Line(kind), Self::Band(kind)]))
    }

    /// The class in [`STYLE`].
    #[must_use]
    pub fn class(self) -> String {
        match self {
            Self::Text => "ink-text".to_owned(),
            Self::Axis => "ink-axis".to_owned(),
            Self::Grid => "ink-grid".to_owned(),
            Self::Level => "ink-level".to_owned(),
            Self::Line(kind) => format!("line {}", kind.slug()),
            Self::Band(kind) => format!("band {}", kind.slug()),
        }
    }

    /// The colour that stands for the role until [`dress`] has run.
    pub(super) fn marker(self) -> RGBColor {
        // Every ink is one of `all`, so the position is found; 200 would only be an unstyled colour.
        let index = Self::all().position(|ink| ink == self).unwrap_or(200);
        RGBColor(251, 1, index as u8)
    }
}

/// Replaces the marker colours by classes.
pub(super) fn dress(svg: &str) -> String {
    Ink::all().fold(svg.to_owned(), |svg, ink| {
        let RGBColor(r, g, b) = ink.marker();
        let class = format!("class=\"{}\"", ink.class());
        let hex = format!("#{r:02X}{g:02X}{b:02X}");
        svg.replace(&format!("fill=\"{hex}\""), &class)
            .replace(&format!("stroke=\"{hex}\""), &class)
    })
}
