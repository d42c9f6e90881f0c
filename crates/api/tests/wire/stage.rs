//! A surface whose text models act: they do what the last turn says, and tell what they were asked.
#![allow(clippy::format_push_string)] // short texts of tests

use std::sync::Arc;

use api::Settings;
use axum::Router;
use axum::body::Body;
use catalog::Catalog;
use engine::model::DirectModel;
use engine::{Engine, Lane, Loader};
use regex::Regex;
use tasks::{
    Chat, ChatEvent, ChatRequest, Failure, Finish, Format, Grade, Json, Logprob, Prompt, Served,
    TokenLogprobs, ToolCall, ToolChoice, Usage,
};

use crate::house::{Answer, request, send, settings};
use crate::models::{direct, told};

const CATALOGUE: &str = r#"
[group.text]
task = "Text Generation"
schema = "tg-g2"
output = "legacy"
context_window = 8192
max_tokens = 256
neurons = { input = 9091, output = 27273 }
variants = [{ weights = "actor", grade = "twin" }]

[model."@cf/test/plain"]
group = "text"

[model."@cf/test/able"]
group = "text"
schema = "tg-g2-async"
flags = ["lora", "function_calling", "json_mode"]

[model."@cf/test/thinks"]
group = "text"
flags = ["reasoning"]

[model."@cf/test/parts"]
group = "text"
schema = "tg-g2-textparts"
output = "completion"
flags = ["reasoning"]

[model."@cf/test/sees"]
group = "text"
schema = "tg-vision-g1"
flags = ["vision", "licence_agreement"]

[model."@cf/test/mistral"]
group = "text"
schema = "tg-mistral3"
flags = ["vision", "function_calling"]

[model."@cf/meta/llama-4-scout-17b-16e-instruct"]
group = "text"
schema = "tg-mistral3"
flags = ["vision", "function_calling"]

[model."@cf/test/guard"]
group = "text"
schema = "llama-guard"
output = "llama-guard"

[group.open]
task = "Text Generation"
schema = "chat-anyof"
output = "chat-completion"
context_window = 8192
flags = ["function_calling", "reasoning", "vision"]
neurons = { input = 9091, output = 27273 }
variants = [{ weights = "actor", grade = "twin" }]

[model."@cf/test/open"]
group = "open"
reasoning_effort = { supported = ["max", "high", "none"], default = "max" }

[model."@cf/test/open-one"]
group = "open"
schema = "chat-oneof"

[model."@cf/test/blind"]
group = "open"
flags = ["function_calling"]

[model."@cf/test/paid"]
group = "open"
flags = ["require_workers_paid"]

[model."@cf/test/private"]
group = "open"
flags = ["private_access"]

[model."@cf/test/old"]
group = "open"
deprecated_on = "2026-05-30"

[model."@cf/test/old-answered"]
group = "open"
deprecated_on = "2026-05-30"
answered_by = "@cf/test/open"

[model."@cf/test/oss"]
group = "open"
schema = "gpt-oss"
output = "responses"
max_tokens = 256
reasoning_effort = { supported = ["low", "medium", "high"], default = "medium", mandatory = true }

[model."@cf/test/clef"]
group = "open"
schema = "decision-clef"
output = "clef"

[weights.actor]
architecture = "none"
path = "actor"
files = [{ path = "model" }]
"#;

/// Obeys the last turn: `say X`, `think X`, `weigh X` (a token of half a chance), `call NAME ARGUMENTS`, `cut`, `dump` (what was asked),
/// `fail`, each behind ` | ` after the first. Any other text is repeated, word by word.
pub(crate) struct Actor;

impl DirectModel<Chat> for Actor {
    fn answer(&self, request: ChatRequest) -> Result<engine::Answer<ChatEvent>, Failure> {
        let mut out = Vec::new();
        let ended = act(&request, &mut out);
        Ok(told(out, ended))
    }
}

fn act(request: &ChatRequest, out: &mut Vec<ChatEvent>) -> Result<(), Failure> {
    let line = match &request.prompt {
        Prompt::Raw(text) => text.clone(),
        Prompt::Messages(turns) => turns.last().unwrap().content.clone(),
    };
    let mut finish = Finish::Stop;
    let mut written = 1; // the end token
    out.push(ChatEvent::Read {
        prompt_tokens: 147,
        cached_tokens: 0,
    });
    for order in line.split(" | ") {
        let (verb, rest) = order.split_once(' ').unwrap_or((order, ""));
        let event = match verb {
            "say" => ChatEvent::Text(rest.into()),
            "think" => ChatEvent::Reasoning(rest.into()),
            "dump" => ChatEvent::Text(dump(request)),
            "call" => {
                finish = Finish::ToolCalls;
                let (name, arguments) = rest.split_once(' ').unwrap();
                ChatEvent::ToolCall(ToolCall {
                    id: None,
                    name: name.into(),
                    arguments: Json(arguments.into()),
                })
            }
            "weigh" => {
                out.push(ChatEvent::Logprobs(vec![weighed(rest)]));
                continue;
            }
            "cut" => {
                finish = Finish::Length;
                continue;
            }
            "fail" => return Err(Failure::BadInput("was told to".into())),
            _ => ChatEvent::Text(order.into()),
        };
        written += 1;
        out.push(event);
    }
    let usage = Usage {
        prompt_tokens: 147,
        completion_tokens: written,
        cached_tokens: 0,
    };
    out.push(ChatEvent::Done { finish, usage });
    Ok(())
}

/// A token, and the one that was likelier; an empty one is a part of a character.
fn weighed(text: &str) -> TokenLogprobs {
    let logprob = |bytes: &[u8], logprob| Logprob {
        bytes: bytes.into(),
        logprob,
    };
    let bytes: &[u8] = if text.is_empty() {
        &[0xC3]
    } else {
        text.as_bytes()
    };
    TokenLogprobs {
        token: logprob(bytes, -1.5),
        top: vec![logprob(b"x", -0.25)],
    }
}

/// What was asked, without what was not.
fn dump(request: &ChatRequest) -> String {
    let mut words = Vec::new();
    match &request.prompt {
        Prompt::Raw(text) => words.push(format!("raw:{text}")),
        Prompt::Messages(turns) => {
            for turn in turns {
                let mut word = format!("{}:{}", turn.role, turn.content);
                for image in &turn.images {
                    word.extend(["+image(", &String::from_utf8_lossy(image), ")"]);
                }
                for call in &turn.tool_calls {
                    let id = call.id.as_deref().unwrap_or("-");
                    word += &format!("+call({id} {} {})", call.name, call.arguments.0);
                }
                if let Some(id) = &turn.tool_call_id {
                    word += &format!("+answers({id})");
                }
                if let Some(name) = &turn.name {
                    word += &format!("+name({name})");
                }
                words.push(word);
            }
        }
    }
    let sampling = &request.sampling;
    let options = &request.options;
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            words.push(format!("{name}={value}"));
        }
    };
    add("max", request.max_tokens.map(|n| n.to_string()));
    add("temp", Some(sampling.temperature.to_string()));
    add("top_p", sampling.top_p.map(|n| n.to_string()));
    add("top_k", sampling.top_k.map(|n| n.to_string()));
    add("seed", sampling.seed.map(|n| n.to_string()));
    add(
        "repetition",
        sampling.repetition_penalty.map(|n| n.to_string()),
    );
    add(
        "frequency",
        sampling.frequency_penalty.map(|n| n.to_string()),
    );
    add("presence", sampling.presence_penalty.map(|n| n.to_string()));
    for tool in &options.tools {
        let words = tool.description.as_deref().unwrap_or("-");
        let parameters = tool.parameters.as_ref().map_or("-", |json| json.0.as_str());
        add("tool", Some(format!("{}({words}){parameters}", tool.name)));
    }
    let choice = &options.tool_choice;
    add(
        "choice",
        (*choice != ToolChoice::Auto).then(|| format!("{choice:?}")),
    );
    add(
        "format",
        match &options.format {
            Format::Text => None,
            Format::JsonObject => Some("json".into()),
            Format::JsonSchema(schema) => Some(schema.0.clone()),
        },
    );
    add(
        "stop",
        (!options.stop.is_empty()).then(|| format!("{:?}", options.stop)),
    );
    add(
        "bias",
        (!options.logit_bias.is_empty()).then(|| format!("{:?}", options.logit_bias)),
    );
    add("logprobs", options.logprobs.map(|top| top.to_string()));
    add("thinking", options.thinking.map(|is_on| is_on.to_string()));
    add("effort", options.effort.clone());
    add("lora", options.lora.as_ref().map(|lora| lora.name.clone()));
    add("judges", options.judges.then(|| "true".into()));
    words.join(" ")
}

struct Stage;

impl Loader for Stage {
    fn choose(&self, _: &str) -> Result<Served, Failure> {
        Ok(Served {
            weights: "actor".into(),
            grade: Grade::Twin,
        })
    }

    fn load(&self, _: &Served) -> Result<Lane, Failure> {
        Ok(direct::<Chat>(Actor))
    }
}

/// A surface over a catalogue where the actor serves every text model.
pub(crate) fn surface(catalog: Catalog, settings: Settings) -> Router {
    let engine = Engine::start(Arc::new(Stage), "test").unwrap();
    api::app(engine, Arc::new(catalog), settings)
}

pub(crate) fn stage(settings: Settings) -> Router {
    surface(
        Catalog::parse(CATALOGUE, "the test's catalogue").unwrap(),
        settings,
    )
}

pub(crate) const ACCOUNT: &str = "/client/v4/accounts/any/ai";

/// Asks on the REST surface.
pub(crate) async fn rest(model: &str, body: impl Into<Body>) -> Answer {
    post(&format!("{ACCOUNT}/run/@cf/test/{model}"), body).await
}

/// Asks on OpenAI's chat route; `body` begins behind the model's name.
pub(crate) async fn openai(model: &str, body: &str) -> Answer {
    let body = format!(r#"{{"model":"@cf/test/{model}",{body}"#);
    post(&format!("{ACCOUNT}/v1/chat/completions"), body).await
}

/// Asks on OpenAI's responses route.
pub(crate) async fn responses(model: &str, body: &str) -> Answer {
    let body = format!(r#"{{"model":"@cf/test/{model}",{body}"#);
    post(&format!("{ACCOUNT}/v1/responses"), body).await
}

/// Asks as a Worker's binding does.
pub(crate) async fn binding(model: &str, inputs: &str) -> Answer {
    on_binding(&stage(settings()), &format!("@cf/test/{model}"), inputs).await
}

pub(crate) async fn on_binding(app: &Router, model: &str, inputs: &str) -> Answer {
    let body = format!(r#"{{"inputs":{inputs},"options":{{}}}}"#);
    let mut ask = request("POST", "/run?version=3", body);
    let headers = ask.headers_mut();
    headers.insert("content-type", "application/json".parse().unwrap());
    headers.insert("cf-consn-model-id", model.parse().unwrap());
    send(app, ask).await
}

async fn post(path: &str, body: impl Into<Body>) -> Answer {
    send(&stage(settings()), request("POST", path, body)).await
}

/// The body with what differs from call to call replaced: ids, times, padding.
pub(crate) fn settled(answer: &Answer) -> String {
    let mut body = answer.without_id();
    for (pattern, word) in [
        (r#""id-\d{13}""#, r#""id-MS""#),
        (
            r#""created(_at)?":17\d{8}|"created(_at)?":18\d{8}"#,
            r#""created$1$2":0"#,
        ),
        (r"\b[0-9a-f]{32}\b|_[0-9a-f]{32}\b", "HEX"),
        (r#""p":"[a-z0-9]+""#, r#""p":"P""#),
    ] {
        body = Regex::new(pattern).unwrap().replace_all(&body, word).into();
    }
    body
}
