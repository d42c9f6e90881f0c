//! Silero's detector of voice, with its real weights, against onnxruntime's probabilities
//! (tests/golden/make_silero_vad.py).
#![allow(clippy::unwrap_used)] // a test that cannot run has failed

use models::{Files, Silero, VOICE_WINDOW, VoiceHearing};
use serde_json::Value;

/// How far a probability may be off.
const TOLERANCE: f64 = 1e-3;

/// The samples of a sound's parts, as make_silero_vad.py puts them together.
fn samples(parts: &[Value]) -> Vec<f32> {
    let mut joined: Vec<i16> = Vec::new();
    for part in parts {
        let count = (part[1].as_f64().unwrap() * 16_000.0).round() as usize;
        match part[0].as_str().unwrap() {
            "silence" => joined.resize(joined.len() + count, 0),
            "noise" => {
                let mut state = 1_u32;
                joined.extend((0..count).map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (state >> 18) as i16 - 8_192
                }));
            }
            clip => {
                let file = std::fs::read(testkit::golden("whisper").join(clip)).unwrap();
                let data = file.windows(4).position(|word| word == b"data").unwrap();
                let samples = file[data + 8..].chunks_exact(2);
                joined.extend(samples.map(|two| i16::from_le_bytes([two[0], two[1]])));
            }
        }
    }
    joined
        .iter()
        .map(|&sample| f32::from(sample) / 32_768.0)
        .collect()
}

#[test]
fn golden_probabilities_of_voice_are_those_of_onnxruntime() {
    let silero = Silero::load(&Files::new(testkit::weights("silero-vad"))).unwrap();
    let golden = std::fs::read(testkit::golden("silero-vad").join("reference.json")).unwrap();
    let golden: Value = serde_json::from_slice(&golden).unwrap();
    let mut compared = 0;
    for sound in golden["sounds"].as_array().unwrap() {
        let Some(parts) = sound["parts"].as_array() else {
            continue;
        };
        let mut samples = samples(parts);
        assert_eq!(samples.len() as u64, sound["samples"].as_u64().unwrap());
        samples.resize((samples.len() / VOICE_WINDOW + 1) * VOICE_WINDOW, 0.0);
        // In pieces, as a sound comes: what was heard before counts.
        let mut hearing = VoiceHearing::default();
        let mut ours = Vec::new();
        for (piece, windows) in samples
            .chunks(40 * VOICE_WINDOW)
            .zip([1, 7, 40].iter().cycle())
        {
            for some in piece.chunks(windows * VOICE_WINDOW) {
                ours.extend(silero.probabilities(&mut hearing, some));
            }
        }
        let wanted = sound["probabilities"].as_array().unwrap();
        assert_eq!(ours.len(), wanted.len());
        for (window, (ours, wanted)) in ours.iter().zip(wanted).enumerate() {
            let off = (f64::from(*ours) - wanted.as_f64().unwrap()).abs();
            assert!(off <= TOLERANCE, "{} window {window}: {off}", sound["name"]);
        }
        compared += wanted.len();
    }
    assert!(compared > 1_500, "the file holds its sounds");
}
