//! The autoencoder (Kingma and Welling 2014; Esser et al. 2021) between pictures and latents.
//!
//! Names are those of diffusers' `AutoencoderKL`; the authors' own names are read, too.

mod config;
mod names;
mod tiles;

use candle_core::{DType, Result, Tensor};

pub(super) use config::VaeConfig;
use tiles::{Scale, turned};

use super::attention::attend_rows;
use super::convolution::{Convolution, Kernel};
use super::linear::Linear;
use super::norm::GroupNorm;
use super::resnet::{Resnet, Sizes};
use super::source::{Home, Source};
use crate::checkpoint::Checkpoint;
use crate::load::{Files, LoadError};

/// The epsilon of its norms in diffusers.
const EPSILON: f64 = 1e-6;
/// A tensor that only files with the authors' names have.
const ORIGINAL_MARK: &str = "decoder.mid.block_1.norm1.weight";
/// One that only files of before diffusers 0.18 have.
const DEPRECATED_MARK: &str = "decoder.mid_block.attentions.0.query.weight";

/// The attention in the middle, of one head.
struct Attention {
    norm: GroupNorm,
    projections: [Linear; 3],
    out: Linear,
}

struct Middle {
    before: Resnet,
    attention: Attention,
    after: Resnet,
}

struct Stage {
    blocks: Vec<Resnet>,
    resampler: Option<Convolution>,
}

/// One of the two halves, from its first convolution to its last.
struct Half {
    inward: Convolution,
    stages: Vec<Stage>,
    middle: Middle,
    norm: GroupNorm,
    outward: Convolution,
}

pub(super) struct Vae {
    pub(super) config: VaeConfig,
    encoder: Half,
    decoder: Half,
    after_encoder: Option<Convolution>,
    before_decoder: Option<Convolution>,
}

type Read<T> = std::result::Result<T, LoadError>;

/// The configuration and the tensors of `vae`, or of `ae.safetensors` beside it.
pub(super) fn opened(files: &Files) -> Read<(VaeConfig, Checkpoint)> {
    let stands_alone = files.has("ae.safetensors");
    let config = if files.path("vae").join("config.json").is_file() || !stands_alone {
        VaeConfig::read(files)?
    } else {
        VaeConfig::of_flux()
    };
    let checkpoint = if stands_alone {
        Checkpoint::open_files(files, &["ae.safetensors".to_owned()])?
    } else {
        super::source::open(files, "vae", "diffusion_pytorch_model")?
    };
    Ok((config, checkpoint))
}

impl Vae {
    /// Loads `vae`, or `ae.safetensors` beside it. It is always computed in single precision, as in half
    /// the one of SDXL overflows.
    pub(super) fn load(files: &Files, home: &Home) -> Read<Self> {
        let home = Home {
            dtype: DType::F32,
            ..home.clone()
        };
        let (config, checkpoint) = opened(files)?;
        let top = Source::new(&checkpoint, &home);
        let top = if checkpoint.has(ORIGINAL_MARK) {
            match config.block_out_channels.len() {
                4 => top.renamed(|name| names::original(name, 4)),
                levels => {
                    let detail = format!("the authors' names with {levels} levels, not 4");
                    return Err(LoadError::unsupported(checkpoint.file(), detail));
                }
            }
        } else if checkpoint.has(DEPRECATED_MARK) {
            top.renamed(names::deprecated)
        } else {
            top
        };
        let latents = config.latent_channels;
        let point = |name: &str, channels, wanted: bool| {
            wanted
                .then(|| Convolution::read(&top.at(name), channels, channels, Kernel::POINT))
                .transpose()
        };
        let vae = Self {
            encoder: Half::encoder(&top.at("encoder"), &config)?,
            decoder: Half::decoder(&top.at("decoder"), &config)?,
            after_encoder: point("quant_conv", latents * 2, config.use_quant_conv)?,
            before_decoder: point("post_quant_conv", latents, config.use_post_quant_conv)?,
            config,
        };
        top.finish(&[])?;
        Ok(vae)
    }

    /// A picture `[batch, 3, height, width]` in -1 to 1 to means and logarithms of variances,
    /// `[batch, 2 * latents, height / factor, width / factor]`.
    pub(super) fn moments(&self, picture: &Tensor) -> Result<Tensor> {
        let mut x = self.encoder.inward.forward(picture)?;
        for stage in &self.encoder.stages {
            for block in &stage.blocks {
                x = block.forward(&x, None)?;
            }
            if let Some(resampler) = &stage.resampler {
                // Padding to the right and below only.
                let padded = x.pad_with_zeros(2, 0, 1)?.pad_with_zeros(3, 0, 1)?;
                x = resampler.forward(&padded)?;
            }
        }
        let x = self.encoder.end(&self.encoder.middle.forward(&x)?)?;
        match &self.after_encoder {
            Some(convolution) => convolution.forward(&x),
            None => Ok(x),
        }
    }

    /// A picture to the latents that a model paints on: the means, shifted and scaled. Tiles as in [`Vae::decode`].
    pub(super) fn encode(&self, picture: &Tensor, tile: Option<usize>) -> Result<Tensor> {
        let scale = Scale {
            from: self.config.factor(),
            to: 1,
        };
        let moments = match tile {
            Some(side) => turned(picture, side, scale, |tile| self.moments(tile))?,
            None => self.moments(picture)?,
        };
        let means = moments.narrow(1, 0, self.config.latent_channels)?;
        let shift = self.config.shift_factor.unwrap_or(0.0);
        (means - shift)? * self.config.scaling_factor
    }

    /// The latents that a model painted on to a picture `[batch, 3, height, width]` in about -1 to 1.
    /// Tiles of so many latents of a side bound the memory; `None`: the whole picture at once.
    pub(super) fn decode(&self, latents: &Tensor, tile: Option<usize>) -> Result<Tensor> {
        let shift = self.config.shift_factor.unwrap_or(0.0);
        let latents = ((latents.to_dtype(DType::F32)? / self.config.scaling_factor)? + shift)?;
        let scale = Scale {
            from: 1,
            to: self.config.factor(),
        };
        match tile {
            Some(side) => turned(&latents, side, scale, |tile| self.raw(tile)),
            None => self.raw(&latents),
        }
    }

    /// Latents as the autoencoder itself makes them, to a picture.
    pub(super) fn raw(&self, latents: &Tensor) -> Result<Tensor> {
        let x = match &self.before_decoder {
            Some(convolution) => convolution.forward(latents)?,
            None => latents.clone(),
        };
        let mut x = self
            .decoder
            .middle
            .forward(&self.decoder.inward.forward(&x)?)?;
        for stage in &self.decoder.stages {
            for block in &stage.blocks {
                x = block.forward(&x, None)?;
            }
            if let Some(resampler) = &stage.resampler {
                let (_, _, height, width) = x.dims4()?;
                x = resampler.forward(&x.upsample_nearest2d(height * 2, width * 2)?)?;
            }
        }
        self.decoder.end(&x)
    }
}

fn resnet(source: &Source<'_>, inputs: usize, outputs: usize, config: &VaeConfig) -> Read<Resnet> {
    let sizes = Sizes {
        inputs,
        outputs,
        groups: config.norm_num_groups,
        epsilon: EPSILON,
        time: None,
    };
    Resnet::read(source, sizes)
}

impl Half {
    fn encoder(source: &Source<'_>, config: &VaeConfig) -> Read<Self> {
        let channels = &config.block_out_channels;
        let (first, last) = (channels[0], channels[channels.len() - 1]);
        let mut inputs = first;
        let mut stages = Vec::new();
        for (level, &outputs) in channels.iter().enumerate() {
            let stage = source.at("down_blocks").at(level);
            let mut blocks = Vec::new();
            for block in 0..config.layers_per_block {
                blocks.push(resnet(
                    &stage.at("resnets").at(block),
                    inputs,
                    outputs,
                    config,
                )?);
                inputs = outputs;
            }
            let half = Kernel {
                side: 3,
                stride: 2,
                padding: 0,
            };
            let resampler = (level + 1 < channels.len())
                .then(|| Convolution::read(&stage.at("downsamplers.0.conv"), inputs, inputs, half))
                .transpose()?;
            stages.push(Stage { blocks, resampler });
        }
        let latents = config.latent_channels * 2;
        Ok(Self {
            inward: Convolution::read(&source.at("conv_in"), 3, first, Kernel::SAME)?,
            stages,
            middle: Middle::read(&source.at("mid_block"), last, config)?,
            norm: GroupNorm::read(
                &source.at("conv_norm_out"),
                last,
                config.norm_num_groups,
                EPSILON,
            )?,
            outward: Convolution::read(&source.at("conv_out"), last, latents, Kernel::SAME)?,
        })
    }

    fn decoder(source: &Source<'_>, config: &VaeConfig) -> Read<Self> {
        let channels = &config.block_out_channels;
        let (first, last) = (channels[0], channels[channels.len() - 1]);
        let mut inputs = last;
        let mut stages = Vec::new();
        for (index, &outputs) in channels.iter().rev().enumerate() {
            let stage = source.at("up_blocks").at(index);
            let mut blocks = Vec::new();
            for block in 0..=config.layers_per_block {
                blocks.push(resnet(
                    &stage.at("resnets").at(block),
                    inputs,
                    outputs,
                    config,
                )?);
                inputs = outputs;
            }
            let resampler = (index + 1 < channels.len())
                .then(|| {
                    let source = stage.at("upsamplers.0.conv");
                    Convolution::read(&source, inputs, inputs, Kernel::SAME)
                })
                .transpose()?;
            stages.push(Stage { blocks, resampler });
        }
        let latents = config.latent_channels;
        Ok(Self {
            inward: Convolution::read(&source.at("conv_in"), latents, last, Kernel::SAME)?,
            stages,
            middle: Middle::read(&source.at("mid_block"), last, config)?,
            norm: GroupNorm::read(
                &source.at("conv_norm_out"),
                first,
                config.norm_num_groups,
                EPSILON,
            )?,
            outward: Convolution::read(&source.at("conv_out"), first, 3, Kernel::SAME)?,
        })
    }

    fn end(&self, x: &Tensor) -> Result<Tensor> {
        self.outward.forward(&self.norm.silu(x)?)
    }
}

impl Middle {
    fn read(source: &Source<'_>, channels: usize, config: &VaeConfig) -> Read<Self> {
        let attention = source.at("attentions.0");
        let linear = |name| Linear::read(&attention.at(name), channels, channels);
        let norm = attention.at("group_norm");
        Ok(Self {
            before: resnet(&source.at("resnets.0"), channels, channels, config)?,
            attention: Attention {
                norm: GroupNorm::read(&norm, channels, config.norm_num_groups, EPSILON)?,
                projections: [linear("to_q")?, linear("to_k")?, linear("to_v")?],
                out: linear("to_out.0")?,
            },
            after: resnet(&source.at("resnets.1"), channels, channels, config)?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.before.forward(x, None)?;
        self.after.forward(&self.attention.forward(&x)?, None)
    }
}

impl Attention {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (batch, channels, height, width) = x.dims4()?;
        let rows = self
            .norm
            .forward(x)?
            .reshape((batch, channels, height * width))?;
        let rows = rows.transpose(1, 2)?.contiguous()?;
        let [queries, keys, values] = &self.projections;
        let [queries, keys, values] = [queries, keys, values].map(|layer| layer.forward(&rows));
        let scale = (channels as f64).sqrt().recip();
        let attended = attend_rows([&queries?, &keys?, &values?], 1, scale)?;
        let rows = self.out.forward(&attended)?.transpose(1, 2)?;
        rows.reshape((batch, channels, height, width))? + x
    }
}
