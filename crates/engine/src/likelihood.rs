//! How likely a token was, told beside it where that is asked for.

/// The lowest that is told: OpenAI's API reference has -9999.0 for a token that is very unlikely.
pub const LEAST_LOGPROB: f32 = -9999.0;

/// A token and the natural logarithm of its probability.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scored {
    /// Its id.
    pub token: u32,
    /// From [`LEAST_LOGPROB`] to 0.
    pub logprob: f32,
}

/// A token that was chosen, and those that were likeliest in its place.
///
/// Probabilities are the softmax of the model's own logits: before rules, biases, penalties, temperature, top-k and
/// top-p. So they say what the model holds likely, whatever a request does to the choice. It is the default of vLLM
/// (`logprobs_mode`: `raw_logprobs`, in its engine arguments).
#[derive(Debug, Clone, PartialEq)]
pub struct Likelihood {
    /// The token of the answer.
    pub chosen: Scored,
    /// The likeliest, best first; among equals the lower id first.
    pub top: Vec<Scored>,
}

impl Likelihood {
    /// From one row of the model's logits, the width of the vocabulary. `top` has `count` tokens, or as many as have a
    /// number. The row is read twice and never sorted.
    pub fn of(logits: &[f32], chosen: u32, count: usize) -> Self {
        let best = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let weights = logits.iter().filter(|logit| !logit.is_nan());
        let total: f64 = weights.map(|&logit| f64::from(logit - best).exp()).sum();
        let logprob = |logit: f32| {
            if logit >= best {
                // Also where it is infinite: what is certain among others that are.
                return (-total.ln()).min(0.0) as f32;
            }
            let logprob = (f64::from(logit) - f64::from(best) - total.ln()) as f32;
            if logprob.is_nan() {
                LEAST_LOGPROB
            } else {
                logprob.clamp(LEAST_LOGPROB, 0.0)
            }
        };
        let of_chosen = logits.get(chosen as usize).copied();
        let top = likeliest(logits, count).into_iter();
        Self {
            chosen: Scored {
                token: chosen,
                logprob: of_chosen.map_or(LEAST_LOGPROB, logprob),
            },
            top: top
                .map(|(token, logit)| Scored {
                    token,
                    logprob: logprob(logit),
                })
                .collect(),
        }
    }
}

/// The largest logits, which few numbers of a row are: each is put in its place among those so far.
fn likeliest(logits: &[f32], count: usize) -> Vec<(u32, f32)> {
    let mut top: Vec<(u32, f32)> = Vec::with_capacity(count.min(logits.len()) + 1);
    for (token, &logit) in logits.iter().enumerate() {
        let is_full = top.len() == count;
        if logit.is_nan() || is_full && top.last().is_none_or(|last| logit <= last.1) {
            continue;
        }
        let place = top.partition_point(|other| other.1 >= logit);
        top.insert(place, (token as u32, logit));
        top.truncate(count);
    }
    top
}
