//! Text embeddings: the classes `emb-*`, and the rankings of `emb-bge-m3`.

use serde::Serialize;
use serde_json::Value;
use tasks::Failure;

use super::Call;
use super::answer::{Answer, Content};
use super::embedding::{BGE_M3, Manner, Vectors, at_most, count, embed, texts};
use super::fields::{given, list, refuse, text};
use crate::errors::Refusal;

/// Texts in each list of `emb-qwen3`, as its schema has it (`maxItems`).
const QWEN3_MAX_TEXTS: usize = 32;

/// What is to be embedded, and what the answer looks like.
#[derive(Debug)]
struct Asked {
    /// In the order of the answer; a query comes before its contexts.
    texts: Vec<String>,
    form: Form,
}

/// What the answer looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// The vectors of texts, with the pooling.
    Pooled,
    /// The vectors of texts: `shape`, `data`.
    ShapeFirst,
    /// The vectors of texts: `data`, `shape`.
    DataFirst,
    /// The vectors of contexts.
    Contexts,
    /// The contexts by their likeness to the query.
    Ranking,
}

/// Answers a validated input.
pub(super) async fn answer(call: Call<'_>, input: &Value) -> Result<Answer, Refusal> {
    let card = call.card;
    let Asked { texts, form } = read(input, &card.schema_class)?;
    let manner = Manner::of(input, &card.schema_class);
    let vectors = embed(call, texts, manner).await?;
    let content = write(&vectors, manner.pooling.word(), form)?;
    Ok(Answer::of_vectors(call, content, vectors))
}

fn read(input: &Value, class: &str) -> Result<Asked, Refusal> {
    refuse(input, "requests")?;
    let asked = match class {
        BGE_M3 => bge_m3(input)?,
        "emb-qwen3" => qwen3(input)?,
        "emb-plamo" => Asked {
            texts: any_texts(&input["text"])?,
            form: Form::DataFirst,
        },
        class => Asked {
            texts: texts(&input["text"], "text")?,
            form: match class {
                "emb-text" => Form::ShapeFirst,
                _ => Form::Pooled,
            },
        },
    };
    count(
        asked.texts.len() - usize::from(asked.form == Form::Ranking),
        class,
    )?;
    Ok(asked)
}

fn bge_m3(input: &Value) -> Result<Asked, Failure> {
    let (texts, form) = match (input.get("text"), input.get("contexts")) {
        (Some(value), _) => (texts(value, "text")?, Form::Pooled),
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
        (None, None) => return Err(Failure::BadInput("there is no text".into())),
    };
    Ok(Asked { texts, form })
}

fn contexts(value: &Value) -> Result<Vec<String>, Failure> {
    let items = list(value, "contexts")?.iter();
    items
        .map(|item| text(&item["text"], "contexts[].text"))
        .collect()
}

/// Queries come first, with the instruction around them as the model's card has it; documents, of
/// which `text` is another name, follow as they are.
fn qwen3(input: &Value) -> Result<Asked, Refusal> {
    let lists = ["queries", "documents", "text"];
    if lists.iter().all(|name| input.get(*name).is_none()) {
        return Err(Failure::BadInput("there are no queries, documents or text".into()).into());
    }
    let instruction = given(input, "instruction").and_then(Value::as_str);
    let mut all = Vec::new();
    for name in lists {
        let Some(value) = input.get(name) else {
            continue;
        };
        let mut texts = texts(value, name)?;
        at_most(texts.len(), name, QWEN3_MAX_TEXTS)?;
        if name == "queries" {
            let instruction = instruction.unwrap_or_default();
            for query in &mut texts {
                *query = format!("Instruct: {instruction}\nQuery:{query}");
            }
        }
        all.append(&mut texts);
    }
    Ok(Asked {
        texts: all,
        form: Form::DataFirst,
    })
}

/// Texts that may be empty, as the schema of `emb-plamo` has it.
fn any_texts(value: &Value) -> Result<Vec<String>, Failure> {
    if let Value::String(text) = value {
        return Ok(vec![text.clone()]);
    }
    let text = |item: &Value| {
        let text = item.as_str().map(str::to_owned);
        text.ok_or_else(|| Failure::BadInput("text has an item that is no string".into()))
    };
    list(value, "text")?.iter().map(text).collect()
}

fn write(made: &Vectors, pooling: &'static str, form: Form) -> Result<Content, Failure> {
    #[derive(Serialize)]
    struct Pooled<'a> {
        shape: [usize; 2],
        data: &'a [Vec<f32>],
        #[serde(skip_serializing_if = "Option::is_none")]
        pooling: Option<&'static str>,
    }
    #[derive(Serialize)]
    struct DataFirst<'a> {
        data: &'a [Vec<f32>],
        shape: [usize; 2],
    }
    #[derive(Serialize)]
    struct Contexts<'a> {
        response: &'a [Vec<f32>],
        shape: [usize; 2],
        pooling: &'static str,
    }
    #[derive(Serialize)]
    struct Ranking {
        response: Vec<Rank>,
    }
    let data = &made.vectors[..];
    let shape = [data.len(), made.width];
    match form {
        Form::Pooled => Content::json(&Pooled {
            shape,
            data,
            pooling: Some(pooling),
        }),
        Form::ShapeFirst => Content::json(&Pooled {
            shape,
            data,
            pooling: None,
        }),
        Form::DataFirst => Content::json(&DataFirst { data, shape }),
        Form::Contexts => Content::json(&Contexts {
            response: data,
            shape,
            pooling,
        }),
        Form::Ranking => Content::json(&Ranking {
            response: rank(data),
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
