//! From a body's bytes to a validated input.

use bytes::Bytes;
use serde_json::Value;
use tasks::Failure;

use super::classes::Class;
use crate::validate::validate;

/// Bodies up to this size are parsed where they are; larger ones on a thread that may block.
const PARSE_INLINE_MAX_BYTES: usize = 64 * 1024;

/// A validated input.
#[derive(Debug)]
pub(crate) enum Input {
    /// The inputs by name, defaults filled in.
    Json(Value),
    /// The model's one binary input.
    Bytes(Bytes),
}

/// What travels beside the inputs, as query parameters or as the field `options`. `tags`,
/// `rejectIfBusy` and `returnRawResponse` change nothing here: a full queue always refuses.
#[derive(Debug, Default)]
pub(crate) struct Options {
    /// `queueRequest`.
    pub(crate) queues: bool,
}

impl Options {
    pub(crate) fn from_query(query: &str) -> Self {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        Self {
            queues: pairs.any(|(name, value)| name == "queueRequest" && value == "true"),
        }
    }

    /// Takes the field `options` out of the inputs: it must reach neither schema nor model.
    fn take_from(&mut self, input: &mut Value) {
        let Some(options) = input
            .as_object_mut()
            .and_then(|input| input.shift_remove("options"))
        else {
            return;
        };
        let queues = &options["queueRequest"];
        self.queues |= *queues == true || *queues == "true";
    }
}

/// Parses and validates a body.
///
/// # Errors
/// [`Failure::Missing`] for an empty body or one that is no JSON, [`Failure::Schema`].
pub(crate) async fn open(
    body: Bytes,
    class: &'static Class,
    options: &mut Options,
) -> Result<Input, Failure> {
    if body.is_empty() {
        return Err(Failure::Missing("body".into()));
    }
    if class.takes_bytes && is_binary(&body) {
        return Ok(Input::Bytes(body));
    }
    let (input, more) = if body.len() <= PARSE_INLINE_MAX_BYTES {
        parse(&body, class)?
    } else {
        tokio::task::spawn_blocking(move || parse(&body, class))
            .await
            .map_err(|error| Failure::Internal(format!("parsing a body: {error}")))??
    };
    options.queues |= more.queues;
    Ok(Input::Json(input))
}

/// Documented samples send audio as a form, so the content type says little; JSON inputs of models
/// that take bytes are objects.
fn is_binary(body: &[u8]) -> bool {
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    !matches!(first, Some(b'{' | b'['))
}

fn parse(body: &[u8], class: &Class) -> Result<(Value, Options), Failure> {
    let text = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
    let mut input: Value = serde_json::from_slice(text)
        .map_err(|error| Failure::Missing(format!("a JSON body ({error})")))?;
    let mut options = Options::default();
    options.take_from(&mut input);
    validate(&class.input, &mut input).map_err(Failure::Schema)?;
    Ok((input, options))
}
