//! A page that shows a data set: what [`inspect`](super::inspect()) found, and a contact sheet.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jpeg_encoder::{ColorType, Encoder};

use super::files::Scratch;
use super::geometry::Resampler;
use super::keyed::{Purpose, shuffle, stream};
use super::source;
use super::{DataError, Dataset, ImageShape, Inspection, SourceOptions};
use crate::report::escape::escape;

const STYLE: &str = include_str!("sheet.css");
/// Images that are shown of a class.
const IMAGES: usize = 8;
/// Classes that are shown.
const CLASSES: usize = 60;
/// The side of a large image on the sheet.
const SIDE: usize = 112;
const QUALITY: u8 = 88;

/// The page, in one piece: open it in any browser. Which images are shown is chosen by a fixed seed.
///
/// # Errors
/// As [`open`](super::open).
pub fn render(
    path: &Path,
    options: &SourceOptions,
    inspection: &Inspection,
) -> Result<String, DataError> {
    let options = SourceOptions {
        broken_share: 1.0,
        ..options.clone()
    };
    let train = source::open(path, &options)?.splits.train;
    let mut body = format!(
        "<header>\n<p class=\"eyebrow\">net2net data inspect</p>\n<h1>{}</h1>\n<p class=\"meta\">{}</p>\n</header>\n",
        escape(&inspection.name),
        escape(&inspection.kind),
    );
    body += &facts(inspection);
    body += &complaints(inspection);
    body += &contact_sheet(&train, inspection)?;
    Ok(format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{}</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n",
        escape(&inspection.name)
    ))
}

/// The figures.
fn facts(inspection: &Inspection) -> String {
    let [height, width, channels] = inspection.input;
    let numbers = |values: &[f32]| {
        let texts: Vec<String> = values.iter().map(|value| format!("{value:.3}")).collect();
        texts.join(" ")
    };
    let sizes: Vec<String> = inspection
        .sizes
        .iter()
        .take(4)
        .map(|size| format!("{}×{} ({})", size.width, size.height, size.images))
        .collect();
    let more = inspection.different_sizes.saturating_sub(sizes.len());
    let more = if more > 0 {
        format!(" and {more} others")
    } else {
        String::new()
    };
    let modes: Vec<String> = inspection
        .modes
        .iter()
        .map(|mode| format!("{} ({})", mode.mode, mode.images))
        .collect();
    let kept = if inspection.in_memory {
        "decoded once and kept in memory"
    } else {
        "decoded each time, ahead of training"
    };
    let rows = [
        (
            "Images",
            format!(
                "{} training, {} validation",
                inspection.train, inspection.validation
            ),
        ),
        ("Classes", inspection.classes.len().to_string()),
        ("Sizes", sizes.join(", ") + &more),
        ("Modes", modes.join(", ")),
        (
            "A network would read",
            format!(
                "{height}×{width}×{channels}: {}; {kept}",
                inspection.input_reason
            ),
        ),
        ("Mean", numbers(&inspection.normalization.mean)),
        ("Standard deviation", numbers(&inspection.normalization.std)),
    ];
    let rows: String = rows
        .iter()
        .map(|(name, value)| format!("<dt>{name}</dt><dd>{}</dd>\n", escape(value)))
        .collect();
    format!("<dl>\n{rows}</dl>\n")
}

/// What is wrong, if anything is.
fn complaints(inspection: &Inspection) -> String {
    let list = |title: String, items: Vec<String>| {
        if items.is_empty() {
            return String::new();
        }
        let items: String = items
            .iter()
            .map(|item| format!("<li>{}</li>\n", escape(item)))
            .collect();
        format!("<details open>\n<summary>{title}</summary>\n<ul>\n{items}</ul>\n</details>\n")
    };
    let broken = inspection
        .broken
        .iter()
        .map(|(image, why)| format!("{image} {why}"));
    let both = inspection
        .duplicates
        .iter()
        .map(|both| format!("{} is {}", both.train, both.validation));
    let mut text = list(
        format!("{} broken images", inspection.broken.len()),
        broken.collect(),
    );
    text += &list(
        format!(
            "{} training images are validation images too",
            inspection.duplicates.len()
        ),
        both.collect(),
    );
    text + &list("Notes".to_owned(), inspection.notes.clone())
}

/// Some training images of each class.
fn contact_sheet(train: &Dataset, inspection: &Inspection) -> Result<String, DataError> {
    let mut by_class = vec![Vec::new(); train.classes().len()];
    for (index, &label) in train.labels().iter().enumerate() {
        by_class[label as usize].push(index);
    }
    let most = inspection
        .classes
        .iter()
        .map(|class| class.train)
        .max()
        .unwrap_or(1)
        .max(1);
    let mut scratch = Scratch::default();
    let mut sheet = String::from("<section>\n<h2>Contact sheet</h2>\n");
    for (number, (class, members)) in inspection.classes.iter().zip(&mut by_class).enumerate() {
        if number == CLASSES {
            let rest = inspection.classes.len() - CLASSES;
            sheet += &format!("<p>{rest} more classes are not shown.</p>\n");
            break;
        }
        shuffle(members, &mut stream(0, Purpose::Look, 3, number as u64));
        let mut images = String::new();
        for &index in members.iter().take(IMAGES) {
            if let Some(image) = train.view(index, None, &mut scratch)? {
                images += &picture(&image, train.shape(), &class.name, &mut scratch.resampler);
            }
        }
        sheet += &format!(
            "<article>\n<h3>{}</h3>\n<p>{} training, {} validation</p>\n\
             <div class=\"bar\"><span style=\"width:{:.1}%\"></span></div>\n\
             <div class=\"row\">\n{images}</div>\n</article>\n",
            escape(&class.name),
            class.train,
            class.validation,
            100.0 * class.train as f64 / most as f64,
        );
    }
    Ok(sheet + "</section>\n")
}

/// An image as an element; empty if it cannot be encoded.
fn picture(pixels: &[u8], shape: ImageShape, class: &str, resampler: &mut Resampler) -> String {
    let color = match shape.channels {
        1 => ColorType::Luma,
        _ => ColorType::Rgb,
    };
    let size = (shape.width, shape.height);
    let largest = shape.width.max(shape.height);
    let scale = (SIDE as f64 / largest as f64).min(1.0);
    let scaled = |side: usize| ((side as f64 * scale).round() as usize).max(1);
    let small = ImageShape {
        height: scaled(shape.height),
        width: scaled(shape.width),
        channels: shape.channels,
    };
    let window = super::geometry::Window::centre(size.0, size.1, small, 1.0);
    let Some(pixels) = resampler.resample(pixels, size, size, window, small) else {
        return String::new();
    };
    let sides = u16::try_from(small.width)
        .ok()
        .zip(u16::try_from(small.height).ok());
    let mut jpeg = Vec::new();
    let encoded = sides.map(|(width, height)| {
        Encoder::new(&mut jpeg, QUALITY).encode(&pixels, width, height, color)
    });
    if !matches!(encoded, Some(Ok(()))) {
        return String::new();
    }
    format!(
        "<img alt=\"{}\" src=\"data:image/jpeg;base64,{}\">\n",
        escape(class),
        STANDARD.encode(&jpeg)
    )
}
