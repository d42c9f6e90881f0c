//! Pictures and masks that come with a request: PNG and JPEG, decoded in bounded memory.

use std::io::Cursor;

use candle_core::{Device, Result as Computed, Tensor};
use image::imageops::{FilterType, resize};
use image::{DynamicImage, ImageReader, Limits};
use tasks::Failure;

/// The most pixels of a picture: 8192 by 8192.
const PIXELS_MAX: u64 = 8192 * 8192;
/// Pixels a side: resizing holds the width that is given times the height that is asked for.
const SIDE_MAX: u32 = 8192;
/// Bytes that decoding one may take: the largest in three channels of a byte, and a third as much again.
const DECODE_MAX_BYTES: u64 = PIXELS_MAX * 4;
/// From here on a mask is white.
const WHITE: u8 = 128;

/// Width and height in pixels.
pub(super) type Size = (u32, u32);

/// A picture brought to a size, `[1, 3, height, width]` in -1 to 1.
pub(super) fn picture(file: &[u8], size: Size, device: &Device) -> Result<Tensor, Failure> {
    let picture = decoded(file, "image")?.into_rgb8();
    let picture = if picture.dimensions() == size {
        picture
    } else {
        resize(&picture, size.0, size.1, FilterType::Lanczos3)
    };
    let numbers: Vec<f32> = picture
        .iter()
        .map(|&byte| f32::from(byte) / 127.5 - 1.0)
        .collect();
    let (width, height) = (size.0 as usize, size.1 as usize);
    Tensor::from_vec(numbers, (1, height, width, 3), device)
        .and_then(|tensor| tensor.permute((0, 3, 1, 2))?.contiguous())
        .map_err(super::source::broken)
}

/// A mask brought to a size, `[1, 1, height, width]`: 1 where it is white, else 0.
pub(super) fn mask(file: &[u8], size: Size, device: &Device) -> Result<Tensor, Failure> {
    let mask = decoded(file, "mask")?.into_luma8();
    let mask = if mask.dimensions() == size {
        mask
    } else {
        resize(&mask, size.0, size.1, FilterType::Lanczos3)
    };
    let white = |&byte: &u8| if byte >= WHITE { 1.0 } else { 0.0 };
    let numbers: Vec<f32> = mask.iter().map(white).collect();
    let (width, height) = (size.0 as usize, size.1 as usize);
    Tensor::from_vec(numbers, (1, 1, height, width), device).map_err(super::source::broken)
}

/// One number for each latent: that of its first pixel.
pub(super) fn shrunk(mask: &Tensor, factor: usize) -> Computed<Tensor> {
    let (_, _, height, width) = mask.dims4()?;
    mask.reshape((1, 1, height / factor, factor, width / factor, factor))?
        .narrow(3, 0, 1)?
        .narrow(5, 0, 1)?
        .reshape((1, 1, height / factor, width / factor))
}

fn decoded(file: &[u8], name: &str) -> Result<DynamicImage, Failure> {
    let (width, height) = reader(file, name)?
        .into_dimensions()
        .map_err(|error| undecodable(name, error))?;
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 || pixels > PIXELS_MAX || width.max(height) > SIDE_MAX {
        return Err(Failure::BadInput(format!(
            "{name}: {width} x {height} pixels; 1 to {PIXELS_MAX} are understood, {SIDE_MAX} a side"
        )));
    }
    let decoded = reader(file, name)?.decode();
    decoded.map_err(|error| undecodable(name, error))
}

fn reader<'a>(file: &'a [u8], name: &str) -> Result<ImageReader<Cursor<&'a [u8]>>, Failure> {
    let mut reader = ImageReader::new(Cursor::new(file))
        .with_guessed_format()
        .map_err(|error| undecodable(name, error))?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(DECODE_MAX_BYTES);
    reader.limits(limits);
    Ok(reader)
}

fn undecodable(name: &str, error: impl std::fmt::Display) -> Failure {
    Failure::BadInput(format!(
        "{name}: it cannot be decoded: {error}; PNG and JPEG are understood"
    ))
}
