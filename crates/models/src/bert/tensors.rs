//! The encoder on padded batches by candle's layers, for devices that are not the CPU.

use candle_core::{DType, Device, Result, Shape, Tensor};
use candle_nn::VarBuilder;
use candle_nn::var_builder::SimpleBackend;
use candle_transformers::models::bert::BertModel;
use tasks::Pooling;

use super::config::BertConfig;
use super::names::{BERT, Names, POSITIONS};
use crate::checkpoint::Checkpoint;
use crate::encoder::EncoderWork;
use crate::load::LoadError;

/// Tokens of padding that a pass may hold; jobs of very different lengths run in several passes.
pub(super) const PADDING_MAX_TOKENS: usize = 128;

/// The encoder.
pub(super) struct TensorBert {
    model: BertModel,
    device: Device,
}

impl TensorBert {
    /// Reads a checkpoint that [`BertConfig::check`] has passed.
    pub(super) fn read(
        checkpoint: Checkpoint,
        config: &BertConfig,
        device: &Device,
    ) -> std::result::Result<Self, LoadError> {
        let renamed = Renamed {
            names: config.names,
            prefix: config.prefix(&checkpoint),
            first_position: config.first_position,
            types: config.types,
            checkpoint,
        };
        let weights = VarBuilder::from_backend(Box::new(renamed), DType::F32, device.clone());
        let model = BertModel::load(weights, &config.candle())
            .map_err(|error| LoadError::device(&error))?;
        Ok(Self {
            model,
            device: device.clone(),
        })
    }

    /// The pooled vector of each job, in their order, or why its pass has none.
    pub(super) fn pooled(
        &self,
        batch: &[EncoderWork],
    ) -> Vec<std::result::Result<Vec<f32>, String>> {
        let mut order: Vec<usize> = (0..batch.len()).collect();
        order.sort_by_key(|&job| batch[job].tokens.len());
        let mut answers: Vec<_> = batch
            .iter()
            .map(|_| Err("no pass had this job".to_owned()))
            .collect();
        for pass in passes(&order, batch) {
            let jobs: Vec<&EncoderWork> = pass.iter().map(|&job| &batch[job]).collect();
            match self.pass(&jobs) {
                Ok(vectors) => {
                    for (&job, vector) in pass.iter().zip(vectors) {
                        answers[job] = Ok(vector);
                    }
                }
                Err(error) => {
                    for &job in pass {
                        answers[job] = Err(error.to_string());
                    }
                }
            }
        }
        answers
    }

    fn pass(&self, jobs: &[&EncoderWork]) -> Result<Vec<Vec<f32>>> {
        let length = jobs.iter().map(|job| job.tokens.len()).max().unwrap_or(0);
        let shape = (jobs.len(), length);
        let mut tokens = vec![0u32; jobs.len() * length];
        let mut types = vec![0u32; jobs.len() * length];
        let mut mask = vec![0f32; jobs.len() * length];
        for (row, job) in jobs.iter().enumerate() {
            let (start, count) = (row * length, job.tokens.len());
            tokens[start..start + count].copy_from_slice(&job.tokens);
            types[start + job.second.min(count)..start + count].fill(1);
            mask[start..start + count].fill(1.0);
        }
        let tokens = Tensor::from_vec(tokens, shape, &self.device)?;
        let types = Tensor::from_vec(types, shape, &self.device)?;
        let mask = Tensor::from_vec(mask, shape, &self.device)?;
        let hidden = self.model.forward(&tokens, &types, Some(&mask))?;
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
}

/// Cuts jobs in order of length into passes without too much padding.
fn passes<'a>(order: &'a [usize], batch: &[EncoderWork]) -> Vec<&'a [usize]> {
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

/// A checkpoint of any family under BERT's names, with positions from 0 and two types of tokens.
struct Renamed {
    checkpoint: Checkpoint,
    names: &'static Names,
    prefix: String,
    first_position: usize,
    types: usize,
}

impl Renamed {
    fn name(&self, bert: &str) -> Option<String> {
        let layer = bert.strip_prefix("encoder.layer.");
        let Some((number, part)) = layer.and_then(|rest| rest.split_once('.')) else {
            return Some(format!("{}{bert}", self.prefix));
        };
        let (part, end) = part.rsplit_once('.')?;
        let part = self.names.of_layer(part)?;
        let Self { names, prefix, .. } = self;
        Some(format!("{prefix}{}.{number}.{part}.{end}", names.layers))
    }
}

impl SimpleBackend for Renamed {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _: candle_nn::Init,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        let Some(ours) = self.name(name) else {
            candle_core::bail!("no name stands for {name}");
        };
        let (rows, width) = match shape.dims() {
            [rows, width] => (*rows, *width),
            _ => (0, 0),
        };
        let read = |shape: &[usize]| {
            let tensor = self.checkpoint.tensor(&ours, shape, dtype, device);
            tensor.map_err(candle_core::Error::wrap)
        };
        if name == format!("{POSITIONS}.weight") {
            let whole = read(&[self.first_position + rows, width])?;
            return whole.narrow(0, self.first_position, rows)?.contiguous();
        }
        let types = BERT.types.unwrap_or_default();
        if name == format!("{types}.weight") && self.types < rows {
            // A family with one type or none: its tokens are all of the first.
            return match self.types {
                0 => Tensor::zeros((rows, width), dtype, device),
                _ => read(&[self.types, width])?
                    .narrow(0, 0, 1)?
                    .repeat((rows, 1)),
            };
        }
        read(shape.dims())
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor> {
        match self.name(name) {
            Some(ours) => self.checkpoint.get_unchecked(&ours, dtype, device),
            None => candle_core::bail!("no name stands for {name}"),
        }
    }

    fn contains_tensor(&self, name: &str) -> bool {
        let types = BERT.types.unwrap_or_default();
        name == format!("{types}.weight")
            || self
                .name(name)
                .is_some_and(|ours| self.checkpoint.has(&ours))
    }
}
