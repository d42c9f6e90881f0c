//! Images inside of JSON.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::Value;
use tasks::Failure;

use crate::errors::Refusal;

/// Takes padding or leaves it, as callers do.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The file of a field: byte numbers, base64, or a data URI. A typed array of JavaScript's arrives
/// as an object of numbers under their indices.
///
/// # Errors
/// [`Refusal::NotBase64`] for other types, [`Failure::BadInput`] for what is no file.
pub(super) fn from_field(value: &Value) -> Result<Vec<u8>, Refusal> {
    let file = match value {
        Value::String(text) if text.starts_with("data:") => from_uri(text)?,
        Value::String(text) => decode(text)?,
        Value::Array(numbers) => bytes(numbers.iter())?,
        Value::Object(numbers) => bytes(numbers.values())?,
        Value::Null => return Err(Refusal::NotBase64("null")),
        Value::Bool(_) => return Err(Refusal::NotBase64("boolean")),
        Value::Number(_) => return Err(Refusal::NotBase64("number")),
    };
    if file.is_empty() {
        return Err(Failure::BadInput("an image is empty".into()).into());
    }
    Ok(file)
}

/// The file of an `image_url`: a data URI.
///
/// # Errors
/// [`Failure::Unsupported`] for the address of a server, [`Failure::BadInput`].
pub(super) fn from_uri(uri: &str) -> Result<Vec<u8>, Failure> {
    let Some(rest) = uri.strip_prefix("data:") else {
        return Err(Failure::Unsupported(
            "image_url has to be a data: URI; images of other servers are not fetched".into(),
        ));
    };
    match rest.split_once(',') {
        Some((kind, data)) if kind.ends_with(";base64") => decode(data),
        _ => Err(Failure::BadInput("a data URI that is no base64".into())),
    }
}

fn decode(text: &str) -> Result<Vec<u8>, Failure> {
    let decoded = BASE64.decode(text.trim_ascii());
    decoded.map_err(|error| Failure::BadInput(format!("an image that is no base64: {error}")))
}

fn bytes<'a>(numbers: impl Iterator<Item = &'a Value>) -> Result<Vec<u8>, Failure> {
    let byte = |number: &Value| {
        let whole = number.as_f64().filter(|number| number.fract() == 0.0);
        whole
            .filter(|number| (0.0..=255.0).contains(number))
            .map(|number| number as u8)
            .ok_or_else(|| Failure::BadInput("an image has items that are no bytes".into()))
    };
    numbers.map(byte).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_spelling_is_the_same_file() {
        for value in [
            json!([104, 105]),
            json!([104.0, 105]),
            json!({"0": 104, "1": 105}),
            json!("aGk="),
            json!("aGk"),
            json!("data:image/png;base64,aGk="),
            json!("data:;base64,aGk="),
        ] {
            assert_eq!(from_field(&value).unwrap(), b"hi", "{value}");
        }
    }

    #[test]
    fn what_is_no_file_is_refused() {
        for value in [
            json!([256]),
            json!([-1]),
            json!([1.5]),
            json!(["a"]),
            json!("%"),
            json!("data:image/png,hi"),
            json!("data:image/png;base64"),
            json!([]),
            json!(""),
        ] {
            let refusal = from_field(&value).unwrap_err();
            assert!(
                matches!(refusal, Refusal::Failure(Failure::BadInput(_))),
                "{value}: {refusal:?}"
            );
        }
        for (value, kind) in [
            (json!(null), "null"),
            (json!(true), "boolean"),
            (json!(1), "number"),
        ] {
            let refusal = from_field(&value).unwrap_err();
            assert!(matches!(refusal, Refusal::NotBase64(told) if told == kind));
        }
        assert!(matches!(
            from_uri("https://x/y.png"),
            Err(Failure::Unsupported(_))
        ));
    }
}
