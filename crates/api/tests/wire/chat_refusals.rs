//! What text generation refuses, and how each surface tells it.

use serde_json::{Value, json};

use crate::house::{Answer, check_refusal, request, send, settings};
use crate::stage::{ACCOUNT, binding, on_binding, openai, responses, rest, stage};

fn chat(fields: &Value) -> Value {
    let mut input = json!({"messages": [{"role": "user", "content": "say hi"}]});
    for (name, value) in fields.as_object().unwrap() {
        input[name] = value.clone();
    }
    input
}

#[tokio::test]
async fn what_no_engine_here_can_do_is_refused_by_name() {
    let custom = json!([{"type": "custom", "custom": {"name": "c"}}]);
    let part = |kind: &str| json!({"messages": [{"role": "user", "content": [{"type": kind}]}]});
    for (fields, name) in [
        (
            json!({"audio": {"voice": "alloy", "format": "wav"}}),
            "audio",
        ),
        (
            json!({"modalities": ["text", "audio"]}),
            "modalities with audio",
        ),
        (json!({"n": 9}), "n above 8"),
        (json!({"n": 1e300}), "n above 8"),
        (
            json!({"prediction": {"type": "content", "content": "a"}}),
            "prediction",
        ),
        (json!({"web_search_options": {}}), "web_search_options"),
        (
            json!({"chat_template_kwargs": {"force_nonempty_content": true}}),
            "chat_template_kwargs.force_nonempty_content",
        ),
        (json!({"tools": custom}), "tools[].custom"),
        (
            json!({"tool_choice": {"type": "custom", "custom": {"name": "c"}}}),
            "tool_choice.custom",
        ),
        (part("video_url"), "video_url"),
        (part("input_audio"), "input_audio"),
        (part("file"), "file"),
    ] {
        let text = format!("AiError: {name} is not served by this version of hearth");
        let input = chat(&fields).to_string();
        check_refusal(&rest("open", input.clone()).await, 400, 8007, &text);
        check_refusal(&openai("open", &input[1..]).await, 400, 8007, &text);
        check_refusal(&openai("plain", &input[1..]).await, 400, 8007, &text);
    }
    for (fields, name) in [
        (
            json!({"input": "a", "previous_response_id": "resp_1"}),
            "previous_response_id",
        ),
        (json!({"input": "a", "background": true}), "background"),
        (
            json!({"input": "a", "tools": [{"type": "web_search"}]}),
            r#"tools[].type "web_search""#,
        ),
        (
            json!({"input": [{"type": "item_reference", "id": "1"}]}),
            r#"input[].type "item_reference""#,
        ),
    ] {
        let text = format!("AiError: {name} is not served by this version of hearth");
        check_refusal(&rest("oss", fields.to_string()).await, 400, 8007, &text);
    }
}

#[tokio::test]
async fn images_of_other_servers_and_for_blind_models_are_refused() {
    let see = |url: &str| {
        let parts = json!([{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "say hi"}]);
        json!({"messages": [{"role": "user", "content": parts}]}).to_string()
    };
    let text = "AiError: image_url has to be a data: URI; images of other servers are not fetched";
    for model in ["mistral", "open"] {
        check_refusal(&rest(model, see("https://x/y.png")).await, 400, 8007, text);
    }
    let text = "AiError: @cf/test/blind is not a multimodal model";
    let image = see("data:image/png;base64,aGk=");
    check_refusal(&rest("blind", image).await, 400, 8007, text);
    let text = "Invalid data type: Invalid data type for base64 input: `boolean`";
    let answer = rest("sees", r#"{"prompt":"a","image":true}"#).await;
    check_refusal(&answer, 400, 5004, text);
}

#[tokio::test]
async fn what_the_schemas_let_through_and_no_model_can_read_is_invalid_input() {
    let f = json!([{"type": "function", "function": {"name": "f"}}]);
    let turn = |turn: Value| json!({"messages": [turn, {"role": "user", "content": "a"}]});
    for fields in [
        json!({"messages": []}),
        json!({"messages": ["a"]}),
        json!({"messages": [null]}),
        json!({"max_tokens": 0}),
        json!({"max_completion_tokens": -1}),
        json!({"max_tokens": "5"}),
        json!({"temperature": -1}),
        json!({"temperature": "hot"}),
        json!({"top_p": -0.5}),
        json!({"n": 0}),
        json!({"n": "two"}),
        json!({"seed": "s"}),
        json!({"stop": 5}),
        json!({"stop": [""]}),
        json!({"stop": ["a", "b", "c", "d", "e"]}),
        json!({"stop": "x".repeat(5000)}),
        json!({"logprobs": 1}),
        json!({"logprobs": true, "top_logprobs": 21}),
        json!({"logprobs": true, "top_logprobs": -1}),
        json!({"logprobs": true, "top_logprobs": 1.5}),
        json!({"top_logprobs": 2}),
        json!({"logit_bias": {"a": 1}}),
        json!({"logit_bias": {"1": 101}}),
        json!({"logit_bias": [1]}),
        json!({"response_format": {"type": "xml"}}),
        json!({"tools": [{"type": "function", "function": {}}]}),
        json!({"tools": f, "tool_choice": "some"}),
        json!({"tools": f, "tool_choice": {"type": "function", "function": {"name": "g"}}}),
        json!({"tools": f, "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"function": {"name": "g"}}]}}}),
        turn(json!({"role": "user", "content": [{"type": "text"}]})),
        turn(json!({"role": "user", "content": [{"type": "hologram"}]})),
        turn(json!({"role": "user", "content": [{"type": "image_url"}]})),
        turn(
            json!({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,%"}}]}),
        ),
        turn(json!({"role": "user"})),
        turn(json!({"content": "a"})),
        turn(json!({"role": "assistant", "tool_calls": [{"id": "1"}]})),
        turn(
            json!({"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{"}}]}),
        ),
    ] {
        let answer = rest("open", chat(&fields).to_string()).await;
        check_refusal(&answer, 400, 8001, "AiError: Invalid input");
    }
}

#[tokio::test]
async fn adapters_and_json_mode_are_for_the_models_that_have_them() {
    let lora = chat(&json!({"lora": "mine"})).to_string();
    let text = "LoRa unsupported: The model `@cf/test/plain` does not support LoRa inference";
    check_refusal(&rest("plain", lora.clone()).await, 405, 5005, text);
    let text = "Finetune missing required files: Finetune is missing required files (model.safetensors and config.json)";
    check_refusal(&rest("able", lora).await, 400, 3039, text);
    let text = "AiError: This model doesn't support JSON Schema.";
    let json = chat(&json!({"response_format": {"type": "json_object"}})).to_string();
    for model in ["plain", "parts", "mistral"] {
        check_refusal(&rest(model, json.clone()).await, 403, 5025, text);
        check_refusal(&openai(model, &json[1..]).await, 403, 5025, text);
    }
    let text = "AiError: JSON Schema mode is not supported with stream mode";
    for kind in ["json_object", "json_schema"] {
        let format = json!({"type": kind, "json_schema": {"name": "n"}});
        let input = chat(&json!({"response_format": format, "stream": true})).to_string();
        check_refusal(&rest("able", input.clone()).await, 400, 5023, text);
        check_refusal(&openai("able", &input[1..]).await, 400, 5023, text);
    }
}

/// The binding's form of an error.
fn check_named(answer: &Answer, status: u16, code: u16, message: &str, description: &str) {
    let quoted = |text: &str| serde_json::to_string(text).unwrap();
    let message = quoted(&format!("AiError: {message} (ID)"));
    let description = quoted(description);
    let wanted = format!(
        r#"{{"name":"AiError","internalCode":{code},"httpCode":{status},"message":{message},"description":{description},"requestId":"ID"}}"#
    );
    assert_eq!(answer.without_id(), wanted);
    assert_eq!(answer.status, status);
    assert_eq!(answer.header("content-type"), Some("application/json"));
}

/// The error of the responses route.
fn check_prompt_error(answer: &Answer, status: u16, message: &str) {
    let message = serde_json::to_string(&format!("AiError: {message} (ID)")).unwrap();
    let wanted = format!(r#"{{"error":{{"code":"invalid_prompt","message":{message}}}}}"#);
    assert_eq!(answer.without_id(), wanted);
    assert_eq!(answer.status, status);
}

#[tokio::test]
async fn one_refusal_in_the_dress_of_each_surface() {
    let schema = "Error: required properties at '/' are 'messages'";
    let message = format!("Bad input: {schema}");
    check_refusal(&rest("guard", "{}").await, 400, 5006, &message);
    check_named(&binding("guard", "{}").await, 400, 5006, &message, schema);
    let none = "No such model @cf/test/none or task";
    let message = format!("No such model: {none}");
    check_refusal(&rest("none", "{}").await, 400, 5007, &message);
    check_refusal(&openai("none", "\"a\":1}").await, 400, 5007, &message);
    check_named(&binding("none", "{}").await, 400, 5007, &message, none);
    check_prompt_error(&responses("none", "\"a\":1}").await, 400, &message);
    let invalid = r#""messages":[]}"#;
    check_refusal(
        &openai("open", invalid).await,
        400,
        8001,
        "AiError: Invalid input",
    );
    let answer = binding("open", r#"{"messages":[]}"#).await;
    check_named(
        &answer,
        400,
        8001,
        "AiError: Invalid input",
        "Invalid input",
    );
    let answer = responses("oss", r#""input":[]}"#).await;
    check_prompt_error(&answer, 400, "AiError: Invalid input");
}

#[tokio::test]
async fn the_responses_route_is_for_gpt_oss_and_streams_nothing() {
    let text = "AiError: Responses API is not supported for model \"@cf/test/open\"";
    check_prompt_error(&responses("open", r#""input":"say hi"}"#).await, 400, text);
    let text = "AiError: Streaming is not supported on this route";
    let answer = responses("oss", r#""input":"say hi","stream":true}"#).await;
    check_prompt_error(&answer, 400, text);
    // A chat is no response.
    let answer = responses("oss", r#""messages":[{"role":"user","content":"a"}]}"#).await;
    assert!(
        answer
            .body
            .contains("Bad input: Error: oneOf at '/' not met, 0 matches")
    );
    assert_eq!(answer.status, 400);
}

#[tokio::test]
async fn openais_route_wants_a_model_that_chats_and_a_body_of_the_chat_schema() {
    let app = stage(settings());
    let path = format!("{ACCOUNT}/v1/chat/completions");
    for (body, status, code, text) in [
        (
            "",
            400,
            3003,
            "Incomplete request: Request is missing headers or body: body",
        ),
        (
            "{}",
            400,
            3003,
            "Incomplete request: Request is missing headers or body: model",
        ),
        (
            r#"{"model":"@cf/test/clef"}"#,
            400,
            8007,
            "AiError: Chat completions are not supported for model \"@cf/test/clef\"",
        ),
    ] {
        check_refusal(
            &send(&app, request("POST", &path, body)).await,
            status,
            code,
            text,
        );
    }
    for model in ["plain", "open"] {
        let answer = openai(model, r#""temperature":1}"#).await;
        let text = "AiError: Bad input: Error: anyOf at '/' not met: required properties at '/audio' are 'voice,format'";
        assert!(answer.body.contains(text), "{}", answer.body);
        assert_eq!(answer.status, 400);
    }
    let body =
        r#"{"model":"workers-ai/@cf/test/plain","messages":[{"role":"user","content":"say hi"}]}"#;
    let answer = send(&app, request("POST", &path, body)).await;
    assert!(
        answer.body.contains(r#""model":"@cf/test/plain""#),
        "{}",
        answer.body
    );
}

#[tokio::test]
async fn routes_that_openai_has_and_the_service_has_not() {
    let app = stage(settings());
    let envelope = |code: u16, message: &str| {
        format!(
            r#"{{"result":null,"success":false,"errors":[{{"code":{code},"message":"{message}"}}],"messages":[]}}"#
        )
    };
    let completions = format!("{ACCOUNT}/v1/completions");
    let no_route = envelope(
        7003,
        &format!("Could not route to {completions}, perhaps your object identifier is invalid?"),
    );
    let get = envelope(7001, "GET not supported for requested URI.");
    for (method, path, status, wanted) in [
        ("POST", completions.as_str(), 404, no_route.as_str()),
        ("GET", &format!("{ACCOUNT}/v1/models"), 405, &get),
        ("GET", &format!("{ACCOUNT}/v1/chat/completions"), 405, &get),
        ("GET", &format!("{ACCOUNT}/v1/responses"), 405, &get),
    ] {
        let answer = send(&app, request(method, path, "{}")).await;
        assert_eq!(
            (answer.status.as_u16(), answer.body.as_str()),
            (status, wanted)
        );
    }
}

#[tokio::test]
async fn deprecated_names_under_the_strict_policy() {
    let strict = || {
        stage(api::Settings {
            deprecated: api::DeprecatedPolicy::Refuse,
            ..settings()
        })
    };
    let input = r#"{"prompt":"say hi"}"#;
    let answer = on_binding(&strict(), "@cf/test/old", input).await;
    check_named(
        &answer,
        410,
        5028,
        "Model has been deprecated: @cf/test/old was deprecated on 2026-05-30",
        "This model was deprecated on 2026-05-30. Please use an alternative model.",
    );
    // One that has a successor is answered by it.
    let answer = on_binding(&strict(), "@cf/test/old-answered", input).await;
    assert_eq!(answer.status, 200);
    assert!(answer.body.contains(r#""model":"@cf/test/open""#));
    assert_eq!(answer.header("hearth-deprecated"), None);
}
