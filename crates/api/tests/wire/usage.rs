//! What was used, counted over every kind of answer.

use api::ledger::{Ledger, Units};
use axum::body::Body;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::house::{app, path, recording, request, send, settings};

#[tokio::test]
async fn answers_are_counted_by_day_and_model_in_neurons_and_usd() {
    let folder = tempfile::tempdir().unwrap();
    let (app, _) = recording(folder.path());
    for (model, body) in [
        ("@cf/test/chat", r#"{"prompt":"a"}"#),
        ("@cf/test/chat", r#"{"prompt":"a","stream":true}"#),
        ("@cf/test/chat", r#"{"prompt":"fail bad"}"#),
        ("@cf/test/bge", r#"{"text":["1,0","0,1"]}"#),
        ("@cf/test/bge-m3", r#"{"text":"1,0"}"#),
        ("@cf/test/whisper", "RIFF"),
    ] {
        send(&app, request("POST", &path(model), body)).await;
    }
    let answer = send(&app, request("GET", "/hearth/usage", Body::empty())).await;
    assert_eq!(answer.status, 200);
    let mut page: Value = serde_json::from_str(&answer.body).unwrap();
    let day = page["days"][0]["day"].take();
    assert_eq!(day.as_str().unwrap().len(), 10);
    // 20 tokens read at 10,000 neurons a million and 3 written at 1,000,000, twice; 6 tokens at 1,000,000; two
    // minutes at 46.63.
    assert_eq!(
        page.to_string(),
        concat!(
            r#"{"price_table":{"as_of":"2026-11","usd_per_1000_neurons":0.011,"free_neurons_per_day":10000.0},"#,
            r#""total":{"requests":5,"unpriced_requests":1,"neurons":105.66,"usd":0.001162,"billed_neurons":0.0,"billed_usd":0.0},"#,
            r#""days":[{"day":null,"requests":5,"unpriced_requests":1,"neurons":105.66,"usd":0.001162,"billed_neurons":0.0,"billed_usd":0.0,"models":["#,
            r#"{"model":"@cf/test/bge","requests":1,"unpriced_requests":0,"neurons":6.0,"usd":0.000066,"input_tokens":6,"output_tokens":0,"audio_seconds":0.0},"#,
            r#"{"model":"@cf/test/bge-m3","requests":1,"unpriced_requests":1,"neurons":0.0,"usd":0.0,"input_tokens":3,"output_tokens":0,"audio_seconds":0.0},"#,
            r#"{"model":"@cf/test/chat","requests":2,"unpriced_requests":0,"neurons":6.4,"usd":0.00007,"input_tokens":40,"output_tokens":6,"audio_seconds":0.0},"#,
            r#"{"model":"@cf/test/whisper","requests":1,"unpriced_requests":0,"neurons":93.26,"usd":0.001026,"input_tokens":0,"output_tokens":0,"audio_seconds":120.0}]}]}"#
        )
    );
}

#[tokio::test]
async fn a_stream_that_its_reader_leaves_is_counted_as_far_as_it_came() {
    let folder = tempfile::tempdir().unwrap();
    let (app, _) = recording(folder.path());
    let ask = request(
        "POST",
        &path("@cf/test/chat"),
        r#"{"prompt":"a b c d e f","stream":true}"#,
    );
    let response = app.clone().oneshot(ask).await.unwrap();
    let mut body = response.into_body();
    for _ in 0..2 {
        body.frame().await.unwrap().unwrap();
    }
    drop(body);
    let answer = send(&app, request("GET", "/hearth/usage", Body::empty())).await;
    let page: Value = serde_json::from_str(&answer.body).unwrap();
    let model = &page["days"][0]["models"][0];
    assert_eq!(
        (&model["requests"], &model["output_tokens"]),
        (&json!(1), &json!(2)),
        "{page}"
    );
}

#[tokio::test]
async fn the_quota_of_a_day_outlives_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap().ledger;
    let used = Units {
        neurons: 10_000.0,
        ..Default::default()
    };
    ledger.add("@cf/test/chat", used);
    for (quota, status) in [(false, 200), (true, 429)] {
        let app = app(api::Settings {
            quota,
            ledger: Some(ledger.clone()),
            ..settings()
        });
        let ask = request("POST", &path("@cf/test/chat"), r#"{"prompt":"a"}"#);
        let answer = send(&app, ask).await;
        assert_eq!(answer.status, status, "{}", answer.body);
    }
}

#[tokio::test]
async fn a_server_without_a_ledger_says_so() {
    let answer = send(
        &app(settings()),
        request("GET", "/hearth/usage", Body::empty()),
    )
    .await;
    assert_eq!(answer.status, 503);
    let error: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(error["errors"][0]["code"], json!(7009));
}
