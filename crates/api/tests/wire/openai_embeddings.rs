//! OpenAI's route for embeddings.

use crate::files::unbase64;
use crate::house::{Answer, app, check_refusal, request, send, settings};

async fn ask(body: &str) -> Answer {
    let path = "/client/v4/accounts/0123/ai/v1/embeddings";
    send(&app(settings()), request("POST", path, body.to_owned())).await
}

#[tokio::test]
async fn a_text_or_a_list_gives_a_list_of_vectors() {
    for (input, data, tokens) in [
        (
            r#""0.6,0.8""#,
            r#"{"object":"embedding","embedding":[0.6,0.8],"index":0}"#,
            7,
        ),
        (
            r#"["0.6,0.8","1,0"]"#,
            r#"{"object":"embedding","embedding":[0.6,0.8],"index":0},{"object":"embedding","embedding":[1.0,0.0],"index":1}"#,
            10,
        ),
        ("[]", "", 0),
    ] {
        let answer = ask(&format!(r#"{{"model":"@cf/test/bge","input":{input}}}"#)).await;
        assert_eq!(
            answer.body,
            format!(
                r#"{{"object":"list","data":[{data}],"model":"@cf/test/bge","usage":{{"prompt_tokens":{tokens},"total_tokens":{tokens}}}}}"#
            )
        );
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(
            answer.header("cf-ai-neurons"),
            Some(&*format!("{tokens}.00"))
        );
        answer.without_id();
    }
}

#[tokio::test]
async fn vectors_come_as_base64_where_that_is_asked_for() {
    let body =
        r#"{"model":"@cf/test/bge","input":"0.6,-1","encoding_format":"base64","dimensions":2}"#;
    let answer = ask(body).await;
    let output: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    let bytes = unbase64(output["data"][0]["embedding"].as_str().unwrap());
    assert_eq!(
        bytes,
        [0.6_f32.to_le_bytes(), (-1.0_f32).to_le_bytes()].concat()
    );
}

#[tokio::test]
async fn refusals_are_in_the_services_envelope() {
    for (body, status, code, text) in [
        (
            "",
            400,
            3003,
            "Incomplete request: Request is missing headers or body: body",
        ),
        (
            r#"{"input":"a"}"#,
            400,
            3003,
            "Incomplete request: Request is missing headers or body: model",
        ),
        (
            r#"{"model":"@cf/no/model","input":"a"}"#,
            400,
            5007,
            "No such model: No such model @cf/no/model or task",
        ),
        (
            r#"{"model":"@cf/test/chat","input":"a"}"#,
            400,
            8007,
            "AiError: @cf/test/chat makes no text embeddings",
        ),
        (
            r#"{"model":"@cf/test/bge"}"#,
            400,
            5006,
            "Bad input: Error: required properties at '/' are 'input'",
        ),
        (
            r#"{"model":"@cf/test/bge","input":"a","encoding_format":"hex"}"#,
            400,
            5006,
            "Bad input: Error: enum hex not in float,base64 at '/encoding_format': Type mismatch of '/input', 'array' not in 'string'",
        ),
        (
            r#"{"model":"@cf/test/bge","input":"a","dimensions":3}"#,
            400,
            8007,
            "AiError: dimensions: the vectors of @cf/test/bge have 2 numbers, not 3",
        ),
        (
            r#"{"model":"@cf/test/bge","input":[1,2,3]}"#,
            400,
            8001,
            "AiError: Invalid input",
        ),
        (
            r#"{"model":"@cf/test/bge","input":[""]}"#,
            400,
            8001,
            "AiError: Invalid input",
        ),
    ] {
        check_refusal(&ask(body).await, status, code, text);
    }
    let long = "1".repeat(8200);
    let answer = ask(&format!(
        r#"{{"model":"@cf/test/bge-m3","input":"{long}"}}"#
    ))
    .await;
    let text = "AiError: Max context reached 8200 tokens but model supports only 8192";
    check_refusal(&answer, 400, 3030, text);
}
