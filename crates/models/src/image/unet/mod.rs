//! The UNet of latent diffusion (Rombach et al. 2022; Podell et al. 2023 for SDXL), which says what is
//! noise in a picture.
//!
//! Names are those of diffusers' `UNet2DConditionModel`.

mod config;
mod names;
mod transformer;

use candle_core::{Result, Tensor};

pub(super) use config::UnetConfig;
use transformer::{Sizes as Attention, Transformer};

use super::convolution::{Convolution, Kernel};
use super::linear::Linear;
use super::norm::GroupNorm;
use super::resnet::{Resnet, Sizes};
use super::source::{Home, Source, open};
use super::time::{Embedder, waves, waves_of_guidance};
use crate::load::{Files, LoadError};

/// What the pictures of a batch are made of: their prompts, and what SDXL reads beside them.
#[derive(Debug, Clone)]
pub(super) struct Condition {
    /// `[batch, tokens, context]`.
    pub(super) prompt: Tensor,
    /// The pooled prompts `[batch, width]`, where the model reads them.
    pub(super) pooled: Option<Tensor>,
    /// The six numbers of each picture's size, where the model reads them.
    pub(super) sizes: Vec<[f32; 6]>,
    /// How much each prompt counts, where the model reads it.
    pub(super) guidance: Vec<f32>,
}

impl Condition {
    /// Several as one batch, in order; all of one model.
    pub(super) fn joined(all: &[&Self]) -> Result<Self> {
        let prompts: Vec<_> = all.iter().map(|one| &one.prompt).collect();
        let pooled: Option<Vec<_>> = all.iter().map(|one| one.pooled.as_ref()).collect();
        Ok(Self {
            prompt: Tensor::cat(&prompts, 0)?,
            pooled: pooled.map(|pooled| Tensor::cat(&pooled, 0)).transpose()?,
            sizes: all.iter().flat_map(|one| one.sizes.clone()).collect(),
            guidance: all.iter().flat_map(|one| one.guidance.clone()).collect(),
        })
    }
}

/// One residual block and the attention after it.
struct Block {
    resnet: Resnet,
    transformer: Option<Transformer>,
}

struct Stage {
    blocks: Vec<Block>,
    /// To the next level, down or up.
    resampler: Option<Convolution>,
}

pub(super) struct Unet {
    pub(super) config: UnetConfig,
    time: Embedder,
    /// Waves of the guidance to what is added to those of the moment.
    guidance: Option<Linear>,
    addition: Option<Embedder>,
    inward: Convolution,
    down: Vec<Stage>,
    middle: (Resnet, Transformer, Resnet),
    up: Vec<Stage>,
    norm: GroupNorm,
    outward: Convolution,
}

impl Unet {
    /// Loads `unet`.
    pub(super) fn load(files: &Files, home: &Home) -> std::result::Result<Self, LoadError> {
        let config = UnetConfig::read(files)?;
        let checkpoint = open(files, "unet", "diffusion_pytorch_model")?;
        let mut top = Source::new(&checkpoint, home);
        if checkpoint.has(names::MARK) {
            let Some(blocks) = config.even_blocks() else {
                let detail = "the authors' names with levels of different numbers of blocks";
                return Err(LoadError::unsupported(checkpoint.file(), detail));
            };
            let levels = config.levels.iter().rev();
            let attends: Vec<bool> = levels.map(|level| level.up_layers > 0).collect();
            top = top.renamed(move |name| names::original(name, blocks, &attends));
        }
        let top = top;
        let (first, time) = (config.first(), config.time);
        let names = ["linear_1", "linear_2"];
        let addition = match config.addition {
            Some(addition) => {
                let source = top.at("add_embedding");
                Some(Embedder::read(&source, names, addition.width, time)?)
            }
            None => None,
        };
        let reader = Reader { config: &config };
        let (down, skips) = reader.down(&top.at("down_blocks"))?;
        let source = top.at("time_embedding");
        let unet = Self {
            time: Embedder::read(&source, names, first, time)?,
            guidance: config
                .guidance
                .map(|width| Linear::read(&source.at("cond_proj"), width, first))
                .transpose()?,
            addition,
            inward: Convolution::read(&top.at("conv_in"), config.inputs, first, Kernel::SAME)?,
            down,
            middle: reader.middle(&top.at("mid_block"))?,
            up: reader.up(&top.at("up_blocks"), skips)?,
            norm: GroupNorm::read(
                &top.at("conv_norm_out"),
                first,
                config.groups,
                config.epsilon,
            )?,
            outward: Convolution::read(&top.at("conv_out"), first, config.outputs, Kernel::SAME)?,
            config,
        };
        top.finish(&[])?;
        Ok(unet)
    }

    /// Latents `[batch, inputs, height, width]`, each at a moment of its own, to `[batch, outputs, height, width]`.
    pub(super) fn forward(
        &self,
        latents: &Tensor,
        moments: &[f32],
        condition: &Condition,
    ) -> Result<Tensor> {
        let time = self.moments(latents, moments, condition)?;
        let mut x = self.inward.forward(latents)?;
        let mut skips = vec![x.clone()];
        for stage in &self.down {
            for block in &stage.blocks {
                x = block.forward(&x, &time, &condition.prompt)?;
                skips.push(x.clone());
            }
            if let Some(resampler) = &stage.resampler {
                x = resampler.forward(&x)?;
                skips.push(x.clone());
            }
        }
        x = self.middle.0.forward(&x, Some(&time))?;
        x = self.middle.1.forward(&x, &condition.prompt)?;
        x = self.middle.2.forward(&x, Some(&time))?;
        for stage in &self.up {
            for block in &stage.blocks {
                let Some(skip) = skips.pop() else {
                    candle_core::bail!("the way up is longer than the way down");
                };
                x = block.forward(&Tensor::cat(&[&x, &skip], 1)?, &time, &condition.prompt)?;
            }
            if let (Some(resampler), Some(next)) = (&stage.resampler, skips.last()) {
                // To the size of what it meets, which is not twice as large where that was odd.
                let (_, _, height, width) = next.dims4()?;
                x = resampler.forward(&x.upsample_nearest2d(height, width)?)?;
            }
        }
        self.outward.forward(&self.norm.silu(&x)?)
    }

    fn moments(&self, latents: &Tensor, moments: &[f32], condition: &Condition) -> Result<Tensor> {
        let (device, dtype) = (latents.device(), latents.dtype());
        let mut waves_of_time = waves(moments, self.config.first(), device)?.to_dtype(dtype)?;
        if let (Some(layer), Some(width)) = (&self.guidance, self.config.guidance) {
            // Guidance that its training knew begins at 1, and is read in thousandths (Luo et al. 2023).
            let guidance = condition.guidance.iter();
            let guidance: Vec<f32> = guidance.map(|scale| (scale - 1.0) * 1000.0).collect();
            let read = waves_of_guidance(&guidance, width, device)?.to_dtype(dtype)?;
            waves_of_time = (waves_of_time + layer.forward(&read)?)?;
        }
        let time = self.time.forward(&waves_of_time, dtype)?;
        let (Some(embedder), Some(addition)) = (&self.addition, self.config.addition) else {
            return Ok(time);
        };
        let Some(pooled) = &condition.pooled else {
            candle_core::bail!("the model reads a pooled prompt, and there is none");
        };
        let sizes = waves(
            condition.sizes.as_flattened(),
            addition.number_width,
            device,
        )?;
        let sizes = sizes.reshape((moments.len(), ()))?.to_dtype(dtype)?;
        let both = Tensor::cat(&[pooled, &sizes], 1)?;
        time + embedder.forward(&both, dtype)?
    }
}

impl Block {
    fn forward(&self, x: &Tensor, time: &Tensor, prompt: &Tensor) -> Result<Tensor> {
        let x = self.resnet.forward(x, Some(time))?;
        match &self.transformer {
            Some(transformer) => transformer.forward(&x, prompt),
            None => Ok(x),
        }
    }
}

/// Reads the stages of a configuration.
struct Reader<'a> {
    config: &'a UnetConfig,
}

type Read<T> = std::result::Result<T, LoadError>;

impl Reader<'_> {
    fn resnet(&self, source: &Source<'_>, inputs: usize, outputs: usize) -> Read<Resnet> {
        let sizes = Sizes {
            inputs,
            outputs,
            groups: self.config.groups,
            epsilon: self.config.epsilon,
            time: Some(self.config.time),
        };
        Resnet::read(source, sizes)
    }

    fn transformer(&self, source: &Source<'_>, level: usize, layers: usize) -> Read<Transformer> {
        let level = self.config.levels[level];
        let sizes = Attention {
            channels: level.channels,
            heads: level.heads,
            layers,
            context: self.config.context,
            groups: self.config.groups,
            upcasts: self.config.upcasts,
        };
        Transformer::read(source, sizes)
    }

    fn block(
        &self,
        stage: &Source<'_>,
        index: usize,
        level: usize,
        inputs: usize,
        layers: usize,
    ) -> Read<Block> {
        let outputs = self.config.levels[level].channels;
        Ok(Block {
            resnet: self.resnet(&stage.at("resnets").at(index), inputs, outputs)?,
            transformer: if layers == 0 {
                None
            } else {
                Some(self.transformer(&stage.at("attentions").at(index), level, layers)?)
            },
        })
    }

    /// The stages, and the channels of what they keep for the way up.
    fn down(&self, source: &Source<'_>) -> Read<(Vec<Stage>, Vec<usize>)> {
        let mut channels = self.config.first();
        let (mut stages, mut skips) = (Vec::new(), vec![channels]);
        let last = self.config.levels.len() - 1;
        for (index, level) in self.config.levels.iter().enumerate() {
            let stage = source.at(index);
            let mut blocks = Vec::new();
            for block in 0..level.blocks {
                blocks.push(self.block(&stage, block, index, channels, level.down_layers)?);
                channels = level.channels;
                skips.push(channels);
            }
            let resampler = if index == last {
                None
            } else {
                skips.push(channels);
                let half = Kernel {
                    stride: 2,
                    ..Kernel::SAME
                };
                let source = stage.at("downsamplers.0.conv");
                Some(Convolution::read(&source, channels, channels, half)?)
            };
            stages.push(Stage { blocks, resampler });
        }
        Ok((stages, skips))
    }

    fn middle(&self, source: &Source<'_>) -> Read<(Resnet, Transformer, Resnet)> {
        let level = self.config.levels.len() - 1;
        let coarsest = self.config.levels[level];
        let channels = coarsest.channels;
        Ok((
            self.resnet(&source.at("resnets.0"), channels, channels)?,
            self.transformer(&source.at("attentions.0"), level, coarsest.middle_layers)?,
            self.resnet(&source.at("resnets.1"), channels, channels)?,
        ))
    }

    fn up(&self, source: &Source<'_>, mut skips: Vec<usize>) -> Read<Vec<Stage>> {
        let levels = &self.config.levels;
        let mut channels = levels[levels.len() - 1].channels;
        let mut stages = Vec::new();
        for index in (0..levels.len()).rev() {
            let stage = source.at(levels.len() - 1 - index);
            let level = levels[index];
            let mut blocks = Vec::new();
            for block in 0..=level.blocks {
                let inputs = channels + skips.pop().unwrap_or(0);
                blocks.push(self.block(&stage, block, index, inputs, level.up_layers)?);
                channels = level.channels;
            }
            let resampler = if index == 0 {
                None
            } else {
                let source = stage.at("upsamplers.0.conv");
                Some(Convolution::read(
                    &source,
                    channels,
                    channels,
                    Kernel::SAME,
                )?)
            };
            stages.push(Stage { blocks, resampler });
        }
        Ok(stages)
    }
}
