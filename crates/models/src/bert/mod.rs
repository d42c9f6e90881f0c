//! BERT (Devlin et al. 2018) as a maker of text embeddings, in the way of Sentence-BERT (Reimers and
//! Gurevych 2019): token vectors of the last layer, pooled and normalised.
//!
//! The layers are candle's, which agree with transformers' `modeling_bert.py` to 2e-6; the tests
//! named `golden` compare the vectors.

mod companion;
mod config;
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
use config::BertConfig;
use widening::Widenings;

/// Tokens of a batch. On a CPU core longer batches are no faster: its products are full from about
/// 100 rows on.
const BUDGET_TOKENS: usize = 512;
/// Tokens of padding that a pass may hold; jobs of very different lengths run in several passes.
const PADDING_MAX_TOKENS: usize = 128;

/// A BERT on its device.
pub struct Bert {
    model: BertModel,
    widenings: Widenings,
    device: Device,
}

/// Loads a checkpoint: `config.json`, safetensors, `tokenizer.json`.
pub fn load(files: &Files, device: &Device) -> Result<(Arc<BertCompanion>, Bert), LoadError> {
    let config = BertConfig::from_json(files)?;
    let checkpoint = Checkpoint::open(files)?;
    let prefix = config.check(&checkpoint)?;
    let companion = BertCompanion::load(files, &config)?;
    let weights = VarBuilder::from_backend(Box::new(checkpoint), DType::F32, device.clone());
    let weights = if prefix.is_empty() {
        weights
    } else {
        weights.pp(prefix)
    };
    let model =
        BertModel::load(weights, &config.candle()).map_err(|error| LoadError::device(&error))?;
    Ok((
        Arc::new(companion),
        Bert {
            model,
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
    /// The pooled vector of each job, as wide as the weights.
    fn pass(&self, jobs: &[&BertWork]) -> candle_core::Result<Vec<Vec<f32>>> {
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
        let hidden = self
            .model
            .forward(&tokens, &tokens.zeros_like()?, Some(&mask))?;
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
