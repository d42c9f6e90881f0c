//! all-MiniLM-L6-v2, real weights: vectors against transformers in float32.
#![allow(clippy::unwrap_used)] // helpers of tests panic as tests do

use engine::model::BatchModel;
use models::{Files, Quality, bert};
use serde_json::Value;
use tasks::{EmbedRequest, Overlong, Pooling};

/// With the floats as they are, and with eight bits: the least cosine to the reference's vector, and how far the likeness of two texts may be off.
const BOUNDS: [(Quality, f64, f64); 2] = [
    (Quality::Exact, 0.999_99, 1e-4),
    (Quality::Fast, 0.9995, 0.01),
];

fn numbers(value: &Value) -> Vec<f32> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|number| number.as_f64().unwrap() as f32)
        .collect()
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let dot = |a: &[f32], b: &[f32]| {
        a.iter()
            .zip(b)
            .map(|(a, b)| f64::from(*a) * f64::from(*b))
            .sum::<f64>()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn golden_sentences_at_every_width() {
    for (quality, least, likeness) in BOUNDS {
        sentences(quality, least, likeness);
    }
}

fn sentences(quality: Quality, least: f64, likeness: f64) {
    let path = testkit::golden("all-minilm-l6-v2").join("reference.json");
    let reference: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let cases = reference["cases"].as_array().unwrap();
    let files = Files::new(testkit::weights("all-minilm-l6-v2"));
    let (companion, mut model) = bert::load(&files, &tests::device(), quality).unwrap();
    let mut embed = |pooling, width| -> Vec<Vec<f32>> {
        let prepare = |case: &Value| {
            let text = case["text"].as_str().unwrap().to_owned();
            let request = EmbedRequest {
                text,
                pooling,
                width,
                window: 512,
                overlong: Overlong::Refuse,
            };
            let work = companion.embed(request).unwrap().work;
            let ids: Vec<u64> = case["input_ids"]
                .as_array()
                .unwrap()
                .iter()
                .map(|id| id.as_u64().unwrap())
                .collect();
            assert!(
                work.tokens().iter().map(|&token| u64::from(token)).eq(ids),
                "{}",
                case["text"]
            );
            work
        };
        let answers = model.run(cases.iter().map(prepare).collect());
        answers
            .into_iter()
            .map(|answer| answer.unwrap().vector)
            .collect()
    };
    for (pooling, key) in [(Pooling::Mean, "mean_normalized"), (Pooling::Cls, "cls")] {
        for (case, vector) in cases.iter().zip(embed(pooling, 384)) {
            assert!(
                cosine(&vector, &numbers(&case[key])) >= least,
                "{quality:?}: {key} of {}",
                case["text"]
            );
        }
    }
    for width in [384, 768, 1024] {
        let vectors = embed(Pooling::Mean, width);
        for (a, row) in vectors.iter().zip(reference["cosine"].as_array().unwrap()) {
            for (b, expected) in vectors.iter().zip(numbers(row)) {
                assert!(
                    (cosine(a, b) - f64::from(expected)).abs() < likeness,
                    "width {width}"
                );
            }
        }
    }
}
