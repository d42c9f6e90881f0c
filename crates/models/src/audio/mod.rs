//! Sound: from the bytes of a file to what a speech model reads.

pub(crate) mod decode;
pub(crate) mod mel;
mod resample;
