//! Which instructions do the work, chosen at run time.

mod columns;
#[cfg(any(target_arch = "aarch64", test))]
mod neon;
mod outliers;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::ops::Range;
use std::sync::LazyLock;

#[cfg(target_arch = "x86_64")]
use crate::activations::Form;
use crate::activations::{Activations, OWED, Outlier, Steps};
use crate::linear::{ROWS_TOGETHER, WeightRange, rows_together};
use crate::pool::Pool;
use crate::tile::{Eight, FiveK, FiveMin, Four, FourK, FourMin, SixK, Tile};
use crate::{BLOCK_INPUTS, TILE_OUTPUTS};
pub(crate) use columns::Columns;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{
    amx, avx512::whole, bfloats::Bfloats, has_amx, has_avx_vnni, has_avx2, has_avx512_vnni,
    wide::Wide,
};

/// A set of instructions for the integer dot products.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Backend {
    /// Plain Rust, for any processor, and the reference of the others.
    Portable,
    /// 256-bit multiply-add of bytes.
    Avx2,
    /// 256-bit dot products of bytes (AVX-VNNI beside AVX2).
    AvxVnni,
    /// 512-bit dot products of bytes (AVX-512 F, BW, VL and VNNI).
    Avx512Vnni,
    /// Products of matrices in tile registers (AMX): of bfloat16 in the fast mode, of whole numbers of 16 bits where for others
    /// outliers stay floats; else as AVX-512 VNNI.
    Amx,
    /// 128-bit dot products of signed bytes (AArch64 with NEON and its DotProd).
    NeonDotprod,
    /// 128-bit products of matrices of unsigned and signed bytes (AArch64 with NEON, DotProd and I8MM).
    NeonI8mm,
}

impl Backend {
    /// Slowest first, those of each architecture.
    const ALL: [Self; 7] = [
        Self::Portable,
        Self::Avx2,
        Self::AvxVnni,
        Self::Avx512Vnni,
        Self::Amx,
        Self::NeonDotprod,
        Self::NeonI8mm,
    ];

    /// The fastest that this processor has.
    pub fn best() -> Self {
        static BEST: LazyLock<Backend> = LazyLock::new(|| {
            let mut fastest_first = Backend::ALL.into_iter().rev();
            fastest_first
                .find(|backend| backend.is_here())
                .unwrap_or(Backend::Portable)
        });
        *BEST
    }

    /// All that this processor has, slowest first.
    pub fn available() -> Vec<Self> {
        let mut all = Self::ALL.to_vec();
        all.retain(|backend| backend.is_here());
        all
    }

    /// Whether this processor has it.
    fn is_here(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => has_avx2(),
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => has_avx_vnni(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => has_avx512_vnni(),
            #[cfg(target_arch = "x86_64")]
            Self::Amx => has_amx(),
            #[cfg(any(target_arch = "aarch64", test))]
            Self::NeonDotprod => neon::has_dotprod(),
            #[cfg(any(target_arch = "aarch64", test))]
            Self::NeonI8mm => neon::has_i8mm(),
            #[allow(unreachable_patterns)] // tests on x86-64 have all
            _ => false,
        }
    }

    /// See [`crate::PackedLinear::multiply`].
    #[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables))] // AMX asks for the range
    pub(crate) fn multiply<'a, T: AnyTile>(
        self,
        tiles: &[T],
        activations: &Activations,
        outputs: usize,
        out: &mut [f32],
        range: impl FnOnce() -> &'a WeightRange,
    ) {
        assert!(
            self.is_here(),
            "{self:?} was chosen on a processor without it"
        );
        match self {
            Self::Portable => product::<T, portable::Portable>(tiles, activations, outputs, out),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => product::<T, x86::Avx2>(tiles, activations, outputs, out),
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => product::<T, x86::AvxVnni>(tiles, activations, outputs, out),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => product::<T, x86::Avx512Vnni>(tiles, activations, outputs, out),
            #[cfg(target_arch = "x86_64")]
            Self::Amx if activations.form == Form::Bfloats => {
                let range = range();
                let inputs = &activations.bfloats;
                let walk = Walk::of(activations, outputs, amx::floats::NEAR_BYTES);
                walk.run(tiles, out, |tiles, rows, panels, out| {
                    amx::floats::over_rows(tiles, (inputs, rows), (panels, range.exponent), out);
                });
                range.mark_lost(out, outputs);
            }
            #[cfg(target_arch = "x86_64")]
            Self::Amx if activations.form == Form::Wide => {
                let range = range();
                let inputs = &activations.wide;
                let mut walk = Walk::of(activations, outputs, amx::whole::NEAR_BYTES);
                if inputs.are_few() {
                    walk.panels_together = whole::PANELS_TOGETHER;
                }
                walk.run(tiles, out, |tiles, rows, panels, out| {
                    let (inputs, panels) = ((inputs, rows), (panels, range));
                    if inputs.0.are_few() {
                        whole::over_rows(tiles, inputs, panels, out);
                    } else {
                        amx::whole::over_rows(tiles, inputs, panels, out);
                    }
                });
                range.mark_lost(out, outputs);
            }
            #[cfg(target_arch = "x86_64")]
            Self::Amx => product::<T, x86::Avx512Vnni>(tiles, activations, outputs, out),
            #[cfg(any(target_arch = "aarch64", test))]
            Self::NeonDotprod => {
                product::<T, neon::Neon<neon::Dotprod>>(tiles, activations, outputs, out);
            }
            #[cfg(any(target_arch = "aarch64", test))]
            Self::NeonI8mm => {
                product::<T, neon::Neon<neon::I8mm>>(tiles, activations, outputs, out);
            }
            #[allow(unreachable_patterns)] // tests on x86-64 have all
            other => unreachable!("{other:?} is of another architecture"),
        }
    }
}

// Where there are no such loads, any tile will do.
#[cfg(not(any(target_arch = "aarch64", test)))]
use crate::tile::Tile as Load128;
#[cfg(not(target_arch = "x86_64"))]
use crate::tile::{Tile as Load256, Tile as Load512};
#[cfg(any(target_arch = "aarch64", test))]
use neon::Load128;
#[cfg(target_arch = "x86_64")]
use x86::{Load256, Load512};

/// A tile that every back end of this build can read.
pub(crate) trait AnyTile: Load128 + Load256 + Load512 {}

impl AnyTile for Four {}
impl AnyTile for FourMin {}
impl AnyTile for FiveMin {}
impl AnyTile for Eight {}
impl AnyTile for FourK {}
impl AnyTile for FiveK {}
impl AnyTile for SixK {}

/// Some rows against the same tiles; see [`Activations`].
pub(crate) struct Rows<'a> {
    /// `[rows][blocks * 32]`.
    pub(crate) codes: &'a [i8],
    /// `[rows][blocks * 32]`, or empty.
    pub(crate) lows: &'a [i8],
    pub(crate) steps: Steps<'a>,
    /// `[rows][blocks]`.
    pub(crate) owed: &'a [i32],
    /// `[rows][blocks]`.
    pub(crate) owed_firsts: &'a [i32],
    /// `[rows][blocks]`.
    pub(crate) totals: &'a [f32],
    pub(crate) outliers: &'a [Outlier],
    pub(crate) blocks: usize,
    /// Which halves of the weights that come next are asked for meanwhile. With few rows weights stream from memory, and the
    /// processor's own prefetcher stops at each page.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))] // AVX-512 reads it
    pub(crate) asking: [bool; 2],
}

impl<'a> Rows<'a> {
    /// `R` rows from one on. Unchecked loads rely on their bounds, and on there being `P` panels of tiles for their blocks.
    #[allow(clippy::inline_always)] // so that none of it goes through memory
    #[inline(always)]
    fn of<T: Tile, const R: usize, const P: usize>(
        tiles: &[T],
        (activations, first): (&'a Activations, usize),
    ) -> Self {
        let (rows, blocks) = (first..first + R, activations.blocks);
        assert!(blocks.is_multiple_of(T::BLOCKS));
        assert!(tiles.len() >= P * blocks / T::BLOCKS);
        let of_rows = first * blocks..(first + R) * blocks;
        let codes = of_rows.start * BLOCK_INPUTS..of_rows.end * BLOCK_INPUTS;
        // Reading both halves may take longer than the products of one group.
        let second = match rows_together(activations.rows, 0) {
            group if activations.rows < 2 * group => 0,
            group => group,
        };
        Self {
            codes: &activations.codes[codes.clone()],
            lows: activations.lows.get(codes).unwrap_or_default(),
            steps: activations.steps(rows.clone()),
            owed: &activations.owed[of_rows.clone()],
            owed_firsts: &activations.owed_firsts[of_rows.clone()],
            totals: &activations.totals[of_rows],
            outliers: activations.outliers(rows),
            blocks,
            asking: [first == 0, first == second],
        }
    }

    /// Whether inputs have second bytes.
    #[allow(clippy::inline_always)] // part of the innermost loops
    #[inline(always)]
    pub(crate) fn have_seconds(&self) -> bool {
        !self.lows.is_empty()
    }
}

/// What is owed for codes that are so much above what they stand for, in a part of a block, from what a block and its first 16
/// inputs owe.
#[allow(clippy::inline_always)] // part of the innermost loops
#[inline(always)]
pub(crate) fn part_owed<T: Tile>(offset: i32, part: usize, [owed, first]: [i32; 2]) -> i32 {
    const { assert!(T::OFFSET % OWED == 0) };
    let owed = match (T::PARTS, part) {
        (1, _) => owed,
        (_, 0) => first,
        _ => owed - first,
    };
    owed * (offset / OWED)
}

/// Of some rows over some panels.
pub(crate) type Sums<const R: usize, const P: usize> = [[[f32; TILE_OUTPUTS]; P]; R];

/// The arithmetic of one back end.
pub(crate) trait Arithmetic<T> {
    /// Writes the sums of `R` rows, of which the first is given, over `P` panels of 16 outputs into the columns from one on.
    /// `tiles` is `[P][blocks of a tile]`.
    ///
    /// Every back end computes, for each row and output, in this order over the blocks and their parts:
    /// `acc = fma(dot - offset * sum, weight_scale * step, acc)`, and where the tile has a minimum
    /// first `acc = fma(min, total, acc)`, where `total` is `sum * step` and the block's outliers, with the integers
    /// `dot = dot(codes)`, or `256 * dot(codes) + dot(lows)` where there are second bytes.
    /// All is in a row's steps where it has one, which multiplies `acc` in the end. Then come the outliers
    /// ([`outliers::add`]).
    fn sums<const R: usize, const P: usize>(
        tiles: &[T],
        rows: (&Activations, usize),
        out: (&Columns<'_>, usize),
    );

    /// Panels that so many rows go through side by side: one or two.
    fn panels_together(_rows: usize) -> usize {
        2
    }

    /// Writes the sums of some rows over `P` panels from `panel` on.
    fn over_rows<const P: usize>(
        tiles: &[T],
        rows: (&Activations, &Range<usize>),
        panel: usize,
        out: &Columns<'_>,
    ) where
        T: Tile,
        Self: Sized,
    {
        over_rows::<T, Self, P>(tiles, rows, panel, out);
    }
}

/// Operations that are worth waking a helper for: about 20 microseconds of one core.
const CHUNK_MIN_OPERATIONS: usize = 1 << 22;

/// Bytes of inputs that stay in a core's second cache while the weights pass by.
const NEAR_BYTES: usize = 384 << 10;
/// Rows for which the weights pass by at least, so that reading them is little beside the arithmetic.
pub(crate) const NEAR_MIN_ROWS: usize = 96;
/// And at most: their sums are kept meanwhile.
const NEAR_MAX_ROWS: usize = 960;
/// They are whole groups of every back end: of 6, or of AMX's 32. Outliers are listed by groups.
const NEAR_ROWS_TOGETHER: usize = 96;
const _: () = assert!(NEAR_ROWS_TOGETHER.is_multiple_of(ROWS_TOGETHER));
// Fewer rows are in one part, which may have other groups (`rows_together`).
const _: () = assert!(NEAR_MIN_ROWS.is_multiple_of(NEAR_ROWS_TOGETHER));

fn product<T: Tile, A: Arithmetic<T>>(
    tiles: &[T],
    activations: &Activations,
    outputs: usize,
    out: &mut [f32],
) {
    let walk = Walk::of(activations, outputs, NEAR_BYTES);
    walk.run(tiles, out, |tiles, rows, panels, out| {
        over_panels::<T, A>(tiles, (activations, rows), panels, out);
    });
}

/// Panels of tiles, one or two at a time, against some rows.
fn over_panels<T: Tile, A: Arithmetic<T>>(
    tiles: &[T],
    rows: (&Activations, &Range<usize>),
    panels: Range<usize>,
    out: &Columns<'_>,
) {
    let across = rows.0.blocks / T::BLOCKS;
    let together = A::panels_together(rows.1.len());
    for panel in panels.clone().step_by(together) {
        let tiles = &tiles[(panel - panels.start) * across..];
        if panel + 1 < panels.end && together > 1 {
            A::over_rows::<2>(tiles, rows, panel, out);
        } else {
            A::over_rows::<1>(tiles, rows, panel, out);
        }
    }
}

/// A walk over panels of outputs, and for a few of them at a time over the rows, so that their weights are read from memory
/// once and stay in the nearest cache. Panels are shared among the threads of the pool.
struct Walk {
    rows: usize,
    blocks: usize,
    outputs: usize,
    /// Rows that the weights pass by while these stay in a core's second cache.
    rows_near: usize,
    /// Panels that no two threads share, but at the end.
    panels_together: usize,
}

impl Walk {
    /// Two panels together, by rows of which so many bytes stay near.
    fn of(activations: &Activations, outputs: usize, near_bytes: usize) -> Self {
        // Steps, sums and panels pass by as well: with one byte an input counted, products of 1536 inputs were a tenth slower.
        let row_bytes = 2 * activations.blocks * BLOCK_INPUTS;
        let near = (near_bytes / row_bytes).clamp(NEAR_MIN_ROWS, NEAR_MAX_ROWS);
        Self {
            rows: activations.rows,
            blocks: activations.blocks,
            outputs,
            rows_near: near / NEAR_ROWS_TOGETHER * NEAR_ROWS_TOGETHER,
            panels_together: 2,
        }
    }

    /// Calls `over` with the tiles from a panel on, some rows, that panel and those behind it.
    fn run<T: Tile>(
        &self,
        tiles: &[T],
        out: &mut [f32],
        over: impl Fn(&[T], &Range<usize>, Range<usize>, &Columns<'_>) + Sync,
    ) {
        let panels = self.outputs.div_ceil(TILE_OUTPUTS);
        let groups = panels.div_ceil(self.panels_together);
        let pool = Pool::global();
        let operations = 2 * out.len() * self.blocks * BLOCK_INPUTS;
        // More chunks than threads, so that a late helper leaves little to the others.
        let chunks = (operations / CHUNK_MIN_OPERATIONS)
            .clamp(1, 4 * pool.threads())
            .min(groups);
        let out = Columns::new(out, self.outputs);
        pool.run(chunks, &|chunk| {
            for first_row in (0..self.rows).step_by(self.rows_near) {
                let rows = first_row..self.rows.min(first_row + self.rows_near);
                let [first, end] = [chunk, chunk + 1]
                    .map(|chunk| panels.min(groups * chunk / chunks * self.panels_together));
                over(
                    &tiles[first * self.blocks / T::BLOCKS..],
                    &rows,
                    first..end,
                    &out,
                );
            }
        });
    }
}

/// Calls `$what` with the numbers of rows that are computed together, of so many, until all of `$rows` are.
macro_rules! in_groups {
    ($all:expr, $rows:expr, |$row:ident, $COUNT:ident| $what:block) => {
        let mut $row = $rows.start;
        while $row < $rows.end {
            let count = rows_together($all, $row);
            in_groups!(@ count, $COUNT, $what, ROWS_TOGETHER, 4, 2, 1);
            $row += count;
        }
    };
    (@ $count:ident, $COUNT:ident, $what:block, $($these:expr),+) => {
        match $count {
            $(these if these == $these => {
                const $COUNT: usize = $these;
                $what
            })+
            other => unreachable!("{other} rows together"),
        }
    };
}

fn over_rows<T: Tile, A: Arithmetic<T>, const P: usize>(
    tiles: &[T],
    (activations, rows): (&Activations, &Range<usize>),
    panel: usize,
    out: &Columns<'_>,
) {
    let tiles = &tiles[..P * activations.blocks / T::BLOCKS];
    let first = panel * TILE_OUTPUTS;
    in_groups!(activations.rows, rows, |row, COUNT| {
        if out.are_far() {
            for index in 0..COUNT {
                out.ask((row + index, first), P);
            }
        }
        A::sums::<COUNT, P>(tiles, (activations, row), (out, first));
    });
}
