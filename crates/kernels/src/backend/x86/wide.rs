//! Rows of inputs as whole numbers of 16 bits, with one step a row.

use std::arch::x86_64::{
    __m512, __m512i, _CMP_GT_OQ, _CMP_LT_OQ, _mm256_storeu_si256, _mm512_abs_ps, _mm512_add_epi16,
    _mm512_castsi256_si512, _mm512_cmp_ps_mask, _mm512_cvtepi16_epi8, _mm512_cvtepi32_epi16,
    _mm512_cvtps_epi32, _mm512_inserti64x4, _mm512_loadu_ps, _mm512_mask_set1_epi32,
    _mm512_maskz_set1_epi32, _mm512_max_ps, _mm512_mul_ps, _mm512_reduce_add_epi32,
    _mm512_reduce_max_ps, _mm512_set1_epi16, _mm512_set1_ps, _mm512_setzero_ps,
    _mm512_shufflehi_epi16, _mm512_shufflelo_epi16, _mm512_slli_epi16, _mm512_srai_epi16,
    _mm512_storeu_si512, _mm512_sub_epi16,
};

use super::amx::floats::numbers;
use super::amx::{ROWS, has_amx};
use crate::BLOCK_INPUTS;

/// Rows up to which they are multiplied by AVX-512 VNNI, byte by byte, as a register of AMX would be nearly empty.
pub(super) const FEW_ROWS: usize = 2;
/// What the largest magnitude of a row becomes: its upper byte rounds to 127.
const LARGEST_CODE: f32 = 32512.0;
/// Rows without a larger magnitude stand for zeros, and magnitudes above the other count as infinite: the step and its
/// inverse stay normal numbers.
const SMALLEST: f32 = 1e-24;
const LARGEST: f32 = 1e28;

/// Bytes of two blocks of a row.
#[repr(C, align(64))]
#[derive(Debug, Clone, Copy)]
pub(super) struct Line([i8; 2 * BLOCK_INPUTS]);

/// Numbers `256 * high + low`, both signed bytes, times the row's step.
#[derive(Debug, Default)]
pub(crate) struct Wide {
    rows: usize,
    pub(super) blocks: usize,
    /// 16 rows together, `[rows / 16][blocks / 2][2][16]`, the last ones `[blocks / 2][2][rows % 16]`: of two blocks the
    /// high bytes of each row, and the low ones. Empty with few rows.
    lines: Vec<Line>,
    /// `[rows][blocks * 32]` each; empty with more.
    pub(super) highs: Vec<i8>,
    pub(super) lows: Vec<i8>,
    /// The same numbers as words, of four inputs the first, the third, the second and the fourth.
    pub(super) high_words: Vec<i16>,
    pub(super) low_words: Vec<i16>,
    /// `[rows][blocks][2]`: the sums of the first 16 numbers of a block, and of the others; empty with more.
    pub(super) sums: Vec<[i32; 2]>,
    /// `[rows]`.
    pub(super) steps: Vec<f32>,
}

impl Wide {
    /// Takes `[rows, inputs]`. NaN becomes zero, infinities the largest code of an infinite step.
    pub(crate) fn fill(&mut self, values: &[f32], inputs: usize) {
        assert!(has_amx());
        self.blocks = inputs.div_ceil(BLOCK_INPUTS);
        self.rows = values.len() / inputs;
        let blocks = self.rows * self.blocks;
        let (lines, few_blocks) = if self.are_few() {
            (0, blocks)
        } else {
            (2 * self.rows * self.blocks.div_ceil(2), 0)
        };
        self.lines.resize(lines, Line([0; 2 * BLOCK_INPUTS]));
        if lines > 0 && !self.blocks.is_multiple_of(2) {
            // What no block is written to.
            self.lines.fill(Line([0; 2 * BLOCK_INPUTS]));
        }
        self.highs.resize(few_blocks * BLOCK_INPUTS, 0);
        self.lows.resize(few_blocks * BLOCK_INPUTS, 0);
        self.high_words.resize(few_blocks * BLOCK_INPUTS, 0);
        self.low_words.resize(few_blocks * BLOCK_INPUTS, 0);
        self.sums.resize(few_blocks, [0; 2]);
        self.steps.resize(self.rows, 0.0);
        for (row, values) in values.chunks_exact(inputs).enumerate() {
            // SAFETY: the processor has the instructions.
            unsafe { self.fill_row(row, values) };
        }
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Whether the rows are few.
    pub(crate) fn are_few(&self) -> bool {
        self.rows <= FEW_ROWS
    }

    /// The up to 16 rows from `first` on, a multiple of 16: `[blocks / 2][2][rows]`.
    pub(super) fn group(&self, first: usize) -> &[Line] {
        assert!(first.is_multiple_of(ROWS) && first < self.rows);
        let rows = (self.rows - first).min(ROWS);
        let of_row = 2 * self.blocks.div_ceil(2);
        &self.lines[first * of_row..][..rows * of_row]
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn fill_row(&mut self, row: usize, values: &[f32]) {
        let (whole, rest) = values.as_chunks::<BLOCK_INPUTS>();
        let mut last = [0.0; BLOCK_INPUTS];
        last[..rest.len()].copy_from_slice(rest);
        let last = (!rest.is_empty()).then_some(&last);
        let blocks = || whole.iter().chain(last);
        let mut most = _mm512_setzero_ps();
        for values in blocks() {
            // SAFETY: the function has the instructions.
            for half in unsafe { halves(values) } {
                most = _mm512_max_ps(most, _mm512_abs_ps(half));
            }
        }
        let most = _mm512_reduce_max_ps(most);
        let (step, inverse) = match most {
            _ if most > LARGEST => (f32::INFINITY, 0.0),
            _ if most < SMALLEST => (0.0, 0.0),
            _ => (most / LARGEST_CODE, LARGEST_CODE / most),
        };
        let inverse = _mm512_set1_ps(inverse);
        for (block, values) in blocks().enumerate() {
            // SAFETY: the function has the instructions.
            let halves = unsafe { halves(values) };
            let mut codes = halves.map(|half| _mm512_cvtps_epi32(_mm512_mul_ps(half, inverse)));
            if step.is_infinite() {
                codes = halves.map(|half| infinite(half));
            }
            if self.are_few() {
                let place = row * self.blocks + block;
                self.sums[place] = codes.map(|half| _mm512_reduce_add_epi32(half));
            }
            let [left, right] = codes.map(|half| _mm512_cvtepi32_epi16(half));
            let codes = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(left), right);
            // SAFETY: the function has the instructions.
            unsafe { self.write(row, block, codes) };
        }
        self.steps[row] = step;
    }

    /// Writes the numbers of a block of a row.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn write(&mut self, row: usize, block: usize, codes: __m512i) {
        // The low byte is signed, and the high one what is left.
        let rounded = _mm512_add_epi16(codes, _mm512_set1_epi16(128));
        let high_words = _mm512_srai_epi16::<8>(rounded);
        let highs = _mm512_cvtepi16_epi8(high_words);
        let lows = _mm512_cvtepi16_epi8(codes);
        let (highs_at, lows_at) = if self.are_few() {
            let place = (row * self.blocks + block) * BLOCK_INPUTS;
            let of_block = place..place + BLOCK_INPUTS;
            let low_words = _mm512_sub_epi16(codes, _mm512_slli_epi16::<8>(high_words));
            let words = [
                (high_words, &mut self.high_words[of_block.clone()]),
                (low_words, &mut self.low_words[of_block]),
            ];
            for (words, to) in words {
                // The second and the third of four change places.
                let words = _mm512_shufflelo_epi16::<0b1101_1000>(words);
                let words = _mm512_shufflehi_epi16::<0b1101_1000>(words);
                // SAFETY: 32 numbers of 16 bits are written to a slice of as many.
                unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), words) };
            }
            (&mut self.highs[place..], &mut self.lows[place..])
        } else {
            let first = row / ROWS * ROWS;
            let rows = (self.rows - first).min(ROWS);
            let of_row = 2 * self.blocks.div_ceil(2);
            let place = first * of_row + block / 2 * 2 * rows + row % ROWS;
            let (highs, lows) = self.lines[place..].split_at_mut(rows);
            let half = block % 2 * BLOCK_INPUTS;
            (&mut highs[0].0[half..], &mut lows[0].0[half..])
        };
        assert!(highs_at.len() >= BLOCK_INPUTS && lows_at.len() >= BLOCK_INPUTS);
        // SAFETY: 32 bytes are written to slices of as many or more.
        unsafe {
            _mm256_storeu_si256(highs_at.as_mut_ptr().cast(), highs);
            _mm256_storeu_si256(lows_at.as_mut_ptr().cast(), lows);
        }
    }
}

/// The halves of a block, with zeros for what is no number.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn halves(values: &[f32; BLOCK_INPUTS]) -> [__m512; 2] {
    // SAFETY: 16 floats are read twice from an array of 32.
    unsafe {
        [
            numbers(_mm512_loadu_ps(values.as_ptr())),
            numbers(_mm512_loadu_ps(values.as_ptr().add(16))),
        ]
    }
}

/// The signs of what counts as infinite, and zeros.
#[inline]
#[target_feature(enable = "avx512f")]
fn infinite(values: __m512) -> __m512i {
    let above = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(values, _mm512_set1_ps(LARGEST));
    let below = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(values, _mm512_set1_ps(-LARGEST));
    let ones = _mm512_maskz_set1_epi32(above, 1);
    _mm512_mask_set1_epi32(ones, below, -1)
}
