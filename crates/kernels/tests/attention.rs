//! Attention over the paged cache against plain sums in double precision.
#![allow(clippy::unwrap_used)] // helpers of tests panic as tests do

use half::f16;
use kernels::{Attention, Backend, CACHE_BLOCK_POSITIONS, NoBlock, PagedCache, Queries};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

/// What a comparison is about.
#[derive(Debug, Clone, Copy)]
struct Shape {
    heads: usize,
    kv_heads: usize,
    size: usize,
    length: usize,
    soft_cap: Option<f32>,
    window: Option<usize>,
    sinks: bool,
    causal: bool,
}

const PLAIN: Shape = Shape {
    heads: 9,
    kv_heads: 3,
    size: 64,
    length: 150,
    soft_cap: None,
    window: None,
    sinks: false,
    causal: true,
};

struct Case {
    shape: Shape,
    queries: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
    sinks: Vec<f32>,
    blocks: Vec<u32>,
    cache: PagedCache,
}

fn case(shape: Shape, seed: u64) -> Case {
    let mut random = StdRng::seed_from_u64(seed);
    let mut floats = |count: usize, spread: f32| -> Vec<f32> {
        (0..count)
            .map(|_| random.random_range(-spread..spread))
            .collect()
    };
    let width = shape.kv_heads * shape.size;
    // Keys and values that half precision holds exactly, so that only the arithmetic differs.
    let exact = |values: Vec<f32>| -> Vec<f32> {
        values.iter().map(|v| f16::from_f32(*v).to_f32()).collect()
    };
    let keys = exact(floats(shape.length * width, 2.0));
    let values = exact(floats(shape.length * width, 2.0));
    let queries = floats(shape.length * shape.heads * shape.size, 2.0);
    let sinks = floats(shape.heads, 3.0);
    let count = shape.length.div_ceil(CACHE_BLOCK_POSITIONS);
    let mut blocks: Vec<u32> = (0..2 * count as u32 + 70).collect();
    blocks.shuffle(&mut random);
    let mut cache = PagedCache::new(blocks.len(), shape.kv_heads, shape.size);
    blocks.truncate(count);
    // In chunks that do not respect blocks.
    let mut at = 0;
    while at < shape.length {
        let rows = random.random_range(1..=40).min(shape.length - at);
        let part = at * width..(at + rows) * width;
        cache
            .write(&keys[part.clone()], &values[part], at, &blocks)
            .unwrap();
        at += rows;
    }
    Case {
        shape,
        queries,
        keys,
        values,
        sinks,
        blocks,
        cache,
    }
}

impl Case {
    fn attention(&self) -> Attention<'_> {
        Attention {
            heads: self.shape.heads,
            scale: (self.shape.size as f32).powf(-0.5),
            soft_cap: self.shape.soft_cap,
            causal: self.shape.causal,
            window: self.shape.window,
            sinks: self.shape.sinks.then_some(&self.sinks),
        }
    }

    /// The rows `from..to`.
    fn run(&self, from: usize, to: usize, backend: Backend) -> Vec<f32> {
        let width = self.shape.heads * self.shape.size;
        let rows = &self.queries[from * width..to * width];
        let mut out = vec![f32::NAN; rows.len()];
        let queries = Queries {
            rows,
            start: from,
            blocks: &self.blocks,
        };
        self.attention()
            .run(&self.cache, queries, &mut out, backend)
            .unwrap();
        out
    }

    fn reference(&self, row: usize, head: usize) -> Vec<f64> {
        let Shape {
            heads,
            kv_heads,
            size,
            ..
        } = self.shape;
        let kv_head = head / (heads / kv_heads);
        let from = self.shape.window.map_or(0, |w| (row + 1).saturating_sub(w));
        let query = &self.queries[(row * heads + head) * size..][..size];
        let of = |all: &[f32], at: usize| -> Vec<f64> {
            let first = (at * kv_heads + kv_head) * size;
            all[first..first + size]
                .iter()
                .map(|v| f64::from(*v))
                .collect()
        };
        let last = if self.shape.causal {
            row
        } else {
            let window = self.shape.window.unwrap_or(self.shape.length);
            (row + window).min(self.shape.length) - 1
        };
        let mut scores: Vec<f64> = (from..=last)
            .map(|at| {
                let key = of(&self.keys, at);
                let dot: f64 = key.iter().zip(query).map(|(k, q)| k * f64::from(*q)).sum();
                let score = dot / (size as f64).sqrt();
                self.shape.soft_cap.map_or(score, |cap| {
                    f64::from(cap) * (score / f64::from(cap)).tanh()
                })
            })
            .collect();
        if self.shape.sinks {
            scores.push(f64::from(self.sinks[head]));
        }
        let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let powers: Vec<f64> = scores.iter().map(|score| (score - most).exp()).collect();
        let sum: f64 = powers.iter().sum();
        let mut attended = vec![0.0; size];
        for (at, power) in (from..=last).zip(&powers) {
            for (place, value) in attended.iter_mut().zip(of(&self.values, at)) {
                *place += power / sum * value;
            }
        }
        attended
    }
}

fn shapes() -> Vec<Shape> {
    vec![
        PLAIN,
        Shape { length: 1, ..PLAIN },
        Shape {
            heads: 1,
            kv_heads: 1,
            size: 7,
            length: 65,
            ..PLAIN
        },
        Shape {
            heads: 8,
            kv_heads: 1,
            size: 80,
            length: 40,
            ..PLAIN
        },
        // Tiles of one, three and four rows, of values that are 5, 10 and 3 vectors wide.
        Shape {
            heads: 1,
            kv_heads: 1,
            size: 80,
            length: 33,
            ..PLAIN
        },
        Shape {
            heads: 3,
            kv_heads: 1,
            size: 160,
            length: 33,
            ..PLAIN
        },
        Shape {
            heads: 4,
            kv_heads: 1,
            size: 40,
            length: 37,
            ..PLAIN
        },
        Shape {
            heads: 4,
            kv_heads: 4,
            size: 256,
            length: 33,
            ..PLAIN
        },
        Shape {
            window: Some(1),
            ..PLAIN
        },
        Shape {
            window: Some(33),
            ..PLAIN
        },
        Shape {
            window: Some(64),
            sinks: true,
            ..PLAIN
        },
        Shape {
            causal: false,
            ..PLAIN
        },
        Shape {
            causal: false,
            window: Some(5),
            ..PLAIN
        },
        Shape {
            causal: false,
            window: Some(40),
            ..PLAIN
        },
        Shape {
            soft_cap: Some(3.0),
            ..PLAIN
        },
        Shape {
            soft_cap: Some(50.0),
            sinks: true,
            size: 16,
            ..PLAIN
        },
    ]
}

#[test]
fn rows_attend_as_plain_sums_in_double_precision_say() {
    for (seed, shape) in shapes().into_iter().enumerate() {
        let case = case(shape, seed as u64);
        let out = case.run(0, shape.length, Backend::best());
        for row in 0..shape.length {
            for head in 0..shape.heads {
                let ours = &out[(row * shape.heads + head) * shape.size..][..shape.size];
                for (ours, theirs) in ours.iter().zip(case.reference(row, head)) {
                    let off = (f64::from(*ours) - theirs).abs();
                    assert!(
                        off < 5e-6,
                        "{shape:?} row {row} head {head}: {ours} for {theirs}"
                    );
                }
            }
        }
    }
}

#[test]
fn instructions_and_neighbours_change_no_bit() {
    let bits = |values: &[f32]| -> Vec<u32> { values.iter().map(|v| v.to_bits()).collect() };
    for (seed, shape) in shapes().into_iter().enumerate() {
        if !shape.causal {
            continue; // rows apart see less
        }
        let case = case(shape, 100 + seed as u64);
        let width = shape.heads * shape.size;
        let whole = bits(&case.run(0, shape.length, Backend::Portable));
        for backend in Backend::available() {
            assert_eq!(
                whole,
                bits(&case.run(0, shape.length, backend)),
                "{shape:?} {backend:?}"
            );
        }
        let mut at = 0;
        for rows in [1, 2, 3, 5, 31, 1, 64].into_iter().cycle() {
            let to = (at + rows).min(shape.length);
            let expected = &whole[at * width..to * width];
            for backend in Backend::available() {
                let part = bits(&case.run(at, to, backend));
                assert_eq!(part, expected, "{shape:?} {backend:?} {at}..{to}");
            }
            at = to;
            if at == shape.length {
                break;
            }
        }
    }
}

#[test]
fn a_block_table_that_is_too_short_is_an_error() {
    let mut case = case(PLAIN, 7);
    let queries = Queries {
        rows: &case.queries,
        start: 0,
        blocks: &case.blocks[..4],
    };
    let mut out = vec![0.0; case.queries.len()];
    let refused = case
        .attention()
        .run(&case.cache, queries, &mut out, Backend::best());
    assert_eq!(refused, Err(NoBlock { position: 128 }));
    let row = vec![0.0; PLAIN.kv_heads * PLAIN.size];
    assert_eq!(
        case.cache.write(&row, &row, 32, &[0]),
        Err(NoBlock { position: 32 })
    );
    assert!(case.cache.write(&row, &row, 0, &[u32::MAX]).is_err());
}

/// Blocks of one piece of memory, and of pieces that were never written before.
#[test]
fn copied_blocks_hold_the_same_and_stay_apart() {
    let mut case = case(PLAIN, 11);
    let before = case.run(140, 150, Backend::best());
    let (blocks, count) = (case.blocks.clone(), 2 * case.blocks.len() as u32 + 70);
    let free: Vec<u32> = (0..count).filter(|block| !blocks.contains(block)).collect();
    for (from, to) in blocks.iter().zip(free.iter().rev()) {
        case.cache.copy(*from, *to).unwrap();
    }
    case.blocks = free.iter().rev().take(blocks.len()).copied().collect();
    assert_eq!(case.run(140, 150, Backend::best()), before);
    let zeros = vec![0.0; case.keys.len()];
    case.cache.write(&zeros, &zeros, 0, &blocks).unwrap();
    assert_eq!(case.run(140, 150, Backend::best()), before);
    assert!(case.cache.copy(0, count).is_err() && case.cache.copy(count, 0).is_err());
}
