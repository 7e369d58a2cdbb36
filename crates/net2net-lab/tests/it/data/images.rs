//! Encoded images, made here; and what becomes of each kind when it is decoded.

use std::fs;
use std::path::Path;

use image_webp::WebPEncoder;
use jpeg_encoder::{ColorType, Encoder};
use net2net_lab::data::{DataError, Format, ImageFault, SourceOptions, open, probe};

/// A JPEG of one colour.
pub(super) fn jpeg(width: u16, height: u16, kind: ColorType, pixel: &[u8]) -> Vec<u8> {
    let pixels = pixel.repeat(usize::from(width) * usize::from(height));
    let mut bytes = Vec::new();
    Encoder::new(&mut bytes, 95)
        .encode(&pixels, width, height, kind)
        .unwrap();
    bytes
}

/// A JPEG whose pixels all differ from those of their neighbours, by a seed.
pub(super) fn noisy_jpeg(width: u16, height: u16, seed: usize) -> Vec<u8> {
    let len = usize::from(width) * usize::from(height) * 3;
    let pixels: Vec<u8> = (0..len)
        .map(|i| ((i * 7 + seed * 31) % 251) as u8)
        .collect();
    let mut bytes = Vec::new();
    Encoder::new(&mut bytes, 90)
        .encode(&pixels, width, height, ColorType::Rgb)
        .unwrap();
    bytes
}

/// A PNG; `data` are its rows.
pub(super) fn png_file(
    width: u32,
    height: u32,
    color: png::ColorType,
    depth: png::BitDepth,
    palette: Option<&[u8]>,
    data: &[u8],
) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(color);
    encoder.set_depth(depth);
    if let Some(palette) = palette {
        encoder.set_palette(palette.to_vec());
    }
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(data).unwrap();
    writer.finish().unwrap();
    bytes
}

/// A PNG of one RGB colour.
pub(super) fn plain_png(side: u32, pixel: [u8; 3]) -> Vec<u8> {
    let data = pixel.repeat((side * side) as usize);
    let (color, depth) = (png::ColorType::Rgb, png::BitDepth::Eight);
    png_file(side, side, color, depth, None, &data)
}

pub(super) fn write(folder: &Path, name: &str, bytes: &[u8]) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// The first pixel of an image as a data set has it, beside others that are RGB.
fn first_pixel(name: &str, bytes: &[u8]) -> [u8; 3] {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &format!("train/a/{name}"), bytes);
    write(folder.path(), "train/b/rgb.png", &plain_png(8, [9, 8, 7]));
    write(folder.path(), "val/a/rgb.png", &plain_png(8, [9, 8, 7]));
    let opened = open(folder.path(), &SourceOptions::default()).unwrap();
    let image = opened.splits.train.image(0).unwrap();
    image[..3].try_into().unwrap()
}

/// `found` is `expected` up to what JPEG loses.
fn about(found: [u8; 3], expected: [u8; 3]) {
    let near = found.iter().zip(expected).all(|(f, e)| f.abs_diff(e) <= 4);
    assert!(near, "{found:?} instead of {expected:?}");
}

#[test]
fn every_colour_model_becomes_rgb() {
    use png::{BitDepth, ColorType as Png};
    let square = |pixel: &[u8]| pixel.repeat(64);
    let png = |color, depth, data: &[u8]| png_file(8, 8, color, depth, None, data);
    about(
        first_pixel("x.jpg", &jpeg(8, 8, ColorType::Rgb, &[200, 30, 60])),
        [200, 30, 60],
    );
    about(
        first_pixel("x.jpg", &jpeg(8, 8, ColorType::Luma, &[77])),
        [77; 3],
    );
    // Without ink: C, M and Y are what is left of light, as Adobe stores them, and so is K.
    let cmyk = first_pixel("x.jpg", &jpeg(8, 8, ColorType::Cmyk, &[0, 255, 255, 0]));
    about(cmyk, [255, 0, 0]);
    let ycck = first_pixel(
        "x.jpg",
        &jpeg(8, 8, ColorType::CmykAsYcck, &[0, 255, 255, 0]),
    );
    about(ycck, [255, 0, 0]);
    let gray = png(Png::Grayscale, BitDepth::Eight, &square(&[77]));
    assert_eq!(first_pixel("x.png", &gray), [77; 3]);
    let gray_alpha = png(Png::GrayscaleAlpha, BitDepth::Eight, &square(&[77, 3]));
    assert_eq!(first_pixel("x.png", &gray_alpha), [77; 3]);
    let rgba = png(Png::Rgba, BitDepth::Eight, &square(&[1, 2, 3, 0]));
    assert_eq!(first_pixel("x.png", &rgba), [1, 2, 3]);
    let deep = png(Png::Grayscale, BitDepth::Sixteen, &square(&[100, 255]));
    assert_eq!(first_pixel("x.png", &deep), [100; 3]);
    let deep = png(Png::Rgb, BitDepth::Sixteen, &square(&[1, 0, 2, 0, 3, 0]));
    assert_eq!(first_pixel("x.png", &deep), [1, 2, 3]);
    let bits = png(Png::Grayscale, BitDepth::One, &[0xff; 8]);
    assert_eq!(first_pixel("x.png", &bits), [255; 3]);
    let palette = [10, 20, 30, 40, 50, 60];
    let indexed = png_file(
        8,
        8,
        Png::Indexed,
        BitDepth::Eight,
        Some(&palette),
        &[1; 64],
    );
    assert_eq!(first_pixel("x.png", &indexed), [40, 50, 60]);
    let mut webp = Vec::new();
    WebPEncoder::new(&mut webp)
        .encode(&square(&[5, 6, 7, 0]), 8, 8, image_webp::ColorType::Rgba8)
        .unwrap();
    assert_eq!(probe(&webp).unwrap().format, Format::WebP);
    assert_eq!(first_pixel("x.webp", &webp), [5, 6, 7]);
}

#[test]
fn a_set_of_gray_images_stays_gray() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["train/a/1.jpg", "train/b/1.jpg", "val/b/1.jpg"] {
        write(folder.path(), name, &jpeg(8, 8, ColorType::Luma, &[77]));
    }
    let opened = open(folder.path(), &SourceOptions::default()).unwrap();
    assert_eq!(opened.splits.train.shape().channels, 1);
    let gray = opened.splits.train.image(0).unwrap()[0];
    assert!(gray.abs_diff(77) <= 2, "{gray}");
}

/// A header of a PNG with these sizes, and nothing after it.
fn png_bomb(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = plain_png(8, [0; 3]);
    bytes[16..20].copy_from_slice(&width.to_be_bytes());
    bytes[20..24].copy_from_slice(&height.to_be_bytes());
    // The checksum of the header's chunk.
    let mut crc = flate2::Crc::new();
    crc.update(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&crc.sum().to_be_bytes());
    bytes
}

/// A JPEG whose frame declares these sizes.
fn jpeg_bomb(width: u16, height: u16) -> Vec<u8> {
    let mut bytes = jpeg(8, 8, ColorType::Rgb, &[1, 2, 3]);
    let frame = bytes
        .windows(2)
        .position(|pair| pair == [0xff, 0xc0])
        .unwrap();
    bytes[frame + 5..frame + 7].copy_from_slice(&height.to_be_bytes());
    bytes[frame + 7..frame + 9].copy_from_slice(&width.to_be_bytes());
    bytes
}

#[test]
fn absurd_sizes_are_refused_before_memory_is_taken() {
    for (bytes, expected) in [
        (png_bomb(1 << 20, 1 << 20), (1 << 20, 1 << 20)),
        (png_bomb(50_000, 50_000), (50_000, 50_000)),
        (jpeg_bomb(65_500, 65_500), (65_500, 65_500)),
    ] {
        match probe(&bytes).unwrap_err() {
            ImageFault::TooLarge { width, height } => assert_eq!((width, height), expected),
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(
        probe(&jpeg_bomb(0, 8)),
        Err(ImageFault::Damaged(_))
    ));
}

#[test]
fn every_truncation_is_an_error_and_none_a_panic() {
    let mut webp = Vec::new();
    let pixels: Vec<u8> = (0..16 * 16 * 3).map(|i| (i * 7 % 251) as u8).collect();
    WebPEncoder::new(&mut webp)
        .encode(&pixels, 16, 16, image_webp::ColorType::Rgb8)
        .unwrap();
    let (rgb, eight) = (png::ColorType::Rgb, png::BitDepth::Eight);
    for (name, bytes) in [
        ("x.jpg", noisy_jpeg(16, 16, 1)),
        ("x.png", png_file(16, 16, rgb, eight, None, &pixels)),
        ("x.webp", webp),
    ] {
        // The last twelve bytes of a PNG are its end mark, those of a WebP may be padding.
        let ends = (0..bytes.len() - 16).step_by(bytes.len() / 23);
        for end in ends {
            let folder = tempfile::tempdir().unwrap();
            write(folder.path(), &format!("train/a/{name}"), &bytes[..end]);
            for good in ["train/a/1.png", "train/b/1.png", "val/a/1.png"] {
                write(folder.path(), good, &plain_png(16, [1, 2, 3]));
            }
            let error = open(folder.path(), &SourceOptions::default()).unwrap_err();
            let DataError::TooManyBroken { broken, first, .. } = &error else {
                panic!("{name} cut at {end}: {error}")
            };
            assert_eq!(*broken, 1);
            assert!(first.contains(name), "{first}");
            let lenient = SourceOptions {
                broken_share: 0.5,
                ..SourceOptions::default()
            };
            let opened = open(folder.path(), &lenient).unwrap();
            assert_eq!(opened.splits.train.len(), 2, "{name} cut at {end}");
            assert!(
                opened.notes.iter().any(|note| note.contains(name)),
                "{:?}",
                opened.notes
            );
        }
    }
}

#[test]
fn an_end_mark_of_a_thumbnail_is_not_the_end() {
    // A comment segment that holds an end mark, before the scan.
    let whole = noisy_jpeg(16, 16, 1);
    let comment = [0xff, 0xfe, 0, 4, 0xff, 0xd9];
    let with_comment = [&whole[..2], &comment, &whole[2..]].concat();
    let cut = &with_comment[..with_comment.len() - 40];
    assert!(probe(cut).is_ok(), "the header is whole");
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "train/a/cut.jpg", cut);
    write(folder.path(), "train/b/whole.jpg", &with_comment);
    write(folder.path(), "val/b/whole.jpg", &with_comment);
    let error = open(folder.path(), &SourceOptions::default()).unwrap_err();
    assert!(
        error.to_string().contains("cut.jpg is cut short"),
        "{error}"
    );
}
