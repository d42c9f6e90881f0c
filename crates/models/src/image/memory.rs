//! What a pipeline takes of its device's memory, from configurations and headers alone: weights, and
//! activations by the size of the picture.

use candle_core::{DType, Device};
use engine::Need;

use super::attention::SCORES_MAX_BYTES;
use super::flux::{FluxConfig, checkpoint};
use super::flux_pipeline::TEXT_TOKENS;
use super::painter::live_on;
use super::pipeline::Size;
use super::source::open;
use super::unet::UnetConfig;
use super::vae::VaeConfig;
use crate::checkpoint::Checkpoint;
use crate::device::float_type;
use crate::fit::Fit;
use crate::load::{Files, LoadError};
use crate::quality::Quality;

/// Pixels of a side of the largest picture that memory is set aside for.
const LARGEST_SIDE: u32 = 2048;
/// Latents of a side of a tile: 512 pixels.
pub(super) const TILE: usize = 64;
/// Copies of the scores of attention: products, softmax and its parts.
const SCORE_COPIES: u64 = 3;
/// Vectors of a UNet's widest level that are there at once: a skip joined to what meets it, its norm and
/// activation, convolved in two orders; or the gates of a transformer layer.
const UNET_VECTORS: u64 = 24;
/// The same of the autoencoder, which has no gates.
const VAE_VECTORS: u64 = 7;
/// The same of FLUX: the joint layer of a single block, its parts, and what they are joined to.
const FLUX_VECTORS: u64 = 30;
/// Rows of a picture in a batch under guidance.
const GUIDED: u64 = 2;
/// Tensors of the latents' size that a picture keeps between its turns: its noise, what is given and its mask,
/// and what its sampler remembers.
const KEPT_LATENTS: u64 = 12;
/// Tokens of a prompt that CLIP reads.
const CLIP_TOKENS: u64 = 77;
const MEGABYTE: u64 = 1_000_000;
const FLOAT_BYTES: u64 = size_of::<f32>() as u64;

/// What the activations of a pipeline depend on.
#[derive(Debug, Clone)]
enum Body {
    Unet(UnetConfig),
    Flux(FluxConfig),
}

/// The memory of a pipeline.
#[derive(Debug, Clone)]
pub(super) struct Memory {
    body: Body,
    vae: VaeConfig,
    weights_bytes: u64,
    /// Bytes set aside for activations.
    activation_bytes: u64,
    /// Pictures that may be live at once.
    live: u64,
}

impl Memory {
    /// Of Stable Diffusion.
    pub(super) fn stable(files: &Files, device: &Device, fit: Fit) -> Result<Self, LoadError> {
        let config = UnetConfig::read(files)?;
        let mut parts = vec![
            open(files, "unet", "diffusion_pytorch_model")?,
            open(files, "text_encoder", "model")?,
        ];
        if config.addition.is_some() {
            parts.push(open(files, "text_encoder_2", "model")?);
        }
        let vae = vae(files)?;
        let side = config.sample as u32 * vae.0.factor() as u32;
        Self::new(Body::Unet(config), vae, &parts, side, device, fit)
    }

    /// Of FLUX.
    pub(super) fn flux(files: &Files, device: &Device, fit: Fit) -> Result<Self, LoadError> {
        let parts = [
            checkpoint(files)?,
            open(files, "text_encoder", "model")?,
            open(files, "text_encoder_2", "model")?,
        ];
        let config = FluxConfig::read(files)?;
        Self::new(Body::Flux(config), vae(files)?, &parts, 1024, device, fit)
    }

    fn new(
        body: Body,
        (vae, autoencoder): (VaeConfig, Checkpoint),
        parts: &[Checkpoint],
        side: u32,
        device: &Device,
        fit: Fit,
    ) -> Result<Self, LoadError> {
        let mut weights_bytes = bytes_of(&autoencoder, device, DType::F32, fit.quality)?;
        let dtype = parts
            .first()
            .map_or(DType::F32, |part| float_type(device, part.elements()));
        for part in parts {
            weights_bytes += bytes_of(part, device, dtype, fit.quality)?;
        }
        let mut memory = Self {
            body,
            vae,
            weights_bytes,
            activation_bytes: 0,
            live: live_on(device) as u64,
        };
        // As much as the largest picture takes, or what is left beside the weights, but at least what
        // the model's own size takes.
        let own = memory.least((side, side));
        let largest = memory.at_once((LARGEST_SIDE, LARGEST_SIDE));
        let left = fit
            .memory_bytes
            .map(|bytes| bytes.saturating_sub(weights_bytes));
        memory.activation_bytes = left.unwrap_or(largest).clamp(own, largest.max(own));
        Ok(memory)
    }

    pub(super) fn need(&self) -> Need {
        Need {
            weights_bytes: self.weights_bytes,
            cache_bytes: 0,
            activation_bytes: self.activation_bytes,
        }
    }

    /// How a picture of a size is decoded, and one that is given to begin with encoded, within what is set aside: by
    /// tiles of so many latents, or, with `Ok(None)`, at once. An error says what the size would take.
    pub(super) fn tile(&self, size: Size) -> Result<Option<usize>, String> {
        if self.at_once(size) <= self.activation_bytes {
            return Ok(None);
        }
        let least = self.least(size);
        if least <= self.activation_bytes {
            return Ok(Some(TILE));
        }
        Err(format!(
            "a picture of {}x{} takes {} MB beside the weights, and {} MB are set aside for it; ask for a smaller one, or allow more with --memory",
            size.0,
            size.1,
            least.div_ceil(MEGABYTE),
            self.activation_bytes / MEGABYTE
        ))
    }

    /// How many pictures of a size may go through the layers in one pass within what is set aside: up to `most`,
    /// and one at least.
    pub(super) fn together(&self, size: Size, most: usize) -> usize {
        let fits = |pictures: &usize| {
            let pass = self.body(size, *pictures as u64);
            pass.saturating_add(self.kept(size)) <= self.activation_bytes
        };
        (2..=most).take_while(fits).last().unwrap_or(1)
    }

    /// Bytes of a picture that is decoded at once.
    fn at_once(&self, size: Size) -> u64 {
        self.beside(size, self.body(size, 1).max(self.decoding(size)))
    }

    /// Bytes of one that is decoded by tiles.
    fn least(&self, size: Size) -> u64 {
        let tile = (TILE * self.vae.factor()) as u32;
        let decoding = self.decoding((size.0.min(tile), size.1.min(tile)));
        self.beside(size, self.body(size, 1).max(decoding))
    }

    /// Bytes of a turn, with those of a picture itself and of what all live ones keep.
    fn beside(&self, size: Size, turn: u64) -> u64 {
        turn.saturating_add(picture(size))
            .saturating_add(self.kept(size))
    }

    /// Bytes that live pictures of a size keep between their turns.
    fn kept(&self, size: Size) -> u64 {
        let latents = self.latents(size) * self.vae.latent_channels as u64 * KEPT_LATENTS;
        let text = match &self.body {
            Body::Unet(config) => GUIDED * CLIP_TOKENS * config.context as u64,
            Body::Flux(config) => TEXT_TOKENS as u64 * config.joint_attention_dim as u64,
        };
        self.live * (latents + text) * FLOAT_BYTES
    }

    /// Latents of one channel.
    fn latents(&self, (width, height): Size) -> u64 {
        let factor = self.vae.factor() as u64;
        u64::from(width) / factor * (u64::from(height) / factor)
    }

    /// Bytes of a pass of what paints on the latents, over so many pictures.
    fn body(&self, size: Size, pictures: u64) -> u64 {
        let latents = self.latents(size);
        match &self.body {
            Body::Unet(config) => {
                let levels = config.levels.iter().enumerate();
                let (mut skips, mut widest, mut scored) = (0, 0, 0);
                for (index, level) in levels {
                    let rows = latents >> (2 * index);
                    let vector = rows * level.channels as u64;
                    skips += vector * (level.blocks as u64 + 2);
                    widest = widest.max(vector * UNET_VECTORS);
                    if level.down_layers > 0 {
                        let heads = level.heads as u64 * GUIDED * pictures;
                        scored = scored.max(scores(rows, heads));
                    }
                }
                pictures * GUIDED * (skips + widest) * FLOAT_BYTES + scored
            }
            Body::Flux(config) => {
                let rows = latents / 4 + TEXT_TOKENS as u64;
                let vectors = rows * config.hidden() as u64 * FLUX_VECTORS;
                let heads = config.num_attention_heads as u64 * pictures;
                pictures * vectors * FLOAT_BYTES + scores(rows, heads)
            }
        }
    }

    /// Bytes of decoding pixels.
    fn decoding(&self, (width, height): Size) -> u64 {
        let pixels = u64::from(width) * u64::from(height);
        let channels = &self.vae.block_out_channels;
        let at = |level: usize| {
            // What comes up from the coarser level is as wide as that.
            let wider = channels.get(level + 1).or(channels.get(level));
            (pixels >> (2 * level)) * wider.copied().unwrap_or(0) as u64 * VAE_VECTORS
        };
        let widest = (0..channels.len()).map(at).max().unwrap_or(0);
        let factor = self.vae.factor() as u64;
        widest * FLOAT_BYTES + scores(pixels / (factor * factor), 1)
    }
}

/// Bytes of the scores of attention among so many rows.
fn scores(rows: u64, heads: u64) -> u64 {
    let all = rows
        .saturating_mul(rows)
        .saturating_mul(heads * FLOAT_BYTES);
    // At least one query at a time.
    let most = (SCORES_MAX_BYTES as u64).max(rows * heads * FLOAT_BYTES);
    all.min(most) * SCORE_COPIES
}

/// Bytes of a picture itself, as floats and as bytes.
fn picture((width, height): Size) -> u64 {
    u64::from(width) * u64::from(height) * 3 * (3 * FLOAT_BYTES + 1)
}

fn vae(files: &Files) -> Result<(VaeConfig, Checkpoint), LoadError> {
    super::vae::opened(files)
}

/// Bytes of a part as it is kept: on the CPU matrices and filters of 16 bits stay so, and all else is single
/// precision.
fn bytes_of(
    part: &Checkpoint,
    device: &Device,
    dtype: DType,
    quality: Quality,
) -> Result<u64, LoadError> {
    let mut sum = 0_u64;
    for name in part.names() {
        let Some(shape) = part.shape(name) else {
            continue;
        };
        let elements = shape.iter().product::<usize>() as u64;
        let is_matrix = matches!(shape, [_, _]) && !name.contains("embed");
        let is_filter = shape.len() == 4;
        let (stored, _) = part.bytes(name, shape)?;
        let bytes = match (is_matrix, quality) {
            _ if !device.is_cpu() => elements * dtype.size_in_bytes() as u64,
            (true, Quality::Fast) => elements * 34 / 32,
            _ if is_matrix || is_filter => elements * stored.size_in_bytes().min(4) as u64,
            _ => elements * FLOAT_BYTES,
        };
        sum = sum.saturating_add(bytes);
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_holds_no_more_pictures_than_memory_was_set_aside_for() {
        let golden = |name: &str| {
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/");
            Files::new(format!("{folder}{name}").into())
        };
        let files = golden("tiny-sd15");
        let stable = |fit| Memory::stable(&files, &Device::Cpu, fit).expect("a memory");
        let unbounded = stable(Fit::default());
        let flux = Memory::flux(&golden("tiny-flux-schnell"), &Device::Cpu, Fit::default());
        for memory in [&unbounded, &flux.expect("a memory")] {
            assert_eq!(memory.together((1024, 1024), 4), 4);
            assert_eq!(memory.together((1024, 1024), 1), 1);
        }
        // What one picture of a size takes, and no more.
        let size = (1536, 1536);
        let bytes = unbounded.weights_bytes + unbounded.least(size);
        let bounded = stable(Fit {
            memory_bytes: Some(bytes),
            ..Fit::default()
        });
        assert_eq!(bounded.need().total_bytes(), bytes);
        assert!(bounded.together(size, 4) < 4);
        assert_eq!(bounded.together((512, 512), 4), 4);
    }
}
