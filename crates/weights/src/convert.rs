//! Conversions from one layout of weights to another, by name.

mod ct2;
mod onnx;
mod safetensors_file;
mod silero;
mod whisper;
mod whisper_config;

use std::borrow::Cow;
use std::collections::BTreeMap;

/// The outputs of a conversion: for each file name its bytes, in pieces to be written one after the other.
pub(crate) type Converted<'a> = BTreeMap<&'static str, Vec<Cow<'a, [u8]>>>;

/// Why a conversion refused its input.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// There is no conversion of that name.
    #[error("there is no conversion named {0:?}")]
    Unknown(String),
    /// The conversion takes another number of inputs.
    #[error("the conversion takes {want} inputs, not {have}")]
    Inputs {
        /// Inputs that it takes.
        want: usize,
        /// Inputs that were given.
        have: usize,
    },
    /// The input ends too early.
    #[error("model.bin ends at byte {length}, in the middle of {what} at byte {at}")]
    Truncated {
        /// What is cut.
        what: &'static str,
        /// Where it begins, in bytes.
        at: usize,
        /// The length of the input in bytes.
        length: usize,
    },
    /// A value contradicts the format.
    #[error("model.bin, byte {at}: {what}")]
    Format {
        /// What is wrong.
        what: String,
        /// Where, in bytes.
        at: usize,
    },
    /// An ONNX file contradicts its format.
    #[error("the ONNX file, byte {at}: {what}")]
    Onnx {
        /// What is wrong.
        what: String,
        /// Where, in bytes.
        at: usize,
    },
    /// A variable that the architecture needs is not there.
    #[error("the model holds no variable {0}")]
    Missing(String),
    /// A variable does not have the form that the architecture needs.
    #[error("variable {name}: {what}")]
    Variable {
        /// The variable.
        name: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A variable that has no place in the result; dropping it would change the model.
    #[error("variable {0} has no place in the result")]
    Unmapped(String),
    /// A JSON input cannot be read, or disagrees with the model.
    #[error("{file}: {what}")]
    Json {
        /// Which input.
        file: &'static str,
        /// What is wrong.
        what: String,
    },
}

/// Runs the conversion called `by` on its inputs.
///
/// - `ct2-whisper`: a CTranslate2 Whisper `model.bin`, its `config.json`, and the `tokenizer.json`, to the Hugging
///   Face layout: `model.safetensors`, `config.json`, `generation_config.json`, `preprocessor_config.json`.
/// - `onnx-silero-vad`: Silero's detector of voice in ONNX, 16 kHz alone, to `model.safetensors`.
pub(crate) fn run<'a>(by: &str, inputs: &'a [Vec<u8>]) -> Result<Converted<'a>, ConvertError> {
    match by {
        "ct2-whisper" => match inputs {
            [model, config, tokenizer] => whisper::convert(model, config, tokenizer),
            _ => Err(ConvertError::Inputs {
                want: 3,
                have: inputs.len(),
            }),
        },
        "onnx-silero-vad" => match inputs {
            [model] => silero::convert(model),
            _ => Err(ConvertError::Inputs {
                want: 1,
                have: inputs.len(),
            }),
        },
        _ => Err(ConvertError::Unknown(by.to_owned())),
    }
}

#[cfg(test)]
mod tests;
