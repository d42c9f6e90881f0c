//! Whisper against the numbers of transformers (tests/golden/make_tiny_whisper.py), and its
//! promises to the engine: ragged batches, release, files that are not what they should be.
#![allow(clippy::unwrap_used)] // a test that cannot run has failed

mod common;

use std::path::{Path, PathBuf};

use candle_core::Device;
use engine::model::{SequenceId, Span, Step, StepCompanion, StepModel};
use models::whisper::{Features, WhisperCompanion, WhisperModel, load};
use models::{Files, LoadError};
use safetensors::SafeTensors;
use serde_json::Value;
use tasks::{Failure, TranscribeOptions, TranscribeRequest};

const GOLDEN: [&str; 2] = ["tiny-whisper", "tiny-whisper-v3"];
const VOCABULARY: usize = 1_918;

fn golden(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden")).join(name)
}

struct Tiny {
    companion: std::sync::Arc<WhisperCompanion>,
    model: WhisperModel,
    reference: Vec<u8>,
    ids: Value,
}

impl Tiny {
    fn open(name: &str) -> Self {
        let folder = golden(name);
        let (companion, model) = load(&Files::new(folder.clone()), &common::device()).unwrap();
        Self {
            companion,
            model,
            reference: std::fs::read(folder.join("reference.safetensors")).unwrap(),
            ids: serde_json::from_slice(&std::fs::read(folder.join("reference.json")).unwrap())
                .unwrap(),
        }
    }

    /// A float tensor of the reference.
    fn wanted(&self, name: &str) -> Vec<f32> {
        let tensors = SafeTensors::deserialize(&self.reference).unwrap();
        let bytes = tensors.tensor(name).unwrap().data();
        bytes
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect()
    }

    fn ids(&self, name: &str) -> Vec<u32> {
        self.ids[name]
            .as_array()
            .unwrap()
            .iter()
            .map(|id| id.as_u64().unwrap() as u32)
            .collect()
    }

    /// Features of the reference's sound, times `loudness`.
    fn features(&self, loudness: f32) -> Features {
        let tensors = SafeTensors::deserialize(&self.reference).unwrap();
        let bytes = tensors.tensor("in_pcm_i16").unwrap().data();
        let samples: Vec<f32> = bytes
            .chunks_exact(2)
            .map(|b| f32::from(i16::from_le_bytes([b[0], b[1]])) / 32_768.0 * loudness)
            .collect();
        self.companion.features(&samples).unwrap()
    }

    fn admit(&mut self, sequence: u64, features: Features) {
        self.model
            .admit(SequenceId(sequence), Some(Box::new(features)))
            .unwrap();
    }

    /// One step over `(sequence, start, tokens)`; logits after the last token of each.
    fn step(&mut self, spans: &[(u64, usize, &[u32])]) -> Vec<Vec<f32>> {
        let rows = self.model.step(&step(spans)).unwrap();
        assert_eq!(rows.width, VOCABULARY);
        rows.logits
            .chunks(rows.width)
            .map(<[f32]>::to_vec)
            .collect()
    }
}

fn step(spans: &[(u64, usize, &[u32])]) -> Step {
    let mut step = Step::default();
    for &(sequence, start, tokens) in spans {
        let first = step.tokens.len();
        step.tokens.extend_from_slice(tokens);
        step.spans.push(Span {
            sequence: SequenceId(sequence),
            rows: first..step.tokens.len(),
            start,
            blocks: vec![],
            wants_logits: true,
        });
    }
    step
}

/// No number is further from the reference than `share` of the reference's largest.
fn assert_close(ours: &[f32], wanted: &[f32], share: f32) {
    assert_eq!(ours.len(), wanted.len());
    let scale = wanted.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
    let furthest = ours
        .iter()
        .zip(wanted)
        .fold(0.0_f32, |most, (a, b)| most.max((a - b).abs()));
    assert!(
        furthest <= share * scale,
        "off by {furthest} at a scale of {scale}"
    );
}

fn argmax(logits: &[f32]) -> u32 {
    (0..logits.len())
        .max_by(|&a, &b| logits[a].total_cmp(&logits[b]))
        .unwrap() as u32
}

#[test]
fn golden_features_are_those_of_transformers() {
    for (name, bins) in GOLDEN.into_iter().zip([80, 128]) {
        let tiny = Tiny::open(name);
        let wanted = tiny.wanted("out_mel");
        let kept = wanted.len() / bins;
        let features = tiny.features(1.0);
        let ours: Vec<f32> = features
            .mel()
            .chunks(features.mel().len() / bins)
            .flat_map(|bin| bin[..kept].to_vec())
            .collect();
        assert_close(&ours, &wanted, 1e-3);
    }
}

#[test]
fn golden_encoder_states_are_those_of_transformers() {
    for name in GOLDEN {
        let tiny = Tiny::open(name);
        let wanted = tiny.wanted("out_encoder");
        let states = tiny.model.encode(&tiny.features(1.0)).unwrap();
        assert_eq!(states.dims(), [1_500, 32]);
        let ours: Vec<f32> = states.flatten_all().unwrap().to_vec1().unwrap();
        assert_close(&ours[..wanted.len()], &wanted, 1e-3);
    }
}

#[test]
fn golden_logits_are_those_of_transformers_token_by_token_and_in_chunks() {
    for name in GOLDEN {
        let mut tiny = Tiny::open(name);
        let wanted = tiny.wanted("out_logits");
        let ids = tiny.ids("decoder_ids");
        tiny.admit(1, tiny.features(1.0));
        for (position, (id, wanted)) in ids.iter().zip(wanted.chunks(VOCABULARY)).enumerate() {
            assert_close(&tiny.step(&[(1, position, &[*id])])[0], wanted, 1e-3);
        }
        tiny.admit(2, tiny.features(1.0));
        for chunk in [0..4, 4..7] {
            let last = chunk.end - 1;
            let ours = tiny.step(&[(2, chunk.start, &ids[chunk])]);
            assert_close(&ours[0], &wanted[last * VOCABULARY..][..VOCABULARY], 1e-3);
        }
    }
}

#[test]
fn golden_greedy_ids_are_those_of_transformers() {
    for name in GOLDEN {
        let mut tiny = Tiny::open(name);
        let wanted = tiny.ids("greedy_ids");
        tiny.admit(1, tiny.features(1.0));
        let mut ids = wanted[..4].to_vec();
        let mut logits = tiny.step(&[(1, 0, &ids)]).remove(0);
        while ids.len() < wanted.len() {
            ids.push(argmax(&logits));
            logits = tiny
                .step(&[(1, ids.len() - 1, &ids[ids.len() - 1..])])
                .remove(0);
        }
        assert_eq!(ids, wanted);
    }
}

#[test]
fn what_shares_a_batch_changes_nothing() {
    let mut tiny = Tiny::open(GOLDEN[0]);
    let ids = tiny.ids("decoder_ids");
    let (loud, quiet) = (tiny.features(1.0), tiny.features(0.01));
    tiny.admit(1, loud.clone());
    tiny.admit(2, quiet.clone());
    let alone_loud = [
        tiny.step(&[(1, 0, &ids[..3])]).remove(0),
        tiny.step(&[(1, 3, &ids[3..4])]).remove(0),
    ];
    let alone_quiet = [
        tiny.step(&[(2, 0, &ids[..1])]).remove(0),
        tiny.step(&[(2, 1, &ids[1..7])]).remove(0),
    ];
    assert!(
        (alone_loud[1][7] - alone_quiet[1][7]).abs() > 0.01,
        "the two sounds differ"
    );
    tiny.admit(3, loud);
    tiny.admit(4, quiet);
    let first = tiny.step(&[(3, 0, &ids[..3]), (4, 0, &ids[..1])]);
    let second = tiny.step(&[(4, 1, &ids[1..7]), (3, 3, &ids[3..4])]);
    for (ours, alone) in [
        (&first[0], &alone_loud[0]),
        (&first[1], &alone_quiet[0]),
        (&second[0], &alone_quiet[1]),
        (&second[1], &alone_loud[1]),
    ] {
        assert_close(ours, alone, 1e-5);
    }
}

#[test]
fn rows_whose_logits_nobody_wants_are_computed_but_not_returned() {
    let mut tiny = Tiny::open(GOLDEN[0]);
    tiny.admit(1, tiny.features(1.0));
    let mut quiet = step(&[(1, 0, &[401, 402])]);
    quiet.spans[0].wants_logits = false;
    assert!(tiny.model.step(&quiet).unwrap().logits.is_empty());
    let after = tiny.step(&[(1, 2, &[412])]).remove(0);
    tiny.admit(2, tiny.features(1.0));
    assert_close(&after, &tiny.step(&[(2, 0, &[401, 402, 412])])[0], 1e-5);
}

#[test]
fn a_released_or_unknown_sequence_and_impossible_rows_fail_without_a_panic() {
    let mut tiny = Tiny::open(GOLDEN[0]);
    let fails = |tiny: &mut Tiny, spans: &[(u64, usize, &[u32])]| {
        assert!(
            matches!(tiny.model.step(&step(spans)), Err(Failure::Internal(_))),
            "{spans:?}"
        );
    };
    fails(&mut tiny, &[(1, 0, &[401])]);
    tiny.admit(1, tiny.features(1.0));
    fails(&mut tiny, &[(1, 0, &[VOCABULARY as u32])]);
    fails(&mut tiny, &[(1, 64, &[401])]);
    tiny.step(&[(1, 63, &[401])]);
    tiny.model.release(SequenceId(1));
    fails(&mut tiny, &[(1, 0, &[401])]);
    assert!(tiny.model.admit(SequenceId(2), None).is_err());
    assert!(
        tiny.model
            .admit(SequenceId(2), Some(Box::new("not features")))
            .is_err()
    );
}

#[test]
fn the_cache_is_as_large_as_its_transcripts_may_grow() {
    let tiny = Tiny::open(GOLDEN[0]);
    let shape = tiny.model.cache();
    assert_eq!((shape.sequences, shape.blocks), (16, 16 * 2));
    let audio = std::fs::read(golden("whisper/austen-0930.wav")).unwrap();
    let admission = tiny
        .companion
        .admit(TranscribeRequest {
            audio,
            options: TranscribeOptions::default(),
        })
        .unwrap();
    assert_eq!(admission.tokens, [401]);
    assert_eq!(admission.max_new_tokens, 63);
}

/// A copy of the golden checkpoint with one file changed.
fn damaged(file: &str, change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> Result<(), LoadError> {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(golden(GOLDEN[0])).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    let path = folder.path().join(file);
    std::fs::write(&path, change(std::fs::read(&path).unwrap())).unwrap();
    load(&Files::new(folder.path().to_owned()), &Device::Cpu).map(drop)
}

fn replaced(from: &str, to: &str) -> impl FnOnce(Vec<u8>) -> Vec<u8> {
    move |bytes| {
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.contains(from), "{from}");
        text.replace(from, to).into_bytes()
    }
}

#[test]
fn damaged_checkpoints_are_refused_by_the_name_of_their_file() {
    damaged("config.json", |bytes| bytes).unwrap();
    let shard = "model-00001-of-00002.safetensors";
    let cases: [(&str, Result<(), LoadError>); 13] = [
        (
            shard,
            damaged(shard, |bytes| bytes[..bytes.len() / 2].to_vec()),
        ),
        (shard, damaged(shard, |_| vec![0xff; 64])),
        (shard, damaged(shard, |_| Vec::new())),
        (
            "tokenizer.json",
            damaged("tokenizer.json", |_| b"not JSON".to_vec()),
        ),
        (
            "tokenizer.json",
            damaged("tokenizer.json", |_| b"{}".to_vec()),
        ),
        (
            "tokenizer.json",
            damaged("tokenizer.json", replaced("<|transcribe|>", "<|other|>")),
        ),
        (
            "tokenizer.json",
            damaged(
                "config.json",
                replaced("\"vocab_size\": 1918", "\"vocab_size\": 1917"),
            ),
        ),
        ("config.json", damaged("config.json", |_| b"[]".to_vec())),
        (
            "config.json",
            damaged("config.json", replaced("\"d_model\": 32", "\"d_model\": 0")),
        ),
        (
            "config.json",
            damaged("config.json", replaced("heads\": 4", "heads\": 0")),
        ),
        (
            "config.json",
            damaged("config.json", replaced("heads\": 4", "heads\": 5")),
        ),
        (
            "model",
            damaged(
                "config.json",
                replaced("\"d_model\": 32", "\"d_model\": 64"),
            ),
        ),
        (
            "generation_config.json",
            damaged("generation_config.json", |_| b"{".to_vec()),
        ),
    ];
    for (index, (file, result)) in cases.into_iter().enumerate() {
        match result {
            Err(LoadError::Corrupt { file: blamed, .. }) => {
                assert!(
                    blamed.to_string_lossy().contains(file),
                    "case {index}: {}",
                    blamed.display()
                );
            }
            other => panic!("case {index}: {file}: {other:?}"),
        }
    }
    for (from, to) in [
        ("\"gelu\"", "\"relu\""),
        ("\"num_mel_bins\": 80", "\"num_mel_bins\": 81"),
    ] {
        let result = damaged("config.json", replaced(from, to));
        assert!(
            matches!(result, Err(LoadError::Unsupported { .. })),
            "{to}: {result:?}"
        );
    }
    let nowhere = load(&Files::new("/nowhere".into()), &Device::Cpu).map(drop);
    assert!(
        matches!(nowhere, Err(LoadError::Missing { .. })),
        "{nowhere:?}"
    );
}
