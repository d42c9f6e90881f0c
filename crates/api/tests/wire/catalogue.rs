//! Every name of the catalogue, text generation apart: the smallest input that is valid is answered as
//! its published schema says, the smallest that is not is refused.

use std::collections::HashMap;

use axum::Router;
use catalog::{Catalog, ModelCard, TaskKind};
use serde_json::Value;

use crate::every_text_model::surface;
use crate::house::{Answer, of_all_names, send};
use crate::smallest::{Back, Sent, asks, smallest};

/// The output schema of a class, as published.
fn output(class: &str) -> jsonschema::Validator {
    let place = format!(
        "{}/src/run/schemas/{class}.json",
        env!("CARGO_MANIFEST_DIR")
    );
    let file: Value = serde_json::from_slice(&std::fs::read(place).unwrap()).unwrap();
    let mut schema = file["output"].clone();
    // The published lists leave out what tells their branches apart, so that one answer fits many.
    if let Some(branches) = schema.as_object_mut().unwrap().shift_remove("oneOf") {
        schema["anyOf"] = branches;
    }
    jsonschema::validator_for(&schema).unwrap()
}

fn check(
    card: &ModelCard,
    surface: usize,
    answer: &Answer,
    back: &Back,
    schema: &jsonschema::Validator,
) {
    let name = &card.name;
    assert!(answer.header("cf-ai-req-id").is_some(), "{name}");
    if let Back::Nothing = back {
        assert_eq!(answer.status, 400, "{name}");
        return;
    }
    assert_eq!(answer.status, 200, "{name}: {}", answer.body);
    assert_eq!(
        answer.header("cf-ai-neurons").is_some(),
        card.neurons.is_some(),
        "{name}"
    );
    if let Back::File(kind) = back {
        assert_eq!(answer.header("content-type"), Some(*kind), "{name}");
    } else {
        {
            assert_eq!(
                answer.header("content-type"),
                Some("application/json"),
                "{name}"
            );
            let mut json: Value = serde_json::from_str(&answer.body).unwrap();
            if surface == 0 {
                assert_eq!(json["success"], true);
                json = json["result"].take();
            }
            let errors: Vec<_> = schema.iter_errors(&json).map(|e| e.to_string()).collect();
            assert!(errors.is_empty(), "{name}: {errors:?} in {json}");
        }
    }
}

#[tokio::test]
async fn every_name_answers_its_smallest_input_and_refuses_its_smallest_wrong_one() {
    let catalog = || Catalog::builtin().unwrap();
    for app in [of_all_names(catalog()), surface(catalog())] {
        ask_every_name(&app, &catalog()).await;
    }
}

async fn ask_every_name(app: &Router, catalog: &Catalog) {
    let mut schemas = HashMap::new();
    let mut names = 0;
    for card in catalog.cards() {
        let class = card.schema_class.as_str();
        if card.task == TaskKind::TextGeneration && class != "decision-clef" {
            continue;
        }
        names += 1;
        let (sent, back, wrong) = smallest(class);
        let schema = schemas.entry(class).or_insert_with(|| output(class));
        for (surface, ask) in asks(&card.name, &sent).into_iter().enumerate() {
            let answer = send(app, ask).await;
            check(card, surface, &answer, &back, schema);
        }
        let code = [r#""code":5006"#, r#""internalCode":5006"#];
        let wrong = asks(&card.name, &Sent::Json(wrong.into()));
        for (ask, code) in wrong.into_iter().zip(code) {
            let answer = send(app, ask).await;
            assert_eq!(answer.status, 400, "{}", card.name);
            assert!(answer.body.contains(code), "{}: {}", card.name, answer.body);
        }
    }
    assert_eq!(names, 42);
}
