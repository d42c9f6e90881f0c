//! `POST /client/v4/accounts/{account}/ai/run/{model}`: one inference, whatever the task.

mod answer;
pub(crate) mod classes;
mod events;
mod fields;
mod input;
mod job;
mod neurons;
mod speech_recognition;
mod text_embeddings;
mod text_generation;

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use catalog::{ModelCard, TaskKind};
use tasks::Failure;

use self::answer::Answer;
use self::input::{Input, Options};
use crate::errors::{Denial, Refusal, RequestId, inference};
use crate::layers::body;
use crate::{App, DeprecatedPolicy};

/// The route's handler.
pub(crate) async fn run(
    State(app): State<Arc<App>>,
    path: Result<Path<(String, String)>, PathRejection>,
    request: Request,
) -> Response {
    let Ok(Path((_account, model))) = path else {
        return Denial::NoRoute(request.uri().path().into()).into_response(); // not UTF-8 when decoded
    };
    let id = RequestId::new();
    let answered = async {
        let card = find(&app, &model)?;
        let answer = infer(&app, card, request, id).await?;
        Ok::<_, Refusal>(answer.into_response(card, id))
    };
    match answered.await {
        Ok(response) => response,
        Err(refusal) => inference(&refusal, &model, id),
    }
}

/// The card of a name that may be asked.
fn find<'a>(app: &'a App, model: &str) -> Result<&'a ModelCard, Failure> {
    let card = app.catalog.card(model);
    let card = card.ok_or_else(|| Failure::NoSuchModel(model.into()))?;
    match (&card.deprecated_on, app.settings.deprecated) {
        (Some(on), DeprecatedPolicy::Refuse) => Err(Failure::Deprecated {
            model: card.name.clone(),
            on: on.clone(),
        }),
        _ => Ok(card),
    }
}

/// Reads the input, checks it in the service's order, and hands it to its task.
async fn infer(
    app: &Arc<App>,
    card: &ModelCard,
    request: Request,
    id: RequestId,
) -> Result<Answer, Refusal> {
    let class = classes::of(&card.schema_class).ok_or_else(|| {
        Failure::Unsupported(format!(
            "{} takes inputs of the class {}, which this version of hearth does not serve",
            card.name, card.schema_class
        ))
    })?;
    let (parts, body) = request.into_parts();
    let body = body::read(&parts.headers, body, app.settings.body_limit_bytes).await?;
    let mut options = Options::from_query(parts.uri.query().unwrap_or_default());
    let input = input::open(body, class, &mut options).await?;
    if options.queues {
        let text = "queueRequest (asynchronous batches) is not served by this version of hearth";
        return Err(Failure::Unsupported(text.into()).into());
    }
    match (card.task, input) {
        (TaskKind::TextGeneration, Input::Json(input)) => {
            text_generation::answer(app, card, &input, id).await
        }
        (TaskKind::TextEmbeddings, Input::Json(input)) => {
            text_embeddings::answer(app, card, &input).await
        }
        (TaskKind::SpeechRecognition, input) => speech_recognition::answer(app, card, input).await,
        (task, _) => {
            let text = format!(
                "{} ({}) is not served by this version of hearth",
                card.name,
                task.name()
            );
            Err(Failure::Unsupported(text).into())
        }
    }
}
