//! One layer of the decoder on flat rows: attention and a feed-forward, with their norms, joined to
//! the residual stream in the way of the family.

use candle_core::{Result, Tensor};

use super::attention::{Attention, CachePrecision, Plan};
use super::config::{Block, DecoderConfig};
use super::feed_forward::FeedForward;
use super::lora::Lora;
use super::norm::Norm;
use super::source::Scope;
use crate::floats::added;
use crate::load::LoadError;

/// Weights and cache of one layer.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(super) norms: Norms,
    pub(super) attention: Attention,
    pub(super) feed_forward: FeedForward,
    /// Multiplies what is added to the residual stream.
    pub(super) factor: Option<f64>,
}

/// The norms of a [`Block`].
#[derive(Debug)]
pub(super) enum Norms {
    Sequential {
        attention: Norm,
        feed_forward: Norm,
    },
    Sandwiched {
        attention: [Norm; 2],
        feed_forward: [Norm; 2],
    },
    Parallel(Norm),
}

impl Norms {
    fn load(scope: &Scope, config: &DecoderConfig) -> std::result::Result<Self, LoadError> {
        let names = scope.layout();
        let norm = |name| Norm::load(scope, name, config.hidden, config.norm);
        Ok(match config.block {
            Block::Sequential => Self::Sequential {
                attention: norm(names.attention_norm)?,
                feed_forward: norm(names.feed_forward_norm)?,
            },
            Block::Sandwiched => Self::Sandwiched {
                attention: [
                    norm(names.attention_norm)?,
                    norm(names.attention_post_norm)?,
                ],
                feed_forward: [
                    norm(names.feed_forward_norm)?,
                    norm(names.feed_forward_post_norm)?,
                ],
            },
            Block::Parallel => Self::Parallel(norm(names.attention_norm)?),
        })
    }
}

impl Layer {
    /// Reads a layer; its cache holds `blocks` blocks.
    pub(crate) fn load(
        scope: &Scope,
        config: &DecoderConfig,
        layer: usize,
        blocks: usize,
        precision: CachePrecision,
    ) -> std::result::Result<Self, LoadError> {
        Ok(Self {
            norms: Norms::load(scope, config)?,
            attention: Attention::load(scope, config, layer, blocks, precision)?,
            feed_forward: FeedForward::load(scope, config, layer)?,
            factor: config.factors.residual,
        })
    }

    /// Whether its cache needs the tiles of a [`Plan`].
    pub(crate) fn needs_tiles(&self) -> bool {
        self.attention.needs_tiles()
    }

    /// Whether a row's bits are the same whatever rows are beside it.
    pub(crate) fn keeps_rows_apart(&self) -> bool {
        self.attention.keeps_rows_apart() && self.feed_forward.keeps_rows_apart()
    }

    /// `[rows, hidden]` to the same, writing the rows' keys and values to the cache.
    pub(crate) fn forward(&mut self, rows: &Tensor, plan: &Plan, lora: Lora) -> Result<Tensor> {
        let factor = self.factor;
        let add = |rows: &Tensor, new: Tensor| match factor {
            Some(factor) => added((new * factor)?, rows),
            None => added(new, rows),
        };
        match &self.norms {
            Norms::Sequential {
                attention,
                feed_forward,
            } => {
                let new = self
                    .attention
                    .forward(&attention.forward(rows)?, plan, lora)?;
                let rows = add(rows, new)?;
                let new = self
                    .feed_forward
                    .forward(&feed_forward.forward(&rows)?, lora)?;
                add(&rows, new)
            }
            Norms::Sandwiched {
                attention: [before, after],
                feed_forward: [next_before, next_after],
            } => {
                let new = self.attention.forward(&before.forward(rows)?, plan, lora)?;
                let rows = add(rows, after.forward(&new)?)?;
                let new = self
                    .feed_forward
                    .forward(&next_before.forward(&rows)?, lora)?;
                add(&rows, next_after.forward(&new)?)
            }
            Norms::Parallel(norm) => {
                let normed = norm.forward(rows)?;
                let new = self.attention.forward(&normed, plan, lora)?;
                let new = added(new, &self.feed_forward.forward(&normed, lora)?)?;
                add(rows, new)
            }
        }
    }
}
