//! Every form of an answer that generates text, byte for byte, on each surface.

use crate::house::check_refusal;
use crate::stage::{binding, openai, responses, rest, settled};

const USAGE: &str = r#"{"prompt_tokens":147,"completion_tokens":2,"total_tokens":149}"#;
const FULL: &str = r#"{"prompt_tokens":147,"completion_tokens":2,"total_tokens":149,"prompt_tokens_details":{"cached_tokens":0},"neurons":1.39}"#;

/// The output of a run route: in the envelope on REST, bare on the binding.
async fn check_run(model: &str, input: &str, output: &str) {
    let answer = rest(model, input.to_owned()).await;
    let wanted = format!(r#"{{"result":{output},"success":true,"errors":[],"messages":[]}}"#);
    assert_eq!(settled(&answer), wanted, "{model} {input}");
    assert_eq!(answer.status, 200);
    let answer = binding(model, input).await;
    assert_eq!(settled(&answer), output, "{model} {input}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cf-ai-neurons").is_some(), output != "{}");
}

fn turn(content: &str) -> String {
    format!(
        r#""messages":[{{"role":"user","content":{}}}]"#,
        serde_json::json!(content)
    )
}

fn input(content: &str) -> String {
    format!("{{{}}}", turn(content))
}

const TOOLS: &str = r#""tools":[{"name":"weather","description":"d","parameters":{"type":"object","properties":{}}}]"#;
const FUNCTIONS: &str = r#""tools":[{"type":"function","function":{"name":"weather"}}]"#;
const CALL: &str = r#"call weather {"city":"London"}"#;

#[tokio::test]
async fn legacy_answers() {
    let response =
        |value: &str| format!(r#"{{"response":{value},"tool_calls":[],"usage":{USAGE}}}"#);
    check_run("plain", &input("say hi"), &response(r#""hi""#)).await;
    check_run("plain", r#"{"prompt":"say hi"}"#, &response(r#""hi""#)).await;
    // Thinking stands in the text.
    let usage = USAGE.replace(":2,", ":3,").replace("149", "150");
    let output =
        format!(r#"{{"response":"<think>\nhm\n</think>\n\nhi","tool_calls":[],"usage":{usage}}}"#);
    check_run("thinks", &input("think hm | say hi"), &output).await;
    // Tools.
    let output = format!(
        r#"{{"response":null,"tool_calls":[{{"name":"weather","arguments":{{"city":"London"}}}}],"usage":{USAGE}}}"#
    );
    check_run("able", &format!("{{{},{TOOLS}}}", turn(CALL)), &output).await;
    let output = format!(
        r#"{{"response":null,"tool_calls":[{{"id":"chatcmpl-tool-HEX","type":"function","function":{{"name":"weather","arguments":{{"city":"London"}}}}}}],"usage":{USAGE}}}"#
    );
    check_run("mistral", &format!("{{{},{TOOLS}}}", turn(CALL)), &output).await;
}

#[tokio::test]
async fn json_mode_answers_the_object_itself_and_text_on_openais_route() {
    let format = r#""response_format":{"type":"json_schema","json_schema":{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]}}"#;
    let input = format!("{{{},{format}}}", turn(r#"say {"a":1}"#));
    let output = format!(r#"{{"response":{{"a":1}},"tool_calls":[],"usage":{USAGE}}}"#);
    check_run("able", &input, &output).await;
    let guided = format!(
        r#"{{{},"guided_json":{{"type":"object"}}}}"#,
        turn(r#"say {"a":1}"#)
    );
    check_run("mistral", &guided, &output).await;
    let wrapped = r#""response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"type":"object","required":["a"]}}}"#;
    let body = format!("{},{wrapped}}}", turn(r#"say {"a":1}"#));
    let answer = openai("able", &body).await;
    assert!(
        settled(&answer).contains(r#""content":"{\"a\":1}"}"#),
        "{}",
        answer.body
    );
    for text in ["say not json", r#"say {"b":1}"#, "say [1]"] {
        let input = format!("{{{},{format}}}", turn(text));
        check_refusal(
            &rest("able", input).await,
            400,
            5024,
            "AiError: JSON Model couldn't be met",
        );
        let body = format!("{},{wrapped}}}", turn(text));
        let answer = openai("able", &body).await;
        check_refusal(&answer, 400, 5024, "AiError: JSON Model couldn't be met");
    }
}

#[tokio::test]
async fn answers_of_models_that_complete() {
    let output = |message: &str, finish: &str, usage: &str| {
        format!(
            r#"{{"id":"id-MS","object":"chat.completion","created":0,"model":"@cf/test/parts","choices":[{{"index":0,"message":{message},"finish_reason":"{finish}","stop_reason":null,"logprobs":null}}],"usage":{usage},"prompt_logprobs":null}}"#
        )
    };
    let said = r#"{"role":"assistant","content":"hi"}"#;
    check_run("parts", &input("say hi"), &output(said, "stop", USAGE)).await;
    check_run(
        "parts",
        &input("say hi | cut"),
        &output(said, "length", USAGE),
    )
    .await;
    let parts = r#"{"messages":[{"role":"user","content":[{"type":"text","text":"say hi"}]}]}"#;
    check_run("parts", parts, &output(said, "stop", USAGE)).await;
    let usage = USAGE.replace(":2,", ":3,").replace("149", "150");
    let said = r#"{"role":"assistant","content":"hi","reasoning_content":"hm"}"#;
    check_run(
        "parts",
        &input("think hm | say hi"),
        &output(said, "stop", &usage),
    )
    .await;
    let said = r#"{"role":"assistant","content":null,"tool_calls":[{"id":"chatcmpl-tool-HEX","type":"function","function":{"name":"weather","arguments":"{\"city\":\"London\"}"}}]}"#;
    let asked = format!("{{{},{TOOLS}}}", turn(CALL));
    check_run("parts", &asked, &output(said, "tool_calls", USAGE)).await;
    let output = format!(
        r#"{{"id":"id-MS","object":"text_completion","created":0,"model":"@cf/test/parts","choices":[{{"index":0,"text":"hi","finish_reason":"stop","stop_reason":null,"logprobs":null,"prompt_logprobs":null}}],"usage":{USAGE}}}"#
    );
    check_run("parts", r#"{"prompt":"say hi"}"#, &output).await;
}

fn completion(choices: &str, model: &str, usage: &str) -> String {
    format!(
        r#"{{"choices":[{choices}],"created":0,"id":"HEX","model":"@cf/test/{model}","object":"chat.completion","usage":{usage}}}"#
    )
}

fn choice(index: u32, message: &str, finish: &str) -> String {
    format!(
        r#"{{"finish_reason":"{finish}","index":{index},"logprobs":null,"message":{{{message}}}}}"#
    )
}

#[tokio::test]
async fn chat_answers() {
    let said = r#""content":"hi","role":"assistant""#;
    let output = completion(&choice(0, said, "stop"), "open", FULL);
    check_run("open", &input("say hi"), &output).await;
    check_run("open", r#"{"prompt":"say hi"}"#, &output).await;
    let more = FULL
        .replace(":2,", ":3,")
        .replace("149", "150")
        .replace("1.39", "1.42");
    let said = r#""content":"hi","reasoning_content":"hm","role":"assistant""#;
    let output = completion(&choice(0, said, "stop"), "open-one", &more);
    check_run("open-one", &input("think hm | say hi"), &output).await;
    // A limit within the thinking.
    let said = r#""content":null,"reasoning_content":"hm","role":"assistant""#;
    let output = completion(&choice(0, said, "length"), "open", FULL);
    check_run("open", &input("think hm | cut"), &output).await;
    let call = r#""content":null,"role":"assistant","tool_calls":[{"id":"chatcmpl-tool-HEX","type":"function","function":{"name":"weather","arguments":"{\"city\":\"London\"}"}}]"#;
    let output = completion(&choice(0, call, "tool_calls"), "open", FULL);
    check_run("open", &format!("{{{},{FUNCTIONS}}}", turn(CALL)), &output).await;
    let twice = format!("{CALL} | {CALL}");
    let once = format!(
        r#"{{{},{FUNCTIONS},"parallel_tool_calls":false}}"#,
        turn(&twice)
    );
    let usage = FULL
        .replace(":2,", ":3,")
        .replace("149", "150")
        .replace("1.39", "1.42");
    check_run(
        "open",
        &once,
        &completion(&choice(0, call, "tool_calls"), "open", &usage),
    )
    .await;
    // Some answers to one prompt, which counts once.
    let said = r#""content":"hi","role":"assistant""#;
    let choices = [choice(0, said, "stop"), choice(1, said, "stop")].join(",");
    let usage = FULL
        .replace(":2,", ":4,")
        .replace("149", "151")
        .replace("1.39", "1.45");
    let two = format!(r#"{{{},"n":2}}"#, turn("say hi"));
    check_run("open", &two, &completion(&choices, "open", &usage)).await;
}

#[tokio::test]
async fn a_moderators_verdict_is_words_or_json() {
    let ask = |content: &str, format: &str| format!("{{{}{format}}}", turn(content));
    let output = |response: &str| format!(r#"{{"response":{response},"usage":{USAGE}}}"#);
    check_run("guard", &ask("say \n\nsafe", ""), &output(r#""safe""#)).await;
    check_run(
        "guard",
        &ask("say unsafe\nS1,S10", ""),
        &output(r#""unsafe\nS1,S10""#),
    )
    .await;
    let json = r#","response_format":{"type":"json_object"}"#;
    let safe = r#"{"safe":true,"categories":[]}"#;
    check_run("guard", &ask("say \n\nsafe", json), &output(safe)).await;
    let not = r#"{"safe":false,"categories":["S1","S10"]}"#;
    check_run("guard", &ask("say unsafe\nS1,S10", json), &output(not)).await;
    // It streams for nobody.
    check_run(
        "guard",
        &ask("say safe", r#","stream":true"#),
        &output(r#""safe""#),
    )
    .await;
}

#[tokio::test]
async fn gpt_oss_answers_chats_and_responses_and_streams_nothing_on_the_run_routes() {
    let output = format!(
        r#"{{"id":"id-MS","object":"chat.completion","created":0,"model":"@cf/test/oss","choices":[{{"index":0,"message":{{"role":"assistant","content":"hi"}},"finish_reason":"stop","stop_reason":null,"logprobs":null}}],"usage":{USAGE},"prompt_logprobs":null}}"#
    );
    check_run("oss", &input("say hi"), &output).await;
    check_run("oss", r#"{"prompt":"say hi"}"#, &output).await;
    let output = r#"{"id":"respHEX","created_at":0,"object":"response","model":"@cf/test/oss","status":"completed","instructions":null,"error":null,"incomplete_details":null,"output":[{"id":"rsHEX","type":"reasoning","summary":[],"content":[{"type":"reasoning_text","text":"hm"}],"status":null},{"id":"msgHEX","type":"message","role":"assistant","status":"completed","content":[{"type":"output_text","text":"hi","annotations":[]}]}],"parallel_tool_calls":true,"temperature":1.0,"top_p":1.0,"tool_choice":"auto","tools":[],"max_output_tokens":null,"usage":{"input_tokens":147,"output_tokens":3,"total_tokens":150}}"#;
    check_run("oss", r#"{"input":"think hm | say hi"}"#, output).await;
    let answer = responses("oss", r#""input":"think hm | say hi"}"#).await;
    assert_eq!(settled(&answer), output);
    let answer = responses(
        "oss",
        r#""input":"say hi | cut","instructions":"i","max_output_tokens":5,"temperature":0.5,"top_p":0.9}"#,
    )
    .await;
    let output = r#"{"id":"respHEX","created_at":0,"object":"response","model":"@cf/test/oss","status":"incomplete","instructions":"i","error":null,"incomplete_details":{"reason":"max_output_tokens"},"output":[{"id":"msgHEX","type":"message","role":"assistant","status":"incomplete","content":[{"type":"output_text","text":"hi","annotations":[]}]}],"parallel_tool_calls":true,"temperature":0.5,"top_p":0.9,"tool_choice":"auto","tools":[],"max_output_tokens":5,"usage":{"input_tokens":147,"output_tokens":2,"total_tokens":149}}"#;
    assert_eq!(settled(&answer), output);
    let tool = r#""tools":[{"type":"function","name":"weather","parameters":{"type":"object"},"strict":true}]"#;
    let body = format!(r#""input":{},{tool}}}"#, serde_json::json!(CALL));
    let answer = responses("oss", &body).await;
    let item = r#""output":[{"type":"function_call","id":"fcHEX","call_id":"callHEX","name":"weather","arguments":"{\"city\":\"London\"}","status":"completed"}]"#;
    assert!(settled(&answer).contains(item), "{}", answer.body);
    for streamed in [
        r#"{"input":"say hi","stream":true}"#,
        r#"{"prompt":"say hi","stream":true}"#,
    ] {
        check_run("oss", streamed, "{}").await;
    }
}

#[tokio::test]
async fn openais_route_answers_bare_in_the_form_of_the_back_end() {
    let legacy = |model: &str, message: &str, finish: &str, usage: &str| {
        format!(
            r#"{{"id":"id-MS","object":"chat.completion","created":0,"model":"@cf/test/{model}","choices":[{{"index":0,"message":{message},"logprobs":null,"finish_reason":"{finish}"}}],"usage":{usage}}}"#
        )
    };
    let said = r#"{"role":"assistant","content":"hi"}"#;
    for model in ["plain", "able", "parts", "sees", "mistral", "guard"] {
        let answer = openai(model, &format!("{}}}", turn("say hi"))).await;
        assert_eq!(settled(&answer), legacy(model, said, "stop", USAGE));
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("cf-ai-neurons"), Some("1.39"));
    }
    let call = r#"{"role":"assistant","content":null,"tool_calls":[{"id":"chatcmpl-tool-HEX","type":"function","function":{"name":"weather","arguments":"{\"city\":\"London\"}"}}]}"#;
    let answer = openai("able", &format!("{},{FUNCTIONS}}}", turn(CALL))).await;
    assert_eq!(settled(&answer), legacy("able", call, "tool_calls", USAGE));
    for model in ["open", "open-one", "oss"] {
        let answer = openai(model, &format!("{}}}", turn("say hi"))).await;
        let said = r#""content":"hi","role":"assistant""#;
        assert_eq!(
            settled(&answer),
            completion(&choice(0, said, "stop"), model, FULL)
        );
    }
    let answer = openai("plain", r#""prompt":"say hi"}"#).await;
    assert_eq!(settled(&answer), legacy("plain", said, "stop", USAGE));
}
