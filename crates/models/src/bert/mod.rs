//! BERT (Devlin et al. 2018) as a maker of text embeddings, in the way of Sentence-BERT (Reimers and
//! Gurevych 2019): token vectors of the last layer, pooled and normalised.
//!
//! On the CPU the layers are ours ([`flat`]), elsewhere candle's; the tests named `golden` compare
//! their vectors with transformers'.

mod companion;
mod config;
mod flat;
mod memory;
mod widening;

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::BertModel;
use engine::model::BatchModel;
use tasks::{Embed, Embedding, Failure, Pooling};

pub use companion::{BertCompanion, BertWork};

use crate::checkpoint::Checkpoint;
use crate::load::{Files, LoadError};
use crate::quality::Quality;
use config::BertConfig;
use flat::FlatBert;
pub(crate) use memory::need;
use widening::Widenings;

/// Tokens of a batch. On a CPU core longer batches are no faster: its products are full from about
/// 100 rows on.
const BUDGET_TOKENS: usize = 512;
/// Tokens of padding that a pass may hold; jobs of very different lengths run in several passes.
const PADDING_MAX_TOKENS: usize = 128;

/// A BERT on its device.
pub struct Bert {
    layers: Layers,
    widenings: Widenings,
    device: Device,
}

/// Where the arithmetic happens.
enum Layers {
    /// On the CPU.
    Flat(Box<FlatBert>),
    /// On any device.
    Tensors(Box<BertModel>),
}

/// Loads a checkpoint: `config.json`, safetensors, `tokenizer.json`. The quality is for the CPU.
pub fn load(
    files: &Files,
    device: &Device,
    quality: Quality,
) -> Result<(Arc<BertCompanion>, Bert), LoadError> {
    let config = BertConfig::from_json(files)?;
    let checkpoint = Checkpoint::open(files)?;
    let prefix = config.check(&checkpoint)?;
    let companion = BertCompanion::load(files, &config)?;
    let layers = if device.is_cpu() {
        let flat = FlatBert::read(&checkpoint, &config, prefix, quality)?;
        Layers::Flat(Box::new(flat))
    } else {
        let weights = VarBuilder::from_backend(Box::new(checkpoint), DType::F32, device.clone());
        let weights = if prefix.is_empty() {
            weights
        } else {
            weights.pp(prefix)
        };
        let model = BertModel::load(weights, &config.candle())
            .map_err(|error| LoadError::device(&error))?;
        Layers::Tensors(Box::new(model))
    };
    Ok((
        Arc::new(companion),
        Bert {
            layers,
            widenings: Widenings::default(),
            device: device.clone(),
        },
    ))
}

impl BatchModel<Embed> for Bert {
    type Work = BertWork;

    fn budget(&self) -> usize {
        BUDGET_TOKENS
    }

    fn run(&mut self, batch: Vec<BertWork>) -> Vec<Result<Embedding, Failure>> {
        if matches!(self.layers, Layers::Flat(_)) {
            return self.run_flat(&batch);
        }
        let mut order: Vec<usize> = (0..batch.len()).collect();
        order.sort_by_key(|&job| batch[job].tokens.len());
        let mut answers: Vec<_> = batch
            .iter()
            .map(|_| Err(Failure::Internal("no pass had this job".into())))
            .collect();
        for pass in passes(&order, &batch) {
            let jobs: Vec<&BertWork> = pass.iter().map(|&job| &batch[job]).collect();
            match self.pass(&jobs) {
                Ok(vectors) => {
                    for (&job, vector) in pass.iter().zip(vectors) {
                        answers[job] = Ok(self.answer(&batch[job], vector));
                    }
                }
                Err(error) => {
                    for &job in pass {
                        answers[job] = Err(Failure::Internal(format!("a pass of BERT: {error}")));
                    }
                }
            }
        }
        answers
    }
}

/// Cuts jobs in order of length into passes without too much padding.
fn passes<'a>(order: &'a [usize], batch: &[BertWork]) -> Vec<&'a [usize]> {
    let length = |job: usize| batch[job].tokens.len();
    let (mut passes, mut start, mut tokens) = (Vec::new(), 0, 0);
    for (end, &job) in order.iter().enumerate() {
        let padded = length(job) * (end - start + 1);
        tokens += length(job);
        if padded - tokens > PADDING_MAX_TOKENS {
            passes.push(&order[start..end]);
            (start, tokens) = (end, length(job));
        }
    }
    passes.push(&order[start..]);
    passes
}

impl Bert {
    /// All jobs one after the other in one pass, without padding.
    fn run_flat(&mut self, batch: &[BertWork]) -> Vec<Result<Embedding, Failure>> {
        let Layers::Flat(flat) = &mut self.layers else {
            return Vec::new(); // asked only of the other kind
        };
        let texts: Vec<&[u32]> = batch.iter().map(|job| job.tokens.as_slice()).collect();
        let rows = match flat.forward(&texts) {
            Ok(rows) => rows,
            Err(error) => {
                let failure = Failure::Internal(format!("a pass of BERT: {error}"));
                return batch.iter().map(|_| Err(failure.clone())).collect();
            }
        };
        let tokens: usize = texts.iter().map(|text| text.len()).sum();
        let width = rows.len() / tokens.max(1);
        let mut first = 0;
        let vectors: Vec<Vec<f32>> = batch
            .iter()
            .map(|job| {
                let rows = &rows[first..first + job.tokens.len() * width];
                first += rows.len();
                pool(rows, width, job.pooling)
            })
            .collect();
        let jobs = batch.iter().zip(vectors);
        jobs.map(|(job, vector)| Ok(self.answer(job, vector)))
            .collect()
    }

    /// The pooled vector of each job, as wide as the weights.
    fn pass(&self, jobs: &[&BertWork]) -> candle_core::Result<Vec<Vec<f32>>> {
        let Layers::Tensors(model) = &self.layers else {
            candle_core::bail!("these layers take no tensors");
        };
        let length = jobs.iter().map(|job| job.tokens.len()).max().unwrap_or(0);
        let shape = (jobs.len(), length);
        let mut tokens = vec![0u32; jobs.len() * length];
        let mut mask = vec![0f32; jobs.len() * length];
        for (row, job) in jobs.iter().enumerate() {
            let (start, count) = (row * length, job.tokens.len());
            tokens[start..start + count].copy_from_slice(&job.tokens);
            mask[start..start + count].fill(1.0);
        }
        let tokens = Tensor::from_vec(tokens, shape, &self.device)?;
        let mask = Tensor::from_vec(mask, shape, &self.device)?;
        let hidden = model.forward(&tokens, &tokens.zeros_like()?, Some(&mask))?;
        let first: Vec<Vec<f32>> = hidden.narrow(1, 0, 1)?.squeeze(1)?.to_vec2()?;
        let sums: Vec<Vec<f32>> = hidden
            .broadcast_mul(&mask.unsqueeze(2)?)?
            .sum(1)?
            .to_vec2()?;
        // A sum points where the mean does; both are brought to unit length later.
        let pooled = jobs.iter().zip(first.into_iter().zip(sums));
        Ok(pooled
            .map(|(job, (first, sum))| match job.pooling {
                Pooling::Cls => first,
                Pooling::Mean => sum,
            })
            .collect())
    }

    fn answer(&mut self, job: &BertWork, vector: Vec<f32>) -> Embedding {
        let mut vector = if job.width == vector.len() {
            vector
        } else {
            self.widenings.widen(&vector, job.width)
        };
        normalise(&mut vector);
        Embedding {
            vector,
            tokens: job.tokens.len() as u32,
            truncated: job.truncated,
        }
    }
}

/// One vector of a text's, `[tokens, width]`. A sum points where the mean does; both are brought to
/// unit length later.
fn pool(rows: &[f32], width: usize, pooling: Pooling) -> Vec<f32> {
    match pooling {
        Pooling::Cls => rows[..width].to_vec(),
        Pooling::Mean => {
            let mut sums = vec![0.0; width];
            for row in rows.chunks_exact(width) {
                for (sum, value) in sums.iter_mut().zip(row) {
                    *sum += value;
                }
            }
            sums
        }
    }
}

/// Brings a vector to unit length; one of length 0 stays.
fn normalise(vector: &mut [f32]) {
    let length = vector
        .iter()
        .map(|&number| f64::from(number).powi(2))
        .sum::<f64>()
        .sqrt();
    if length > 0.0 {
        for number in vector {
            *number = (f64::from(*number) / length) as f32;
        }
    }
}
