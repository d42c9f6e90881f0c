//! Promises of the scheduler: decided steps, what is found again, who comes first, and properties of all of it.
#![allow(clippy::unwrap_used)] // helpers of tests panic as tests do

mod drafts;
mod fairness;
mod properties;
mod reuse;
mod stage;
mod steps;
