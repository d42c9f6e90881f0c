//! Whisper against the numbers of transformers (tests/golden/make_tiny_whisper.py), and its
//! promises to the engine: ragged batches, release, files that are not what they should be.
#![allow(clippy::unwrap_used)] // a test that cannot run has failed

mod common;

use std::path::{Path, PathBuf};

use candle_core::Device;
use engine::model::{Said, SequenceId, SessionCompanion, SessionModel};
use models::whisper::{Features, SlotRows, WhisperCompanion, WhisperModel, load, load_tensors};
use models::{Files, LoadError, Quality};
use safetensors::SafeTensors;
use serde_json::Value;
use tasks::{Failure, TranscribeEvent, TranscribeOptions, TranscribeRequest};

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
        let files = Files::new(golden(name));
        Self::of(
            name,
            load(&files, &common::device(), Quality::Exact).unwrap(),
        )
    }

    /// As devices other than the CPU compute, which is what the CPU's own way is held against.
    fn open_tensors(name: &str) -> Self {
        let files = Files::new(golden(name));
        Self::of(name, load_tensors(&files, &common::device()).unwrap())
    }

    fn both(name: &str) -> [Self; 2] {
        [Self::open(name), Self::open_tensors(name)]
    }

    fn of(
        name: &str,
        (companion, model): (std::sync::Arc<WhisperCompanion>, WhisperModel),
    ) -> Self {
        let folder = golden(name);
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

    fn listen(&mut self, slot: usize, features: &Features) {
        self.model.listen(slot, features).unwrap();
    }

    /// One pass over `(slot, start, tokens)`; logits after the last token of each.
    fn step(&mut self, slots: &[SlotRows<'_>]) -> Vec<Vec<f32>> {
        let rows = self.model.logits(slots).unwrap();
        assert!(rows.len() == slots.len() && rows.iter().all(|row| row.len() == VOCABULARY));
        rows
    }
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
    for mut tiny in GOLDEN.into_iter().flat_map(Tiny::both) {
        let wanted = tiny.wanted("out_encoder");
        let states = tiny.model.encode(&tiny.features(1.0)).unwrap();
        assert_eq!(states.len(), 1_500 * 32);
        assert_close(&states[..wanted.len()], &wanted, 1e-3);
    }
}

#[test]
fn golden_logits_are_those_of_transformers_token_by_token_and_in_chunks() {
    for mut tiny in GOLDEN.into_iter().flat_map(Tiny::both) {
        let wanted = tiny.wanted("out_logits");
        let ids = tiny.ids("decoder_ids");
        tiny.listen(1, &tiny.features(1.0));
        for (position, (id, wanted)) in ids.iter().zip(wanted.chunks(VOCABULARY)).enumerate() {
            assert_close(&tiny.step(&[(1, position, &[*id])])[0], wanted, 1e-3);
        }
        tiny.listen(2, &tiny.features(1.0));
        for chunk in [0..4, 4..7] {
            let last = chunk.end - 1;
            let ours = tiny.step(&[(2, chunk.start, &ids[chunk])]);
            assert_close(&ours[0], &wanted[last * VOCABULARY..][..VOCABULARY], 1e-3);
        }
    }
}

#[test]
fn golden_greedy_ids_are_those_of_transformers() {
    for mut tiny in GOLDEN.into_iter().flat_map(Tiny::both) {
        let wanted = tiny.ids("greedy_ids");
        tiny.listen(1, &tiny.features(1.0));
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
fn eight_bits_are_near_the_floats() {
    for name in GOLDEN {
        let files = Files::new(golden(name));
        let mut tiny = Tiny::of(name, load(&files, &Device::Cpu, Quality::Fast).unwrap());
        let wanted = tiny.wanted("out_logits");
        let ids = tiny.ids("decoder_ids");
        tiny.listen(0, &tiny.features(1.0));
        let ours = tiny.step(&[(0, 0, &ids)]).remove(0);
        let wanted = &wanted[(ids.len() - 1) * VOCABULARY..][..VOCABULARY];
        let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        let cosine =
            product(&ours, wanted) / (product(&ours, &ours) * product(wanted, wanted)).sqrt();
        assert!(cosine > 0.995, "{name}: {cosine}");
    }
}

#[test]
fn what_shares_a_batch_changes_nothing() {
    for mut tiny in Tiny::both(GOLDEN[0]) {
        let ids = tiny.ids("decoder_ids");
        let (loud, quiet) = (tiny.features(1.0), tiny.features(0.01));
        tiny.listen(1, &loud);
        tiny.listen(2, &quiet);
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
        tiny.listen(3, &loud);
        tiny.listen(4, &quiet);
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
}

#[test]
fn windows_heard_together_are_heard_as_alone() {
    for mut tiny in Tiny::both(GOLDEN[0]) {
        let ids = tiny.ids("decoder_ids");
        let sounds = [1.0, 0.01, 0.3].map(|loudness| tiny.features(loudness));
        let alone: Vec<_> = sounds
            .iter()
            .map(|sound| {
                tiny.listen(0, sound);
                tiny.step(&[(0, 0, &ids)]).remove(0)
            })
            .collect();
        let heard: Vec<_> = sounds.iter().enumerate().collect();
        tiny.model.listen_together(&heard).unwrap();
        for (slot, alone) in alone.iter().enumerate() {
            assert_close(&tiny.step(&[(slot, 0, &ids)])[0], alone, 1e-5);
        }
        assert!(
            (alone[0][7] - alone[1][7]).abs() > 0.01,
            "the sounds differ"
        );
    }
}

/// Runs sounds side by side to their ends, and gives what was said of each.
fn hear(
    tiny: &mut Tiny,
    sounds: &[&[u8]],
    options: &TranscribeOptions,
) -> Vec<Vec<TranscribeEvent>> {
    let mut said = vec![Vec::new(); sounds.len()];
    for (id, audio) in sounds.iter().enumerate() {
        let request = TranscribeRequest {
            audio: audio.to_vec(),
            options: options.clone(),
        };
        let hearing = tiny.companion.prepare(request).unwrap();
        tiny.model.begin(SequenceId(id as u64), hearing).unwrap();
    }
    let mut left = sounds.len();
    while left > 0 {
        for (id, event) in tiny.model.turn() {
            match event {
                Said::Event(event) => said[id.0 as usize].push(event),
                Said::End => {
                    left -= 1;
                    tiny.model.end(id);
                }
                Said::Failed(failure) => panic!("{failure}"),
            }
        }
    }
    said
}

/// The times and texts of segments.
fn texts(events: &[TranscribeEvent]) -> Vec<(f32, f32, String)> {
    let segment = |event: &TranscribeEvent| match event {
        TranscribeEvent::Segment {
            start, end, text, ..
        } => Some((*start, *end, text.clone())),
        _ => None,
    };
    events.iter().filter_map(segment).collect()
}

/// More sounds than are listened to in a turn, and more beams than there are caches for at once; random
/// weights make long random words of them.
#[test]
fn many_sounds_are_heard_as_each_alone() {
    let names = [
        "austen-0930.wav",
        "jfk.wav",
        "tone.flac",
        "espeak-de.wav",
        "jfk.mp3",
        "tone.ogg",
    ];
    let files = names.map(|name| std::fs::read(golden("whisper").join(name)).unwrap());
    let sounds: Vec<&[u8]> = files.iter().map(Vec::as_slice).collect();
    let [mut flat, mut tensors] = Tiny::both(GOLDEN[0]);
    for (beams, count) in [(1, 6), (30, 3)] {
        let options = TranscribeOptions {
            beam_size: Some(beams),
            ..TranscribeOptions::default()
        };
        let together = hear(&mut flat, &sounds[..count], &options);
        for (sound, together) in sounds.iter().zip(&together) {
            let alone = hear(&mut flat, &[*sound], &options);
            assert_eq!(alone, std::slice::from_ref(together));
        }
    }
    for (beams, count) in [(1, 6), (3, 2)] {
        let options = TranscribeOptions {
            beam_size: Some(beams),
            ..TranscribeOptions::default()
        };
        // Products of tensors round by their size, in the last bits.
        let together = hear(&mut tensors, &sounds[..count], &options);
        for (sound, together) in sounds.iter().zip(&together) {
            let alone = hear(&mut tensors, &[*sound], &options);
            assert_eq!(texts(&alone[0]), texts(together));
        }
    }
}

#[test]
fn impossible_rows_fail_without_a_panic() {
    for mut tiny in Tiny::both(GOLDEN[0]) {
        let fails = |tiny: &mut Tiny, slots: &[SlotRows<'_>]| {
            let answer = tiny.model.logits(slots);
            assert!(matches!(answer, Err(Failure::Internal(_))), "{slots:?}");
        };
        fails(&mut tiny, &[(1, 0, &[401])]); // has heard nothing
        tiny.listen(1, &tiny.features(1.0));
        fails(&mut tiny, &[(1, 0, &[VOCABULARY as u32])]);
        fails(&mut tiny, &[(1, 64, &[401])]);
        fails(&mut tiny, &[(1, 0, &[])]);
        tiny.step(&[(1, 63, &[401])]);
    }
}

#[test]
fn sessions_have_slots_which_they_give_back() {
    let mut tiny = Tiny::open(GOLDEN[0]);
    assert_eq!(tiny.model.sessions(), 16);
    let audio = std::fs::read(golden("whisper/austen-0930.wav")).unwrap();
    let hearing = |tiny: &Tiny| {
        tiny.companion
            .prepare(TranscribeRequest {
                audio: audio.clone(),
                options: TranscribeOptions::default(),
            })
            .unwrap()
    };
    for id in 0..16 {
        let hearing = hearing(&tiny);
        tiny.model.begin(SequenceId(id), hearing).unwrap();
    }
    let one_more = hearing(&tiny);
    assert!(tiny.model.begin(SequenceId(16), one_more).is_err());
    tiny.model.end(SequenceId(3));
    let one_more = hearing(&tiny);
    tiny.model.begin(SequenceId(17), one_more).unwrap();
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
    load(
        &Files::new(folder.path().to_owned()),
        &Device::Cpu,
        Quality::Exact,
    )
    .map(drop)
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
    let nowhere = load(&Files::new("/nowhere".into()), &Device::Cpu, Quality::Exact).map(drop);
    assert!(
        matches!(nowhere, Err(LoadError::Missing { .. })),
        "{nowhere:?}"
    );
}
