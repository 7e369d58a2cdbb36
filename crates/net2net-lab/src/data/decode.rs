//! Encoded images to bytes: JPEG, PNG and WebP of any colour model, as gray or as RGB.
//!
//! Files are not trusted: what a header declares is checked against [`MAX_PIXELS`] before anything
//! is allocated, and an image that is cut short is refused instead of being filled up with gray.

use std::fmt;
use std::io::Cursor;

use serde::Serialize;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// The most pixels that an image may declare: a hundred million, 300 MB as RGB.
pub const MAX_PIXELS: u64 = 100_000_000;

/// How an image is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// Baseline or progressive.
    Jpeg,
    /// Any depth, palettes included.
    Png,
    /// Lossy or lossless; of an animation the first frame.
    WebP,
}

/// What an image says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// How it is encoded.
    pub format: Format,
    /// Columns, at least 1.
    pub width: usize,
    /// Rows, at least 1.
    pub height: usize,
    /// Its colour model: `gray`, `RGB`, `CMYK`, `palette`, `gray with alpha`, …, with the depth where
    /// that is not 8 bits.
    pub mode: &'static str,
    /// Whether it has no colour.
    pub gray: bool,
}

/// Why an image cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImageFault {
    /// Its first bytes are of no format that is read.
    #[error("is no JPEG, PNG or WebP image")]
    Format,
    /// It declares more pixels than are decoded.
    #[error(
        "declares {width}×{height} pixels, more than the {MAX_PIXELS} that are decoded at most"
    )]
    TooLarge {
        /// Columns declared.
        width: u64,
        /// Rows declared.
        height: u64,
    },
    /// It ends early.
    #[error("is cut short")]
    Truncated,
    /// The decoder refused it.
    #[error("is damaged: {0}")]
    Damaged(String),
}

/// A decoded image: H×W×C bytes, C being 1 (gray) or 3 (RGB).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Picture {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) pixels: Vec<u8>,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Jpeg => "JPEG",
            Format::Png => "PNG",
            Format::WebP => "WebP",
        })
    }
}

/// Reads the header of an encoded image; decodes no pixels.
///
/// # Errors
/// [`ImageFault`], also where the image is larger than [`MAX_PIXELS`].
pub fn probe(bytes: &[u8]) -> Result<Header, ImageFault> {
    let header = match format(bytes)? {
        Format::Jpeg => jpeg_frame(bytes)?.header,
        Format::Png => png_header(bytes)?,
        Format::WebP => {
            let decoder = webp(bytes)?;
            let (width, height) = decoder.dimensions();
            Header {
                format: Format::WebP,
                width: width as usize,
                height: height as usize,
                mode: if decoder.has_alpha() {
                    "RGB with alpha"
                } else {
                    "RGB"
                },
                gray: false,
            }
        }
    };
    check_size(header.width as u64, header.height as u64)?;
    Ok(header)
}

/// Decodes an image with `channels` values a pixel: 1 for gray, 3 for RGB. What it has of alpha is
/// left out.
///
/// A JPEG is decoded at the `shrink`-th part of its sides (1, 2, 4 or 8), which takes less time; the
/// others are always whole.
pub(super) fn decode(bytes: &[u8], channels: usize, shrink: usize) -> Result<Picture, ImageFault> {
    let header = probe(bytes)?;
    match header.format {
        Format::Jpeg => decode_jpeg(bytes, &header, channels, shrink),
        Format::Png => decode_png(bytes, channels),
        Format::WebP => {
            let mut decoder = webp(bytes)?;
            let stored = if decoder.has_alpha() { 4 } else { 3 };
            let mut pixels = vec![0; header.width * header.height * stored];
            decoder.read_image(&mut pixels).map_err(damaged)?;
            Ok(picture(
                header.width,
                header.height,
                pixels,
                stored,
                channels,
            ))
        }
    }
}

fn format(bytes: &[u8]) -> Result<Format, ImageFault> {
    match bytes {
        [0xff, 0xd8, 0xff, ..] => Ok(Format::Jpeg),
        [0x89, b'P', b'N', b'G', ..] => Ok(Format::Png),
        [
            b'R',
            b'I',
            b'F',
            b'F',
            _,
            _,
            _,
            _,
            b'W',
            b'E',
            b'B',
            b'P',
            ..,
        ] => Ok(Format::WebP),
        [] => Err(ImageFault::Truncated),
        _ => Err(ImageFault::Format),
    }
}

fn check_size(width: u64, height: u64) -> Result<(), ImageFault> {
    match width.checked_mul(height) {
        Some(1..=MAX_PIXELS) => Ok(()),
        Some(0) => Err(ImageFault::Damaged("it has no pixels".to_owned())),
        _ => Err(ImageFault::TooLarge { width, height }),
    }
}

fn damaged(error: impl fmt::Display) -> ImageFault {
    ImageFault::Damaged(error.to_string())
}

/// What stands before a JPEG's first scan.
struct JpegFrame {
    header: Header,
    components: u8,
    /// Where the compressed pixels begin.
    scan: usize,
}

/// Walks the segments of a JPEG up to its first scan.
fn jpeg_frame(bytes: &[u8]) -> Result<JpegFrame, ImageFault> {
    let byte = |at: usize| bytes.get(at).copied().ok_or(ImageFault::Truncated);
    let word = |at| Ok(usize::from(byte(at)?) << 8 | usize::from(byte(at + 1)?));
    let mut at = 2;
    let mut found: Option<(usize, usize, u8)> = None;
    loop {
        if byte(at)? != 0xff {
            return Err(damaged("a segment does not begin with its marker"));
        }
        // Any number of fill bytes may stand before a marker.
        let marker = match byte(at + 1)? {
            0xff => {
                at += 1;
                continue;
            }
            marker => marker,
        };
        // These stand alone.
        if matches!(marker, 0x01 | 0xd0..=0xd8) {
            at += 2;
            continue;
        }
        let len = word(at + 2)?;
        match marker {
            0xc0..=0xcf if !matches!(marker, 0xc4 | 0xc8 | 0xcc) => {
                found = Some((word(at + 5)?, word(at + 7)?, byte(at + 9)?));
            }
            0xda => {
                let (height, width, components) =
                    found.ok_or_else(|| damaged("a scan without a frame"))?;
                let header = Header {
                    format: Format::Jpeg,
                    width,
                    height,
                    mode: match components {
                        1 => "gray",
                        4 => "CMYK",
                        _ => "RGB",
                    },
                    gray: components == 1,
                };
                return Ok(JpegFrame {
                    header,
                    components,
                    scan: at + 2 + len,
                });
            }
            0xd9 => return Err(ImageFault::Truncated),
            _ => {}
        }
        at += 2 + len;
    }
}

fn decode_jpeg(
    bytes: &[u8],
    header: &Header,
    channels: usize,
    shrink: usize,
) -> Result<Picture, ImageFault> {
    let frame = jpeg_frame(bytes)?;
    // Decoders fill up what is missing. The end marker of a thumbnail stands before the scan.
    let scan = bytes.get(frame.scan..).unwrap_or_default();
    if !scan.windows(2).rev().any(|pair| pair == [0xff, 0xd9]) {
        return Err(ImageFault::Truncated);
    }
    if shrink > 1 && matches!(frame.components, 1 | 3) {
        return decode_small_jpeg(bytes, header, channels, shrink);
    }
    let wanted = match channels {
        1 if header.gray => ColorSpace::Luma,
        _ => ColorSpace::RGB,
    };
    let side = usize::from(u16::MAX);
    let options = DecoderOptions::default()
        .set_max_width(side)
        .set_max_height(side)
        .jpeg_set_out_colorspace(wanted);
    let mut decoder = zune_jpeg::JpegDecoder::new_with_options(Cursor::new(bytes), options);
    let pixels = decoder.decode().map_err(damaged)?;
    let stored = if wanted == ColorSpace::Luma { 1 } else { 3 };
    if pixels.len() != header.width * header.height * stored {
        return Err(damaged("its pixels are not as many as it declares"));
    }
    let (width, height) = (header.width, header.height);
    Ok(picture(width, height, pixels, stored, channels))
}

/// Decodes at a part of the size, by an inverse transform of fewer coefficients.
fn decode_small_jpeg(
    bytes: &[u8],
    header: &Header,
    channels: usize,
    shrink: usize,
) -> Result<Picture, ImageFault> {
    let mut decoder = jpeg_decoder::Decoder::new(bytes);
    decoder.set_max_decoding_buffer_size(4 * MAX_PIXELS as usize);
    let wanted = |side: usize| u16::try_from(side.div_ceil(shrink)).map_err(damaged);
    decoder
        .scale(wanted(header.width)?, wanted(header.height)?)
        .map_err(damaged)?;
    let pixels = decoder.decode().map_err(damaged)?;
    let info = decoder.info().ok_or(ImageFault::Truncated)?;
    let stored = match info.pixel_format {
        jpeg_decoder::PixelFormat::L8 => 1,
        jpeg_decoder::PixelFormat::RGB24 => 3,
        other => return Err(damaged(format!("{other:?} pixels"))),
    };
    let (width, height) = (usize::from(info.width), usize::from(info.height));
    Ok(picture(width, height, pixels, stored, channels))
}

fn png_reader(bytes: &[u8]) -> Result<png::Reader<Cursor<&[u8]>>, ImageFault> {
    let limits = png::Limits {
        bytes: 8 * MAX_PIXELS as usize,
    };
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), limits);
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    decoder.read_info().map_err(png_fault)
}

fn png_header(bytes: &[u8]) -> Result<Header, ImageFault> {
    let reader = png_reader(bytes)?;
    let info = reader.info();
    let deep = info.bit_depth == png::BitDepth::Sixteen;
    let (mode, gray) = match (info.color_type, deep) {
        (png::ColorType::Grayscale, false) => ("gray", true),
        (png::ColorType::Grayscale, true) => ("gray, 16 bits", true),
        (png::ColorType::GrayscaleAlpha, false) => ("gray with alpha", true),
        (png::ColorType::GrayscaleAlpha, true) => ("gray with alpha, 16 bits", true),
        (png::ColorType::Rgb, false) => ("RGB", false),
        (png::ColorType::Rgb, true) => ("RGB, 16 bits", false),
        (png::ColorType::Rgba, false) => ("RGB with alpha", false),
        (png::ColorType::Rgba, true) => ("RGB with alpha, 16 bits", false),
        (png::ColorType::Indexed, _) => ("palette", false),
    };
    Ok(Header {
        format: Format::Png,
        width: info.width as usize,
        height: info.height as usize,
        mode,
        gray,
    })
}

fn decode_png(bytes: &[u8], channels: usize) -> Result<Picture, ImageFault> {
    let mut reader = png_reader(bytes)?;
    let len = reader.output_buffer_size().ok_or(ImageFault::Truncated)?;
    let mut pixels = vec![0; len];
    let info = reader.next_frame(&mut pixels).map_err(png_fault)?;
    pixels.truncate(info.buffer_size());
    let (width, height) = (info.width as usize, info.height as usize);
    Ok(picture(
        width,
        height,
        pixels,
        info.color_type.samples(),
        channels,
    ))
}

fn png_fault(error: png::DecodingError) -> ImageFault {
    match error {
        png::DecodingError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            ImageFault::Truncated
        }
        other => damaged(other),
    }
}

fn webp(bytes: &[u8]) -> Result<image_webp::WebPDecoder<Cursor<&[u8]>>, ImageFault> {
    let mut decoder = image_webp::WebPDecoder::new(Cursor::new(bytes)).map_err(damaged)?;
    decoder.set_memory_limit(8 * MAX_PIXELS as usize);
    Ok(decoder)
}

/// Turns `stored` values a pixel (gray, gray and alpha, RGB, RGB and alpha) into `channels`.
fn picture(
    width: usize,
    height: usize,
    pixels: Vec<u8>,
    stored: usize,
    channels: usize,
) -> Picture {
    let pixels = match (stored, channels) {
        (stored, channels) if stored == channels => pixels,
        (1 | 2, 1) => pixels.chunks_exact(stored).map(|pixel| pixel[0]).collect(),
        (1 | 2, _) => pixels
            .chunks_exact(stored)
            .flat_map(|pixel| [pixel[0]; 3])
            .collect(),
        (_, 1) => pixels.chunks_exact(stored).map(luma).collect(),
        _ => pixels
            .chunks_exact(stored)
            .flat_map(|pixel| [pixel[0], pixel[1], pixel[2]])
            .collect(),
    };
    Picture {
        width,
        height,
        pixels,
    }
}

/// The brightness of an RGB pixel (ITU-R 601-2).
pub(super) fn luma(pixel: &[u8]) -> u8 {
    let [r, g, b] = [pixel[0], pixel[1], pixel[2]].map(u32::from);
    ((r * 19_595 + g * 38_470 + b * 7_471 + 0x8000) >> 16) as u8
}
