//! What the surface promises to clients, byte for byte, with models that need no weights.
#![allow(clippy::unwrap_used)]

mod catalogue;
mod files;
mod house;
mod layers;
mod models;
mod openai_embeddings;
mod pictures;
mod refusals;
mod residents;
mod robustness;
mod speech;
mod speech_recognition;
mod text_embeddings;
mod text_generation;
mod texts;
