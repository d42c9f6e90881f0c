//! Real Whisper checkpoints on real recordings, against faster-whisper's transcripts
//! (tests/golden/whisper/transcripts.json says how they were made).
#![allow(clippy::unwrap_used)] // a test that cannot run has failed
#![allow(clippy::print_stdout)] // error rates are told beside the verdict

use engine::Sampler;
use engine::model::{Admission, SequenceId, Span, Step, StepCompanion, StepModel};
use models::Files;
use models::whisper::{Features, load};
use serde_json::Value;
use tasks::{Finish, Transcribe, TranscribeEvent, TranscribeOptions, TranscribeRequest, Usage};

/// Word errors for each word of the reference, over all clips of a model.
const WORD_ERROR_MAX: f64 = 0.05;

/// Runs one admitted request to its end, alone.
fn transcribe(
    model: &mut impl StepModel,
    id: SequenceId,
    mut admission: Admission<Transcribe>,
) -> Vec<TranscribeEvent> {
    model.admit(id, admission.prelude.take()).unwrap();
    let mut sampler = Sampler::new(admission.sampling, &admission.tokens, 0);
    let mut rules = admission.rules.unwrap();
    let (mut events, mut generated, mut start) = (Vec::new(), Vec::new(), 0);
    let mut tokens = admission.tokens;
    let finish = loop {
        let rows = 0..tokens.len();
        let span = Span {
            sequence: id,
            rows,
            start,
            blocks: vec![],
            wants_logits: true,
        };
        start += tokens.len();
        let mut row = model
            .step(&Step {
                tokens,
                spans: vec![span],
            })
            .unwrap();
        rules.apply(&generated, &mut row.logits);
        let token = sampler.next(&mut row.logits).unwrap();
        if let Some(finish) = admission.writer.token(token, &mut events) {
            break finish;
        }
        generated.push(token);
        if generated.len() == admission.max_new_tokens {
            break Finish::Length;
        }
        tokens = vec![token];
    };
    model.release(id);
    admission
        .writer
        .finish(finish, Usage::default(), &mut events);
    assert_eq!(finish, Finish::Stop, "{events:?}");
    events
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace()
        .map(|word| {
            word.to_lowercase()
                .chars()
                .filter(|c| c.is_alphanumeric())
                .collect::<String>()
        })
        .filter(|word| !word.is_empty())
        .collect()
}

/// Insertions, deletions and replacements between two texts (Levenshtein).
fn word_errors(ours: &[String], wanted: &[String]) -> usize {
    let mut row: Vec<usize> = (0..=wanted.len()).collect();
    for (i, our) in ours.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, word) in wanted.iter().enumerate() {
            let replaced = diagonal + usize::from(our != word);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[wanted.len()]
}

fn first_frames_match(features: &Features, clip: &Value) {
    let mel = features.mel();
    let frames = mel.len() / 80;
    for (frame, name) in [(0, "first_frame_8"), (100, "frame_100_8")] {
        for (bin, wanted) in clip["mel"][name].as_array().unwrap().iter().enumerate() {
            // MP3 decoders and resamplers differ by this much, the same samples by 1e-6.
            let difference = mel[bin * frames + frame] - wanted.as_f64().unwrap() as f32;
            assert!(
                difference.abs() < 0.03,
                "{}: {name} bin {bin} is off by {difference}",
                clip["file"]
            );
        }
    }
}

fn check(name: &str) {
    let transcripts = std::fs::read(testkit::golden("whisper/transcripts.json")).unwrap();
    let transcripts: Value = serde_json::from_slice(&transcripts).unwrap();
    let device = tests::device();
    let (companion, mut model) = load(&Files::new(testkit::weights(name)), &device).unwrap();
    let (mut errors, mut total) = (0, 0);
    for (index, clip) in transcripts["models"][name]
        .as_array()
        .unwrap()
        .iter()
        .enumerate()
    {
        let file = clip["file"].as_str().unwrap();
        let audio = std::fs::read(testkit::golden("whisper").join(file)).unwrap();
        let admission = companion
            .admit(TranscribeRequest {
                audio,
                options: TranscribeOptions::default(),
            })
            .unwrap();
        first_frames_match(
            admission.prelude.as_ref().unwrap().downcast_ref().unwrap(),
            clip,
        );
        let mut events = transcribe(&mut model, SequenceId(index as u64), admission);
        let Some(TranscribeEvent::Done {
            duration, language, ..
        }) = events.pop()
        else {
            panic!("{events:?}")
        };
        assert_eq!(language, clip["language"].as_str().unwrap(), "{file}");
        assert!(
            (f64::from(duration) - clip["seconds"].as_f64().unwrap()).abs() < 0.1,
            "{file} lasts {duration}"
        );
        let (mut heard, mut latest) = (String::new(), 0.0);
        for event in &events {
            let TranscribeEvent::Segment {
                start, end, text, ..
            } = event
            else {
                panic!("{events:?}")
            };
            assert!(
                latest <= *start && start < end && *end <= duration,
                "{file}: {events:?}"
            );
            assert!(text.starts_with(' '), "{file}: {text:?}");
            latest = *end;
            heard.push_str(text);
        }
        let wanted = words(clip["text"].as_str().unwrap());
        errors += word_errors(&words(&heard), &wanted);
        total += wanted.len();
        println!("{name} {file}: {heard}");
    }
    let rate = errors as f64 / total as f64;
    println!("{name}: {errors} errors in {total} words");
    assert!(
        total > 60 && rate <= WORD_ERROR_MAX,
        "{name}: a word error rate of {rate}"
    );
}

#[test]
fn golden_whisper_tiny_en_hears_what_faster_whisper_hears() {
    check("whisper-tiny-en");
}

#[test]
fn golden_whisper_base_hears_what_faster_whisper_hears_and_knows_the_language() {
    check("whisper-base");
}
