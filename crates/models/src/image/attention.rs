//! Scaled dot-product attention in bounded memory: a share of the queries at a time.

use candle_core::{CpuStorage, Result, Storage, Tensor};
use candle_nn::ops::softmax_last_dim;
use kernels::{Backend, Crossed, Side};

use crate::floats::on_cpu;

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

/// Queries, keys and values `[batch, length, heads * width]` to what is attended, likewise.
pub(super) fn attend_rows(three: [&Tensor; 3], heads: usize, scale: f64) -> Result<Tensor> {
    if on_cpu(three[0]) {
        let headed = three.map(|x| -> Result<Tensor> {
            let (batch, length, hidden) = x.dims3()?;
            x.reshape((batch, length, heads, hidden / heads))?
                .transpose(1, 2)
        });
        let [queries, keys, values] = headed;
        return crossed([&queries?, &keys?, &values?], scale);
    }
    let [queries, keys, values] = three.map(|x| split(x, heads));
    join(&attend(&queries?, &keys?, &values?, scale, None)?)
}

/// The same of `[batch, heads, length, width]`, to `[batch, length, heads * width]`.
pub(super) fn attend_heads(three: [&Tensor; 3], scale: f64) -> Result<Tensor> {
    if on_cpu(three[0]) {
        return crossed(three, scale);
    }
    join(&attend(three[0], three[1], three[2], scale, None)?)
}

/// On the CPU, wherever the heads lie.
fn crossed(three: [&Tensor; 3], scale: f64) -> Result<Tensor> {
    let (batch, heads, length, size) = three[0].dims4()?;
    let width = heads * size;
    let keys = three[1].dim(2)?;
    if three[1].dims() != [batch, heads, keys, size] || three[2].dims() != three[1].dims() {
        candle_core::bail!("queries, keys and values do not fit each other");
    }
    let held = three.map(Tensor::storage_and_layout);
    let side = |index: usize, picture: usize| -> Result<Side<'_>> {
        let (storage, layout) = &held[index];
        let (Storage::Cpu(CpuStorage::F32(values)), &[step, head, row, 1]) =
            (&**storage, layout.stride())
        else {
            candle_core::bail!("numbers of a head that do not lie in order");
        };
        Ok(Side {
            values: &values[layout.start_offset() + picture * step..],
            rows: layout.dims()[2],
            row,
            head,
        })
    };
    let crossed = Crossed {
        heads,
        size,
        scale: scale as f32,
    };
    let mut out = vec![0.0; batch * length * width];
    for (picture, out) in out.chunks_exact_mut(length * width).enumerate() {
        let both = [side(1, picture)?, side(2, picture)?];
        crossed.run(side(0, picture)?, both, out, Backend::best());
    }
    Tensor::from_vec(out, (batch, length, width), three[0].device())
}
