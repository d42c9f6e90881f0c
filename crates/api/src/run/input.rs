//! From a body's bytes to a validated input.

use axum::http::{HeaderMap, HeaderValue, header};
use bytes::Bytes;
use serde_json::{Map, Value};
use tasks::Failure;

use super::classes::Class;
use crate::validate::validate;

/// Bodies up to this size are parsed where they are; larger ones on a thread that may block.
const PARSE_INLINE_MAX_BYTES: usize = 64 * 1024;

/// Inputs with up to so many items in their lists are validated where they are.
const CHECK_INLINE_MAX_ITEMS: usize = 4096;

/// A model's one binary input, as it came.
#[derive(Debug, Clone)]
pub(crate) struct Binary {
    pub(crate) bytes: Bytes,
    /// What the caller calls it; a form of curl's says little.
    #[allow(dead_code)] // read by the classes that take raw samples
    pub(crate) content_type: String,
}

/// A validated input.
#[derive(Debug)]
pub(crate) struct Input {
    /// The inputs by name, defaults filled in; an object.
    pub(crate) fields: Value,
    /// The binary input, where the body is nothing else.
    pub(crate) binary: Option<Binary>,
}

/// What travels beside the inputs, as query parameters or as the field `options`. `tags` and
/// `returnRawResponse` change nothing here.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    /// `queueRequest`.
    pub(crate) queues: bool,
    /// `rejectIfBusy`: a full queue always refuses, so that there is nothing more to do.
    pub(crate) rejects_if_busy: bool,
}

impl Options {
    pub(crate) fn from_query(query: &str) -> Self {
        let mut options = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            options.set(&name, value == "true");
        }
        options
    }

    fn set(&mut self, name: &str, is_true: bool) {
        match name {
            "queueRequest" => self.queues |= is_true,
            "rejectIfBusy" => self.rejects_if_busy |= is_true,
            _ => {}
        }
    }

    /// Takes the field `options` out of a body: it must reach neither schema nor model.
    pub(crate) fn take_from(&mut self, body: &mut Value) {
        let Some(Value::Object(options)) = body
            .as_object_mut()
            .and_then(|body| body.shift_remove("options"))
        else {
            return;
        };
        for (name, value) in &options {
            self.set(name, *value == true || *value == "true");
        }
    }
}

impl Input {
    /// Reads the body of the REST surface, which is the input itself.
    ///
    /// # Errors
    /// [`Failure::Missing`] for an empty body or one that is no JSON, [`Failure::Schema`].
    pub(crate) async fn open(
        body: Bytes,
        headers: &HeaderMap,
        class: &'static Class,
        options: &mut Options,
    ) -> Result<Self, Failure> {
        if class.takes_bytes && is_binary(&body) {
            let nothing = Value::Object(Map::new());
            return Self::with_binary(body, headers, nothing, class).await;
        }
        let mut input = parse_json(body).await?;
        options.take_from(&mut input);
        Self::checked(input, class).await
    }

    /// Takes raw bytes as the binary input of a class that has one, beside other fields.
    ///
    /// # Errors
    /// [`Failure::Missing`] for an empty body.
    #[allow(clippy::unused_async)] // classes with fields beside their bytes validate them here
    pub(crate) async fn with_binary(
        body: Bytes,
        headers: &HeaderMap,
        fields: Value,
        _class: &'static Class,
    ) -> Result<Self, Failure> {
        if body.is_empty() {
            return Err(Failure::Missing("body".into()));
        }
        let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
        let content_type = String::from_utf8_lossy(kind.unwrap_or_default()).into_owned();
        Ok(Self {
            fields,
            binary: Some(Binary {
                bytes: body,
                content_type,
            }),
        })
    }

    /// Validates an input that was parsed already, and fills its defaults in.
    ///
    /// # Errors
    /// [`Failure::Schema`].
    pub(crate) async fn checked(input: Value, class: &'static Class) -> Result<Self, Failure> {
        let is_large = items(&input) > CHECK_INLINE_MAX_ITEMS;
        let check = move || {
            let mut fields = input;
            validate(&class.input, &mut fields).map_err(Failure::Schema)?;
            Ok(Self {
                fields,
                binary: None,
            })
        };
        if is_large {
            tokio::task::spawn_blocking(check)
                .await
                .map_err(|error| Failure::Internal(format!("validating an input: {error}")))?
        } else {
            check()
        }
    }
}

/// Items of the lists and objects that an input consists of, without those within them.
fn items(input: &Value) -> usize {
    let within = |value: &Value| match value {
        Value::Array(items) => items.len(),
        Value::Object(fields) => fields.len(),
        _ => 1,
    };
    match input {
        Value::Object(fields) => fields.values().map(within).sum(),
        other => within(other),
    }
}

/// Parses a JSON body.
///
/// # Errors
/// [`Failure::Missing`] for an empty body or one that is no JSON.
pub(crate) async fn parse_json(body: Bytes) -> Result<Value, Failure> {
    if body.is_empty() {
        return Err(Failure::Missing("body".into()));
    }
    let parse = |body: &[u8]| {
        let text = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
        serde_json::from_slice(text)
            .map_err(|error| Failure::Missing(format!("a JSON body ({error})")))
    };
    if body.len() <= PARSE_INLINE_MAX_BYTES {
        return parse(&body);
    }
    tokio::task::spawn_blocking(move || parse(&body))
        .await
        .map_err(|error| Failure::Internal(format!("parsing a body: {error}")))?
}

/// Documented samples send audio as a form, so the content type says little; JSON inputs of models
/// that take bytes are objects.
fn is_binary(body: &[u8]) -> bool {
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    !matches!(first, None | Some(b'{' | b'['))
}
