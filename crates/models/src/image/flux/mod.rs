//! FLUX.1's transformer (Black Forest Labs 2024; Esser et al. 2024), which says where a noisy picture
//! flows.
//!
//! Names are those of diffusers' `FluxTransformer2DModel`, or of the authors' own file.

mod blocks;
mod config;
mod rope;

use candle_core::{D, Result, Tensor};

use blocks::{Double, Single, Sizes, modulated};
pub(super) use config::FluxConfig;
use config::is_original;
use rope::Rotation;

use super::linear::Linear;
use super::source::{Home, Source, open};
use super::time::{Embedder, waves};
use crate::checkpoint::Checkpoint;
use crate::load::{Files, LoadError};

/// The authors' own file.
const SINGLE_FILE: &str = "flux1-schnell.safetensors";
/// Waves of a moment, which is counted in thousandths.
const WAVES: usize = 256;

pub(super) struct Flux {
    pub(super) config: FluxConfig,
    time: Embedder,
    pooled: Embedder,
    text: Linear,
    picture: Linear,
    doubles: Vec<Double>,
    singles: Vec<Single>,
    modulation: Linear,
    /// Whether the modulation shifts first and then scales, as the authors' file has it.
    shifts_first: bool,
    out: Linear,
}

/// What the pictures of a batch are made of.
#[derive(Debug, Clone)]
pub(super) struct Condition {
    /// `[batch, tokens, joint_attention_dim]`.
    pub(super) text: Tensor,
    /// `[batch, pooled_projection_dim]`.
    pub(super) pooled: Tensor,
}

impl Condition {
    /// Several as one batch, in order.
    pub(super) fn joined(all: &[&Self]) -> Result<Self> {
        let texts: Vec<_> = all.iter().map(|one| &one.text).collect();
        let pooled: Vec<_> = all.iter().map(|one| &one.pooled).collect();
        Ok(Self {
            text: Tensor::cat(&texts, 0)?,
            pooled: Tensor::cat(&pooled, 0)?,
        })
    }
}

/// The transformer's file, in one of its two layouts.
pub(super) fn checkpoint(files: &Files) -> std::result::Result<Checkpoint, LoadError> {
    if files.has(SINGLE_FILE) {
        Checkpoint::open_files(files, &[SINGLE_FILE.to_owned()])
    } else {
        open(files, "transformer", "diffusion_pytorch_model")
    }
}

impl Flux {
    /// Loads `flux1-schnell.safetensors`, or `transformer`.
    pub(super) fn load(files: &Files, home: &Home) -> std::result::Result<Self, LoadError> {
        let config = FluxConfig::read(files)?;
        let checkpoint = checkpoint(files)?;
        let original = is_original(&checkpoint);
        let top = Source::new(&checkpoint, home);
        let hidden = config.hidden();
        let sizes = Sizes {
            hidden,
            heads: config.num_attention_heads,
        };
        let name = |of_diffusers: &'static str, of_authors: &'static str| {
            top.at(if original { of_authors } else { of_diffusers })
        };
        let layers = if original {
            ["in_layer", "out_layer"]
        } else {
            ["linear_1", "linear_2"]
        };
        let time = name("time_text_embed.timestep_embedder", "time_in");
        let pooled = name("time_text_embed.text_embedder", "vector_in");
        let doubles = name("transformer_blocks", "double_blocks");
        let singles = name("single_transformer_blocks", "single_blocks");
        let modulation = name("norm_out.linear", "final_layer.adaLN_modulation.1");
        let (text, pooled_width) = (config.joint_attention_dim, config.pooled_projection_dim);
        let flux = Self {
            time: Embedder::read(&time, layers, WAVES, hidden)?,
            pooled: Embedder::read(&pooled, layers, pooled_width, hidden)?,
            text: Linear::read(&name("context_embedder", "txt_in"), text, hidden)?,
            picture: Linear::read(&name("x_embedder", "img_in"), config.in_channels, hidden)?,
            doubles: (0..config.num_layers)
                .map(|layer| Double::read(&doubles.at(layer), sizes, original))
                .collect::<std::result::Result<_, _>>()?,
            singles: (0..config.num_single_layers)
                .map(|layer| Single::read(&singles.at(layer), sizes, original))
                .collect::<std::result::Result<_, _>>()?,
            modulation: Linear::read(&modulation, hidden, hidden * 2)?,
            shifts_first: original,
            out: Linear::read(
                &name("proj_out", "final_layer.linear"),
                hidden,
                config.outputs(),
            )?,
            config,
        };
        top.finish(&[])?;
        Ok(flux)
    }

    /// Packed latents `[batch, rows * columns, in_channels]`, each at a moment of its own of 0 to 1000, to where
    /// they flow, `[batch, rows * columns, out_channels]`.
    pub(super) fn forward(
        &self,
        latents: &Tensor,
        moments: &[f32],
        condition: &Condition,
        size: (usize, usize),
    ) -> Result<Tensor> {
        let (device, dtype) = (latents.device(), latents.dtype());
        let waves = waves(moments, WAVES, device)?;
        let time = self.time.forward(&waves, dtype)?;
        let moment = (time + self.pooled.forward(&condition.pooled, dtype)?)?;
        let length = condition.text.dim(1)?;
        let rotation = Rotation::new(&self.config.axes_dims_rope, length, size, device)?;
        let mut picture = self.picture.forward(latents)?;
        let mut text = self.text.forward(&condition.text)?;
        for block in &self.doubles {
            (picture, text) = block.forward((&picture, &text), &moment, &rotation)?;
        }
        let mut both = Tensor::cat(&[text, picture], 1)?;
        for block in &self.singles {
            both = block.forward(&both, &moment, &rotation)?;
        }
        let picture = both.narrow(1, length, latents.dim(1)?)?;
        let said = self.modulation.forward(&moment.silu()?)?.unsqueeze(1)?;
        let said = said.chunk(2, D::Minus1)?;
        let (shift, scale) = if self.shifts_first {
            (&said[0], &said[1])
        } else {
            (&said[1], &said[0])
        };
        self.out.forward(&modulated(&picture, shift, scale)?)
    }
}

/// Latents `[batch, channels, height, width]` as places of two by two, `[batch, height / 2 * width / 2,
/// channels * 4]`.
pub(super) fn packed(latents: &Tensor) -> Result<Tensor> {
    let (batch, channels, height, width) = latents.dims4()?;
    latents
        .reshape((batch, channels, height / 2, 2, width / 2, 2))?
        .permute((0, 2, 4, 1, 3, 5))?
        .reshape((batch, height / 2 * (width / 2), channels * 4))
}

/// The way back, to so many rows and columns of places.
pub(super) fn unpacked(latents: &Tensor, (rows, columns): (usize, usize)) -> Result<Tensor> {
    let (batch, _, channels) = latents.dims3()?;
    latents
        .reshape((batch, rows, columns, channels / 4, 2, 2))?
        .permute((0, 3, 1, 4, 2, 5))?
        .reshape((batch, channels / 4, rows * 2, columns * 2))
}
