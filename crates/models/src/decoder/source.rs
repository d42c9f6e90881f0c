//! Where a decoder's tensors come from, and how they are read.

use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use kernels::{Format, PackedLinear, Precision};

use super::config::{DecoderConfig, from_gguf, from_json};
use super::layout::Layout;
use crate::checkpoint::Checkpoint;
use crate::gguf::{Gguf, Part};
use crate::kept::{self, Packs};
use crate::linear::{Embedding, Linear, Packed, can_pack};
use crate::load::{Files, LoadError};
use crate::mapped::Lent;

/// An opened checkpoint of a decoder.
pub(crate) struct Source {
    tensors: Tensors,
    layout: &'static Layout,
}

enum Tensors {
    HuggingFace(Checkpoint),
    Gguf(Gguf),
}

/// The file names under which a GGUF checkpoint is looked for first.
const GGUF_FILE: &str = "model.gguf";

impl Source {
    /// Opens `model.gguf`, or the only `.gguf` of the folder, or else safetensors; and reads the
    /// configuration that goes with it.
    pub(crate) fn open(files: &Files) -> Result<(Self, DecoderConfig), LoadError> {
        let gguf = if files.has(GGUF_FILE) {
            Some(GGUF_FILE.to_owned())
        } else {
            files.only("gguf")
        };
        let (tensors, (config, layout)) = if let Some(name) = gguf {
            let gguf = Gguf::open(files, &name)?;
            let config = from_gguf(&gguf)?;
            (Tensors::Gguf(gguf), config)
        } else {
            let config = from_json(files)?;
            if !config.0.attention.causal {
                let detail =
                    "its tokens see later ones: it makes vectors of texts, and writes none";
                return Err(LoadError::unsupported(&files.path("config.json"), detail));
            }
            (Tensors::HuggingFace(Checkpoint::open(files)?), config)
        };
        Ok((Self { tensors, layout }, config))
    }

    /// The GGUF file, where the checkpoint is one.
    pub(crate) fn gguf(&self) -> Option<&Gguf> {
        match &self.tensors {
            Tensors::HuggingFace(_) => None,
            Tensors::Gguf(gguf) => Some(gguf),
        }
    }

    /// The file to blame for what is in none.
    fn file(&self) -> &Path {
        match &self.tensors {
            Tensors::HuggingFace(checkpoint) => checkpoint.file(),
            Tensors::Gguf(gguf) => gguf.file(),
        }
    }

    /// The names of its tensors.
    pub(crate) fn layout(&self) -> &'static Layout {
        self.layout
    }

    /// Numbers in all tensors together.
    pub(crate) fn elements(&self) -> u64 {
        match &self.tensors {
            Tensors::HuggingFace(checkpoint) => checkpoint.elements(),
            Tensors::Gguf(gguf) => gguf.elements(),
        }
    }

    /// Bytes of the weights as the device keeps them.
    pub(crate) fn weights_bytes(&self, device: &Device, dtype: DType) -> u64 {
        match &self.tensors {
            Tensors::Gguf(gguf) if can_pack(device, dtype) => gguf.weights_bytes(),
            // 17 bytes of a file are 32 4-bit floats, packed or not.
            Tensors::HuggingFace(checkpoint) => {
                let bytes = checkpoint.byte_elements();
                let wide = (self.elements() - bytes) * dtype.size_in_bytes() as u64;
                let block = if can_pack(device, dtype) {
                    24
                } else {
                    32 * dtype.size_in_bytes() as u64
                };
                wide + bytes / 17 * block
            }
            Tensors::Gguf(_) => self.elements() * dtype.size_in_bytes() as u64,
        }
    }

    /// What is packed already of the weights that the device keeps packed.
    pub(crate) fn packs(&self, files: &Files, device: &Device, dtype: DType) -> Packs {
        let gguf = self.gguf().filter(|_| can_pack(device, dtype));
        gguf.map_or(Packs::Off, |gguf| Packs::of(files, gguf))
    }

    fn has(&self, name: &str) -> bool {
        match &self.tensors {
            Tensors::HuggingFace(checkpoint) => checkpoint.has(name),
            Tensors::Gguf(gguf) => gguf.has(name),
        }
    }
}

/// Reads the tensors of one layer, or those outside the layers.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'a> {
    pub(crate) source: &'a Source,
    pub(crate) packs: &'a Packs,
    pub(crate) layer: Option<usize>,
    pub(crate) dtype: DType,
    pub(crate) device: &'a Device,
    /// How finely the inputs of packed weights are rounded.
    pub(crate) precision: Precision,
}

/// A matrix of a checkpoint.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    pub(crate) name: &'a str,
    pub(crate) inner: usize,
    pub(crate) outer: usize,
    /// Whether it comes with a bias.
    pub(crate) bias: bool,
    /// Where the tensor holds several matrices.
    pub(crate) part: Option<Part>,
}

impl Scope<'_> {
    pub(crate) fn layout(&self) -> &'static Layout {
        self.source.layout
    }

    /// Whether the checkpoint has this weight.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.source.has(&self.full(&format!("{name}.weight")))
    }

    /// A whole tensor of an exact shape, by its whole name.
    pub(crate) fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor, LoadError> {
        self.read(&self.full(name), shape, None)
    }

    /// A weight of an exact shape.
    pub(crate) fn weight(&self, name: &str, shape: &[usize]) -> Result<Tensor, LoadError> {
        self.tensor(&format!("{name}.weight"), shape)
    }

    /// A bias.
    pub(crate) fn bias(&self, name: &str, size: usize) -> Result<Tensor, LoadError> {
        self.tensor(&format!("{name}.bias"), &[size])
    }

    /// The rows that token ids choose, packed where the file and the device allow it.
    pub(crate) fn embedding(&self, config: &DecoderConfig) -> Result<Embedding, LoadError> {
        let matrix = Matrix {
            name: self.layout().embedding,
            inner: config.hidden,
            outer: config.vocabulary,
            bias: false,
            part: None,
        };
        match self.packed(matrix, None)? {
            Some(weights) => Ok(Embedding::Packed(weights)),
            None => self
                .weight(matrix.name, &[matrix.outer, matrix.inner])
                .map(Embedding::Dense),
        }
    }

    /// A projection of `[rows, inner]` to `[rows, outer]`.
    pub(crate) fn linear(&self, matrix: Matrix) -> Result<Linear, LoadError> {
        self.projection(matrix, None)
    }

    /// A projection to heads that rotate, its rows half a head apart.
    pub(crate) fn rotated(&self, matrix: Matrix, head_size: usize) -> Result<Linear, LoadError> {
        self.projection(matrix, self.layout().in_pairs.then_some(head_size))
    }

    /// The bytes of a tensor of bytes, by its whole name; `None`: the checkpoint has none of this name.
    pub(crate) fn bytes(&self, name: &str, shape: &[usize]) -> Result<Option<Lent<'_>>, LoadError> {
        let name = self.full(name);
        match &self.source.tensors {
            Tensors::HuggingFace(checkpoint) if checkpoint.has(&name) => {
                match checkpoint.bytes(&name, shape)? {
                    (DType::U8, bytes) => Ok(Some(bytes)),
                    (dtype, _) => Err(LoadError::corrupt(
                        checkpoint.file(),
                        format!("tensor {name:?} is of type {dtype:?}, not bytes"),
                    )),
                }
            }
            _ => Ok(None),
        }
    }

    /// A projection whose weights are 4-bit floats in llama.cpp's blocks.
    pub(crate) fn floats4(
        &self,
        blocks: &[u8],
        [outer, inner]: [usize; 2],
        bias: Option<Tensor>,
    ) -> Result<Linear, LoadError> {
        let packed = PackedLinear::pack(Format::MXFP4, blocks, outer, inner)
            .map_err(|error| LoadError::corrupt(self.source.file(), error.to_string()))?;
        if can_pack(self.device, self.dtype) {
            let packed = Packed {
                weights: Arc::new(packed),
                precision: self.precision,
            };
            return Ok(Linear::packed(packed, bias));
        }
        let mut flat = vec![0.0; outer * inner];
        for (output, row) in flat.chunks_exact_mut(inner).enumerate() {
            packed.row(output, row);
        }
        let weight = Tensor::from_vec(flat, (outer, inner), self.device)
            .and_then(|weight| weight.to_dtype(self.dtype));
        Ok(Linear::new(
            weight.map_err(|error| LoadError::device(&error))?,
            bias,
        ))
    }

    /// A projection to one number without a bias; llama.cpp stores it as a vector.
    pub(crate) fn single(&self, name: &str, inner: usize) -> Result<Linear, LoadError> {
        let weight = match &self.source.tensors {
            Tensors::HuggingFace(_) => self.weight(name, &[1, inner])?,
            Tensors::Gguf(_) => self
                .weight(name, &[inner])?
                .unsqueeze(0)
                .map_err(|error| LoadError::device(&error))?,
        };
        Ok(Linear::new(weight, None))
    }

    fn projection(&self, matrix: Matrix, in_pairs: Option<usize>) -> Result<Linear, LoadError> {
        let Matrix {
            name,
            inner,
            outer,
            part,
            ..
        } = matrix;
        let apart = |tensor: Tensor| match in_pairs {
            Some(head_size) => {
                halves(&tensor, head_size).map_err(|error| LoadError::device(&error))
            }
            None => Ok(tensor),
        };
        let bias = matrix
            .bias
            .then(|| self.read(&self.full(&format!("{name}.bias")), &[outer], part));
        let bias = bias.transpose()?.map(apart).transpose()?;
        if let Some(weights) = self.packed(matrix, in_pairs)? {
            let packed = Packed {
                weights,
                precision: self.precision,
            };
            return Ok(Linear::packed(packed, bias));
        }
        let name = self.full(&format!("{name}.weight"));
        let weight = apart(self.read(&name, &[outer, inner], part)?)?;
        Ok(Linear::new(weight, bias))
    }

    /// A matrix `[out, in]` in the bits of a GGUF file, where file and device allow it. With a head
    /// size, its rows are put half a head apart, as [`halves`] does.
    fn packed(
        &self,
        matrix: Matrix,
        in_pairs: Option<usize>,
    ) -> Result<Option<Arc<PackedLinear>>, LoadError> {
        let Some(gguf) = self.source.gguf() else {
            return Ok(None);
        };
        if !can_pack(self.device, self.dtype) {
            return Ok(None);
        }
        let Matrix {
            outer, inner, part, ..
        } = matrix;
        let name = self.full(&format!("{}.weight", matrix.name));
        let Some((format, bytes)) = gguf.blocks(&name, &[outer, inner], part)? else {
            return Ok(None);
        };
        let pack = || match in_pairs {
            Some(head_size) => {
                let apart = rows_apart(&bytes, bytes.len() / outer, head_size);
                PackedLinear::pack(format, &apart, outer, inner)
            }
            None => PackedLinear::pack(format, &bytes, outer, inner),
        };
        let wanted = kept::Matrix {
            name: &name,
            part,
            apart: in_pairs,
            format,
            outputs: outer,
            inputs: inner,
        };
        self.packs
            .matrix(&wanted, pack)
            .map(|weights| Some(Arc::new(weights)))
            .map_err(|error| LoadError::corrupt(gguf.file(), format!("tensor {name:?}: {error}")))
    }

    fn full(&self, name: &str) -> String {
        match self.layer {
            None => name.to_owned(),
            Some(layer) => format!("{}.{layer}.{name}", self.layout().layers),
        }
    }

    fn read(&self, name: &str, shape: &[usize], part: Option<Part>) -> Result<Tensor, LoadError> {
        match &self.source.tensors {
            Tensors::HuggingFace(checkpoint) => {
                checkpoint.tensor(name, shape, self.dtype, self.device)
            }
            Tensors::Gguf(gguf) => gguf
                .part(name, shape, part)?
                .to_dtype(self.dtype)
                .and_then(|tensor| tensor.to_device(self.device))
                .map_err(|error| LoadError::device(&error)),
        }
    }
}

/// As [`halves`], for rows of so many bytes. Kept files have packed rows in this order: another one needs another
/// `kernels::PACKING_VERSION`.
fn rows_apart(rows: &[u8], row_bytes: usize, head_size: usize) -> Vec<u8> {
    let mut apart = Vec::with_capacity(rows.len());
    for head in rows.chunks(row_bytes * head_size) {
        for odd in 0..2 {
            let rows = head.chunks(row_bytes).skip(odd).step_by(2);
            rows.for_each(|row| apart.extend_from_slice(row));
        }
    }
    apart
}

/// `[heads * head_size, ...]`: rows 0, 1, 2, 3, ... of each head to 0, 2, 4, ..., 1, 3, 5, ...
fn halves(rows: &Tensor, head_size: usize) -> candle_core::Result<Tensor> {
    let heads = rows.dim(0)? / head_size;
    let inner = rows.elem_count() / rows.dim(0)?;
    rows.reshape((heads, head_size / 2, 2, inner))?
        .transpose(1, 2)?
        .contiguous()?
        .reshape(rows.shape())
}
