//! Automatic speech recognition.

use crate::house::{app, path, refused, request, run, send, settings};

const WHISPER: &str = "@cf/test/whisper";

const HEARD: &str = r#"{"result":{"text":"hello world again","word_count":3,"vtt":"WEBVTT\n\n00.000 --> 00.980\nhello world\n\n59.500 --> 01:01.230\nagain"},"success":true,"errors":[],"messages":[]}"#;

#[tokio::test]
async fn audio_comes_as_bytes_as_numbers_or_as_an_indexed_object() {
    for input in [
        "RIFF",
        r#"{"audio":[82,73,70,70]}"#,
        r#" {"audio":{"1":73,"0":82.0,"3":70,"2":70}}"#,
    ] {
        let answer = run(WHISPER, input).await;
        assert_eq!(answer.body, HEARD);
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("hearth-model"), Some("ear; grade=exact"));
        assert_eq!(answer.header("cf-ai-neurons"), Some("93.26")); // two minutes
        answer.without_id();
    }
}

#[tokio::test]
async fn the_content_type_does_not_decide() {
    for content_type in ["audio/wav", "application/octet-stream", "application/json"] {
        let mut ask = request("POST", &path(WHISPER), "RIFF");
        ask.headers_mut()
            .insert("content-type", content_type.parse().unwrap());
        assert_eq!(send(&app(settings()), ask).await.body, HEARD);
    }
}

#[tokio::test]
async fn silence_has_no_words_and_no_cues() {
    let answer = run(WHISPER, "quiet").await;
    assert_eq!(
        answer.body,
        r#"{"result":{"text":"","word_count":0,"vtt":"WEBVTT\n\n"},"success":true,"errors":[],"messages":[]}"#
    );
}

#[tokio::test]
async fn what_is_no_audio_is_invalid_input() {
    for input in [
        "noise",
        r#"{"audio":[]}"#,
        r#"{"audio":[82,73,70,256]}"#,
        r#"{"audio":[82,-1]}"#,
        r#"{"audio":[82,0.5]}"#,
        r#"{"audio":["R","I","F","F"]}"#,
        r#"{"audio":{"a":82}}"#,
    ] {
        refused(WHISPER, input, 400, 8001, "AiError: Invalid input").await;
    }
    let text = "Bad input: Error: oneOf at '/' not met, 0 matches: Type mismatch of '/', 'string' \
                not in 'object', Type mismatch of '/audio', 'array' not in 'string'";
    refused(WHISPER, r#"{"audio":"UklGRg=="}"#, 400, 5006, text).await;
}
