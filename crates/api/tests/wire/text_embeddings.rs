//! Text embeddings.

use crate::house::{both, refused, run};

const BGE: &str = "@cf/test/bge";
const M3: &str = "@cf/test/bge-m3";

fn success(result: &str) -> String {
    format!(r#"{{"result":{result},"success":true,"errors":[],"messages":[]}}"#)
}

#[tokio::test]
async fn texts_give_vectors_in_their_order() {
    for (input, result) in [
        (
            r#"{"text":"0.6,0.8"}"#,
            r#"{"shape":[1,2],"data":[[0.6,0.8]],"pooling":"mean"}"#,
        ),
        (
            // Numbers of 32 bits with no more digits than they need.
            r#"{"text":["0.1,-0.30000001","1,0"],"pooling":"cls"}"#,
            r#"{"shape":[2,2],"data":[[0.1,-0.3],[1.0,0.0]],"pooling":"cls"}"#,
        ),
        (
            r#"{"text":[]}"#,
            r#"{"shape":[0,2],"data":[],"pooling":"mean"}"#,
        ),
    ] {
        let answer = run(BGE, input).await;
        assert_eq!(answer.body, success(result));
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("hearth-model"), Some("compass; grade=exact"));
        assert_eq!(answer.header("hearth-truncated"), None);
        answer.without_id();
    }
}

#[tokio::test]
async fn a_hundred_texts_keep_their_order_and_one_more_is_refused() {
    let texts = |count: usize| {
        let texts: Vec<_> = (0..count).map(|n| format!(r#""{n},0""#)).collect();
        format!(r#"{{"text":[{}]}}"#, texts.join(","))
    };
    let answer = run(BGE, texts(100)).await;
    let vectors: Vec<_> = (0..100).map(|n| format!("[{n}.0,0.0]")).collect();
    let data = vectors.join(",");
    let result = format!(r#"{{"shape":[100,2],"data":[{data}],"pooling":"mean"}}"#);
    assert_eq!(answer.body, success(&result));
    assert_eq!(answer.header("cf-ai-neurons"), Some("390.00"));
    let text = "AiError: 101 texts in one request: at most 100 are taken";
    refused(BGE, texts(101), 400, 3030, text).await;
}

#[tokio::test]
async fn texts_cut_to_the_window_are_counted_in_a_header() {
    let long = "1".repeat(600);
    let answer = run(BGE, format!(r#"{{"text":["{long}","1,0","{long}"]}}"#)).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("hearth-truncated"), Some("2"));
}

#[tokio::test]
async fn bge_m3_embeds_ranks_and_refuses_what_is_too_long() {
    for (input, result) in [
        (
            r#"{"text":"1,0"}"#,
            r#"{"shape":[1,2],"data":[[1.0,0.0]],"pooling":"cls"}"#,
        ),
        (
            r#"{"query":"1,0","contexts":[{"text":"0,1"},{"text":"3,0"},{"text":"0.6,0.8"},{"text":"-1,0"}]}"#,
            r#"{"response":[{"id":1,"score":1.0},{"id":2,"score":0.6},{"id":0,"score":0.0},{"id":3,"score":-1.0}]}"#,
        ),
        (
            r#"{"contexts":[{"text":"1,0"},{"text":"0,1"}]}"#,
            r#"{"response":[[1.0,0.0],[0.0,1.0]],"shape":[2,2],"pooling":"cls"}"#,
        ),
        (r#"{"query":"1,0","contexts":[]}"#, r#"{"response":[]}"#),
    ] {
        let answer = run(M3, input).await;
        assert_eq!(answer.body, success(result));
        assert_eq!(
            answer.header("hearth-model"),
            Some("compass; grade=quantised")
        );
        assert_eq!(answer.header("cf-ai-neurons"), None); // no rate is known
    }
    let long = "1".repeat(8200);
    let text = "AiError: Max context reached 8203 tokens but model supports only 8192";
    refused(
        M3,
        format!(r#"{{"text":["1,0","{long}"]}}"#),
        400,
        3030,
        text,
    )
    .await;
    let answer = run(M3, format!(r#"{{"text":"{long}","truncate_inputs":true}}"#)).await;
    assert_eq!(answer.header("hearth-truncated"), Some("1"));
}

#[tokio::test]
async fn what_the_validator_lets_through_and_no_model_can_read_is_invalid_input() {
    for (model, input) in [
        (BGE, r#"{"text":[""]}"#),
        (BGE, r#"{"text":[1,"a"]}"#),
        (BGE, r#"{"text":[null]}"#),
        (BGE, r#"{"text":{"a":"b"}}"#),
        (M3, r#"{"contexts":["a"]}"#),
        (M3, r#"{"query":"a","contexts":[{"text":"b"},{}]}"#),
        (M3, r#"{"query":"a","contexts":{"a":{"text":"b"}}}"#),
    ] {
        refused(model, input, 400, 8001, "AiError: Invalid input").await;
    }
}

#[tokio::test]
async fn batches_are_refused_by_name() {
    let text = "AiError: requests is not served by this version of hearth";
    refused(BGE, r#"{"requests":[{"text":"a"}]}"#, 400, 8007, text).await;
    refused(M3, r#"{"requests":[{"text":"a"}]}"#, 400, 8007, text).await;
}

#[tokio::test]
async fn texts_that_are_together_too_long_for_bge_m3_are_counted_together() {
    let text = "1".repeat(4100);
    let long = "1".repeat(8200);
    for (texts, tokens) in [
        (format!(r#""{text}","{text}""#), 8200),
        (format!(r#""{long}","1,0","{text}""#), 12_303),
    ] {
        let text =
            format!("AiError: Max context reached {tokens} tokens but model supports only 8192");
        refused(M3, format!(r#"{{"text":[{texts}]}}"#), 400, 3030, &text).await;
    }
}

#[tokio::test]
async fn other_classes_have_their_own_inputs_and_key_orders() {
    let gemma = "@cf/test/embed-text";
    both(
        gemma,
        r#"{"text":"1,0"}"#,
        r#"{"shape":[1,2],"data":[[1.0,0.0]]}"#,
    )
    .await;
    let plamo = "@cf/test/embed-plamo";
    let result = r#"{"data":[[1.0,0.0],[1.0,0.0]],"shape":[2,2]}"#;
    both(plamo, r#"{"text":["1,0",""]}"#, result).await;
    let qwen = "@cf/test/embed-qwen3";
    // Documents and texts as they are, behind queries with their instruction (no number: 1).
    let result = r#"{"data":[[1.0,1.0],[0.5,0.0],[0.0,1.0]],"shape":[3,2]}"#;
    let input = r#"{"text":"0,1","documents":["0.5,0"],"queries":"x,0.25"}"#;
    both(qwen, input, result).await;
    both(qwen, r#"{"queries":[]}"#, r#"{"data":[],"shape":[0,2]}"#).await;
    refused(qwen, "{}", 400, 8001, "AiError: Invalid input").await;
    let texts = vec![r#""a""#; 33].join(",");
    let text = "AiError: 33 documents in one request: at most 32 are taken";
    refused(
        qwen,
        format!(r#"{{"documents":[{texts}]}}"#),
        400,
        3030,
        text,
    )
    .await;
    let texts = vec![r#""a""#; 2049].join(",");
    let text = "AiError: 2049 texts in one request: at most 2048 are taken";
    refused(gemma, format!(r#"{{"text":[{texts}]}}"#), 400, 3030, text).await;
}
