//! `pytorch_model.bin`, as PyTorch writes it since 1.6: a zip archive, nothing in it compressed, with a
//! pickle that describes tensors and a record of bytes for each storage.
//!
//! The pickle is read as data: the few words that describe tensors are known, all others stand for
//! nothing, and nothing is ever called.

mod archive;
mod pickle;

use std::path::Path;

use candle_core::DType;

use crate::load::LoadError;
use archive::Archive;

/// The name under which a checkpoint has it.
pub(crate) const BIN: &str = "pytorch_model.bin";

/// A tensor, and its bytes in the file.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) name: String,
    pub(crate) dtype: DType,
    pub(crate) shape: Vec<usize>,
    pub(crate) begin: usize,
    pub(crate) end: usize,
}

/// The tensors of a file, whose bytes are `bytes`; every place is within them.
pub(crate) fn tensors(path: &Path, bytes: &[u8]) -> Result<Vec<Found>, LoadError> {
    let corrupt = |detail: String| LoadError::corrupt(path, detail);
    if !bytes.starts_with(b"PK") {
        return Err(LoadError::unsupported(
            path,
            "it is no zip archive; PyTorch before 1.6 wrote such files. Save it anew, as safetensors",
        ));
    }
    let archive = Archive::open(bytes).map_err(corrupt)?;
    let (folder, described) = archive.description().map_err(corrupt)?;
    let order = archive.record(&format!("{folder}byteorder"));
    if order.is_some_and(|order| &bytes[order] != b"little") {
        return Err(LoadError::unsupported(path, "its numbers are big-endian"));
    }
    let described = pickle::tensors(described).map_err(corrupt)?;
    let mut found = Vec::with_capacity(described.len());
    for tensor in described {
        let wrong = |detail: &str| corrupt(format!("tensor {:?}: {detail}", tensor.name));
        let Some(dtype) = dtype_of(&tensor.storage) else {
            let detail = format!("tensor {:?} is of type {:?}", tensor.name, tensor.storage);
            return Err(LoadError::unsupported(path, detail));
        };
        if !tensor.is_row_major() {
            let detail = format!("tensor {:?} does not lie row after row", tensor.name);
            return Err(LoadError::unsupported(path, detail));
        }
        let record = format!("{folder}data/{}", tensor.key);
        let record = archive
            .record(&record)
            .ok_or_else(|| wrong(&format!("there is no record {record:?}")))?;
        let size = dtype.size_in_bytes();
        let numbers = tensor
            .shape
            .iter()
            .try_fold(1usize, |product, &size| product.checked_mul(size));
        let within = |from: usize, numbers: usize| {
            let begin = record.start.checked_add(from.checked_mul(size)?)?;
            let end = begin.checked_add(numbers.checked_mul(size)?)?;
            (end <= record.end).then_some((begin, end))
        };
        let (begin, end) = numbers
            .and_then(|numbers| within(tensor.offset, numbers))
            .ok_or_else(|| wrong("it reaches beyond its record"))?;
        found.push(Found {
            name: tensor.name.to_string(),
            dtype,
            shape: tensor.shape,
            begin,
            end,
        });
    }
    if found.is_empty() {
        return Err(corrupt("it describes no tensor by name".into()));
    }
    Ok(found)
}

/// The type of the numbers of a storage, by the name of its class.
fn dtype_of(storage: &str) -> Option<DType> {
    Some(match storage {
        "FloatStorage" => DType::F32,
        "HalfStorage" => DType::F16,
        "BFloat16Storage" => DType::BF16,
        "DoubleStorage" => DType::F64,
        "LongStorage" => DType::I64,
        "IntStorage" => DType::I32,
        "ShortStorage" => DType::I16,
        "ByteStorage" | "BoolStorage" => DType::U8,
        _ => return None,
    })
}
