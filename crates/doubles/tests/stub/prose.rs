//! Translations, summaries and speech.

use proptest::prelude::*;
use tasks::{
    Failure, Speak, SpeakEvent, SpeakRequest, Summarize, SummarizeRequest, Translate,
    TranslateRequest,
};

use crate::ask::{all, one};

#[test]
fn a_translation_names_the_stub_and_the_languages() {
    let mut request = TranslateRequest {
        text: "Good morning".into(),
        source: "en".into(),
        target: "fr".into(),
    };
    let answer = one::<Translate>(request.clone()).unwrap();
    assert_eq!(answer.text, "[stub: en to fr] Good morning");
    request.target = String::new();
    assert!(matches!(
        one::<Translate>(request),
        Err(Failure::BadInput(_))
    ));
}

#[test]
fn a_summary_keeps_its_limit_and_tells_what_was_cut() {
    let request = SummarizeRequest {
        text: "word ".repeat(2000),
        max_tokens: 10,
        window: 1024,
    };
    let answer = one::<Summarize>(request).unwrap();
    assert_eq!(answer.completion_tokens, 10);
    assert_eq!((answer.prompt_tokens, answer.truncated), (1024, 979));
    assert!(answer.text.starts_with("This is a stub's summary"));
}

fn speak(text: &str, sample_rate: Option<u32>) -> Result<(Vec<f32>, u32), Failure> {
    let request = SpeakRequest {
        text: text.into(),
        speaker: Some("luna".into()),
        language: None,
        sample_rate,
    };
    let mut sound = Vec::new();
    for event in all::<Speak>(request)? {
        match event {
            SpeakEvent::Sound(samples) => sound.extend(samples),
            SpeakEvent::Done { sample_rate } => return Ok((sound, sample_rate)),
        }
    }
    panic!("no last event")
}

#[test]
fn speech_has_an_end_and_rates_have_limits() {
    let (sound, rate) = speak(&"a".repeat(1_000_000), None).unwrap();
    assert_eq!((sound.len(), rate), (24_000 * 60, 24_000));
    for (text, rate) in [("a", Some(1)), ("a", Some(u32::MAX)), ("", None)] {
        assert!(matches!(speak(text, rate), Err(Failure::BadInput(_))));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn speech_lasts_as_long_as_its_text_and_is_soft(text in "[a-zA-Z0-9 .]{1,40}", rate in 8_000..48_000_u32) {
        let (sound, told) = speak(&text, Some(rate)).unwrap();
        prop_assert_eq!(told, rate);
        prop_assert_eq!(sound.len(), text.len() * (rate as usize * 60 / 1000));
        prop_assert!(sound.iter().all(|sample| sample.abs() <= 0.1));
        prop_assert_eq!(text.contains(char::is_alphanumeric), sound.iter().any(|sample| sample.abs() > 0.05));
        prop_assert_eq!((sound, told), speak(&text, Some(rate)).unwrap());
    }
}
