//! How long a request waits for a model on a device.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use catalog::Catalog;
use engine::model::{Said, SequenceId, SessionCompanion, SessionModel};
use engine::{Engine, Lane, Loader};
use http_body_util::BodyExt;
use tasks::{Chat, ChatEvent, ChatRequest, Failure, Finish, Grade, Served, Usage};
use tower::ServiceExt;

use crate::house::{path, request, send, settings};

const CHAT: &str = "@cf/test/chat";
const TIMEOUT: Duration = Duration::from_secs(1);
/// Before each word but the last.
const PAUSE: Duration = Duration::from_millis(250);
const WORDS: usize = 8;

/// Says words with pauses before them.
struct Slow {
    /// Before the last word.
    last_pause: Duration,
    live: Option<SequenceId>,
    said: usize,
}

struct Door;

impl SessionCompanion<Chat> for Door {
    type Work = ();
    fn prepare(&self, _: ChatRequest) -> Result<(), Failure> {
        Ok(())
    }
}

impl SessionModel<Chat> for Slow {
    type Work = ();
    fn sessions(&self) -> usize {
        1
    }
    fn begin(&mut self, session: SequenceId, (): ()) -> Result<(), Failure> {
        (self.live, self.said) = (Some(session), 0);
        Ok(())
    }
    fn turn(&mut self) -> Vec<(SequenceId, Said<ChatEvent>)> {
        let Some(id) = self.live else {
            return Vec::new();
        };
        self.said += 1;
        let is_last = self.said == WORDS;
        std::thread::sleep(if is_last { self.last_pause } else { PAUSE });
        let mut said = vec![(id, Said::Event(ChatEvent::Text("on ".into())))];
        if is_last {
            let (finish, usage) = (Finish::Stop, Usage::default());
            said.push((id, Said::Event(ChatEvent::Done { finish, usage })));
            said.push((id, Said::End));
        }
        said
    }
    fn end(&mut self, _: SequenceId) {
        self.live = None;
    }
}

struct Only(Duration);

impl Loader for Only {
    fn choose(&self, _: &str) -> Result<Served, Failure> {
        Ok(Served {
            weights: "slow".into(),
            grade: Grade::Twin,
        })
    }
    fn load(&self, _: &Served) -> Result<Lane, Failure> {
        let model = Slow {
            last_pause: self.0,
            live: None,
            said: 0,
        };
        Ok(Lane::sessions::<Chat, ()>(Arc::new(Door), model))
    }
}

fn app(last_pause: Duration) -> Router {
    let catalog = Catalog::parse(include_str!("house.toml"), "the test's catalogue").unwrap();
    let engine = Engine::start(Arc::new(Only(last_pause)), "test").unwrap();
    let settings = api::Settings {
        request_timeout: TIMEOUT,
        ..settings()
    };
    api::app(engine, Arc::new(catalog), settings)
}

#[tokio::test]
async fn an_answer_may_take_longer_than_the_timeout_while_more_of_it_comes() {
    assert!(PAUSE * WORDS as u32 > TIMEOUT);
    let app = app(PAUSE);
    for input in [r#"{"prompt":"a"}"#, r#"{"prompt":"a","stream":true}"#] {
        let answer = send(&app, request("POST", &path(CHAT), input)).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.body.matches("on ").count(), WORDS, "{}", answer.body);
    }
}

#[tokio::test]
async fn a_stream_whose_model_falls_silent_is_broken_off() {
    let ask = request("POST", &path(CHAT), r#"{"prompt":"a","stream":true}"#);
    let response = app(TIMEOUT * 30).oneshot(ask).await.unwrap();
    let mut body = response.into_body();
    for _ in 1..WORDS {
        body.frame().await.unwrap().unwrap();
    }
    let last = Instant::now();
    assert!(body.frame().await.unwrap().is_err());
    assert!(last.elapsed() > TIMEOUT / 2 && last.elapsed() < TIMEOUT * 10);
    assert!(body.frame().await.is_none());
}
