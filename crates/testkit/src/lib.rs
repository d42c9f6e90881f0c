//! For tests: real weights, packages of npm, a running server, a machine without a network, a small HTTP client, a
//! reader of event streams.
//!
//! Everything here panics when it cannot do its work: a test that cannot run has failed.
#![allow(clippy::unwrap_used)]

mod frames;
mod guard;
mod npm;
mod server;
mod unplugged;
mod weights;

pub use frames::frames;
pub use guard::Guard;
pub use npm::{Npm, npm};
pub use server::{Answer, Server};
pub use unplugged::{is_unplugged, unplugged};
pub use weights::{golden, weights, weights_home};
