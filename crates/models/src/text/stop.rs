//! Texts that end an answer: neither they nor a part of them that might become one is ever told.

/// One text to stop at, and how much of it the end of the answer is.
///
/// The matcher of Knuth, Morris and Pratt ("Fast pattern matching in strings", 1977): each byte is
/// looked at once, however the text repeats itself.
struct Pattern {
    text: Vec<u8>,
    /// For each count of matched bytes above 0: how many match when the next byte does not.
    fallback: Vec<usize>,
    matched: usize,
}

impl Pattern {
    fn new(text: Vec<u8>) -> Self {
        let mut fallback = vec![0; text.len()];
        let mut matched = 0;
        for place in 1..text.len() {
            while matched > 0 && text[place] != text[matched] {
                matched = fallback[matched - 1];
            }
            matched += usize::from(text[place] == text[matched]);
            fallback[place] = matched;
        }
        Self {
            text,
            fallback,
            matched: 0,
        }
    }

    /// Takes a byte; true where it completes the text.
    fn push(&mut self, byte: u8) -> bool {
        while self.matched > 0 && self.text[self.matched] != byte {
            self.matched = self.fallback[self.matched - 1];
        }
        self.matched += usize::from(self.text[self.matched] == byte);
        self.matched == self.text.len()
    }
}

/// Lets text through up to the first of some texts, and holds back what may be the beginning of one.
pub(super) struct StopGate {
    patterns: Vec<Pattern>,
    /// The end of the text, which is the beginning of a pattern; shorter than the longest.
    held: String,
    is_shut: bool,
}

impl StopGate {
    /// A gate that shuts before any of these; empty ones say nothing.
    pub(super) fn new(stops: Vec<String>) -> Self {
        let stops = stops.into_iter().filter(|stop| !stop.is_empty());
        Self {
            patterns: stops.map(|stop| Pattern::new(stop.into_bytes())).collect(),
            held: String::new(),
            is_shut: false,
        }
    }

    /// Whether a text to stop at came.
    pub(super) fn is_shut(&self) -> bool {
        self.is_shut
    }

    /// Takes more text; gives what may be told.
    pub(super) fn push(&mut self, text: &str) -> String {
        if self.is_shut {
            return String::new();
        }
        let before = self.held.len();
        self.held.push_str(text);
        for (place, byte) in text.bytes().enumerate() {
            for pattern in &mut self.patterns {
                if pattern.push(byte) {
                    self.is_shut = true;
                    // UTF-8 within UTF-8 begins at a character.
                    self.held.truncate(before + place + 1 - pattern.text.len());
                    return std::mem::take(&mut self.held);
                }
            }
        }
        let matched = self.patterns.iter().map(|pattern| pattern.matched).max();
        let told = self.held.len() - matched.unwrap_or(0);
        let rest = self.held.split_off(told);
        std::mem::replace(&mut self.held, rest)
    }

    /// Gives what was held back of a text; another begins, which is looked at by itself.
    pub(super) fn renew(&mut self) -> String {
        for pattern in &mut self.patterns {
            pattern.matched = 0;
        }
        self.finish()
    }

    /// Gives what was held back, at the end of the answer.
    pub(super) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(stops: &[&str], pieces: &[&str]) -> (Vec<String>, bool) {
        let mut gate = StopGate::new(stops.iter().map(ToString::to_string).collect());
        let mut told: Vec<_> = pieces.iter().map(|piece| gate.push(piece)).collect();
        let is_shut = gate.is_shut();
        told.push(gate.finish());
        (told, is_shut)
    }

    #[test]
    fn text_without_a_stop_is_held_no_longer_than_need_be() {
        let (pieces, is_shut) = told(&["END", "\n\n"], &["a E", "N", "x\n", "b E"]);
        assert_eq!(pieces, ["a ", "", "ENx", "\nb ", "E"]);
        assert!(!is_shut);
        assert_eq!(told(&[], &["a"]).0, ["a", ""]);
        assert_eq!(told(&[""], &["a"]).0, ["a", ""]);
    }

    #[test]
    fn no_part_of_a_stop_is_told_wherever_the_text_is_cut() {
        for (stops, text, wanted) in [
            (&["END"][..], "one ENEND two", Some("one EN")),
            (&["aab"], "aaaab", Some("aa")),
            (&["ö", "ß"], "grüße löst", Some("grü")),
            (&["🙂🙂"], "a🙂b🙂🙂🙂", Some("a🙂b")),
            (&["long stop", "g s"], "a long stop", Some("a lon")),
            (&["abcabd"], "abcabcabd!", Some("abc")),
            (&["xyz"], "xy xy xy", None),
        ] {
            let cuts: Vec<_> = text.char_indices().map(|(place, _)| place).collect();
            for &first in &cuts {
                for &second in cuts.iter().filter(|&&second| second >= first) {
                    let pieces = [&text[..first], &text[first..second], &text[second..]];
                    let (pieces, is_shut) = told(stops, &pieces);
                    assert_eq!(
                        pieces.concat(),
                        wanted.unwrap_or(text),
                        "{stops:?} {text:?}"
                    );
                    assert_eq!(is_shut, wanted.is_some());
                    // What was told before a stop came never has to be taken back.
                    let mut so_far = String::new();
                    for piece in pieces {
                        so_far += &piece;
                        assert!(wanted.unwrap_or(text).starts_with(&so_far));
                    }
                }
            }
        }
    }
}
