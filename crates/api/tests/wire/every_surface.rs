//! Every name of the catalogue on every surface that it has, answered by the stub: the same answer in each dress, and
//! the same refusal.

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use catalog::{Catalog, ModelCard, TaskKind};
use regex::Regex;
use serde_json::{Value, json};

use crate::every_text_model::surface;
use crate::house::{Answer, account, request, send};
use crate::smallest::{Back, Sent, asks, is_text, smallest};

/// A body with what differs from call to call replaced: ids, times, padding.
fn settled(body: &str) -> String {
    let mut body = body.to_owned();
    for (pattern, word) in [
        (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID"),
        (r"\b[0-9a-f]{32}\b|_[0-9a-f]{32}\b", "HEX"),
        (r"id-\d{13}", "id-MS"),
        (r#""created(_at)?":\d{10}"#, r#""created$1":0"#),
        (r"\d{4}-\d\d-\d\dT[0-9:.]+Z?", "TIME"),
        (
            r#""(prefill_time_ms|decode_time_ms|ttft_ms)":[0-9.]+"#,
            r#""$1":0"#,
        ),
    ] {
        body = Regex::new(pattern).unwrap().replace_all(&body, word).into();
    }
    body
}

/// A request's bytes at another path.
fn moved(ask: Request<Body>, path: &str) -> Request<Body> {
    let (mut parts, body) = ask.into_parts();
    parts.uri = path.parse().unwrap();
    Request::from_parts(parts, body)
}

/// The request on the REST surface, and all that are answered as it is: the paths of a gateway, and the route with the
/// name in the body.
fn in_envelopes(card: &ModelCard, sent: &Sent) -> Vec<Request<Body>> {
    let name = &card.name;
    let rest = || {
        let [rest, _] = asks(name, sent);
        rest
    };
    let mut all = vec![
        rest(),
        moved(rest(), &format!("/v1/any/mine/workers-ai/{name}")),
        moved(rest(), &format!("/v1/any/mine/workers-ai/run/{name}")),
    ];
    if let Sent::Json(input) = sent {
        let body = format!(r#"{{"model":"{name}","input":{input}}}"#);
        all.push(request("POST", &account("/run"), body));
    }
    all
}

/// The binding's request, and the same through a gateway.
fn bare(card: &ModelCard, sent: &Sent) -> [Request<Body>; 2] {
    let [_, plain] = asks(&card.name, sent);
    let [_, gateway] = asks(&card.name, sent);
    let path = format!("/ai-gateway{}", gateway.uri());
    [plain, moved(gateway, &path)]
}

async fn answers(app: &Router, asks: impl IntoIterator<Item = Request<Body>>) -> Vec<Answer> {
    let mut answers = Vec::new();
    for ask in asks {
        answers.push(send(app, ask).await);
    }
    answers
}

#[tokio::test]
async fn every_name_says_the_same_on_every_surface() {
    let catalog = Catalog::builtin().unwrap();
    let app = surface(Catalog::builtin().unwrap());
    let mut names = 0;
    for card in catalog.cards() {
        let name = &card.name;
        let (sent, back, wrong) = smallest(&card.schema_class);
        let status = if matches!(back, Back::Nothing) {
            400
        } else {
            200
        };
        let enveloped = answers(&app, in_envelopes(card, &sent)).await;
        let bare_answers = answers(&app, bare(card, &sent)).await;
        for answer in enveloped.iter().chain(&bare_answers) {
            assert_eq!(answer.status, status, "{name}: {}", answer.body);
            assert!(answer.header("cf-ai-req-id").is_some(), "{name}");
        }
        for (place, gateway) in [
            (1, &enveloped[1]),
            (2, &enveloped[2]),
            (3, &bare_answers[1]),
        ] {
            let log = gateway.header("cf-aig-log-id").unwrap();
            assert!(
                log.len() == 26 && log.starts_with("01"),
                "{name} {place}: {log}"
            );
        }
        assert_eq!(enveloped[0].header("cf-aig-log-id"), None);
        if status == 200 {
            let whole = settled(&enveloped[0].body);
            for other in &enveloped[1..] {
                assert_eq!(settled(&other.body), whole, "{name}");
            }
            for bare in &bare_answers {
                let wanted = match back {
                    Back::Json => format!(
                        r#"{{"result":{},"success":true,"errors":[],"messages":[]}}"#,
                        settled(&bare.body)
                    ),
                    _ => settled(&bare.body),
                };
                assert_eq!(wanted, whole, "{name}");
                assert_eq!(
                    bare.header("content-type"),
                    enveloped[0].header("content-type")
                );
            }
        }
        // Refusals: the envelope on the REST surface, the binding's form everywhere else.
        let wrong = Sent::Json(wrong.into());
        let refused = answers(&app, in_envelopes(card, &wrong)).await;
        let named = answers(&app, bare(card, &wrong)).await;
        for (place, answer) in refused.iter().enumerate() {
            assert_eq!(answer.status, 400, "{name}: {}", answer.body);
            let is_gateway = place == 1 || place == 2;
            let same = if is_gateway { &named[0] } else { &refused[0] };
            assert_eq!(settled(&answer.body), settled(&same.body), "{name} {place}");
        }
        assert!(
            refused[0].body.contains(r#""code":5006"#),
            "{name}: {}",
            refused[0].body
        );
        for answer in named {
            assert!(
                answer.body.contains(r#""internalCode":5006"#),
                "{name}: {}",
                answer.body
            );
        }
        names += 1;
    }
    assert_eq!(names, 114);
}

/// OpenAI's routes: a body that the model answers there, one that it refuses, and the gateway's path of the same.
fn on_openai(card: &ModelCard, route: &str) -> Option<(Value, Value)> {
    let class = card.schema_class.as_str();
    match route {
        "embeddings" if card.task == TaskKind::TextEmbeddings => {
            Some((json!({"input": ["a", "b"]}), json!({"input": 5})))
        }
        "responses" if class == "gpt-oss" => {
            Some((json!({"input": "hello"}), json!({"prompt": "hello"})))
        }
        "chat/completions" if is_text(class) => Some((
            json!({"messages": [{"role": "user", "content": "hello there"}]}),
            json!({"messages": 5}),
        )),
        _ => None,
    }
}

#[tokio::test]
async fn every_name_answers_on_the_routes_of_openai_that_it_has_and_on_no_other() {
    let catalog = Catalog::builtin().unwrap();
    let app = surface(Catalog::builtin().unwrap());
    let mut answered = 0;
    for card in catalog.cards() {
        for route in ["embeddings", "responses", "chat/completions"] {
            let ask = |path: String, body: &Value| {
                let mut body = body.clone();
                body["model"] = card.name.clone().into();
                let ask = request("POST", &path, body.to_string());
                send(&app, ask)
            };
            let own = account(&format!("/v1/{route}"));
            let gateway = format!("/v1/any/mine/workers-ai/v1/{route}");
            let compat = format!("/v1/any/mine/compat/{route}");
            let shown = format!("{} on {route}", card.name);
            let Some((right, wrong)) = on_openai(card, route) else {
                let anything =
                    json!({"input": "a", "messages": [{"role": "user", "content": "a"}]});
                let answer = ask(own, &anything).await;
                assert_eq!(answer.status, 400, "{shown}: {}", answer.body);
                let says_no = ["makes no text embeddings", "not supported for model"];
                assert!(
                    says_no.iter().any(|no| answer.body.contains(no)),
                    "{shown}: {}",
                    answer.body
                );
                continue;
            };
            answered += 1;
            let answer = ask(own.clone(), &right).await;
            assert_eq!(answer.status, 200, "{shown}: {}", answer.body);
            let refused = ask(own, &wrong).await;
            assert_eq!(refused.status, 400, "{shown}: {}", refused.body);
            assert!(
                refused.body.contains("AiError: Bad input: Error: "),
                "{shown}"
            );
            let paths = match route {
                "responses" => continue, // no path of a gateway
                "embeddings" => vec![gateway],
                _ => vec![gateway, compat],
            };
            for path in paths {
                let same = ask(path.clone(), &right).await;
                assert_eq!(settled(&same.body), settled(&answer.body), "{shown}");
                let refused = ask(path, &wrong).await;
                assert_eq!(refused.status, 400);
                assert!(
                    refused
                        .body
                        .starts_with(r#"{"name":"AiError","internalCode":5006,"#)
                );
            }
        }
    }
    assert!(answered > 80, "{answered}");
}
