//! Text to speech: a soft tone for each character, higher or lower by what it is.

use std::f32::consts::TAU;

use engine::Answer;
use engine::model::DirectModel;
use tasks::{Failure, Speak, SpeakEvent, SpeakRequest};

use super::Stub;
use super::chance::Chance;

/// Samples a second, where the request names none.
const SAMPLE_RATE_HZ: u32 = 24_000;
/// The rates that can be asked for, in Hz.
const RATE_MIN_HZ: u32 = 8_000;
const RATE_MAX_HZ: u32 = 48_000;
/// How long a character sounds, in milliseconds.
const CHARACTER_MS: u32 = 60;
/// The most characters that sound: a minute.
const CHARACTERS_MAX: usize = 1000;
/// The tone of voice: the lowest, and how many half tones there are above it.
const LOWEST_HZ: f32 = 196.0;
const HALF_TONES: usize = 19;
/// The loudest sample, of full scale.
const LOUDNESS: f32 = 0.1;

impl DirectModel<Speak> for Stub {
    fn answer(&self, request: SpeakRequest) -> Result<Answer<SpeakEvent>, Failure> {
        let rate = request.sample_rate.unwrap_or(SAMPLE_RATE_HZ);
        if !(RATE_MIN_HZ..=RATE_MAX_HZ).contains(&rate) {
            return Err(Failure::BadInput(format!(
                "a sample rate of {rate} Hz; {RATE_MIN_HZ} to {RATE_MAX_HZ} Hz can be had"
            )));
        }
        let voice = Chance::of(request.speaker.as_deref().unwrap_or_default().as_bytes())
            .and(request.language.as_deref().unwrap_or_default().as_bytes());
        let letters: Vec<char> = request.text.chars().take(CHARACTERS_MAX).collect();
        if letters.is_empty() {
            return Err(Failure::BadInput("there is no text to speak".into()));
        }
        let sounds = letters
            .into_iter()
            .map(move |letter| SpeakEvent::Sound(tone(letter, rate, voice)));
        let done = SpeakEvent::Done { sample_rate: rate };
        Ok(super::pieces(sounds.chain([done])))
    }
}

/// The sound of a character: it swells and fades, so that none clicks. White space is silence.
fn tone(letter: char, rate: u32, voice: Chance) -> Vec<f32> {
    let samples = rate * CHARACTER_MS / 1000;
    let mut bytes = [0; 4];
    let mut chance = voice.and(letter.encode_utf8(&mut bytes).as_bytes());
    let half_tones = chance.below(HALF_TONES) as f32;
    let frequency = LOWEST_HZ * (half_tones / 12.0).exp2();
    let loudness = if letter.is_alphanumeric() {
        LOUDNESS
    } else {
        0.0
    };
    (0..samples)
        .map(|sample| {
            let swell = (TAU / 2.0 * sample as f32 / samples as f32).sin();
            let wave = (TAU * frequency * sample as f32 / rate as f32).sin();
            loudness * swell * wave
        })
        .collect()
}
