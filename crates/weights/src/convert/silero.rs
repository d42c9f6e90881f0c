//! Silero's detector of voice from the names of its ONNX file (16 kHz alone, as in the package's
//! `silero_vad_16k_op15.onnx`) to those of the package's own safetensors.

use std::collections::BTreeMap;

use super::safetensors_file::{self, Tensor};
use super::{ConvertError, Converted, onnx};

/// Names in the ONNX file and in the result.
const NAMES: [(&str, &str); 15] = [
    ("model.stft.forward_basis_buffer", "stft_conv.weight"),
    ("model.encoder.0.reparam_conv.weight", "conv1.weight"),
    ("model.encoder.0.reparam_conv.bias", "conv1.bias"),
    ("model.encoder.1.reparam_conv.weight", "conv2.weight"),
    ("model.encoder.1.reparam_conv.bias", "conv2.bias"),
    ("model.encoder.2.reparam_conv.weight", "conv3.weight"),
    ("model.encoder.2.reparam_conv.bias", "conv3.bias"),
    ("model.encoder.3.reparam_conv.weight", "conv4.weight"),
    ("model.encoder.3.reparam_conv.bias", "conv4.bias"),
    ("model.decoder.rnn.weight_ih", "lstm_cell.weight_ih"),
    ("model.decoder.rnn.weight_hh", "lstm_cell.weight_hh"),
    ("model.decoder.rnn.bias_ih", "lstm_cell.bias_ih"),
    ("model.decoder.rnn.bias_hh", "lstm_cell.bias_hh"),
    ("model.decoder.decoder.2.weight", "final_conv.weight"),
    ("model.decoder.decoder.2.bias", "final_conv.bias"),
];

/// Converts the ONNX file.
pub(crate) fn convert(model: &[u8]) -> Result<Converted<'_>, ConvertError> {
    let mut found = onnx::floats(model)?;
    let mut tensors = BTreeMap::new();
    for (source, target) in NAMES {
        let floats = found
            .remove(source)
            .ok_or_else(|| ConvertError::Missing(source.to_owned()))?;
        let tensor = Tensor {
            dtype: "F32",
            shape: floats.shape,
            data: floats.data,
        };
        tensors.insert(target.to_owned(), tensor);
    }
    if let Some((name, _)) = found.pop_first() {
        return Err(ConvertError::Unmapped(name.to_owned()));
    }
    Ok([("model.safetensors", safetensors_file::pieces(&tensors))].into())
}
