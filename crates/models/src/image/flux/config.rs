//! `transformer/config.json`, checked; the published sizes where a single file stands alone.

use serde::Deserialize;

use crate::checkpoint::Checkpoint;
use crate::image::fields::{COUNT, LIST_OF_COUNTS, OFF, Rule, SAVED, Table, read};
use crate::image::source::{COUNT_MAX, SIZE_MAX, bounded};
use crate::load::{Files, LoadError};

const FILE: &str = "transformer/config.json";
/// The rows and columns of a picture, and a number that FLUX leaves 0.
const AXES: usize = 3;

/// The fields of diffusers' `FluxTransformer2DModel`.
const FIELDS: &Table = &[
    ("_class_name", Rule::Only(&["\"FluxTransformer2DModel\""])),
    ("attention_head_dim", COUNT),
    ("axes_dims_rope", LIST_OF_COUNTS),
    ("guidance_embeds", OFF),
    ("in_channels", COUNT),
    ("joint_attention_dim", COUNT),
    ("num_attention_heads", COUNT),
    ("num_layers", COUNT),
    ("num_single_layers", COUNT),
    ("out_channels", COUNT),
    ("patch_size", Rule::Only(&["1"])),
    ("pooled_projection_dim", COUNT),
];

#[derive(Debug, Clone, Deserialize)]
pub(in crate::image) struct FluxConfig {
    pub(in crate::image) attention_head_dim: usize,
    pub(in crate::image) num_attention_heads: usize,
    pub(in crate::image) num_layers: usize,
    pub(in crate::image) num_single_layers: usize,
    pub(in crate::image) in_channels: usize,
    #[serde(default)]
    pub(in crate::image) out_channels: Option<usize>,
    pub(in crate::image) joint_attention_dim: usize,
    pub(in crate::image) pooled_projection_dim: usize,
    #[serde(default = "axes")]
    pub(in crate::image) axes_dims_rope: Vec<usize>,
}

fn axes() -> Vec<usize> {
    vec![16, 56, 56]
}

impl FluxConfig {
    pub(in crate::image) fn read(files: &Files) -> Result<Self, LoadError> {
        let config: Self = if files.path(FILE).is_file() {
            read(files, ("transformer", "config.json"), &[FIELDS, SAVED])?
        } else {
            Self::schnell()
        };
        config.check(files)?;
        Ok(config)
    }

    fn schnell() -> Self {
        Self {
            attention_head_dim: 128,
            num_attention_heads: 24,
            num_layers: 19,
            num_single_layers: 38,
            in_channels: 64,
            out_channels: None,
            joint_attention_dim: 4096,
            pooled_projection_dim: 768,
            axes_dims_rope: axes(),
        }
    }

    pub(in crate::image) fn hidden(&self) -> usize {
        self.attention_head_dim * self.num_attention_heads
    }

    pub(in crate::image) fn outputs(&self) -> usize {
        self.out_channels.unwrap_or(self.in_channels)
    }

    fn check(&self, files: &Files) -> Result<(), LoadError> {
        let path = files.path(FILE);
        let mut numbers = vec![
            ("attention_head_dim", self.attention_head_dim, 1 << 12),
            ("num_attention_heads", self.num_attention_heads, 1 << 8),
            ("num_layers", self.num_layers, COUNT_MAX),
            ("num_single_layers", self.num_single_layers, COUNT_MAX),
            ("in_channels", self.in_channels, SIZE_MAX),
            ("out_channels", self.outputs(), SIZE_MAX),
            ("joint_attention_dim", self.joint_attention_dim, SIZE_MAX),
            (
                "pooled_projection_dim",
                self.pooled_projection_dim,
                SIZE_MAX,
            ),
        ];
        let axes = &self.axes_dims_rope;
        numbers.extend(axes.iter().map(|&size| ("axes_dims_rope", size, 1 << 12)));
        bounded(files, FILE, &numbers)?;
        if axes.len() != AXES
            || axes.iter().sum::<usize>() != self.attention_head_dim
            || axes.iter().any(|size| size % 2 == 1)
        {
            let detail = format!("axes_dims_rope {axes:?} of {}", self.attention_head_dim);
            return Err(LoadError::corrupt(&path, detail));
        }
        Ok(())
    }
}

/// Whether a file has the authors' own names.
pub(super) fn is_original(checkpoint: &Checkpoint) -> bool {
    checkpoint.has("img_in.weight")
}
