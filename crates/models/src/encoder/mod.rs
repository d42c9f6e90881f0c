//! What all text encoders share: the companion that makes texts into tokens, the table of words, and the
//! vector of an answer.

mod companion;
mod vocabulary;
mod widening;
mod words;

pub use companion::{EncoderCompanion, EncoderWork};
pub(crate) use vocabulary::tokenizer;
pub(crate) use widening::Widenings;
pub(crate) use words::Words;

use tasks::Embedding;

/// Tokens of a batch. On a CPU core longer batches are no faster: its products are full from about
/// 100 rows on.
pub(crate) const BUDGET_TOKENS: usize = 512;

/// The answer to a text of this pooled vector: as wide as was asked, of unit length.
pub(crate) fn answer(widenings: &mut Widenings, job: &EncoderWork, vector: Vec<f32>) -> Embedding {
    let mut vector = if job.width == vector.len() {
        vector
    } else {
        widenings.widen(&vector, job.width)
    };
    normalise(&mut vector);
    Embedding {
        vector,
        tokens: job.tokens.len() as u32,
        truncated: job.truncated,
    }
}

/// The mean's direction: the sum of a text's vectors, `[tokens, width]`.
pub(crate) fn sum(rows: &[f32], width: usize) -> Vec<f32> {
    let mut sums = vec![0.0; width];
    for row in rows.chunks_exact(width) {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += value;
        }
    }
    sums
}

/// Brings a vector to unit length; one of length 0 stays.
fn normalise(vector: &mut [f32]) {
    let length = vector
        .iter()
        .map(|&number| f64::from(number).powi(2))
        .sum::<f64>()
        .sqrt();
    if length > 0.0 {
        for number in vector {
            *number = (f64::from(*number) / length) as f32;
        }
    }
}
