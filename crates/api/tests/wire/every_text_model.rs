//! Every text generation name of the catalogue, on every surface, answered by the stub.

use std::sync::Arc;

use axum::Router;
use catalog::{Catalog, TaskKind};
use engine::{Engine, Lane, Loader};
use serde_json::{Value, json};
use tasks::{Failure, Grade, Served};

use crate::house::{Answer, request, send, settings};
use crate::stage::{ACCOUNT, on_binding};

struct Stub;

impl Loader for Stub {
    fn choose(&self, _: &str) -> Result<Served, Failure> {
        Ok(Served {
            weights: "stub".into(),
            grade: Grade::Stub,
        })
    }

    fn load(&self, _: &Served) -> Result<Lane, Failure> {
        Ok(doubles::stub::lane())
    }
}

/// A surface whose models are all stubs.
pub(crate) fn surface(catalog: Catalog) -> Router {
    let engine = Engine::start(Arc::new(Stub), "test").unwrap();
    api::app(engine, Arc::new(catalog), settings())
}

async fn rest(app: &Router, model: &str, input: &Value) -> Answer {
    let path = format!("{ACCOUNT}/run/{model}");
    send(app, request("POST", &path, input.to_string())).await
}

async fn openai(app: &Router, model: &str, input: &Value) -> Answer {
    let mut body = input.clone();
    body["model"] = model.into();
    let path = format!("{ACCOUNT}/v1/chat/completions");
    send(app, request("POST", &path, body.to_string())).await
}

fn is_stream(answer: &Answer) -> bool {
    answer.header("content-type") == Some("text/event-stream")
        && answer.body.ends_with("\n\ndata: [DONE]\n\n")
}

#[tokio::test]
async fn each_answers_its_smallest_inputs_and_refuses_what_is_none() {
    let catalog = Catalog::builtin().unwrap();
    let cards = catalog.cards();
    let names: Vec<_> = cards
        .filter(|card| card.task == TaskKind::TextGeneration && card.output_class != "clef")
        .map(|card| (card.name.clone(), card.schema_class.clone()))
        .collect();
    assert!(names.len() > 60, "{}", names.len());
    let app = surface(catalog);
    let mut input = json!({"messages": [{"role": "user", "content": "hello there"}]});
    let mut stream = input.clone();
    stream["stream"] = true.into();
    input["stream"] = false.into();
    for (model, class) in &names {
        let answer = rest(&app, model, &input).await;
        assert_eq!(answer.status, 200, "{model}: {}", answer.body);
        let rest_result: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(rest_result["success"], true);
        let answer = on_binding(&app, model, &input.to_string()).await;
        assert_eq!(answer.status, 200, "{model}: {}", answer.body);
        let result: Value = serde_json::from_str(&answer.body).unwrap();
        let says = [
            &result["response"],
            &result["choices"][0]["message"]["content"],
        ];
        let says = says.iter().find_map(|text| text.as_str());
        assert!(
            says.is_some_and(|text| !text.is_empty()),
            "{model}: {result}"
        );
        let answer = openai(&app, model, &input).await;
        let completion: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(completion["object"], "chat.completion", "{model}");
        assert_eq!(completion["model"], model.as_str());

        let weather = json!({"type": "object", "properties": {"city": {"type": "string", "description": "c"}}, "required": ["city"]});
        let function = json!({"name": "weather", "description": "d", "parameters": weather});
        let mut tools = input.clone();
        tools["tools"] = json!([{"type": "function", "function": function}]);
        tools["tool_choice"] = json!({"type": "function", "function": {"name": "weather"}});
        if class != "llama-guard" {
            let answer = openai(&app, model, &tools).await;
            let completion: Value = serde_json::from_str(&answer.body).unwrap();
            let choice = &completion["choices"][0];
            assert_eq!(
                choice["finish_reason"], "tool_calls",
                "{model}: {completion}"
            );
            let call = &choice["message"]["tool_calls"][0]["function"];
            assert_eq!(call["name"], "weather", "{model}: {completion}");
            let arguments = call["arguments"].as_str().unwrap();
            let arguments: Value = serde_json::from_str(arguments).unwrap();
            assert!(arguments["city"].is_string(), "{model}: {completion}");
        }

        let streams_on_run = class != "llama-guard" && class != "gpt-oss";
        let answer = rest(&app, model, &stream).await;
        assert_eq!(
            is_stream(&answer),
            streams_on_run,
            "{model}: {}",
            answer.body
        );
        let answer = on_binding(&app, model, &stream.to_string()).await;
        assert_eq!(is_stream(&answer), streams_on_run, "{model}");
        let answer = openai(&app, model, &stream).await;
        assert!(is_stream(&answer), "{model}: {}", answer.body);

        for wrong in [json!({}), json!({"messages": 5}), json!({"prompt": ""})] {
            for answer in [
                rest(&app, model, &wrong).await,
                on_binding(&app, model, &wrong.to_string()).await,
                openai(&app, model, &wrong).await,
            ] {
                assert_eq!(answer.status, 400, "{model} {wrong}: {}", answer.body);
                assert!(
                    answer.body.contains("5006"),
                    "{model} {wrong}: {}",
                    answer.body
                );
                assert!(answer.body.contains("AiError: Bad input: Error: "));
            }
        }
        if class != "llama-guard" {
            let answer = rest(&app, model, &json!({"prompt": "hello there"})).await;
            assert_eq!(answer.status, 200, "{model}: {}", answer.body);
        }
    }
}
