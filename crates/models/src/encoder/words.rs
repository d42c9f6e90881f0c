//! The vectors of a vocabulary, in the floats of their file: of the large multilingual vocabularies they
//! are the greater part of a model.

use candle_core::DType;
use half::{bf16, f16};

use crate::checkpoint::Checkpoint;
use crate::load::LoadError;

/// `[vocabulary, width]`.
#[derive(Debug)]
pub(crate) struct Words {
    width: usize,
    floats: Floats,
}

#[derive(Debug)]
enum Floats {
    Single(Vec<f32>),
    Half(Vec<f16>),
    Bfloat(Vec<bf16>),
}

impl Words {
    /// Reads a tensor `[vocabulary, width]` by its whole name.
    pub(crate) fn read(
        checkpoint: &Checkpoint,
        name: &str,
        [vocabulary, width]: [usize; 2],
    ) -> Result<Self, LoadError> {
        let (dtype, bytes) = checkpoint.bytes(name, &[vocabulary, width])?;
        let pairs = bytes.as_chunks::<2>().0.iter();
        let floats = match dtype {
            DType::F16 => Floats::Half(pairs.map(|pair| f16::from_le_bytes(*pair)).collect()),
            DType::BF16 => Floats::Bfloat(pairs.map(|pair| bf16::from_le_bytes(*pair)).collect()),
            _ => Floats::Single(checkpoint.floats(name, &[vocabulary, width])?),
        };
        Ok(Self { width, floats })
    }

    /// Appends a token's vector. The companion has checked the ids.
    pub(crate) fn append(&self, token: u32, rows: &mut Vec<f32>) {
        let place = token as usize * self.width..(token as usize + 1) * self.width;
        match &self.floats {
            Floats::Single(floats) => rows.extend_from_slice(&floats[place]),
            Floats::Half(floats) => rows.extend(floats[place].iter().map(|float| float.to_f32())),
            Floats::Bfloat(floats) => rows.extend(floats[place].iter().map(|float| float.to_f32())),
        }
    }
}
