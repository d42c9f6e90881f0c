//! What Whisper may say next.
//!
//! The rules of openai/whisper's decoding.py (`SuppressBlank`, `SuppressTokens`,
//! `ApplyTimestampRules`).

use std::sync::Arc;

use super::config::Generation;
use super::vocabulary::Vocabulary;

pub(super) const NEVER: f32 = f32::NEG_INFINITY;

/// The rules of one transcript.
pub(super) struct TranscriptRules {
    pub(super) vocabulary: Arc<Vocabulary>,
    pub(super) generation: Arc<Generation>,
}

impl TranscriptRules {
    /// Forbids what may not follow `transcript`, which is what came after the prompt.
    pub(super) fn apply(&self, transcript: &[u32], logits: &mut [f32]) {
        let first = self.vocabulary.first_timestamp as usize;
        let end = self.vocabulary.end as usize;
        if transcript.is_empty() {
            forbid(logits, &self.generation.suppress_first);
        }
        forbid(logits, &self.generation.suppress);
        // Tasks, languages and the like have no place in a transcript.
        fill(logits, end + 1..first);

        // Timestamps come in pairs, except before the end.
        let last_is = |back: usize| {
            transcript
                .len()
                .checked_sub(back)
                .map(|index| transcript[index] as usize >= first)
        };
        let last = last_is(1).unwrap_or(false);
        let opens = last && last_is(2).unwrap_or(true);
        if opens {
            fill(logits, first..logits.len());
        } else if last {
            fill(logits, 0..end);
        }
        // They never go back, and no segment has a length of zero.
        if let Some(&timestamp) = transcript
            .iter()
            .rev()
            .find(|&&token| token as usize >= first)
        {
            let closes = last && !opens;
            fill(logits, first..timestamp as usize + usize::from(!closes));
        }
        // The first token is a timestamp, and an early one.
        if transcript.is_empty() {
            fill(logits, 0..first);
            fill(
                logits,
                first + self.generation.first_timestamp_max + 1..logits.len(),
            );
        }
        // Any timestamp is likelier than the likeliest text: take a timestamp.
        if let Some((text, timestamps)) = logits.split_at_mut_checked(first) {
            let best = text.iter().copied().fold(NEVER, f32::max);
            if log_sum_exp(timestamps) > best {
                text.fill(NEVER);
            }
        }
    }
}

fn fill(logits: &mut [f32], range: std::ops::Range<usize>) {
    let end = range.end.min(logits.len());
    if let Some(part) = logits.get_mut(range.start..end) {
        part.fill(NEVER);
    }
}

fn forbid(logits: &mut [f32], tokens: &[u32]) {
    for &token in tokens {
        if let Some(logit) = logits.get_mut(token as usize) {
            *logit = NEVER;
        }
    }
}

pub(super) fn log_sum_exp(logits: &[f32]) -> f32 {
    let best = logits.iter().copied().fold(NEVER, f32::max);
    if best == NEVER {
        return NEVER;
    }
    best + logits
        .iter()
        .map(|logit| (logit - best).exp())
        .sum::<f32>()
        .ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Files;
    use crate::whisper::config::Config;

    const WIDTH: usize = 1_918;
    const END: u32 = 400;
    const TRANSCRIBE: u32 = 412;
    const FIRST: u32 = 417;

    fn rules() -> TranscriptRules {
        let folder = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../tests/golden/tiny-whisper"
        );
        let files = Files::new(folder.into());
        let config = Config::load(&files).unwrap();
        let generation = Generation::load(&files, &config).unwrap();
        let vocabulary = Vocabulary::load(&files, &config).unwrap();
        assert_eq!(
            (
                vocabulary.end,
                vocabulary.transcribe,
                vocabulary.first_timestamp
            ),
            (END, TRANSCRIBE, FIRST)
        );
        TranscriptRules {
            vocabulary: Arc::new(vocabulary),
            generation: Arc::new(generation),
        }
    }

    /// The tokens that may follow `generated` where `likely` have a logit of 9 and the rest of 0.
    fn allowed(rules: &TranscriptRules, generated: &[u32], likely: &[u32]) -> Vec<u32> {
        let mut logits = vec![0.0; WIDTH];
        for &token in likely {
            logits[token as usize] = 9.0;
        }
        rules.apply(generated, &mut logits);
        (0..WIDTH as u32)
            .filter(|&token| logits[token as usize] > NEVER)
            .collect()
    }

    #[test]
    fn the_first_token_is_a_timestamp_of_at_most_a_second() {
        let start = (FIRST..=FIRST + 50).collect::<Vec<_>>();
        assert_eq!(allowed(&rules(), &[], &[7, END]), start);
    }

    #[test]
    fn text_follows_the_first_timestamp_and_suppressed_tokens_never_come() {
        let seen = allowed(&rules(), &[FIRST], &[7]);
        let text: Vec<u32> = (0..=END).filter(|token| ![1, 2].contains(token)).collect();
        assert_eq!(seen, text);
    }

    #[test]
    fn a_timestamp_after_text_is_followed_by_its_pair_or_the_end() {
        let seen = allowed(&rules(), &[FIRST, 7, FIRST + 10], &[7, END]);
        let wanted: Vec<u32> = std::iter::once(END)
            .chain(FIRST + 10..WIDTH as u32)
            .collect();
        assert_eq!(seen, wanted);
        let seen = allowed(&rules(), &[FIRST, 7, FIRST + 10, FIRST + 10], &[7]);
        assert!(
            seen.contains(&7) && seen.contains(&END) && !seen.iter().any(|&token| token >= FIRST)
        );
    }

    #[test]
    fn timestamps_do_not_go_back_nor_stand_still() {
        let seen = allowed(&rules(), &[FIRST + 5, 7], &[7]);
        assert!(seen.contains(&7) && seen.contains(&(FIRST + 6)) && !seen.contains(&(FIRST + 5)));
    }

    #[test]
    fn timestamps_win_when_together_they_are_likelier_than_any_text() {
        // All timestamps together weigh 1500 e^0, the likeliest text e^7 = 1097 or e^8 = 2981.
        let mut logits = vec![0.0; WIDTH];
        logits[7] = 7.0;
        rules().apply(&[FIRST, 8], &mut logits);
        assert!(
            logits[..FIRST as usize].iter().all(|&logit| logit == NEVER)
                && logits[FIRST as usize + 1] == 0.0
        );
        let mut logits = vec![0.0; WIDTH];
        logits[7] = 8.0;
        rules().apply(&[FIRST, 8], &mut logits);
        assert_eq!((logits[7], logits[FIRST as usize + 1]), (8.0, 0.0));
    }
}
