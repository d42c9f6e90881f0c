//! Decision models (class `decision-clef`): questions about a state, answered with probabilities.

use std::fmt::Write;
use std::sync::Arc;

use catalog::ModelCard;
use imagesize::ImageType;
use serde_json::{Map, Value, json};
use tasks::{Decide, DecideRequest, Decision, Failure, Json, QuestionKind};

use super::answer::{Answer, Content};
use super::fields::{refuse, rounded, window};
use super::input::Input;
use super::{Call, job, neurons, picture, raw};
use crate::errors::Refusal;

/// The most bytes that a request's body may have.
pub(super) const BODY_LIMIT_BYTES: usize = 13 * 1024 * 1024;

/// Characters of a question's id.
const ID_MAX_CHARACTERS: usize = 100;
/// Pictures of a request.
const MAX_IMAGES: usize = 4;
/// Bytes of a picture.
const IMAGE_MAX_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of all pictures.
const IMAGES_MAX_BYTES: usize = 8 * 1024 * 1024;
/// Pixels of a picture.
const IMAGE_MAX_PIXELS: u64 = 16 * 1024 * 1024;
/// Places behind the point of a probability.
const PLACES: i32 = 4;

/// Whether a model of the catalogue's text generation decides, and does not write.
pub(super) fn serves(card: &ModelCard) -> bool {
    card.schema_class == "decision-clef"
}

/// A question as it was asked.
#[derive(Debug, Clone)]
struct Question {
    id: String,
    kind: QuestionKind,
    instructions: String,
    /// What can be answered, and what it means.
    options: Vec<(String, String)>,
    /// The levels of a score, as they were given.
    legend: Vec<Value>,
}

/// Answers a validated input.
pub(super) async fn answer(call: Call<'_>, mut input: Input) -> Result<Answer, Refusal> {
    let card = call.card;
    refuse(&input.fields, "audio")?;
    refuse(&input.fields, "videos")?;
    let images: Arc<[_]> = images(input.fields["images"].take()).await?.into();
    let fields = &input.fields;
    let model = fields["model"].as_str().unwrap_or_default().trim();
    let asked = fields["questions"].as_object();
    let asked = asked.ok_or_else(|| Failure::BadInput("questions is no object".into()))?;
    let questions: Vec<_> = asked
        .iter()
        .map(|(id, question)| self::question(id, question))
        .collect::<Result<_, _>>()?;
    let state = Arc::new(Json(fields["state"].to_string()));
    let window = window(card);
    let requests = questions.clone().into_iter().map(|question| DecideRequest {
        state: state.clone(),
        kind: question.kind,
        instructions: question.instructions,
        options: question.options,
        images: images.clone(),
        window,
    });
    let (decisions, served) = job::many::<Decide>(call, requests).await?.all()?;
    let total = |count: fn(&Decision) -> u32| -> u64 {
        decisions.iter().map(|made| u64::from(count(made))).sum()
    };
    let read = total(|made| made.input_tokens);
    let written = total(|made| made.output_tokens);
    let mut answers = Map::new();
    for (question, decision) in questions.iter().zip(&decisions) {
        if decision.probabilities.len() != question.options.len() {
            let text = format!("{}: not a probability for each option", card.name);
            return Err(Failure::Internal(text).into());
        }
        answers.insert(question.id.clone(), question.answered(decision));
    }
    Ok(Answer {
        content: Content::json(&json!({
            "model": model,
            "answers": answers,
            "usage": {"input_tokens": read, "output_tokens": written},
        }))?,
        served,
        cost: neurons::of_tokens(card.neurons, read, written),
        truncated: 0,
    })
}

/// Text as it is, anything else as JSON, nothing for null.
fn words(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Reads a question. The validator passes over branches within branches that nothing fits, so that
/// all of it is checked here.
fn question(id: &str, question: &Value) -> Result<Question, Failure> {
    let bad = |what: &str| {
        let mut text = "the question ".to_owned();
        let _ = write!(text, "{id:?} {what}"); // a string takes all
        Failure::BadInput(text)
    };
    let is_id = (1..=ID_MAX_CHARACTERS).contains(&id.len())
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    if !is_id {
        return Err(bad("has no proper id"));
    }
    let instructions = question.get("instructions");
    let instructions = instructions.ok_or_else(|| bad("has no instructions"))?;
    let criteria = &question["criteria"];
    let mut legend = Vec::new();
    let (kind, options) = match question["type"].as_str() {
        Some("noul") => {
            let option = |name: &str| (name.to_owned(), words(&criteria[name]));
            (QuestionKind::Noul, vec![option("true"), option("false")])
        }
        Some("choice") => {
            let criteria = criteria.as_object();
            let criteria = criteria.filter(|criteria| (2..=255).contains(&criteria.len()));
            let criteria = criteria.ok_or_else(|| bad("needs 2 to 255 options"))?;
            let options = criteria
                .iter()
                .map(|(name, told)| (name.clone(), words(told)));
            (QuestionKind::Choice, options.collect())
        }
        Some("score") => {
            let levels = criteria.as_array();
            let levels = levels.filter(|levels| (2..=10).contains(&levels.len()));
            legend.clone_from(levels.ok_or_else(|| bad("needs 2 to 10 levels"))?);
            let options = legend.iter().enumerate();
            let options = options.map(|(level, told)| (level.to_string(), words(told)));
            (QuestionKind::Score, options.collect())
        }
        _ => return Err(bad("is of no known type")),
    };
    Ok(Question {
        id: id.into(),
        kind,
        instructions: words(instructions),
        options,
        legend,
    })
}

impl Question {
    fn answered(&self, decision: &Decision) -> Value {
        let probabilities: Vec<f64> = decision
            .probabilities
            .iter()
            .map(|probability| f64::from(*probability))
            .collect();
        let named = || -> Map<String, Value> {
            let names = self.options.iter().map(|(name, _)| name.clone());
            let rounded = probabilities.iter().map(|p| rounded(*p, PLACES).into());
            names.zip(rounded).collect()
        };
        let confidence = rounded(confidence(&probabilities), PLACES);
        match self.kind {
            QuestionKind::Noul => {
                json!({"type": "noul", "noul": rounded(probabilities[0], PLACES)})
            }
            QuestionKind::Choice => {
                let likeliest = probabilities.iter().enumerate();
                let likeliest = likeliest.max_by(|(a, p), (b, q)| p.total_cmp(q).then(b.cmp(a)));
                let choice = likeliest.map(|(place, _)| &self.options[place].0);
                json!({
                    "type": "choice",
                    "choice": choice,
                    "probabilities": named(),
                    "confidence": confidence,
                })
            }
            QuestionKind::Score => {
                let levels = probabilities.iter().enumerate();
                let score: f64 = levels.map(|(level, p)| level as f64 * p).sum();
                let legend = self.legend.iter().enumerate();
                let legend = legend.map(|(level, told)| (level.to_string(), told.clone()));
                json!({
                    "type": "score",
                    "score": rounded(score, PLACES),
                    "legend": legend.collect::<Map<_, _>>(),
                    "probabilities": named(),
                    "confidence": confidence,
                })
            }
        }
    }
}

/// How far from a guess: `(sum of p squared - 1/n) / (1 - 1/n)`, 0 to 1. There are two options at least.
fn confidence(probabilities: &[f64]) -> f64 {
    let guess = 1.0 / probabilities.len() as f64;
    let squares: f64 = probabilities.iter().map(|p| p * p).sum();
    ((squares - guess) / (1.0 - guess)).clamp(0.0, 1.0)
}

/// The pictures of a request: data URIs or `{content_type, base64}`; PNG, JPEG or WebP.
async fn images(value: Value) -> Result<Vec<Vec<u8>>, Refusal> {
    let given = match value {
        Value::Null => return Ok(Vec::new()),
        Value::Array(given) if given.len() <= MAX_IMAGES => given,
        _ => return Err(Failure::BadInput("images is no list of up to four".into()).into()),
    };
    let mut images: Vec<Vec<u8>> = Vec::new();
    for mut image in given {
        let (value, text) = match image.get_mut("base64") {
            Some(base64) => (base64.take(), raw::Text::Base64),
            None => (image, raw::Text::DataUri),
        };
        if !value.is_string() {
            return Err(Failure::BadInput("images has an item that is no picture".into()).into());
        }
        let binary = raw::decode(value, "images", text).await?;
        let head = picture::head(&binary.bytes, "images")?;
        let is_known = matches!(
            head.kind,
            ImageType::Png | ImageType::Jpeg | ImageType::Webp
        );
        if !is_known || head.pixels() > IMAGE_MAX_PIXELS || binary.bytes.len() > IMAGE_MAX_BYTES {
            return Err(Failure::BadInput(format!(
                "images: {:?} of {} bytes and {} pixels",
                head.kind,
                binary.bytes.len(),
                head.pixels()
            ))
            .into());
        }
        images.push(binary.bytes.into());
    }
    if images.iter().map(Vec::len).sum::<usize>() > IMAGES_MAX_BYTES {
        return Err(Failure::BadInput("images: together they are too large".into()).into());
    }
    Ok(images)
}
