//! Image to text of the class `image-to-text`: a picture described in words.

use serde::Serialize;
use tasks::{Describe, DescribeEvent, DescribeRequest, Question, Sampling, Usage};

use super::answer::{Answer, Content};
use super::fields::{count, flag, number, seed};
use super::image_classification::image;
use super::input::Input;
use super::job::{Job, ended_early};
use super::{Call, neurons};
use crate::errors::Refusal;

/// Tokens of an answer where the request names none, as the schema has it.
const DEFAULT_MAX_TOKENS: u32 = 512;

/// The model whose server has no input for the temperature.
const WITHOUT_TEMPERATURE: &str = "uform-gen2";

/// Answers a validated input.
pub(super) async fn answer(call: Call<'_>, mut input: Input) -> Result<Answer, Refusal> {
    #[derive(Serialize)]
    struct Output<'a> {
        description: &'a str,
    }
    let card = call.card;
    if card.name.contains(WITHOUT_TEMPERATURE) && input.fields.get("temperature").is_some() {
        return Err(Refusal::Upstream(
            "unexpected inference input: there is no input tensor `temperature`".into(),
        ));
    }
    let request = read(&mut input).await?;
    let mut job = Job::submit::<Describe>(call, request).await?;
    let mut description = String::new();
    let usage = loop {
        match job.next().await?.ok_or_else(|| ended_early(card))? {
            DescribeEvent::Text(piece) => description.push_str(&piece),
            DescribeEvent::Done { usage, .. } => break usage,
            DescribeEvent::Reasoning(_) | DescribeEvent::Points(_) | DescribeEvent::Boxes(_) => {}
        }
    };
    let Usage {
        prompt_tokens,
        completion_tokens,
        ..
    } = usage;
    Ok(Answer {
        content: Content::json(&Output {
            description: &description,
        })?,
        served: job.served().clone(),
        cost: neurons::of_tokens(card.neurons, prompt_tokens.into(), completion_tokens.into()),
        truncated: 0,
    })
}

async fn read(input: &mut Input) -> Result<DescribeRequest, Refusal> {
    let image = image(input).await?;
    let fields = &input.fields;
    let single = |name| number(fields, name).map(|number| number as f32);
    let prompt = fields["prompt"]
        .as_str()
        .filter(|prompt| !prompt.is_empty());
    Ok(DescribeRequest {
        image: Some(image),
        question: match prompt {
            Some(prompt) => Question::Query(prompt.into()),
            None => Question::Caption("normal".into()),
        },
        raw: flag(fields, "raw"),
        reasoning: false,
        max_tokens: count(fields, "max_tokens")?.unwrap_or(DEFAULT_MAX_TOKENS),
        max_objects: 0,
        sampling: Sampling {
            temperature: single("temperature").unwrap_or(0.0),
            top_p: single("top_p"),
            top_k: count(fields, "top_k")?,
            seed: seed(fields),
            repetition_penalty: single("repetition_penalty"),
            frequency_penalty: single("frequency_penalty"),
            presence_penalty: single("presence_penalty"),
        },
    })
}
