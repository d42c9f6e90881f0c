//! Writes safetensors: the header by hand, so that its bytes are fixed, and the tensors as views.
//!
//! Layout (the format's own README): u64 length of the header, the header in JSON padded by spaces to a multiple
//! of eight bytes, the data. Here the tensors follow one another in the order of their names, and the metadata says
//! `"format": "pt"` as transformers writes it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// A tensor to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tensor<'a> {
    /// The format's name of the element type, such as `F16`.
    pub(crate) dtype: &'static str,
    pub(crate) shape: Vec<usize>,
    pub(crate) data: &'a [u8],
}

/// The pieces of a file that holds `tensors`.
pub(crate) fn pieces<'a>(tensors: &BTreeMap<String, Tensor<'a>>) -> Vec<Cow<'a, [u8]>> {
    let mut header = Map::new();
    header.insert("__metadata__".to_owned(), json!({"format": "pt"}));
    let mut at = 0;
    for (name, tensor) in tensors {
        let end = at + tensor.data.len();
        let entry =
            json!({"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [at, end]});
        header.insert(name.clone(), entry);
        at = end;
    }
    let mut text = Value::Object(header).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut head = (text.len() as u64).to_le_bytes().to_vec();
    head.append(&mut text);
    let mut pieces = vec![Cow::Owned(head)];
    pieces.extend(tensors.values().map(|tensor| Cow::Borrowed(tensor.data)));
    pieces
}
