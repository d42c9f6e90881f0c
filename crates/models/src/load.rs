//! The files of a checkpoint, and the ways loading one can fail.

use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use tasks::Failure;

use crate::kept::Keep;
use crate::mapped::Mapped;

/// The largest JSON file that is read whole, in bytes (Gemma's tokenizer.json has 33 MB).
pub(crate) const JSON_MAX_BYTES: u64 = 128 << 20;

/// Why a checkpoint could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file that the model needs is not in its folder.
    #[error("{} is missing; fetch the checkpoint again, or put the file there", file.display())]
    Missing {
        /// The file.
        file: PathBuf,
    },
    /// A file is there but the system does not let us read it.
    #[error("{} cannot be read: {error}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// A file contradicts its format, itself, or the configuration beside it.
    #[error("{} is damaged: {detail}; fetch the checkpoint again", file.display())]
    Corrupt {
        /// The file.
        file: PathBuf,
        /// What is wrong, and where in the file.
        detail: String,
    },
    /// A sound file asks for something that is not built here.
    #[error("{} cannot be used: {detail}", file.display())]
    Unsupported {
        /// The file.
        file: PathBuf,
        /// What it asks for.
        detail: String,
    },
    /// The device is not there, or failed while weights were put on it.
    #[error("the device cannot be used: {detail}")]
    Device {
        /// What happened.
        detail: String,
    },
}

impl LoadError {
    /// A [`LoadError::Corrupt`].
    pub fn corrupt(file: &Path, detail: impl Into<String>) -> Self {
        Self::Corrupt {
            file: file.to_path_buf(),
            detail: detail.into(),
        }
    }

    /// A [`LoadError::Unsupported`].
    pub fn unsupported(file: &Path, detail: impl Into<String>) -> Self {
        Self::Unsupported {
            file: file.to_path_buf(),
            detail: detail.into(),
        }
    }

    /// A tensor operation that failed for reasons other than the checkpoint's content.
    pub(crate) fn device(error: &candle_core::Error) -> Self {
        Self::Device {
            detail: error.to_string(),
        }
    }

    fn io(file: &Path, error: std::io::Error) -> Self {
        if error.kind() == ErrorKind::NotFound {
            Self::Missing {
                file: file.to_path_buf(),
            }
        } else {
            Self::Unreadable {
                file: file.to_path_buf(),
                error,
            }
        }
    }
}

/// The folder that holds a checkpoint, or the one file that is a checkpoint.
#[derive(Debug, Clone)]
pub struct Files {
    folder: PathBuf,
    /// The only file that counts, whatever else is in the folder.
    single: Option<String>,
    others: Option<Others>,
    keep: Option<Keep>,
}

/// Finds the files of another set of weights by its name, and fetches them if need be.
#[derive(Clone)]
struct Others(Arc<Find>);

type Find = dyn Fn(&str) -> Result<Files, Failure> + Send + Sync;

impl fmt::Debug for Others {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Others")
    }
}

impl Files {
    /// Names the folder; nothing is read yet.
    pub fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            single: None,
            others: None,
            keep: None,
        }
    }

    /// The same, of a model that may ask for other sets of weights while it serves: `find` gives the files
    /// of a set by its name, and may take as long as fetching them.
    #[must_use]
    pub fn with_others(
        mut self,
        find: impl Fn(&str) -> Result<Self, Failure> + Send + Sync + 'static,
    ) -> Self {
        self.others = Some(Others(Arc::new(find)));
        self
    }

    /// The same, of a checkpoint whose packed weights are kept on disk.
    #[must_use]
    pub fn with_packed(mut self, keep: Keep) -> Self {
        self.keep = Some(keep);
        self
    }

    /// How packed weights are kept, if they are.
    pub(crate) fn keep(&self) -> Option<&Keep> {
        self.keep.as_ref()
    }

    /// The files of another set of weights; may take as long as fetching them.
    ///
    /// # Errors
    /// Why they cannot be had.
    pub fn of(&self, set: &str) -> Result<Self, Failure> {
        match &self.others {
            Some(others) => (others.0)(set),
            None => Err(Failure::Unavailable(format!(
                "the weights {set} are not here"
            ))),
        }
    }

    /// A checkpoint of a single file, such as a GGUF file among others; nothing is read yet. A name
    /// that is not UTF-8 is that of no checkpoint.
    pub fn single(file: &Path) -> Self {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        Self {
            folder: file.parent().unwrap_or(Path::new("")).to_path_buf(),
            single: Some(name.into_owned()),
            others: None,
            keep: None,
        }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where a file of the checkpoint lies, whether or not it is there.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Whether the checkpoint has this file.
    pub fn has(&self, name: &str) -> bool {
        self.single.as_ref().is_none_or(|single| single == name) && self.path(name).is_file()
    }

    /// The name of the only file with this extension; `None` if there is none, or several.
    pub fn only(&self, extension: &str) -> Option<String> {
        if let Some(single) = &self.single {
            let same = Path::new(single)
                .extension()
                .is_some_and(|end| end == extension);
            return same.then(|| single.clone());
        }
        let entries = std::fs::read_dir(&self.folder).ok()?;
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut names = names.filter(|name| {
            Path::new(name)
                .extension()
                .is_some_and(|end| end == extension)
        });
        names.next().filter(|_| names.next().is_none())
    }

    /// Reads a whole file of at most `limit_bytes`; a larger one is [`LoadError::Corrupt`].
    pub fn read(&self, name: &str, limit_bytes: u64) -> Result<Vec<u8>, LoadError> {
        let path = self.path(name);
        let file = File::open(&path).map_err(|error| LoadError::io(&path, error))?;
        let mut bytes = Vec::new();
        file.take(limit_bytes.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(|error| LoadError::io(&path, error))?;
        if bytes.len() as u64 > limit_bytes {
            return Err(LoadError::corrupt(
                &path,
                format!("it is larger than {limit_bytes} bytes"),
            ));
        }
        Ok(bytes)
    }

    /// Reads a JSON file into a type; what does not fit the type is [`LoadError::Corrupt`].
    pub fn json<T: DeserializeOwned>(&self, name: &str) -> Result<T, LoadError> {
        let bytes = self.read(name, JSON_MAX_BYTES)?;
        serde_json::from_slice(&bytes)
            .map_err(|error| LoadError::corrupt(&self.path(name), error.to_string()))
    }

    /// Maps a file into memory, read-only; an empty file is [`LoadError::Corrupt`].
    pub(crate) fn map(&self, name: &str) -> Result<Mapped, LoadError> {
        let path = self.path(name);
        let file = File::open(&path).map_err(|error| LoadError::io(&path, error))?;
        let length = file
            .metadata()
            .map_err(|error| LoadError::io(&path, error))?
            .len();
        if length == 0 {
            return Err(LoadError::corrupt(&path, "it is empty"));
        }
        Mapped::open(&file).map_err(|error| LoadError::io(&path, error))
    }
}
