//! An encoder with a head: the reranker, which judges a pair of texts, and the classifier, which
//! judges one.

use candle_core::Device;
use engine::model::BatchModel;
use std::sync::Arc;
use tasks::{Classes, Classify, Failure, Relevance, Rerank, Scored};

use super::head::Head;
use super::{Encoder, open};
use crate::encoder::{BUDGET_TOKENS, EncoderCompanion, EncoderWork};
use crate::load::{Files, LoadError};
use crate::quality::Quality;

/// Judges how well a text answers a query (Nogueira and Cho 2019).
pub struct Reranker(Judge);

/// Gives each label of a text its probability.
pub struct Classifier(Judge);

struct Judge {
    encoder: Encoder,
    head: Head,
}

/// Loads a cross-encoder: a checkpoint with a head of one label.
///
/// # Errors
/// [`LoadError`], also for a head of several labels.
pub fn load_reranker(
    files: &Files,
    device: &Device,
    quality: Quality,
) -> Result<(Arc<EncoderCompanion>, Reranker), LoadError> {
    let (companion, judge) = load(files, device, quality)?;
    let labels = judge.head.labels().len();
    if labels != 1 {
        let detail = format!("a reranker has one label, and this has {labels}");
        return Err(LoadError::unsupported(&files.path("config.json"), detail));
    }
    Ok((companion, Reranker(judge)))
}

/// Loads a classifier: a checkpoint with a head of two labels or more.
///
/// # Errors
/// [`LoadError`], also for a head of one label.
pub fn load_classifier(
    files: &Files,
    device: &Device,
    quality: Quality,
) -> Result<(Arc<EncoderCompanion>, Classifier), LoadError> {
    let (companion, judge) = load(files, device, quality)?;
    if judge.head.labels().len() < 2 {
        let detail = "a classifier has two labels or more, and this has one";
        return Err(LoadError::unsupported(&files.path("config.json"), detail));
    }
    Ok((companion, Classifier(judge)))
}

fn load(
    files: &Files,
    device: &Device,
    quality: Quality,
) -> Result<(Arc<EncoderCompanion>, Judge), LoadError> {
    let (companion, config, checkpoint) = open(files)?;
    let head = Head::read(files, &checkpoint, &config)?;
    let encoder = Encoder::read(checkpoint, &config, &companion, device, quality)?;
    Ok((Arc::new(companion), Judge { encoder, head }))
}

impl Judge {
    /// The logits of each job.
    fn judge(&mut self, batch: &[EncoderWork]) -> Vec<Result<Vec<f32>, Failure>> {
        let vectors = self.encoder.pooled(batch);
        let head = &mut self.head;
        vectors
            .into_iter()
            .map(|vector| vector.map(|vector| head.judge(&vector)))
            .collect()
    }
}

impl BatchModel<Rerank> for Reranker {
    type Work = EncoderWork;

    fn budget(&self) -> usize {
        BUDGET_TOKENS
    }

    fn run(&mut self, batch: Vec<EncoderWork>) -> Vec<Result<Relevance, Failure>> {
        let logits = self.0.judge(&batch);
        let jobs = batch.iter().zip(logits);
        jobs.map(|(job, logits)| {
            let logit = logits?.first().copied().unwrap_or_default();
            Ok(Relevance {
                score: 1.0 / (1.0 + (-logit).exp()),
                tokens: job.tokens.len() as u32,
                truncated: job.truncated,
            })
        })
        .collect()
    }
}

impl BatchModel<Classify> for Classifier {
    type Work = EncoderWork;

    fn budget(&self) -> usize {
        BUDGET_TOKENS
    }

    fn run(&mut self, batch: Vec<EncoderWork>) -> Vec<Result<Classes, Failure>> {
        let logits = self.0.judge(&batch);
        let labels = self.0.head.labels();
        let jobs = batch.iter().zip(logits);
        jobs.map(|(job, logits)| {
            let scores = labels.iter().cloned().zip(softmax(&logits?));
            Ok(Classes {
                scores: scores
                    .map(|(label, score)| Scored { label, score })
                    .collect(),
                tokens: job.tokens.len() as u32,
                truncated: job.truncated,
            })
        })
        .collect()
    }
}

fn softmax(logits: &[f32]) -> Vec<f32> {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f32> = logits.iter().map(|logit| (logit - most).exp()).collect();
    let sum: f32 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}
