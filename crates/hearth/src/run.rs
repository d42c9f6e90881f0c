//! `hearth run`: one request, through the same validation and dressing as over the network.

use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::{Request, Response, StatusCode, header};
use catalog::{Catalog, ModelCard, TaskKind};
use engine::Engine;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::args::Run;
use crate::config::{DEFAULT_LISTEN, Place};
use crate::failure::Stop;
use crate::loader::WeightLoader;
use crate::output;

/// Classes of models that the service never streams on the run route.
const NEVER_STREAMED: [&str; 2] = ["gpt-oss", "llama-guard"];

/// Classes beside those of text generation whose whole input is a text, or a file of sound.
const ANSWERED: [&str; 7] = [
    "emb-bge",
    "emb-bge-m3",
    "emb-text",
    "emb-qwen3",
    "emb-plamo",
    "text-classification",
    "asr-whisper",
];

/// Whether a model answers turns of a conversation.
fn is_chat(card: &ModelCard) -> bool {
    card.task == TaskKind::TextGeneration && card.schema_class != "decision-clef"
}

/// Numbers of a vector that are shown to a person.
const VECTOR_SHOWN: usize = 6;

pub(crate) fn run(args: &Run, place: &Place, catalog: Arc<Catalog>) -> Result<(), Stop> {
    let card = catalog.card(&args.model).ok_or_else(|| {
        Stop::usage(format!(
            "no model is named {}; `hearth list` shows all",
            args.model
        ))
    })?;
    let task = card.task;
    if !ANSWERED.contains(&card.schema_class.as_str()) && !is_chat(card) {
        return Err(Stop::usage(format!(
            "{} ({}) takes more than a text: ask it of a running server (`hearth serve`). `hearth run` answers \
             text generation, embeddings, text classification and whisper",
            card.name,
            task.name()
        )));
    }
    let streams = task == TaskKind::TextGeneration
        && !args.json
        && !NEVER_STREAMED.contains(&card.schema_class.as_str());
    let body = body(args, task, streams)?;
    let runtime = crate::runtime()?;
    let result = runtime.block_on(async {
        let loader = WeightLoader::new(place, catalog.clone())?;
        let policy = engine::Policy {
            budget_bytes: Some(place.memory_bytes),
            ..engine::Policy::default()
        };
        let engine = Engine::with_policy(Arc::new(loader), &place.device.to_string(), policy)
            .map_err(|failure| Stop::failed(failure.to_string()))?;
        let settings = api::Settings {
            no_auth: true,
            ..api::Settings::new(DEFAULT_LISTEN)
        };
        let request = Request::post(format!("/client/v4/accounts/local/ai/run/{}", args.model))
            .header(header::HOST, DEFAULT_LISTEN.to_string())
            .body(body)
            .map_err(|error| Stop::usage(format!("{}: {error}", args.model)))?;
        // The engine outlives the app: a stream is still being answered when the app is gone.
        let app = api::app(engine.clone(), catalog, settings);
        let response = match app.oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let printed = if streams && response.status() == StatusCode::OK {
            print_stream(&mut response.into_body()).await
        } else {
            print(response, task, args.json).await
        };
        drop(engine);
        printed
    });
    runtime.shutdown_background();
    result
}

/// The request's body: JSON for text, the file's bytes for audio.
fn body(args: &Run, task: TaskKind, streams: bool) -> Result<Body, Stop> {
    let input = match (&args.file, args.prompt.as_deref()) {
        (Some(path), _) => std::fs::read(path)
            .map_err(|error| Stop::usage(format!("{}: {error}", path.display())))?,
        (None, Some("-")) => {
            let mut bytes = Vec::new();
            std::io::stdin()
                .read_to_end(&mut bytes)
                .map_err(|error| Stop::failed(format!("standard input: {error}")))?;
            bytes
        }
        (None, Some(prompt)) => prompt.as_bytes().to_vec(),
        (None, None) => {
            return Err(Stop::usage(
                "say what to ask: a PROMPT, `-`, or --file FILE",
            ));
        }
    };
    if task == TaskKind::SpeechRecognition {
        return Ok(Body::from(input));
    }
    let text = String::from_utf8(input).map_err(|_| Stop::usage("the text is not UTF-8"))?;
    let value = match task {
        TaskKind::TextGeneration => json!({
            "messages": [{"role": "user", "content": text}],
            "stream": streams,
        }),
        _ => json!({ "text": text }),
    };
    Ok(Body::from(value.to_string()))
}

async fn print(response: Response<Body>, task: TaskKind, as_json: bool) -> Result<(), Stop> {
    let ok = response.status() == StatusCode::OK;
    let bytes = response
        .into_body()
        .collect()
        .await
        .map_err(|error| Stop::failed(error.to_string()))?
        .to_bytes();
    let answer: Value = serde_json::from_slice(&bytes)
        .map_err(|error| Stop::failed(format!("an answer that is not JSON: {error}")))?;
    if !ok {
        let message = answer["errors"][0]["message"].as_str().unwrap_or("failed");
        return Err(Stop::failed(message.to_owned()));
    }
    let result = &answer["result"];
    match task {
        _ if as_json => output::json(result),
        TaskKind::TextGeneration => output::text(format!("{}\n", text(result))),
        TaskKind::SpeechRecognition => {
            let text = result["text"].as_str().unwrap_or_default();
            output::text(format!("{text}\n"))
        }
        TaskKind::TextEmbeddings => output::text(vectors(result)),
        _ => output::json(result),
    }
}

/// The text of an answer in either form; other answers as they are.
fn text(result: &Value) -> String {
    let content = &result["choices"][0]["message"]["content"];
    match result["response"].as_str().or(content.as_str()) {
        Some(text) => text.to_owned(),
        None => result.to_string(),
    }
}

/// A line for each vector: its width and its first numbers.
fn vectors(result: &Value) -> String {
    let vectors = result["data"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let mut lines = String::new();
    for vector in vectors.iter().filter_map(Value::as_array) {
        let head: Vec<_> = vector
            .iter()
            .take(VECTOR_SHOWN)
            .map(|number| format!("{:.4}", number.as_f64().unwrap_or(f64::NAN)))
            .collect();
        // Writing to a String cannot fail.
        let _ = writeln!(lines, "{} numbers: {}, ...", vector.len(), head.join(", "));
    }
    lines
}

/// Writes the text of each frame as it comes; ends early where nobody reads any more.
async fn print_stream(body: &mut Body) -> Result<(), Stop> {
    let mut pending = Vec::new();
    let mut out = std::io::stdout();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Stop::failed(error.to_string()))?;
        pending.extend_from_slice(&frame.into_data().unwrap_or_else(|_| Bytes::new()));
        while let Some(end) = pending.windows(2).position(|pair| pair == b"\n\n") {
            let frame: Vec<u8> = pending.drain(..end + 2).collect();
            let Some(json) = frame.strip_prefix(b"data: ") else {
                continue;
            };
            // The last frame, [DONE], is no JSON.
            let value: Value = serde_json::from_slice(json).unwrap_or_default();
            let delta = &value["choices"][0]["delta"]["content"];
            let text = value["response"].as_str().or(delta.as_str());
            let text = text.unwrap_or_default();
            match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
                Err(error) => return Err(Stop::failed(format!("standard output: {error}"))),
                Ok(()) => {}
            }
        }
    }
    output::text("\n")
}
