//! `multipart/form-data` (RFC 7578), read under bounds.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::stream;
use tasks::Failure;

use super::input::Binary;

/// Parts of a form.
const FORM_MAX_PARTS: usize = 64;
/// Characters of a boundary (RFC 2046, section 5.1.1).
const BOUNDARY_MAX_CHARACTERS: usize = 70;

/// A part: its name and its content.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) name: String,
    pub(super) content: Bytes,
}

/// Reads all parts. The body is in memory already, under the limit of bodies.
///
/// # Errors
/// [`Failure::BadInput`] for what is no form.
pub(super) async fn parts(body: Binary) -> Result<Vec<Part>, Failure> {
    let bad = |what: &dyn std::fmt::Display| Failure::BadInput(format!("the form: {what}"));
    let boundary = boundary(&body).ok_or_else(|| bad(&"there is no boundary"))?;
    let body = stream::iter([Ok::<_, Infallible>(body.bytes)]);
    let mut form = multer::Multipart::new(body, boundary);
    let mut parts = Vec::new();
    while let Some(field) = form.next_field().await.map_err(|error| bad(&error))? {
        if parts.len() == FORM_MAX_PARTS {
            return Err(bad(&format!("more than {FORM_MAX_PARTS} parts")));
        }
        let name = field.name().unwrap_or_default().to_owned();
        let content = field.bytes().await.map_err(|error| bad(&error))?;
        parts.push(Part { name, content });
    }
    Ok(parts)
}

/// The boundary that the content type names or, where a Worker wrote a content type by hand, the one
/// of the first line.
fn boundary(body: &Binary) -> Option<String> {
    let named = multer::parse_boundary(&body.content_type).ok();
    named.or_else(|| {
        let mut lines = body.bytes.split(|byte| *byte == b'\n');
        let line = lines.next()?.trim_ascii_end().strip_prefix(b"--")?;
        let is_boundary = (1..=BOUNDARY_MAX_CHARACTERS).contains(&line.len())
            && line.iter().all(|byte| (b' '..=b'~').contains(byte));
        is_boundary.then(|| String::from_utf8_lossy(line).into_owned())
    })
}
