//! Promises of the stub, kept through an engine as its callers see it.
#![allow(clippy::unwrap_used)] // helpers of tests panic as tests do

mod ask;
mod chat;
mod files;
mod json;
mod numbers;
mod prose;
