//! Vectors of many texts: one job a text, checked and counted.

use serde_json::Value;
use tasks::{Embed, EmbedRequest, Failure, Overlong, Pooling, Served};

use super::fields::{flag, list, text, window};
use super::{Call, job};
use crate::errors::Refusal;

/// The class that refuses what is too long unless it is told to cut, and chooses its pooling itself.
pub(super) const BGE_M3: &str = "emb-bge-m3";

/// Texts of one request, as the service's schemas have it (`maxItems`).
const REQUEST_MAX_TEXTS: usize = 100;

/// Texts of one request of the classes whose schemas name no number.
const UNLISTED_MAX_TEXTS: usize = 2048;

/// What becomes of texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Manner {
    pub(super) pooling: Pooling,
    pub(super) overlong: Overlong,
}

impl Manner {
    /// The manner that the inputs of a class ask for.
    pub(crate) fn of(input: &Value, class: &str) -> Self {
        let is_m3 = class == BGE_M3;
        Self {
            pooling: if is_m3 || input["pooling"] == "cls" {
                Pooling::Cls
            } else {
                Pooling::Mean
            },
            overlong: if is_m3 && !flag(input, "truncate_inputs") {
                Overlong::Refuse
            } else {
                Overlong::Truncate
            },
        }
    }
}

/// Vectors, in the order of their texts.
#[derive(Debug)]
pub(crate) struct Vectors {
    #[allow(clippy::struct_field_names)] // what the struct is for
    pub(crate) vectors: Vec<Vec<f32>>,
    /// Numbers of each vector.
    pub(crate) width: usize,
    /// Tokens that were read.
    pub(crate) tokens: u64,
    /// Texts that were cut to the window.
    pub(crate) truncated: usize,
    pub(crate) served: Served,
}

/// Embeds texts.
///
/// # Errors
/// [`Refusal::Upstream`] for too many texts, or for texts that together exceed a window that
/// refuses; what the engine or the model says.
pub(crate) async fn embed(
    call: Call<'_>,
    texts: Vec<String>,
    manner: Manner,
) -> Result<Vectors, Refusal> {
    let card = call.card;
    let Manner { pooling, overlong } = manner;
    let width = card
        .output_dimensions
        .ok_or_else(|| Failure::Internal(format!("{} has no output_dimensions", card.name)))?;
    let window = window(card);
    let requests = texts.into_iter().map(|text| EmbedRequest {
        text,
        pooling,
        width,
        window,
        overlong,
    });
    let answers = job::many::<Embed>(call, requests).await?;
    if overlong == Overlong::Refuse {
        fits(&answers.events, window)?;
    }
    let (embeddings, served) = answers.all()?;
    if let Some(wrong) = embeddings.iter().find(|made| made.vector.len() != width) {
        let found = wrong.vector.len();
        let text = format!("{}: a vector of {found} numbers for {width}", card.name);
        return Err(Failure::Internal(text).into());
    }
    Ok(Vectors {
        tokens: embeddings.iter().map(|made| u64::from(made.tokens)).sum(),
        truncated: embeddings.iter().filter(|made| made.truncated > 0).count(),
        vectors: embeddings.into_iter().map(|made| made.vector).collect(),
        width,
        served,
    })
}

/// Refuses texts that are together longer than the window, as the service counts them.
fn fits(answers: &[Result<tasks::Embedding, Failure>], window: u32) -> Result<(), Refusal> {
    let mut tokens = 0;
    let mut exceeded = None;
    for answer in answers {
        match answer {
            Ok(made) => tokens += u64::from(made.tokens),
            Err(Failure::ContextExceeded {
                tokens: found,
                window,
            }) => {
                tokens += *found as u64;
                exceeded = Some(*window as u64);
            }
            Err(failure) => return Err(failure.clone().into()),
        }
    }
    match exceeded.or((tokens > u64::from(window)).then_some(u64::from(window))) {
        Some(window) => Err(Refusal::Upstream(format!(
            "Max context reached {tokens} tokens but model supports only {window}"
        ))),
        None => Ok(()),
    }
}

/// The most texts that one request of a class may have.
pub(super) fn max_texts(class: &str) -> usize {
    match class {
        "emb-bge" | BGE_M3 => REQUEST_MAX_TEXTS,
        _ => UNLISTED_MAX_TEXTS,
    }
}

/// Refuses more texts than are taken.
///
/// # Errors
/// [`Refusal::Upstream`].
pub(crate) fn count(texts: usize, class: &str) -> Result<(), Refusal> {
    at_most(texts, "texts", max_texts(class))
}

/// Refuses more items than are taken.
pub(super) fn at_most(items: usize, name: &str, most: usize) -> Result<(), Refusal> {
    if items <= most {
        return Ok(());
    }
    Err(Refusal::Upstream(format!(
        "{items} {name} in one request: at most {most} are taken"
    )))
}

/// A text or a list of texts, none of them empty.
///
/// # Errors
/// [`Failure::BadInput`].
pub(crate) fn texts(value: &Value, name: &str) -> Result<Vec<String>, Failure> {
    if value.is_string() {
        return Ok(vec![text(value, name)?]);
    }
    let items = list(value, name)?.iter();
    items.map(|item| text(item, name)).collect()
}
