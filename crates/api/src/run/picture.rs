//! Pictures: what a file says of itself before anybody decodes it, and the files of answers.

use imagesize::ImageType;
use tasks::{Failure, Picture};

use crate::blocking::blocking;

/// The most pixels of a picture that is given: decoded, it takes some bytes for each.
const PICTURE_MAX_PIXELS: u64 = 64 * 1024 * 1024;

/// The quality of JPEG files, of 1 to 100.
const JPEG_QUALITY: u8 = 90;

/// What a file of a picture says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) kind: ImageType,
    pub(super) width: u32,
    pub(super) height: u32,
}

impl Head {
    pub(super) fn pixels(self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }
}

/// Reads a file's head, so that what is no picture, or one that no memory holds, goes no further.
///
/// # Errors
/// [`Failure::BadInput`].
pub(super) fn head(file: &[u8], name: &str) -> Result<Head, Failure> {
    let bad = |what: String| Failure::BadInput(format!("{name}: {what}"));
    let kind = imagesize::image_type(file).map_err(|error| bad(error.to_string()))?;
    let size = imagesize::blob_size(file).map_err(|error| bad(error.to_string()))?;
    let (Ok(width), Ok(height)) = (u32::try_from(size.width), u32::try_from(size.height)) else {
        return Err(bad("its sides are too long".into()));
    };
    let head = Head {
        kind,
        width,
        height,
    };
    if head.pixels() == 0 {
        return Err(bad("it has no pixels".into()));
    }
    if head.pixels() > PICTURE_MAX_PIXELS {
        return Err(bad(format!(
            "it has {} pixels, more than {PICTURE_MAX_PIXELS}",
            head.pixels()
        )));
    }
    Ok(head)
}

/// The formats of answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Png,
    Jpeg,
}

/// Writes a picture as a file, on a thread that may block.
///
/// # Errors
/// [`Failure::Internal`] for a picture whose bytes are not of its size.
pub(super) async fn encode(picture: Picture, format: Format) -> Result<Vec<u8>, Failure> {
    blocking("encoding a picture", move || encoded(&picture, format)).await
}

fn encoded(picture: &Picture, format: Format) -> Result<Vec<u8>, Failure> {
    let Picture { width, height, rgb } = picture;
    let wrong = |error: &dyn std::fmt::Display| {
        Failure::Internal(format!("encoding a picture of {width}x{height}: {error}"))
    };
    if rgb.len() as u64 != u64::from(*width) * u64::from(*height) * 3 {
        return Err(wrong(&format!("{} bytes", rgb.len())));
    }
    let mut file = Vec::new();
    match format {
        Format::Png => {
            let mut encoder = png::Encoder::new(&mut file, *width, *height);
            encoder.set_color(png::ColorType::Rgb);
            encoder.set_depth(png::BitDepth::Eight);
            let mut writer = encoder.write_header().map_err(|error| wrong(&error))?;
            let written = writer.write_image_data(rgb).and_then(|()| writer.finish());
            written.map_err(|error| wrong(&error))?;
        }
        Format::Jpeg => {
            let (Ok(width), Ok(height)) = (u16::try_from(*width), u16::try_from(*height)) else {
                return Err(wrong(&"JPEG has no such sides"));
            };
            jpeg_encoder::Encoder::new(&mut file, JPEG_QUALITY)
                .encode(rgb, width, height, jpeg_encoder::ColorType::Rgb)
                .map_err(|error| wrong(&error))?;
        }
    }
    Ok(file)
}
