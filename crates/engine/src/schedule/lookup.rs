//! Guesses of what comes next without a second model: what followed the newest tokens where they stood in the
//! sequence before (prompt lookup decoding, Saxena 2023).

/// Newest tokens that have to stand there once more.
pub(super) const MATCH_MIN_TOKENS: usize = 2;
/// Longer matches are not told apart.
pub(super) const MATCH_MAX_TOKENS: usize = 16;
/// Tokens that are looked through, the newest: some ten microseconds of work.
const LOOKBACK_MAX_TOKENS: usize = 32 * 1024;

/// Where the newest tokens stood before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Match {
    /// Position of the token that followed.
    pub(super) next: usize,
    /// So many tokens before it are the newest ones, up to [`MATCH_MAX_TOKENS`].
    pub(super) length: usize,
}

impl Match {
    /// The longest match of the end of `tokens` with something before it; the newest of several.
    pub(super) fn of(tokens: &[u32]) -> Option<Self> {
        let (&last, before) = tokens.split_last()?;
        let from = before.len().saturating_sub(LOOKBACK_MAX_TOKENS);
        let mut best: Option<Self> = None;
        for (place, &token) in before[from..].iter().enumerate().rev() {
            if token != last {
                continue;
            }
            let next = from + place + 1;
            let ends = tokens[..next].iter().rev().zip(tokens.iter().rev());
            let same = ends.take(MATCH_MAX_TOKENS).take_while(|(a, b)| a == b);
            let length = same.count();
            if length > best.map_or(MATCH_MIN_TOKENS - 1, |best| best.length) {
                best = Some(Self { next, length });
                if length == MATCH_MAX_TOKENS {
                    break;
                }
            }
        }
        best
    }

    /// What followed, and follows on where that reaches the end of `tokens`.
    pub(super) fn guesses(self, tokens: &[u32]) -> impl Iterator<Item = u32> {
        let known = &tokens[self.next..];
        known.iter().copied().cycle()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guessed(tokens: &[u32], count: usize) -> (usize, Vec<u32>) {
        let found = Match::of(tokens).expect("a match");
        (found.length, found.guesses(tokens).take(count).collect())
    }

    #[test]
    fn what_followed_the_longest_match_is_guessed_and_the_newest_of_equals() {
        assert_eq!(guessed(&[1, 2, 3, 4, 5, 1, 2], 3), (2, vec![3, 4, 5]));
        assert_eq!(
            guessed(&[9, 1, 2, 3, 7, 1, 2, 4, 9, 1, 2], 2),
            (3, vec![3, 7])
        );
        assert_eq!(guessed(&[1, 2, 3, 1, 2, 4, 1, 2], 1), (2, vec![4]));
        let long: Vec<u32> = (0..40).chain(0..30).collect();
        assert_eq!(guessed(&long, 2), (MATCH_MAX_TOKENS, vec![30, 31]));
    }

    #[test]
    fn a_text_that_repeats_itself_goes_on_beyond_its_end() {
        assert_eq!(guessed(&[5, 1, 2, 1, 2], 5), (2, vec![1, 2, 1, 2, 1]));
        assert_eq!(guessed(&[7, 7, 7], 3), (2, vec![7, 7, 7]));
    }

    #[test]
    fn nothing_is_guessed_where_two_tokens_never_stood_together() {
        for tokens in [&[][..], &[1], &[1, 1], &[1, 2, 3, 1], &[2, 1, 3, 1]] {
            assert_eq!(Match::of(tokens), None, "{tokens:?}");
        }
        let mut far = vec![1, 2];
        far.resize(LOOKBACK_MAX_TOKENS + 2, 0);
        far.extend([1, 2]);
        assert_eq!(Match::of(&far), None, "too far back");
    }
}
