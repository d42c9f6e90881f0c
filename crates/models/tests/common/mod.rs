//! What the tests of this crate share: golden folders, reference numbers, and a driver of step models.
#![allow(dead_code)]

pub(crate) mod families;
pub(crate) mod gguf;

use std::path::{Path, PathBuf};

use engine::model::{BLOCK_TOKENS, SequenceId, Span, Step, StepModel};
use models::device::{Device, DeviceChoice};
use models::{Checkpoint, Files};
use serde_json::Value;

/// A folder of tests/golden.
pub(crate) fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/golden")
        .join(name)
}

/// Copies a folder with all that is in it, over what is there.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a file to copy");
    for entry in std::fs::read_dir(from)
        .expect("a file to copy")
        .map(|entry| entry.expect("a file to copy"))
    {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("a file to copy");
        }
    }
}

/// The GPU in a build for one, else the CPU.
pub(crate) fn device() -> Device {
    let (device, fallback) = models::device::open(DeviceChoice::Auto).expect("a device");
    assert_eq!(fallback, None, "this build's device cannot be opened");
    device
}

/// The reference's JSON of a golden folder.
pub(crate) fn reference(name: &str) -> Value {
    let text = std::fs::read(golden(name).join("reference.json")).expect("reference.json");
    serde_json::from_slice(&text).expect("JSON")
}

/// A tensor of the reference, flat.
pub(crate) fn reference_tensor(name: &str, tensor: &str) -> Vec<f32> {
    let files = Files::new(golden(name));
    let checkpoint =
        Checkpoint::open_files(&files, &["reference.safetensors".to_owned()]).expect("a reference");
    let shape = checkpoint.shape(tensor).expect("the tensor").to_vec();
    let numbers = checkpoint
        .tensor(tensor, &shape, candle_core::DType::F32, &Device::Cpu)
        .expect("the tensor");
    numbers
        .flatten_all()
        .and_then(|flat| flat.to_vec1())
        .expect("numbers")
}

/// A list of token ids in JSON.
pub(crate) fn ids(value: &Value) -> Vec<u32> {
    value
        .as_array()
        .expect("ids")
        .iter()
        .map(|id| id.as_u64().expect("an id") as u32)
        .collect()
}

pub(crate) fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| {
        a.iter()
            .zip(b)
            .map(|(a, b)| f64::from(*a) * f64::from(*b))
            .sum::<f64>()
    };
    assert_eq!(a.len(), b.len());
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

pub(crate) fn greatest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}

pub(crate) fn argmax(row: &[f32]) -> u32 {
    let best = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    best.expect("a row").0 as u32
}

/// One sequence as the engine would keep it.
pub(crate) struct Sequence {
    id: SequenceId,
    pub(crate) tokens: Vec<u32>,
    done: usize,
    blocks: Vec<u32>,
    /// The engine's blocks are anywhere: the n-th block of this sequence.
    place: fn(usize) -> u32,
}

impl Sequence {
    pub(crate) fn new(id: u64, tokens: &[u32], place: fn(usize) -> u32) -> Self {
        Self {
            id: SequenceId(id),
            tokens: tokens.to_vec(),
            done: 0,
            blocks: Vec::new(),
            place,
        }
    }
}

/// Runs one step over the next `count` tokens of each sequence; the logits of each.
pub(crate) fn step(
    model: &mut dyn StepModel,
    parts: &mut [(&mut Sequence, usize)],
) -> Vec<Vec<f32>> {
    let mut step = Step::default();
    for (sequence, count) in parts.iter_mut() {
        let (start, rows) = (sequence.done, step.tokens.len());
        sequence.done += *count;
        while sequence.blocks.len() * BLOCK_TOKENS < sequence.done {
            sequence
                .blocks
                .push((sequence.place)(sequence.blocks.len()));
        }
        step.tokens.extend(&sequence.tokens[start..sequence.done]);
        step.spans.push(Span {
            sequence: sequence.id,
            rows: rows..step.tokens.len(),
            start,
            blocks: sequence.blocks.clone(),
            logits: 1,
        });
    }
    let rows = model.step(&step).expect("a step");
    assert_eq!(rows.logits.len(), rows.width * parts.len());
    rows.logits
        .chunks_exact(rows.width)
        .map(<[f32]>::to_vec)
        .collect()
}
