//! From a body's bytes to a validated input.

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use bytes::Bytes;
use serde_json::{Map, Value};
use tasks::Failure;

use super::Call;
use super::classes::Class;
use crate::blocking::blocking;
use crate::validate::{Schema, validate};

/// Bodies up to this size are parsed where they are; larger ones on a thread that may block.
const PARSE_INLINE_MAX_BYTES: usize = 64 * 1024;

/// Inputs with up to so many values, at any depth, are validated where they are.
const CHECK_INLINE_MAX_ITEMS: usize = 4096;

/// A model's one binary input, as it came.
#[derive(Debug, Clone)]
pub(crate) struct Binary {
    /// The input that it is.
    pub(crate) name: &'static str,
    pub(crate) bytes: Bytes,
    /// What the caller calls it; a form of curl's says little.
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
    /// `rejectIfBusy`.
    pub(crate) refuses_to_wait: bool,
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
            "rejectIfBusy" => self.refuses_to_wait |= is_true,
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
    /// Whether the body of the REST surface is the model's binary input, and not JSON.
    ///
    /// # Errors
    /// [`Failure::Unsupported`] for a class that is not served.
    pub(crate) fn is_raw(call: Call<'_>, parts: &Parts, body: &[u8]) -> Result<bool, Failure> {
        Ok(is_raw(call.class()?, body, &content_type(&parts.headers)))
    }

    /// Reads raw bytes with flags in the query, as the REST surface takes them.
    ///
    /// # Errors
    /// As [`Input::with_binary`].
    pub(crate) async fn of_raw(
        call: Call<'_>,
        parts: &Parts,
        body: Bytes,
    ) -> Result<Self, Failure> {
        let class = call.class()?;
        let fields = if class.takes_multipart {
            Map::new()
        } else {
            flags(parts.uri.query().unwrap_or_default(), class)?
        };
        Self::with_binary(call, parts, body, Value::Object(fields)).await
    }

    /// Takes raw bytes as the one binary input of the class, beside the fields that a Worker sent
    /// with them.
    ///
    /// # Errors
    /// [`Failure::Missing`] for an empty body, [`Failure::BadInput`] for a class without a binary
    /// input, [`Failure::Schema`] for the other fields.
    pub(crate) async fn with_binary(
        call: Call<'_>,
        parts: &Parts,
        body: Bytes,
        fields: Value,
    ) -> Result<Self, Failure> {
        let class = call.class()?;
        let (Some(name), Some(beside)) = (class.binary, &class.beside) else {
            return Err(Failure::BadInput("this model takes no binary input".into()));
        };
        if body.is_empty() {
            return Err(Failure::Missing("body".into()));
        }
        let mut input = Self::held_against(beside, fields).await?;
        input.binary = Some(Binary {
            name,
            bytes: body,
            content_type: content_type(&parts.headers),
        });
        Ok(input)
    }

    /// Validates an input that was parsed already, and fills its defaults in.
    ///
    /// # Errors
    /// [`Failure::Schema`].
    pub(crate) async fn checked(input: Value, class: &'static Class) -> Result<Self, Failure> {
        let mut input = input;
        let Some((name, part, beside)) = encoded_part(&mut input, class) else {
            return Self::held_against(&class.input, input).await;
        };
        let mut input = Self::held_against(beside, input).await?;
        input.fields[name] = part;
        Ok(input)
    }

    /// Validates an input against a schema, off the async threads where it is large, and fills its defaults in.
    ///
    /// # Errors
    /// [`Failure::Schema`].
    pub(crate) async fn held_against(
        schema: &'static Schema,
        input: Value,
    ) -> Result<Self, Failure> {
        let is_large = has_more_than(&input, CHECK_INLINE_MAX_ITEMS);
        let check = move || {
            let mut fields = input;
            validate(schema, &mut fields).map_err(Failure::Schema)?;
            Ok(Self {
                fields,
                binary: None,
            })
        };
        if is_large {
            blocking("validating an input", check).await
        } else {
            check()
        }
    }
}

/// Whether an input has more than so many values, at any depth; counts no further.
fn has_more_than(input: &Value, most: usize) -> bool {
    let mut left = most;
    let mut open = vec![input];
    while let Some(value) = open.pop() {
        let Some(fewer) = left.checked_sub(1) else {
            return true;
        };
        left = fewer;
        match value {
            Value::Array(items) if items.len() > left => return true,
            Value::Array(items) => open.extend(items),
            Value::Object(fields) if fields.len() > left => return true,
            Value::Object(fields) => open.extend(fields.values()),
            _ => {}
        }
    }
    false
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
    blocking("parsing a body", move || parse(&body)).await
}

/// Whether a body is called JSON.
pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let kind = kind.unwrap_or_default();
    let kind = kind.split(|&byte| byte == b';').next().unwrap_or(kind);
    kind.trim_ascii().eq_ignore_ascii_case(b"application/json")
}

/// Takes the audio of nova-3 out of its inputs where it is base64 in `{body, contentType}`: the
/// service's page has this form, its schema knows only streams.
fn encoded_part(
    input: &mut Value,
    class: &'static Class,
) -> Option<(&'static str, Value, &'static Schema)> {
    if class.name != "asr-nova-3" {
        return None;
    }
    let (name, beside) = (class.binary?, class.beside.as_ref()?);
    let part = input.get(name)?;
    if !part["body"].is_string() || !part["contentType"].is_string() {
        return None;
    }
    let part = input.as_object_mut()?.shift_remove(name)?;
    Some((name, part, beside))
}

/// What the caller calls its body.
fn content_type(headers: &HeaderMap) -> String {
    let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    String::from_utf8_lossy(kind.unwrap_or_default()).into_owned()
}

/// Whether a REST body is the raw bytes of the class's binary input, and not JSON. Documented samples
/// send audio as a form of curl's, so that beside the kinds of content that are never JSON the first
/// byte decides.
fn is_raw(class: &Class, body: &[u8], content_type: &str) -> bool {
    let kind = content_type.trim_start().to_ascii_lowercase();
    if class.takes_multipart {
        return kind.starts_with("multipart/") || body.starts_with(b"--");
    }
    let is_never_json = ["audio/", "image/", "video/", "application/octet-stream"]
        .iter()
        .any(|never| kind.starts_with(never));
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    class.takes_bytes
        && !body.is_empty()
        && (is_never_json || !matches!(first, None | Some(b'{' | b'[')))
}

/// The query's parameters that name inputs of the class, as the types that its schema wants.
/// Others are options.
///
/// # Errors
/// [`Failure::BadInput`] for an input that is given twice.
fn flags(query: &str, class: &Class) -> Result<Map<String, Value>, Failure> {
    let mut fields = Map::new();
    for (name, text) in form_urlencoded::parse(query.as_bytes()) {
        let Some(kind) = kind_of(&class.input_json, &name) else {
            continue;
        };
        let value = match (kind, text.as_ref()) {
            ("boolean", "true") => Value::Bool(true),
            ("boolean", "false") => Value::Bool(false),
            ("number" | "integer", text) => {
                serde_json::from_str(text).unwrap_or_else(|_| text.into())
            }
            (_, text) => text.into(),
        };
        if fields.insert(name.to_string(), value).is_some() {
            return Err(Failure::BadInput(format!("{name} is given twice")));
        }
    }
    Ok(fields)
}

/// The type that an input of this name is declared to have, in whatever branch.
fn kind_of<'s>(schema: &'s Value, name: &str) -> Option<&'s str> {
    let branches = schema["oneOf"].as_array().map_or(&[][..], Vec::as_slice);
    let mut forms = std::iter::once(schema).chain(branches);
    let property = forms.find_map(|form| form["properties"].get(name))?;
    Some(property["type"].as_str().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_counted_at_any_depth() {
        // The object, its list, the turn, its list, three texts.
        let deep = json!({"messages": [{"content": ["a", "b", "c"]}]});
        assert!(has_more_than(&deep, 6));
        assert!(!has_more_than(&deep, 7));
        assert!(!has_more_than(&json!("a"), 1));
        let flat = json!({"text": vec!["a"; 5000]});
        assert!(has_more_than(&flat, CHECK_INLINE_MAX_ITEMS));
        let nested = json!({"messages": [{"content": vec!["a"; 5000]}]});
        assert!(has_more_than(&nested, CHECK_INLINE_MAX_ITEMS));
    }
}
