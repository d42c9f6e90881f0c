//! SmolLM2-135M-Instruct, real weights: tokens, template and logits against transformers in float32
//! with the same weights dequantised.
#![allow(clippy::unwrap_used)] // helpers of tests panic as tests do

use engine::model::{BLOCK_TOKENS, SequenceId, Span, Step, StepModel};
use models::Files;
use models::decoder::{self, Decoder};
use models::device::Device;
use serde_json::Value;
use tasks::{Message, Prompt};

/// Steps whose first logit leads by less are left out: rounding may turn them.
const MARGIN_MIN: f64 = 1.0;
/// Steps of the reference with such a margin.
const CLEAR_STEPS: usize = 75;
/// Bounds on the difference of the 20 largest logits, each relative to the largest.
const LOGIT_MAX: f64 = 0.5;
const LOGIT_MEAN: f64 = 0.2;

fn golden(name: &str) -> Value {
    let path = testkit::golden("smollm2-135m-instruct").join(name);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|id| id.as_u64().unwrap() as u32)
        .collect()
}

fn files() -> Files {
    Files::new(testkit::weights("smollm2-135m-instruct"))
}

/// The same weights without the files beside them: everything from the metadata of the GGUF.
fn bare_files(folder: &std::path::Path) -> Files {
    let model = testkit::weights("smollm2-135m-instruct").join("model.gguf");
    std::os::unix::fs::symlink(model, folder.join("model.gguf")).unwrap();
    Files::new(folder.to_path_buf())
}

fn prompt(case: &Value) -> Prompt {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    match case["messages"].as_array() {
        None => Prompt::Raw(text(&case["prompt"])),
        Some(turns) => Prompt::Messages(
            turns
                .iter()
                .map(|turn| Message::text(text(&turn["role"]), text(&turn["content"])))
                .collect(),
        ),
    }
}

fn logits(model: &mut Decoder, tokens: &[u32], start: usize) -> Vec<f32> {
    let blocks = (0..(start + tokens.len()).div_ceil(BLOCK_TOKENS) as u32).collect();
    let span = Span {
        sequence: SequenceId(1),
        rows: 0..tokens.len(),
        start,
        blocks,
        logits: 1,
    };
    model
        .step(&Step {
            tokens: tokens.to_vec(),
            spans: vec![span],
        })
        .unwrap()
        .logits
}

#[test]
fn golden_tokens_and_prompts_with_and_without_the_files_beside_the_gguf() {
    let folder = tempfile::tempdir().unwrap();
    for files in [files(), bare_files(folder.path())] {
        let (companion, _) = decoder::load(&files, &Device::Cpu).unwrap();
        for line in golden("tokens.json").as_array().unwrap() {
            let text = line["text"].as_str().unwrap();
            assert_eq!(
                companion.text().tokens(text, false),
                Ok(ids(&line["ids"])),
                "{text:?}"
            );
        }
        for case in golden("reference.json")["cases"].as_array().unwrap() {
            assert_eq!(
                companion.tokens(&prompt(case)),
                Ok(ids(&case["prompt_ids"]))
            );
            if let Prompt::Messages(messages) = prompt(case) {
                assert_eq!(
                    companion.text().render(&messages).as_deref(),
                    Ok(case["prompt"].as_str().unwrap())
                );
            }
        }
    }
}

#[test]
fn golden_logits_of_real_weights() {
    let mut model = Decoder::load(&files(), &tests::device()).unwrap();
    let mut clear = 0;
    for case in golden("reference.json")["cases"].as_array().unwrap() {
        let (prompt, path) = (ids(&case["prompt_ids"]), ids(&case["greedy_ids"]));
        let mut row = logits(&mut model, &prompt, 0);
        compare_top(&row, case["top20"].as_array().unwrap());
        for (index, (&next, margin)) in path
            .iter()
            .zip(case["greedy_margins"].as_array().unwrap())
            .enumerate()
        {
            if margin.as_f64().unwrap() >= MARGIN_MIN {
                clear += 1;
                let best = row
                    .iter()
                    .enumerate()
                    .max_by(|a, b| a.1.total_cmp(b.1))
                    .unwrap()
                    .0;
                assert_eq!(best as u32, next, "step {index} of {}", case["prompt"]);
            }
            row = logits(&mut model, &[next], prompt.len() + index);
        }
    }
    assert_eq!(clear, CLEAR_STEPS);
}

fn compare_top(row: &[f32], top: &[Value]) {
    let ours = |entry: &Value| f64::from(row[entry["id"].as_u64().unwrap() as usize]);
    let theirs = |entry: &Value| entry["logit"].as_f64().unwrap();
    let relative =
        |entry: &Value| (ours(entry) - ours(&top[0])) - (theirs(entry) - theirs(&top[0]));
    let differences: Vec<f64> = top.iter().map(|entry| relative(entry).abs()).collect();
    let most = differences.iter().copied().fold(0.0, f64::max);
    let mean = differences.iter().sum::<f64>() / differences.len() as f64;
    assert!(
        most <= LOGIT_MAX && mean <= LOGIT_MEAN,
        "{most} at most, {mean} in the mean"
    );
}
