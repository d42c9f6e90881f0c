//! Where a JSON object or array in a text ends.

/// Reads a value letter by letter, from its first bracket.
#[derive(Debug, Clone, Default)]
pub(super) struct JsonEnd {
    depth: usize,
    in_text: bool,
    is_escaped: bool,
}

impl JsonEnd {
    /// Takes a letter; true for the one that ends the value.
    pub(super) fn push(&mut self, letter: char) -> bool {
        if self.in_text {
            match letter {
                _ if self.is_escaped => self.is_escaped = false,
                '\\' => self.is_escaped = true,
                '"' => self.in_text = false,
                _ => {}
            }
            return false;
        }
        match letter {
            '"' => self.in_text = true,
            '{' | '[' => self.depth += 1,
            '}' | ']' => {
                self.depth = self.depth.saturating_sub(1);
                return self.depth == 0;
            }
            _ => {}
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_ends_with_its_last_bracket() {
        for (text, rest) in [
            (r#"{"a":[1,{"b":"}"}]} x"#, " x"),
            (r#"{"a\"}":"\\"}}"#, "}"),
            ("[[],[]]]", "]"),
        ] {
            let mut end = JsonEnd::default();
            let place = text.find(|letter| end.push(letter)).unwrap();
            assert_eq!(&text[place + 1..], rest);
        }
    }
}
