//! Decisions: probabilities that follow from the state and the question.

use engine::Answer;
use engine::model::DirectModel;
use tasks::{Decide, DecideRequest, Decision, Failure};

use super::chance::Chance;
use super::tokens::{count, cut};
use super::{Stub, once};

/// How far apart logits can be: at most e to this power between two options.
const LOGIT_SPAN: f32 = 4.0;
/// Tokens of an answer.
const OUTPUT_TOKENS: u32 = 1;

impl DirectModel<Decide> for Stub {
    fn answer(&self, request: DecideRequest) -> Result<Answer<Decision>, Failure> {
        if request.options.is_empty() {
            return Err(Failure::BadInput("a question has no options".into()));
        }
        let question = count(&request.instructions);
        let options = request.options.iter();
        let options = options.map(|(name, meaning)| count(name) + count(meaning));
        let question = options.fold(question, u32::saturating_add);
        let state = cut(&request.state.0, question, request.window);
        let mut seed = Chance::of(state.text.as_bytes()).and(request.instructions.as_bytes());
        for image in request.images.iter() {
            seed = seed.and(image);
        }
        let weights: Vec<f32> = request
            .options
            .iter()
            .map(|(name, meaning)| seed.and(name.as_bytes()).and(meaning.as_bytes()))
            .map(|mut chance| (LOGIT_SPAN * chance.share()).exp())
            .collect();
        let sum: f32 = weights.iter().sum();
        Ok(once(Decision {
            probabilities: weights.iter().map(|weight| weight / sum).collect(),
            input_tokens: state.tokens,
            output_tokens: OUTPUT_TOKENS,
        }))
    }
}
