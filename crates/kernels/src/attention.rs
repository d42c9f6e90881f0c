//! Grouped-query attention (Ainslie et al. 2023) over a paged cache, in place.
//!
//! A key block is read once for all query rows of a tile, and the softmax is kept as a running
//! maximum and sum (Milakov and Gimelshein 2018), so that no scores are stored beyond one block. A
//! row's result depends on its own query and its cache only: neither the rows beside it nor the
//! instructions change a bit.

mod products;

use std::cell::RefCell;

use crate::backend::{Backend, Columns};
use crate::cache::{CACHE_BLOCK_POSITIONS, NoBlock, PagedCache};
use crate::lanes::{self, Computation, LANES, Lanes, exponential, tangent};
use crate::pool::Pool;
use products::{add_values, scores};

/// Query rows that read a block of keys together, where there are as many; then 4, 3, 2, 1.
const TILE_ROWS: usize = 8;
/// So many or fewer are worked on without others in the places left.
const ROWS_ALONE: usize = 4;
const _: () = assert!(ROWS_ALONE == 4); // `Work::run` names those below
/// Multiplications that are worth waking a helper for: about 20 microseconds of one core.
const CHUNK_MIN_OPERATIONS: usize = 1 << 20;
/// Vectors of positions in a block.
const POSITION_VECTORS: usize = CACHE_BLOCK_POSITIONS / LANES;

/// What all rows share.
#[derive(Debug, Clone, Copy)]
pub struct Attention<'a> {
    /// Query heads; a multiple of the cache's key heads.
    pub heads: usize,
    /// Multiplies the scores; most models take one over the root of the head's size.
    pub scale: f32,
    /// Scores are bounded to this by a hyperbolic tangent (Gemma 2).
    pub soft_cap: Option<f32>,
    /// A row sees itself and the positions before it; else each sees all rows too.
    pub causal: bool,
    /// A row sees no more than so many positions up to itself, and, where it sees later ones, so many
    /// from itself on.
    pub window: Option<usize>,
    /// A score of each head that takes part in the softmax and has no value (GPT-OSS), `[heads]`.
    pub sinks: Option<&'a [f32]>,
}

/// Rows of one sequence.
#[derive(Debug, Clone, Copy)]
pub struct Queries<'a> {
    /// `[rows, heads * size]`.
    pub rows: &'a [f32],
    /// Position of the first row; keys and values up to the last row's are in the cache.
    pub start: usize,
    /// The sequence's block table.
    pub blocks: &'a [u32],
}

impl Attention<'_> {
    /// Writes what the rows attend to into `out`, `[rows, heads * size]`.
    ///
    /// # Errors
    /// [`NoBlock`] when the block table does not cover the rows.
    ///
    /// # Panics
    /// When the sizes do not fit each other.
    pub fn run(
        &self,
        cache: &PagedCache,
        queries: Queries<'_>,
        out: &mut [f32],
        backend: Backend,
    ) -> Result<(), NoBlock> {
        let width = self.heads * cache.size();
        let rows = queries.rows.len() / width;
        assert!(queries.rows.len() == rows * width && out.len() == rows * width);
        assert!(self.heads.is_multiple_of(cache.heads()));
        assert!(self.sinks.is_none_or(|sinks| sinks.len() == self.heads));
        assert!(self.window != Some(0));
        let end = queries.start + rows;
        for position in (self.first_seen(queries.start)..end).step_by(CACHE_BLOCK_POSITIONS) {
            cache.head(0, position, queries.blocks)?;
        }
        if let Some(last) = end.checked_sub(1) {
            cache.head(0, last, queries.blocks)?;
        }
        // Rows of all heads that share a key head, tile by tile.
        let group = self.heads / cache.heads();
        let tiles = (rows * group).div_ceil(TILE_ROWS);
        let items = tiles * cache.heads();
        let operations = 2 * rows * width * (queries.start + rows.div_ceil(2));
        let pool = Pool::global();
        let chunks = (operations / CHUNK_MIN_OPERATIONS)
            .clamp(1, 4 * pool.threads())
            .min(items);
        let out = Columns::new(out, width);
        let needed = TILE_ROWS * (cache.size() + cache.padded());
        pool.run(chunks, &|chunk| {
            SCRATCH.with_borrow_mut(|scratch| {
                scratch.resize(needed, 0.0);
                lanes::run(
                    backend,
                    Work {
                        attention: self,
                        cache,
                        queries,
                        tiles,
                        items: items * chunk / chunks..items * (chunk + 1) / chunks,
                        out: &out,
                        scratch,
                    },
                );
            });
        });
        Ok(())
    }

    /// The first position that a row at `position` sees.
    fn first_seen(&self, position: usize) -> usize {
        self.window
            .map_or(0, |window| (position + 1).saturating_sub(window))
    }

    /// The position after the last that a row at `position` sees, of `end` positions.
    fn last_seen(&self, position: usize, end: usize) -> usize {
        if self.causal {
            return position + 1;
        }
        self.window
            .map_or(end, |window| end.min(position.saturating_add(window)))
    }
}

/// Some tiles of some heads.
struct Work<'a> {
    attention: &'a Attention<'a>,
    cache: &'a PagedCache,
    queries: Queries<'a>,
    /// Of each key head.
    tiles: usize,
    items: std::ops::Range<usize>,
    out: &'a Columns<'a>,
    /// The queries of a tile, scaled, `[TILE_ROWS, size]`, and its sums, `[TILE_ROWS, padded]`.
    scratch: &'a mut [f32],
}

thread_local! {
    /// Kept, so that a step of a running model allocates nothing.
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

impl Computation for Work<'_> {
    type Output = ();

    #[allow(clippy::inline_always)] // as `Computation` asks
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let group = self.attention.heads / self.cache.heads();
        let size = self.cache.size();
        let width = self.attention.heads * size;
        let all = self.queries.rows.len() / width * group;
        let end = self.queries.start + all / group;
        let padded = self.cache.padded();
        let scratch = self.scratch;
        let (scaled, sums) = scratch.split_at_mut(TILE_ROWS * size);
        for item in self.items.clone() {
            let (key_head, tile) = (item / self.tiles, item % self.tiles);
            let first = tile * TILE_ROWS;
            let count = TILE_ROWS.min(all - first);
            let mut rows = [Row::default(); TILE_ROWS];
            for (index, row) in rows[..count].iter_mut().enumerate() {
                let flat = first + index;
                let (line, head) = (flat / group, key_head * group + flat % group);
                *row = Row {
                    line,
                    column: head * size,
                    seen: self.attention.last_seen(self.queries.start + line, end),
                    from: self.attention.first_seen(self.queries.start + line),
                    maximum: f32::NEG_INFINITY,
                    sums: [0.0; LANES],
                };
                if let Some(sinks) = self.attention.sinks {
                    row.maximum = sinks[head];
                    row.sums[0] = 1.0;
                }
                let query = &self.queries.rows[line * width + row.column..][..size];
                for (place, value) in scaled[index * size..][..size].iter_mut().zip(query) {
                    *place = value * self.attention.scale;
                }
            }
            let places = if count <= ROWS_ALONE {
                count
            } else {
                TILE_ROWS
            };
            sums[..places * padded].fill(0.0);
            // Places that have no row compute the last one again.
            for place in count..places {
                rows[place] = rows[count - 1];
                scaled.copy_within((count - 1) * size..count * size, place * size);
            }
            let part = Part {
                attention: self.attention,
                cache: self.cache,
                blocks: self.queries.blocks,
                key_head,
                then: (all == group).then_some(key_head + 1),
            };
            match count {
                1 => attend::<L, 1>(&part, &mut rows, scaled, sums),
                2 => attend::<L, 2>(&part, &mut rows, scaled, sums),
                3 => attend::<L, 3>(&part, &mut rows, scaled, sums),
                ROWS_ALONE => attend::<L, ROWS_ALONE>(&part, &mut rows, scaled, sums),
                _ => attend::<L, TILE_ROWS>(&part, &mut rows, scaled, sums),
            }
            for (row, sums) in rows[..count].iter().zip(sums.chunks_exact_mut(padded)) {
                let sum = L::load(&row.sums).sum();
                for value in &mut sums[..size] {
                    *value /= sum;
                }
                self.out.set((row.line, row.column), &sums[..size]);
            }
        }
    }
}

/// A query row of one head, and its softmax so far.
#[derive(Debug, Clone, Copy, Default)]
struct Row {
    line: usize,
    column: usize,
    /// It sees the positions `from..seen`.
    from: usize,
    seen: usize,
    maximum: f32,
    /// The sum of its weights, each place of a vector for itself.
    sums: [f32; LANES],
}

/// What the rows of a tile see.
struct Part<'a> {
    attention: &'a Attention<'a>,
    cache: &'a PagedCache,
    blocks: &'a [u32],
    key_head: usize,
    /// The one that comes then, where rows are of one position: reading keys and values takes longer than their products.
    then: Option<usize>,
}

impl<'a> Part<'a> {
    /// The block of keys and values behind that of `position`, or the first of the next head, which begins `from`.
    #[allow(clippy::inline_always)] // as `Computation` asks
    #[inline(always)]
    fn next(&self, position: usize, [from, seen]: [usize; 2]) -> Option<(&'a [u16], &'a [u16])> {
        let then = self.then?;
        let behind = position + CACHE_BLOCK_POSITIONS;
        let (head, position) = if behind < seen {
            (self.key_head, behind)
        } else if then < self.cache.heads() {
            (then, from)
        } else {
            return None;
        };
        self.cache.head(head, position, self.blocks).ok()
    }
}

/// Runs `R` rows over their blocks: `scaled` is `[R, size]`, `sums` `[TILE_ROWS, padded]`.
#[allow(clippy::inline_always)] // as `Computation` asks
#[inline(always)]
fn attend<L: Lanes, const R: usize>(
    part: &Part<'_>,
    rows: &mut [Row; TILE_ROWS],
    scaled: &[f32],
    sums: &mut [f32],
) {
    let from = rows[0].from;
    let seen = rows[R - 1].seen;
    let mut position = from / CACHE_BLOCK_POSITIONS * CACHE_BLOCK_POSITIONS;
    let mut weights = [[[0.0; LANES]; POSITION_VECTORS]; R];
    while position < seen {
        // The caller has checked the table.
        let Ok((keys, values)) = part.cache.head(part.key_head, position, part.blocks) else {
            return;
        };
        let (next_keys, next_values) = part.next(position, [from, seen]).unwrap_or_default();
        scores::<L, R>((keys, next_keys), scaled, part.cache.size(), &mut weights);
        let mut factors = [1.0; R];
        for ((row, weights), factor) in rows.iter_mut().zip(&mut weights).zip(&mut factors) {
            *factor = soften::<L>(row, (position, part.attention.soft_cap), weights);
        }
        let used = (seen - position).min(CACHE_BLOCK_POSITIONS);
        add_values::<L, R>(
            (&values[..used * part.cache.padded()], next_values),
            &weights,
            &factors,
            sums,
        );
        position += CACHE_BLOCK_POSITIONS;
    }
}

/// Turns a row's scores of one block into weights, and says by what the sums so far shrink.
#[allow(clippy::inline_always)] // as `Computation` asks
#[inline(always)]
fn soften<L: Lanes>(
    row: &mut Row,
    (position, soft_cap): (usize, Option<f32>),
    weights: &mut [[f32; LANES]; POSITION_VECTORS],
) -> f32 {
    let from = row.from.saturating_sub(position).min(CACHE_BLOCK_POSITIONS);
    let seen = row.seen.saturating_sub(position).min(CACHE_BLOCK_POSITIONS);
    if from >= seen {
        weights.as_flattened_mut().fill(0.0);
        return 1.0;
    }
    if let Some(cap) = soft_cap {
        let (inverse, cap) = (L::splat(1.0 / cap), L::splat(cap));
        for vector in weights.iter_mut() {
            let capped = tangent(L::load(vector).multiply(inverse)).multiply(cap);
            capped.store(vector);
        }
    }
    let sees_all = from == 0 && seen == CACHE_BLOCK_POSITIONS;
    if !sees_all {
        let flat = weights.as_flattened_mut();
        flat[..from].fill(f32::NEG_INFINITY);
        flat[seen..].fill(f32::NEG_INFINITY);
    }
    let [low, high] = &*weights;
    let block_maximum = L::load(low).maximum(L::load(high)).largest();
    // Nothing shrinks where the maximum stays, nor in the first block of a row without a sink.
    let mut factor = 1.0;
    if block_maximum > row.maximum {
        if row.maximum > f32::NEG_INFINITY {
            let mut shrunk = [0.0; LANES];
            exponential(L::splat(row.maximum - block_maximum)).store(&mut shrunk);
            factor = shrunk[0];
        }
        row.maximum = block_maximum;
    }
    let maximum = L::splat(row.maximum);
    for vector in weights.iter_mut() {
        let power = exponential(L::load(vector).subtract(maximum));
        power.store(vector);
    }
    if !sees_all {
        let flat = weights.as_flattened_mut();
        flat[..from].fill(0.0);
        flat[seen..].fill(0.0);
    }
    let [low, high] = &*weights;
    let block = L::load(low).add(L::load(high));
    let so_far = L::load(&row.sums).multiply(L::splat(factor));
    so_far.add(block).store(&mut row.sums);
    factor
}
