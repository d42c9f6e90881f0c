//! What the surface promises to clients, byte for byte, with models that need no weights.
#![allow(clippy::unwrap_used)]

mod binding_wires;
mod house;
mod layers;
mod refusals;
mod residents;
mod speech_recognition;
mod text_embeddings;
mod text_generation;
