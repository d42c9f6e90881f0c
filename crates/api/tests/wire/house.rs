//! The surface in one process: a catalogue, an engine and models made of a few lines.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use api::ledger::Ledger;
use api::{BatchRunner, Settings};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use catalog::{Catalog, ModelCard, TaskKind};
use engine::model::DirectModel;
use engine::{Engine, Lane, Loader};
use http_body_util::BodyExt;
use tasks::{
    Chat, ChatEvent, ChatRequest, Decoding, Embed, EmbedRequest, Embedding, Failure, Finish, Grade,
    Overlong, Prompt, Served, Transcribe, TranscribeEvent, TranscribeRequest, Usage, Word,
};
use tower::ServiceExt;

use crate::models::{Notes, direct, lane, told as events};

const CATALOGUE: &str = include_str!("house.toml");

/// Says what it was asked, word by word. A prompt `fail <name>` fails so; `then fail` fails after
/// the first word; `slow` says nothing for a while; `forever` goes on until nobody listens.
struct Parrot {
    was_left: Arc<AtomicBool>,
}

impl DirectModel<Chat> for Parrot {
    fn answer(&self, request: ChatRequest) -> Result<engine::Answer<ChatEvent>, Failure> {
        let told = told(&request);
        let text = |text: &str| ChatEvent::Text(text.into());
        if let Some(name) = told.strip_prefix("user: fail ") {
            return Err(failure(name.split(" |").next().unwrap()));
        }
        if told.starts_with("user: slow") {
            std::thread::sleep(Duration::from_millis(300));
        }
        if told.starts_with("user: then fail") {
            let failure = Failure::Internal("secret".into());
            return Ok(events(vec![text("one")], Err(failure)));
        }
        if told.starts_with("user: forever") {
            return Ok(Box::new(Forever(self.was_left.clone())));
        }
        let words = told.split_inclusive(' ').map(text);
        let done = ChatEvent::Done {
            finish: Finish::Stop,
            usage: Usage {
                prompt_tokens: 20,
                completion_tokens: 3,
                cached_tokens: 0,
            },
        };
        Ok(events(words.chain([done]).collect(), Ok(())))
    }
}

/// Goes on until nobody listens, and says so.
struct Forever(Arc<AtomicBool>);

impl Iterator for Forever {
    type Item = Result<ChatEvent, Failure>;
    fn next(&mut self) -> Option<Self::Item> {
        std::thread::sleep(Duration::from_millis(1));
        Some(Ok(ChatEvent::Text("on ".into())))
    }
}

impl Drop for Forever {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
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

impl DirectModel<Embed> for Compass {
    fn answer(&self, request: EmbedRequest) -> Result<engine::Answer<Embedding>, Failure> {
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
        let embedding = Embedding {
            vector,
            tokens: tokens.min(window) as u32,
            truncated: tokens.saturating_sub(window) as u32,
        };
        Ok(events(vec![embedding], Ok(())))
    }
}

/// Hears two stretches of speech in `RIFF`, nothing in `quiet`, and takes all else for no audio.
struct Ear {
    notes: Notes,
}

impl DirectModel<Transcribe> for Ear {
    fn answer(
        &self,
        request: TranscribeRequest,
    ) -> Result<engine::Answer<TranscribeEvent>, Failure> {
        let segments: &[(f32, f32, &str)] = match request.audio.as_slice() {
            b"RIFF" | b"timed" => &[(0.0, 0.98, " hello world"), (59.5, 61.234, " again")],
            b"quiet" => &[],
            wav if wav.starts_with(b"RIFF") => &[(0.0, 0.98, " raw")],
            _ => return Err(Failure::BadInput("no audio".into())),
        };
        let mut heard = Vec::new();
        for &(start, end, text) in segments {
            let words = match request.audio.as_slice() {
                b"timed" if request.options.words => text.split_inclusive(' ').collect(),
                _ => Vec::new(),
            };
            let words = words
                .into_iter()
                .map(str::trim)
                .filter(|word| !word.is_empty());
            heard.push(TranscribeEvent::Segment {
                start,
                end,
                text: text.into(),
                words: words
                    .map(|word| Word {
                        word: format!(" {word}"),
                        start,
                        end: end - 0.001,
                        probability: 0.875,
                    })
                    .collect(),
                decoding: Some(Decoding {
                    temperature: 0.0,
                    avg_logprob: -0.25,
                    compression_ratio: 1.5,
                    no_speech_prob: 0.01,
                }),
            });
        }
        self.notes
            .lock()
            .unwrap()
            .push(format!("{:?}", request.options));
        heard.push(TranscribeEvent::Done {
            duration: 120.0,
            duration_after_vad: 120.0,
            language: "en".into(),
            language_probability: 1.0,
        });
        Ok(events(heard, Ok(())))
    }
}

/// The weights of this house that do a card's task.
fn weights_for(card: &ModelCard) -> &'static str {
    match card.task {
        TaskKind::TextGeneration if card.schema_class == "decision-clef" => "oracle",
        TaskKind::TextGeneration => "parrot",
        TaskKind::TextEmbeddings => "compass",
        TaskKind::TextClassification if card.schema_class == "reranker" => "judge",
        TaskKind::TextClassification => "mood",
        TaskKind::SpeechRecognition => "ear",
        TaskKind::TextToImage => "painter",
        TaskKind::TextToSpeech => "voice",
        TaskKind::Translation => "interpreter",
        TaskKind::Summarization => "editor",
        TaskKind::ImageClassification => "eye",
        TaskKind::ObjectDetection => "finder",
        TaskKind::ImageToText => "describer",
        TaskKind::VoiceActivityDetection => "listener",
    }
}

struct House {
    catalog: Arc<Catalog>,
    was_left: Arc<AtomicBool>,
    notes: Notes,
}

impl Loader for House {
    fn choose(&self, model: &str) -> Result<Served, Failure> {
        if model == "@cf/test/chat-away" {
            return Err(Failure::Unavailable(
                "run `hearth pull @cf/test/chat-away`".into(),
            ));
        }
        let card = self.catalog.card(model).unwrap();
        let own = card
            .variants
            .iter()
            .find(|variant| variant.weights == weights_for(card));
        Ok(Served {
            weights: weights_for(card).into(),
            grade: own.map_or(Grade::Twin, |variant| variant.grade),
        })
    }

    fn load(&self, served: &Served) -> Result<Lane, Failure> {
        let notes = self.notes.clone();
        Ok(match served.weights.as_str() {
            "compass" => direct::<Embed>(Compass),
            "ear" => direct::<Transcribe>(Ear { notes }),
            "parrot" => direct::<Chat>(Parrot {
                was_left: self.was_left.clone(),
            }),
            weights => lane(weights, &notes).unwrap(),
        })
    }
}

/// The defaults of a server on loopback.
pub(crate) fn settings() -> Settings {
    Settings::new(([127, 0, 0, 1], 7777).into())
}

/// A surface, whether its parrot was left while it spoke, and what its other models were asked.
fn built(settings: Settings, catalog: Catalog) -> (Router, Arc<AtomicBool>, Notes) {
    let (engine, catalog, was_left, notes) = parts(catalog);
    (api::app(engine, catalog, settings), was_left, notes)
}

/// A surface that keeps records in a folder, and who answers its batches.
pub(crate) fn recording(folder: &Path) -> (Router, BatchRunner) {
    let opened = Ledger::open(folder).unwrap();
    let (engine, catalog, ..) = parts(own_catalogue());
    let settings = Settings {
        ledger: Some(opened.ledger),
        ..settings()
    };
    api::app_and_batches(engine, catalog, settings)
}

fn parts(catalog: Catalog) -> (Engine, Arc<Catalog>, Arc<AtomicBool>, Notes) {
    let was_left = Arc::new(AtomicBool::new(false));
    let notes = Notes::default();
    let catalog = Arc::new(catalog);
    let loader = Arc::new(House {
        catalog: catalog.clone(),
        was_left: was_left.clone(),
        notes: notes.clone(),
    });
    let engine = Engine::start(loader, "test").unwrap();
    (engine, catalog, was_left, notes)
}

/// A surface, and whether its parrot was left while it spoke.
pub(crate) fn watched(settings: Settings) -> (Router, Arc<AtomicBool>) {
    let (app, was_left, _) = built(settings, own_catalogue());
    (app, was_left)
}

fn own_catalogue() -> Catalog {
    Catalog::parse(CATALOGUE, "the test's catalogue").unwrap()
}

/// A surface with all names of the service.
pub(crate) fn of_all_names(catalog: Catalog) -> Router {
    built(settings(), catalog).0
}

/// A surface, and what its models were asked.
pub(crate) fn noted() -> (Router, Notes) {
    let (app, _, notes) = built(settings(), own_catalogue());
    (app, notes)
}

pub(crate) fn app(settings: Settings) -> Router {
    watched(settings).0
}

/// A complete answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// The body where it is text.
    pub(crate) body: String,
    pub(crate) bytes: Bytes,
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
        body: String::from_utf8_lossy(&body).into_owned(),
        bytes: body,
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

/// What a Worker asks.
pub(crate) fn binding(model: &str, inputs: &str) -> Request<Body> {
    let body = format!(r#"{{"inputs":{inputs},"options":{{}}}}"#);
    let mut ask = request("POST", "/run?version=3", body);
    let headers = ask.headers_mut();
    headers.insert("content-type", "application/json".parse().unwrap());
    headers.insert("cf-consn-model-id", model.parse().unwrap());
    ask
}

/// What a Worker asks with a stream in place of the one binary input.
pub(crate) fn streamed(
    model: &str,
    content_type: &str,
    others: &str,
    body: impl Into<Body>,
) -> Request<Body> {
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("version", "3")
        .append_pair("userInputs", others)
        .finish();
    let mut ask = request("POST", &format!("/run?{query}"), body);
    let headers = ask.headers_mut();
    headers.insert("content-type", content_type.parse().unwrap());
    headers.insert("cf-consn-model-id", model.parse().unwrap());
    ask
}

/// Asks for the same on the REST surface and the binding, and checks both answers.
pub(crate) async fn both(model: &str, input: &str, result: &str) -> Answer {
    let app = app(settings());
    let rest = send(&app, request("POST", &path(model), input.to_owned())).await;
    let wanted = format!(r#"{{"result":{result},"success":true,"errors":[],"messages":[]}}"#);
    assert_eq!(rest.body, wanted, "{model} {input}");
    let bare = send(&app, binding(model, input)).await;
    assert_eq!(bare.body, result, "{model} {input}");
    for answer in [&rest, &bare] {
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        answer.without_id();
    }
    rest
}
