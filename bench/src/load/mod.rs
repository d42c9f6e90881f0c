//! Loads for a running server that speaks OpenAI's chat completions, hearth or another.

pub mod calibration;
pub mod chat;
pub mod lengths;
pub mod times;
