//! An opened GGUF file: metadata and tensors, mapped and read on demand.
//!
//! The format is described in ggml's docs/gguf.md (versions 2 and 3, little-endian). Every count,
//! length and offset is checked against the bytes that are there before anything is allocated for
//! it: a file can make us allocate no more than a small multiple of its own size.

mod reader;

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use candle_core::quantized::{GgmlDType, ggml_file::qtensor_from_ggml};
use candle_core::{Device, Tensor};
use kernels::{Format, PackedLinear};

use crate::load::{Files, LoadError};
use crate::mapped::{Lent, Mapped};
use reader::Reader;

/// A checked GGUF file.
#[derive(Debug)]
pub(crate) struct Gguf {
    path: PathBuf,
    map: Mapped,
    /// Where the metadata and the table of tensors end.
    head: usize,
    metadata: HashMap<String, Value>,
    tensors: HashMap<String, Place>,
}

/// A value of the metadata; texts and arrays stay in the file.
#[derive(Debug, Clone)]
enum Value {
    Integer(i128),
    Float(f64),
    Bool(bool),
    Text(Range<usize>),
    Array {
        kind: Kind,
        count: usize,
        bytes: Range<usize>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    Text,
    Array,
    U64,
    I64,
    F64,
}

/// One of several tensors of one shape that a file holds as one, outermost dimension first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    /// Which; below `count`.
    pub(crate) index: usize,
    /// How many there are.
    pub(crate) count: usize,
}

/// The type of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dtype {
    /// One that candle reads too.
    Ggml(GgmlDType),
    /// One that only the kernels read.
    Ours(Format),
}

impl Dtype {
    /// The format of the kernels that packs it; `None` for floats and for what they do not read.
    fn format(self) -> Option<Format> {
        let dtype = match self {
            Self::Ggml(dtype) => dtype,
            Self::Ours(format) => return Some(format),
        };
        Some(match dtype {
            GgmlDType::Q4_0 => Format::Q4_0,
            GgmlDType::Q4_1 => Format::Q4_1,
            GgmlDType::Q5_0 => Format::Q5_0,
            GgmlDType::Q5_1 => Format::Q5_1,
            GgmlDType::Q8_0 => Format::Q8_0,
            GgmlDType::Q2K => Format::Q2_K,
            GgmlDType::Q3K => Format::Q3_K,
            GgmlDType::Q4K => Format::Q4_K,
            GgmlDType::Q5K => Format::Q5_K,
            GgmlDType::Q6K => Format::Q6_K,
            _ => return None,
        })
    }
}

#[derive(Debug)]
struct Place {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Range<usize>,
}

impl Place {
    /// Bytes of its matrices when they are packed; `None`: they are not.
    fn packed_bytes(&self) -> Option<usize> {
        let packing = self.dtype.format()?.packing();
        match *self.shape {
            [outputs, inputs] => packing.bytes(outputs, inputs),
            [matrices, outputs, inputs] => packing.bytes(outputs, inputs)?.checked_mul(matrices),
            _ => None,
        }
    }
}

impl Gguf {
    /// Opens and checks a file.
    pub(crate) fn open(files: &Files, name: &str) -> Result<Self, LoadError> {
        let (path, map) = (files.path(name), files.map(name)?);
        let (metadata, tensors, head) = Reader {
            path: &path,
            bytes: &map,
            at: 0,
        }
        .file()?;
        Ok(Self {
            path,
            map,
            head,
            metadata,
            tensors,
        })
    }

    /// The file.
    pub(crate) fn file(&self) -> &Path {
        &self.path
    }

    /// Bytes of the file.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.map.len() as u64
    }

    /// When the file was last changed.
    pub(crate) fn modified(&self) -> SystemTime {
        self.map.modified()
    }

    /// Everything before the tensors.
    pub(crate) fn head(&self) -> &[u8] {
        &self.map[..self.head]
    }

    /// An entry that is a whole number of zero or more.
    pub(crate) fn integer(&self, key: &str) -> Result<Option<u64>, LoadError> {
        match self.metadata.get(key) {
            None => Ok(None),
            Some(Value::Integer(value)) if u64::try_from(*value).is_ok() => Ok(Some(*value as u64)),
            Some(_) => Err(self.wrong(key, "a whole number")),
        }
    }

    /// An entry that is a number.
    pub(crate) fn float(&self, key: &str) -> Result<Option<f64>, LoadError> {
        match self.metadata.get(key) {
            None => Ok(None),
            Some(Value::Float(value)) => Ok(Some(*value)),
            Some(_) => Err(self.wrong(key, "a number")),
        }
    }

    /// An entry that is true or false.
    pub(crate) fn boolean(&self, key: &str) -> Result<Option<bool>, LoadError> {
        match self.metadata.get(key) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(_) => Err(self.wrong(key, "true or false")),
        }
    }

    /// An entry that is a text; bytes that are no UTF-8 are replaced.
    pub(crate) fn text(&self, key: &str) -> Result<Option<Cow<'_, str>>, LoadError> {
        match self.metadata.get(key) {
            None => Ok(None),
            Some(Value::Text(range)) => Ok(Some(String::from_utf8_lossy(&self.map[range.clone()]))),
            Some(_) => Err(self.wrong(key, "a text")),
        }
    }

    /// An entry that is an array of texts.
    pub(crate) fn texts(&self, key: &str) -> Result<Option<Vec<Cow<'_, str>>>, LoadError> {
        let Some((count, bytes)) = self.array(key, &[Kind::Text])? else {
            return Ok(None);
        };
        let mut reader = Reader {
            path: &self.path,
            bytes: &self.map,
            at: bytes.start,
        };
        let texts = (0..count).map(|_| Ok(String::from_utf8_lossy(&self.map[reader.text()?])));
        texts.collect::<Result<_, LoadError>>().map(Some)
    }

    /// An entry that is an array of 32-bit whole numbers, as token types are.
    pub(crate) fn integers(&self, key: &str) -> Result<Option<Vec<i32>>, LoadError> {
        let words = self.words(key, &[Kind::I32, Kind::U32])?;
        Ok(words.map(|words| words.map(i32::from_le_bytes).collect()))
    }

    /// An entry that is an array of 32-bit floats.
    pub(crate) fn floats(&self, key: &str) -> Result<Option<Vec<f32>>, LoadError> {
        let words = self.words(key, &[Kind::F32])?;
        Ok(words.map(|words| words.map(f32::from_le_bytes).collect()))
    }

    /// Whether there is a tensor of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Numbers in all tensors together.
    pub(crate) fn elements(&self) -> u64 {
        self.tensors
            .values()
            .map(|place| place.shape.iter().product::<usize>() as u64)
            .sum()
    }

    /// Bytes of all tensors as a CPU keeps them: quantised matrices packed, everything else in float32.
    pub(crate) fn weights_bytes(&self) -> u64 {
        let bytes = |place: &Place| {
            let elements = place.shape.iter().product::<usize>();
            place.packed_bytes().unwrap_or(elements * size_of::<f32>()) as u64
        };
        self.tensors.values().map(bytes).sum()
    }

    /// Bytes of those that are packed.
    pub(crate) fn packed_bytes(&self) -> u64 {
        let packed = self.tensors.values().filter_map(Place::packed_bytes);
        packed.map(|bytes| bytes as u64).sum()
    }

    /// The blocks of a quantised matrix `[out, in]` as they lie in the file; `None` for floats and
    /// for formats that the kernels do not read. Absent or of another shape: [`LoadError::Corrupt`].
    pub(crate) fn blocks(
        &self,
        name: &str,
        shape: &[usize],
        part: Option<Part>,
    ) -> Result<Option<(Format, Lent<'_>)>, LoadError> {
        let (dtype, bytes) = self.bytes(name, shape, part)?;
        Ok(dtype.format().map(|format| (format, bytes)))
    }

    /// Reads a tensor of an exact shape (outermost dimension first) and dequantises it to float32
    /// on the CPU. Absent or of another shape: [`LoadError::Corrupt`].
    pub(crate) fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor, LoadError> {
        self.part(name, shape, None)
    }

    /// The same for one of several tensors that the file holds as one.
    pub(crate) fn part(
        &self,
        name: &str,
        shape: &[usize],
        part: Option<Part>,
    ) -> Result<Tensor, LoadError> {
        let (dtype, bytes) = self.bytes(name, shape, part)?;
        let dtype = match dtype {
            Dtype::Ggml(dtype) => dtype,
            Dtype::Ours(format) => return self.unpacked(name, shape, format, &bytes),
        };
        qtensor_from_ggml(dtype, &bytes, shape.to_vec(), &Device::Cpu)
            .and_then(|tensor| tensor.dequantize(&Device::Cpu))
            .map_err(|error| LoadError::device(&error))
    }

    /// A matrix of one of the kernels' formats in float32.
    fn unpacked(
        &self,
        name: &str,
        shape: &[usize],
        format: Format,
        bytes: &[u8],
    ) -> Result<Tensor, LoadError> {
        let (outer, inner) = match *shape {
            [outer, inner] => (outer, inner),
            _ => (1, shape.iter().product()),
        };
        let packed = PackedLinear::pack(format, bytes, outer, inner)
            .map_err(|error| LoadError::corrupt(&self.path, format!("tensor {name:?}: {error}")))?;
        let mut flat = vec![0.0; outer * inner];
        for (output, row) in flat.chunks_exact_mut(inner).enumerate() {
            packed.row(output, row);
        }
        Tensor::from_vec(flat, shape, &Device::Cpu).map_err(|error| LoadError::device(&error))
    }

    fn bytes(
        &self,
        name: &str,
        shape: &[usize],
        part: Option<Part>,
    ) -> Result<(Dtype, Lent<'_>), LoadError> {
        let Some(Part { index, count }) = part else {
            let place = self.place(name, shape)?;
            return Ok((place.dtype, self.map.lend(place.bytes.clone())));
        };
        let place = self.place(name, &[&[count], shape].concat())?;
        let size = place.bytes.len() / count;
        // Each part is whole rows of blocks, so the parts are of one size.
        let start = place.bytes.start + index * size;
        Ok((place.dtype, self.map.lend(start..start + size)))
    }

    fn place(&self, name: &str, shape: &[usize]) -> Result<&Place, LoadError> {
        let place = self.tensors.get(name).ok_or_else(|| {
            LoadError::corrupt(&self.path, format!("there is no tensor {name:?}"))
        })?;
        if place.shape != shape {
            return Err(LoadError::corrupt(
                &self.path,
                format!(
                    "tensor {name:?} has the shape {:?}, but the metadata asks for {shape:?}",
                    place.shape
                ),
            ));
        }
        Ok(place)
    }

    fn array(&self, key: &str, kinds: &[Kind]) -> Result<Option<(usize, Range<usize>)>, LoadError> {
        match self.metadata.get(key) {
            None => Ok(None),
            Some(Value::Array { kind, count, bytes }) if kinds.contains(kind) => {
                Ok(Some((*count, bytes.clone())))
            }
            Some(_) => Err(self.wrong(key, &format!("an array of {kinds:?}"))),
        }
    }

    fn words(
        &self,
        key: &str,
        kinds: &[Kind],
    ) -> Result<Option<impl Iterator<Item = [u8; 4]>>, LoadError> {
        let words = self.array(key, kinds)?;
        Ok(words.map(|(_, bytes)| self.map[bytes].as_chunks::<4>().0.iter().copied()))
    }

    fn wrong(&self, key: &str, wanted: &str) -> LoadError {
        LoadError::corrupt(&self.path, format!("its entry {key:?} is not {wanted}"))
    }
}

impl Dtype {
    /// Numbers of a block.
    fn block_size(self) -> usize {
        match self {
            Self::Ggml(dtype) => dtype.block_size(),
            Self::Ours(format) => format.block().0,
        }
    }

    /// Bytes of a block.
    fn type_size(self) -> usize {
        match self {
            Self::Ggml(dtype) => dtype.type_size(),
            Self::Ours(format) => format.block().1,
        }
    }
}
