//! A `pattern`: a regular expression of JavaScript's, in the words of Rust's.

use regex::Regex;

/// What JavaScript takes for white space (ECMA-262, WhiteSpace and LineTerminator); Rust's `\s` has
/// another set.
const BLANKS: &str = r"\t\n\x0B\x0C\r \u{A0}\u{1680}\u{2000}-\u{200A}\u{2028}\u{2029}\u{202F}\u{205F}\u{3000}\u{FEFF}";

/// A `pattern` of a schema.
#[derive(Debug)]
pub(super) struct Pattern {
    /// As the schema writes it, and as messages do.
    pub(super) source: String,
    regex: Regex,
}

impl Pattern {
    /// Translates a pattern.
    ///
    /// # Errors
    /// What in it has no sure counterpart here.
    pub(super) fn read(source: &str) -> Result<Self, String> {
        let refuse = |part: &str| {
            Err(format!(
                "the pattern {source} has {part}, which is not read"
            ))
        };
        let mut translated = String::new();
        let mut is_in_class = false;
        let mut before = '\0';
        let mut characters = source.chars();
        while let Some(character) = characters.next() {
            match character {
                '\\' => match characters.next() {
                    Some('s') if is_in_class => translated.push_str(BLANKS),
                    Some('s') => translated.extend(["[", BLANKS, "]"]),
                    Some('d') if is_in_class => translated.push_str("0-9"),
                    Some('d') => translated.push_str("[0-9]"),
                    Some(escaped) if escaped.is_ascii_punctuation() => {
                        translated.extend(['\\', escaped]);
                    }
                    _ => return refuse("an escape"),
                },
                '.' if !is_in_class => return refuse("a dot"),
                '?' if before == '(' => return refuse("a group of a kind"),
                '[' if is_in_class => return refuse("a bracket within brackets"),
                '&' | '~' if is_in_class => return refuse("an operator of Rust's sets"),
                _ => {
                    is_in_class = (is_in_class || character == '[') && character != ']';
                    translated.push(character);
                }
            }
            before = character;
        }
        let regex = Regex::new(&translated).map_err(|error| error.to_string())?;
        Ok(Self {
            source: source.into(),
            regex,
        })
    }

    /// Whether a text has a match anywhere.
    pub(super) fn is_in(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_and_digits_are_javascripts() {
        let pattern = Pattern::read(r"^\s*(clef|clef-flash)\s*$").unwrap();
        for text in ["clef", "\u{FEFF}clef-flash\n", "\u{2003}clef\u{2029}"] {
            assert!(pattern.is_in(text), "{text:?}");
        }
        for text in ["\u{85}clef", "clef2", "Clef", ""] {
            assert!(!pattern.is_in(text), "{text:?}");
        }
        let digits = Pattern::read(r"^[\d,]+\d$").unwrap();
        assert!(digits.is_in("1,2"));
        assert!(!digits.is_in("١١"));
    }

    #[test]
    fn what_has_no_sure_counterpart_is_refused() {
        for source in [
            "a.b", r"\bx", r"\w", "(?=a)", "(?:a)", "[[a]", "[a&&b]", "(a", r"\",
        ] {
            assert!(Pattern::read(source).is_err(), "{source}");
        }
    }
}
