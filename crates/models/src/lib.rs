//! The architectures: the only crate that knows tensors, vocabularies and sample rates.
//!
//! Each architecture is one file or folder and fulfils a trait of the engine. A checkpoint is a
//! folder in the Hugging Face layout, or one with a GGUF file; nothing in it is trusted before it
//! was checked ([`LoadError`] says what was wrong with it).

mod audio;
pub mod bert;
mod checkpoint;
mod cpu;
pub mod decoder;
mod dense;
pub mod device;
mod encoder;
mod fit;
mod floats;
mod gguf;
pub mod image;
mod kept;
mod linear;
mod load;
mod mapped;
pub mod program;
mod pytorch;
mod quality;
pub mod sentence;
mod table;
mod text;
pub mod threads;
pub mod whisper;

pub use audio::silero::{Hearing as VoiceHearing, Silero, VOICE_WINDOW};
pub use checkpoint::Checkpoint;
pub use cpu::cpu;
pub use encoder::{EncoderCompanion, EncoderWork};
pub use fit::Fit;
pub use kept::Keep;
pub use load::{Files, LoadError};
pub use quality::Quality;
pub use table::{ARCHITECTURES, Architecture, load, need, others};
pub use text::{ChatCompanion, Text};
