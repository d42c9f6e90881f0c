//! A mixture of experts on flat rows: a router chooses a few feed-forwards for each token
//! (Shazeer et al. 2017; transformers' `modeling_mixtral.py`, `modeling_qwen2_moe.py`,
//! `modeling_gpt_oss.py`).

use candle_core::{DType, IndexOp, Result, Tensor};
use candle_nn::ops::{sigmoid, softmax_last_dim};

use super::config::{self, DecoderConfig};
use super::feed_forward::{Dense, Shape};
use super::layout::{ExpertTensors, Trio};
use super::lora::Lora;
use super::source::{Matrix, Scope};
use crate::gguf::Part;
use crate::linear::Linear;
use crate::load::LoadError;

/// 4-bit floats that share an exponent.
const FLOAT4_GROUP: usize = 32;

/// The experts of a layer.
#[derive(Debug)]
pub(crate) struct Experts {
    router: Linear,
    all: Vec<Dense>,
    used: usize,
    normalised: bool,
    shared: Option<Shared>,
}

/// An expert that every token goes through, behind a gate of its own.
#[derive(Debug)]
struct Shared {
    expert: Dense,
    gate: Linear,
}

/// The rows that go through one expert, and what its output counts for each.
#[derive(Debug, Default, Clone)]
struct Share {
    rows: Vec<u32>,
    weights: Vec<f32>,
}

impl Experts {
    pub(crate) fn load(
        scope: &Scope,
        config: &DecoderConfig,
        experts: &config::Experts,
    ) -> std::result::Result<Self, LoadError> {
        let (layout, hidden) = (scope.layout(), config.hidden);
        let feed_forward = config::FeedForward {
            bias: experts.bias,
            ..config.feed_forward
        };
        let one = |prefix: &str, names: Trio, inner: usize, part: Option<Part>| {
            let shape = Shape {
                prefix,
                names,
                hidden,
                inner,
                part,
            };
            Dense::load(scope, shape, feed_forward)
        };
        let (count, inner) = (experts.count, experts.intermediate);
        let loaded = match layout.experts {
            ExpertTensors::Separate(prefix, names) => (0..count)
                .map(|index| one(&format!("{prefix}.{index}."), names, inner, None))
                .collect::<std::result::Result<_, _>>()?,
            ExpertTensors::Stacked(names) => (0..count)
                .map(|index| one("", names, inner, Some(Part { index, count })))
                .collect::<std::result::Result<_, _>>()?,
            ExpertTensors::Transposed { gate_up, down } => {
                transposed(scope, config, experts, [gate_up, down])?
            }
        };
        let router = Matrix {
            name: layout.router,
            inner: hidden,
            outer: count,
            bias: experts.bias,
            part: None,
        };
        let shared = experts.shared.map(|inner| {
            Ok(Shared {
                expert: one("", layout.shared, inner, None)?,
                gate: scope.single(layout.shared_gate, hidden)?,
            })
        });
        Ok(Self {
            router: scope.linear(router)?,
            all: loaded,
            used: experts.used,
            normalised: experts.normalised,
            shared: shared.transpose()?,
        })
    }

    /// Whether a row's bits are the same whatever rows are beside it.
    pub(crate) fn keeps_rows_apart(&self) -> bool {
        let shared =
            |shared: &Shared| shared.gate.keeps_rows_apart() && shared.expert.keeps_rows_apart();
        self.router.keeps_rows_apart()
            && self.all.iter().all(Dense::keeps_rows_apart)
            && self.shared.as_ref().is_none_or(shared)
    }

    /// `[rows, hidden]` to the same. A row's experts are added in their order, whatever rows are
    /// beside it.
    pub(crate) fn forward(&self, rows: &Tensor) -> Result<Tensor> {
        let mut sum = match &self.shared {
            Some(shared) => {
                let gate = sigmoid(&shared.gate.forward(rows)?)?;
                shared
                    .expert
                    .forward(rows, Lora::NONE)?
                    .broadcast_mul(&gate)?
            }
            None => rows.zeros_like()?,
        };
        for (expert, share) in self.all.iter().zip(self.shares(rows)?) {
            if share.rows.is_empty() {
                continue;
            }
            let count = share.rows.len();
            let chosen = Tensor::from_vec(share.rows, count, rows.device())?;
            let weights = Tensor::from_vec(share.weights, (count, 1), rows.device())?;
            let out = expert.forward(&rows.index_select(&chosen, 0)?, Lora::NONE)?;
            let out = out.broadcast_mul(&weights.to_dtype(out.dtype())?)?;
            sum = sum.index_add(&chosen, &out, 0)?;
        }
        Ok(sum)
    }

    /// Who goes where.
    fn shares(&self, rows: &Tensor) -> Result<Vec<Share>> {
        let scores = self.router.forward(rows)?.to_dtype(DType::F32)?;
        let chances = softmax_last_dim(&scores)?.to_vec2::<f32>()?;
        let mut shares = vec![Share::default(); self.all.len()];
        for (row, chances) in chances.iter().enumerate() {
            let mut order: Vec<usize> = (0..chances.len()).collect();
            // Stable: of equals the first counts.
            order.sort_by(|a, b| chances[*b].total_cmp(&chances[*a]));
            order.truncate(self.used);
            let total: f32 = order.iter().map(|expert| chances[*expert]).sum();
            let divisor = if self.normalised { total } else { 1.0 };
            for expert in order {
                shares[expert].rows.push(row as u32);
                shares[expert].weights.push(chances[expert] / divisor);
            }
        }
        Ok(shares)
    }
}

/// GPT-OSS: `[experts, in, out]`, the columns of gate and up in turns.
fn transposed(
    scope: &Scope,
    config: &DecoderConfig,
    experts: &config::Experts,
    [gate_up, down]: [&str; 2],
) -> std::result::Result<Vec<Dense>, LoadError> {
    let (count, inner, hidden) = (experts.count, experts.intermediate, config.hidden);
    if let Some(loaded) = floats4(scope, config, experts, [gate_up, down])? {
        return Ok(loaded);
    }
    let wide = scope.tensor(gate_up, &[count, hidden, 2 * inner])?;
    let wide_bias = scope.tensor(&format!("{gate_up}_bias"), &[count, 2 * inner])?;
    let narrow = scope.tensor(down, &[count, inner, hidden])?;
    let narrow_bias = scope.tensor(&format!("{down}_bias"), &[count, hidden])?;
    let expert = |index: usize| -> Result<Dense> {
        let wide = wide.i(index)?.reshape((hidden, inner, 2))?;
        let wide_bias = wide_bias.i(index)?.reshape((inner, 2))?;
        let half = |which: usize| -> Result<Linear> {
            let weight = wide.i((.., .., which))?.t()?.contiguous()?;
            let bias = wide_bias.i((.., which))?.contiguous()?;
            Ok(Linear::new(weight, Some(bias)))
        };
        let weight = narrow.i(index)?.t()?.contiguous()?;
        Ok(Dense {
            gate: Some(half(0)?),
            up: half(1)?,
            down: Linear::new(weight, Some(narrow_bias.i(index)?.contiguous()?)),
            activation: config.feed_forward.activation,
        })
    };
    (0..count)
        .map(|index| expert(index).map_err(|error| LoadError::device(&error)))
        .collect()
}

/// The same in 4-bit floats: `gate_up_proj_blocks`, `[experts, 2 * inner, hidden / 32, 16]`, two codes in
/// a byte, and `gate_up_proj_scales`, an exponent for 32; the rows of gate and up in turns. `None`: the
/// checkpoint has floats.
fn floats4(
    scope: &Scope,
    config: &DecoderConfig,
    experts: &config::Experts,
    [gate_up, down]: [&str; 2],
) -> std::result::Result<Option<Vec<Dense>>, LoadError> {
    let (count, inner, hidden) = (experts.count, experts.intermediate, config.hidden);
    let blocks = |name: &str, [outer, inner]: [usize; 2]| {
        let groups = inner / FLOAT4_GROUP;
        let codes = scope.bytes(
            &format!("{name}_blocks"),
            &[count, outer, groups, FLOAT4_GROUP / 2],
        )?;
        let scales = scope.bytes(&format!("{name}_scales"), &[count, outer, groups])?;
        Ok::<_, LoadError>(
            codes
                .zip(scales)
                .map(|(codes, scales)| ggml(&codes, &scales)),
        )
    };
    let Some(wide) = blocks(gate_up, [2 * inner, hidden])? else {
        return Ok(None);
    };
    let Some(narrow) = blocks(down, [hidden, inner])? else {
        return Ok(None);
    };
    let wide_bias = scope.tensor(&format!("{gate_up}_bias"), &[count, 2 * inner])?;
    let narrow_bias = scope.tensor(&format!("{down}_bias"), &[count, hidden])?;
    let row = wide.len() / count / (2 * inner);
    if row == 0 {
        return scope.floats4(&[], [inner, hidden], None).map(|_| None); // which says what is wrong
    }
    let expert = |index: usize| {
        let wide = &wide[index * 2 * inner * row..][..2 * inner * row];
        let half = |which: usize| {
            let bias = wide_bias
                .i(index)
                .and_then(|bias| bias.reshape((inner, 2)))
                .and_then(|bias| bias.i((.., which))?.contiguous())
                .map_err(|error| LoadError::device(&error))?;
            let rows = wide.chunks_exact(row).skip(which).step_by(2);
            let rows: Vec<u8> = rows.flatten().copied().collect();
            scope.floats4(&rows, [inner, hidden], Some(bias))
        };
        let size = narrow.len() / count;
        let bias = narrow_bias.i(index).and_then(|bias| bias.contiguous());
        let bias = bias.map_err(|error| LoadError::device(&error))?;
        Ok(Dense {
            gate: Some(half(0)?),
            up: half(1)?,
            down: scope.floats4(&narrow[index * size..][..size], [hidden, inner], Some(bias))?,
            activation: config.feed_forward.activation,
        })
    };
    (0..count)
        .map(expert)
        .collect::<std::result::Result<_, _>>()
        .map(Some)
}

/// llama.cpp's blocks: an exponent, and 16 bytes whose low halves are the first 16 codes and whose
/// high halves the others. In the checkpoint a byte holds neighbours.
fn ggml(codes: &[u8], scales: &[u8]) -> Vec<u8> {
    let mut blocks = Vec::with_capacity(codes.len() + scales.len());
    for (codes, scale) in codes.chunks_exact(FLOAT4_GROUP / 2).zip(scales) {
        blocks.push(*scale);
        let code = |index: usize| codes[index / 2] >> (4 * (index % 2)) & 15;
        blocks.extend((0..FLOAT4_GROUP / 2).map(|low| code(low) | code(low + 16) << 4));
    }
    blocks
}
