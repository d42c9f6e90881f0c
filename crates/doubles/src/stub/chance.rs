//! Numbers that look like chance and are the same for the same words, on every machine.

/// What differs from number to number: the golden ratio's fraction in 64 bits (Steele, Lea and Flood
/// 2014, "Fast splittable pseudorandom number generators", section 5).
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// A row of numbers that follow from a seed (SplitMix64 of the same paper).
#[derive(Debug, Clone, Copy)]
pub(super) struct Chance(u64);

impl Chance {
    /// The row of some bytes (FNV-1a, 64 bits: Fowler, Noll and Vo).
    pub(super) fn of(bytes: &[u8]) -> Self {
        let hash = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        Self(bytes.iter().fold(0xcbf2_9ce4_8422_2325, hash))
    }

    /// The row of this one and more bytes.
    pub(super) fn and(self, bytes: &[u8]) -> Self {
        Self(self.0.rotate_left(23) ^ Self::of(bytes).number())
    }

    /// The first number of the row.
    pub(super) fn number(mut self) -> u64 {
        self.next()
    }

    /// The next number.
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// The next number as a share, 0 to 1 (not 1 itself).
    pub(super) fn share(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1_u64 << 24) as f32
    }

    /// The next number below `bound`, which is at least 1.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}
