//! Queues, the three loops, device threads; the traits a model fulfils.
//!
//! A task picks one of three shapes of work ([`Lane::steps`], [`Lane::batch`], [`Lane::solo`]); it
//! brings no scheduler of its own. The engine knows no tensor, no JSON and no HTTP. Each device has
//! one thread, which owns every model on it; requests reach it and answers leave it by bounded
//! channels.
#![warn(missing_docs)]

mod batch;
mod blocks;
mod fleet;
mod lane;
pub mod model;
mod replies;
mod sample;
mod schedule;
mod solo;
mod steps;
mod thread;

pub use fleet::{Engine, Loaded, Loader};
pub use lane::Lane;
pub use replies::Replies;
pub use sample::Sampler;
pub use schedule::{Limits, Plan, Schedule};

/// Jobs that may wait for one model; one more is refused with [`tasks::Failure::Busy`].
pub const QUEUE_MAX_JOBS: usize = 512;
