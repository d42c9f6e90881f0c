//! `vae/config.json`, checked; FLUX's published sizes where a single file stands alone.

use serde::Deserialize;

use crate::image::source::{COUNT_MAX, SIZE_MAX, bounded, json};
use crate::load::{Files, LoadError};

const FILE: &str = "vae/config.json";
/// The most levels; the known ones have 4.
const LEVELS_MAX: usize = 8;

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
    #[serde(default = "silu")]
    act_fn: String,
    #[serde(default)]
    latents_mean: Option<Vec<f64>>,
    #[serde(default)]
    latents_std: Option<Vec<f64>>,
    #[serde(default = "yes")]
    mid_block_add_attention: bool,
    in_channels: usize,
    out_channels: usize,
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
fn silu() -> String {
    "silu".into()
}

impl VaeConfig {
    pub(in crate::image) fn read(files: &Files) -> Result<Self, LoadError> {
        let config: Self = json(files, "vae", "config.json")?;
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
            act_fn: silu(),
            latents_mean: None,
            latents_std: None,
            mid_block_add_attention: true,
            in_channels: 3,
            out_channels: 3,
        }
    }

    /// Pixels of a latent's side.
    pub(in crate::image) fn factor(&self) -> usize {
        1 << (self.block_out_channels.len() - 1)
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
            ("in_channels", self.in_channels, 3),
            ("out_channels", self.out_channels, 3),
        ];
        let channels = self.block_out_channels.iter();
        numbers.extend(channels.map(|&n| ("block_out_channels", n, 1 << 16)));
        bounded(files, FILE, &numbers)?;
        let odd = [
            (self.act_fn != "silu", "act_fn"),
            (self.latents_mean.is_some(), "latents_mean"),
            (self.latents_std.is_some(), "latents_std"),
            (
                !self.mid_block_add_attention,
                "mid_block_add_attention false",
            ),
            (
                self.in_channels != 3 || self.out_channels != 3,
                "pictures of other than 3 channels",
            ),
            (
                !(self.scaling_factor.is_finite() && self.scaling_factor > 0.0),
                "scaling_factor",
            ),
        ];
        match odd.into_iter().find(|(is_odd, _)| *is_odd) {
            Some((_, detail)) => Err(LoadError::unsupported(&path, detail)),
            None => Ok(()),
        }
    }
}
