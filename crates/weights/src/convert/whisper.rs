//! Whisper from CTranslate2's names to those of `WhisperForConditionalGeneration`.
//!
//! CTranslate2 fuses projections that read the same input: query, key and value of self-attention, key and value
//! of cross-attention. Fused rows lie one after the other, so a split is a slice. Whisper's key has no bias;
//! CTranslate2 stores zeros for it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::ct2::{Ct2, Element, Variable};
use super::safetensors_file::{self, Tensor};
use super::whisper_config::{self, Dimensions};
use super::{ConvertError, Converted};

/// Converts a CTranslate2 Whisper model with its `config.json` and the `tokenizer.json`.
pub(crate) fn convert<'a>(
    model: &'a [u8],
    config: &[u8],
    tokenizer: &[u8],
) -> Result<Converted<'a>, ConvertError> {
    let model = Ct2::read(model)?;
    if model.specification != "WhisperSpec" {
        return Err(ConvertError::Format {
            what: format!("a model of {}, not of WhisperSpec", model.specification),
            at: 4,
        });
    }
    let mut mapping = Mapping {
        variables: &model.variables,
        used: BTreeSet::new(),
        tensors: BTreeMap::new(),
    };
    let encoder_layers = mapping.side("encoder")?;
    let decoder_layers = mapping.side("decoder")?;
    for convolution in ["conv1", "conv2"] {
        mapping.linear(
            &format!("encoder/{convolution}"),
            &format!("model.encoder.{convolution}"),
        )?;
    }
    // The output projection is tied to it, and so is not written.
    mapping.copy(
        "decoder/embeddings/weight",
        "model.decoder.embed_tokens.weight",
    )?;
    mapping.nothing_is_left()?;
    let dimensions = mapping.dimensions(encoder_layers, decoder_layers)?;
    let texts = whisper_config::texts(&dimensions, config, tokenizer)?;
    let mut outputs: Converted<'a> = BTreeMap::new();
    outputs.insert(
        "model.safetensors",
        safetensors_file::pieces(&mapping.tensors),
    );
    for (name, text) in texts {
        outputs.insert(name, vec![Cow::Owned(text)]);
    }
    Ok(outputs)
}

/// A renaming in progress.
struct Mapping<'m, 'a> {
    variables: &'m BTreeMap<&'a str, Variable<'a>>,
    used: BTreeSet<String>,
    tensors: BTreeMap<String, Tensor<'a>>,
}

impl<'m, 'a> Mapping<'m, 'a> {
    fn variable(&self, name: &str) -> Result<&'m Variable<'a>, ConvertError> {
        self.variables
            .get(name)
            .ok_or_else(|| ConvertError::Missing(name.to_owned()))
    }

    /// Splits the rows of a fused variable evenly; `None` drops a part, which must be zero.
    fn split(&mut self, source: &str, parts: &[Option<String>]) -> Result<(), ConvertError> {
        let refuse = |what| ConvertError::Variable {
            name: source.to_owned(),
            what,
        };
        let variable = self.variable(source)?;
        let dtype = dtype(variable.element).ok_or_else(|| refuse("is not of floats"))?;
        let [rows, inner @ ..] = variable.shape.as_slice() else {
            return Err(refuse("has no rows"));
        };
        if rows % parts.len() != 0 {
            return Err(refuse("has rows that cannot be split evenly"));
        }
        let rows = rows / parts.len();
        let shape = [&[rows], inner].concat();
        let bytes = variable.data.len() / parts.len();
        for (index, part) in parts.iter().enumerate() {
            let data = &variable.data[index * bytes..(index + 1) * bytes];
            let Some(name) = part else {
                if data.iter().any(|&byte| byte != 0) {
                    return Err(refuse("has a bias for the key, which Whisper has not"));
                }
                continue;
            };
            let shape = shape.clone();
            self.tensors
                .insert(name.clone(), Tensor { dtype, shape, data });
        }
        self.used.insert(source.to_owned());
        Ok(())
    }

    fn copy(&mut self, source: &str, target: &str) -> Result<(), ConvertError> {
        self.split(source, &[Some(target.to_owned())])
    }

    fn linear(&mut self, source: &str, target: &str) -> Result<(), ConvertError> {
        self.copy(&format!("{source}/weight"), &format!("{target}.weight"))?;
        self.copy(&format!("{source}/bias"), &format!("{target}.bias"))
    }

    fn layer_norm(&mut self, source: &str, target: &str) -> Result<(), ConvertError> {
        self.copy(&format!("{source}/gamma"), &format!("{target}.weight"))?;
        self.copy(&format!("{source}/beta"), &format!("{target}.bias"))
    }

    /// A fused projection of `heads` (out of q, k, v), in the order of its rows.
    fn fused(&mut self, source: &str, target: &str, heads: &[char]) -> Result<(), ConvertError> {
        let name = |head: &char, kind| format!("{target}.{head}_proj.{kind}");
        let weights: Vec<_> = heads
            .iter()
            .map(|head| Some(name(head, "weight")))
            .collect();
        let biases: Vec<_> = heads
            .iter()
            .map(|head| (*head != 'k').then(|| name(head, "bias")))
            .collect();
        self.split(&format!("{source}/weight"), &weights)?;
        self.split(&format!("{source}/bias"), &biases)
    }

    /// Everything of one side, `encoder` or `decoder`; returns the number of its layers.
    fn side(&mut self, side: &str) -> Result<usize, ConvertError> {
        let target = format!("model.{side}");
        self.copy(
            &format!("{side}/position_encodings/encodings"),
            &format!("{target}.embed_positions.weight"),
        )?;
        self.layer_norm(
            &format!("{side}/layer_norm"),
            &format!("{target}.layer_norm"),
        )?;
        let mut layers = 0;
        loop {
            let source = format!("{side}/layer_{layers}");
            let first = format!("{source}/self_attention/linear_0/weight");
            if !self.variables.contains_key(first.as_str()) {
                return Ok(layers);
            }
            self.layer(&source, &format!("{target}.layers.{layers}"))?;
            if side == "decoder" {
                self.cross_attention(&source, &format!("{target}.layers.{layers}"))?;
            }
            layers += 1;
        }
    }

    fn layer(&mut self, source: &str, target: &str) -> Result<(), ConvertError> {
        let attention = format!("{source}/self_attention");
        self.layer_norm(
            &format!("{attention}/layer_norm"),
            &format!("{target}.self_attn_layer_norm"),
        )?;
        self.fused(
            &format!("{attention}/linear_0"),
            &format!("{target}.self_attn"),
            &['q', 'k', 'v'],
        )?;
        self.linear(
            &format!("{attention}/linear_1"),
            &format!("{target}.self_attn.out_proj"),
        )?;
        self.layer_norm(
            &format!("{source}/ffn/layer_norm"),
            &format!("{target}.final_layer_norm"),
        )?;
        self.linear(&format!("{source}/ffn/linear_0"), &format!("{target}.fc1"))?;
        self.linear(&format!("{source}/ffn/linear_1"), &format!("{target}.fc2"))
    }

    fn cross_attention(&mut self, source: &str, target: &str) -> Result<(), ConvertError> {
        let attention = format!("{source}/attention");
        self.layer_norm(
            &format!("{attention}/layer_norm"),
            &format!("{target}.encoder_attn_layer_norm"),
        )?;
        let target = format!("{target}.encoder_attn");
        self.fused(&format!("{attention}/linear_0"), &target, &['q'])?;
        self.fused(&format!("{attention}/linear_1"), &target, &['k', 'v'])?;
        self.linear(
            &format!("{attention}/linear_2"),
            &format!("{target}.out_proj"),
        )
    }

    /// Scalars are settings and alignment heads are repeated in config.json; any other variable must have been used.
    fn nothing_is_left(&self) -> Result<(), ConvertError> {
        let left = self.variables.iter().find(|(name, variable)| {
            !variable.shape.is_empty()
                && !name.ends_with("alignment_heads")
                && !self.used.contains(**name)
        });
        match left {
            Some((name, _)) => Err(ConvertError::Unmapped((*name).to_owned())),
            None => Ok(()),
        }
    }

    fn dimensions(
        &self,
        encoder_layers: usize,
        decoder_layers: usize,
    ) -> Result<Dimensions, ConvertError> {
        let embeddings = self.variable("decoder/embeddings/weight")?;
        let [vocabulary, width] = self.shape("decoder/embeddings/weight")?;
        let [_, mel_bins, _] = self.shape("encoder/conv1/weight")?;
        let [encoder_positions, _] = self.shape("encoder/position_encodings/encodings")?;
        let [decoder_positions, _] = self.shape("decoder/position_encodings/encodings")?;
        let feed_forward = |side, layers| -> Result<usize, ConvertError> {
            if layers == 0 {
                return Err(ConvertError::Missing(format!("{side}/layer_0")));
            }
            let [rows, _] = self.shape(&format!("{side}/layer_0/ffn/linear_0/weight"))?;
            Ok(rows)
        };
        Ok(Dimensions {
            vocabulary,
            width,
            mel_bins,
            encoder_positions,
            decoder_positions,
            encoder_layers,
            decoder_layers,
            encoder_feed_forward: feed_forward("encoder", encoder_layers)?,
            decoder_feed_forward: feed_forward("decoder", decoder_layers)?,
            encoder_heads: self.heads("encoder/num_heads")?,
            decoder_heads: self.heads("decoder/num_heads")?,
            dtype: match embeddings.element {
                Element::F16 => "float16",
                Element::BF16 => "bfloat16",
                _ => "float32",
            },
        })
    }

    fn shape<const RANK: usize>(&self, name: &str) -> Result<[usize; RANK], ConvertError> {
        let shape = self.variable(name)?.shape.as_slice();
        shape.try_into().map_err(|_| ConvertError::Variable {
            name: name.to_owned(),
            what: "has an unexpected number of dimensions",
        })
    }

    fn heads(&self, name: &str) -> Result<u16, ConvertError> {
        let variable = self.variable(name)?;
        match (variable.element, variable.data) {
            (Element::I16, &[low, high]) if high < 0x80 => Ok(u16::from_le_bytes([low, high])),
            _ => Err(ConvertError::Variable {
                name: name.to_owned(),
                what: "is not one 16-bit count",
            }),
        }
    }
}

/// The safetensors name of a float type; quantised variables need their scales and are refused.
fn dtype(element: Element) -> Option<&'static str> {
    match element {
        Element::F32 => Some("F32"),
        Element::F16 => Some("F16"),
        Element::BF16 => Some("BF16"),
        Element::I8 | Element::I16 | Element::I32 => None,
    }
}
