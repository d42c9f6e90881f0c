//! Embeddings: a bag of words and of their letters' trigrams, each hashed to an entry with a sign
//! (Weinberger et al. 2009, "Feature hashing for large scale multitask learning"). Texts that share
//! words are near each other; equal texts are equal.

use std::collections::BTreeMap;

use engine::Answer;
use engine::model::DirectModel;
use tasks::{Embed, EmbedRequest, Embedding, Failure, Overlong};

use super::chance::Chance;
use super::tokens::{Cut, cut};
use super::{Stub, once};

/// The start and the end token.
const SPECIAL_TOKENS: u32 = 2;
/// The widest vector, in numbers.
const WIDTH_MAX: usize = 65_536;
/// What a trigram weighs beside a word.
const TRIGRAM_WEIGHT: f32 = 0.25;

impl DirectModel<Embed> for Stub {
    fn answer(&self, request: EmbedRequest) -> Result<Answer<Embedding>, Failure> {
        if !(1..=WIDTH_MAX).contains(&request.width) {
            let width = request.width;
            let text = format!("a stub's vectors have 1 to {WIDTH_MAX} numbers, not {width}");
            return Err(Failure::Unsupported(text));
        }
        let Cut {
            text,
            tokens,
            truncated,
        } = cut(&request.text, SPECIAL_TOKENS, request.window);
        if truncated > 0 && request.overlong == Overlong::Refuse {
            return Err(Failure::ContextExceeded {
                tokens: tokens as usize + truncated as usize,
                window: request.window as usize,
            });
        }
        // Vectors of different poolings of a real model are not to be compared, so neither are these.
        let kind = Chance::of(request.pooling.word().as_bytes());
        Ok(once(Embedding {
            vector: vector(text, request.width, kind),
            tokens,
            truncated,
        }))
    }
}

/// `width` numbers of unit length; `width` is at least 1.
pub(super) fn vector(text: &str, width: usize, kind: Chance) -> Vec<f32> {
    let mut vector = vec![0.0_f32; width];
    for (feature, weight) in features(text) {
        let mut chance = kind.and(feature.as_bytes());
        let sign = if chance.next() & 1 == 0 { 1.0 } else { -1.0 };
        vector[chance.below(width)] += sign * weight;
    }
    let length = |vector: &[f32]| {
        vector
            .iter()
            .map(|x| f64::from(*x).powi(2))
            .sum::<f64>()
            .sqrt()
    };
    let whole = length(&vector);
    if whole < 1e-3 {
        // No words, or such as take each other away.
        vector.fill(0.0);
        vector[kind.and(text.as_bytes()).below(width)] = 1.0;
        return vector;
    }
    for number in &mut vector {
        *number = (f64::from(*number) / whole) as f32;
    }
    vector
}

/// Words, and trigrams of their letters, with the root of how often they come.
fn features(text: &str) -> BTreeMap<String, f32> {
    let mut counts: BTreeMap<String, f32> = BTreeMap::new();
    let mut letters: Vec<char> = Vec::new();
    for word in words(text) {
        letters.clear();
        letters.push('^');
        letters.extend(word.chars());
        letters.push('$');
        for trigram in letters.windows(3) {
            let trigram = trigram.iter().chain(['~'].iter()).collect();
            *counts.entry(trigram).or_default() += TRIGRAM_WEIGHT * TRIGRAM_WEIGHT;
        }
        *counts.entry(word).or_default() += 1.0;
    }
    for weight in counts.values_mut() {
        *weight = weight.sqrt();
    }
    counts
}

/// The words of a text in lower case.
pub(super) fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|letter: char| !letter.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
}
