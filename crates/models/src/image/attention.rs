//! Scaled dot-product attention in bounded memory: a share of the queries at a time.

use candle_core::{Result, Tensor};
use candle_nn::ops::softmax_last_dim;

/// Bytes of scores that are there at once, in single precision.
pub(super) const SCORES_MAX_BYTES: usize = 64 << 20;

/// `[batch, length, heads * width]` as `[batch, heads, length, width]`.
pub(super) fn split(x: &Tensor, heads: usize) -> Result<Tensor> {
    let (batch, length, hidden) = x.dims3()?;
    x.reshape((batch, length, heads, hidden / heads))?
        .transpose(1, 2)?
        .contiguous()
}

/// The way back from [`split`].
pub(super) fn join(x: &Tensor) -> Result<Tensor> {
    let (batch, heads, length, width) = x.dims4()?;
    x.transpose(1, 2)?.reshape((batch, length, heads * width))
}

/// Queries, keys and values `[batch, heads, length, width]` to what is attended,
/// `[batch, heads, length, width]`. `bias`, `[1, 1 or heads, queries, keys]`, is added to the scores.
pub(super) fn attend(
    queries: &Tensor,
    keys: &Tensor,
    values: &Tensor,
    scale: f64,
    bias: Option<&Tensor>,
) -> Result<Tensor> {
    let (batch, heads, length, _) = queries.dims4()?;
    let row_bytes = batch * heads * keys.dim(2)? * size_of::<f32>();
    let chunk = (SCORES_MAX_BYTES / row_bytes.max(1)).clamp(1, length.max(1));
    let keys = keys.t()?;
    let queries = (queries * scale)?;
    let mut attended = Vec::with_capacity(length.div_ceil(chunk));
    for start in (0..length).step_by(chunk) {
        let rows = chunk.min(length - start);
        let mut scores = queries
            .narrow(2, start, rows)?
            .contiguous()?
            .matmul(&keys)?;
        if let Some(bias) = bias {
            scores = scores.broadcast_add(&bias.narrow(2, start, rows)?)?;
        }
        attended.push(softmax_last_dim(&scores)?.matmul(values)?);
    }
    Tensor::cat(&attended, 2)
}
