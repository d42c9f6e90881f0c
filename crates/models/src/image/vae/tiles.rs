//! Decoding and encoding by tiles that overlap and fade into each other, in the way of diffusers.

use candle_core::{Device, Result, Tensor};

/// The share of a tile that its neighbour covers, too.
const OVERLAP: f64 = 0.25;

/// What a latent is in the tensor that is read, and in the one that is made: so many numbers of a side, 1 or the pixels
/// of a latent's side.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    pub(super) from: usize,
    pub(super) to: usize,
}

/// Latents to a picture, or a picture to latents, both `[1, channels, height, width]`, in tiles of so many latents of a
/// side, each of which `half` turns into the other.
pub(super) fn turned(
    whole: &Tensor,
    side: usize,
    Scale { from, to }: Scale,
    half: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let (_, _, height, width) = whole.dims4()?;
    let (height, width) = (height / from, width / from);
    if height <= side && width <= side {
        return half(whole);
    }
    let stride = ((side as f64 * (1.0 - OVERLAP)) as usize).max(1);
    let fade = (side - stride) * to;
    let kept = stride * to;
    let mut above: Vec<Tensor> = Vec::new();
    let mut rows = Vec::new();
    for top in (0..height).step_by(stride) {
        let (mut row, mut shown): (Vec<Tensor>, Vec<Tensor>) = (Vec::new(), Vec::new());
        for (column, left) in (0..width).step_by(stride).enumerate() {
            let (tall, wide) = (side.min(height - top), side.min(width - left));
            let tile =
                whole
                    .narrow(2, top * from, tall * from)?
                    .narrow(3, left * from, wide * from)?;
            let mut tile = half(&tile)?;
            if let Some(neighbour) = above.get(column) {
                tile = faded(neighbour, &tile, 2, fade)?;
            }
            if let Some(neighbour) = row.last() {
                tile = faded(neighbour, &tile, 3, fade)?;
            }
            let (_, _, tall, wide) = tile.dims4()?;
            shown.push(
                tile.narrow(2, 0, kept.min(tall))?
                    .narrow(3, 0, kept.min(wide))?,
            );
            row.push(tile);
        }
        above = row;
        rows.push(Tensor::cat(&shown, 3)?);
    }
    let turned = Tensor::cat(&rows, 2)?;
    turned.narrow(2, 0, height * to)?.narrow(3, 0, width * to)
}

/// `tile` with its first rows or columns mixed with the last ones of `before`.
fn faded(before: &Tensor, tile: &Tensor, axis: usize, fade: usize) -> Result<Tensor> {
    let (length, before_length) = (tile.dim(axis)?, before.dim(axis)?);
    let fade = fade.min(length).min(before_length);
    if fade == 0 {
        return Ok(tile.clone());
    }
    let old = before.narrow(axis, before_length - fade, fade)?;
    let new = tile.narrow(axis, 0, fade)?;
    let weight = weights(fade, axis, tile.device())?;
    let mixed = (&old + (new - &old)?.broadcast_mul(&weight)?)?;
    Tensor::cat(&[mixed, tile.narrow(axis, fade, length - fade)?], axis)
}

/// From 0 towards 1 along an axis.
fn weights(fade: usize, axis: usize, device: &Device) -> Result<Tensor> {
    let weights: Vec<f32> = (0..fade).map(|index| index as f32 / fade as f32).collect();
    let mut shape = [1; 4];
    shape[axis] = fade;
    Tensor::from_vec(weights, fade, device)?.reshape(&shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(height: usize, width: usize) -> Tensor {
        let numbers: Vec<f32> = (0..2 * height * width)
            .map(|number| (number % 97) as f32)
            .collect();
        Tensor::from_vec(numbers, (1, 2, height, width), &Device::Cpu).expect("numbers")
    }

    /// What a half that looks at one latent only makes by tiles is what it makes at once.
    #[test]
    fn tiles_of_a_local_half_are_the_whole() {
        let decoder = |x: &Tensor| {
            let (_, _, height, width) = x.dims4()?;
            x.upsample_nearest2d(height * 4, width * 4)
        };
        let encoder = |x: &Tensor| x.avg_pool2d(4);
        let check = |x: &Tensor, scale, half: &dyn Fn(&Tensor) -> Result<Tensor>| {
            let whole = half(x).expect("whole");
            for side in [4, 8, 12, 64] {
                let tiled = turned(x, side, scale, half).expect("tiled");
                assert_eq!(tiled.dims(), whole.dims(), "tiles of {side}");
                let off = (tiled - &whole).and_then(|off| off.abs()?.max_all()?.to_scalar::<f32>());
                assert!(off.expect("a number") < 1e-4, "tiles of {side}");
            }
        };
        check(&numbers(13, 22), Scale { from: 1, to: 4 }, &decoder);
        check(&numbers(52, 88), Scale { from: 4, to: 1 }, &encoder);
    }
}
