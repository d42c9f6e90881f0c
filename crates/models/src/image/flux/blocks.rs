//! The two kinds of blocks: picture and text side by side, and both as one sequence.

use candle_core::{D, Result, Tensor};

use super::rope::Rotation;
use crate::image::activation::Activation;
use crate::image::attention::{attend_heads, split};
use crate::image::linear::Linear;
use crate::image::norm::{RmsNorm, standard};
use crate::image::source::Source;
use crate::load::LoadError;

/// The epsilon of all norms.
pub(super) const EPSILON: f64 = 1e-6;

type Read<T> = std::result::Result<T, LoadError>;

/// The sizes of a block.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) hidden: usize,
    pub(super) heads: usize,
}

impl Sizes {
    fn head(self) -> usize {
        self.hidden / self.heads
    }

    fn inner(self) -> usize {
        self.hidden * 4
    }
}

/// A norm without weights, scaled and shifted by what time and prompt say.
pub(super) fn modulated(x: &Tensor, shift: &Tensor, scale: &Tensor) -> Result<Tensor> {
    let normal = standard(x, EPSILON)?;
    normal.broadcast_mul(&(scale + 1.0)?)?.broadcast_add(shift)
}

/// What time and prompt say to a block, in so many parts `[batch, 1, hidden]`.
fn parts(layer: &Linear, moment: &Tensor, count: usize) -> Result<Vec<Tensor>> {
    layer
        .forward(&moment.silu()?)?
        .unsqueeze(1)?
        .chunk(count, D::Minus1)
}

/// Queries and keys of a stream, normalised, and its values, by head.
struct Projections {
    layer: Linear,
    queries: RmsNorm,
    keys: RmsNorm,
}

impl Projections {
    /// `x` `[batch, length, 3 * hidden]`, projected already.
    fn split(&self, projected: &[Tensor], heads: usize) -> Result<[Tensor; 3]> {
        Ok([
            self.queries.forward(&split(&projected[0], heads)?)?,
            self.keys.forward(&split(&projected[1], heads)?)?,
            split(&projected[2], heads)?,
        ])
    }
}

/// One of the two streams of a double block.
struct Stream {
    modulation: Linear,
    projections: Projections,
    out: Linear,
    inner: Linear,
    outer: Linear,
}

/// The names of a stream's parts.
struct Names {
    modulation: &'static str,
    projections: &'static [&'static str],
    queries: &'static str,
    keys: &'static str,
    out: &'static str,
    inner: &'static str,
    outer: &'static str,
}

const PICTURE: Names = Names {
    modulation: "norm1.linear",
    projections: &["attn.to_q", "attn.to_k", "attn.to_v"],
    queries: "attn.norm_q.weight",
    keys: "attn.norm_k.weight",
    out: "attn.to_out.0",
    inner: "ff.net.0.proj",
    outer: "ff.net.2",
};
const TEXT: Names = Names {
    modulation: "norm1_context.linear",
    projections: &["attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"],
    queries: "attn.norm_added_q.weight",
    keys: "attn.norm_added_k.weight",
    out: "attn.to_add_out",
    inner: "ff_context.net.0.proj",
    outer: "ff_context.net.2",
};
/// The same in the authors' file, where one layer makes all three.
const ORIGINAL_PICTURE: Names = Names {
    modulation: "img_mod.lin",
    projections: &["img_attn.qkv"],
    queries: "img_attn.norm.query_norm.scale",
    keys: "img_attn.norm.key_norm.scale",
    out: "img_attn.proj",
    inner: "img_mlp.0",
    outer: "img_mlp.2",
};
const ORIGINAL_TEXT: Names = Names {
    modulation: "txt_mod.lin",
    projections: &["txt_attn.qkv"],
    queries: "txt_attn.norm.query_norm.scale",
    keys: "txt_attn.norm.key_norm.scale",
    out: "txt_attn.proj",
    inner: "txt_mlp.0",
    outer: "txt_mlp.2",
};

fn projections(
    source: &Source<'_>,
    names: &Names,
    sizes: Sizes,
    more: Option<(&str, usize)>,
) -> Read<Projections> {
    let hidden = sizes.hidden;
    let each = hidden * 3 / names.projections.len();
    let mut sources: Vec<_> = names
        .projections
        .iter()
        .map(|name| source.at(name))
        .collect();
    let mut outputs = vec![each; sources.len()];
    if let Some((name, width)) = more {
        if names.projections.len() == 1 {
            outputs[0] += width; // the authors' layer makes it, too
        } else {
            sources.push(source.at(name));
            outputs.push(width);
        }
    }
    Ok(Projections {
        layer: Linear::joined(&sources, hidden, &outputs)?,
        queries: RmsNorm::read(source, names.queries, sizes.head(), EPSILON)?,
        keys: RmsNorm::read(source, names.keys, sizes.head(), EPSILON)?,
    })
}

impl Stream {
    fn read(source: &Source<'_>, names: &Names, sizes: Sizes) -> Read<Self> {
        let Sizes { hidden, .. } = sizes;
        Ok(Self {
            modulation: Linear::read(&source.at(names.modulation), hidden, hidden * 6)?,
            projections: projections(source, names, sizes, None)?,
            out: Linear::read(&source.at(names.out), hidden, hidden)?,
            inner: Linear::read(&source.at(names.inner), hidden, sizes.inner())?,
            outer: Linear::read(&source.at(names.outer), sizes.inner(), hidden)?,
        })
    }

    fn ended(&self, x: &Tensor, attended: &Tensor, said: &[Tensor]) -> Result<Tensor> {
        let x = (x + self.out.forward(attended)?.broadcast_mul(&said[2])?)?;
        let inner = self.inner.forward(&modulated(&x, &said[3], &said[4])?)?;
        let outer = self.outer.forward(&Activation::GeluTanh.forward(&inner)?)?;
        x + outer.broadcast_mul(&said[5])?
    }
}

/// Picture and text with weights of their own, and one attention over both.
pub(super) struct Double {
    picture: Stream,
    text: Stream,
    heads: usize,
}

impl Double {
    pub(super) fn read(source: &Source<'_>, sizes: Sizes, is_original: bool) -> Read<Self> {
        let (picture, text) = if is_original {
            (ORIGINAL_PICTURE, ORIGINAL_TEXT)
        } else {
            (PICTURE, TEXT)
        };
        Ok(Self {
            picture: Stream::read(source, &picture, sizes)?,
            text: Stream::read(source, &text, sizes)?,
            heads: sizes.heads,
        })
    }

    /// Picture and text `[batch, length, hidden]`, as they came.
    pub(super) fn forward(
        &self,
        (picture, text): (&Tensor, &Tensor),
        moment: &Tensor,
        rotation: &Rotation,
    ) -> Result<(Tensor, Tensor)> {
        let project = |stream: &Stream, x: &Tensor, said: &[Tensor]| {
            let layer = &stream.projections.layer;
            let three = layer.forward(&modulated(x, &said[0], &said[1])?)?;
            let three = three.chunk(3, D::Minus1)?;
            stream.projections.split(&three, self.heads)
        };
        let of_text = parts(&self.text.modulation, moment, 6)?;
        let of_picture = parts(&self.picture.modulation, moment, 6)?;
        let first = project(&self.text, text, &of_text)?;
        let second = project(&self.picture, picture, &of_picture)?;
        let both = |index: usize| Tensor::cat(&[&first[index], &second[index]], 2);
        let attended = attended(&both(0)?, &both(1)?, &both(2)?, rotation)?;
        let length = text.dim(1)?;
        let to_text = attended.narrow(1, 0, length)?;
        let to_picture = attended.narrow(1, length, picture.dim(1)?)?;
        Ok((
            self.picture.ended(picture, &to_picture, &of_picture)?,
            self.text.ended(text, &to_text, &of_text)?,
        ))
    }
}

fn attended(
    queries: &Tensor,
    keys: &Tensor,
    values: &Tensor,
    rotation: &Rotation,
) -> Result<Tensor> {
    let scale = (queries.dim(D::Minus1)? as f64).sqrt().recip();
    let (queries, keys) = (rotation.turn(queries)?, rotation.turn(keys)?);
    attend_heads([&queries, &keys, values], scale)
}

const SINGLE: Names = Names {
    modulation: "norm.linear",
    projections: &["attn.to_q", "attn.to_k", "attn.to_v"],
    queries: "attn.norm_q.weight",
    keys: "attn.norm_k.weight",
    out: "proj_out",
    inner: "proj_mlp",
    outer: "",
};
const ORIGINAL_SINGLE: Names = Names {
    modulation: "modulation.lin",
    projections: &["linear1"],
    queries: "norm.query_norm.scale",
    keys: "norm.key_norm.scale",
    out: "linear2",
    inner: "",
    outer: "",
};

/// Text and picture as one sequence; attention and feed-forward layer side by side.
pub(super) struct Single {
    modulation: Linear,
    projections: Projections,
    out: Linear,
    sizes: Sizes,
}

impl Single {
    pub(super) fn read(source: &Source<'_>, sizes: Sizes, is_original: bool) -> Read<Self> {
        let names = if is_original { ORIGINAL_SINGLE } else { SINGLE };
        let Sizes { hidden, .. } = sizes;
        let inner = sizes.inner();
        Ok(Self {
            modulation: Linear::read(&source.at(names.modulation), hidden, hidden * 3)?,
            projections: projections(source, &names, sizes, Some((names.inner, inner)))?,
            out: Linear::read(&source.at(names.out), hidden + inner, hidden)?,
            sizes,
        })
    }

    /// `[batch, length, hidden]`, as it came.
    pub(super) fn forward(
        &self,
        x: &Tensor,
        moment: &Tensor,
        rotation: &Rotation,
    ) -> Result<Tensor> {
        let said = parts(&self.modulation, moment, 3)?;
        let all = self
            .projections
            .layer
            .forward(&modulated(x, &said[0], &said[1])?)?;
        let Sizes { hidden, heads } = self.sizes;
        let three = all.narrow(D::Minus1, 0, hidden * 3)?.chunk(3, D::Minus1)?;
        let inner = all.narrow(D::Minus1, hidden * 3, self.sizes.inner())?;
        let [queries, keys, values] = self.projections.split(&three, heads)?;
        let attended = attended(&queries, &keys, &values, rotation)?;
        let inner = Activation::GeluTanh.forward(&inner)?;
        let out = self
            .out
            .forward(&Tensor::cat(&[attended, inner], D::Minus1)?)?;
        x + out.broadcast_mul(&said[2])?
    }
}
