//! Rows of inputs as bfloat16.

use std::arch::x86_64::{
    __m512i, _mm512_cvtne2ps_pbh, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_mul_ps,
    _mm512_permutexvar_epi16, _mm512_set1_ps, _mm512_store_si512,
};

use super::amx::floats::{numbers, power};
use super::amx::{ROWS, has_amx};
use crate::BLOCK_INPUTS;

/// The power of two that the numbers are times.
pub(super) const INPUT_EXPONENT: i32 = 48;
/// Which of eight inputs comes when: a register of weights has the codes of every second one side by side.
const ORDER: [usize; 8] = [0, 2, 4, 6, 1, 3, 5, 7];

/// A block of a row; a line of the cache, so that each is read at once.
#[repr(C, align(64))]
#[derive(Debug, Clone, Copy)]
pub(super) struct Line([u16; BLOCK_INPUTS]);

/// Rows times 2^48, 16 of them together, `[rows / 16][blocks][16][32]`, the last ones `[blocks][rows % 16][32]`: what a
/// register holds lies in one place, and what it holds next behind it. Inputs are filled up with zeros, and in the order
/// of the weights.
#[derive(Debug, Default)]
pub(crate) struct Bfloats {
    lines: Vec<Line>,
    rows: usize,
    pub(super) blocks: usize,
}

impl Bfloats {
    /// Takes `[rows, inputs]`. NaN becomes zero, and magnitudes from 2^80 on infinite.
    pub(crate) fn fill(&mut self, values: &[f32], inputs: usize) {
        assert!(has_amx());
        self.blocks = inputs.div_ceil(BLOCK_INPUTS);
        self.rows = values.len() / inputs;
        let lines = self.rows * self.blocks;
        self.lines.resize(lines, Line([0; BLOCK_INPUTS]));
        // SAFETY: the processor has the instructions.
        unsafe { self.fill_rows(values, inputs) }
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// The up to 16 rows from `first` on, a multiple of 16: `[blocks][rows]`.
    pub(super) fn group(&self, first: usize) -> &[Line] {
        assert!(first.is_multiple_of(ROWS) && first < self.rows);
        let rows = (self.rows - first).min(ROWS);
        &self.lines[first * self.blocks..][..rows * self.blocks]
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    unsafe fn fill_rows(&mut self, values: &[f32], inputs: usize) {
        let order: [u16; BLOCK_INPUTS] =
            std::array::from_fn(|at| (at / 8 * 8 + ORDER[at % 8]) as u16);
        let groups = values
            .chunks(ROWS * inputs)
            .zip(self.lines.chunks_mut(ROWS * self.blocks));
        for (values, lines) in groups {
            let rows = values.len() / inputs;
            for (row, values) in values.chunks_exact(inputs).enumerate() {
                let (whole, rest) = values.as_chunks::<BLOCK_INPUTS>();
                let mut last = [0.0; BLOCK_INPUTS];
                last[..rest.len()].copy_from_slice(rest);
                let last = (!rest.is_empty()).then_some(&last);
                let into = lines[row..].iter_mut().step_by(rows);
                for (values, line) in whole.iter().chain(last).zip(into) {
                    // SAFETY: 16 floats are read twice from an array of 32, 32 numbers of 16 bits from one of as many
                    // and written to another, at a multiple of its 64 bytes; a register of bfloat16 is one of integers.
                    unsafe {
                        let factor = _mm512_set1_ps(power(INPUT_EXPONENT));
                        let left = numbers(_mm512_loadu_ps(values.as_ptr()));
                        let right = numbers(_mm512_loadu_ps(values.as_ptr().add(16)));
                        let (left, right) =
                            (_mm512_mul_ps(left, factor), _mm512_mul_ps(right, factor));
                        let both: __m512i = std::mem::transmute(_mm512_cvtne2ps_pbh(right, left));
                        let order = _mm512_loadu_si512(order.as_ptr().cast());
                        let both = _mm512_permutexvar_epi16(order, both);
                        _mm512_store_si512(line.0.as_mut_ptr().cast(), both);
                    }
                }
            }
        }
    }
}
