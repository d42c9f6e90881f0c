//! The way through a GGUF file's metadata and its table of tensors.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use candle_core::quantized::GgmlDType;
use kernels::Format;

use super::{Dtype, Kind, Place, Value};
use crate::load::LoadError;

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

/// Walks the file from front to back; every step checks that its bytes are there.
pub(super) struct Reader<'a> {
    pub(super) path: &'a Path,
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

/// The metadata, the tensors, and where both have been told.
type Contents = (HashMap<String, Value>, HashMap<String, Place>, usize);

/// Name, type, shape and offset of a tensor; the offset counts from the start of the data.
type Info = (String, Dtype, Vec<usize>, u64);

impl Reader<'_> {
    pub(super) fn file(mut self) -> Result<Contents, LoadError> {
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
        Ok((metadata, tensors, self.at))
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

    pub(super) fn text(&mut self) -> Result<Range<usize>, LoadError> {
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
