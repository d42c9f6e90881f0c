//! What the stub counts as a token: a word with the space before it, and of longer words each piece
//! of [`TOKEN_MAX_CHARS`] characters.

/// Characters of a token at most, the white space before it apart.
const TOKEN_MAX_CHARS: usize = 8;

/// The tokens of a text, which joined are the text.
pub(super) fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (token, after) = rest.split_at(first(rest));
        rest = after;
        Some(token)
    })
}

/// Bytes of the first token of a text that is not empty.
fn first(text: &str) -> usize {
    let mut letters = 0;
    for (at, letter) in text.char_indices() {
        let ends = if letter.is_whitespace() {
            letters > 0
        } else {
            letters += 1;
            letters > TOKEN_MAX_CHARS
        };
        if ends {
            return at;
        }
    }
    text.len()
}

/// How many tokens a text has.
pub(super) fn count(text: &str) -> u32 {
    u32::try_from(split(text).count()).unwrap_or(u32::MAX)
}

/// A text within a window of tokens, `special` of which are not text's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cut<'a> {
    /// What fits.
    pub(super) text: &'a str,
    /// Tokens that fit, special ones included.
    pub(super) tokens: u32,
    /// Tokens that did not.
    pub(super) truncated: u32,
}

/// Cuts a text to a window.
pub(super) fn cut(text: &str, special: u32, window: u32) -> Cut<'_> {
    let room = window.saturating_sub(special) as usize;
    let mut all = split(text);
    let mut bytes = 0;
    let mut tokens = 0;
    for token in all.by_ref().take(room) {
        bytes += token.len();
        tokens += 1;
    }
    Cut {
        text: &text[..bytes],
        tokens: (tokens + special).min(window),
        truncated: u32::try_from(all.count()).unwrap_or(u32::MAX),
    }
}

/// The beginning of a text, on one line, for quoting: at most so many characters, with an ellipsis
/// where there are more.
pub(super) fn quote(text: &str, most_chars: usize) -> String {
    let mut quoted = String::new();
    let mut chars = 0;
    for (index, word) in text.split_whitespace().enumerate() {
        for letter in (index > 0).then_some(' ').into_iter().chain(word.chars()) {
            if chars == most_chars {
                quoted.push('\u{2026}');
                return quoted;
            }
            quoted.push(letter);
            chars += 1;
        }
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_words_and_long_ones_pieces() {
        let text = " One  two\nextraordinarily \u{e9}t\u{e9} ";
        let tokens: Vec<_> = split(text).collect();
        assert_eq!(
            tokens,
            [
                " One",
                "  two",
                "\nextraord",
                "inarily",
                " \u{e9}t\u{e9}",
                " "
            ]
        );
        assert_eq!(tokens.concat(), text);
        assert_eq!(count(""), 0);
    }

    #[test]
    fn a_cut_keeps_what_fits_and_counts_the_rest() {
        let whole = cut("a b c", 2, 5);
        assert_eq!((whole.text, whole.tokens, whole.truncated), ("a b c", 5, 0));
        let part = cut("a b c", 2, 4);
        assert_eq!((part.text, part.tokens, part.truncated), ("a b", 4, 1));
        let none = cut("a b c", 2, 1);
        assert_eq!((none.text, none.tokens, none.truncated), ("", 1, 3));
    }

    #[test]
    fn a_quote_is_one_short_line() {
        assert_eq!(quote("a\n b", 10), "a b");
        assert_eq!(quote("abc def", 5), "abc d\u{2026}");
    }
}
