//! Translation: the classes `translation-*`.

use serde::Serialize;
use serde_json::Value;
use tasks::{Failure, Translate, TranslateRequest, Translation};

use super::answer::{Answer, Content};
use super::embedding::at_most;
use super::fields::{list, refuse, text};
use super::neurons::{self, Cost};
use super::{Call, job, languages};
use crate::errors::Refusal;

/// Texts of one request; each is a job.
const REQUEST_MAX_TEXTS: usize = 2048;

/// What `indictrans2` translates from.
const INDIC_SOURCE: &str = "eng_Latn";

/// Answers a validated input.
pub(super) async fn answer(call: Call<'_>, input: &Value) -> Result<Answer, Refusal> {
    match call.card.schema_class.as_str() {
        "translation-indictrans2" => indic(call, input).await,
        _ => m2m100(call, input).await,
    }
}

async fn m2m100(call: Call<'_>, input: &Value) -> Result<Answer, Refusal> {
    #[derive(Serialize)]
    struct Output<'a> {
        translated_text: &'a str,
    }
    refuse(input, "requests")?;
    let language = |name: &str| {
        let given = text(&input[name], name)?;
        let code = languages::code(&given).map(str::to_owned);
        code.ok_or_else(|| Failure::BadInput(format!("{name} is no language: {given}")))
    };
    let request = TranslateRequest {
        text: text(&input["text"], "text")?,
        source: language("source_lang")?,
        target: language("target_lang")?,
    };
    let (translation, served) = job::one::<Translate>(call, request).await?;
    Ok(Answer {
        content: Content::json(&Output {
            translated_text: &translation.text,
        })?,
        served,
        cost: cost(call, std::slice::from_ref(&translation)),
        truncated: 0,
    })
}

async fn indic(call: Call<'_>, input: &Value) -> Result<Answer, Refusal> {
    #[derive(Serialize)]
    struct Output<'a> {
        translations: Vec<&'a str>,
    }
    let target = text(&input["target_language"], "target_language")?;
    let one = [input["text"].clone()];
    let texts = match &input["text"] {
        Value::String(_) => &one[..],
        texts => list(texts, "text")?,
    };
    at_most(texts.len(), "texts", REQUEST_MAX_TEXTS)?;
    let texts: Vec<_> = texts
        .iter()
        .map(|item| text(item, "text"))
        .collect::<Result<_, _>>()?;
    let requests = texts.into_iter().map(|text| TranslateRequest {
        text,
        source: INDIC_SOURCE.into(),
        target: target.clone(),
    });
    let (translations, served) = job::many::<Translate>(call, requests).await?.all()?;
    Ok(Answer {
        content: Content::json(&Output {
            translations: translations.iter().map(|made| made.text.as_str()).collect(),
        })?,
        served,
        cost: cost(call, &translations),
        truncated: 0,
    })
}

fn cost(call: Call<'_>, translations: &[Translation]) -> Cost {
    let total = |count: fn(&Translation) -> u32| {
        translations.iter().map(|made| u64::from(count(made))).sum()
    };
    neurons::of_tokens(
        call.card.neurons,
        total(|made| made.prompt_tokens),
        total(|made| made.completion_tokens),
    )
}
