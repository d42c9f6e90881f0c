//! Superblocks of one or two panels with a byte for each code, for rows enough to pay for it: taking codes and scales of K
//! formats apart costs as much as multiplying some rows by them.

use std::arch::x86_64::{
    __m512, __m512i, _MM_HINT_T1, _mm512_load_ps, _mm512_load_si512, _mm512_store_ps,
    _mm512_store_si512,
};
use std::cell::RefCell;
use std::convert::Infallible;
use std::marker::PhantomData;

use super::{Load512, fetch_halves, share_bytes};
use crate::lanes::Lanes;
use crate::tile::{GROUP_BYTES, GROUPS, Tile, byte_codes, scaled};
use crate::{BLOCK_INPUTS, TILE_OUTPUTS};

/// A block of one panel.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct Block {
    codes: [u8; GROUP_BYTES * GROUPS],
    scales: [[f32; TILE_OUTPUTS]; 2],
    mins: [f32; TILE_OUTPUTS],
    /// Where the share of a superblock lies that comes in place of this block's, if there is one.
    next: usize,
}

impl Block {
    const EMPTY: Self = Self {
        codes: [0; GROUP_BYTES * GROUPS],
        scales: [[0.0; TILE_OUTPUTS]; 2],
        mins: [0.0; TILE_OUTPUTS],
        next: 0,
    };
}

/// The same, as a tile whose codes mean what those of `T` do.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(super) struct Spread<T>(Block, PhantomData<T>);

thread_local! {
    static BLOCKS: RefCell<Vec<Block>> = const { RefCell::new(Vec::new()) };
}

/// Gives `then` the blocks of `tiles`, in their order.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,f16c")]
pub(super) unsafe fn with<T: Load512>(tiles: &[T], then: impl FnOnce(&[Spread<T>])) {
    BLOCKS.with_borrow_mut(|blocks| {
        let count = tiles.len() * T::BLOCKS;
        if blocks.len() < count {
            blocks.resize(count, Block::EMPTY);
        }
        for (index, into) in blocks[..count].iter_mut().enumerate() {
            let (tile, block) = (&tiles[index / T::BLOCKS], index % T::BLOCKS);
            let ahead = size_of_val(tiles) + block * share_bytes::<T>();
            into.next = (&raw const *tile).wrapping_byte_add(ahead).addr();
            // SAFETY: the block is one of its tile; the caller has the instructions.
            unsafe { spread(tile, block, into) };
        }
        // SAFETY: `Spread` is a transparent `Block`.
        then(unsafe { std::slice::from_raw_parts(blocks.as_ptr().cast(), count) });
    });
}

#[inline(always)]
unsafe fn spread<T: Load512>(tile: &T, block: usize, into: &mut Block) {
    // SAFETY: pairs, parts and the block are below their numbers; the stores are of 64 bytes within aligned arrays of
    // as many or more; the caller has AVX-512.
    unsafe {
        for pair in 0..GROUPS / 2 {
            let to = into.codes.as_mut_ptr().add(2 * pair * GROUP_BYTES);
            let [even, odd] = tile.pair(block, pair);
            _mm512_store_si512(to.cast(), even);
            _mm512_store_si512(to.add(GROUP_BYTES).cast(), odd);
        }
        for part in 0..T::PARTS {
            _mm512_store_ps(into.scales[part].as_mut_ptr(), tile.scales(block, part));
        }
        if let Some(mins) = tile.mins(block) {
            _mm512_store_ps(into.mins.as_mut_ptr(), mins);
        }
    }
}

impl<T: Load512> Tile for Spread<T> {
    const OFFSET: i32 = T::OFFSET;
    const BITS: u32 = T::BITS;
    const BLOCKS: usize = 1;
    const PARTS: usize = T::PARTS;
    const EMPTY: Self = Self(Block::EMPTY, PhantomData);
    /// It is made of tiles only.
    type Weights = Infallible;

    fn set(&mut self, _: usize, weights: &Infallible) {
        match *weights {}
    }
    fn code(&self, output: usize, input: usize) -> u8 {
        self.0.codes[input / 4 * GROUP_BYTES + output * 4 + input % 4]
    }
    #[inline(always)]
    fn scaled<L: Lanes>(&self, input: usize) -> L {
        let scales = L::load(&self.0.scales[input / (BLOCK_INPUTS / T::PARTS)]);
        scaled::<Self, L>(byte_codes(&self.0.codes, input), scales)
    }
    fn scale(&self, output: usize, _: usize, part: usize) -> f32 {
        self.0.scales[part][output]
    }
    fn min(&self, output: usize, _: usize) -> Option<f32> {
        T::HAS_MINS.then(|| self.0.mins[output])
    }
}

impl<T: Load512> Load512 for Spread<T> {
    const HAS_MINS: bool = T::HAS_MINS;

    #[inline(always)]
    unsafe fn ask<const P: usize>(&self, _: usize, halves: [bool; 2], _: usize) {
        let next = std::ptr::without_provenance(self.0.next);
        // SAFETY: as the caller promises.
        unsafe { fetch_halves::<T, _MM_HINT_T1>(next, 0, halves) };
    }

    #[inline(always)]
    unsafe fn pair(&self, _: usize, pair: usize) -> [__m512i; 2] {
        debug_assert!(pair < GROUPS / 2);
        // SAFETY: pair is below 4, so both loads end within the array's 512 bytes, which are aligned.
        unsafe {
            let first = self.0.codes.as_ptr().add(2 * pair * GROUP_BYTES);
            [
                _mm512_load_si512(first.cast()),
                _mm512_load_si512(first.add(GROUP_BYTES).cast()),
            ]
        }
    }

    #[inline(always)]
    unsafe fn scales(&self, _: usize, part: usize) -> __m512 {
        debug_assert!(part < 2);
        // SAFETY: part is below 2; 64 aligned bytes are read from an array of 64.
        unsafe { _mm512_load_ps(self.0.scales.get_unchecked(part).as_ptr()) }
    }

    #[inline(always)]
    unsafe fn mins(&self, _: usize) -> Option<__m512> {
        // SAFETY: 64 aligned bytes are read from an array of 64.
        T::HAS_MINS.then(|| unsafe { _mm512_load_ps(self.0.mins.as_ptr()) })
    }
}
