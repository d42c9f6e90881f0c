//! Every form of a stream of text, frame by frame.

use serde_json::json;

use crate::house::{check_refusal, request, send, settings};
use crate::stage::{ACCOUNT, binding, openai, rest, settled, stage};

const USAGE: &str = r#"{"prompt_tokens":147,"completion_tokens":3,"total_tokens":150}"#;
const CALL: &str = r#"call weather {"city":"London"}"#;
const TOOLS: &str = r#""tools":[{"type":"function","function":{"name":"weather"}}]"#;

fn body(content: &str, more: &str) -> String {
    let turn = json!({"role": "user", "content": content});
    format!(r#""messages":[{turn}],"stream":true{more}}}"#)
}

fn lines(frames: &[&str]) -> String {
    let frames = frames.iter().map(|frame| format!("data: {frame}\n\n"));
    frames.collect::<String>() + "data: [DONE]\n\n"
}

/// The same bytes on REST and the binding.
async fn check_run(model: &str, content: &str, more: &str, frames: &[&str]) {
    let input = format!("{{{}", body(content, more));
    for answer in [
        rest(model, input.clone()).await,
        binding(model, &input).await,
    ] {
        assert_eq!(settled(&answer), lines(frames), "{model}");
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    }
}

async fn check_openai(model: &str, content: &str, more: &str, frames: &[&str]) {
    let answer = openai(model, &body(content, more)).await;
    assert_eq!(settled(&answer), lines(frames), "{model}");
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
}

#[tokio::test]
async fn legacy_streams() {
    let usage = format!(r#"{{"response":"","usage":{USAGE}}}"#);
    let frames = [
        r#"{"response":"a","p":"P"}"#,
        r#"{"response":" b","p":"P"}"#,
        &usage,
    ];
    check_run("plain", "say a | say  b", "", &frames).await;
    let frames = [
        r#"{"response":"<think>\n","p":"P"}"#,
        r#"{"response":"hm","p":"P"}"#,
        r#"{"response":"\n</think>\n\n","p":"P"}"#,
        r#"{"response":"b","p":"P"}"#,
        &usage,
    ];
    check_run("thinks", "think hm | say b", "", &frames).await;
}

#[tokio::test]
async fn legacy_streams_of_tools() {
    let usage = format!(r#"{{"response":"","usage":{USAGE}}}"#);
    let tools = r#","tools":[{"name":"weather","description":"d","parameters":{"type":"object","properties":{}}}]"#;
    let content = format!("say a | {CALL}");
    let frames = [
        r#"{"response":"a","p":"P"}"#,
        r#"{"tool_calls":[{"name":"weather","arguments":{"city":"London"}}]}"#,
        &usage,
    ];
    check_run("able", &content, tools, &frames).await;
    let begun = r#"{"response":"","tool_calls":[{"id":"chatcmpl-tool-HEX","type":"function","index":0,"function":{"name":"weather"}}],"p":"P"}"#;
    let arguments =
        r#"{"tool_calls":[{"index":0,"function":{"arguments":"{\"city\":\"London\"}"}}],"p":"P"}"#;
    let end = r#"{"tool_calls":[{"id":null,"type":null,"index":0,"function":{"name":null,"arguments":""}}],"p":"P"}"#;
    let said = r#"{"response":"a","p":"P"}"#;
    check_run(
        "mistral",
        &content,
        tools,
        &[said, begun, arguments, end, &usage],
    )
    .await;
    // The one name with a frame of both dialects.
    let merged = r#"{"choices":[{"delta":{"content":"","role":"assistant"}}],"response":"","tool_calls":[]}"#;
    let input = format!("{{{}", body(&content, tools));
    let path = format!("{ACCOUNT}/run/@cf/meta/llama-4-scout-17b-16e-instruct");
    let answer = send(&stage(settings()), request("POST", &path, input)).await;
    assert_eq!(
        settled(&answer),
        lines(&[merged, said, begun, arguments, end, &usage])
    );
}

/// A chunk of the common back end.
fn plain(model: &str, choices: &str) -> String {
    format!(
        r#"{{"id":"id-MS","created":0,"model":"@cf/test/{model}","object":"chat.completion.chunk","choices":[{choices}]}}"#
    )
}

#[tokio::test]
async fn legacy_models_on_openais_route() {
    let said = plain("plain", r#"{"index":0,"delta":{"content":"a"}}"#);
    let more = plain("plain", r#"{"index":0,"delta":{"content":" b"}}"#);
    let end = plain("plain", r#"{"index":0,"delta":{},"finish_reason":"stop"}"#);
    check_openai("plain", "say a | say  b", "", &[&said, &more, &end]).await;
    let usage = plain("plain", "").replace(
        r#""choices":[]}"#,
        &format!(r#""choices":[],"usage":{USAGE}}}"#),
    );
    let options = r#","stream_options":{"include_usage":true}"#;
    check_openai(
        "plain",
        "say a | say  b",
        options,
        &[&said, &more, &end, &usage],
    )
    .await;
    let call = plain(
        "able",
        r#"{"index":0,"delta":{"tool_calls":[{"index":0,"id":"chatcmpl-tool-HEX","type":"function","function":{"name":"weather","arguments":"{\"city\":\"London\"}"}}]}}"#,
    );
    let end = plain(
        "able",
        r#"{"index":0,"delta":{},"finish_reason":"tool_calls"}"#,
    );
    check_openai("able", CALL, &format!(",{TOOLS}"), &[&call, &end]).await;
}

#[tokio::test]
async fn models_that_complete_stream_chunks_and_a_native_last_frame() {
    let thought = plain("parts", r#"{"index":0,"delta":{"reasoning_content":"hm"}}"#);
    let said = plain("parts", r#"{"index":0,"delta":{"content":"b"}}"#);
    let end = plain(
        "parts",
        r#"{"index":0,"delta":{},"finish_reason":"length"}"#,
    );
    let tail = format!(r#"{{"response":"","usage":{USAGE}}}"#);
    check_run(
        "parts",
        "think hm | say b | cut",
        "",
        &[&thought, &said, &end, &tail],
    )
    .await;
    let chunk =
        |choice: &str| plain("parts", choice).replace("chat.completion.chunk", "text_completion");
    let answer = rest("parts", r#"{"prompt":"say a | say  b","stream":true}"#).await;
    let frames = [
        chunk(r#"{"index":0,"text":"a"}"#),
        chunk(r#"{"index":0,"text":" b"}"#),
        chunk(r#"{"index":0,"text":"","finish_reason":"stop"}"#),
        tail,
    ];
    let frames: Vec<_> = frames.iter().map(String::as_str).collect();
    assert_eq!(settled(&answer), lines(&frames));
}

/// A chunk of the chat classes.
fn chunk(model: &str, choices: &str, usage: (u32, u32, &str)) -> String {
    let (read, written, neurons) = usage;
    let total = read + written;
    format!(
        r#"{{"choices":[{choices}],"created":0,"id":"HEX","model":"@cf/test/{model}","object":"chat.completion.chunk","p":"P","usage":{{"prompt_tokens":{read},"completion_tokens":{written},"total_tokens":{total},"prompt_tokens_details":{{"cached_tokens":0}},"neurons":{neurons}}}}}"#
    )
}

fn choice(index: u32, delta: &str, finish: &str) -> String {
    format!(
        r#"{{"delta":{{{delta}}},"finish_reason":{finish},"index":{index},"logprobs":null,"matched_stop":null}}"#
    )
}

const BEGIN: &str = r#""content":"","reasoning_content":null,"role":"assistant""#;
const END: &str = r#""reasoning_content":null"#;

#[tokio::test]
async fn chat_streams_count_what_each_chunk_adds_and_tell_the_sum_last() {
    for model in ["open", "open-one"] {
        let frames = [
            chunk(model, &choice(0, BEGIN, "null"), (147, 0, "1.336")),
            chunk(model, &choice(0, r#""reasoning_content":"hm""#, "null"), (0, 1, "0.027")),
            chunk(model, &choice(0, r#""content":"Hi""#, "null"), (0, 1, "0.027")),
            chunk(model, &choice(0, END, r#""stop""#), (0, 1, "0.027")),
            chunk(model, "", (0, 0, "0")),
            r#"{"response":"","usage":{"prompt_tokens":147,"completion_tokens":3,"total_tokens":150,"prompt_tokens_details":{"cached_tokens":0},"neurons":1.42}}"#.into(),
        ];
        let native: Vec<_> = frames.iter().map(String::as_str).collect();
        check_run(model, "think hm | say Hi", "", &native).await;
        check_openai(model, "think hm | say Hi", "", &native[..4]).await;
        let sum = chunk(model, "", (147, 3, "1.42"));
        let with_sum = [native[0], native[1], native[2], native[3], &sum];
        let options = r#","stream_options":{"include_usage":true}"#;
        check_openai(model, "think hm | say Hi", options, &with_sum).await;
    }
    // gpt-oss streams here, and only here.
    let frames = [
        chunk("oss", &choice(0, BEGIN, "null"), (147, 0, "1.336")),
        chunk(
            "oss",
            &choice(0, r#""content":"Hi""#, "null"),
            (0, 1, "0.027"),
        ),
        chunk("oss", &choice(0, END, r#""length""#), (0, 1, "0.027")),
    ];
    let frames: Vec<_> = frames.iter().map(String::as_str).collect();
    check_openai("oss", "say Hi | cut", "", &frames).await;
}

#[tokio::test]
async fn chat_streams_of_tools() {
    let call = |index: u32| {
        format!(
            r#""tool_calls":[{{"function":{{"name":"weather","arguments":"{{\"city\":\"London\"}}"}},"id":"chatcmpl-tool-HEX","index":{index},"type":"function"}}]"#
        )
    };
    let frames = [
        chunk("open", &choice(0, BEGIN, "null"), (147, 0, "1.336")),
        chunk("open", &choice(0, &call(0), "null"), (0, 1, "0.027")),
        chunk("open", &choice(0, &call(1), "null"), (0, 1, "0.027")),
        chunk("open", &choice(0, END, r#""tool_calls""#), (0, 1, "0.027")),
    ];
    let frames: Vec<_> = frames.iter().map(String::as_str).collect();
    let twice = format!("{CALL} | {CALL}");
    check_openai("open", &twice, &format!(",{TOOLS}"), &frames).await;
    let end = chunk("open", &choice(0, END, r#""tool_calls""#), (0, 2, "0.055"));
    let once = format!(r#",{TOOLS},"parallel_tool_calls":false"#);
    check_openai("open", &twice, &once, &[frames[0], frames[1], &end]).await;
}

#[tokio::test]
async fn some_choices_share_a_stream_and_a_prompt() {
    let answer = openai("open", &body("say a | say b", r#","n":2"#)).await;
    let body = settled(&answer);
    let frames: Vec<_> = body.split_terminator("\n\n").collect();
    assert_eq!(frames.len(), 9, "{body}");
    assert_eq!(frames.last(), Some(&"data: [DONE]"));
    for index in 0..2 {
        let own = format!(r#""index":{index},"#);
        let own: Vec<_> = frames.iter().filter(|frame| frame.contains(&own)).collect();
        assert_eq!(own.len(), 4);
        assert!(own[0].contains(BEGIN) && own[3].contains(r#""finish_reason":"stop""#));
        let counts_prompt = own[0].contains(r#""prompt_tokens":147"#);
        assert_eq!(counts_prompt, index == 0);
    }
}

#[tokio::test]
async fn a_failure_of_any_stream_before_its_text_is_plain_json() {
    let wrong = r#"{"messages":[{"role":"user","content":5}],"stream":true}"#;
    let answer = rest("mistral", wrong).await;
    check_refusal(&answer, 400, 8001, "AiError: Invalid input");
}
