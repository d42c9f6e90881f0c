//! Rows of inputs as AMX reads them: 16 at a time, both bytes of a block's inputs side by side.

use crate::BLOCK_INPUTS;

/// Rows of a register.
pub(crate) const ROWS: usize = 16;
/// What a second byte is worth there, in the steps of the input's block.
pub(crate) const JOINED_UNIT: i32 = 16;

/// What a tile register holds.
#[repr(C, align(64))]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Register(pub(crate) [[i8; 64]; ROWS]);

impl Register {
    pub(crate) const ZERO: Self = Self([[0; 64]; ROWS]);
}

/// Codes and second bytes, the latter as sixteenths of a code: see [`crate::Precision::Outliers`].
#[derive(Debug, Default)]
pub(crate) struct Joined {
    pub(crate) rows: usize,
    pub(crate) blocks: usize,
    /// `[rows / 16][blocks]`, filled up with rows of zeros.
    pub(crate) codes: Vec<Register>,
    /// `[rows / 16][blocks]`: the rows' steps and totals.
    pub(crate) scales: Vec<[[f32; ROWS]; 2]>,
    /// Whether any second byte is not zero.
    pub(crate) has_seconds: bool,
}

/// Rows as [`crate::Activations`] has them, whose second bytes are multiples of 16.
pub(crate) struct Parts<'a> {
    pub(crate) codes: &'a [i8],
    pub(crate) lows: Option<&'a [i8]>,
    pub(crate) steps: &'a [f32],
    pub(crate) totals: &'a [f32],
    pub(crate) blocks: usize,
}

impl Joined {
    pub(crate) fn fill(&mut self, parts: &Parts<'_>) {
        self.blocks = parts.blocks;
        self.rows = parts.steps.len() / parts.blocks;
        self.has_seconds = parts.lows.is_some();
        let registers = self.rows.div_ceil(ROWS) * self.blocks;
        self.codes.resize(registers, Register::ZERO);
        self.scales.resize(registers, [[0.0; ROWS]; 2]);
        let codes = parts.codes.as_chunks::<BLOCK_INPUTS>().0;
        let lows = parts.lows.map(|lows| lows.as_chunks::<BLOCK_INPUTS>().0);
        for row in 0..self.rows.next_multiple_of(ROWS) {
            let (group, lane) = (row / ROWS * self.blocks, row % ROWS);
            for block in 0..self.blocks {
                let to = &mut self.codes[group + block].0[lane];
                let scales = &mut self.scales[group + block];
                let at = row * self.blocks + block;
                let Some(codes) = codes.get(at) else {
                    *to = [0; 64];
                    (scales[0][lane], scales[1][lane]) = (0.0, 0.0);
                    continue;
                };
                let (firsts, seconds) = to.split_at_mut(BLOCK_INPUTS);
                firsts.copy_from_slice(codes);
                match lows {
                    Some(lows) => {
                        for (second, low) in seconds.iter_mut().zip(&lows[at]) {
                            *second = low >> 4;
                        }
                    }
                    None => seconds.fill(0),
                }
                scales[0][lane] = parts.steps[at];
                scales[1][lane] = parts.totals[at];
            }
        }
    }
}
