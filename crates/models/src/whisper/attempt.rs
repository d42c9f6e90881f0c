//! One decoding of one window, and whether it is good enough.
//!
//! As openai/whisper's `decode_with_fallback`: the likeliest tokens first; a transcript that repeats
//! itself or is unlikely is tried again by sampling at a higher temperature.

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use tasks::{Decoding, Failure};

use super::rules::{NEVER, log_sum_exp};

/// The temperatures, in order.
const TEMPERATURES: [f32; 6] = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0];

/// What a transcript is judged by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Thresholds {
    pub(super) compression_ratio: f32,
    pub(super) log_prob: f32,
    pub(super) no_speech: f32,
}

/// A transcript in the making.
#[derive(Debug, Clone)]
pub(super) struct Attempt {
    /// Its index in [`TEMPERATURES`].
    number: usize,
    /// What was given before the first token was chosen.
    given: usize,
    /// Text and timestamps, without the end.
    pub(super) transcript: Vec<u32>,
    log_prob_sum: f64,
    /// Drawn from the window's place, so that the same sound has the same transcript.
    random: u64,
}

/// A finished transcript and its marks.
#[derive(Debug, Clone)]
pub(super) struct Tried {
    pub(super) transcript: Vec<u32>,
    pub(super) decoding: Decoding,
}

impl Attempt {
    /// The first attempt at a window; `given` begins its transcript.
    pub(super) fn first(given: &[u32], seed: u64) -> Self {
        Self::numbered(0, given, seed)
    }

    /// One that a search at a temperature of zero came to; `given` tokens begin its transcript.
    pub(super) fn found(transcript: Vec<u32>, given: usize, log_prob_sum: f64) -> Self {
        Self {
            given,
            transcript,
            log_prob_sum,
            ..Self::numbered(0, &[], 0)
        }
    }

    fn numbered(number: usize, given: &[u32], seed: u64) -> Self {
        Self {
            number,
            given: given.len(),
            transcript: given.to_vec(),
            log_prob_sum: 0.0,
            random: seed ^ ((number as u64) << 56),
        }
    }

    /// The next one, hotter; `None` after the hottest.
    pub(super) fn hotter(&self, seed: u64) -> Option<Self> {
        let number = self.number + 1;
        let given = &self.transcript[..self.given];
        (number < TEMPERATURES.len()).then(|| Self::numbered(number, given, seed))
    }

    pub(super) fn temperature(&self) -> f32 {
        TEMPERATURES[self.number]
    }

    /// Tokens chosen so far.
    pub(super) fn chosen(&self) -> &[u32] {
        &self.transcript[self.given..]
    }

    /// Chooses the next token of a row of logits that the rules have passed. The caller appends it unless
    /// it ends the transcript.
    ///
    /// # Errors
    /// [`Failure::Internal`] when no logit is a number.
    pub(super) fn choose(&mut self, logits: &[f32]) -> Result<u32, Failure> {
        let likeliest = (0..logits.len())
            .filter(|&token| logits[token] > NEVER)
            .reduce(|best, token| {
                if logits[token] > logits[best] {
                    token
                } else {
                    best
                }
            });
        let Some(likeliest) = likeliest else {
            return Err(Failure::Internal("whisper gave no finite logit".into()));
        };
        let temperature = self.temperature();
        let token = if temperature > 0.0 {
            self.draw(logits, logits[likeliest], temperature)
                .unwrap_or(likeliest)
        } else {
            likeliest
        };
        self.log_prob_sum += f64::from(logits[token] - log_sum_exp(logits));
        Ok(token as u32)
    }

    /// A token by its probability at a temperature.
    fn draw(&mut self, logits: &[f32], best: f32, temperature: f32) -> Option<usize> {
        let weight = |logit: f32| f64::from((logit - best) / temperature).exp();
        let total: f64 = logits.iter().map(|&logit| weight(logit)).sum();
        let mut left = self.next_random() * total;
        logits.iter().position(|&logit| {
            left -= weight(logit);
            left < 0.0
        })
    }

    /// A number from 0 to below 1 (SplitMix64, Steele et al. 2014).
    fn next_random(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Its marks, with the text of its tokens and the probability that nobody speaks.
    pub(super) fn tried(&self, text: &str, no_speech_prob: f32) -> Tried {
        Tried {
            transcript: self.transcript.clone(),
            decoding: Decoding {
                temperature: self.temperature(),
                avg_logprob: (self.log_prob_sum / (self.chosen().len() + 1) as f64) as f32,
                compression_ratio: compression_ratio(text),
                no_speech_prob,
            },
        }
    }
}

impl Thresholds {
    /// Whether a window is taken for silence whatever was heard in it.
    pub(super) fn is_silence(&self, decoding: &Decoding) -> bool {
        decoding.no_speech_prob > self.no_speech && decoding.avg_logprob <= self.log_prob
    }

    /// Whether a window is decoded again.
    pub(super) fn wants_another(&self, decoding: &Decoding) -> bool {
        let is_poor = decoding.compression_ratio > self.compression_ratio
            || decoding.avg_logprob < self.log_prob;
        is_poor
            && !(decoding.no_speech_prob > self.no_speech && decoding.avg_logprob < self.log_prob)
    }

    /// The best of attempts none of which was good enough: the likeliest of those that do not repeat
    /// themselves, as faster-whisper does (openai/whisper takes the hottest).
    pub(super) fn best(&self, attempts: Vec<Tried>) -> Option<Tried> {
        let plain = |tried: &Tried| tried.decoding.compression_ratio <= self.compression_ratio;
        let any_plain = attempts.iter().any(plain);
        let likeliness = |tried: &Tried| tried.decoding.avg_logprob;
        attempts
            .into_iter()
            .filter(|tried| plain(tried) || !any_plain)
            .max_by(|a, b| likeliness(a).total_cmp(&likeliness(b)))
    }
}

/// A text's length over that of the text compressed by zlib.
fn compression_ratio(text: &str) -> f32 {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    let compressed = encoder
        .write_all(text.as_bytes())
        .and_then(|()| encoder.finish());
    match compressed {
        Ok(bytes) => text.len() as f32 / bytes.len().max(1) as f32,
        Err(_) => 1.0, // a Vec takes everything
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THRESHOLDS: Thresholds = Thresholds {
        compression_ratio: 2.4,
        log_prob: -1.0,
        no_speech: 0.6,
    };

    fn marks(compression_ratio: f32, avg_logprob: f32, no_speech_prob: f32) -> Decoding {
        Decoding {
            temperature: 0.0,
            avg_logprob,
            compression_ratio,
            no_speech_prob,
        }
    }

    #[test]
    fn repeated_or_unlikely_texts_are_tried_again_and_silence_is_not() {
        for (marks, again, silent) in [
            (marks(1.5, -0.3, 0.01), false, false),
            (marks(2.5, -0.3, 0.01), true, false),
            (marks(1.5, -1.1, 0.01), true, false),
            (marks(1.5, -1.1, 0.7), false, true),
            (marks(1.5, -0.3, 0.7), false, false),
            (marks(2.5, -0.3, 0.7), true, false),
        ] {
            assert_eq!(THRESHOLDS.wants_another(&marks), again, "{marks:?}");
            assert_eq!(THRESHOLDS.is_silence(&marks), silent, "{marks:?}");
        }
        // By Python's zlib 4.00 and 0.87.
        assert!((compression_ratio(&"yes ".repeat(15)) - 4.00).abs() < 0.3);
        assert!(
            (compression_ratio("ask not what your country can do for you") - 0.87).abs() < 0.05
        );
    }

    #[test]
    fn the_best_attempt_is_the_likeliest_that_does_not_repeat_itself() {
        let tried = |marks: Decoding| Tried {
            transcript: vec![],
            decoding: marks,
        };
        let all = vec![
            tried(marks(3.0, -0.1, 0.0)),
            tried(marks(2.0, -1.4, 0.0)),
            tried(marks(1.0, -1.9, 0.0)),
        ];
        let best = |attempts| THRESHOLDS.best(attempts).unwrap().decoding.avg_logprob;
        assert!((best(all.clone()) + 1.4).abs() < 1e-6);
        assert!((best(all[..1].to_vec()) + 0.1).abs() < 1e-6);
    }

    #[test]
    fn cold_choices_are_the_likeliest_and_hot_ones_are_drawn_but_the_same_again() {
        let logits = [1.0, NEVER, 3.0, 2.9];
        let mut cold = Attempt::first(&[9], 5);
        assert_eq!(cold.choose(&logits).unwrap(), 2);
        assert_eq!(
            (cold.transcript.as_slice(), cold.chosen().len()),
            ([9].as_slice(), 0)
        );
        let draws = |seed| {
            let mut hot = cold.clone();
            while let Some(hotter) = hot.hotter(seed) {
                hot = hotter;
            }
            (0..200)
                .map(|_| hot.choose(&logits).unwrap())
                .collect::<Vec<_>>()
        };
        let drawn = draws(7);
        assert!([0, 2, 3].iter().all(|token| drawn.contains(token)) && !drawn.contains(&1));
        assert_eq!(drawn, draws(7));
        assert_ne!(drawn, draws(8));
        assert!(cold.choose(&[NEVER, f32::NAN]).is_err());
    }
}
