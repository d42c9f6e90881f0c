//! Queues, the three loops, device threads; the traits a model fulfils.
//!
//! A task picks one of three shapes of work ([`Lane::steps`], [`Lane::batch`], [`Lane::sessions`]); it brings no
//! scheduler of its own. Models without a device answer where they are asked
//! ([`DirectLane`]). The engine knows no tensor, no JSON and no HTTP. Each device has
//! one thread, which owns every model on it; requests reach it and answers leave it by bounded
//! channels.
#![warn(missing_docs)]

mod batch;
mod caller;
mod direct;
mod fleet;
mod lane;
mod lease;
mod likelihood;
mod load;
mod memory;
pub mod model;
mod replies;
mod sample;
mod schedule;
mod sessions;
mod slots;
mod steps;
mod thread;
mod unload;
mod work;

pub use caller::{Caller, Class};
pub use direct::{Answer, DirectLane};
pub use fleet::{Engine, Loaded, Loader, Memory, Stopped};
pub use lane::Lane;
pub use likelihood::{LEAST_LOGPROB, Likelihood, Scored};
pub use memory::{Need, Policy, Resident, Room, make_room};
pub use replies::Replies;
pub use sample::Sampler;
pub use schedule::{Arrival, Limits, Load, Mix, Plan, Schedule, Start};
pub use steps::{CUT_TOKENS, DRAFT_MAX_TOKENS, INTER_TOKEN_TARGET, STEP_MAX_TOKENS};
pub use work::{Spent, Work};

/// Jobs that may wait for one model; one more is refused with [`tasks::Failure::Busy`].
pub const QUEUE_MAX_JOBS: usize = 512;
