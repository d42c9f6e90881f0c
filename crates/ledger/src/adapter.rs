//! The two files of a LoRA adapter, and what makes them acceptable. Neither is trusted.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use safetensors::tensor::Metadata;
use serde_json::Value;

use crate::ledger_error::{LedgerError, at};

/// The most bytes that an adapter's weights may have.
pub const ADAPTER_MAX_BYTES: u64 = 500_000_000;

/// The most bytes that an adapter's configuration may have.
pub const CONFIG_MAX_BYTES: u64 = 1024 * 1024;

/// The most bytes that the header of the weights may have; real ones have some hundred kilobytes.
const HEADER_MAX_BYTES: u64 = 16 * 1024 * 1024;

/// What `model_type` may be.
pub const MODEL_TYPES: &[&str] = &["mistral", "gemma", "llama"];

/// A file of a fine-tune.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asset {
    /// `adapter_config.json`.
    Config,
    /// `adapter_model.safetensors`.
    Weights,
}

impl Asset {
    /// The asset of a file's name, letter for letter.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Config, Self::Weights]
            .into_iter()
            .find(|asset| asset.file_name() == name)
    }

    /// The file's name.
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Config => "adapter_config.json",
            Self::Weights => "adapter_model.safetensors",
        }
    }

    /// The most bytes that the file may have.
    pub fn max_bytes(self) -> u64 {
        match self {
            Self::Config => CONFIG_MAX_BYTES,
            Self::Weights => ADAPTER_MAX_BYTES,
        }
    }

    /// Looks into a file of `bytes` bytes.
    ///
    /// # Errors
    /// [`LedgerError::Refused`] with what is wrong in it.
    pub(crate) fn check(self, path: &Path, bytes: u64, rank_max: u32) -> Result<(), LedgerError> {
        let name = self.file_name();
        let told = match self {
            Self::Config => config(&std::fs::read(path).map_err(at(path))?, rank_max),
            Self::Weights => weights(path, bytes, rank_max)?,
        };
        told.map_err(|text| LedgerError::Refused(format!("{name}: {text}")))
    }
}

/// `adapter_config.json` as PEFT writes it, with the `model_type` that the service wants.
fn config(text: &[u8], rank_max: u32) -> Result<(), String> {
    let config: Value =
        serde_json::from_slice(text).map_err(|error| format!("it is no JSON ({error})"))?;
    let kind = config["model_type"].as_str();
    if !kind.is_some_and(|kind| MODEL_TYPES.contains(&kind)) {
        let told = kind.map_or("nothing".into(), |kind| format!("{kind:?}"));
        let known = MODEL_TYPES.join(", ");
        return Err(format!(
            "model_type is {told}, and has to be one of {known}"
        ));
    }
    let Some(rank) = config["r"].as_u64() else {
        return Err("r, the adapter's rank, is no whole number".into());
    };
    check_rank(rank, rank_max)?;
    if let Some(ranks) = config["rank_pattern"].as_object() {
        for rank in ranks.values().filter_map(Value::as_u64) {
            check_rank(rank, rank_max)?;
        }
    }
    Ok(())
}

fn check_rank(rank: u64, rank_max: u32) -> Result<(), String> {
    if rank == 0 || rank > u64::from(rank_max) {
        return Err(format!(
            "a rank of {rank}: this model takes 1 to {rank_max}"
        ));
    }
    Ok(())
}

/// A header that describes exactly the bytes behind it, and ranks that the model takes.
fn weights(path: &Path, bytes: u64, rank_max: u32) -> Result<Result<(), String>, LedgerError> {
    let mut file = File::open(path).map_err(at(path))?;
    let mut length = [0; 8];
    if bytes < 8 {
        return Ok(Err("it is no safetensors file".into()));
    }
    file.read_exact(&mut length).map_err(at(path))?;
    let length = u64::from_le_bytes(length);
    if length > HEADER_MAX_BYTES || length > bytes - 8 {
        return Ok(Err(format!(
            "it is no safetensors file: a header of {length} bytes in {bytes}"
        )));
    }
    let mut header = vec![0; length as usize];
    file.read_exact(&mut header).map_err(at(path))?;
    Ok(header_says(&header, bytes - 8 - length, rank_max))
}

fn header_says(header: &[u8], data_bytes: u64, rank_max: u32) -> Result<(), String> {
    let header: Metadata = serde_json::from_slice(header)
        .map_err(|error| format!("it is no safetensors file ({error})"))?;
    let described = header.data_len() as u64;
    if described != data_bytes {
        return Err(format!(
            "its header describes {described} bytes of tensors, and {data_bytes} follow"
        ));
    }
    let tensors = header.tensors();
    let ranks = tensors
        .iter()
        .filter(|(name, _)| name.contains("lora_A"))
        .filter_map(|(_, tensor)| tensor.shape.first());
    let mut is_adapter = false;
    for rank in ranks {
        is_adapter = true;
        check_rank(*rank as u64, rank_max)?;
    }
    if is_adapter {
        Ok(())
    } else {
        Err("it has no tensor of a LoRA adapter (lora_A)".into())
    }
}
