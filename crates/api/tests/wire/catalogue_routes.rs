//! The catalogue's routes: rows to the byte, filters, pages, schemas.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use catalog::Catalog;
use engine::{Engine, Lane, Loader};
use serde_json::{Value, json};
use tasks::{Failure, Served};

use crate::house::{account, app, request, send, settings};

/// The real catalogue, with nothing to serve it.
fn catalogue() -> Router {
    struct Nobody;
    impl Loader for Nobody {
        fn choose(&self, model: &str) -> Result<Served, Failure> {
            Err(Failure::Unavailable(model.into()))
        }
        fn load(&self, _: &Served) -> Result<Lane, Failure> {
            Err(Failure::Unavailable("nothing".into()))
        }
    }
    let engine = Engine::start(Arc::new(Nobody), "test").unwrap();
    api::app(engine, Arc::new(Catalog::builtin().unwrap()), settings())
}

async fn get(app: &Router, path: &str) -> String {
    let answer = send(app, request("GET", path, Body::empty())).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    answer.body
}

async fn search(app: &Router, query: &str) -> Value {
    let body = get(app, &account(&format!("/models/search{query}"))).await;
    serde_json::from_str(&body).unwrap()
}

async fn names(app: &Router, query: &str) -> Vec<String> {
    let page = search(app, query).await;
    let rows = page["result"].as_array().unwrap().iter();
    rows.map(|row| row["name"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn a_row_has_the_services_fields_in_its_order() {
    let app = catalogue();
    assert_eq!(
        get(
            &app,
            &account("/models/search?search=llama-3.2-1b&per_page=50&page=1")
        )
        .await,
        concat!(
            r#"{"result":[{"id":"906a57fd-b018-4d6c-a43e-a296d4cc5839","source":1,"name":"@cf/meta/llama-3.2-1b-instruct","#,
            r#""description":"llama-3.2-1b-instruct by meta: Text Generation.","#,
            r#""task":{"id":"c329a1f9-323d-4e91-b2aa-582dd4188d34","name":"Text Generation","description":"Family of generative text models, such as large language models (LLM), that can be adapted for a variety of natural language tasks."},"#,
            r#""created_at":"2024-09-25 21:36:32.050","tags":[],"#,
            r#""properties":[{"property_id":"price","value":[{"unit":"per M input tokens","price":0.027,"currency":"USD"},{"unit":"per M output tokens","price":0.201,"currency":"USD"}]},{"property_id":"context_window","value":"60000"}]}],"#,
            r#""success":true,"errors":[],"messages":[],"result_info":{"page":1,"per_page":50,"count":1,"total_count":1}}"#
        )
    );
}

async fn properties(app: &Router, model: &str) -> String {
    let page = search(app, "").await;
    let rows = page["result"].as_array().unwrap().iter();
    let row = rows.clone().find(|row| row["name"] == model).unwrap();
    row["properties"].to_string()
}

#[tokio::test]
async fn properties_are_strings_but_for_prices_and_levels_of_reasoning() {
    let app = catalogue();
    for (model, wanted) in [
        (
            "@cf/baai/bge-small-en-v1.5",
            r#"[{"property_id":"async_queue","value":"true"},{"property_id":"price","value":[{"unit":"per M input tokens","price":0.02,"currency":"USD"}]},{"property_id":"max_input_tokens","value":"512"},{"property_id":"output_dimensions","value":"384"}]"#,
        ),
        (
            "@cf/openai/gpt-oss-120b",
            r#"[{"property_id":"async_queue","value":"true"},{"property_id":"price","value":[{"unit":"per M input tokens","price":0.35,"currency":"USD"},{"unit":"per M output tokens","price":0.75,"currency":"USD"}]},{"property_id":"context_window","value":"128000"},{"property_id":"function_calling","value":"true"},{"property_id":"reasoning","value":"true"},{"property_id":"reasoning_effort","value":{"supported_efforts":["low","medium","high"],"default_effort":"medium","mandatory":true,"default_enabled":true}}]"#,
        ),
        (
            "@cf/deepgram/nova-3",
            r#"[{"property_id":"async_queue","value":"true"},{"property_id":"price","value":[{"unit":"per audio minute","price":0.0052,"currency":"USD"},{"unit":"per audio minute (websocket)","price":0.0092,"currency":"USD"}]},{"property_id":"partner","value":"true"},{"property_id":"realtime","value":"true"}]"#,
        ),
    ] {
        assert_eq!(properties(&app, model).await, wanted);
    }
}

#[tokio::test]
async fn filters_narrow_the_list() {
    let app = catalogue();
    let all = names(&app, "").await;
    assert!(
        all.len() > 50,
        "{} rows without a size of a page",
        all.len()
    );
    for (query, holds) in [
        (
            "?author=google",
            (|name| name.split('/').nth(1) == Some("google")) as fn(&str) -> bool,
        ),
        ("?source=2", |name| name.starts_with("@hf/")),
        ("?search=WHISPER", |name| name.contains("whisper")),
        ("?task=Text+Embeddings", |name| {
            ["bge-", "embed"].iter().any(|part| name.contains(part)) && !name.contains("rerank")
        }),
    ] {
        let found = names(&app, query).await;
        let wanted: Vec<_> = all.iter().filter(|name| holds(name)).cloned().collect();
        assert_eq!(found, wanted, "{query}");
    }
    let stable = names(&app, "?hide_experimental=true").await;
    assert!(stable.len() < all.len());
    assert!(!stable.contains(&"@cf/google/gemma-2b-it-lora".to_owned()));
    assert!(
        !all.contains(&"@cf/microsoft/phi-2".to_owned()),
        "withdrawn in May 2026"
    );
    for nobody in [
        "?author=nobody",
        "?task=text+embeddings",
        "?author=meta&source=2",
    ] {
        assert_eq!(names(&app, nobody).await, Vec::<String>::new(), "{nobody}");
    }
    // A client's way of not giving a parameter, and one that nobody knows.
    assert_eq!(names(&app, "?author=&search=&page=&unknown=1").await, all);
}

#[tokio::test]
async fn the_loop_of_a_client_that_reads_pages_of_50_ends_with_the_whole_list() {
    let app = catalogue();
    let all = names(&app, "").await;
    let mut seen = Vec::new();
    for page in 1.. {
        assert!(page < 10, "it does not end");
        let found = names(&app, &format!("?per_page=50&page={page}")).await;
        let is_last = found.len() < 50;
        seen.extend(found);
        if is_last {
            break;
        }
    }
    assert_eq!(seen, all);
    let beyond = search(&app, "?per_page=50&page=99").await;
    assert_eq!(beyond["result"], json!([]));
    assert_eq!(beyond["result_info"]["count"], 0);
    assert_eq!(names(&app, "?page=2").await, Vec::<String>::new());
}

#[tokio::test]
async fn a_parameter_that_cannot_be_is_refused_by_name() {
    let app = app(settings());
    for query in [
        "page=0",
        "page=-1",
        "per_page=many",
        "per_page=99999999999999999999",
        "source=cf",
        "hide_experimental=perhaps",
        "format=csv",
    ] {
        let path = account(&format!("/models/search?{query}"));
        let answer = send(&app, request("GET", &path, Body::empty())).await;
        assert_eq!(answer.status, 400, "{query}");
        let name = query.split('=').next().unwrap();
        let start = format!(
            r#"{{"result":null,"success":false,"errors":[{{"code":8001,"message":"Invalid input: {name} is "#
        );
        assert!(answer.body.starts_with(&start), "{}", answer.body);
    }
    let far = format!("?per_page=50&page={}", usize::MAX);
    assert_eq!(names(&app, &far).await, Vec::<String>::new());
}

#[tokio::test]
async fn the_binding_asks_without_an_account() {
    let app = catalogue();
    let mut asked = request(
        "GET",
        "/ai-api/models/search?author=baai&per_page=2&page=2",
        Body::empty(),
    );
    asked.headers_mut().remove("authorization");
    asked
        .headers_mut()
        .insert("host", "workers-binding.ai".parse().unwrap());
    let answer = send(&app, asked).await;
    assert_eq!(answer.status, 200);
    let rest = get(
        &app,
        &account("/models/search?author=baai&per_page=2&page=2"),
    )
    .await;
    assert_eq!(answer.body, rest);
}

#[tokio::test]
async fn openrouter_gets_the_listing_that_it_reads() {
    let app = catalogue();
    let body = get(
        &app,
        &account("/models/search?format=openrouter&search=llama-3.3-70b"),
    )
    .await;
    assert_eq!(
        body,
        concat!(
            r#"{"data":[{"id":"@cf/meta/llama-3.3-70b-instruct-fp8-fast","name":"llama-3.3-70b-instruct-fp8-fast","created":null,"#,
            r#""input_modalities":["text"],"output_modalities":["text"],"quantization":"fp8","context_length":24000,"max_output_length":24000,"#,
            r#""pricing":{"prompt":"0.000000293","completion":"0.000002253","image":"0","request":"0","input_cache_read":"0.000000293"},"#,
            r#""supported_sampling_parameters":["temperature","top_p","top_k","seed","max_tokens","repetition_penalty","frequency_penalty","presence_penalty"],"#,
            r#""supported_features":["tools","json_mode","structured_outputs"],"#,
            r#""description":"llama-3.3-70b-instruct-fp8-fast by meta: Text Generation, calls functions, writes JSON to a schema, takes LoRA adapters."}]}"#
        )
    );
}

#[tokio::test]
async fn a_models_schema_is_its_published_documents() {
    let app = catalogue();
    let body = get(
        &app,
        &account("/models/schema?model=%40cf%2Fbaai%2Fbge-small-en-v1.5"),
    )
    .await;
    let start = r#"{"result":{"input":{"type":"object","oneOf":[{"properties":{"text":{"oneOf":[{"type":"string","minLength":1}"#;
    assert!(body.starts_with(start), "{body}");
    let value: Value = serde_json::from_str(&body).unwrap();
    assert!(value["result"]["output"].is_object());
    for (query, status, error) in [
        (
            "?model=@cf/no/such",
            404,
            r#"{"code":7002,"message":"Not Found"}"#,
        ),
        (
            "",
            400,
            r#"{"code":8001,"message":"Invalid input: the query names no model"}"#,
        ),
    ] {
        let path = account(&format!("/models/schema{query}"));
        let answer = send(&app, request("GET", &path, Body::empty())).await;
        assert_eq!(answer.status, status);
        assert_eq!(
            answer.body,
            format!(r#"{{"result":null,"success":false,"errors":[{error}],"messages":[]}}"#)
        );
    }
}

#[tokio::test]
async fn tasks_and_authors_are_listed() {
    let app = catalogue();
    let tasks = get(&app, &account("/tasks/search")).await;
    let start = r#"{"result":[{"id":"c329a1f9-323d-4e91-b2aa-582dd4188d34","name":"Text Generation","description":"Family of"#;
    assert!(tasks.starts_with(start), "{tasks}");
    let tasks: Value = serde_json::from_str(&tasks).unwrap();
    assert_eq!(tasks["result"].as_array().unwrap().len(), 12);
    let authors: Value =
        serde_json::from_str(&get(&app, &account("/authors/search")).await).unwrap();
    let authors = authors["result"].as_array().unwrap();
    assert_eq!(authors[0]["name"], "meta");
    assert!(
        authors[0]["id"]
            .as_str()
            .unwrap()
            .parse::<uuid::Uuid>()
            .is_ok()
    );
    let mut names: Vec<_> = authors.iter().map(|row| row["name"].as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), authors.len(), "each once");
}
