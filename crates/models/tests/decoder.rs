//! The decoder against transformers' numbers for a tiny checkpoint of each family, however the work
//! is cut into steps.

mod common;

use std::collections::HashMap;

use candle_core::DType;
use common::{
    Sequence, argmax, cosine, device, golden, greatest_difference, ids, reference,
    reference_tensor, step,
};
use engine::model::{SequenceId, StepModel};
use models::decoder::{CachePrecision, Decoder};
use models::device::Device;
use models::{Checkpoint, Files};
use serde_json::Value;
use tempfile::TempDir;

const TINY: [&str; 16] = [
    "tiny-llama",
    "tiny-llama31-rope",
    "tiny-llama2-mha",
    "tiny-mistral",
    "tiny-mistral-window",
    "tiny-mixtral",
    "tiny-qwen2",
    "tiny-qwen2-moe",
    "tiny-qwen3",
    "tiny-qwen3-moe",
    "tiny-gemma",
    "tiny-gemma2",
    "tiny-gemma3",
    "tiny-phi",
    "tiny-falcon",
    "tiny-gpt-oss",
];
const PRECISIONS: [CachePrecision; 2] = [CachePrecision::Full, CachePrecision::Half];

/// What halves in the cache may move a logit of these models, whose largest are near 5.
const HALF_MAX: f32 = 0.02;

fn decoder(name: &str, cache: CachePrecision) -> Decoder {
    Decoder::load_with(&Files::new(golden(name)), &device(), cache).expect("a decoder")
}

/// The same weights in llama.cpp's layout.
fn gguf_decoder(name: &str, cache: CachePrecision) -> (TempDir, Decoder) {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(
        folder.path().join("model.gguf"),
        common::families::converted(name).bytes(),
    )
    .expect("written");
    let decoder = Decoder::load_with(&Files::new(folder.path().to_path_buf()), &device(), cache)
        .expect("a decoder");
    (folder, decoder)
}

/// Feeds the prompt token by token and compares the logits of each position.
fn compare_logits(model: &mut Decoder, name: &str, cache: CachePrecision) {
    let prompt = ids(&reference(name)["prompt_ids"]);
    let expected = reference_tensor(name, "out_logits");
    let exact = reference(name)["tolerance"].as_f64().expect("a tolerance") as f32;
    let tolerance = match cache {
        CachePrecision::Full => exact,
        CachePrecision::Half => HALF_MAX,
    };
    let mut sequence = Sequence::new(1, &prompt, |block| block as u32);
    for expected in expected.chunks_exact(model.config().vocabulary) {
        let logits = step(model, &mut [(&mut sequence, 1)]);
        assert!(cosine(&logits[0], expected) >= 0.9999, "{name}");
        let difference = greatest_difference(&logits[0], expected);
        assert!(difference <= tolerance, "{name}: {difference}");
        assert_eq!(argmax(&logits[0]), argmax(expected), "{name}");
    }
}

#[test]
fn golden_logits_of_every_position() {
    for name in TINY {
        for cache in PRECISIONS {
            compare_logits(&mut decoder(name, cache), name, cache);
        }
    }
}

#[test]
fn golden_logits_from_gguf() {
    for name in TINY {
        for cache in PRECISIONS {
            compare_logits(&mut gguf_decoder(name, cache).1, name, cache);
        }
    }
}

#[test]
fn golden_greedy_path_after_a_chunked_prompt() {
    for name in TINY {
        let path = ids(&reference(name)["greedy_ids"]);
        let prompt = reference(name)["prompt_ids"]
            .as_array()
            .expect("a prompt")
            .len();
        for chunk in [1, 3, 7, prompt] {
            let mut model = decoder(name, CachePrecision::Half);
            // Blocks that lie neither in order nor side by side.
            let mut sequence = Sequence::new(1, &path[..prompt], |block| [5, 2, 9][block]);
            let mut logits = Vec::new();
            for start in (0..prompt).step_by(chunk) {
                logits = step(
                    &mut model,
                    &mut [(&mut sequence, chunk.min(prompt - start))],
                );
            }
            while sequence.tokens.len() < path.len() {
                sequence.tokens.push(argmax(&logits[0]));
                logits = step(&mut model, &mut [(&mut sequence, 1)]);
            }
            assert_eq!(sequence.tokens, path, "{name}, chunks of {chunk}");
        }
    }
}

#[test]
fn golden_greedy_path_in_company() {
    for name in TINY {
        in_company(name, CachePrecision::Full, 2e-5);
        // Products of other sizes may round a key to the next half.
        in_company(name, CachePrecision::Half, HALF_MAX);
    }
}

/// One sequence beside others that come and go, and alone; the logits of both differ by `most`.
fn in_company(name: &str, cache: CachePrecision, most: f32) {
    let path = ids(&reference(name)["greedy_ids"]);
    let prompt = reference(name)["prompt_ids"]
        .as_array()
        .expect("a prompt")
        .len();
    let mut model = decoder(name, cache);
    let mut alone = decoder(name, cache);
    let mut first = Sequence::new(1, &path[..prompt], |block| 2 * block as u32);
    let mut lonely = Sequence::new(1, &path[..prompt], |block| block as u32);
    // Company: a long prompt in chunks, a sequence that reads the path backwards, and short ones
    // that take each other's blocks.
    let long: Vec<u32> = (0..220).map(|token| token * 7 % 500).collect();
    let backwards: Vec<u32> = path.iter().rev().copied().collect();
    let mut second = Sequence::new(2, &long, |block| 2 * block as u32 + 1);
    let mut third = Sequence::new(3, &backwards, |block| 40 + block as u32);
    // The prompt in two chunks.
    step(&mut model, &mut [(&mut second, 50), (&mut first, 7)]);
    let mut logits = step(&mut model, &mut [(&mut third, 2), (&mut first, prompt - 7)]);
    let mut expected = step(&mut alone, &mut [(&mut lonely, prompt)]);
    for round in 0..path.len() - prompt {
        let difference = greatest_difference(&logits[1], &expected[0]);
        assert!(difference < most, "{name}, round {round}: {difference}");
        first.tokens.push(argmax(&logits[1]));
        lonely.tokens.push(argmax(&expected[0]));
        let mut guest = Sequence::new(10 + round as u64, &long[..9], |_| 60);
        let mut company = vec![(&mut second, 1 + round % 9), (&mut first, 1)];
        if round % 3 != 0 {
            company.push((&mut third, 1));
        }
        if round % 2 == 0 {
            company.push((&mut guest, 9));
        }
        logits = step(&mut model, &mut company);
        expected = step(&mut alone, &mut [(&mut lonely, 1)]);
    }
    assert_eq!(first.tokens, path, "{name}");
}

/// Granite is a Llama with constant factors, so a Llama whose weights are divided by them computes the
/// same.
#[test]
fn golden_granite_is_a_llama_with_factors() {
    let name = "tiny-llama";
    let folder = tempfile::tempdir().expect("a folder");
    let mut config: Value = serde_json::from_slice(
        &std::fs::read(golden(name).join("config.json")).expect("a configuration"),
    )
    .expect("JSON");
    let size = config["head_dim"].as_f64().expect("a size");
    for (key, value) in [
        ("embedding_multiplier", 12.0),
        ("residual_multiplier", 0.25),
        ("logits_scaling", 8.0),
        ("attention_multiplier", 2.0 * size.powf(-0.5)),
    ] {
        config[key] = value.into();
    }
    config["model_type"] = "granite".into();
    std::fs::write(folder.path().join("config.json"), config.to_string()).expect("written");
    let checkpoint = Checkpoint::open(&Files::new(golden(name))).expect("a checkpoint");
    let mut tensors = HashMap::new();
    for tensor in checkpoint.names() {
        let shape = checkpoint.shape(tensor).expect("a shape");
        let divisor = match tensor.rsplit('.').nth(1) {
            Some("embed_tokens") => 12.0,
            Some("o_proj" | "down_proj") => 0.25,
            Some("lm_head") => 1.0 / 8.0,
            Some("q_proj") => 2.0,
            _ => 1.0,
        };
        let weights = checkpoint
            .tensor(tensor, shape, DType::F32, &Device::Cpu)
            .map(|weights| (weights / divisor).expect("weights"));
        tensors.insert(tensor.to_owned(), weights.expect("weights"));
    }
    candle_core::safetensors::save(&tensors, folder.path().join("model.safetensors"))
        .expect("saved");
    let files = Files::new(folder.path().to_path_buf());
    let cache = CachePrecision::Full;
    let mut model = Decoder::load_with(&files, &device(), cache).expect("a decoder");
    compare_logits(&mut model, name, cache);
}

#[test]
fn a_long_chunk_is_the_same_as_its_tokens_one_by_one() {
    let tokens: Vec<u32> = (0..250).map(|token| token * 11 % 512).collect();
    for name in [
        "tiny-llama31-rope",
        "tiny-mistral-window",
        "tiny-gemma3",
        "tiny-gpt-oss",
    ] {
        for (cache, most) in [
            (CachePrecision::Full, 1e-4),
            (CachePrecision::Half, HALF_MAX),
        ] {
            let mut model = decoder(name, cache);
            let mut whole = Sequence::new(1, &tokens, |block| block as u32);
            let mut single = Sequence::new(2, &tokens, |block| 15 - block as u32);
            let expected = step(&mut model, &mut [(&mut whole, tokens.len())]);
            let mut logits = Vec::new();
            for _ in &tokens {
                logits = step(&mut model, &mut [(&mut single, 1)]);
            }
            let difference = greatest_difference(&logits[0], &expected[0]);
            assert!(difference < most, "{name}: {difference}");
        }
    }
}

#[test]
fn only_asked_rows_have_logits_and_impossible_steps_fail() {
    let mut model = decoder("tiny-llama", CachePrecision::Full);
    let cache = model.cache();
    assert!(cache.blocks * 32 >= model.config().window);
    assert!(model.admit(SequenceId(1), None).is_ok());
    assert!(model.admit(SequenceId(2), Some(Box::new(()))).is_err());
    let span = |rows, blocks, logits| engine::model::Span {
        sequence: SequenceId(1),
        rows,
        start: 0,
        blocks,
        logits,
    };
    let mut run = |tokens: &[u32], spans| {
        model.step(&engine::model::Step {
            tokens: tokens.to_vec(),
            spans,
        })
    };
    let rows = run(&[1, 2], vec![span(0..2, vec![0], 0)]).expect("a step");
    assert!(rows.logits.is_empty());
    assert!(
        run(&[512], vec![span(0..1, vec![0], 1)]).is_err(),
        "a token outside the vocabulary"
    );
    assert!(
        run(&[1, 2], vec![span(0..1, vec![0], 1)]).is_err(),
        "a row without a span"
    );
    assert!(
        run(&[1], vec![span(0..1, vec![0], 2)]).is_err(),
        "logits of more rows than there are"
    );
    assert!(run(&[1], vec![span(0..1, vec![], 1)]).is_err(), "no block");
    assert!(
        run(&[1], vec![span(0..1, vec![u32::MAX], 1)]).is_err(),
        "a block that is not there"
    );
    model.release(SequenceId(1));
}
