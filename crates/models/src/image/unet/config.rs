//! `unet/config.json`, checked: what this build computes, and nothing else.

use serde::Deserialize;

use crate::image::fields::{
    COUNT, COUNTS, FLAG, LIST_OF_COUNTS, LIST_OF_WORDS, NONE, NUMBER, OFF, Rule, SAVED, Table, read,
};
use crate::image::source::{COUNT_MAX, Each, SIZE_MAX, bounded};
use crate::load::{Files, LoadError};

const FILE: &str = "unet/config.json";
/// The most levels of a UNet; SD 1.5 has 4.
const LEVELS_MAX: usize = 8;

/// The fields of diffusers' `UNet2DConditionModel`.
const FIELDS: &Table = &[
    ("_class_name", Rule::Only(&["\"UNet2DConditionModel\""])),
    ("act_fn", Rule::Only(&["\"silu\"", "\"swish\""])),
    (
        "addition_embed_type",
        Rule::Only(&["null", "\"text_time\""]),
    ),
    ("addition_embed_type_num_heads", Rule::Idle), // of the type "text"
    ("addition_time_embed_dim", COUNT),
    ("attention_head_dim", COUNTS),
    ("attention_type", Rule::Only(&["null", "\"default\""])),
    ("block_out_channels", LIST_OF_COUNTS),
    ("center_input_sample", OFF),
    ("class_embed_type", NONE),
    ("class_embeddings_concat", OFF),
    ("conv_in_kernel", Rule::Only(&["3"])),
    ("conv_out_kernel", Rule::Only(&["3"])),
    ("cross_attention_dim", COUNT),
    ("cross_attention_norm", NONE),
    ("down_block_types", LIST_OF_WORDS),
    ("downsample_padding", Rule::Only(&["1"])),
    ("dropout", Rule::Idle), // of the training
    ("dual_cross_attention", OFF),
    ("encoder_hid_dim", NONE),
    ("encoder_hid_dim_type", NONE),
    ("flip_sin_to_cos", Rule::Only(&["true"])),
    ("freq_shift", Rule::Only(&["0"])),
    ("in_channels", COUNT),
    ("layers_per_block", COUNTS),
    ("mid_block_only_cross_attention", OFF),
    ("mid_block_scale_factor", Rule::Only(&["1"])),
    (
        "mid_block_type",
        Rule::Only(&["\"UNetMidBlock2DCrossAttn\""]),
    ),
    ("norm_eps", NUMBER),
    ("norm_num_groups", COUNT),
    ("num_attention_heads", NONE), // diffusers has no meaning for it
    ("num_class_embeds", NONE),
    ("only_cross_attention", OFF),
    ("out_channels", COUNT),
    ("projection_class_embeddings_input_dim", COUNT),
    ("resnet_out_scale_factor", Rule::Only(&["1"])),
    ("resnet_skip_time_act", OFF),
    ("resnet_time_scale_shift", Rule::Only(&["\"default\""])),
    ("reverse_transformer_layers_per_block", NONE),
    ("sample_size", COUNT),
    ("time_cond_proj_dim", COUNT),
    ("time_embedding_act_fn", NONE),
    ("time_embedding_dim", COUNT),
    ("time_embedding_type", Rule::Only(&["\"positional\""])),
    ("timestep_post_act", NONE),
    ("transformer_layers_per_block", COUNTS),
    ("up_block_types", LIST_OF_WORDS),
    ("upcast_attention", FLAG),
    ("use_linear_projection", Rule::Idle), // the tensors' shapes say it
];

#[derive(Debug, Deserialize)]
struct Written {
    in_channels: usize,
    out_channels: usize,
    sample_size: Option<usize>,
    block_out_channels: Vec<usize>,
    layers_per_block: Each,
    down_block_types: Vec<String>,
    up_block_types: Vec<String>,
    cross_attention_dim: usize,
    attention_head_dim: Each,
    transformer_layers_per_block: Option<Each>,
    norm_num_groups: usize,
    norm_eps: f64,
    addition_embed_type: Option<String>,
    addition_time_embed_dim: Option<usize>,
    projection_class_embeddings_input_dim: Option<usize>,
    time_cond_proj_dim: Option<usize>,
    time_embedding_dim: Option<usize>,
    #[serde(default)]
    upcast_attention: bool,
}

/// A level of the UNet, from the finest to the coarsest.
#[derive(Debug, Clone, Copy)]
pub(in crate::image) struct Level {
    pub(in crate::image) channels: usize,
    /// Residual blocks on the way down; one more on the way up.
    pub(in crate::image) blocks: usize,
    /// Heads of attention.
    pub(in crate::image) heads: usize,
    /// Transformer layers of each block on the way down; 0: no attention.
    pub(in crate::image) down_layers: usize,
    /// The same on the way up.
    pub(in crate::image) up_layers: usize,
    /// Transformer layers of the middle, where this is the coarsest level.
    pub(in crate::image) middle_layers: usize,
}

/// Sizes beside the prompt that SDXL reads.
#[derive(Debug, Clone, Copy)]
pub(in crate::image) struct Addition {
    /// Waves of each number.
    pub(in crate::image) number_width: usize,
    /// Pooled text and all waves.
    pub(in crate::image) width: usize,
}

#[derive(Debug, Clone)]
pub(in crate::image) struct UnetConfig {
    pub(in crate::image) inputs: usize,
    pub(in crate::image) outputs: usize,
    /// Latents of a side that the model was trained for.
    pub(in crate::image) sample: usize,
    pub(in crate::image) levels: Vec<Level>,
    /// The width of a prompt's vectors.
    pub(in crate::image) context: usize,
    pub(in crate::image) groups: usize,
    pub(in crate::image) epsilon: f64,
    pub(in crate::image) addition: Option<Addition>,
    /// The width of the vector of time.
    pub(in crate::image) time: usize,
    /// The waves of the guidance, where the model reads it.
    pub(in crate::image) guidance: Option<usize>,
    /// Whether attention is computed in single precision, whatever the rest is.
    pub(in crate::image) upcasts: bool,
}

impl UnetConfig {
    pub(in crate::image) fn read(files: &Files) -> Result<Self, LoadError> {
        let written: Written = read(files, ("unet", "config.json"), &[FIELDS, SAVED])?;
        written.judge(files)
    }

    /// Residual blocks of each level, where all have as many.
    pub(in crate::image) fn even_blocks(&self) -> Option<usize> {
        let first = self.levels.first()?.blocks;
        let mut levels = self.levels.iter();
        levels.all(|level| level.blocks == first).then_some(first)
    }

    /// Channels of the finest level.
    pub(in crate::image) fn first(&self) -> usize {
        self.levels.first().map_or(0, |level| level.channels)
    }
}

impl Written {
    /// What is read beside the prompt.
    fn addition(&self, files: &Files) -> Result<Option<Addition>, LoadError> {
        if self.addition_embed_type.is_none() {
            return Ok(None);
        }
        let (number_width, width) = (
            self.addition_time_embed_dim.unwrap_or(0),
            self.projection_class_embeddings_input_dim.unwrap_or(0),
        );
        bounded(
            files,
            FILE,
            &[
                ("addition_time_embed_dim", number_width, SIZE_MAX),
                ("projection_class_embeddings_input_dim", width, SIZE_MAX),
            ],
        )?;
        Ok(Some(Addition {
            number_width,
            width,
        }))
    }

    /// The levels, from blocks, heads and transformer layers of each.
    fn levels(
        &self,
        files: &Files,
        blocks: &[usize],
        heads: &[usize],
        layers: &[usize],
    ) -> Result<Vec<Level>, LoadError> {
        let path = files.path(FILE);
        let corrupt = |detail: &str| LoadError::corrupt(&path, detail);
        let count = self.block_out_channels.len();
        let attends = |word: &str| match word {
            "CrossAttnDownBlock2D" | "CrossAttnUpBlock2D" => Ok(true),
            "DownBlock2D" | "UpBlock2D" => Ok(false),
            word => Err(LoadError::unsupported(&path, format!("the block {word:?}"))),
        };
        let mut levels = Vec::with_capacity(count);
        for level in 0..count {
            let channels = self.block_out_channels[level];
            if !channels.is_multiple_of(heads[level]) {
                return Err(corrupt(&format!(
                    "{} heads cannot share {channels}",
                    heads[level]
                )));
            }
            let counted = |attends| if attends { layers[level] } else { 0 };
            levels.push(Level {
                channels,
                blocks: blocks[level],
                heads: heads[level],
                down_layers: counted(attends(&self.down_block_types[level])?),
                up_layers: counted(attends(&self.up_block_types[count - 1 - level])?),
                middle_layers: layers[level],
            });
        }
        Ok(levels)
    }

    fn judge(self, files: &Files) -> Result<UnetConfig, LoadError> {
        let path = files.path(FILE);
        let corrupt = |detail: &str| LoadError::corrupt(&path, detail);
        let count = self.block_out_channels.len();
        if !(1..=LEVELS_MAX).contains(&count)
            || self.down_block_types.len() != count
            || self.up_block_types.len() != count
        {
            return Err(corrupt("its lists of blocks have no or different lengths"));
        }
        let each = |numbers: &Each, name: &str| {
            let numbers = numbers.of(count);
            numbers.ok_or_else(|| corrupt(&format!("{name} has not {count} numbers")))
        };
        let blocks = each(&self.layers_per_block, "layers_per_block")?;
        // The name of the field is wrong in this family: it is the number of heads.
        let heads = each(&self.attention_head_dim, "attention_head_dim")?;
        let layers = self.transformer_layers_per_block.as_ref();
        let layers = each(
            layers.unwrap_or(&Each::All(1)),
            "transformer_layers_per_block",
        )?;
        let first = self.block_out_channels.first().copied().unwrap_or(0);
        let time = self.time_embedding_dim.unwrap_or(first.saturating_mul(4));
        let mut numbers = vec![
            ("in_channels", self.in_channels, SIZE_MAX),
            ("out_channels", self.out_channels, SIZE_MAX),
            ("sample_size", self.sample_size.unwrap_or(64), 1024),
            ("cross_attention_dim", self.cross_attention_dim, SIZE_MAX),
            ("time_embedding_dim", time, SIZE_MAX),
            (
                "time_cond_proj_dim / 4",
                self.time_cond_proj_dim.map_or(1, |width| width / 4),
                SIZE_MAX,
            ),
            ("norm_num_groups", self.norm_num_groups, SIZE_MAX),
        ];
        numbers.extend(
            self.block_out_channels
                .iter()
                .map(|&n| ("block_out_channels", n, 1 << 16)),
        );
        numbers.extend(blocks.iter().map(|&n| ("layers_per_block", n, COUNT_MAX)));
        numbers.extend(heads.iter().map(|&n| ("attention_head_dim", n, COUNT_MAX)));
        numbers.extend(
            layers
                .iter()
                .map(|&n| ("transformer_layers_per_block", n, COUNT_MAX)),
        );
        bounded(files, FILE, &numbers)?;
        let levels = self.levels(files, &blocks, &heads, &layers)?;
        Ok(UnetConfig {
            inputs: self.in_channels,
            outputs: self.out_channels,
            sample: self.sample_size.unwrap_or(64),
            levels,
            context: self.cross_attention_dim,
            groups: self.norm_num_groups,
            epsilon: self.norm_eps,
            addition: self.addition(files)?,
            time,
            guidance: self.time_cond_proj_dim,
            upcasts: self.upcast_attention,
        })
    }
}
