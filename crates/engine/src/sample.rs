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

/// Logits that are worked on side by side.
const LANES: usize = 16;
/// Weights that are summed up by themselves.
const CHUNK_WEIGHTS: usize = 256;

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

    /// Leaves weights in place of the logits.
    fn draw(&mut self, logits: &mut [f32]) -> Option<u32> {
        let share = uniform(self.seed, self.drawn);
        self.drawn += 1;
        let best = largest(logits)?;
        if best == f32::INFINITY {
            return argmax(logits);
        }
        let temperature = self.sampling.temperature;
        for logit in logits.iter_mut() {
            let weight = exponential((*logit - best) / temperature);
            *logit = if logit.is_finite() { weight } else { 0.0 };
        }
        let weights = &*logits;
        let top_p = self.sampling.top_p.filter(|&p| p < 1.0);
        if self.sampling.top_k.is_none() && top_p.is_none() {
            return at(weights, share).map(|token| token as u32);
        }
        CANDIDATES.with_borrow_mut(|candidates| {
            candidates.clear();
            candidates.reserve(weights.len());
            let all = weights.iter().enumerate();
            let all = all.map(|(token, &weight)| (token as u32, weight));
            candidates.extend(all.filter(|candidate| candidate.1 > 0.0));
            if let Some(k) = self.sampling.top_k {
                keep_head(candidates, k as usize);
            }
            if let Some(p) = top_p {
                keep_nucleus(candidates, p);
            }
            let weights: Vec<f32> = candidates.iter().map(|c| c.1).collect();
            at(&weights, share).map(|place| candidates[place].0)
        })
    }
}

/// `e^x` of what is 0 at most, within 3e-7 of it; 1e-38 where it would be less. Without a branch or a call, so that many are
/// computed side by side.
fn exponential(x: f32) -> f32 {
    /// Its sum with a small number has no bits for fractions: it rounds.
    const ROUNDING: f32 = 12_582_912.0;
    /// Taylor's coefficients of `e^r` behind `1 + r`, highest first; `|r|` is half of ln 2 at most.
    const COEFFICIENTS: [f32; 5] = [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5];
    /// ln 2 in two parts, the first with so few bits that its multiples are exact (Cody and Waite 1980).
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    let x = if x > -87.0 { x } else { -87.0 };
    let rounded = x * std::f32::consts::LOG2_E + ROUNDING;
    let whole = rounded - ROUNDING;
    let rest = (x - whole * LN_2[0]) - whole * LN_2[1];
    let mut sum = 0.0;
    for coefficient in COEFFICIENTS {
        sum = sum * rest + coefficient;
    }
    let sum = (sum * rest + 1.0) * rest + 1.0;
    // Its last bits are those of the whole number, which becomes the exponent's field of a float (IEEE 754). No conversion, and
    // no addition that could be found to overflow: those would be done one by one.
    let whole = rounded.to_bits().wrapping_sub(ROUNDING.to_bits());
    sum * f32::from_bits(whole.wrapping_add(127) << 23)
}

/// The place of a share, in [0, 1), of all weights, which lie side by side in their order; never one without weight.
fn at(weights: &[f32], share: f64) -> Option<usize> {
    let total: f64 = weights.chunks(CHUNK_WEIGHTS).map(sum).sum();
    let mut left = share * total;
    for (number, chunk) in weights.chunks(CHUNK_WEIGHTS).enumerate() {
        let sum = sum(chunk);
        if left >= sum {
            left -= sum;
            continue;
        }
        for (place, &weight) in chunk.iter().enumerate() {
            left -= f64::from(weight);
            if left < 0.0 {
                return Some(number * CHUNK_WEIGHTS + place);
            }
        }
    }
    weights.iter().rposition(|&weight| weight > 0.0) // rounding left a crumb
}

/// Of a chunk, side by side.
fn sum(weights: &[f32]) -> f64 {
    let (vectors, rest) = weights.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for vector in vectors {
        for (sum, &weight) in sums.iter_mut().zip(vector) {
            *sum += f64::from(weight);
        }
    }
    sums.iter().sum::<f64>() + rest.iter().map(|&weight| f64::from(weight)).sum::<f64>()
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

#[cfg(test)]
mod tests {
    use super::exponential;

    #[test]
    fn the_exponential_is_near_that_of_double_precision() {
        for step in 0..=870_000 {
            let x = -1e-4 * step as f32;
            let exact = f64::from(x).exp();
            let error = (f64::from(exponential(x)) - exact).abs() / exact;
            assert!(error < 3e-7, "{x}: {error}");
        }
        assert!(exponential(f32::NEG_INFINITY) < 2e-38);
    }
}
