//! Voice activity: whether the speaker of a stretch of audio has finished.

use serde::Serialize;
use tasks::{SampleFormat, Turn, TurnRequest};

use super::answer::{Answer, Content};
use super::input::Input;
use super::{Call, job, neurons, raw};
use crate::errors::Refusal;

/// A turn is complete above this probability.
const COMPLETE_ABOVE: f32 = 0.5;

/// Answers a validated input.
pub(super) async fn answer(call: Call<'_>, mut input: Input) -> Result<Answer, Refusal> {
    #[derive(Serialize)]
    struct Output {
        is_complete: bool,
        probability: f32,
    }
    let audio = raw::take_required(&mut input, "audio", raw::Text::Base64).await?;
    let request = TurnRequest {
        audio: audio.bytes.into(),
        samples: match input.fields["dtype"].as_str() {
            Some("uint8") => Some(SampleFormat::Uint8),
            Some("float32") => Some(SampleFormat::Float32),
            Some("float64") => Some(SampleFormat::Float64),
            _ => None, // the schema knows no other
        },
    };
    let (turn, served) = job::one::<Turn>(call, request).await?;
    Ok(Answer {
        content: Content::json(&Output {
            is_complete: turn.probability > COMPLETE_ABOVE,
            probability: turn.probability,
        })?,
        served,
        cost: neurons::of_audio(call.card.neurons, turn.seconds),
        truncated: 0,
    })
}
