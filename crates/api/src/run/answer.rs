//! A successful inference, and its dress on each surface.

use std::future::ready;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use catalog::ModelCard;
use futures_util::stream::{self, StreamExt};
use serde::Serialize;
use tasks::{Failure, Served};

use super::embedding::Vectors;
use super::neurons::Cost;
use super::{Call, neurons};
use crate::errors::{RequestId, add_request_id, json_body, json_bytes};
use crate::manage::batch::Pieces;
use crate::surface::Surface;

/// What a task answers.
pub(crate) struct Answer {
    pub(crate) content: Content,
    pub(super) served: Served,
    pub(super) cost: Cost,
    /// Texts that were cut to the window.
    pub(super) truncated: usize,
}

/// The body of an answer.
pub(crate) enum Content {
    /// A model's output as JSON, bare.
    Json(Vec<u8>),
    /// Server-sent events, the same bytes on every surface.
    Events(Body),
    /// A picture or sound as it is, the same bytes on every surface.
    File {
        content_type: &'static str,
        body: Body,
    },
}

impl Content {
    /// # Errors
    /// [`Failure::Internal`] for an output that is no JSON.
    pub(crate) fn json(output: &impl Serialize) -> Result<Self, Failure> {
        let json = serde_json::to_vec(output);
        let json =
            json.map_err(|error| Failure::Internal(format!("writing an answer: {error}")))?;
        Ok(Self::Json(json))
    }
}

impl Answer {
    /// An answer about vectors of texts.
    pub(crate) fn of_vectors(call: Call<'_>, content: Content, made: Vectors) -> Self {
        Self {
            content,
            served: made.served,
            cost: neurons::of_tokens(call.card.neurons, made.tokens, 0),
            truncated: made.truncated,
        }
    }

    pub(crate) fn into_response(
        self,
        card: &ModelCard,
        surface: Surface,
        id: RequestId,
    ) -> Response {
        let of_type = |content_type, body| {
            let mut response = Response::new(body);
            let value = HeaderValue::from_static(content_type);
            response.headers_mut().insert(header::CONTENT_TYPE, value);
            response
        };
        let mut response = match self.content {
            Content::Json(json) => dressed(json, StatusCode::OK, surface),
            Content::Events(body) => of_type("text/event-stream", body),
            Content::File { content_type, body } => of_type(content_type, body),
        };
        add_request_id(&mut response, id);
        let mut add = |name: &'static str, value: String| {
            // Names of weights come from files; one that no header can hold is left out.
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().insert(name, value);
            }
        };
        let Served { weights, grade } = &self.served;
        add("hearth-model", format!("{weights}; grade={grade}"));
        if let Some(neurons) = self.cost.neurons {
            add("cf-ai-neurons", format!("{neurons:.2}"));
        }
        if self.truncated > 0 {
            add("hearth-truncated", self.truncated.to_string());
        }
        if let Some(on) = &card.deprecated_on {
            tracing::warn!("{} was deprecated by the service on {on} ({id})", card.name);
            add("hearth-deprecated", on.clone());
        }
        response
    }
}

/// Bare JSON in the dress of a surface.
pub(super) fn dressed(json: Vec<u8>, status: StatusCode, surface: Surface) -> Response {
    match surface {
        Surface::Rest | Surface::Gateway => json_bytes(status, [HEAD, &json, TAIL].concat()),
        Surface::Binding | Surface::OpenAi | Surface::GatewayOpenAi | Surface::Responses => {
            json_bytes(status, json)
        }
    }
}

/// The same of JSON that comes in pieces.
pub(super) fn dressed_pieces(pieces: Pieces, status: StatusCode, surface: Surface) -> Response {
    let part = |part: &'static [u8]| stream::once(ready(Ok(Bytes::from_static(part))));
    let body = match surface {
        Surface::Rest | Surface::Gateway => {
            Body::from_stream(part(HEAD).chain(pieces).chain(part(TAIL)))
        }
        _ => Body::from_stream(pieces),
    };
    json_body(status, body)
}

/// What stands around an output, in the service's key order.
const HEAD: &[u8] = br#"{"result":"#;
const TAIL: &[u8] = br#","success":true,"errors":[],"messages":[]}"#;
