//! BERT (Devlin et al. 2018) and what was made after it, XLM-RoBERTa and DistilBERT among them: as makers
//! of text embeddings in the way of Sentence-BERT (Reimers and Gurevych 2019), token vectors of the
//! last layer, pooled and normalised; and with a head, as rerankers and classifiers.
//!
//! The families differ by names and by where their positions begin ([`names`]). On the CPU the layers
//! are ours ([`flat`]), elsewhere candle's ([`tensors`]); the tests named `golden` compare their
//! vectors and scores with transformers'.

mod balance;
mod config;
mod flat;
mod head;
mod judge;
mod memory;
mod names;
mod tensors;

use std::sync::Arc;

use candle_core::Device;
use engine::model::BatchModel;
use tasks::{Embed, Embedding, Failure, Pooling};

pub use judge::{Classifier, Reranker, load_classifier, load_reranker};

use crate::checkpoint::Checkpoint;
use crate::encoder::{
    BUDGET_TOKENS, EncoderCompanion, EncoderWork, Widenings, answer, sum, tokenizer,
};
use crate::load::{Files, LoadError};
use crate::quality::Quality;
use config::BertConfig;
use flat::FlatBert;
pub(crate) use memory::need;
use tensors::TensorBert;

/// A BERT on its device, as a maker of embeddings.
pub struct Bert {
    encoder: Encoder,
    widenings: Widenings,
}

/// The layers, where the arithmetic happens.
enum Encoder {
    /// On the CPU.
    Flat(Box<FlatBert>),
    /// On any device.
    Tensors(Box<TensorBert>),
}

/// Loads a checkpoint: `config.json`, safetensors, `tokenizer.json` or `vocab.txt`. The quality is for
/// the CPU.
///
/// # Errors
/// [`LoadError`] for whatever is wrong with the files.
pub fn load(
    files: &Files,
    device: &Device,
    quality: Quality,
) -> Result<(Arc<EncoderCompanion>, Bert), LoadError> {
    let (companion, config, checkpoint) = open(files)?;
    let bert = Bert {
        encoder: Encoder::read(checkpoint, &config, &companion, device, quality)?,
        widenings: Widenings::default(),
    };
    Ok((Arc::new(companion), bert))
}

/// What a checkpoint holds of an encoder, checked.
fn open(files: &Files) -> Result<(EncoderCompanion, BertConfig, Checkpoint), LoadError> {
    let config = BertConfig::from_json(files)?;
    let checkpoint = Checkpoint::open(files)?;
    config.check(&checkpoint)?;
    let companion = EncoderCompanion {
        tokenizer: tokenizer(files, config.vocabulary)?,
        width: config.hidden,
        window: config.window(),
        prompt: String::new(),
    };
    Ok((companion, config, checkpoint))
}

impl BatchModel<Embed> for Bert {
    type Work = EncoderWork;

    fn budget(&self) -> usize {
        BUDGET_TOKENS
    }

    fn run(&mut self, batch: Vec<EncoderWork>) -> Vec<Result<Embedding, Failure>> {
        let vectors = self.encoder.pooled(&batch);
        let jobs = batch.iter().zip(vectors);
        jobs.map(|(job, vector)| Ok(answer(&mut self.widenings, job, vector?)))
            .collect()
    }
}

impl Encoder {
    /// Reads a checkpoint that [`BertConfig::check`] has passed.
    fn read(
        checkpoint: Checkpoint,
        config: &BertConfig,
        companion: &EncoderCompanion,
        device: &Device,
        quality: Quality,
    ) -> Result<Self, LoadError> {
        Ok(if device.is_cpu() {
            let texts = match quality {
                Quality::Exact => Vec::new(),
                Quality::Fast => balance::texts(companion),
            };
            let flat = FlatBert::read(&checkpoint, config, quality, &texts)?;
            Self::Flat(Box::new(flat))
        } else {
            let model = TensorBert::read(checkpoint, config, device)?;
            Self::Tensors(Box::new(model))
        })
    }

    /// The pooled vector of each job, `[hidden]`, of any length.
    fn pooled(&mut self, batch: &[EncoderWork]) -> Vec<Result<Vec<f32>, Failure>> {
        let failure = |detail: String| Failure::Internal(format!("a pass of BERT: {detail}"));
        let flat = match self {
            Self::Flat(flat) => flat,
            Self::Tensors(model) => {
                let vectors = model.pooled(batch).into_iter();
                return vectors.map(|vector| vector.map_err(failure)).collect();
            }
        };
        let rows = flat.forward(batch);
        let tokens: usize = batch.iter().map(|job| job.tokens.len()).sum();
        let width = rows.len() / tokens.max(1);
        let mut first = 0;
        batch
            .iter()
            .map(|job| {
                let rows = &rows[first..first + job.tokens.len() * width];
                first += rows.len();
                Ok(match job.pooling {
                    Pooling::Cls => rows[..width].to_vec(),
                    Pooling::Mean => sum(rows, width),
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tasks::RerankRequest;

    use super::*;

    /// What runs on other devices is held against the reference here, as no test machine has one.
    #[test]
    fn golden_families_give_the_same_vectors_by_candles_layers() {
        for name in [
            "tiny-bert-reranker",
            "tiny-xlmr-embed",
            "tiny-xlmr-reranker",
            "tiny-distilbert-sst2",
        ] {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
            let files = Files::new(folder.join(name));
            let (companion, config, checkpoint) = open(&files).expect("a checkpoint");
            let work = |query: &str, context: &str| {
                let request = RerankRequest {
                    query: query.into(),
                    context: context.into(),
                    window: 64,
                };
                companion.rerank(&request).expect("prepared").work
            };
            let mut batch = vec![
                work("Hello, world!", "A robot that learns to paint."),
                work("Paris", "The capital of France is Paris, near the user."),
            ];
            batch[1].pooling = Pooling::Mean;
            let mut flat = Encoder::Flat(Box::new(
                FlatBert::read(&checkpoint, &config, Quality::Exact, &[]).expect("layers"),
            ));
            let mut tensors = Encoder::Tensors(Box::new(
                TensorBert::read(checkpoint, &config, &Device::Cpu).expect("layers"),
            ));
            for (ours, theirs) in flat.pooled(&batch).into_iter().zip(tensors.pooled(&batch)) {
                let (ours, theirs) = (ours.expect("a vector"), theirs.expect("a vector"));
                let dot = |a: &[f32], b: &[f32]| -> f64 {
                    let products = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b));
                    products.sum()
                };
                let lengths = (dot(&ours, &ours) * dot(&theirs, &theirs)).sqrt();
                let cosine = dot(&ours, &theirs) / lengths;
                assert!(cosine > 0.99999, "{name}: {cosine}");
            }
        }
    }
}
