//! Prices in the service's words.

use catalog::Rate;
use serde_json::{Number, Value, json};

/// When the price table of `models.toml` was read.
pub(super) const AS_OF: &str = "2026-11";
/// USD for a thousand neurons, above the free allowance.
pub(super) const USD_PER_1000_NEURONS: f64 = 0.011;
/// Neurons a day that cost nothing, from 00:00 UTC.
pub(super) const FREE_NEURONS_PER_DAY: f64 = 10_000.0;

/// The property `price`: a list of units with their prices.
pub(super) fn listed(rate: Rate) -> Value {
    let units: Vec<(&str, Option<f64>)> = match rate {
        Rate::Tokens {
            input,
            cached_input,
            output,
        } => vec![
            ("per M input tokens", Some(input)),
            ("per M cached input tokens", cached_input),
            ("per M output tokens", output),
        ],
        Rate::AudioMinute { minute, websocket } => vec![
            ("per audio minute", Some(minute)),
            ("per audio minute (websocket)", websocket),
        ],
        Rate::ThousandCharacters(price) => vec![("per 1k characters", Some(price))],
        Rate::TileAndStep { tile, step } => vec![
            ("per 512 by 512 tile", Some(tile)),
            ("per step", Some(step)),
        ],
        Rate::Tiles { input, output } => vec![
            ("per input 512x512 tile", Some(input)),
            ("per output 512x512 tile", Some(output)),
        ],
        Rate::TileSteps { input, output } => vec![
            ("per input 512x512 tile, per step", Some(input)),
            ("per output 512x512 tile, per step", Some(output)),
        ],
        Rate::Megapixels { first, next, input } => vec![
            ("per first MP (1024x1024)", Some(first)),
            ("per subsequent MP", Some(next)),
            ("per input image MP", Some(input)),
        ],
        Rate::MillionImages(price) => vec![("per M images", Some(price))],
    };
    let units = units.into_iter();
    let units = units.filter_map(|(unit, price)| Some((unit, number(price?))));
    units
        .map(|(unit, price)| json!({"unit": unit, "price": price, "currency": "USD"}))
        .collect()
}

/// A number as JavaScript writes it: a whole one has no fraction.
fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        return Value::from(value as i64);
    }
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}

/// A price in USD of so many neurons.
pub(super) fn usd(neurons: f64) -> f64 {
    neurons * USD_PER_1000_NEURONS / 1000.0
}

/// Neurons and USD as pages show them: no more digits than mean something.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}
