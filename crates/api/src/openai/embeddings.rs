//! `POST /client/v4/accounts/{account}/ai/v1/embeddings`.

use std::sync::{Arc, LazyLock};

use axum::extract::{Request, State};
use axum::response::Response;
use catalog::TaskKind;
use serde::Serialize;
use serde_json::{Value, json};
use tasks::Failure;

use super::model;
use crate::App;
use crate::errors::{Refusal, RequestId};
use crate::run::embedding::{self, Manner, Vectors};
use crate::run::{Answer, Call, Content, Input, parse_json, read_body, respond, to_base64};
use crate::surface::Surface;
use crate::validate::Schema;

/// What a body has to look like, in the words of the validator of the other routes.
static BODY: LazyLock<Schema> = LazyLock::new(|| {
    let schema = Schema::read(&published_body());
    schema.unwrap_or_else(|error| panic!("the schema of the fields: {error}"))
});

/// The same as a document.
pub(crate) fn published_body() -> Value {
    json!({
        "type": "object",
        "properties": {
            "encoding_format": {"type": "string", "enum": ["float", "base64"], "default": "float"},
            "dimensions": {"type": "integer", "minimum": 1},
            "input": {"oneOf": [
                {"type": "string", "minLength": 1},
                {"type": "array", "items": {"type": "string", "minLength": 1}}
            ]}
        },
        "required": ["input"]
    })
}

/// `POST .../ai/v1/embeddings`.
pub(crate) async fn embeddings(State(app): State<Arc<App>>, request: Request) -> Response {
    embed_on(Surface::OpenAi, &app, request).await
}

/// The same on any surface.
pub(crate) async fn embed_on(surface: Surface, app: &App, request: Request) -> Response {
    let id = RequestId::new();
    let mut name = String::new();
    let answered = async {
        let (_, body) = read_body(app, request).await?;
        let body = parse_json(body).await?;
        model(&body)?.clone_into(&mut name);
        let call = Call::of(app, &name, id)?;
        if call.card.task != TaskKind::TextEmbeddings {
            let text = format!("{name} makes no text embeddings");
            return Err(Failure::Unsupported(text).into());
        }
        let input = Input::held_against(&BODY, body).await?;
        let answering = |input: Input| Ok(answer(call, input, &name));
        let answer = call.account(input, answering).await?;
        Ok::<_, Refusal>((answer, call.card))
    };
    let answered = answered.await;
    respond(answered, &name, surface, id)
}

async fn answer(call: Call<'_>, input: Input, name: &str) -> Result<Answer, Refusal> {
    let body = &input.fields;
    let class = call.card.schema_class.as_str();
    let asked = body.get("dimensions").and_then(Value::as_u64);
    if let (Some(asked), Some(width)) = (asked, call.card.output_dimensions)
        && asked != width as u64
    {
        let text = format!("dimensions: the vectors of {name} have {width} numbers, not {asked}");
        return Err(Failure::Unsupported(text).into());
    }
    let texts = embedding::texts(&body["input"], "input")?;
    embedding::count(texts.len(), class)?;
    let made = embedding::embed(call, texts, Manner::of(&Value::Null, class)).await?;
    let is_base64 = body["encoding_format"] == "base64";
    let content = write(&made, name, is_base64)?;
    Ok(Answer::of_vectors(call, content, made))
}

fn write(made: &Vectors, model: &str, is_base64: bool) -> Result<Content, Failure> {
    #[derive(Serialize)]
    #[serde(untagged)]
    enum Vector<'a> {
        Numbers(&'a [f32]),
        /// Of 32 bits each, little-endian.
        Base64(String),
    }
    #[derive(Serialize)]
    struct Item<'a> {
        object: &'static str,
        embedding: Vector<'a>,
        index: usize,
    }
    #[derive(Serialize)]
    struct Usage {
        prompt_tokens: u64,
        total_tokens: u64,
    }
    #[derive(Serialize)]
    struct List<'a> {
        object: &'static str,
        data: Vec<Item<'a>>,
        model: &'a str,
        usage: Usage,
    }
    let vector = |numbers: &'_ Vec<f32>| -> String {
        let bytes: Vec<u8> = numbers
            .iter()
            .flat_map(|number| number.to_le_bytes())
            .collect();
        to_base64(&bytes)
    };
    let items = made
        .vectors
        .iter()
        .enumerate()
        .map(|(index, numbers)| Item {
            object: "embedding",
            embedding: if is_base64 {
                Vector::Base64(vector(numbers))
            } else {
                Vector::Numbers(numbers)
            },
            index,
        });
    Content::json(&List {
        object: "list",
        data: items.collect(),
        model,
        usage: Usage {
            prompt_tokens: made.tokens,
            total_tokens: made.tokens,
        },
    })
}
