//! Rotary positions as `config.json` writes them: `rope_scaling`, or `rope_parameters`.

use std::path::Path;

use serde::Deserialize;

use super::{Scaling, Yarn};
use crate::load::LoadError;

/// `rope_scaling`, or `rope_parameters` as transformers 5 writes it.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct RawRope {
    #[serde(alias = "type")]
    pub(super) rope_type: Option<String>,
    pub(super) rope_theta: Option<f64>,
    pub(super) partial_rotary_factor: Option<f64>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    original_max_position_embeddings: Option<f64>,
    beta_fast: Option<f64>,
    beta_slow: Option<f64>,
    truncate: Option<bool>,
    attention_factor: Option<f64>,
    mscale: Option<f64>,
    mscale_all_dim: Option<f64>,
}

/// The scaling of a model with this window.
pub(super) fn scaling(
    file: &Path,
    raw: Option<&RawRope>,
    window: usize,
) -> Result<Scaling, LoadError> {
    let Some(raw) = raw else {
        return Ok(Scaling::None);
    };
    let positive = |name: &str, value: Option<f64>| {
        value
            .filter(|value| *value > 0.0 && value.is_finite())
            .ok_or_else(|| LoadError::corrupt(file, format!("rope_scaling has no usable {name}")))
    };
    let original = raw.original_max_position_embeddings;
    match raw.rope_type.as_deref() {
        None | Some("default") => Ok(Scaling::None),
        Some("linear") => Ok(Scaling::Linear {
            factor: positive("factor", raw.factor)?,
        }),
        // Stretches a sequence only when it is longer than the window, and none is here.
        Some("dynamic") if original.is_none_or(|original| original >= window as f64) => {
            Ok(Scaling::None)
        }
        Some("llama3") => {
            let low = positive("low_freq_factor", raw.low_freq_factor)?;
            let high = positive("high_freq_factor", raw.high_freq_factor)?;
            if high <= low {
                return Err(LoadError::corrupt(
                    file,
                    "rope_scaling has a high_freq_factor below the low one",
                ));
            }
            Ok(Scaling::Llama3 {
                factor: positive("factor", raw.factor)?,
                low,
                high,
                original_window: positive("original_max_position_embeddings", original)?,
            })
        }
        Some("yarn") => {
            let factor = positive("factor", raw.factor)?;
            let attention = |scale: f64| attention_factor(factor, scale);
            let default = match (raw.mscale, raw.mscale_all_dim) {
                (Some(one), Some(all)) if one != 0.0 && all != 0.0 => {
                    attention(one) / attention(all)
                }
                _ => attention(1.0),
            };
            Ok(Scaling::Yarn(Yarn {
                factor,
                fast: positive("beta_fast", raw.beta_fast.or(Some(32.0)))?,
                slow: positive("beta_slow", raw.beta_slow.or(Some(1.0)))?,
                original_window: positive(
                    "original_max_position_embeddings",
                    original.or(Some(window as f64)),
                )?,
                whole: raw.truncate.unwrap_or(true),
                attention_factor: positive(
                    "attention_factor",
                    raw.attention_factor.or(Some(default)),
                )?,
            }))
        }
        Some(other) => Err(LoadError::unsupported(
            file,
            format!(
                "rope_scaling {other:?}; linear, llama3 and yarn are known, and dynamic beyond the window"
            ),
        )),
    }
}

/// What YaRN multiplies to sines and cosines (Peng et al. 2023, equation 22).
pub(super) fn attention_factor(factor: f64, scale: f64) -> f64 {
    if factor > 1.0 {
        0.1 * scale * factor.ln() + 1.0
    } else {
        1.0
    }
}
