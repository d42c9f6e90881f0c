//! JSON and calls of tools with real weights, on the run route and on OpenAI's.
#![allow(clippy::unwrap_used)] // helpers of tests panic as tests do

use std::sync::OnceLock;

use serde_json::{Value, json};
use testkit::{Answer, Server, frames, weights_home};

const LLAMA: &str = "@cf/meta/llama-3.1-8b-instruct";

/// One server for all tests of this file.
fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| Server::start(env!("CARGO_BIN_EXE_hearth"), &weights_home(), &[]))
}

/// Asks OpenAI's route.
fn openai(mut input: Value) -> Answer {
    input["model"] = LLAMA.into();
    input["temperature"] = 0.into();
    server().complete(&input)
}

fn person() -> Value {
    json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 12},
            "age": {"type": "integer", "minimum": 1, "maximum": 120},
            "likes": {"type": "array", "items": {"enum": ["tea", "coffee"]}, "minItems": 1, "maxItems": 2}
        },
        "required": ["name", "age", "likes"]
    })
}

fn check_person(person: &Value) {
    let keys: Vec<_> = person.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["name", "age", "likes"]);
    assert!(person["name"].as_str().unwrap().chars().count() <= 12);
    assert!((1..=120).contains(&person["age"].as_i64().unwrap()));
    assert!(["tea", "coffee"].contains(&person["likes"][0].as_str().unwrap()));
}

fn weather() -> Value {
    json!([{"type": "function", "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 20}, "unit": {"enum": ["C", "F"]}},
            "required": ["city", "unit"]
        }
    }}])
}

fn check_arguments(arguments: &Value) {
    let keys: Vec<_> = arguments.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["city", "unit"]);
    assert!(arguments["city"].as_str().unwrap().chars().count() <= 20);
    assert!(["C", "F"].contains(&arguments["unit"].as_str().unwrap()));
}

#[test]
fn json_mode_answers_an_object_on_the_run_route_and_its_text_on_openais() {
    let messages = json!([{"role": "user", "content": "Describe a person as JSON."}]);
    let input = json!({
        "messages": messages, "temperature": 0, "max_tokens": 100,
        "response_format": {"type": "json_schema", "json_schema": person()},
    });
    let answer = server().run(LLAMA, &input);
    assert_eq!(answer.status, 200, "{}", answer.text());
    check_person(&answer.json()["result"]["response"]);

    let format = json!({"type": "json_schema", "json_schema": {"name": "person", "schema": person(), "strict": true}});
    let mut input = json!({"messages": messages, "max_tokens": 100, "response_format": format});
    let answer = openai(input.clone());
    let json = answer.json();
    let choice = &json["choices"][0];
    assert_eq!(choice["finish_reason"], "stop", "{json}");
    let text = choice["message"]["content"].as_str().unwrap();
    check_person(&serde_json::from_str(text).unwrap());

    // An answer that was cut says so where it can, and is an error where it cannot.
    input["max_tokens"] = 5.into();
    let cut = openai(input.clone()).json();
    assert_eq!(cut["choices"][0]["finish_reason"], "length", "{cut}");
    let answer = server().run(LLAMA, &input);
    assert_eq!(
        (answer.status, &answer.json()["errors"][0]["code"]),
        (400, &json!(5024))
    );
}

#[test]
fn any_object_is_json_mode_without_a_schema() {
    let input = json!({
        "messages": [{"role": "user", "content": "Say hello as JSON with one short key."}],
        "seed": 3, "max_tokens": 200, "response_format": {"type": "json_object"},
    });
    let answer = server().run(LLAMA, &input).json();
    match answer["result"]["response"].as_object() {
        Some(_) => assert_eq!(answer["success"], true),
        None => assert_eq!(answer["errors"][0]["code"], 5024, "{answer}"), // it was cut
    }
}

#[test]
fn what_cannot_be_held_to_is_refused() {
    let ask = |model: &str, format: Value, stream: bool| {
        let messages = json!([{"role": "user", "content": "Hi"}]);
        let input = json!({"messages": messages, "response_format": format, "stream": stream});
        let answer = server().run(model, &input);
        (answer.status, answer.json()["errors"][0]["code"].clone())
    };
    let schema = |schema: Value| json!({"type": "json_schema", "json_schema": schema});
    for unmet in [
        json!({"type": "object", "not": {"required": ["a"]}}),
        json!({"type": "array", "uniqueItems": true}),
        json!({"type": "object", "properties": {"a": {"$ref": "https://example.com/schema"}}, "required": ["a"]}),
        json!({"type": "string", "pattern": "^(?=a)b$"}),
        json!({"type": "integer", "minimum": 5, "maximum": 1}),
    ] {
        assert_eq!(
            ask(LLAMA, schema(unmet.clone()), false),
            (400, json!(5024)),
            "{unmet}"
        );
    }
    let simple = schema(json!({"type": "object"}));
    assert_eq!(ask(LLAMA, simple.clone(), true), (400, json!(5023)));
    let other = "@cf/mistral/mistral-7b-instruct-v0.1";
    assert_eq!(ask(other, simple, false), (403, json!(5025)));
}

#[test]
fn a_tool_that_has_to_be_called_is() {
    let messages = json!([{"role": "user", "content": "What is the weather in Paris?"}]);
    for choice in [
        json!("required"),
        json!({"type": "function", "function": {"name": "get_weather"}}),
    ] {
        let input = json!({
            "messages": messages, "tools": weather(), "tool_choice": choice, "max_tokens": 120,
            "parallel_tool_calls": false,
        });
        let json = openai(input.clone()).json();
        let choice = &json["choices"][0];
        assert_eq!(choice["finish_reason"], "tool_calls", "{json}");
        assert_eq!(choice["message"]["content"], Value::Null);
        let call = &choice["message"]["tool_calls"][0];
        assert_eq!(call["function"]["name"], "get_weather");
        let arguments = call["function"]["arguments"].as_str().unwrap();
        check_arguments(&serde_json::from_str(arguments).unwrap());

        let mut streamed = input;
        streamed["stream"] = true.into();
        let frames = frames(&openai(streamed).text());
        let called: Vec<_> = frames
            .iter()
            .filter(|frame| frame["choices"][0]["delta"]["tool_calls"].is_array())
            .collect();
        assert_eq!(called.len(), 1, "{frames:?}");
        let told = &called[0]["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"];
        assert_eq!(told, arguments);
        let spoken = frames.iter().any(|frame| {
            let content = frame["choices"][0]["delta"]["content"].as_str();
            content.is_some_and(|text| !text.is_empty())
        });
        assert!(!spoken, "nothing of the call is text: {frames:?}");
    }
}

#[test]
fn results_of_tools_are_read_and_tools_may_be_left_alone() {
    let call = json!({"id": "chatcmpl-tool-0", "type": "function",
        "function": {"name": "get_weather", "arguments": "{\"city\":\"Paris\",\"unit\":\"C\"}"}});
    let messages = json!([
        {"role": "user", "content": "What is the weather in Paris?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "It is 21 degrees and sunny.", "tool_call_id": "chatcmpl-tool-0"},
    ]);
    let input =
        json!({"messages": messages, "tools": weather(), "tool_choice": "none", "max_tokens": 40});
    let json = openai(input).json();
    let message = &json["choices"][0]["message"];
    assert!(message["content"].as_str().unwrap().len() > 3, "{json}");
    assert_eq!(message.get("tool_calls"), None);

    let input =
        json!({"messages": messages, "tools": weather(), "max_tokens": 40, "temperature": 0});
    let answer = server().run(LLAMA, &input);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(server().log().contains("knows no tools"), "it was said");
}
