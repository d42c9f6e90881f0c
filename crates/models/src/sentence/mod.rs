//! Text embeddings by models of a decoder's shape, in the layout of sentence-transformers:
//! EmbeddingGemma (Vera et al. 2025), whose tokens see both ways and whose mean goes through two dense
//! layers, and Qwen3 Embedding (Zhang et al. 2025), whose last token stands for the text.
//!
//! The checkpoint says how its token vectors become one: the pooling that a request asks for is BERT's
//! choice. These models compute on the CPU, whatever the device is.

mod layers;
mod memory;
mod modules;

use std::sync::Arc;

use engine::model::BatchModel;
use kernels::Activations;
use tasks::{Embed, Embedding, Failure};

use crate::checkpoint::Checkpoint;
use crate::decoder::{DecoderConfig, Layout, NormKind, from_json};
use crate::encoder::{
    BUDGET_TOKENS, EncoderCompanion, EncoderWork, Widenings, answer, sum, tokenizer,
};
use crate::fit::Fit;
use crate::load::{Files, LoadError};
use layers::FlatLayers;
pub(crate) use memory::need;
use modules::{After, Modules, Pool};

/// The families whose layers are known here, by the word of their configurations.
const FAMILIES: [&str; 2] = ["gemma3_text", "qwen3"];

/// An encoder and what follows it.
pub struct Sentences {
    layers: FlatLayers,
    pool: Pool,
    after: Vec<After>,
    hidden: usize,
    scratch: Activations,
    widenings: Widenings,
}

/// What a checkpoint's configuration files say.
struct Shape {
    config: DecoderConfig,
    layout: &'static Layout,
    modules: Modules,
    /// Tokens that are read at once: what the weights can read, or what will be asked for.
    window: usize,
}

impl Shape {
    fn read(files: &Files, fit: Fit) -> Result<Self, LoadError> {
        #[derive(serde::Deserialize)]
        struct Family {
            model_type: String,
        }
        let Family { model_type } = files.json("config.json")?;
        let refused = |detail: String| {
            let file = files.path("config.json");
            Err(LoadError::unsupported(&file, detail))
        };
        if !FAMILIES.contains(&model_type.as_str()) {
            let known = FAMILIES.join(" and ");
            return refused(format!("model_type {model_type:?}; {known} are known"));
        }
        let (config, layout) = from_json(files)?;
        let is_plain = config.norm.kind == NormKind::RootMeanSquare
            && config.attention.head_norms
            && config.attention.soft_cap.is_none()
            && config.rope.rotated == config.head_size;
        if !is_plain {
            return refused("it has parts that no encoder here has".into());
        }
        let modules = Modules::read(files, config.hidden)?;
        let asked = fit.window.map_or(usize::MAX, |window| window as usize);
        let window = config.window.min(asked).max(1);
        Ok(Self {
            config,
            layout,
            modules,
            window,
        })
    }
}

/// Loads a checkpoint: `config.json`, safetensors, `tokenizer.json`, `modules.json` and the folders that
/// it names.
///
/// # Errors
/// [`LoadError`] for whatever is wrong with the files.
pub fn load(files: &Files, fit: Fit) -> Result<(Arc<EncoderCompanion>, Sentences), LoadError> {
    let Shape {
        config,
        layout,
        modules,
        window,
    } = Shape::read(files, fit)?;
    let checkpoint = Checkpoint::open(files)?;
    let companion = EncoderCompanion {
        tokenizer: tokenizer(files, config.vocabulary)?,
        width: modules.width,
        window,
        prompt: modules::prompt(files)?,
    };
    let sentences = Sentences {
        pool: modules.pool,
        after: modules.weights(files)?,
        hidden: config.hidden,
        layers: FlatLayers::read(&checkpoint, (config, layout), window, fit.quality)?,
        scratch: Activations::default(),
        widenings: Widenings::default(),
    };
    Ok((Arc::new(companion), sentences))
}

impl BatchModel<Embed> for Sentences {
    type Work = EncoderWork;

    fn budget(&self) -> usize {
        BUDGET_TOKENS
    }

    fn run(&mut self, batch: Vec<EncoderWork>) -> Vec<Result<Embedding, Failure>> {
        let hidden = self.hidden;
        let rows = match self.layers.forward(&batch) {
            Ok(rows) => rows,
            Err(error) => {
                let failure = Failure::Internal(format!("a pass of an encoder: {error}"));
                return batch.iter().map(|_| Err(failure.clone())).collect();
            }
        };
        let mut answers = Vec::with_capacity(batch.len());
        let mut first = 0;
        for job in &batch {
            let last = first + job.tokens.len();
            let rows = &rows[first * hidden..last * hidden];
            first = last;
            let mut vector = match self.pool {
                Pool::First => rows[..hidden].to_vec(),
                Pool::Last => rows[rows.len() - hidden..].to_vec(),
                Pool::Mean => {
                    let mut mean = sum(rows, hidden);
                    for value in &mut mean {
                        *value /= job.tokens.len() as f32;
                    }
                    mean
                }
            };
            for After { dense, tangent } in &self.after {
                let mut next = Vec::new();
                dense.forward(&vector, &mut next, &mut self.scratch);
                if *tangent {
                    for value in &mut next {
                        *value = value.tanh();
                    }
                }
                vector = next;
            }
            answers.push(Ok(answer(&mut self.widenings, job, vector)));
        }
        answers
    }
}
