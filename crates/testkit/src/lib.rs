//! For tests: real weights, packages of npm, a running server, a small HTTP client, a reader of event streams.
//!
//! Everything here panics when it cannot do its work: a test that cannot run has failed.
#![allow(clippy::unwrap_used)]

mod frames;
mod npm;
mod server;
mod weights;

pub use frames::frames;
pub use npm::Npm;
pub use server::{Answer, Server};
pub use weights::{golden, weights, weights_home};
