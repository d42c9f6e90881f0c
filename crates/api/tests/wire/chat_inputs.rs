//! What the fields of text generation come to, as the model is asked.

use serde_json::{Value, json};

use crate::house::Answer;
use crate::stage::{openai, responses, rest};

/// What the model was asked, from any form of answer.
fn told(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.body);
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    let result = body.get("result").unwrap_or(&body);
    let places = [
        "/response",
        "/choices/0/message/content",
        "/choices/0/text",
        "/output/0/content/0/text",
    ];
    let text = places
        .iter()
        .find_map(|place| result.pointer(place)?.as_str());
    text.unwrap_or(&answer.body).to_owned()
}

#[tokio::test]
async fn legacy_inputs() {
    let png = "data:image/png;base64,aGk=";
    let tool = json!({"name": "t", "description": "d", "parameters": {"type": "object", "properties": {}}});
    for (model, input, wanted) in [
        (
            "mistral",
            json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": png}}, {"type": "text", "text": "dump"}]}]}),
            "user:dump+image(hi) max=256 temp=0.15",
        ),
        (
            "mistral",
            json!({"messages": [{"role": "user", "content": {"type": "text", "text": "dump"}}], "temperature": 2}),
            "user:dump max=256 temp=2",
        ),
        (
            "sees",
            json!({"prompt": "dump", "image": [104, 105]}),
            "user:dump+image(hi) max=256 temp=0.6",
        ),
        (
            "sees",
            json!({"prompt": "dump", "image": "aGk="}),
            "user:dump+image(hi) max=256 temp=0.6",
        ),
        (
            "sees",
            json!({"prompt": "dump", "image": {"0": 104, "1": 105}}),
            "user:dump+image(hi) max=256 temp=0.6",
        ),
        (
            "sees",
            json!({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "dump"}], "image": png}),
            "user:a assistant:b user:dump+image(hi) max=256 temp=0.6",
        ),
        (
            "able",
            json!({"messages": [
                {"role": "user", "content": "a"},
                {"role": "assistant", "content": "", "tool_calls": [{"id": "1", "type": "function", "function": {"name": "t", "arguments": "{\"x\":1}"}}, {"name": "t", "arguments": {"y": 2}}]},
                {"role": "tool", "content": "r", "tool_call_id": "1", "name": "t"},
                {"role": "user", "content": "dump"}
            ], "tools": [tool, {"type": "function", "function": tool}], "functions": [{"name": "f", "code": "c"}]}),
            r#"user:a assistant:+call(1 t {"x":1})+call(- t {"y":2}) tool:r+answers(1)+name(t) user:dump max=256 temp=0.6 tool=t(d){"type":"object","properties":{}} tool=t(d){"type":"object","properties":{}} tool=f(c)-"#,
        ),
        (
            "able",
            json!({"prompt": "dump", "lora": "cf-public-magicoder"}),
            "user:dump max=256 temp=0.6 lora=cf-public-magicoder",
        ),
        (
            "thinks",
            json!({"prompt": "dump", "max_tokens": 9, "top_k": 3, "seed": 7}),
            "user:dump max=9 temp=0.6 top_k=3 seed=7",
        ),
        (
            "guard",
            json!({"messages": [{"role": "user", "content": "dump"}]}),
            "user:dump max=256 temp=0.6 judges=true",
        ),
        (
            "oss",
            json!({"messages": [{"role": "developer", "content": "s"}, {"role": "user", "content": "dump"}]}),
            "developer:s user:dump max=256 temp=0.6 thinking=true effort=medium",
        ),
    ] {
        assert_eq!(
            told(&rest(model, input.to_string()).await),
            wanted,
            "{input}"
        );
    }
}

#[tokio::test]
#[allow(clippy::too_many_lines)] // it is a table
async fn chat_inputs() {
    let f = json!({"type": "function", "function": {"name": "f", "parameters": {}}});
    let g = json!({"type": "function", "function": {"name": "g", "description": "d"}});
    let user = json!([{"role": "user", "content": "dump"}]);
    let usual = "user:dump temp=1";
    let thinks = "thinking=true effort=max";
    for (fields, wanted) in [
        (json!({}), format!("{usual} {thinks}")),
        (
            json!({"temperature": null, "max_tokens": null, "stop": null, "tools": [], "tool_choice": null, "n": null, "seed": null, "logit_bias": null, "response_format": null, "stream": null, "stream_options": null, "audio": null, "logprobs": null}),
            format!("{usual} {thinks}"),
        ),
        (
            json!({"max_tokens": 5, "max_completion_tokens": 9}),
            format!("user:dump max=9 temp=1 {thinks}"),
        ),
        (
            json!({"max_tokens": 5}),
            format!("user:dump max=5 temp=1 {thinks}"),
        ),
        (
            json!({"temperature": 0, "top_p": 0.5, "seed": -1, "frequency_penalty": -2, "presence_penalty": 1.5}),
            format!(
                "user:dump temp=0 top_p=0.5 seed=18446744073709551615 frequency=-2 presence=1.5 {thinks}"
            ),
        ),
        // The schema lets 3 through, and so does the model.
        (
            json!({"temperature": 3}),
            format!("user:dump temp=3 {thinks}"),
        ),
        (
            json!({"stop": "x"}),
            format!(r#"{usual} stop=["x"] {thinks}"#),
        ),
        (
            json!({"stop": ["x", "y"]}),
            format!(r#"{usual} stop=["x", "y"] {thinks}"#),
        ),
        (
            json!({"logprobs": true}),
            format!("{usual} logprobs=0 {thinks}"),
        ),
        (
            json!({"logprobs": true, "top_logprobs": 20}),
            format!("{usual} logprobs=20 {thinks}"),
        ),
        (
            json!({"logit_bias": {"7": -100, "8": 2.5}}),
            format!("{usual} bias=[(7, -100.0), (8, 2.5)] {thinks}"),
        ),
        (
            json!({"reasoning_effort": "low"}),
            format!("{usual} thinking=true effort=high"),
        ),
        (
            json!({"reasoning_effort": "none"}),
            format!("{usual} thinking=false"),
        ),
        (
            json!({"chat_template_kwargs": {"enable_thinking": false}}),
            format!("{usual} thinking=false"),
        ),
        (
            json!({"response_format": {"type": "json_object"}}),
            format!("{usual} format=json {thinks}"),
        ),
        (
            json!({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": true}}}),
            format!(r#"{usual} format={{"type":"object"}} {thinks}"#),
        ),
        (
            json!({"response_format": {"type": "json_schema", "json_schema": {"type": "string"}}}),
            format!(r#"{usual} format={{"type":"string"}} {thinks}"#),
        ),
        (
            json!({"response_format": {"type": "text"}}),
            format!("{usual} {thinks}"),
        ),
        (
            json!({"tools": [f, g], "tool_choice": "required"}),
            format!("{usual} tool=f(-){{}} tool=g(d)- choice=Required {thinks}"),
        ),
        (
            json!({"tools": [f], "tool_choice": "none"}),
            format!("{usual} tool=f(-){{}} choice=None {thinks}"),
        ),
        (
            json!({"tools": [f, g], "tool_choice": {"type": "function", "function": {"name": "g"}}}),
            format!(r#"{usual} tool=f(-){{}} tool=g(d)- choice=Named("g") {thinks}"#),
        ),
        (
            json!({"tools": [f, g], "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [g]}}}),
            format!("{usual} tool=g(d)- choice=Required {thinks}"),
        ),
        (
            json!({"functions": [{"name": "f", "description": "d"}], "function_call": {"name": "f"}}),
            format!(r#"{usual} tool=f(d)- choice=Named("f") {thinks}"#),
        ),
        (
            json!({"user": "u", "metadata": {"a": "b"}, "store": true, "modalities": ["text"], "n": 1, "logprobs": false, "top_logprobs": 0, "parallel_tool_calls": true}),
            format!("{usual} {thinks}"),
        ),
    ] {
        let mut input = fields.clone();
        input["messages"] = user.clone();
        assert_eq!(
            told(&rest("open", input.to_string()).await),
            wanted,
            "{fields}"
        );
        let body = input.to_string().split_off(1);
        assert_eq!(told(&openai("open", &body).await), wanted, "{fields}");
    }
}

#[tokio::test]
async fn turns_of_chats() {
    let png = "data:image/png;base64,aGk=";
    for (turns, wanted) in [
        (
            json!([{"role": "developer", "content": "a"}, {"role": "system", "content": [{"type": "text", "text": "b"}, {"type": "text", "text": "c"}], "name": "n"}]),
            "system:a system:b\nc+name(n) user:dump",
        ),
        (
            json!([{"role": "user", "content": [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": png, "detail": "low"}}]}]),
            "user:see+image(hi) user:dump",
        ),
        (
            json!([
                {"role": "assistant", "content": null, "reasoning": "hm", "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": ""}}]},
                {"role": "tool", "content": [{"type": "text", "text": "r"}], "tool_call_id": "1"},
                {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
                {"role": "assistant", "content": null, "function_call": {"name": "f", "arguments": "{}"}},
                {"role": "function", "content": "r", "name": "f"}
            ]),
            "assistant:+call(1 f {}) tool:r+answers(1) assistant:no assistant:+call(- f {}) tool:r+name(f) user:dump",
        ),
    ] {
        let mut all = turns.as_array().unwrap().clone();
        all.push(json!({"role": "user", "content": "dump"}));
        let input = json!({"messages": all}).to_string();
        let wanted = format!("{wanted} temp=1 thinking=true");
        assert_eq!(told(&rest("open-one", input).await), wanted, "{turns}");
    }
}

#[tokio::test]
async fn legacy_models_read_chats_with_their_own_defaults() {
    let user = r#""messages":[{"role":"user","content":"dump"}]"#;
    for (model, more, wanted) in [
        ("plain", "", "max=256 temp=0.6"),
        ("mistral", "", "max=256 temp=0.15"),
        (
            "plain",
            r#","max_completion_tokens":5,"temperature":1"#,
            "max=5 temp=1",
        ),
        (
            "plain",
            r#","stop":"x","top_k":3,"repetition_penalty":1.5"#,
            r#"max=256 temp=0.6 top_k=3 repetition=1.5 stop=["x"]"#,
        ),
        (
            "plain",
            r#","options":{"rejectIfBusy":true}"#,
            "max=256 temp=0.6",
        ),
        ("guard", "", "max=256 temp=0.6 judges=true"),
        (
            "oss",
            r#","reasoning_effort":"high""#,
            "max=256 temp=0.6 thinking=true effort=high",
        ),
    ] {
        let answer = openai(model, &format!("{user}{more}}}")).await;
        assert_eq!(
            told(&answer),
            format!("user:dump {wanted}"),
            "{model} {more}"
        );
    }
}

#[tokio::test]
async fn inputs_of_responses() {
    let png = "data:image/png;base64,aGk=";
    for (fields, wanted) in [
        (
            json!({"input": "dump"}),
            "user:dump temp=1 thinking=true effort=medium",
        ),
        (
            json!({"input": [
                {"role": "system", "content": "s"},
                {"role": "user", "content": [{"type": "input_text", "text": "a"}, {"type": "input_image", "detail": "auto", "image_url": png}]},
                {"type": "reasoning", "summary": []},
                {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{\"x\":1}"},
                {"type": "function_call_output", "call_id": "1", "output": "r"},
                {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "b", "annotations": []}]},
                {"role": "user", "content": "dump"}
            ], "instructions": "i", "reasoning": {"effort": "low"}, "max_output_tokens": 9, "temperature": 0.5, "top_p": 0.9}),
            r#"developer:i system:s user:a+image(hi) assistant:+call(1 f {"x":1}) tool:r+answers(1) assistant:b user:dump max=9 temp=0.5 top_p=0.9 thinking=true effort=low"#,
        ),
        (
            json!({"input": "dump", "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": true}], "tool_choice": {"type": "function", "name": "f"}}),
            r#"user:dump temp=1 tool=f(-){"type":"object"} choice=Named("f") thinking=true effort=medium"#,
        ),
        (
            json!({"input": "dump", "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}}}}),
            r#"user:dump temp=1 format={"type":"object"} thinking=true effort=medium"#,
        ),
    ] {
        assert_eq!(told(&rest("oss", fields.to_string()).await), wanted);
        let body = fields.to_string().split_off(1);
        assert_eq!(told(&responses("oss", &body).await), wanted);
    }
}
