//! An opened GGUF file: metadata and tensors, mapped and read on demand.
//!
//! The format is described in ggml's docs/gguf.md (versions 2 and 3, little-endian). Every count,
//! length and offset is checked against the bytes that are there before anything is allocated for
//! it: a file can make us allocate no more than a small multiple of its own size.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use candle_core::quantized::{GgmlDType, ggml_file::qtensor_from_ggml};
use candle_core::{Device, Tensor};
use kernels::{Format, PackedLinear};
use memmap2::Mmap;

use crate::load::{Files, LoadError};

/// The most entries of metadata.
const ENTRIES_MAX: u64 = 65_536;
/// The most tensors.
const TENSORS_MAX: u64 = 65_536;
/// The longest name of an entry or tensor, in bytes.
const NAME_MAX_BYTES: usize = 1024;
/// The most dimensions of a tensor (GGML_MAX_DIMS).
const RANK_MAX: u32 = 4;
/// The most levels of arrays within arrays.
const NESTING_MAX: usize = 4;
/// Where no `general.alignment` says otherwise.
const ALIGNMENT_DEFAULT: u64 = 32;
/// The least alignment: quantised blocks are read in place and hold 4-byte numbers. The format
/// asks for a multiple of 8.
const ALIGNMENT_MIN: u64 = 8;
/// The greatest alignment, a large page.
const ALIGNMENT_MAX: u64 = 2 << 20;

/// A checked GGUF file.
#[derive(Debug)]
pub(crate) struct Gguf {
    path: PathBuf,
    map: Mmap,
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

impl Gguf {
    /// Opens and checks a file.
    pub(crate) fn open(files: &Files, name: &str) -> Result<Self, LoadError> {
        let (path, map) = (files.path(name), files.map(name)?);
        let (metadata, tensors) = Reader {
            path: &path,
            bytes: &map,
            at: 0,
        }
        .file()?;
        Ok(Self {
            path,
            map,
            metadata,
            tensors,
        })
    }

    /// The file.
    pub(crate) fn file(&self) -> &Path {
        &self.path
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
    pub(crate) fn packed_bytes(&self) -> u64 {
        let bytes = |place: &Place| {
            let packed = match (place.dtype.format(), place.shape.as_slice()) {
                (Some(format), [.., outputs, inputs]) if place.shape.len() <= 3 => {
                    let matrices = place.shape.len() == 3;
                    let matrices = if matrices { place.shape[0] } else { 1 };
                    format
                        .packed_bytes(*outputs, *inputs)
                        .map(|matrix| matrices * matrix)
                }
                _ => None,
            };
            let elements = place.shape.iter().product::<usize>();
            packed.unwrap_or(elements * size_of::<f32>()) as u64
        };
        self.tensors.values().map(bytes).sum()
    }

    /// The blocks of a quantised matrix `[out, in]` as they lie in the file; `None` for floats and
    /// for formats that the kernels do not read. Absent or of another shape: [`LoadError::Corrupt`].
    pub(crate) fn blocks(
        &self,
        name: &str,
        shape: &[usize],
        part: Option<Part>,
    ) -> Result<Option<(Format, &[u8])>, LoadError> {
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
            Dtype::Ours(format) => return self.unpacked(name, shape, format, bytes),
        };
        qtensor_from_ggml(dtype, bytes, shape.to_vec(), &Device::Cpu)
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
    ) -> Result<(Dtype, &[u8]), LoadError> {
        let Some(Part { index, count }) = part else {
            let place = self.place(name, shape)?;
            return Ok((place.dtype, &self.map[place.bytes.clone()]));
        };
        let place = self.place(name, &[&[count], shape].concat())?;
        let size = place.bytes.len() / count;
        // Each part is whole rows of blocks, so the parts are of one size.
        let start = place.bytes.start + index * size;
        Ok((place.dtype, &self.map[start..start + size]))
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

/// Walks the file from front to back; every step checks that its bytes are there.
struct Reader<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    at: usize,
}

type Contents = (HashMap<String, Value>, HashMap<String, Place>);

/// Name, type, shape and offset of a tensor; the offset counts from the start of the data.
type Info = (String, Dtype, Vec<usize>, u64);

impl Reader<'_> {
    fn file(mut self) -> Result<Contents, LoadError> {
        if self.array::<4>()? != *b"GGUF" {
            return Err(self.corrupt("it does not begin with GGUF"));
        }
        let version = self.u32()?;
        if !matches!(version, 2 | 3) {
            return Err(LoadError::unsupported(
                self.path,
                format!("GGUF version {version}; 2 and 3 are known"),
            ));
        }
        let (tensors, entries) = (self.u64()?, self.u64()?);
        if tensors > TENSORS_MAX || entries > ENTRIES_MAX {
            return Err(self.corrupt(&format!(
                "it claims {tensors} tensors and {entries} entries"
            )));
        }
        let metadata = self.metadata(entries)?;
        let infos = self.infos(tensors)?;
        let tensors = self.places(infos, alignment(self.path, &metadata)?)?;
        Ok((metadata, tensors))
    }

    fn metadata(&mut self, entries: u64) -> Result<HashMap<String, Value>, LoadError> {
        let mut metadata = HashMap::new();
        for _ in 0..entries {
            let key = self.name()?;
            let kind = self.kind()?;
            let value = self.value(kind, NESTING_MAX)?;
            if metadata.insert(key.clone(), value).is_some() {
                return Err(self.corrupt(&format!("its entry {key:?} is there twice")));
            }
        }
        Ok(metadata)
    }

    fn infos(&mut self, tensors: u64) -> Result<Vec<Info>, LoadError> {
        let mut infos = Vec::new();
        for _ in 0..tensors {
            let name = self.name()?;
            let rank = self.u32()?;
            if rank > RANK_MAX {
                return Err(self.corrupt(&format!("tensor {name:?} has {rank} dimensions")));
            }
            let mut shape = (0..rank)
                .map(|_| self.size())
                .collect::<Result<Vec<_>, _>>()?;
            // ggml lists the innermost dimension first.
            shape.reverse();
            let word = self.u32()?;
            let Some(dtype) = dtype_of(word) else {
                return Err(LoadError::unsupported(
                    self.path,
                    format!("tensor {name:?} is of ggml type {word}"),
                ));
            };
            infos.push((name, dtype, shape, self.u64()?));
        }
        Ok(infos)
    }

    fn places(
        &self,
        infos: Vec<Info>,
        alignment: u64,
    ) -> Result<HashMap<String, Place>, LoadError> {
        let base = (self.at as u64).next_multiple_of(alignment);
        let mut ranges = Vec::with_capacity(infos.len());
        let mut tensors = HashMap::with_capacity(infos.len());
        for (name, dtype, shape, offset) in infos {
            let lies = || {
                self.corrupt(&format!(
                    "tensor {name:?} of type {dtype:?} and shape {shape:?} at {offset}"
                ))
            };
            let row = shape.last().copied().unwrap_or(1);
            let elements = shape
                .iter()
                .try_fold(1usize, |product, &size| product.checked_mul(size));
            let elements = elements.filter(|&elements| elements > 0).ok_or_else(lies)?;
            let begin = base
                .checked_add(offset)
                .and_then(|begin| usize::try_from(begin).ok())
                .ok_or_else(lies)?;
            let size = (elements / dtype.block_size())
                .checked_mul(dtype.type_size())
                .ok_or_else(lies)?;
            let end = begin
                .checked_add(size)
                .filter(|&end| end <= self.bytes.len())
                .ok_or_else(lies)?;
            if !row.is_multiple_of(dtype.block_size()) || !offset.is_multiple_of(alignment) {
                return Err(lies());
            }
            ranges.push(begin..end);
            if tensors
                .insert(
                    name.clone(),
                    Place {
                        dtype,
                        shape,
                        bytes: begin..end,
                    },
                )
                .is_some()
            {
                return Err(self.corrupt(&format!("tensor {name:?} is there twice")));
            }
        }
        ranges.sort_unstable_by_key(|range| range.start);
        if let Some(pair) = ranges.windows(2).find(|pair| pair[0].end > pair[1].start) {
            return Err(self.corrupt(&format!(
                "two tensors share the bytes from {}",
                pair[1].start
            )));
        }
        Ok(tensors)
    }

    fn value(&mut self, kind: Kind, nesting: usize) -> Result<Value, LoadError> {
        Ok(match kind {
            Kind::U8 => Value::Integer(u8::from_le_bytes(self.array()?).into()),
            Kind::I8 => Value::Integer(i8::from_le_bytes(self.array()?).into()),
            Kind::U16 => Value::Integer(u16::from_le_bytes(self.array()?).into()),
            Kind::I16 => Value::Integer(i16::from_le_bytes(self.array()?).into()),
            Kind::U32 => Value::Integer(self.u32()?.into()),
            Kind::I32 => Value::Integer(i32::from_le_bytes(self.array()?).into()),
            Kind::U64 => Value::Integer(self.u64()?.into()),
            Kind::I64 => Value::Integer(i64::from_le_bytes(self.array()?).into()),
            Kind::F32 => Value::Float(f32::from_le_bytes(self.array()?).into()),
            Kind::F64 => Value::Float(f64::from_le_bytes(self.array()?)),
            Kind::Bool => Value::Bool(self.array::<1>()? != [0]),
            Kind::Text => Value::Text(self.text()?),
            Kind::Array => self.values(nesting)?,
        })
    }

    fn values(&mut self, nesting: usize) -> Result<Value, LoadError> {
        if nesting == 0 {
            return Err(self.corrupt("its arrays are nested too deeply"));
        }
        let (kind, count) = (self.kind()?, self.size()?);
        let start = self.at;
        if let Some(width) = kind.width() {
            let bytes = count
                .checked_mul(width)
                .ok_or_else(|| self.corrupt("an array is too long"))?;
            self.take(bytes)?;
        } else {
            // Each element has at least its own length, so a false count runs into the end soon.
            for _ in 0..count {
                self.value(kind, nesting - 1)?;
            }
        }
        Ok(Value::Array {
            kind,
            count,
            bytes: start..self.at,
        })
    }

    fn name(&mut self) -> Result<String, LoadError> {
        let range = self.text()?;
        let bytes = &self.bytes[range];
        match std::str::from_utf8(bytes) {
            Ok(name) if !name.is_empty() && name.len() <= NAME_MAX_BYTES => Ok(name.to_owned()),
            _ => Err(self.corrupt("a name is empty, too long or no UTF-8")),
        }
    }

    fn text(&mut self) -> Result<Range<usize>, LoadError> {
        let length = self.size()?;
        self.take(length)
    }

    fn kind(&mut self) -> Result<Kind, LoadError> {
        const KINDS: [Kind; 13] = [
            Kind::U8,
            Kind::I8,
            Kind::U16,
            Kind::I16,
            Kind::U32,
            Kind::I32,
            Kind::F32,
            Kind::Bool,
            Kind::Text,
            Kind::Array,
            Kind::U64,
            Kind::I64,
            Kind::F64,
        ];
        let word = self.u32()?;
        KINDS
            .get(word as usize)
            .copied()
            .ok_or_else(|| self.corrupt(&format!("an entry is of unknown type {word}")))
    }

    fn u32(&mut self) -> Result<u32, LoadError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, LoadError> {
        self.array().map(u64::from_le_bytes)
    }

    fn size(&mut self) -> Result<usize, LoadError> {
        let size = self.u64()?;
        usize::try_from(size).map_err(|_| self.corrupt(&format!("a size of {size}")))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], LoadError> {
        let range = self.take(N)?;
        let mut array = [0; N];
        array.copy_from_slice(&self.bytes[range]);
        Ok(array)
    }

    fn take(&mut self, length: usize) -> Result<Range<usize>, LoadError> {
        match self
            .at
            .checked_add(length)
            .filter(|&end| end <= self.bytes.len())
        {
            Some(end) => {
                let start = std::mem::replace(&mut self.at, end);
                Ok(start..end)
            }
            None => Err(self.corrupt(&format!("it ends where {length} more bytes were promised"))),
        }
    }

    fn corrupt(&self, detail: &str) -> LoadError {
        LoadError::corrupt(self.path, format!("{detail} (at byte {})", self.at))
    }
}

impl Kind {
    /// Bytes of one element, where all have the same.
    fn width(self) -> Option<usize> {
        match self {
            Self::U8 | Self::I8 | Self::Bool => Some(1),
            Self::U16 | Self::I16 => Some(2),
            Self::U32 | Self::I32 | Self::F32 => Some(4),
            Self::U64 | Self::I64 | Self::F64 => Some(8),
            Self::Text | Self::Array => None,
        }
    }
}

fn alignment(path: &Path, metadata: &HashMap<String, Value>) -> Result<u64, LoadError> {
    match metadata.get("general.alignment") {
        None => Ok(ALIGNMENT_DEFAULT),
        Some(Value::Integer(value)) => u64::try_from(*value)
            .ok()
            .filter(|value| {
                value.is_power_of_two() && (ALIGNMENT_MIN..=ALIGNMENT_MAX).contains(value)
            })
            .ok_or_else(|| LoadError::corrupt(path, format!("general.alignment is {value}"))),
        Some(_) => Err(LoadError::corrupt(
            path,
            "general.alignment is not a whole number",
        )),
    }
}

/// The types that candle or the kernels can dequantise, by their numbers in ggml.h.
fn dtype_of(word: u32) -> Option<Dtype> {
    Some(Dtype::Ggml(match word {
        0 => GgmlDType::F32,
        1 => GgmlDType::F16,
        2 => GgmlDType::Q4_0,
        3 => GgmlDType::Q4_1,
        6 => GgmlDType::Q5_0,
        7 => GgmlDType::Q5_1,
        8 => GgmlDType::Q8_0,
        10 => GgmlDType::Q2K,
        11 => GgmlDType::Q3K,
        12 => GgmlDType::Q4K,
        13 => GgmlDType::Q5K,
        14 => GgmlDType::Q6K,
        30 => GgmlDType::BF16,
        20 => return Some(Dtype::Ours(Format::IQ4_NL)),
        23 => return Some(Dtype::Ours(Format::IQ4_XS)),
        39 => return Some(Dtype::Ours(Format::MXFP4)),
        _ => return None,
    }))
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
