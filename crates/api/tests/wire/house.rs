//! The surface in one process: a catalogue, an engine and models made of a few lines.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use api::ledger::Ledger;
use api::{BatchRunner, Settings};
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use catalog::Catalog;
use engine::model::{Outlet, SoloModel};
use engine::{Engine, Lane, Loader};
use http_body_util::BodyExt;
use tasks::{
    Chat, ChatEvent, ChatRequest, Embed, EmbedRequest, Embedding, Failure, Finish, Grade, Overlong,
    Prompt, Served, Transcribe, TranscribeEvent, TranscribeRequest, Usage,
};
use tower::ServiceExt;

const CATALOGUE: &str = r#"
[group.chat]
task = "Text Generation"
schema = "tg-g2"
output = "legacy"
context_window = 8192
max_tokens = 256
neurons = { input = 10000, output = 1000000 }
variants = [{ weights = "parrot", grade = "twin" }]

[model."@cf/test/chat"]
group = "chat"

[model."@cf/test/chat-able"]
group = "chat"
schema = "tg-g2-async"
flags = ["lora", "json_mode", "async_queue"]

[model."@cf/test/chat-old"]
group = "chat"
deprecated_on = "2026-05-30"

[model."@cf/test/chat-away"]
group = "chat"

[model."@cf/test/chat-strange"]
group = "chat"
schema = "chat-anyof"

[model."@cf/test/bge"]
task = "Text Embeddings"
schema = "emb-bge"
output = "embedding"
context_window = 512
output_dimensions = 2
neurons = { input = 1000000 }
variants = [{ weights = "compass", grade = "exact" }]

[model."@cf/test/bge-m3"]
task = "Text Embeddings"
schema = "emb-bge-m3"
output = "embedding"
context_window = 8192
output_dimensions = 2
variants = [{ weights = "compass", grade = "quantised" }]

[model."@cf/test/whisper"]
task = "Automatic Speech Recognition"
schema = "asr-whisper"
output = "asr"
neurons = { minute = 46.63 }
variants = [{ weights = "ear", grade = "exact" }]

[weights.parrot]
architecture = "none"
path = "parrot"
files = [{ path = "model" }]

[weights.compass]
architecture = "none"
path = "compass"
files = [{ path = "model" }]

[weights.ear]
architecture = "none"
path = "ear"
files = [{ path = "model" }]
"#;

/// Says what it was asked, word by word. A prompt `fail <name>` fails so; `then fail` fails after
/// the first word; `slow` says nothing for a while; `forever` goes on until nobody listens.
struct Parrot {
    was_left: Arc<AtomicBool>,
}

impl SoloModel<Chat> for Parrot {
    fn run(
        &mut self,
        request: ChatRequest,
        out: &mut dyn Outlet<ChatEvent>,
    ) -> Result<(), Failure> {
        let told = told(&request);
        let text = |text: &str| ChatEvent::Text(text.into());
        if let Some(name) = told.strip_prefix("user: fail ") {
            return Err(failure(name.split(" |").next().unwrap()));
        }
        if told.starts_with("user: slow") {
            std::thread::sleep(Duration::from_millis(300));
        }
        if told.starts_with("user: then fail") {
            out.send(text("one"));
            return Err(Failure::Internal("secret".into()));
        }
        if told.starts_with("user: forever") {
            while out.send(text("on ")) {
                std::thread::sleep(Duration::from_millis(1));
            }
            self.was_left.store(true, Ordering::SeqCst);
            return Ok(());
        }
        for word in told.split_inclusive(' ') {
            out.send(text(word));
        }
        out.send(ChatEvent::Done {
            finish: Finish::Stop,
            usage: Usage {
                prompt_tokens: 20,
                completion_tokens: 3,
                cached_tokens: 0,
            },
        });
        Ok(())
    }
}

fn told(request: &ChatRequest) -> String {
    let prompt = match &request.prompt {
        Prompt::Raw(text) => format!("raw: {text}"),
        Prompt::Messages(turns) => {
            let turns = turns
                .iter()
                .map(|turn| format!("{}: {}", turn.role, turn.content));
            turns.collect::<Vec<_>>().join(", ")
        }
    };
    let sampling = &request.sampling;
    let plain = format!(
        "{prompt} | max {} temp {} window {}",
        request.max_tokens.unwrap_or(0),
        sampling.temperature,
        request.window
    );
    let optional = [
        sampling.top_p.map(|value| format!("top_p {value}")),
        sampling
            .repetition_penalty
            .map(|value| format!("repetition {value}")),
        sampling
            .frequency_penalty
            .map(|value| format!("frequency {value}")),
        sampling
            .presence_penalty
            .map(|value| format!("presence {value}")),
        sampling.top_k.map(|value| format!("top_k {value}")),
        sampling.seed.map(|value| format!("seed {value}")),
    ];
    let words: Vec<_> = [plain]
        .into_iter()
        .chain(optional.into_iter().flatten())
        .collect();
    words.join(" ")
}

fn failure(name: &str) -> Failure {
    match name {
        "bad" => Failure::BadInput("secret".into()),
        "context" => Failure::ContextExceeded {
            tokens: 8810,
            window: 8192,
        },
        "busy" => Failure::Busy,
        "timeout" => Failure::Timeout,
        "aborted" => Failure::Aborted,
        "unavailable" => Failure::Unavailable("fetch it with `hearth pull`".into()),
        _ => Failure::Internal("secret".into()),
    }
}

/// Gives a text of the form `x,y` that vector, with one token a byte of text; knows windows.
struct Compass;

impl SoloModel<Embed> for Compass {
    fn run(
        &mut self,
        request: EmbedRequest,
        out: &mut dyn Outlet<Embedding>,
    ) -> Result<(), Failure> {
        let tokens = request.text.len();
        let window = request.window as usize;
        if tokens > window && request.overlong == Overlong::Refuse {
            return Err(Failure::ContextExceeded { tokens, window });
        }
        let numbers = request
            .text
            .split(',')
            .map(|number| number.trim().parse().unwrap_or(1.0));
        let mut vector: Vec<f32> = numbers.take(request.width).collect();
        vector.resize(request.width, 0.0);
        out.send(Embedding {
            vector,
            tokens: tokens.min(window) as u32,
            truncated: tokens.saturating_sub(window) as u32,
        });
        Ok(())
    }
}

/// Hears two stretches of speech in `RIFF`, nothing in `quiet`, and takes all else for no audio.
struct Ear;

impl SoloModel<Transcribe> for Ear {
    fn run(
        &mut self,
        request: TranscribeRequest,
        out: &mut dyn Outlet<TranscribeEvent>,
    ) -> Result<(), Failure> {
        let segments: &[(f32, f32, &str)] = match request.audio.as_slice() {
            b"RIFF" => &[(0.0, 0.98, " hello world"), (59.5, 61.234, " again")],
            b"quiet" => &[],
            _ => return Err(Failure::BadInput("no audio".into())),
        };
        for &(start, end, text) in segments {
            out.send(TranscribeEvent::Segment {
                start,
                end,
                text: text.into(),
                words: Vec::new(),
                decoding: None,
            });
        }
        out.send(TranscribeEvent::Done {
            duration: 120.0,
            duration_after_vad: 120.0,
            language: "en".into(),
            language_probability: 1.0,
        });
        Ok(())
    }
}

struct House {
    was_left: Arc<AtomicBool>,
}

impl Loader for House {
    fn choose(&self, model: &str) -> Result<Served, Failure> {
        let (weights, grade) = match model {
            "@cf/test/chat-away" => {
                return Err(Failure::Unavailable(
                    "run `hearth pull @cf/test/chat-away`".into(),
                ));
            }
            "@cf/test/bge" => ("compass", Grade::Exact),
            "@cf/test/bge-m3" => ("compass", Grade::Quantised),
            "@cf/test/whisper" => ("ear", Grade::Exact),
            _ => ("parrot", Grade::Twin),
        };
        Ok(Served {
            weights: weights.into(),
            grade,
        })
    }

    fn load(&self, served: &Served) -> Result<Lane, Failure> {
        Ok(match served.weights.as_str() {
            "compass" => Lane::solo::<Embed>(Compass),
            "ear" => Lane::solo::<Transcribe>(Ear),
            _ => Lane::solo::<Chat>(Parrot {
                was_left: self.was_left.clone(),
            }),
        })
    }
}

/// The defaults of a server on loopback.
pub(crate) fn settings() -> Settings {
    Settings::new(([127, 0, 0, 1], 7777).into())
}

/// A surface, and whether its parrot was left while it spoke.
pub(crate) fn watched(settings: Settings) -> (Router, Arc<AtomicBool>) {
    let (engine, catalog, was_left) = parts();
    (api::app(engine, catalog, settings), was_left)
}

/// A surface that keeps records in a folder, and who answers its batches.
pub(crate) fn recording(folder: &Path) -> (Router, BatchRunner) {
    let opened = Ledger::open(folder).unwrap();
    let (engine, catalog, _) = parts();
    let settings = Settings {
        ledger: Some(opened.ledger),
        ..settings()
    };
    api::app_and_batches(engine, catalog, settings)
}

fn parts() -> (Engine, Arc<Catalog>, Arc<AtomicBool>) {
    let was_left = Arc::new(AtomicBool::new(false));
    let loader = Arc::new(House {
        was_left: was_left.clone(),
    });
    let engine = Engine::start(loader, "test").unwrap();
    let catalog = Catalog::parse(CATALOGUE, "the test's catalogue").unwrap();
    (engine, Arc::new(catalog), was_left)
}

pub(crate) fn app(settings: Settings) -> Router {
    watched(settings).0
}

/// A complete answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The body with the request's own id replaced by `ID`.
    pub(crate) fn without_id(&self) -> String {
        let id = self.header("cf-ai-req-id").unwrap();
        let id: uuid::Uuid = id.parse().unwrap();
        assert_eq!(id.get_version_num(), 4);
        self.body.replace(&id.to_string(), "ID")
    }
}

/// A request with the headers of an ordinary client.
pub(crate) fn request(method: &str, path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost:7777")
        .header("authorization", "Bearer any")
        .body(body.into())
        .unwrap()
}

/// Sends a request and reads the whole answer.
pub(crate) async fn send(app: &Router, request: Request<Body>) -> Answer {
    let response = app.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer {
        status: parts.status,
        headers: parts.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    }
}

/// The path of a model's route.
pub(crate) fn path(model: &str) -> String {
    format!("/client/v4/accounts/0123456789abcdef0123456789abcdef/ai/run/{model}")
}

/// A path below an account's `ai`.
pub(crate) fn account(path: &str) -> String {
    format!("/client/v4/accounts/0123456789abcdef0123456789abcdef/ai{path}")
}

/// Runs a model under the default settings.
pub(crate) async fn run(model: &str, body: impl Into<Body>) -> Answer {
    send(&app(settings()), request("POST", &path(model), body)).await
}

/// Runs a model that refuses, and checks the whole of its error.
pub(crate) async fn refused(
    model: &str,
    body: impl Into<Body>,
    status: u16,
    code: u16,
    text: &str,
) {
    let answer = run(model, body).await;
    check_refusal(&answer, status, code, text);
}

/// Checks the whole of an error.
pub(crate) fn check_refusal(answer: &Answer, status: u16, code: u16, text: &str) {
    let message = serde_json::to_string(&format!("AiError: {text} (ID)")).unwrap();
    let wanted = format!(
        r#"{{"errors":[{{"message":{message},"code":{code}}}],"success":false,"result":{{}},"messages":[]}}"#
    );
    assert_eq!(answer.without_id(), wanted);
    assert_eq!(answer.status, status);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cf-ai-neurons"), None);
}
