//! Rows of inputs as bfloat16.

use std::arch::x86_64::{
    __m512i, _mm512_cvtne2ps_pbh, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_permutexvar_epi16,
    _mm512_set1_ps, _mm512_storeu_si512,
};

use super::amx::{has_amx, numbers, power};
use crate::BLOCK_INPUTS;

/// The power of two that the numbers are times.
pub(super) const INPUT_EXPONENT: i32 = 48;
/// Which of eight inputs comes when: a register of weights has the codes of every second one side by side.
const ORDER: [usize; 8] = [0, 2, 4, 6, 1, 3, 5, 7];

/// Rows times 2^48, `[rows][blocks * 32]`; inputs are filled up with zeros, and in the order of the weights.
#[derive(Debug, Default)]
pub(crate) struct Bfloats {
    values: Vec<u16>,
    pub(super) blocks: usize,
}

impl Bfloats {
    /// Takes `[rows, inputs]`. NaN becomes zero, and magnitudes from 2^80 on infinite.
    pub(crate) fn fill(&mut self, values: &[f32], inputs: usize) {
        assert!(has_amx());
        self.blocks = inputs.div_ceil(BLOCK_INPUTS);
        let rows = values.len() / inputs;
        self.values.resize(rows * self.blocks * BLOCK_INPUTS, 0);
        // SAFETY: the processor has the instructions.
        unsafe { self.fill_rows(values, inputs) }
    }

    pub(super) fn rows(&self) -> usize {
        self.values.len() / (self.blocks * BLOCK_INPUTS).max(1)
    }

    /// A row and all that follow.
    pub(super) fn row(&self, row: usize) -> &[u16] {
        &self.values[row * self.blocks * BLOCK_INPUTS..]
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    unsafe fn fill_rows(&mut self, values: &[f32], inputs: usize) {
        let order: [u16; BLOCK_INPUTS] =
            std::array::from_fn(|at| (at / 8 * 8 + ORDER[at % 8]) as u16);
        let blocks = self.values.as_chunks_mut::<BLOCK_INPUTS>().0;
        let rows = values
            .chunks_exact(inputs)
            .zip(blocks.chunks_exact_mut(self.blocks));
        for (values, blocks) in rows {
            let (whole, rest) = values.as_chunks::<BLOCK_INPUTS>();
            let mut last = [0.0; BLOCK_INPUTS];
            last[..rest.len()].copy_from_slice(rest);
            let last = (!rest.is_empty()).then_some(&last);
            for (values, block) in whole.iter().chain(last).zip(blocks) {
                // SAFETY: 16 floats are read twice from an array of 32, 32 numbers of 16 bits from one of as many and
                // written to another; a register of bfloat16 is 64 bytes as one of integers.
                unsafe {
                    let factor = _mm512_set1_ps(power(INPUT_EXPONENT));
                    let left = numbers(_mm512_loadu_ps(values.as_ptr()), factor);
                    let right = numbers(_mm512_loadu_ps(values.as_ptr().add(16)), factor);
                    let both: __m512i = std::mem::transmute(_mm512_cvtne2ps_pbh(right, left));
                    let order = _mm512_loadu_si512(order.as_ptr().cast());
                    let both = _mm512_permutexvar_epi16(order, both);
                    _mm512_storeu_si512(block.as_mut_ptr().cast(), both);
                }
            }
        }
    }
}
