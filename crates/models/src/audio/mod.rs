//! Sound: from the bytes of a file to what a speech model reads.

pub(crate) mod decode;
pub(crate) mod listen;
pub(crate) mod mel;
mod resample;
pub(crate) mod silero;
pub(crate) mod voice;
