//! The decoder against transformers' numbers for tiny Llamas, however the work is cut into steps.

mod common;

use common::{
    Sequence, argmax, cosine, device, golden, greatest_difference, ids, reference,
    reference_tensor, step,
};
use engine::model::{SequenceId, StepModel};
use models::Files;
use models::decoder::Decoder;
use tempfile::TempDir;

const TINY: [&str; 3] = ["tiny-llama", "tiny-llama31-rope", "tiny-llama2-mha"];

fn decoder(name: &str) -> Decoder {
    Decoder::load(&Files::new(golden(name)), &device()).expect("a decoder")
}

/// The same weights in llama.cpp's layout.
fn gguf_decoder(name: &str) -> (TempDir, Decoder) {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(
        folder.path().join("model.gguf"),
        common::gguf::tiny_llama(name).bytes(),
    )
    .expect("written");
    let decoder =
        Decoder::load(&Files::new(folder.path().to_path_buf()), &device()).expect("a decoder");
    (folder, decoder)
}

/// Feeds the prompt token by token and compares the logits of each position.
fn compare_logits(model: &mut Decoder, name: &str) {
    let prompt = ids(&reference(name)["prompt_ids"]);
    let expected = reference_tensor(name, "out_logits");
    let tolerance = reference(name)["tolerance"].as_f64().expect("a tolerance") as f32;
    let mut sequence = Sequence::new(1, &prompt, |block| block as u32);
    for expected in expected.chunks_exact(model.config().vocabulary) {
        let logits = step(model, &mut [(&mut sequence, 1)]);
        assert!(cosine(&logits[0], expected) >= 0.9999, "{name}");
        assert!(
            greatest_difference(&logits[0], expected) <= tolerance,
            "{name}"
        );
        assert_eq!(argmax(&logits[0]), argmax(expected), "{name}");
    }
}

#[test]
fn golden_logits_of_every_position() {
    for name in TINY {
        compare_logits(&mut decoder(name), name);
    }
}

#[test]
fn golden_logits_from_gguf() {
    for name in TINY {
        compare_logits(&mut gguf_decoder(name).1, name);
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
            let mut model = decoder(name);
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
        let path = ids(&reference(name)["greedy_ids"]);
        let prompt = reference(name)["prompt_ids"]
            .as_array()
            .expect("a prompt")
            .len();
        let mut model = decoder(name);
        let mut alone = decoder(name);
        let mut first = Sequence::new(1, &path[..prompt], |block| 2 * block as u32);
        let mut lonely = Sequence::new(1, &path[..prompt], |block| block as u32);
        // Company: a long prompt in chunks, and a sequence that reads the path backwards.
        let long: Vec<u32> = (0..220).map(|token| token * 7 % 500).collect();
        let backwards: Vec<u32> = path.iter().rev().copied().collect();
        let mut second = Sequence::new(2, &long, |block| 2 * block as u32 + 1);
        let mut third = Sequence::new(3, &backwards, |block| 40 + block as u32);
        let mut logits = step(
            &mut model,
            &mut [(&mut second, 50), (&mut first, prompt), (&mut third, 2)],
        );
        let mut expected = step(&mut alone, &mut [(&mut lonely, prompt)]);
        for round in 0..path.len() - prompt {
            assert!(
                greatest_difference(&logits[1], &expected[0]) < 2e-5,
                "{name}, round {round}"
            );
            first.tokens.push(argmax(&logits[1]));
            lonely.tokens.push(argmax(&expected[0]));
            logits = step(
                &mut model,
                &mut [
                    (&mut second, 1 + round % 9),
                    (&mut first, 1),
                    (&mut third, 1),
                ],
            );
            expected = step(&mut alone, &mut [(&mut lonely, 1)]);
        }
        assert_eq!(first.tokens, path, "{name}");
    }
}

#[test]
fn a_long_chunk_is_the_same_as_its_tokens_one_by_one() {
    let tokens: Vec<u32> = (0..250).map(|token| token * 11 % 512).collect();
    let mut model = decoder("tiny-llama31-rope");
    let mut whole = Sequence::new(1, &tokens, |block| block as u32);
    let mut single = Sequence::new(2, &tokens, |block| 15 - block as u32);
    let expected = step(&mut model, &mut [(&mut whole, tokens.len())]);
    let mut logits = Vec::new();
    for _ in &tokens {
        logits = step(&mut model, &mut [(&mut single, 1)]);
    }
    assert!(greatest_difference(&logits[0], &expected[0]) < 1e-4);
}

#[test]
fn only_asked_rows_have_logits_and_impossible_steps_fail() {
    let mut model = decoder("tiny-llama");
    let cache = model.cache();
    assert!(cache.blocks * 32 >= model.config().window);
    assert!(model.admit(SequenceId(1), None).is_ok());
    assert!(model.admit(SequenceId(2), Some(Box::new(()))).is_err());
    let span = |rows, blocks, wants_logits| engine::model::Span {
        sequence: SequenceId(1),
        rows,
        start: 0,
        blocks,
        wants_logits,
    };
    let mut run = |tokens: &[u32], spans| {
        model.step(&engine::model::Step {
            tokens: tokens.to_vec(),
            spans,
        })
    };
    let rows = run(&[1, 2], vec![span(0..2, vec![0], false)]).expect("a step");
    assert!(rows.logits.is_empty());
    assert!(
        run(&[512], vec![span(0..1, vec![0], true)]).is_err(),
        "a token outside the vocabulary"
    );
    assert!(
        run(&[1, 2], vec![span(0..1, vec![0], true)]).is_err(),
        "a row without a span"
    );
    assert!(
        run(&[1], vec![span(0..1, vec![], true)]).is_err(),
        "no block"
    );
    assert!(
        run(&[1], vec![span(0..1, vec![u32::MAX], true)]).is_err(),
        "a block that is not there"
    );
    model.release(SequenceId(1));
}
