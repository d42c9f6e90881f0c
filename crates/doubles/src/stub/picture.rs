//! Given pictures: PNG and JPEG, whose size is looked at before they are decoded, one at a time.

use std::io::Cursor;
use std::sync::{Mutex, PoisonError};

use image::{ImageReader, Limits};
use tasks::Failure;

/// The most pixels of a picture: 8192 by 8192.
const PIXELS_MAX: u64 = 8192 * 8192;
/// Bytes that decoding one may take: the largest in three channels of a byte, and a third as much again.
const DECODE_MAX_BYTES: u64 = PIXELS_MAX * 4;

/// Width and height in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) width: u32,
    pub(super) height: u32,
}

/// Lets one picture at a time be decoded, so that many at once take the memory of one.
#[derive(Debug, Default)]
pub(super) struct Gate(Mutex<()>);

impl Gate {
    /// Decodes a whole file, and forgets what it shows.
    ///
    /// # Errors
    /// [`Failure::BadInput`] for what is no picture, or too large a one.
    pub(super) fn decode(&self, file: &[u8]) -> Result<Size, Failure> {
        let size = look(file)?;
        let _one = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        reader(file)?.decode().map_err(undecodable)?;
        Ok(size)
    }
}

/// The size that a file's header tells. Quick.
///
/// # Errors
/// As [`Gate::decode`], for what the header shows.
pub(super) fn look(file: &[u8]) -> Result<Size, Failure> {
    let (width, height) = reader(file)?.into_dimensions().map_err(undecodable)?;
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 || pixels > PIXELS_MAX {
        return Err(Failure::BadInput(format!(
            "the image has {width} x {height} pixels; 1 to {PIXELS_MAX} are understood"
        )));
    }
    Ok(Size { width, height })
}

fn reader(file: &[u8]) -> Result<ImageReader<Cursor<&[u8]>>, Failure> {
    let mut reader = ImageReader::new(Cursor::new(file))
        .with_guessed_format()
        .map_err(undecodable)?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(DECODE_MAX_BYTES);
    reader.limits(limits);
    Ok(reader)
}

fn undecodable(error: impl std::fmt::Display) -> Failure {
    Failure::BadInput(format!(
        "the image cannot be decoded: {error}; PNG and JPEG are understood"
    ))
}
