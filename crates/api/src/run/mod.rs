//! One inference, whatever the task and wherever it came in: the model, its input, its answer.

mod answer;
pub(crate) mod classes;
mod events;
mod fields;
mod input;
mod job;
mod neurons;
pub(crate) mod rest;
mod speech_recognition;
mod text_embeddings;
mod text_generation;

pub(crate) use answer::{Answer, Content};
use axum::extract::Request;
use axum::http::request::Parts;
use axum::response::Response;
use bytes::Bytes;
use catalog::{ModelCard, TaskKind};
pub(crate) use input::{Input, Options, parse_json};
use serde_json::Value;
use tasks::Failure;

use crate::errors::{Refusal, RequestId, add_request_id, inference};
use crate::layers::body;
use crate::manage::Meter;
use crate::manage::batch::{self, Told};
use crate::surface::Surface;
use crate::{App, DeprecatedPolicy};

/// One inference: whose model, and where it came in.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) app: &'a App,
    pub(crate) card: &'a ModelCard,
    #[allow(dead_code)] // read where a task answers differently on the OpenAI surface
    pub(crate) surface: Surface,
    pub(crate) id: RequestId,
}

impl<'a> Call<'a> {
    /// A call of a name that may be asked.
    ///
    /// # Errors
    /// [`Failure::NoSuchModel`], [`Failure::Deprecated`].
    pub(crate) fn of(
        app: &'a App,
        model: &str,
        surface: Surface,
        id: RequestId,
    ) -> Result<Self, Failure> {
        let card = app.catalog.card(model);
        let card = card.ok_or_else(|| Failure::NoSuchModel(model.into()))?;
        match (&card.deprecated_on, app.settings.deprecated) {
            (Some(on), DeprecatedPolicy::Refuse) => Err(Failure::Deprecated {
                model: card.name.clone(),
                on: on.clone(),
            }),
            _ => Ok(Self {
                app,
                card,
                surface,
                id,
            }),
        }
    }

    /// Counts what the model does.
    pub(crate) fn meter(&self) -> Meter {
        Meter::of(self.app, &self.card.name)
    }

    /// The class of the model's inputs.
    pub(crate) fn class(&self) -> Result<&'static classes::Class, Failure> {
        classes::of(&self.card.schema_class).ok_or_else(|| {
            Failure::Unsupported(format!(
                "{} takes inputs of the class {}, which this version of hearth does not serve",
                self.card.name, self.card.schema_class
            ))
        })
    }
}

/// What a call came to.
pub(crate) enum Outcome<'a> {
    /// The model has answered.
    Answer(Answer, &'a ModelCard),
    /// It was about a batch.
    Batch(Told),
}

impl<'a> From<(Answer, &'a ModelCard)> for Outcome<'a> {
    fn from((answer, card): (Answer, &'a ModelCard)) -> Self {
        Self::Answer(answer, card)
    }
}

/// The response to a call: its answer, or the refusal in the surface's dress.
pub(crate) fn respond<'a>(
    answered: Result<impl Into<Outcome<'a>>, Refusal>,
    model: &str,
    surface: Surface,
    id: RequestId,
) -> Response {
    match answered.map(Into::into) {
        Ok(Outcome::Answer(answer, card)) => answer.into_response(card, surface, id),
        Ok(Outcome::Batch(told)) => {
            let mut response = answer::dressed(told.json, told.status, surface);
            add_request_id(&mut response, id);
            response
        }
        Err(refusal) => inference(&refusal, model, id, surface),
    }
}

/// Reads a request's whole body.
pub(crate) async fn read_body(app: &App, request: Request) -> Result<(Parts, Bytes), Failure> {
    let (parts, body) = request.into_parts();
    let body = body::read(&parts.headers, body, app.settings.body_limit_bytes).await?;
    Ok((parts, body))
}

/// Answers an input that was parsed, whether it is a model's or about a batch.
pub(crate) async fn outcome<'a>(
    call: Call<'a>,
    input: Value,
    options: &Options,
) -> Result<Outcome<'a>, Refusal> {
    if let Some(told) = batch::ask(call, &input, options).await? {
        return Ok(Outcome::Batch(told));
    }
    let input = Input::checked(input, call.class()?).await?;
    let answer = answer(call, input, options).await?;
    Ok(Outcome::Answer(answer, call.card))
}

/// Answers a validated input, and counts it.
pub(crate) async fn answer(
    call: Call<'_>,
    input: Input,
    options: &Options,
) -> Result<Answer, Refusal> {
    let answer = by_task(call, input, options).await?;
    let is_stream = matches!(answer.content, Content::Events(_));
    call.meter().request(answer.neurons, is_stream);
    Ok(answer)
}

async fn by_task(call: Call<'_>, input: Input, _options: &Options) -> Result<Answer, Refusal> {
    match call.card.task {
        TaskKind::TextGeneration => text_generation::answer(call, &input.fields).await,
        TaskKind::TextEmbeddings => text_embeddings::answer(call, &input.fields).await,
        TaskKind::SpeechRecognition => speech_recognition::answer(call, input).await,
        task => {
            let text = format!(
                "{} ({}) is not served by this version of hearth",
                call.card.name,
                task.name()
            );
            Err(Failure::Unsupported(text).into())
        }
    }
}

/// Validates one input and answers it with the bare result, as an item of a batch.
///
/// # Errors
/// Whatever the run route would refuse; [`Failure::BadInput`] for an input whose answer is no JSON
/// (a stream, a picture).
pub(crate) async fn answer_json(call: Call<'_>, input: Value) -> Result<Value, Refusal> {
    let input = Input::checked(input, call.class()?).await?;
    let answer = answer(call, input, &Options::default()).await?;
    match answer.content {
        Content::Json(json) => serde_json::from_slice(&json)
            .map_err(|error| Failure::Internal(format!("reading an answer: {error}")).into()),
        Content::Events(_) | Content::File { .. } => {
            Err(Failure::BadInput("the answer of a batch's item has to be JSON".into()).into())
        }
    }
}
