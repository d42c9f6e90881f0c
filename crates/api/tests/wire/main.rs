//! What the surface promises to clients, byte for byte, with models that need no weights.
#![allow(clippy::unwrap_used)]

mod batches;
mod catalogue;
mod finetunes;
mod house;
mod layers;
mod refusals;
mod residents;
mod services;
mod speech_recognition;
mod text_embeddings;
mod text_generation;
mod usage;
