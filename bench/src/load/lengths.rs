//! Prompts of wanted lengths out of a text, each another part of it, so that no cache serves one from another.

/// Words of a text, from any place on, the end followed by the beginning.
pub struct Words<'a>(Vec<&'a str>);

/// Steps from one prompt's first word to the next one's: prime, so that many prompts differ.
const STRIDE: usize = 7919;

impl<'a> Words<'a> {
    #[must_use]
    pub fn of(text: &'a str) -> Self {
        Self(text.split_whitespace().collect())
    }

    /// A prompt of so many words; `number` says which part of the text. Empty if the text is.
    #[must_use]
    pub fn prompt(&self, number: usize, words: usize) -> String {
        let from = number * STRIDE;
        let count = self.0.len().max(1);
        let text: Vec<&str> = (from..from + words)
            .filter_map(|at| self.0.get(at % count).copied())
            .collect();
        format!("{number}. Go on with this story: {}", text.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_have_their_length_and_differ() {
        let words = Words::of("a b c d e f g");
        assert_eq!(
            words.prompt(0, 9),
            "0. Go on with this story: a b c d e f g a b"
        );
        assert_ne!(words.prompt(1, 3), words.prompt(2, 3));
        assert_eq!(Words::of(" ").prompt(1, 0), "1. Go on with this story: ");
    }
}
