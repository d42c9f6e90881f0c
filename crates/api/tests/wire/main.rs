//! What the surface promises to clients, byte for byte, with models that need no weights.
#![allow(clippy::unwrap_used)]

mod account;
mod any_body;
mod batches;
mod binding_wires;
mod catalogue;
mod catalogue_routes;
mod chat_answers;
mod chat_inputs;
mod chat_refusals;
mod chat_streams;
mod every_surface;
mod every_text_model;
mod files;
mod finetunes;
mod gateway;
mod house;
mod layers;
mod logprobs;
mod models;
mod openai_embeddings;
mod openapi;
mod pictures;
mod published_types;
mod refusals;
mod residents;
mod robustness;
mod services;
mod smallest;
mod speech;
mod speech_recognition;
mod stage;
mod text_embeddings;
mod text_generation;
mod texts;
mod usage;
