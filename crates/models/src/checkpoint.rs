//! An opened checkpoint: one safetensors file, or the shards that its index names, or PyTorch's own file.
//!
//! The format: 8 bytes little-endian length of the header, the header (a JSON object: name ->
//! dtype, shape, data_offsets relative to the end of the header), the data. Everything the header
//! says is checked before a tensor is made: no overlap, no hole, no byte outside the file, and
//! dtype times shape equal to the bytes.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Shape, Tensor};
use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess, Visitor};

use crate::load::{Files, LoadError};
use crate::mapped::{Lent, Mapped};
use crate::pytorch::{self, BIN};

/// The largest header, in bytes: a tensor needs about 120 of them.
const HEADER_MAX_BYTES: u64 = 16 << 20;
/// The most tensors in one file.
const TENSORS_MAX: usize = 65_536;
/// The most dimensions of a tensor.
const RANK_MAX: usize = 8;
/// The most files that an index may name.
const SHARDS_MAX: usize = 256;

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// The tensors of a checkpoint, by name; mapped, not yet read.
#[derive(Debug)]
pub struct Checkpoint {
    shards: Vec<Shard>,
    entries: HashMap<String, Place>,
}

#[derive(Debug)]
struct Shard {
    path: PathBuf,
    map: Mapped,
}

#[derive(Debug)]
struct Place {
    shard: usize,
    dtype: DType,
    shape: Vec<usize>,
    begin: usize,
    end: usize,
}

impl Checkpoint {
    /// Opens `model.safetensors`, or the shards of `model.safetensors.index.json`, or, where there is
    /// neither, `pytorch_model.bin`.
    pub fn open(files: &Files) -> Result<Self, LoadError> {
        let has_any = files.has(SINGLE) || files.has(INDEX);
        if !has_any && files.has(BIN) {
            return Self::open_bin(files);
        }
        if files.has(SINGLE) || !files.has(INDEX) {
            return Self::open_files(files, &[SINGLE.to_owned()]);
        }
        Self::open_shards(files, INDEX)
    }

    /// Opens `<stem>.safetensors`, the same in half precision, or the shards of
    /// `<stem>.safetensors.index.json`.
    pub(crate) fn open_stem(files: &Files, stem: &str) -> Result<Self, LoadError> {
        let [whole, half, index] = ["", ".fp16", ".index"].map(|word| match word {
            ".index" => format!("{stem}.safetensors.index.json"),
            word => format!("{stem}{word}.safetensors"),
        });
        if !files.has(&whole) && files.has(&half) {
            return Self::open_files(files, &[half]);
        }
        if files.has(&whole) || !files.has(&index) {
            return Self::open_files(files, &[whole]);
        }
        Self::open_shards(files, &index)
    }

    fn open_shards(files: &Files, index: &str) -> Result<Self, LoadError> {
        let listed: Index = files.json(index)?;
        let names: Vec<String> = listed
            .weight_map
            .into_values()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        if names.is_empty() || names.len() > SHARDS_MAX {
            return Err(LoadError::corrupt(
                &files.path(index),
                format!(
                    "it names {} files; 1 to {SHARDS_MAX} are possible",
                    names.len()
                ),
            ));
        }
        if let Some(name) = names.iter().find(|name| !plain_name(name)) {
            return Err(LoadError::corrupt(
                &files.path(index),
                format!("{name:?} is not the name of a file beside it"),
            ));
        }
        Self::open_files(files, &names)
    }

    /// Opens the named safetensors files as one checkpoint.
    pub fn open_files(files: &Files, names: &[String]) -> Result<Self, LoadError> {
        let mut shards = Vec::with_capacity(names.len());
        let mut entries = HashMap::new();
        for (shard, name) in names.iter().enumerate() {
            let path = files.path(name);
            let map = files.map(name)?;
            for (tensor, mut place) in read_header(&path, &map)? {
                place.shard = shard;
                if entries.insert(tensor.clone(), place).is_some() {
                    return Err(LoadError::corrupt(
                        &path,
                        format!("tensor {tensor:?} is in two files"),
                    ));
                }
            }
            shards.push(Shard { path, map });
        }
        Ok(Self { shards, entries })
    }

    fn open_bin(files: &Files) -> Result<Self, LoadError> {
        let (path, map) = (files.path(BIN), files.map(BIN)?);
        let mut entries = HashMap::new();
        for found in pytorch::tensors(&path, &map)? {
            let place = Place {
                shard: 0,
                dtype: found.dtype,
                shape: found.shape,
                begin: found.begin,
                end: found.end,
            };
            if entries.insert(found.name.clone(), place).is_some() {
                let detail = format!("tensor {:?} is there twice", found.name);
                return Err(LoadError::corrupt(&path, detail));
            }
        }
        let shards = vec![Shard { path, map }];
        Ok(Self { shards, entries })
    }

    /// Only the tensors whose names begin so, without it.
    pub(crate) fn within(self, prefix: &str) -> Self {
        let entries = self.entries.into_iter();
        let entries = entries.filter_map(|(name, place)| {
            let name = name.strip_prefix(prefix)?.to_owned();
            Some((name, place))
        });
        Self {
            entries: entries.collect(),
            shards: self.shards,
        }
    }

    /// Whether there is a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// The shape of a tensor, if it is there.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.entries.get(name).map(|place| place.shape.as_slice())
    }

    /// Numbers in all tensors together.
    pub fn elements(&self) -> u64 {
        self.entries
            .values()
            .map(|place| place.shape.iter().product::<usize>() as u64)
            .sum()
    }

    /// Bytes of the widest float.
    pub(crate) fn bytes_per_element(&self) -> u32 {
        let sizes = self
            .entries
            .values()
            .filter(|place| place.dtype.is_float())
            .map(|place| place.dtype.size_in_bytes());
        sizes.max().unwrap_or(0) as u32
    }

    /// The names of all tensors, in no order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// The file to blame for a tensor that is not in any.
    pub fn file(&self) -> &Path {
        self.shards
            .first()
            .map_or_else(|| Path::new(SINGLE), |shard| shard.path.as_path())
    }

    /// Reads a tensor of an exact shape, as `dtype`, onto `device`. Absent or of another shape:
    /// [`LoadError::Corrupt`].
    pub fn tensor(
        &self,
        name: &str,
        shape: &[usize],
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor, LoadError> {
        self.read(self.place(name, shape)?, dtype, device)
            .map_err(|error| LoadError::device(&error))
    }

    /// The bytes of a tensor of an exact shape, and their type.
    pub(crate) fn bytes(
        &self,
        name: &str,
        shape: &[usize],
    ) -> Result<(DType, Lent<'_>), LoadError> {
        let place = self.place(name, shape)?;
        Ok((place.dtype, self.lend(place)))
    }

    /// The numbers of a tensor of an exact shape.
    pub(crate) fn floats(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, LoadError> {
        self.tensor(name, shape, DType::F32, &Device::Cpu)?
            .flatten_all()
            .and_then(|tensor| tensor.to_vec1())
            .map_err(|error| LoadError::device(&error))
    }

    /// Numbers in the tensors of bytes together.
    pub fn byte_elements(&self) -> u64 {
        let places = self.entries.values();
        let bytes = places.filter(|place| place.dtype == DType::U8);
        bytes.map(|place| (place.end - place.begin) as u64).sum()
    }

    /// Checks that a tensor is there and has this shape, without reading it.
    pub fn check(&self, name: &str, shape: &[usize]) -> Result<(), LoadError> {
        self.place(name, shape).map(|_| ())
    }

    fn place(&self, name: &str, shape: &[usize]) -> Result<&Place, LoadError> {
        let place = self.entries.get(name).ok_or_else(|| {
            LoadError::corrupt(self.file(), format!("there is no tensor {name:?}"))
        })?;
        if place.shape == shape {
            return Ok(place);
        }
        Err(LoadError::corrupt(
            &self.shards[place.shard].path,
            format!(
                "tensor {name:?} has the shape {:?}, but the configuration asks for {shape:?}",
                place.shape
            ),
        ))
    }

    fn lend(&self, place: &Place) -> Lent<'_> {
        self.shards[place.shard].map.lend(place.begin..place.end)
    }

    fn read(&self, place: &Place, dtype: DType, device: &Device) -> candle_core::Result<Tensor> {
        Tensor::from_raw_buffer(&self.lend(place), place.dtype, &place.shape, device)?
            .to_dtype(dtype)
    }
}

/// Lets the modules of candle read from a checked file.
impl candle_nn::var_builder::SimpleBackend for Checkpoint {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _: candle_nn::Init,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        self.tensor(name, shape.dims(), dtype, device)
            .map_err(candle_core::Error::wrap)
    }

    fn get_unchecked(
        &self,
        name: &str,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        let place = self.entries.get(name).ok_or_else(|| {
            candle_core::Error::CannotFindTensor {
                path: name.to_owned(),
            }
            .bt()
        })?;
        self.read(place, dtype, device)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.has(name)
    }
}

#[derive(Deserialize)]
struct Index {
    weight_map: HashMap<String, String>,
}

/// Names come from a file: they may not lead out of the folder.
fn plain_name(name: &str) -> bool {
    Path::new(name).file_name().is_some_and(|last| last == name) && !name.contains('\\')
}

#[derive(Deserialize)]
struct RawEntry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (usize, usize),
}

/// The header's object, in its order, with repeated names kept to be refused.
struct RawHeader(Vec<(String, RawEntry)>);

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = RawHeader;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawHeader, A::Error> {
                let mut entries = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        map.next_value::<IgnoredAny>()?;
                    } else if entries.len() == TENSORS_MAX {
                        return Err(serde::de::Error::custom(format!(
                            "more than {TENSORS_MAX} tensors"
                        )));
                    } else {
                        entries.push((name, map.next_value()?));
                    }
                }
                Ok(RawHeader(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

fn read_header(path: &Path, bytes: &[u8]) -> Result<Vec<(String, Place)>, LoadError> {
    let corrupt = |detail: String| LoadError::corrupt(path, detail);
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
        return Err(corrupt(
            "it is shorter than the 8 bytes of a header's length".into(),
        ));
    };
    let length = u64::from_le_bytes(*length);
    if length > HEADER_MAX_BYTES || length > rest.len() as u64 {
        return Err(corrupt(format!(
            "its header claims {length} bytes of a file of {}",
            bytes.len()
        )));
    }
    let (header, data) = rest.split_at(length as usize);
    let RawHeader(entries) =
        serde_json::from_slice(header).map_err(|error| corrupt(format!("its header: {error}")))?;
    let mut places = Vec::with_capacity(entries.len());
    for (name, entry) in entries {
        let (begin, end) = entry.data_offsets;
        let dtype = dtype_of(&entry.dtype).ok_or_else(|| {
            LoadError::unsupported(
                path,
                format!("tensor {name:?} is of type {:?}", entry.dtype),
            )
        })?;
        let wanted = entry
            .shape
            .iter()
            .try_fold(dtype.size_in_bytes(), |product, &size| {
                product.checked_mul(size)
            })
            .filter(|_| entry.shape.len() <= RANK_MAX);
        if begin > end || end > data.len() || wanted != Some(end - begin) {
            return Err(corrupt(format!(
                "tensor {name:?} of type {} and shape {:?} claims the bytes {begin} to {end} of {}",
                entry.dtype,
                entry.shape,
                data.len()
            )));
        }
        let base = 8 + length as usize;
        places.push((
            name,
            Place {
                shard: 0,
                dtype,
                shape: entry.shape,
                begin: base + begin,
                end: base + end,
            },
        ));
    }
    check_layout(path, &mut places, 8 + length as usize, bytes.len())?;
    Ok(places)
}

/// The data must be exactly the tensors: one after the other, in any order, to the end of the file.
fn check_layout(
    path: &Path,
    places: &mut [(String, Place)],
    base: usize,
    length: usize,
) -> Result<(), LoadError> {
    places.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    if let Some(pair) = places.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(LoadError::corrupt(
            path,
            format!("tensor {:?} is there twice", pair[0].0),
        ));
    }
    places.sort_unstable_by_key(|(_, place)| (place.begin, place.end));
    let mut at = base;
    for (name, place) in places.iter() {
        if place.begin != at {
            return Err(LoadError::corrupt(
                path,
                format!(
                    "tensor {name:?} begins at byte {} where {at} was expected",
                    place.begin
                ),
            ));
        }
        at = place.end;
    }
    if at != length {
        return Err(LoadError::corrupt(
            path,
            format!("its tensors end at byte {at} of {length}"),
        ));
    }
    Ok(())
}

fn dtype_of(word: &str) -> Option<DType> {
    Some(match word {
        "F32" => DType::F32,
        "F16" => DType::F16,
        "BF16" => DType::BF16,
        "F64" => DType::F64,
        "I64" => DType::I64,
        "I32" => DType::I32,
        "I16" => DType::I16,
        "U32" => DType::U32,
        "U8" | "BOOL" => DType::U8,
        _ => return None,
    })
}
