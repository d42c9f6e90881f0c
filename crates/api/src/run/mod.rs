//! One inference, whatever the task and wherever it came in: the model, its input, its answer.

mod answer;
mod caller;

pub(crate) mod classes;
mod decision;
pub(crate) mod dialects;
pub(crate) mod embedding;
mod events;
mod fields;
mod flux_2;
mod form;
mod image_classification;
mod image_to_text;
mod input;
mod job;
mod languages;
mod moondream;
mod neurons;
mod object_detection;
mod picture;
mod raw;
mod reranking;
pub(crate) mod rest;
mod sound;
mod speech_options;
mod speech_recognition;
mod summarization;
mod text_classification;
mod text_embeddings;
pub(crate) mod text_generation;
mod text_to_image;
mod text_to_speech;
mod till;
mod transcript;
mod translation;
mod voice_activity;

pub(crate) use answer::{Answer, Content};
use axum::extract::Request;
use axum::http::request::Parts;
use axum::response::Response;
use bytes::Bytes;
use catalog::{ModelCard, TaskKind};
pub(crate) use input::{Input, Options, is_json, parse_json};
pub(crate) use neurons::Cost;
pub(crate) use raw::to_base64;
use serde_json::Value;
use tasks::Failure;
use till::Till;

use crate::errors::{Refusal, RequestId, add_request_id, inference};
use crate::gateway::NotKept;
use crate::layers::body;
use crate::manage::batch::{self, Telling, Told};
use crate::surface::Surface;
use crate::{App, DeprecatedPolicy};

/// One inference: whose model, and where it came in.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) app: &'a App,
    pub(crate) card: &'a ModelCard,
    pub(crate) id: RequestId,
    /// What the engine is told of who asks.
    pub(crate) caller: engine::Caller,
}

impl<'a> Call<'a> {
    /// A call of a name that may be asked.
    ///
    /// # Errors
    /// [`Failure::NoSuchModel`], [`Failure::Deprecated`], and what the account may not ask.
    pub(crate) fn of(app: &'a App, model: &str, id: RequestId) -> Result<Self, Refusal> {
        let card = app.catalog.card(model);
        let mut card = card.ok_or_else(|| Failure::NoSuchModel(model.into()))?;
        if let (Some(on), DeprecatedPolicy::Refuse) = (&card.deprecated_on, app.settings.deprecated)
        {
            let successor = card.answered_by.as_ref();
            card = successor
                .and_then(|name| app.catalog.card(name))
                .ok_or_else(|| Failure::Deprecated {
                    model: card.name.clone(),
                    on: on.clone(),
                })?;
        }
        app.account.admit(card)?;
        Ok(Self {
            app,
            card,
            id,
            caller: engine::Caller::default(),
        })
    }

    /// Reads a request's whole body; some models take less than others.
    pub(crate) async fn read_body(&self, request: Request) -> Result<(Parts, Bytes), Failure> {
        let mut limit = self.app.settings.body_limit_bytes;
        if decision::serves(self.card) {
            limit = limit.min(decision::BODY_LIMIT_BYTES);
        }
        read_within(request, limit).await
    }

    /// Answers a validated input under the rules of the account: the licence is asked for before the input is
    /// read, the request is counted once it was read, and what the answer cost is booked. A stream books itself when
    /// it has ended.
    ///
    /// # Errors
    /// What the account may not ask, what `read` refuses, and what the answer fails with.
    pub(crate) async fn account<F>(
        self,
        input: Input,
        read: impl FnOnce(Input) -> Result<F, Refusal>,
    ) -> Result<Answer, Refusal>
    where
        F: Future<Output = Result<Answer, Refusal>>,
    {
        let account = &self.app.account;
        account.check_licence(self.card, &input.fields)?;
        let answering = read(input)?;
        account.begin(self.card)?;
        let answer = answering.await?;
        Till::of(self).answered(&answer);
        Ok(answer)
    }

    /// The class of the model's inputs.
    pub(crate) fn class(&self) -> Result<&'static classes::Class, Failure> {
        dialects::of(self.card).ok_or_else(|| {
            Failure::Unsupported(format!(
                "{} takes inputs of the class {}, which this version of hearth does not serve",
                self.card.name, self.card.schema_class
            ))
        })
    }
}

/// What a call came to.
pub(crate) enum Reply<'a> {
    /// The model has answered.
    Answer(Answer, &'a ModelCard),
    /// It was about a batch.
    Batch(Told),
}

impl<'a> From<(Answer, &'a ModelCard)> for Reply<'a> {
    fn from((answer, card): (Answer, &'a ModelCard)) -> Self {
        Self::Answer(answer, card)
    }
}

/// The response to a call: its answer, or the refusal in the surface's dress.
pub(crate) fn respond<'a>(
    answered: Result<impl Into<Reply<'a>>, Refusal>,
    model: &str,
    surface: Surface,
    id: RequestId,
) -> Response {
    match answered.map(Into::into) {
        Ok(Reply::Answer(answer, card)) => answer.into_response(card, surface, id),
        Ok(Reply::Batch(told)) => {
            let mut response = match told.content {
                Telling::Whole(json) => answer::dressed(json, told.status, surface),
                Telling::Pieces(pieces) => answer::dressed_pieces(pieces, told.status, surface),
            };
            response.extensions_mut().insert(NotKept);
            add_request_id(&mut response, id);
            response
        }
        Err(refusal) => inference(&refusal, model, id, surface),
    }
}

/// Reads a request's whole body.
pub(crate) async fn read_body(app: &App, request: Request) -> Result<(Parts, Bytes), Failure> {
    read_within(request, app.settings.body_limit_bytes).await
}

async fn read_within(request: Request, limit_bytes: usize) -> Result<(Parts, Bytes), Failure> {
    let (parts, body) = request.into_parts();
    let body = body::read(&parts.headers, body, limit_bytes).await?;
    Ok((parts, body))
}

/// Answers an input that was parsed, whether it is a model's or about a batch.
pub(crate) async fn reply<'a>(
    call: Call<'a>,
    mut input: Value,
    options: &Options,
) -> Result<Reply<'a>, Refusal> {
    if let Some(told) = batch::ask(call, &mut input, options).await? {
        return Ok(Reply::Batch(told));
    }
    let input = Input::checked(input, call.class()?).await?;
    Ok(Reply::Answer(answer(call, input).await?, call.card))
}

/// Answers a validated input.
pub(crate) async fn answer(call: Call<'_>, input: Input) -> Result<Answer, Refusal> {
    if call.card.task == TaskKind::TextGeneration && !decision::serves(call.card) {
        let read = |input: Input| text_generation::answer(call, &input.fields);
        return call.account(input, read).await;
    }
    call.account(input, |input| Ok(by_task(call, input))).await
}

/// Answers a validated input of any task but text generation.
async fn by_task(call: Call<'_>, input: Input) -> Result<Answer, Refusal> {
    match call.card.task {
        TaskKind::TextGeneration => decision::answer(call, input).await,
        TaskKind::TextEmbeddings => text_embeddings::answer(call, &input.fields).await,
        TaskKind::TextClassification if reranking::serves(call.card) => {
            reranking::answer(call, &input.fields).await
        }
        TaskKind::TextClassification => text_classification::answer(call, &input.fields).await,
        TaskKind::SpeechRecognition => speech_recognition::answer(call, input).await,
        TaskKind::TextToImage => text_to_image::answer(call, input).await,
        TaskKind::TextToSpeech => text_to_speech::answer(call, &input.fields).await,
        TaskKind::Translation => translation::answer(call, &input.fields).await,
        TaskKind::Summarization => summarization::answer(call, &input.fields).await,
        TaskKind::ImageClassification => image_classification::answer(call, input).await,
        TaskKind::ObjectDetection => object_detection::answer(call, input).await,
        TaskKind::ImageToText if moondream::serves(call.card) => {
            moondream::answer(call, input).await
        }
        TaskKind::ImageToText => image_to_text::answer(call, input).await,
        TaskKind::VoiceActivityDetection => voice_activity::answer(call, input).await,
    }
}

/// Validates one input and answers it with the bare result, as an item of a batch.
///
/// # Errors
/// Whatever the run route would refuse; [`Failure::BadInput`] for an input whose answer is no JSON
/// (a stream, a picture).
pub(crate) async fn answer_json(call: Call<'_>, input: Value) -> Result<Value, Refusal> {
    if input.get("stream") == Some(&Value::Bool(true)) {
        return Err(Failure::BadInput("a batch's item cannot be streamed".into()).into());
    }
    let input = Input::checked(input, call.class()?).await?;
    let answer = answer(call, input).await?;
    match answer.content {
        Content::Json(json) => serde_json::from_slice(&json)
            .map_err(|error| Failure::Internal(format!("reading an answer: {error}")).into()),
        Content::Events(_) | Content::File { .. } => {
            Err(Failure::BadInput("the answer of a batch's item has to be JSON".into()).into())
        }
    }
}
