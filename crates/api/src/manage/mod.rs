//! Beside inference: the catalogue, fine-tunes, batches, what was used, and the services around Workers AI that a
//! Worker's binding can ask for.

pub(crate) mod batch;
mod envelope;
pub(crate) mod finetunes;
mod interactive;
pub(crate) mod markdown;
pub(crate) mod messages;
mod model_rows;
pub(crate) mod models;
mod openrouter;
mod prices;
pub(crate) mod rags;
mod runner;
pub(crate) mod task_rows;
pub(crate) mod upload;
pub(crate) mod usage;

pub(crate) use envelope::success;
pub(crate) use interactive::{Interactive, count};
pub(crate) use rags::not_found;
pub use runner::BatchRunner;
pub(crate) use usage::Meter;
