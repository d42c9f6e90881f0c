//! Voice activity: whether a speaker has finished; after silence, surely.

use engine::Answer;
use engine::model::DirectModel;
use tasks::{Failure, SampleFormat, Turn, TurnEnd, TurnRequest};

use super::chance::Chance;
use super::{Stub, once, sound};

/// Samples a second of raw sound.
const RAW_RATE_HZ: f32 = 16_000.0;

impl DirectModel<Turn> for Stub {
    fn answer(&self, request: TurnRequest) -> Result<Answer<TurnEnd>, Failure> {
        let chance = Chance::of(&request.audio).share();
        let (seconds, is_silent) = match request.samples {
            None => {
                let heard = sound::listen(request.audio)?;
                (heard.seconds, heard.is_silent)
            }
            Some(format) => {
                let bytes = match format {
                    SampleFormat::Uint8 => 1,
                    SampleFormat::Float32 => 4,
                    SampleFormat::Float64 => 8,
                };
                let length = request.audio.len();
                if length == 0 || !length.is_multiple_of(bytes) {
                    let text = format!("{length} bytes are no samples of {bytes} bytes each");
                    return Err(Failure::BadInput(text));
                }
                let middle = if bytes == 1 { 128 } else { 0 };
                let is_silent = request.audio.iter().all(|byte| *byte == middle);
                ((length / bytes) as f32 / RAW_RATE_HZ, is_silent)
            }
        };
        Ok(once(TurnEnd {
            probability: if is_silent { 0.99 } else { chance },
            seconds,
        }))
    }
}
