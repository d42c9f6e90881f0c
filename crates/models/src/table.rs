//! The architectures that this build can run, one line each.

use engine::Lane;

use crate::device::Device;
use crate::load::{Files, LoadError};
use crate::{bert, decoder, whisper};

/// A row of the table.
pub struct Architecture {
    /// The word of `architecture` in models.toml.
    pub name: &'static str,
    /// Its tiny checkpoint with the reference's numbers, a folder of tests/golden.
    pub golden: &'static str,
    load: fn(&Files, &Device) -> Result<Lane, LoadError>,
}

/// Every architecture. A new one is a file, a line here, and a golden folder.
pub const ARCHITECTURES: &[Architecture] = &[
    Architecture {
        name: "bert",
        golden: "tiny-bert-embed",
        load: |files, device| {
            let (companion, model) = bert::load(files, device)?;
            Ok(Lane::batch(companion, model))
        },
    },
    Architecture {
        name: "llama",
        golden: "tiny-llama",
        load: |files, device| {
            let (companion, model) = decoder::load(files, device)?;
            Ok(Lane::steps(companion, model))
        },
    },
    Architecture {
        name: "whisper",
        golden: "tiny-whisper",
        load: |files, device| {
            let (companion, model) = whisper::load(files, device)?;
            Ok(Lane::steps(companion, model))
        },
    },
];

/// Loads a checkpoint of a named architecture.
///
/// # Errors
/// [`LoadError`] for a name that is not in the table, and for whatever is wrong with the files.
pub fn load(architecture: &str, files: &Files, device: &Device) -> Result<Lane, LoadError> {
    let row = ARCHITECTURES
        .iter()
        .find(|row| row.name == architecture)
        .ok_or_else(|| LoadError::Unsupported {
            file: files.folder().to_path_buf(),
            detail: format!("this build has no architecture {architecture:?}"),
        })?;
    (row.load)(files, device)
}
