//! `logit_bias`: what the caller adds to the logits of some tokens.

use engine::model::LogitRules;
use tasks::Failure;

/// Biases by token id.
pub(super) struct Bias(Vec<(u32, f32)>);

impl Bias {
    /// These biases, if there are any.
    ///
    /// # Errors
    /// [`Failure::BadInput`] for a token that the vocabulary does not have.
    pub(super) fn new(biases: Vec<(u32, f32)>, vocabulary: usize) -> Result<Option<Self>, Failure> {
        if let Some((token, _)) = biases
            .iter()
            .find(|(token, _)| *token as usize >= vocabulary)
        {
            return Err(Failure::BadInput(format!(
                "logit_bias names token {token}, and the vocabulary has {vocabulary}"
            )));
        }
        Ok((!biases.is_empty()).then_some(Self(biases)))
    }
}

impl LogitRules for Bias {
    fn apply(&mut self, _: &[u32], logits: &mut [f32]) -> Result<(), Failure> {
        for &(token, bias) in &self.0 {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit += bias;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bias_is_added_to_its_token_only() {
        let mut rules = Bias::new(vec![(1, 2.5), (2, -100.0)], 3).unwrap().unwrap();
        let mut logits = [1.0, 1.0, 1.0];
        rules.apply(&[], &mut logits).unwrap();
        assert!(logits.map(f32::to_bits) == [1.0_f32, 3.5, -99.0].map(f32::to_bits));
        assert!(Bias::new(Vec::new(), 3).unwrap().is_none());
        assert!(Bias::new(vec![(3, 1.0)], 3).is_err());
    }
}
