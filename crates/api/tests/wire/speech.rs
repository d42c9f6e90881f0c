//! Tasks that hear and speak, beside the small Whisper models.

use crate::files::{base64, indexed, unbase64};
use crate::house::{
    app, binding, both, check_refusal, noted, path, refused, request, run, send, settings, streamed,
};

const INVALID: &str = "AiError: Invalid input";
const TURBO: &str = "@cf/test/whisper-turbo";
const NOVA: &str = "@cf/test/nova";
const NEMOTRON: &str = "@cf/test/nemotron";
const TURN: &str = "@cf/test/smart-turn";
const AURA: &str = "@cf/test/aura-1";

fn enveloped(result: &str) -> String {
    format!(r#"{{"result":{result},"success":true,"errors":[],"messages":[]}}"#)
}

const TIMED: &str = concat!(
    r#"{"text":"hello world again","word_count":3,"words":["#,
    r#"{"word":"hello","start":0.0,"end":0.98},{"word":"world","start":0.0,"end":0.98},"#,
    r#"{"word":"again","start":59.5,"end":61.23}],"#,
    r#""vtt":"WEBVTT\n\n00.000 --> 00.980\nhello world\n\n59.500 --> 01:01.230\nagain"}"#
);

#[tokio::test]
async fn whisper_gives_words_where_the_model_times_them() {
    let answer = run("@cf/test/whisper", "timed").await;
    assert_eq!(answer.body, enveloped(TIMED));
    let ask = streamed("@cf/test/whisper", "audio/wav", "{}", "timed");
    assert_eq!(send(&app(settings()), ask).await.body, TIMED);
}

#[tokio::test]
async fn turbo_tells_segments_and_what_it_knows_of_the_audio() {
    let result = concat!(
        r#"{"transcription_info":{"language":"en","language_probability":1.0,"duration":120.0,"#,
        r#""duration_after_vad":120.0},"text":"hello world again","word_count":3,"segments":["#,
        r#"{"start":0.0,"end":0.98,"text":" hello world","temperature":0.0,"avg_logprob":-0.25,"#,
        r#""compression_ratio":1.5,"no_speech_prob":0.01,"words":["#,
        r#"{"word":" hello","start":0.0,"end":0.98},{"word":" world","start":0.0,"end":0.98}]},"#,
        r#"{"start":59.5,"end":61.23,"text":" again","temperature":0.0,"avg_logprob":-0.25,"#,
        r#""compression_ratio":1.5,"no_speech_prob":0.01,"words":["#,
        r#"{"word":" again","start":59.5,"end":61.23}]}],"#,
        r#""vtt":"WEBVTT\n\n00:00.000 --> 00:00.980\nhello world\n\n00:59.500 --> 01:01.230\nagain"}"#
    );
    let audio = base64(b"timed");
    let unpadded = audio.trim_end_matches('=');
    for audio in [
        format!(r#""{audio}""#),
        format!(r#""{unpadded}""#),
        format!(r#""{}\n{}\n""#, &audio[..3], &audio[3..]),
        format!(
            r#"{{"body":{},"contentType":"audio/wav"}}"#,
            indexed(b"timed")
        ),
    ] {
        let answer = both(TURBO, &format!(r#"{{"audio":{audio}}}"#), result).await;
        assert_eq!(answer.header("cf-ai-neurons"), Some("120.00"));
    }
    let ask = streamed(TURBO, "audio/wav", r#"{"task":"transcribe"}"#, "timed");
    assert_eq!(send(&app(settings()), ask).await.body, result);
}

#[tokio::test]
async fn turbo_hands_every_option_on() {
    let (app, notes) = noted();
    let plain = "TranscribeOptions { translate: false, language: None, vad_filter: false, initial_prompt: None, prefix: None, beam_size: Some(5), condition_on_previous_text: true, no_speech_threshold: 0.6, compression_ratio_threshold: 2.4, log_prob_threshold: -1.0, hallucination_silence_threshold: None, words: true }";
    let all = r#","task":"translate","language":"de","vad_filter":true,"initial_prompt":"a","prefix":"b","beam_size":2,"condition_on_previous_text":false,"no_speech_threshold":0.5,"compression_ratio_threshold":2,"log_prob_threshold":-2,"hallucination_silence_threshold":1.5"#;
    let told = r#"TranscribeOptions { translate: true, language: Some("de"), vad_filter: true, initial_prompt: Some("a"), prefix: Some("b"), beam_size: Some(2), condition_on_previous_text: false, no_speech_threshold: 0.5, compression_ratio_threshold: 2.0, log_prob_threshold: -2.0, hallucination_silence_threshold: Some(1.5), words: true }"#;
    for (more, wanted) in [("", plain), (r#","beam_size":5"#, plain), (all, told)] {
        let input = format!(r#"{{"audio":"UklGRg=="{more}}}"#);
        let answer = send(&app, request("POST", &path(TURBO), input)).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(notes.lock().unwrap().pop().unwrap(), wanted);
    }
    for more in [
        r#","task":"sing""#,
        r#","beam_size":0"#,
        r#","beam_size":1000"#,
    ] {
        let input = format!(r#"{{"audio":"UklGRg=="{more}}}"#);
        refused(TURBO, input, 400, 8001, INVALID).await;
    }
}

#[tokio::test]
async fn base64_that_is_none_is_told_by_its_type() {
    let text = "Bad input: Error: required properties at '/' are 'audio': Type mismatch of '/audio', \
                'string' not in 'array','binary'";
    refused(TURBO, r#"{"audio":[1,2]}"#, 400, 5006, text).await;
    let text = |kind| format!("Invalid data type: Invalid data type for base64 input: `{kind}`");
    refused(
        TURBO,
        r#"{"audio":{"contentType":"audio/wav"}}"#,
        400,
        5004,
        &text("object"),
    )
    .await;
    refused(
        TURBO,
        r#"{"audio":{"body":{},"contentType":"a"}}"#,
        400,
        5004,
        &text("object"),
    )
    .await;
    for audio in ["UklGR", "!!!!", "", "data:audio/wav;base64,UklGRg=="] {
        refused(
            TURBO,
            format!(r#"{{"audio":"{audio}"}}"#),
            400,
            8001,
            INVALID,
        )
        .await;
    }
}

#[tokio::test]
async fn nova_takes_flags_from_the_query_and_answers_as_deepgram_does() {
    let result = concat!(
        r#"{"results":{"channels":[{"alternatives":[{"transcript":"hello world again","#,
        r#""confidence":0.875,"words":["#,
        r#"{"word":"hello","start":0.0,"end":0.98,"confidence":0.875},"#,
        r#"{"word":"world","start":0.0,"end":0.98,"confidence":0.875},"#,
        r#"{"word":"again","start":59.5,"end":61.23,"confidence":0.875}]}]}]}}"#
    );
    let (app, notes) = noted();
    let query = "?smart_format=true&language=en-US&punctuate=true&diarize=false&tags=a&tags=b";
    let mut ask = request("POST", &(path(NOVA) + query), "timed");
    ask.headers_mut()
        .insert("content-type", "audio/wav".parse().unwrap());
    let answer = send(&app, ask).await;
    assert_eq!(answer.body, enveloped(result));
    assert_eq!(answer.header("cf-ai-neurons"), Some("120.00"));
    assert!(notes.lock().unwrap()[0].contains(r#"language: Some("en")"#));
    let ask = streamed(NOVA, "audio/mpeg", r#"{"detect_language":true}"#, "timed");
    assert_eq!(send(&app, ask).await.body, result);
    let body = base64(b"timed");
    let input = format!(r#"{{"audio":{{"body":"{body}","contentType":"audio/wav"}}}}"#);
    both(NOVA, &input, result).await;
    // Without times of words the segments' tokens tell how sure the model is: exp(-0.25).
    let answer = run(NOVA, "RIFF").await;
    assert!(
        answer.body.contains(r#""confidence":0.7788,"words":[]}"#),
        "{}",
        answer.body
    );
    for (query, code, text) in [
        (
            "?diarize=true",
            8007,
            "AiError: diarize is not served by this version of hearth",
        ),
        (
            "?keyterm=a",
            8007,
            "AiError: keyterm is not served by this version of hearth",
        ),
        (
            "?mode=medical",
            8007,
            "AiError: mode is not served by this version of hearth",
        ),
        (
            "?mode=loud",
            5006,
            "Bad input: Error: enum loud not in general,medical,finance at '/mode'",
        ),
        (
            "?diarize=1",
            5006,
            "Bad input: Error: Type mismatch of '/diarize', 'boolean' not in 'string'",
        ),
        (
            "?encoding=linear16",
            8007,
            "AiError: encoding (other than flac) is not served by this version of hearth",
        ),
        ("?language=a&language=b", 8001, INVALID),
    ] {
        let answer = send(&app, request("POST", &(path(NOVA) + query), "timed")).await;
        check_refusal(&answer, 400, code, text);
    }
    let text = "Bad input: Error: required properties at '/audio' are 'body,contentType'";
    refused(NOVA, "{}", 400, 5006, text).await;
}

#[tokio::test]
async fn nemotron_takes_raw_samples_too() {
    let result = r#"{"text":"raw","duration":120.0}"#;
    let audio = base64(&[0; 64]);
    let input = format!(r#"{{"audio":"{audio}","encoding":"linear16","sample_rate":8000}}"#);
    both(NEMOTRON, &input, result).await;
    let mut ask = request(
        "POST",
        &(path(NEMOTRON) + "?encoding=linear16&sample_rate=8000"),
        "{12",
    );
    ask.headers_mut()
        .insert("content-type", "audio/pcm".parse().unwrap());
    assert_eq!(send(&app(settings()), ask).await.body, enveloped(result));
    let input = format!(r#"{{"audio":"{audio}","encoding":"linear16","channels":0}}"#);
    refused(NEMOTRON, input, 400, 8001, INVALID).await;
    refused(
        NEMOTRON,
        format!(r#"{{"audio":"{audio}"}}"#),
        400,
        8001,
        INVALID,
    )
    .await;
}

#[tokio::test]
async fn flux_is_refused_clearly_without_a_socket() {
    let text = "AiError: @cf/test/flux-listen answers over a WebSocket only, which this version of \
                hearth does not serve";
    let input = r#"{"encoding":"linear16","sample_rate":"16000"}"#;
    refused("@cf/test/flux-listen", input, 400, 8007, text).await;
    let text = "Bad input: Error: required properties at '/' are 'sample_rate,encoding'";
    refused("@cf/test/flux-listen", "{}", 400, 5006, text).await;
}

#[tokio::test]
async fn a_turn_is_complete_above_one_half() {
    let input = |audio: &[u8], more| format!(r#"{{"audio":"{}"{more}}}"#, base64(audio));
    let result = r#"{"is_complete":true,"probability":0.75}"#;
    let answer = both(TURN, &input(&[192, 0], ""), result).await;
    assert_eq!(answer.header("cf-ai-neurons"), Some("2.00"));
    let result = r#"{"is_complete":false,"probability":0.5}"#;
    both(TURN, &input(&[128, 0], r#","dtype":"float32""#), result).await;
    let (app, notes) = noted();
    let ask = request("POST", &(path(TURN) + "?dtype=uint8"), vec![192]);
    assert_eq!(send(&app, ask).await.status, 200);
    let ask = streamed(TURN, "audio/pcm", r#"{"dtype":"float64"}"#, vec![192]);
    assert_eq!(send(&app, ask).await.status, 200);
    assert_eq!(
        *notes.lock().unwrap(),
        [
            "TurnRequest { audio: [192], samples: Some(Uint8) }",
            "TurnRequest { audio: [192], samples: Some(Float64) }"
        ]
    );
    let text = "Bad input: Error: enum int4 not in uint8,float32,float64 at '/dtype'";
    let ask = request("POST", &(path(TURN) + "?dtype=int4"), vec![192]);
    check_refusal(&send(&app, ask).await, 400, 5006, text);
}

/// Whether the file is a whole number of MPEG layer III frames, and its sample rate and seconds.
fn mpeg(file: &[u8]) -> (u32, f64) {
    let (mut at, mut rate, mut samples) = (0, 0, 0);
    while at < file.len() {
        let head = u32::from_be_bytes(file[at..at + 4].try_into().unwrap());
        assert_eq!(head >> 21, 0x7ff, "no frame at {at}");
        assert_eq!((head >> 17) & 3, 1, "no layer III");
        let is_mpeg1 = (head >> 19) & 3 == 3;
        let kbps = if is_mpeg1 {
            [0, 32, 40, 48, 56, 64, 80, 96, 112, 128][(head >> 12 & 15) as usize]
        } else {
            [0, 8, 16, 24, 32, 40, 48, 56, 64, 80][(head >> 12 & 15) as usize]
        };
        rate = [44_100, 48_000, 32_000][(head >> 10 & 3) as usize] / if is_mpeg1 { 1 } else { 2 };
        let per_frame = if is_mpeg1 { 1152 } else { 576 };
        samples += per_frame;
        at += (per_frame / 8 * kbps * 1000 / rate + (head >> 9 & 1)) as usize;
    }
    assert_eq!(at, file.len());
    (rate, f64::from(samples) / f64::from(rate))
}

#[tokio::test]
async fn melotts_answers_with_mp3_in_json() {
    let model = "@cf/test/melotts";
    let bare = send(&app(settings()), binding(model, r#"{"prompt":"hi"}"#)).await;
    let output: serde_json::Value = serde_json::from_str(&bare.body).unwrap();
    assert_eq!(output.as_object().unwrap().len(), 1);
    let (rate, seconds) = mpeg(&unbase64(output["audio"].as_str().unwrap()));
    assert_eq!(rate, 44_100);
    assert!((1.0..1.2).contains(&seconds), "{seconds}");
    let rest = run(model, r#"{"prompt":"hi","lang":"FR"}"#).await;
    assert_eq!(rest.body, enveloped(&bare.body));
    assert_eq!(rest.header("cf-ai-neurons"), Some("1.00"));
    refused(model, r#"{"prompt":"hi","lang":"tlh"}"#, 400, 8001, INVALID).await;
    let long = "a".repeat(5001);
    let text = "AiError: prompt is 5001 characters long: at most 5000 are taken";
    refused(model, format!(r#"{{"prompt":"{long}"}}"#), 400, 3030, text).await;
}

#[tokio::test]
async fn aura_answers_with_mp3_unless_told_otherwise() {
    let (app, notes) = noted();
    for ask in [
        request("POST", &path(AURA), r#"{"text":"hello"}"#),
        binding(AURA, r#"{"text":"hello"}"#),
    ] {
        let answer = send(&app, ask).await;
        assert_eq!(answer.header("content-type"), Some("audio/mpeg"));
        assert_eq!(answer.header("cf-ai-neurons"), Some("5.00"));
        answer.without_id();
        let (rate, seconds) = mpeg(&answer.bytes);
        assert_eq!(rate, 22_050);
        assert!((1.0..1.2).contains(&seconds), "{seconds}");
    }
    assert_eq!(
        notes.lock().unwrap()[0],
        r#"SpeakRequest { text: "hello", speaker: Some("angus"), language: Some("en"), sample_rate: Some(22050) }"#
    );
    send(
        &app,
        request("POST", &path("@cf/test/aura-2-es"), r#"{"text":"hola"}"#),
    )
    .await;
    assert_eq!(
        notes.lock().unwrap()[2],
        r#"SpeakRequest { text: "hola", speaker: Some("aquila"), language: Some("es"), sample_rate: Some(22050) }"#
    );
    let text = "Bad input: Error: enum bob not in angus,asteria,arcas,orion,orpheus,athena,luna,zeus,\
                perseus,helios,hera,stella at '/speaker'";
    refused(AURA, r#"{"text":"x","speaker":"bob"}"#, 400, 5006, text).await;
}

#[tokio::test]
async fn aura_writes_samples_with_a_header_or_without() {
    for (encoding, container, content_type, rate, tag, sample_bytes) in [
        ("linear16", "wav", "audio/wav", 24_000_u32, 1, 2_u32),
        ("mulaw", "wav", "audio/wav", 8_000, 7, 1),
        ("alaw", "wav", "audio/wav", 8_000, 6, 1),
        ("linear16", "none", "audio/l16", 24_000, 0, 2),
        ("mulaw", "none", "audio/mulaw", 8_000, 0, 1),
        ("alaw", "none", "audio/alaw", 8_000, 0, 1),
    ] {
        let named = if container == "wav" {
            ""
        } else {
            r#","container":"none""#
        };
        let input = format!(r#"{{"text":"a","encoding":"{encoding}"{named}}}"#);
        let file = run(AURA, input).await;
        assert_eq!(
            file.header("content-type"),
            Some(content_type),
            "{encoding}"
        );
        let data_bytes = rate * sample_bytes; // a second
        let mut data = &file.bytes[..];
        if container == "wav" {
            let field = |at: usize| u32::from_le_bytes(data[at..at + 4].try_into().unwrap());
            assert_eq!((&data[..4], field(4)), (&b"RIFF"[..], data_bytes + 36));
            assert_eq!((field(20), field(24)), (0x1_0000 | tag, rate));
            assert_eq!((field(28), field(40)), (data_bytes, data_bytes));
            data = &data[44..];
        }
        assert_eq!(data.len(), data_bytes as usize, "{encoding} {container}");
        let start = match encoding {
            "mulaw" => 0xff,
            "alaw" => 0xd5,
            _ => 0,
        };
        assert_eq!(data[0], start); // the hum begins with silence
    }
    let answer = run(
        AURA,
        r#"{"text":"a","encoding":"flac","sample_rate":16000}"#,
    )
    .await;
    assert_eq!(answer.header("content-type"), Some("audio/flac"));
    assert_eq!(&answer.bytes[..4], b"fLaC");
    // Of the stream's information: the sample rate in 20 bits, one channel, 16 bits, the count.
    let packed = u64::from_be_bytes(answer.bytes[18..26].try_into().unwrap());
    assert_eq!(
        (packed >> 44, packed >> 41 & 7, packed >> 36 & 31),
        (16_000, 0, 15)
    );
    assert_eq!(packed & 0xf_ffff_ffff, 16_000);
    for (more, code, text) in [
        (
            r#""encoding":"opus""#,
            8007,
            "AiError: encoding opus is not served by this version of hearth",
        ),
        (
            r#""encoding":"aac""#,
            8007,
            "AiError: encoding aac is not served by this version of hearth",
        ),
        (r#""container":"ogg""#, 8001, INVALID),
        (r#""sample_rate":1"#, 8001, INVALID),
        (r#""bit_rate":7"#, 8001, INVALID),
        (r#""encoding":"mulaw","bit_rate":48000"#, 8001, INVALID),
    ] {
        refused(AURA, format!(r#"{{"text":"a",{more}}}"#), 400, code, text).await;
    }
}

#[tokio::test]
async fn speech_that_fails_in_the_middle_is_broken_off() {
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    let ask = request("POST", &path(AURA), r#"{"text":"break off"}"#);
    let response = app(settings()).oneshot(ask).await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.into_body().collect().await.is_err());
}
