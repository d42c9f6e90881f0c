//! Text embeddings of the classes `emb-bge` and `emb-bge-m3`.

use catalog::ModelCard;
use futures_util::{StreamExt, stream};
use serde::Serialize;
use serde_json::Value;
use tasks::{Embed, EmbedRequest, Embedding, Failure, Overlong, Pooling, Served};

use super::answer::{Answer, Content};
use super::fields::{flag, list, refuse, text};
use super::job::{Job, ended_early};
use super::{Call, neurons};
use crate::App;
use crate::errors::Refusal;

/// Texts of one request, as the service's schemas have it (`maxItems`).
const REQUEST_MAX_TEXTS: usize = 100;

/// Jobs that one request may have in the engine at once.
const REQUEST_MAX_JOBS: usize = 32;

/// The class that takes queries and contexts and chooses its pooling itself.
const BGE_M3: &str = "emb-bge-m3";

/// A request as it was asked.
#[derive(Debug)]
struct Asked {
    /// In the order of the answer; a query comes before its contexts.
    texts: Vec<String>,
    pooling: Pooling,
    overlong: Overlong,
    form: Form,
}

/// What the answer looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// The vectors of texts.
    Data,
    /// The vectors of contexts.
    Contexts,
    /// The contexts by their likeness to the query.
    Ranking,
}

/// Answers a validated input.
pub(super) async fn answer(call: Call<'_>, input: &Value) -> Result<Answer, Refusal> {
    let Call { app, card, .. } = call;
    let Asked {
        texts,
        pooling,
        overlong,
        form,
    } = read(input, card)?;
    let width = card
        .output_dimensions
        .ok_or_else(|| Failure::Internal(format!("{} has no output_dimensions", card.name)))?;
    let mut served = None;
    let mut embeddings = Vec::with_capacity(texts.len());
    let requests = texts.into_iter().map(|text| EmbedRequest {
        text,
        pooling,
        width,
        window: card.context_window.unwrap_or(u32::MAX),
        overlong,
    });
    let jobs = requests.map(|request| embed(app, card, request));
    let mut jobs = stream::iter(jobs).buffered(REQUEST_MAX_JOBS);
    while let Some(answer) = jobs.next().await {
        let (embedding, by) = answer?;
        if embedding.vector.len() != width {
            let found = embedding.vector.len();
            let text = format!("{}: a vector of {found} numbers for {width}", card.name);
            return Err(Failure::Internal(text).into());
        }
        served = Some(by);
        embeddings.push(embedding);
    }
    let served = match served {
        Some(served) => served,
        None => app.engine.served(&card.name)?, // no text, no job
    };
    let tokens = embeddings
        .iter()
        .map(|embedding| u64::from(embedding.tokens))
        .sum();
    let truncated = embeddings
        .iter()
        .filter(|embedding| embedding.truncated > 0)
        .count();
    let vectors = embeddings
        .into_iter()
        .map(|embedding| embedding.vector)
        .collect();
    call.meter().tokens(tokens, 0);
    Ok(Answer {
        content: write(vectors, width, pooling, form)?,
        served,
        neurons: neurons::of_tokens(card.neurons, tokens, 0),
        truncated,
    })
}

/// Embeds one text.
async fn embed(
    app: &App,
    card: &ModelCard,
    request: EmbedRequest,
) -> Result<(Embedding, Served), Refusal> {
    let told = |failure| match failure {
        Failure::ContextExceeded { tokens, window } => Refusal::Upstream(format!(
            "Max context reached {tokens} tokens but model supports only {window}"
        )),
        failure => failure.into(),
    };
    let _place = tokio::time::timeout(app.settings.request_timeout, app.embedding_places.acquire())
        .await
        .map_err(|_| Failure::Timeout)?; // the semaphore is never closed
    let mut job = Job::submit::<Embed>(app, card, request)
        .await
        .map_err(told)?;
    let embedding = job.next().await.map_err(told)?;
    let embedding = embedding.ok_or_else(|| ended_early(card))?;
    Ok((embedding, job.served().clone()))
}

fn read(input: &Value, card: &ModelCard) -> Result<Asked, Refusal> {
    refuse(input, "requests")?;
    let is_m3 = card.schema_class == BGE_M3;
    let (texts, form) = match (input.get("text"), input.get("contexts")) {
        (Some(texts), _) => (self::texts(texts)?, Form::Data),
        (None, Some(contexts)) => {
            let mut texts = self::contexts(contexts)?;
            match input.get("query") {
                Some(query) => {
                    texts.insert(0, text(query, "query")?);
                    (texts, Form::Ranking)
                }
                None => (texts, Form::Contexts),
            }
        }
        (None, None) => return Err(Failure::BadInput("there is no text".into()).into()),
    };
    let asked = texts.len() - usize::from(form == Form::Ranking);
    if asked > REQUEST_MAX_TEXTS {
        return Err(Refusal::Upstream(format!(
            "{asked} texts in one request: at most {REQUEST_MAX_TEXTS} are taken"
        )));
    }
    Ok(Asked {
        texts,
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
        form,
    })
}

fn texts(value: &Value) -> Result<Vec<String>, Failure> {
    if value.is_string() {
        return Ok(vec![text(value, "text")?]);
    }
    let items = list(value, "text")?.iter();
    items.map(|item| text(item, "text[]")).collect()
}

fn contexts(value: &Value) -> Result<Vec<String>, Failure> {
    let items = list(value, "contexts")?.iter();
    items
        .map(|item| text(&item["text"], "contexts[].text"))
        .collect()
}

fn write(
    vectors: Vec<Vec<f32>>,
    width: usize,
    pooling: Pooling,
    form: Form,
) -> Result<Content, Failure> {
    #[derive(Serialize)]
    struct Vectors {
        shape: [usize; 2],
        data: Vec<Vec<f32>>,
        pooling: &'static str,
    }
    #[derive(Serialize)]
    struct Contexts {
        response: Vec<Vec<f32>>,
        shape: [usize; 2],
        pooling: &'static str,
    }
    #[derive(Serialize)]
    struct Ranking {
        response: Vec<Rank>,
    }
    let (shape, pooling) = ([vectors.len(), width], pooling.word());
    match form {
        Form::Data => Content::json(&Vectors {
            shape,
            data: vectors,
            pooling,
        }),
        Form::Contexts => Content::json(&Contexts {
            response: vectors,
            shape,
            pooling,
        }),
        Form::Ranking => Content::json(&Ranking {
            response: rank(&vectors),
        }),
    }
}

/// A context's place in the list and its likeness to the query.
#[derive(Debug, Serialize)]
struct Rank {
    id: usize,
    score: f32,
}

/// Ranks all vectors but the first by their cosine with the first, best first.
fn rank(vectors: &[Vec<f32>]) -> Vec<Rank> {
    let Some((query, contexts)) = vectors.split_first() else {
        return Vec::new();
    };
    let scores = contexts.iter().enumerate().map(|(id, context)| Rank {
        id,
        score: cosine(query, context),
    });
    let mut ranks: Vec<_> = scores.collect();
    ranks.sort_by(|a, b| b.score.total_cmp(&a.score));
    ranks
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        let products = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b));
        products.sum()
    };
    let length = (dot(a, a) * dot(b, b)).sqrt();
    if length > 0.0 {
        (dot(a, b) / length) as f32
    } else {
        0.0
    }
}
