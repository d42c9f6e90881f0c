//! Images inside of JSON.

use serde_json::Value;
use tasks::Failure;

use crate::errors::Refusal;
use crate::run::raw::{Text, decoded};

/// The file of a field: byte numbers, base64, or a data URI.
///
/// # Errors
/// [`Refusal::NotBase64`] for other types, [`Failure::BadInput`] for what is no file.
pub(super) fn from_field(value: &Value) -> Result<Vec<u8>, Refusal> {
    Ok(decoded(value.clone(), "image", Text::Binary)?.bytes.into())
}

/// The file of an `image_url`: a data URI.
///
/// # Errors
/// [`Failure::Unsupported`] for the address of a server, [`Failure::BadInput`].
pub(super) fn from_uri(uri: &str) -> Result<Vec<u8>, Refusal> {
    let scheme = uri.get(..5).unwrap_or_default();
    if !scheme.eq_ignore_ascii_case("data:") {
        return Err(Failure::Unsupported(
            "image_url has to be a data: URI; images of other servers are not fetched".into(),
        )
        .into());
    }
    Ok(decoded(uri.into(), "image_url", Text::DataUri)?
        .bytes
        .into())
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
        for (value, kind) in [(json!(true), "boolean"), (json!(1), "number")] {
            let refusal = from_field(&value).unwrap_err();
            assert!(matches!(refusal, Refusal::NotBase64(told) if told == kind));
        }
        assert!(matches!(
            from_uri("https://x/y.png"),
            Err(Refusal::Failure(Failure::Unsupported(_)))
        ));
    }
}
