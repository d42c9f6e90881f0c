//! From a row of logits to a token.
//!
//! Order: penalties, then temperature, top-k, top-p. Random numbers come from a counter generator
//! keyed by the request's seed and the token's index, so that the same request gives the same
//! tokens whatever shares its batch. The vocabulary is never sorted as a whole.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use tasks::{Failure, Sampling};

/// Candidates looked at first when top-p asks for a sorted head; doubled until it suffices.
const HEAD_FIRST_TOKENS: usize = 64;

/// Logits that are compared side by side.
const LANES: usize = 16;
/// Candidates whose weights are summed up by themselves.
const CHUNK_CANDIDATES: usize = 64;

thread_local! {
    /// Candidates and their weights, of one row after the other.
    static CANDIDATES: RefCell<Vec<(u32, f32)>> = const { RefCell::new(Vec::new()) };
}

/// Chooses the tokens of one sequence.
#[derive(Debug)]
pub struct Sampler {
    sampling: Sampling,
    seed: u64,
    drawn: u64,
    /// How often each token was generated.
    generated: HashMap<u32, u32>,
    /// Tokens of the prompt and of the answer, for the repetition penalty.
    seen: HashSet<u32>,
}

impl Sampler {
    /// A sampler for a sequence with this prompt; `entropy` seeds it where the request does not.
    pub fn new(sampling: Sampling, prompt: &[u32], entropy: u64) -> Self {
        let seen = match sampling.repetition_penalty {
            Some(_) => prompt.iter().copied().collect(),
            None => HashSet::new(),
        };
        Self {
            seed: sampling.seed.unwrap_or(entropy),
            sampling,
            drawn: 0,
            generated: HashMap::new(),
            seen,
        }
    }

    /// The next token for one row of logits, which is changed on the way.
    ///
    /// # Errors
    /// [`Failure::Internal`] when no logit is a number.
    pub fn next(&mut self, logits: &mut [f32]) -> Result<u32, Failure> {
        self.penalise(logits);
        let token = if self.sampling.temperature > 0.0 {
            self.draw(logits)
        } else {
            argmax(logits)
        }
        .ok_or_else(|| Failure::Internal("the model gave no finite logit".into()))?;
        *self.generated.entry(token).or_default() += 1;
        if self.sampling.repetition_penalty.is_some() {
            self.seen.insert(token);
        }
        Ok(token)
    }

    fn penalise(&self, logits: &mut [f32]) {
        if let Some(penalty) = self.sampling.repetition_penalty.filter(|&p| p > 0.0) {
            for &token in &self.seen {
                if let Some(logit) = logits.get_mut(token as usize) {
                    *logit = if *logit > 0.0 {
                        *logit / penalty
                    } else {
                        *logit * penalty
                    };
                }
            }
        }
        // OpenAI's definition: c * frequency + (c > 0) * presence.
        let frequency = self.sampling.frequency_penalty.unwrap_or(0.0);
        let presence = self.sampling.presence_penalty.unwrap_or(0.0);
        if frequency != 0.0 || presence != 0.0 {
            for (&token, &count) in &self.generated {
                if let Some(logit) = logits.get_mut(token as usize) {
                    *logit -= count as f32 * frequency + presence;
                }
            }
        }
    }

    fn draw(&mut self, logits: &[f32]) -> Option<u32> {
        let uniform = uniform(self.seed, self.drawn);
        self.drawn += 1;
        let best = largest(logits)?;
        if best == f32::INFINITY {
            return argmax(logits);
        }
        CANDIDATES.with_borrow_mut(|candidates| {
            candidates.clear();
            candidates.reserve(logits.len());
            for (token, &logit) in logits.iter().enumerate() {
                if logit.is_finite() {
                    let weight = ((logit - best) / self.sampling.temperature).exp();
                    candidates.push((token as u32, weight));
                }
            }
            if let Some(k) = self.sampling.top_k {
                keep_head(candidates, k as usize);
            }
            if let Some(p) = self.sampling.top_p.filter(|&p| p < 1.0) {
                keep_nucleus(candidates, p);
            }
            at(candidates, uniform)
        })
    }
}

/// The candidate at a share, in [0, 1), of all weights, which lie side by side in their order.
fn at(candidates: &[(u32, f32)], share: f64) -> Option<u32> {
    // Sums of chunks, so that few additions wait for each other.
    let chunks = || candidates.chunks(CHUNK_CANDIDATES);
    let total: f64 = chunks().map(weight).sum();
    let mut left = share * total;
    for chunk in chunks() {
        let sum = weight(chunk);
        if left >= sum {
            left -= sum;
            continue;
        }
        for &(token, weight) in chunk {
            left -= f64::from(weight);
            if left < 0.0 {
                return Some(token);
            }
        }
    }
    candidates.last().map(|c| c.0) // rounding left a crumb
}

fn weight(candidates: &[(u32, f32)]) -> f64 {
    candidates.iter().map(|c| f64::from(c.1)).sum()
}

/// The largest logit; `None` where none is a number above negative infinity.
fn largest(logits: &[f32]) -> Option<f32> {
    let (vectors, rest) = logits.as_chunks::<LANES>();
    let mut most = [f32::NEG_INFINITY; LANES];
    for vector in vectors {
        for (most, &logit) in most.iter_mut().zip(vector) {
            *most = if logit > *most { logit } else { *most };
        }
    }
    let best = most
        .iter()
        .chain(rest)
        .copied()
        .fold(f32::NEG_INFINITY, f32::max);
    (best > f32::NEG_INFINITY).then_some(best)
}

/// The first of the largest logits.
fn argmax(logits: &[f32]) -> Option<u32> {
    let best = largest(logits)?;
    let token = logits.iter().position(|&logit| logit >= best)?;
    Some(token as u32)
}

fn heavier(a: (u32, f32), b: (u32, f32)) -> std::cmp::Ordering {
    b.1.total_cmp(&a.1).then(a.0.cmp(&b.0))
}

/// Keeps the `count` heaviest candidates, the lower id first among equals.
fn keep_head(candidates: &mut Vec<(u32, f32)>, count: usize) {
    if count < candidates.len() {
        candidates.select_nth_unstable_by(count, |a, b| heavier(*a, *b));
        candidates.truncate(count);
    }
}

/// Keeps the heaviest candidates up to and with the one that lifts their share above `p`
/// (nucleus sampling, Holtzman et al. 2020).
fn keep_nucleus(candidates: &mut Vec<(u32, f32)>, p: f32) {
    let total: f64 = candidates.iter().map(|c| f64::from(c.1)).sum();
    let wanted = total * f64::from(p);
    let mut head = HEAD_FIRST_TOKENS.min(candidates.len());
    loop {
        if head < candidates.len() {
            candidates.select_nth_unstable_by(head, |a, b| heavier(*a, *b));
        }
        candidates[..head].sort_unstable_by(|a, b| heavier(*a, *b));
        let mut sum = 0.0;
        for index in 0..head {
            sum += f64::from(candidates[index].1);
            if sum >= wanted {
                candidates.truncate(index + 1);
                return;
            }
        }
        if head == candidates.len() {
            return;
        }
        head = (head * 2).min(candidates.len());
    }
}

/// A number in [0, 1) from a key and a counter: two rounds of SplitMix64's finaliser
/// (Steele, Lea, Flood 2014).
fn uniform(seed: u64, index: u64) -> f64 {
    let mixed = mix(mix(seed) ^ index.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    (mixed >> 11) as f64 / (1_u64 << 53) as f64
}

fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
