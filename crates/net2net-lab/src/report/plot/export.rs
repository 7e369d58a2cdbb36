//! A drawing as a file of its own: SVG with its colours written out, or PNG.

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree};
use thiserror::Error;

use super::ink;
use crate::report::escape::escape;
use crate::report::record::Kind;

/// The size of the drawing, and the height of one row of the legend.
const SIZE: (u32, u32) = (560, 380);
const LEGEND_ROW: u32 = 22;
const LEGEND_COLUMNS: usize = 3;

/// What drawings are written in, the first that there is.
const SANS_SERIF: [&str; 7] = [
    "Arial",
    "Helvetica",
    "Liberation Sans",
    "DejaVu Sans",
    "Noto Sans",
    "Segoe UI",
    "Cantarell",
];

/// How many pixels of a PNG there are to one of the drawing.
const SCALE: f32 = 2.0;

/// A drawing could not be made into pixels.
#[derive(Debug, Error)]
#[error("the drawing cannot be made into a PNG: {0}")]
pub struct PngError(String);

/// What the page's style sheet says of a class on a light page, as attributes, for programs that know
/// no style sheets.
fn look(class: &str) -> String {
    match class.split_once(' ') {
        Some(("line", kind)) => {
            let rule = between(ink::STYLE, &format!(".line.{kind} {{"), "}");
            let dashes = between(rule, "stroke-dasharray: ", ";");
            let dashed = match dashes {
                "" => String::new(),
                dashes => format!(" stroke-dasharray=\"{dashes}\""),
            };
            format!(
                "stroke=\"{}\" stroke-linejoin=\"round\"{dashed}",
                colour(kind)
            )
        }
        Some(("band", kind)) => {
            format!(
                "fill=\"{}\" fill-opacity=\"0.2\" stroke=\"none\"",
                colour(kind)
            )
        }
        _ => match class {
            "ink-text" => format!("fill=\"{}\"", colour("plot-text")),
            "ink-axis" => format!("stroke=\"{}\"", colour("plot-axis")),
            "ink-grid" => format!("stroke=\"{}\"", colour("plot-grid")),
            "ink-level" => {
                let teacher = colour("teacher");
                format!("stroke=\"{teacher}\" stroke-dasharray=\"2 3\"")
            }
            _ => String::new(),
        },
    }
}

/// The first value of a variable of the style sheet: that of light pages.
fn colour(name: &str) -> &'static str {
    between(ink::STYLE, &format!("--{name}: "), ";")
}

/// What stands between two marks; nothing if they are not there.
fn between<'s>(text: &'s str, start: &str, end: &str) -> &'s str {
    let rest = text.split_once(start).map_or("", |(_, rest)| rest);
    rest.split_once(end).map_or("", |(found, _)| found)
}

/// A page's drawing as a whole file, on white, with a legend below.
pub(super) fn standalone(svg: &str, kinds: &[Kind]) -> String {
    let inner = svg.split_once('>').map_or("", |(_, inner)| inner);
    let inner = inner.trim_end().trim_end_matches("</svg>");
    let rows = kinds.len().div_ceil(LEGEND_COLUMNS) as u32;
    let (width, height) = (SIZE.0, SIZE.1 + LEGEND_ROW * rows + 8);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    text += &dressed(inner);
    for (at, kind) in kinds.iter().enumerate() {
        let x = 20 + (at % LEGEND_COLUMNS) as u32 * (width - 20) / LEGEND_COLUMNS as u32;
        let y = SIZE.1 + 6 + LEGEND_ROW * (at / LEGEND_COLUMNS) as u32;
        let line = look(&format!("line {}", kind.slug()));
        text += &format!(
            "<path fill=\"none\" {line} stroke-width=\"2\" d=\"M{x} {y}h36\"/>\
             <text x=\"{}\" y=\"{}\" font-size=\"14\" fill=\"{}\">{}</text>\n",
            x + 44,
            y + 5,
            colour("plot-text"),
            escape(kind.label())
        );
    }
    text + "</svg>\n"
}

/// Classes replaced by what they look like; texts in a line's class are filled.
fn dressed(svg: &str) -> String {
    let mut text = String::new();
    let mut rest = svg;
    while let Some((before, after)) = rest.split_once("class=\"") {
        let Some((class, after)) = after.split_once('"') else {
            break;
        };
        text += before;
        let in_text = before
            .rfind('<')
            .is_some_and(|at| before[at..].starts_with("<text"));
        text += &match in_text {
            true if class == "ink-text" => look(class),
            true => format!("fill=\"{}\"", colour("teacher")),
            false => look(class),
        };
        rest = after;
    }
    text + rest
}

/// An SVG file as a PNG file at twice its size, with the system's fonts.
///
/// # Errors
///
/// If it is no SVG, or is too large, or there are no fonts.
pub fn png(svg: &str) -> Result<Vec<u8>, PngError> {
    let fault = |why: String| PngError(why);
    let mut options = Options::default();
    let fonts = options.fontdb_mut();
    fonts.load_system_fonts();
    // `sans-serif` is Arial unless it is said, and where there is no Arial, nothing would be written.
    let there: Vec<String> = fonts
        .faces()
        .flat_map(|face| face.families.iter().map(|(name, _)| name.clone()))
        .collect();
    let usual = SANS_SERIF
        .iter()
        .find(|name| there.iter().any(|one| one == *name));
    let family = usual
        .map(|name| (*name).to_owned())
        .or_else(|| there.first().cloned());
    let family = family.ok_or_else(|| {
        fault("this machine has no fonts, so that nothing could be written; take --svg".to_owned())
    })?;
    fonts.set_sans_serif_family(family);
    let tree = Tree::from_str(svg, &options).map_err(|error| fault(error.to_string()))?;
    let size = tree.size();
    let side = |length: f32| (length * SCALE).ceil() as u32;
    let mut pixels = Pixmap::new(side(size.width()), side(size.height()))
        .ok_or_else(|| fault("it has no sensible size".to_owned()))?;
    let transform = Transform::from_scale(SCALE, SCALE);
    resvg::render(&tree, transform, &mut pixels.as_mut());
    pixels
        .encode_png()
        .map_err(|error| fault(error.to_string()))
}
