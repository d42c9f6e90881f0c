//! What Whisper's companion makes of sound files, sound and unsound.
#![allow(clippy::unwrap_used)] // a test that cannot run has failed

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use candle_core::Device;
use engine::model::{Said, SequenceId, SessionCompanion, SessionModel};
use models::whisper::{Hearing, WhisperCompanion, WhisperModel, load};
use models::{Files, Quality};
use tasks::{Failure, TranscribeEvent, TranscribeOptions, TranscribeRequest};

fn golden(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden")).join(name)
}

static COMPANION: LazyLock<Arc<WhisperCompanion>> = LazyLock::new(|| tiny().0);

fn tiny() -> (Arc<WhisperCompanion>, WhisperModel) {
    load(
        &Files::new(golden("tiny-whisper")),
        &Device::Cpu,
        Quality::Fast,
    )
    .unwrap()
}

fn admit(audio: Vec<u8>) -> Result<Hearing, Failure> {
    COMPANION.prepare(TranscribeRequest {
        audio,
        options: TranscribeOptions::default(),
    })
}

fn clip(name: &str) -> Vec<u8> {
    std::fs::read(golden("whisper").join(name)).unwrap()
}

/// The features of the first window of a file, none for less than a frame, and the duration.
fn heard(audio: Vec<u8>) -> (Vec<f32>, f32) {
    let hearing = admit(audio).unwrap();
    let features = hearing.mel().map(<[f32]>::to_vec).unwrap_or_default();
    (features, hearing.seconds() as f32)
}

/// A WAV file of interleaved samples; `format` is 1 for integers, 3 for floats.
fn wav(format: u16, bits: u16, channels: u16, rate: u32, data: &[u8]) -> Vec<u8> {
    let frame = channels * (bits / 8);
    let mut file = Vec::new();
    file.extend(b"RIFF");
    file.extend((36 + data.len() as u32).to_le_bytes());
    file.extend(b"WAVEfmt ");
    file.extend(16_u32.to_le_bytes());
    file.extend(format.to_le_bytes());
    file.extend(channels.to_le_bytes());
    file.extend(rate.to_le_bytes());
    file.extend((rate * u32::from(frame)).to_le_bytes());
    file.extend(frame.to_le_bytes());
    file.extend(bits.to_le_bytes());
    file.extend(b"data");
    file.extend((data.len() as u32).to_le_bytes());
    file.extend(data);
    file
}

fn wav_i16(channels: u16, rate: u32, samples: &[i16]) -> Vec<u8> {
    let data: Vec<u8> = samples
        .iter()
        .flat_map(|sample| sample.to_le_bytes())
        .collect();
    wav(1, 16, channels, rate, &data)
}

fn wav_f32(samples: &[f32]) -> Vec<u8> {
    let data: Vec<u8> = samples
        .iter()
        .flat_map(|sample| sample.to_le_bytes())
        .collect();
    wav(3, 32, 1, 16_000, &data)
}

/// One second of a tone of 440 Hz, the same in every channel.
fn tone(channels: u16, rate: u32) -> Vec<u8> {
    let samples: Vec<i16> = (0..rate)
        .flat_map(|n| {
            let turn = 2.0 * std::f64::consts::PI * 440.0 * f64::from(n) / f64::from(rate);
            std::iter::repeat_n((turn.sin() * 8_000.0) as i16, usize::from(channels))
        })
        .collect();
    wav_i16(channels, rate, &samples)
}

/// The bin that is loudest in the middle of the second.
fn loudest_bin(mel: &[f32]) -> usize {
    (0..80)
        .max_by(|&a, &b| mel[a * 3_000 + 50].total_cmp(&mel[b * 3_000 + 50]))
        .unwrap()
}

#[test]
fn every_rate_and_number_of_channels_sounds_the_same() {
    let (plain, seconds) = heard(tone(1, 16_000));
    assert!((seconds - 1.0).abs() < 1e-6);
    for (channels, rate) in [
        (2, 16_000),
        (8, 16_000),
        (1, 8_000),
        (2, 44_100),
        (1, 48_000),
        (1, 383_987),
        (1, 384_000),
    ] {
        let (mel, seconds) = heard(tone(channels, rate));
        assert!(
            (seconds - 1.0).abs() < 1e-6,
            "{channels} x {rate} lasts {seconds}"
        );
        assert_eq!(
            loudest_bin(&mel),
            loudest_bin(&plain),
            "{channels} x {rate}"
        );
        let at = |mel: &[f32]| mel[loudest_bin(&plain) * 3_000 + 50];
        assert!((at(&mel) - at(&plain)).abs() < 0.01, "{channels} x {rate}");
    }
}

/// `tone.*` hold the tone of [`tone`], written by FFmpeg's encoders (FLAC, AAC, ALAC, MP3 by LAME)
/// and libsndfile (OGG Vorbis).
const TONES: [&str; 5] = [
    "tone.flac",
    "tone.ogg",
    "tone.m4a",
    "tone-alac.m4a",
    "tone.mp3",
];

#[test]
fn every_format_sounds_the_same() {
    let (plain, _) = heard(tone(1, 16_000));
    let bin = loudest_bin(&plain);
    for name in TONES {
        let (mel, seconds) = heard(clip(name));
        // MP3 and AAC pad to whole blocks of up to 1152 frames, and delay by one or two.
        assert!((1.0..1.25).contains(&seconds), "{name} lasts {seconds}");
        assert_eq!(loudest_bin(&mel), bin, "{name}");
        let difference = mel[bin * 3_000 + 50] - plain[bin * 3_000 + 50];
        assert!(difference.abs() < 0.02, "{name} is off by {difference}");
    }
}

#[test]
fn mp3_and_wav_of_one_recording_last_equally_long() {
    let (_, wav) = heard(clip("jfk.wav"));
    let (_, mp3) = heard(clip("jfk.mp3"));
    assert!((wav - 11.0).abs() < 0.01, "{wav}");
    assert!((mp3 - 11.0).abs() < 0.1, "{mp3}");
}

#[track_caller]
fn refused(audio: Vec<u8>, word: &str) {
    match admit(audio) {
        Err(Failure::BadInput(text)) => assert!(text.contains(word), "{text}"),
        Err(other) => panic!("{word}: {other:?}"),
        Ok(_) => panic!("{word}: admitted"),
    }
}

#[test]
fn what_is_not_audio_is_refused_with_a_reason() {
    refused(vec![], "cannot be decoded");
    refused(
        b"this is a text, not a sound".repeat(100),
        "cannot be decoded",
    );
    refused(wav_i16(1, 16_000, &[]), "empty");
    refused(wav_i16(0, 16_000, &[0; 64]), "channel");
    refused(wav_i16(64, 16_000, &[0; 640]), "channel");
    refused(wav_i16(u16::MAX / 2, 16_000, &vec![0; 65_534]), "channel");
    refused(wav_i16(1, 999, &[0; 999]), "999 Hz");
    refused(wav_i16(1, 384_001, &[0; 999]), "384001 Hz");
    refused(clip("jfk.wav")[..30].to_vec(), "");
    refused(clip("jfk.mp3")[..100].to_vec(), "");
}

#[test]
fn samples_that_are_no_numbers_are_refused() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX] {
        refused(wav_f32(&[0.0, 0.1, bad, 0.1]), "frame 2");
    }
}

#[test]
fn one_sample_is_audio_and_a_file_cut_short_is_what_it_holds() {
    let (mel, seconds) = heard(wav_i16(1, 16_000, &[1_000]));
    assert!(mel.is_empty(), "less than a frame");
    assert!((seconds - 1.0 / 16_000.0).abs() < 1e-7);
    let (_, seconds) = heard(wav_i16(1, 44_100, &[1_000]));
    assert!(seconds > 0.0);
    let mut cut = tone(1, 16_000);
    cut.truncate(44 + 16_000);
    let (_, seconds) = heard(cut);
    assert!((seconds - 0.5).abs() < 0.1, "{seconds}");
    let mut cut = clip("jfk.mp3");
    cut.truncate(cut.len() / 2);
    let (_, seconds) = heard(cut);
    assert!((4.0..7.0).contains(&seconds), "{seconds}");
}

#[test]
fn a_header_that_lies_about_its_length_gives_what_is_there() {
    let mut lies = tone(1, 16_000);
    lies[40..44].copy_from_slice(&u32::MAX.to_le_bytes());
    lies[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    let (_, seconds) = heard(lies);
    assert!((seconds - 1.0).abs() < 1e-3, "{seconds}");
}

/// Runs a request to its end, alone.
fn transcribe(audio: Vec<u8>, options: TranscribeOptions) -> Result<Vec<TranscribeEvent>, Failure> {
    let (companion, mut model) = tiny();
    let hearing = companion.prepare(TranscribeRequest { audio, options })?;
    model.begin(SequenceId(0), hearing)?;
    let mut events = Vec::new();
    loop {
        for (_, said) in model.turn() {
            match said {
                Said::Event(event) => events.push(event),
                Said::End => return Ok(events),
                Said::Failed(failure) => return Err(failure),
            }
        }
    }
}

#[track_caller]
fn lasts(events: &[TranscribeEvent], seconds: f32) {
    let Some(TranscribeEvent::Done { duration, .. }) = events.last() else {
        panic!("{events:?}")
    };
    assert!((duration - seconds).abs() < 1e-3, "{duration}");
}

#[test]
fn silence_of_any_length_is_no_text_and_costs_no_decoding() {
    for seconds in [0.001, 1.0, 7_200.0_f32] {
        let samples = (seconds * 8_000.0) as usize;
        let options = TranscribeOptions::default();
        let events = transcribe(wav_i16(1, 8_000, &vec![1; samples]), options).unwrap();
        assert_eq!(events.len(), 1, "{events:?}");
        lasts(&events, seconds);
    }
}

#[test]
fn more_than_a_window_is_heard_to_its_end() {
    // Noise, of which random weights make random words.
    let noise = |n: u32| (n.wrapping_mul(2_654_435_761) >> 18) as i16 - 8_192;
    let samples: Vec<i16> = (0..70 * 8_000).map(noise).collect();
    for options in [
        TranscribeOptions::default(),
        TranscribeOptions {
            words: true,
            language: Some("de".into()),
            translate: true,
            initial_prompt: Some("Hello".into()),
            prefix: Some("world".into()),
            condition_on_previous_text: false,
            hallucination_silence_threshold: Some(1.0),
            ..TranscribeOptions::default()
        },
    ] {
        let events = transcribe(wav_i16(1, 8_000, &samples), options).unwrap();
        lasts(&events, 70.0);
        for event in &events {
            if let TranscribeEvent::Segment {
                start, end, words, ..
            } = event
            {
                assert!(0.0 <= *start && start < end && *end <= 70.0, "{event:?}");
                assert!(words.iter().all(|word| word.start <= word.end), "{event:?}");
            }
        }
    }
}

#[test]
fn without_a_detector_of_voice_nothing_is_left_out_silently() {
    let options = TranscribeOptions {
        vad_filter: true,
        ..TranscribeOptions::default()
    };
    let refused = transcribe(tone(1, 16_000), options);
    assert!(
        matches!(&refused, Err(Failure::Unavailable(text)) if text.contains("silero-vad")),
        "{refused:?}"
    );
}

#[test]
fn what_the_weights_cannot_do_is_refused_by_its_name() {
    let default = TranscribeOptions::default;
    for (options, word) in [
        (
            TranscribeOptions {
                beam_size: Some(0),
                ..default()
            },
            "beam_size",
        ),
        (
            TranscribeOptions {
                beam_size: Some(65),
                ..default()
            },
            "beam_size",
        ),
        (
            TranscribeOptions {
                language: Some("tlh".into()),
                ..default()
            },
            "language",
        ),
    ] {
        match transcribe(tone(1, 16_000), options) {
            Err(Failure::Unsupported(text) | Failure::BadInput(text)) => {
                assert!(text.contains(word), "{text}");
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Every byte of a header at its worst, and damage all over: an answer or a failure, never a panic.
#[test]
fn damaged_files_never_panic() {
    let start = |name: &str| {
        let mut bytes = clip(name);
        bytes.truncate(12_000);
        bytes
    };
    let files = TONES.iter().map(|name| start(name));
    for original in files.chain([tone(1, 16_000), start("jfk.mp3")]) {
        for position in 0..original.len().min(80) {
            for byte in [0x00, 0xff] {
                let mut bytes = original[..original.len().min(6_000)].to_vec();
                bytes[position] = byte;
                let _ = admit(bytes);
            }
        }
        let mut state = 7_u32;
        for _ in 0..40 {
            let mut bytes = original.clone();
            for _ in 0..20 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let position = state as usize % bytes.len();
                bytes[position] = (state >> 24) as u8;
            }
            let _ = admit(bytes);
        }
    }
}
