//! `choices[].logprobs` of OpenAI's chat completions.

use serde_json::{Value, json};
use tasks::{Logprob, TokenLogprobs};

/// What a choice or a chunk tells of these tokens; `null` where nobody asked. `refusal` is never told apart.
pub(super) fn write(asked: bool, tokens: &[TokenLogprobs]) -> Value {
    if !asked {
        return Value::Null;
    }
    let content: Vec<_> = tokens.iter().map(token).collect();
    json!({"content": content, "refusal": null})
}

fn token(told: &TokenLogprobs) -> Value {
    let mut token = one(&told.token);
    token["top_logprobs"] = told.top.iter().map(one).collect();
    token
}

/// `token` is text whatever the bytes are: a part of a character is told apart by `bytes` only.
fn one(told: &Logprob) -> Value {
    json!({
        "bytes": &*told.bytes,
        "logprob": told.logprob,
        "token": String::from_utf8_lossy(&told.bytes),
    })
}
