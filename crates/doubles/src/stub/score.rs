//! Scores: how well a text answers a query, by the words that they share; and whether a text is
//! pleased, by a short list of words.

use engine::Answer;
use engine::model::DirectModel;
use tasks::{
    Classes, Classify, ClassifyRequest, Failure, Relevance, Rerank, RerankRequest, Scored,
};

use super::chance::Chance;
use super::embed::{vector, words};
use super::tokens::{count, cut};
use super::{Stub, once};

/// Tokens around a pair of texts.
const PAIR_SPECIAL_TOKENS: u32 = 4;
/// Tokens around one text.
const TEXT_SPECIAL_TOKENS: u32 = 2;
/// Width of the bags that are compared.
const BAG_WIDTH: usize = 4096;
/// The logit of a pair that shares nothing, and what a perfect match adds.
const LOGIT_APART: f32 = -6.0;
const LOGIT_SPAN: f32 = 12.0;
/// What each word of the lists adds to its label's logit.
const WORD_LOGIT: f32 = 1.5;

const PLEASED: &[&str] = &[
    "amazing",
    "awesome",
    "beautiful",
    "best",
    "brilliant",
    "delicious",
    "delightful",
    "enjoy",
    "enjoyed",
    "excellent",
    "fantastic",
    "fun",
    "glad",
    "good",
    "great",
    "happy",
    "impressive",
    "like",
    "love",
    "loved",
    "lovely",
    "nice",
    "perfect",
    "pleasant",
    "recommend",
    "superb",
    "thanks",
    "well",
    "wonderful",
];
const DISPLEASED: &[&str] = &[
    "angry",
    "annoying",
    "awful",
    "bad",
    "boring",
    "broken",
    "cold",
    "disappointed",
    "disappointing",
    "dreadful",
    "fail",
    "failed",
    "hate",
    "hated",
    "horrible",
    "never",
    "no",
    "not",
    "poor",
    "sad",
    "slow",
    "terrible",
    "ugly",
    "unhappy",
    "unpleasant",
    "useless",
    "waste",
    "worse",
    "worst",
    "wrong",
];

impl DirectModel<Rerank> for Stub {
    fn answer(&self, request: RerankRequest) -> Result<Answer<Relevance>, Failure> {
        let special = PAIR_SPECIAL_TOKENS.saturating_add(count(&request.query));
        let context = cut(&request.context, special, request.window);
        let kind = Chance::of(b"rerank");
        let (query, text) = (
            vector(&request.query, BAG_WIDTH, kind),
            vector(context.text, BAG_WIDTH, kind),
        );
        let cosine: f32 = query.iter().zip(&text).map(|(a, b)| a * b).sum();
        Ok(once(Relevance {
            score: sigmoid(LOGIT_APART + LOGIT_SPAN * cosine),
            tokens: context.tokens,
            truncated: context.truncated,
        }))
    }
}

impl DirectModel<Classify> for Stub {
    fn answer(&self, request: ClassifyRequest) -> Result<Answer<Classes>, Failure> {
        let read = cut(&request.text, TEXT_SPECIAL_TOKENS, request.window);
        let mut logit = Chance::of(read.text.as_bytes()).share() - 0.5; // no two texts alike
        for word in words(read.text) {
            if PLEASED.contains(&word.as_str()) {
                logit += WORD_LOGIT;
            } else if DISPLEASED.contains(&word.as_str()) {
                logit -= WORD_LOGIT;
            }
        }
        let positive = sigmoid(logit);
        let scored = |label: &str, score| Scored {
            label: label.into(),
            score,
        };
        Ok(once(Classes {
            scores: vec![
                scored("NEGATIVE", 1.0 - positive),
                scored("POSITIVE", positive),
            ],
            tokens: read.tokens,
            truncated: read.truncated,
        }))
    }
}

fn sigmoid(logit: f32) -> f32 {
    1.0 / (1.0 + (-logit).exp())
}
