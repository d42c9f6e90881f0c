//! `unet/config.json`, checked: what this build computes, and nothing else.

use serde::Deserialize;

use crate::image::source::{COUNT_MAX, Each, SIZE_MAX, bounded, json};
use crate::load::{Files, LoadError};

const FILE: &str = "unet/config.json";
/// The most levels of a UNet; SD 1.5 has 4.
const LEVELS_MAX: usize = 8;

#[derive(Debug, Deserialize)]
struct Written {
    in_channels: usize,
    out_channels: usize,
    #[serde(default)]
    sample_size: Option<usize>,
    block_out_channels: Vec<usize>,
    layers_per_block: Each,
    down_block_types: Vec<String>,
    up_block_types: Vec<String>,
    cross_attention_dim: Each,
    attention_head_dim: Each,
    #[serde(default)]
    num_attention_heads: Option<Each>,
    #[serde(default)]
    transformer_layers_per_block: Option<Each>,
    norm_num_groups: usize,
    norm_eps: f64,
    #[serde(default)]
    addition_embed_type: Option<String>,
    #[serde(default)]
    addition_time_embed_dim: Option<usize>,
    #[serde(default)]
    projection_class_embeddings_input_dim: Option<usize>,
    #[serde(default = "yes")]
    flip_sin_to_cos: bool,
    #[serde(default)]
    freq_shift: f64,
    #[serde(default)]
    class_embed_type: Option<String>,
    #[serde(default)]
    encoder_hid_dim: Option<usize>,
    #[serde(default)]
    time_cond_proj_dim: Option<usize>,
    #[serde(default)]
    dual_cross_attention: bool,
    #[serde(default = "silu")]
    act_fn: String,
    #[serde(default = "plain")]
    resnet_time_scale_shift: String,
    #[serde(default = "positional")]
    time_embedding_type: String,
}

fn yes() -> bool {
    true
}
fn silu() -> String {
    "silu".into()
}
fn plain() -> String {
    "default".into()
}
fn positional() -> String {
    "positional".into()
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
}

impl UnetConfig {
    pub(in crate::image) fn read(files: &Files) -> Result<Self, LoadError> {
        let written: Written = json(files, "unet", "config.json")?;
        written.judge(files)
    }

    /// Channels of the finest level.
    pub(in crate::image) fn first(&self) -> usize {
        self.levels.first().map_or(0, |level| level.channels)
    }

    /// The width of the vector of time.
    pub(in crate::image) fn time(&self) -> usize {
        self.first() * 4
    }
}

impl Written {
    /// What is asked for and not built here.
    fn odd(&self) -> Option<String> {
        let odd = [
            (self.act_fn != "silu", format!("act_fn {:?}", self.act_fn)),
            (!self.flip_sin_to_cos, "flip_sin_to_cos false".into()),
            (
                self.freq_shift != 0.0,
                format!("freq_shift {}", self.freq_shift),
            ),
            (self.dual_cross_attention, "dual_cross_attention".into()),
            (
                self.class_embed_type.is_some(),
                format!("class_embed_type {:?}", self.class_embed_type),
            ),
            (
                self.encoder_hid_dim.is_some(),
                format!("encoder_hid_dim {:?}", self.encoder_hid_dim),
            ),
            (
                self.time_cond_proj_dim.is_some(),
                "time_cond_proj_dim (guidance as an input)".into(),
            ),
            (
                self.resnet_time_scale_shift != "default",
                format!("resnet_time_scale_shift {:?}", self.resnet_time_scale_shift),
            ),
            (
                self.time_embedding_type != "positional",
                format!("time_embedding_type {:?}", self.time_embedding_type),
            ),
        ];
        let odd = odd.into_iter().find(|(is_odd, _)| *is_odd);
        odd.map(|(_, detail)| detail)
    }

    /// What is read beside the prompt.
    fn addition(&self, files: &Files) -> Result<Option<Addition>, LoadError> {
        match self.addition_embed_type.as_deref() {
            None => Ok(None),
            Some("text_time") => {
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
            Some(word) => {
                let detail = format!("addition_embed_type {word:?}");
                Err(LoadError::unsupported(&files.path(FILE), detail))
            }
        }
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
        let unsupported = |detail: String| Err(LoadError::unsupported(&path, detail));
        let count = self.block_out_channels.len();
        if let Some(detail) = self.odd() {
            return unsupported(detail);
        }
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
        let heads = self.num_attention_heads.as_ref();
        let heads = each(
            heads.unwrap_or(&self.attention_head_dim),
            "attention_head_dim",
        )?;
        let layers = self.transformer_layers_per_block.as_ref();
        let layers = each(
            layers.unwrap_or(&Each::All(1)),
            "transformer_layers_per_block",
        )?;
        let context = each(&self.cross_attention_dim, "cross_attention_dim")?;
        let context = context.first().copied().unwrap_or(0);
        if !matches!(&self.cross_attention_dim, Each::All(_)) {
            return unsupported("a list as cross_attention_dim".into());
        }
        let mut numbers = vec![
            ("in_channels", self.in_channels, SIZE_MAX),
            ("out_channels", self.out_channels, SIZE_MAX),
            ("sample_size", self.sample_size.unwrap_or(64), 1024),
            ("cross_attention_dim", context, SIZE_MAX),
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
            context,
            groups: self.norm_num_groups,
            epsilon: self.norm_eps,
            addition: self.addition(files)?,
        })
    }
}
