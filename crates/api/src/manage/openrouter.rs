//! `models/search?format=openrouter`: the listing that OpenRouter reads of its providers (its documentation "For
//! Providers"). The service publishes no sample of its own.

use catalog::{ModelCard, Rate, TaskKind};
use serde_json::{Map, Value, json};

use super::model_rows::description;

const TOKENS_PER_RATE: f64 = 1_000_000.0;

/// The whole listing: models that generate text for a known price a token, the only ones that it can express.
pub(super) fn listing(cards: &[&ModelCard]) -> Value {
    let rows = cards.iter().filter_map(|card| row(card));
    json!({"data": rows.collect::<Vec<_>>()})
}

fn row(card: &ModelCard) -> Option<Value> {
    let Some(Rate::Tokens {
        input,
        cached_input,
        output,
    }) = card.price
    else {
        return None;
    };
    if card.task != TaskKind::TextGeneration {
        return None;
    }
    let mut modalities = vec!["text"];
    if card.flags.vision {
        modalities.push("image");
    }
    let mut pricing = Map::new();
    pricing.insert("prompt".into(), per_token(input));
    pricing.insert("completion".into(), per_token(output.unwrap_or_default()));
    pricing.insert("image".into(), "0".into());
    pricing.insert("request".into(), "0".into());
    pricing.insert(
        "input_cache_read".into(),
        per_token(cached_input.unwrap_or(input)),
    );
    let flags = &card.flags;
    let features = [
        (flags.function_calling, "tools"),
        (flags.json_mode, "json_mode"),
        (flags.json_mode, "structured_outputs"),
        (flags.reasoning, "reasoning"),
    ];
    let features: Vec<_> = features
        .iter()
        .filter(|(has, _)| *has)
        .map(|(_, name)| *name)
        .collect();
    Some(json!({
        "id": card.name,
        "name": card.name.rsplit('/').next(),
        "created": null,
        "input_modalities": modalities,
        "output_modalities": ["text"],
        "quantization": quantization(&card.name),
        "context_length": card.context_window,
        "max_output_length": card.max_max_tokens.or(card.context_window),
        "pricing": pricing,
        "supported_sampling_parameters": [
            "temperature", "top_p", "top_k", "seed", "max_tokens",
            "repetition_penalty", "frequency_penalty", "presence_penalty",
        ],
        "supported_features": features,
        "description": description(card),
    }))
}

/// USD for one token, as a decimal without an exponent.
fn per_token(per_million: f64) -> Value {
    let text = format!("{:.15}", per_million / TOKENS_PER_RATE);
    let text = text.trim_end_matches('0').trim_end_matches('.');
    text.into()
}

/// What the name says of its bits; `null` where it says nothing.
fn quantization(name: &str) -> Option<&'static str> {
    let words = [
        ("fp8", "fp8"),
        ("int8", "int8"),
        ("awq", "int4"),
        ("fp16", "fp16"),
        ("bf16", "bf16"),
    ];
    words
        .iter()
        .find(|(word, _)| name.contains(word))
        .map(|(_, told)| *told)
}
