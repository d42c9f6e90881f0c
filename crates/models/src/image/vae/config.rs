//! `vae/config.json`, checked; FLUX's published sizes where a single file stands alone.

use serde::Deserialize;

use crate::image::fields::{
    COUNT, FLAG, LIST_OF_COUNTS, LIST_OF_WORDS, NONE, NUMBER, Rule, SAVED, Table, read,
};
use crate::image::source::{COUNT_MAX, SIZE_MAX, bounded};
use crate::load::{Files, LoadError};

const FILE: &str = "vae/config.json";
/// The most levels; the known ones have 4.
const LEVELS_MAX: usize = 8;
/// The blocks that are built here.
const DOWN: &str = "DownEncoderBlock2D";
const UP: &str = "UpDecoderBlock2D";

/// The fields of diffusers' `AutoencoderKL`.
const FIELDS: &Table = &[
    ("_class_name", Rule::Only(&["\"AutoencoderKL\""])),
    ("act_fn", Rule::Only(&["\"silu\"", "\"swish\""])),
    ("block_out_channels", LIST_OF_COUNTS),
    ("down_block_types", LIST_OF_WORDS),
    ("force_upcast", Rule::Idle), // it is always computed in single precision
    ("in_channels", Rule::Only(&["3"])),
    ("latent_channels", COUNT),
    ("latents_mean", NONE),
    ("latents_std", NONE),
    ("layers_per_block", COUNT),
    ("mid_block_add_attention", Rule::Only(&["true"])),
    ("norm_num_groups", COUNT),
    ("out_channels", Rule::Only(&["3"])),
    ("sample_size", Rule::Idle), // of tiles, whose sizes are ours
    ("scaling_factor", NUMBER),
    ("shift_factor", NUMBER),
    ("up_block_types", LIST_OF_WORDS),
    ("use_post_quant_conv", FLAG),
    ("use_quant_conv", FLAG),
];

#[derive(Debug, Clone, Deserialize)]
pub(in crate::image) struct VaeConfig {
    pub(in crate::image) latent_channels: usize,
    pub(in crate::image) block_out_channels: Vec<usize>,
    pub(in crate::image) layers_per_block: usize,
    #[serde(default = "groups")]
    pub(in crate::image) norm_num_groups: usize,
    #[serde(default = "scale_of_sd")]
    pub(in crate::image) scaling_factor: f64,
    #[serde(default)]
    pub(in crate::image) shift_factor: Option<f64>,
    #[serde(default = "yes")]
    pub(in crate::image) use_quant_conv: bool,
    #[serde(default = "yes")]
    pub(in crate::image) use_post_quant_conv: bool,
    down_block_types: Vec<String>,
    up_block_types: Vec<String>,
}

fn groups() -> usize {
    32
}
fn scale_of_sd() -> f64 {
    0.18215
}
fn yes() -> bool {
    true
}

impl VaeConfig {
    pub(in crate::image) fn read(files: &Files) -> Result<Self, LoadError> {
        let config: Self = read(files, ("vae", "config.json"), &[FIELDS, SAVED])?;
        config.check(files)?;
        Ok(config)
    }

    /// The autoencoder of FLUX.1, as its authors published it.
    pub(in crate::image) fn of_flux() -> Self {
        Self {
            latent_channels: 16,
            block_out_channels: vec![128, 256, 512, 512],
            layers_per_block: 2,
            norm_num_groups: 32,
            scaling_factor: 0.3611,
            shift_factor: Some(0.1159),
            use_quant_conv: false,
            use_post_quant_conv: false,
            down_block_types: vec![DOWN.into(); 4],
            up_block_types: vec![UP.into(); 4],
        }
    }

    /// Pixels of a latent's side.
    pub(in crate::image) fn factor(&self) -> usize {
        1 << (self.block_out_channels.len() - 1)
    }

    /// The shape of the latents of a size in pixels, `[1, channels, height, width]`.
    pub(in crate::image) fn latent_shape(&self, (width, height): (u32, u32)) -> [usize; 4] {
        let factor = self.factor();
        let (height, width) = (height as usize / factor, width as usize / factor);
        [1, self.latent_channels, height, width]
    }

    fn check(&self, files: &Files) -> Result<(), LoadError> {
        let path = files.path(FILE);
        let levels = self.block_out_channels.len();
        if !(1..=LEVELS_MAX).contains(&levels) {
            let detail = format!("block_out_channels has {levels} numbers");
            return Err(LoadError::corrupt(&path, detail));
        }
        let mut numbers = vec![
            ("latent_channels", self.latent_channels, COUNT_MAX),
            ("layers_per_block", self.layers_per_block, COUNT_MAX),
            ("norm_num_groups", self.norm_num_groups, SIZE_MAX),
        ];
        let channels = self.block_out_channels.iter();
        numbers.extend(channels.map(|&n| ("block_out_channels", n, 1 << 16)));
        bounded(files, FILE, &numbers)?;
        let blocks = [
            (&self.down_block_types, "down_block_types", DOWN),
            (&self.up_block_types, "up_block_types", UP),
        ];
        for (words, name, known) in blocks {
            if words.len() != levels {
                let detail = format!("{name} has {} words for {levels} levels", words.len());
                return Err(LoadError::corrupt(&path, detail));
            }
            if let Some(word) = words.iter().find(|word| *word != known) {
                return Err(LoadError::unsupported(&path, format!("the block {word:?}")));
            }
        }
        if !(self.scaling_factor.is_finite() && self.scaling_factor > 0.0) {
            let detail = format!("scaling_factor is {}", self.scaling_factor);
            return Err(LoadError::unsupported(&path, detail));
        }
        Ok(())
    }
}
