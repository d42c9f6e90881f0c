//! A beam search for the transcript of one window, without tensors.
//!
//! Facts of openai/whisper's decoding.py (`BeamSearchDecoder` with a patience of 1, `MaximumLikelihoodRanker`
//! without a length penalty): of each beam one token more than there are beams is looked at; the likeliest go
//! on, those that end on their way are set aside, and the search is over when as many have ended as there are
//! beams. The one that is likeliest for each of its tokens is the transcript.

use tasks::Failure;

use super::attempt::Attempt;
use super::rules::{NEVER, log_sum_exp};

/// A transcript that goes on.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Beam {
    /// What was given, and what was chosen.
    pub(super) transcript: Vec<u32>,
    /// Natural logarithm of its probability.
    log_prob_sum: f64,
    /// Which of the search's caches is its own.
    pub(super) cache: usize,
}

/// Several transcripts of a window in the making.
#[derive(Debug, Clone)]
pub(super) struct BeamSearch {
    width: usize,
    given: usize,
    live: Vec<Beam>,
    /// Transcripts that have ended, and the logarithms of their probabilities.
    ended: Vec<(Vec<u32>, f64)>,
    copies: Vec<(usize, usize)>,
}

/// A token that a beam may go on with.
struct Step {
    beam: usize,
    token: u32,
    log_prob_sum: f64,
}

impl BeamSearch {
    /// A search with so many beams, all of which begin with what is given; its caches are numbered from 0 to
    /// below `width`, and the first holds what lies before.
    pub(super) fn new(width: usize, given: &[u32]) -> Self {
        Self {
            width,
            given: given.len(),
            live: vec![Beam {
                transcript: given.to_vec(),
                log_prob_sum: 0.0,
                cache: 0,
            }],
            ended: Vec::new(),
            copies: Vec::new(),
        }
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// The transcripts that go on, all equally long: at least one until the search is over.
    pub(super) fn live(&self) -> &[Beam] {
        &self.live
    }

    /// Tokens that each of them has chosen.
    pub(super) fn chosen(&self) -> usize {
        let first = self.live.first();
        first.map_or(0, |beam| beam.transcript.len() - self.given)
    }

    /// Which cache has to become a copy of which, `(from, to)`, before the next tokens are computed.
    pub(super) fn copies(&self) -> &[(usize, usize)] {
        &self.copies
    }

    /// Takes the logits of the live beams' next tokens, `[live, vocabulary]`, which the rules have passed;
    /// false when the search is over.
    ///
    /// # Errors
    /// [`Failure::Internal`] when no logit is a number.
    pub(super) fn advance(&mut self, logits: &[f32], end: u32) -> Result<bool, Failure> {
        let vocabulary = logits.len() / self.live.len().max(1);
        let mut steps = Vec::new();
        for (beam, logits) in logits.chunks_exact(vocabulary.max(1)).enumerate() {
            let before = self.live[beam].log_prob_sum;
            let total = log_sum_exp(logits);
            let likeliest = likeliest(logits, self.width + 1).into_iter();
            steps.extend(likeliest.map(|token| Step {
                beam,
                token: token as u32,
                log_prob_sum: before + f64::from(logits[token] - total),
            }));
        }
        if steps.is_empty() {
            return Err(Failure::Internal("whisper gave no finite logit".into()));
        }
        steps.sort_by(|a, b| b.log_prob_sum.total_cmp(&a.log_prob_sum));
        let (mut chosen, mut ended) = (Vec::new(), Vec::new());
        for step in steps {
            if step.token == end {
                let transcript = self.live[step.beam].transcript.clone();
                ended.push((transcript, step.log_prob_sum));
            } else {
                chosen.push(step);
                if chosen.len() == self.width {
                    break;
                }
            }
        }
        let room = self.width.saturating_sub(self.ended.len());
        self.ended.extend(ended.into_iter().take(room));
        if chosen.is_empty() {
            self.live.clear(); // nothing of them is left that has not ended
        }
        if chosen.is_empty() || self.ended.len() >= self.width {
            return Ok(false);
        }
        self.go_on(chosen);
        Ok(true)
    }

    /// Replaces the live beams. The first that goes on from a beam takes its cache, others a copy of it.
    fn go_on(&mut self, steps: Vec<Step>) {
        let mut heirs = vec![None; self.live.len()];
        for (at, step) in steps.iter().enumerate() {
            heirs[step.beam].get_or_insert(at);
        }
        let kept = self
            .live
            .iter()
            .zip(&heirs)
            .filter(|(_, heir)| heir.is_some());
        let kept: Vec<usize> = kept.map(|(beam, _)| beam.cache).collect();
        let mut free = (0..self.width).filter(|cache| !kept.contains(cache));
        self.copies.clear();
        let mut live = Vec::with_capacity(steps.len());
        for (at, step) in steps.into_iter().enumerate() {
            let parent = &self.live[step.beam];
            let cache = if heirs[step.beam] == Some(at) {
                parent.cache
            } else {
                // There are as many caches as beams at most.
                let cache = free.next().unwrap_or(parent.cache);
                self.copies.push((parent.cache, cache));
                cache
            };
            let mut transcript = parent.transcript.clone();
            transcript.push(step.token);
            live.push(Beam {
                transcript,
                log_prob_sum: step.log_prob_sum,
                cache,
            });
        }
        self.live = live;
    }

    /// The best transcript, as one that was tried at a temperature of zero.
    pub(super) fn best(&self) -> Attempt {
        let mut all = self.ended.clone();
        // Those that had not ended fill up, the likeliest first, as they are ordered.
        let missing = self.width.saturating_sub(all.len());
        let live = self.live.iter().take(missing);
        all.extend(live.map(|beam| (beam.transcript.clone(), beam.log_prob_sum)));
        let rank = |(transcript, sum): &(Vec<u32>, f64)| {
            sum / (transcript.len() - self.given).max(1) as f64
        };
        // The first of equals.
        let best = all.into_iter().reduce(|best, other| {
            if rank(&other) > rank(&best) {
                other
            } else {
                best
            }
        });
        let (transcript, sum) = best.unwrap_or_default();
        Attempt::found(transcript, self.given, sum)
    }
}

/// The tokens of the largest logits, the largest first; none that are forbidden.
fn likeliest(logits: &[f32], most: usize) -> Vec<usize> {
    let mut found: Vec<usize> = Vec::with_capacity(most + 1);
    for (token, &logit) in logits.iter().enumerate() {
        if logit.is_nan() || logit == NEVER {
            continue;
        }
        if found.len() == most && found.last().is_some_and(|&last| logits[last] >= logit) {
            continue;
        }
        let place = found.partition_point(|&other| logits[other] >= logit);
        found.insert(place, token);
        found.truncate(most);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: u32 = 3;

    /// Logits of four tokens by their probabilities.
    fn row(chances: [f32; 4]) -> [f32; 4] {
        chances.map(f32::ln)
    }

    #[test]
    fn the_likeliest_whole_wins_over_the_likeliest_first_token() {
        let mut search = BeamSearch::new(2, &[9]);
        assert!(search.advance(&row([0.5, 0.4, 0.1, 0.0]), END).unwrap());
        let caches: Vec<_> = search.live().iter().map(|beam| beam.cache).collect();
        assert_eq!((caches, search.copies()), (vec![0, 1], [(0, 1)].as_slice()));
        // Behind 0 nothing is likely, behind 1 there is 2 for sure: 0.4 against 0.2 and less.
        let rows = [row([0.4, 0.3, 0.3, 0.0]), row([0.0, 0.0, 1.0, 0.0])].concat();
        assert!(search.advance(&rows, END).unwrap());
        let live: Vec<_> = search
            .live()
            .iter()
            .map(|beam| beam.transcript.as_slice())
            .collect();
        assert_eq!(live, [[9, 1, 2], [9, 0, 0]]);
        assert!(search.copies().is_empty());
        assert_eq!(search.live()[0].cache, 1, "each went on from its own");
        let rows = [row([0.0, 0.0, 0.0, 1.0]), row([0.5, 0.0, 0.0, 0.5])].concat();
        assert!(!search.advance(&rows, END).unwrap(), "both have ended");
        let best = search.best();
        assert_eq!(
            (best.transcript.as_slice(), best.chosen().len()),
            ([9, 1, 2].as_slice(), 2)
        );
        assert!((best.tried("text", 0.0).decoding.avg_logprob - 0.4_f32.ln() / 3.0).abs() < 1e-6);
    }

    #[test]
    fn heirs_of_one_beam_have_its_cache_and_copies_of_it() {
        let mut search = BeamSearch::new(3, &[]);
        assert!(search.advance(&row([0.05, 0.9, 0.05, 0.0]), END).unwrap());
        assert_eq!(search.copies(), [(0, 1), (0, 2)]);
        let even = row([1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0, 0.0]);
        assert!(
            search
                .advance(&[row([0.3, 0.3, 0.4, 0.0]), even, even].concat(), END)
                .unwrap()
        );
        let live = search
            .live()
            .iter()
            .map(|beam| (beam.transcript.as_slice(), beam.cache));
        let wanted: [(&[u32], usize); 3] = [(&[1, 2], 0), (&[1, 0], 1), (&[1, 1], 2)];
        assert_eq!(live.collect::<Vec<_>>(), wanted);
        assert_eq!(search.copies(), [(0, 1), (0, 2)]);
    }

    #[test]
    fn forbidden_tokens_are_never_chosen_and_no_number_is_a_failure() {
        assert_eq!(
            likeliest(&[1.0, NEVER, 3.0, f32::NAN, 2.0, 3.0], 4),
            [2, 5, 4, 0]
        );
        assert_eq!(likeliest(&[1.0, 5.0, 3.0, 4.0], 2), [1, 3]);
        let mut search = BeamSearch::new(2, &[]);
        assert!(
            search
                .advance(&[NEVER, NEVER, f32::NAN, NEVER], END)
                .is_err()
        );
        let mut search = BeamSearch::new(2, &[7]);
        assert!(
            !search.advance(&[NEVER, NEVER, NEVER, 0.0], END).unwrap(),
            "only the end is left"
        );
        assert_eq!(search.best().transcript, [7]);
    }
}
