//! The ways in which JSON carries bytes: lists of numbers, typed arrays, base64, data URIs.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use serde_json::{Map, Value};
use tasks::Failure;

use super::input::{Binary, Input};
use crate::blocking::blocking;
use crate::errors::Refusal;

/// Values up to so many items or characters are decoded where they are; larger ones on a thread
/// that may block.
const DECODE_INLINE_MAX: usize = 16 * 1024;

/// Standard base64; padding may be absent, as with many encoders.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a string means where bytes are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Text {
    /// Base64 alone.
    Base64,
    /// The bytes themselves, a character each, as JavaScript's binary strings; base64 or a data URI
    /// where they are no file of pictures.
    Binary,
    /// A data URI.
    DataUri,
}

/// Takes a binary input out of the fields, or the body that stands for it, and decodes it.
/// `None`: it was not given.
///
/// # Errors
/// [`Refusal::NotBase64`], [`Failure::BadInput`] for what cannot be decoded or is empty.
pub(super) async fn take(
    input: &mut Input,
    name: &'static str,
    text: Text,
) -> Result<Option<Binary>, Refusal> {
    if let Some(binary) = input.binary.take_if(|binary| binary.name == name) {
        return Ok(Some(binary));
    }
    match input.fields.get_mut(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => decode(value.take(), name, text).await.map(Some),
    }
}

/// As [`take`], for an input that there has to be.
///
/// # Errors
/// As [`take`]; [`Failure::BadInput`] where there is none.
pub(super) async fn take_required(
    input: &mut Input,
    name: &'static str,
    text: Text,
) -> Result<Binary, Refusal> {
    let taken = take(input, name, text).await?;
    taken.ok_or_else(|| Failure::BadInput(format!("there is no {name}")).into())
}

/// Decodes a value, off the async threads where it is large.
///
/// # Errors
/// As [`take`].
pub(super) async fn decode(
    value: Value,
    name: &'static str,
    text: Text,
) -> Result<Binary, Refusal> {
    let is_small = match &value {
        Value::Array(items) => items.len() <= DECODE_INLINE_MAX,
        Value::String(text) => text.len() <= DECODE_INLINE_MAX,
        _ => false,
    };
    if is_small {
        return decoded(value, name, text);
    }
    blocking(name, move || decoded(value, name, text)).await
}

/// Decodes a value where it is.
///
/// # Errors
/// As [`take`].
pub(super) fn decoded(value: Value, name: &'static str, text: Text) -> Result<Binary, Refusal> {
    let (content_type, value) = match value {
        Value::Object(mut part) if part.contains_key("body") => {
            let kind = part.get("contentType").and_then(Value::as_str);
            let kind = kind.unwrap_or_default().to_owned();
            (kind, part["body"].take())
        }
        value => (String::new(), value),
    };
    let (content_type, bytes) = match &value {
        Value::Array(numbers) => {
            let bytes = numbers.iter().map(|number| byte(number, name));
            (content_type, bytes.collect::<Result<_, _>>()?)
        }
        Value::Object(numbers) => match indexed(numbers, name)? {
            Some(bytes) => (content_type, bytes),
            None if text == Text::Base64 => return Err(Refusal::NotBase64("object")),
            None => return Err(bad(name, "has a key that is no index").into()),
        },
        Value::String(string) => match text {
            Text::Base64 => (content_type, base64(string, name)?),
            Text::DataUri => data_uri(string, name)?,
            Text::Binary => binary_string(string, name)?,
        },
        Value::Number(_) => return Err(Refusal::NotBase64("number")),
        Value::Bool(_) => return Err(Refusal::NotBase64("boolean")),
        Value::Null => return Err(Refusal::NotBase64("object")), // `typeof null`
    };
    if bytes.is_empty() {
        return Err(bad(name, "is empty").into());
    }
    Ok(Binary {
        name,
        bytes: Bytes::from(bytes),
        content_type,
    })
}

fn bad(name: &str, what: &str) -> Failure {
    Failure::BadInput(format!("{name} {what}"))
}

/// The bytes of a typed array as `JSON.stringify` writes it, `{"0":82,"1":73,...}`; `None` for an
/// object of other keys.
fn indexed(numbers: &Map<String, Value>, name: &str) -> Result<Option<Vec<u8>>, Failure> {
    if numbers.is_empty() || numbers.keys().any(|key| key.parse::<usize>().is_err()) {
        return Ok(None);
    }
    let indexed = |(key, number): (&String, &Value)| {
        Ok((
            key.parse::<usize>().unwrap_or_default(),
            byte(number, name)?,
        ))
    };
    let mut bytes = numbers.iter().map(indexed).collect::<Result<Vec<_>, _>>()?;
    bytes.sort_unstable_by_key(|(index, _)| *index);
    Ok(Some(bytes.into_iter().map(|(_, byte)| byte).collect()))
}

fn byte(number: &Value, name: &str) -> Result<u8, Failure> {
    number
        .as_f64()
        .filter(|number| (0.0..=255.0).contains(number) && number.fract() == 0.0)
        .map(|number| number as u8)
        .ok_or_else(|| bad(name, "has an item that is no byte"))
}

/// Decodes base64; line breaks and blanks, which command-line encoders put in, are passed over.
pub(super) fn base64(text: &str, name: &str) -> Result<Vec<u8>, Failure> {
    let decoded = if text.bytes().any(|byte| byte.is_ascii_whitespace()) {
        let text: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
        BASE64.decode(text)
    } else {
        BASE64.decode(text)
    };
    decoded.map_err(|error| bad(name, &format!("is no base64: {error}")))
}

/// Encodes base64 with padding and without line breaks.
pub(crate) fn to_base64(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

/// The kind and the bytes of `data:<kind>;base64,<bytes>` (RFC 2397).
fn data_uri(text: &str, name: &str) -> Result<(String, Vec<u8>), Failure> {
    let rest = text
        .get(..5)
        .filter(|scheme| scheme.eq_ignore_ascii_case("data:"))
        .map(|_| &text[5..])
        .ok_or_else(|| bad(name, "is no data URI"))?;
    let (head, data) = rest
        .split_once(',')
        .ok_or_else(|| bad(name, "is a data URI without data"))?;
    let kind = head
        .strip_suffix(";base64")
        .ok_or_else(|| bad(name, "is a data URI that is not base64"))?;
    Ok((kind.to_ascii_lowercase(), base64(data, name)?))
}

fn binary_string(text: &str, name: &str) -> Result<(String, Vec<u8>), Failure> {
    if text
        .get(..5)
        .is_some_and(|s| s.eq_ignore_ascii_case("data:"))
    {
        return data_uri(text, name);
    }
    let bytes: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(c).ok()).collect();
    match bytes {
        Some(bytes) if imagesize::image_type(&bytes).is_ok() => Ok((String::new(), bytes)),
        _ => Ok((String::new(), base64(text, name)?)),
    }
}
