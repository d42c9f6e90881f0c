//! Calls in the notation of Python, as Gemma and Llama write them where they think of code:
//! `get_weather(city="London", days=3)`, alone, in a list, or in `print()`.

use serde_json::{Map, Number, Value};
use tasks::ToolCall;

use super::call::named;

/// How deep lists and dictionaries may go.
const DEPTH_MAX: usize = 32;

/// The calls of such a text; `None` for anything else.
pub(super) fn calls(text: &str, names: &[String]) -> Option<Vec<ToolCall>> {
    let text = text.trim();
    let inside = |text: &'_ str, begin: &str, end: &str| {
        let inner = text.strip_prefix(begin)?.strip_suffix(end)?;
        Some(inner.trim().to_owned())
    };
    let text = inside(text, "[", "]")
        .or_else(|| inside(text, "print(", ")"))
        .unwrap_or_else(|| text.to_owned());
    let mut reader = Reader { rest: &text };
    let mut calls = Vec::new();
    loop {
        let name = reader.name()?;
        let arguments = Value::Object(reader.arguments()?);
        calls.push(named(&name, Some(arguments), names)?);
        if reader.rest.trim_start().is_empty() {
            return Some(calls);
        }
        let has_more = reader.sign(',') || reader.sign(';') || reader.rest.starts_with('\n');
        if !has_more {
            return None;
        }
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    /// Passes white space and a sign; false where another comes.
    fn sign(&mut self, sign: char) -> bool {
        match self.rest.trim_start().strip_prefix(sign) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn name(&mut self) -> Option<String> {
        let text = self.rest.trim_start();
        let is_of_name = |letter: char| letter.is_alphanumeric() || "_.-".contains(letter);
        let end = text
            .find(|letter| !is_of_name(letter))
            .unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        self.rest = rest;
        (!name.is_empty()).then(|| name.to_owned())
    }

    /// `(key=value, ...)`.
    fn arguments(&mut self) -> Option<Map<String, Value>> {
        let mut arguments = Map::new();
        if !self.sign('(') {
            return None;
        }
        while !self.sign(')') {
            let key = self.name()?;
            if !self.sign('=') {
                return None;
            }
            arguments.insert(key, self.value(0)?);
            if !self.sign(',') && !self.rest.trim_start().starts_with(')') {
                return None;
            }
        }
        Some(arguments)
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth > DEPTH_MAX {
            return None;
        }
        let text = self.rest.trim_start();
        match text.chars().next()? {
            quote @ ('"' | '\'') => self.text(quote).map(Value::String),
            '[' => {
                self.sign('[');
                let mut items = Vec::new();
                while !self.sign(']') {
                    items.push(self.value(depth + 1)?);
                    if !self.sign(',') && !self.rest.trim_start().starts_with(']') {
                        return None;
                    }
                }
                Some(Value::Array(items))
            }
            '{' => {
                self.sign('{');
                let mut members = Map::new();
                while !self.sign('}') {
                    let quote = self.rest.trim_start().chars().next()?;
                    let key = self.text(quote)?;
                    if !self.sign(':') {
                        return None;
                    }
                    members.insert(key, self.value(depth + 1)?);
                    if !self.sign(',') && !self.rest.trim_start().starts_with('}') {
                        return None;
                    }
                }
                Some(Value::Object(members))
            }
            _ => {
                let is_of_word = |letter: char| letter.is_alphanumeric() || "+-._".contains(letter);
                let end = text
                    .find(|letter| !is_of_word(letter))
                    .unwrap_or(text.len());
                let (word, rest) = text.split_at(end);
                self.rest = rest;
                match word {
                    "True" | "true" => Some(Value::Bool(true)),
                    "False" | "false" => Some(Value::Bool(false)),
                    "None" | "null" => Some(Value::Null),
                    number => number.parse::<Number>().ok().map(Value::Number),
                }
            }
        }
    }

    fn text(&mut self, quote: char) -> Option<String> {
        if !matches!(quote, '"' | '\'') || !self.sign(quote) {
            return None;
        }
        let mut text = String::new();
        let mut letters = self.rest.char_indices();
        while let Some((place, letter)) = letters.next() {
            match letter {
                '\\' => match letters.next()?.1 {
                    'n' => text.push('\n'),
                    't' => text.push('\t'),
                    'r' => text.push('\r'),
                    other => text.push(other),
                },
                letter if letter == quote => {
                    self.rest = &self.rest[place + letter.len_utf8()..];
                    return Some(text);
                }
                letter => text.push(letter),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_in_pythons_notation_are_read() {
        let names = ["weather".to_owned(), "now".to_owned()];
        let read = |text: &str| {
            let calls = calls(text, &names)?;
            let shown = calls
                .iter()
                .map(|call| format!("{}{}", call.name, call.arguments.0));
            Some(shown.collect::<Vec<_>>().join(" "))
        };
        for (text, expected) in [
            ("now()", "now{}"),
            (
                r#"[weather(city="Paris, \"TX\"", days=3), now()]"#,
                r#"weather{"city":"Paris, \"TX\"","days":3} now{}"#,
            ),
            (
                "print(weather(at=[1.5, {'a': None}], far=True))",
                r#"weather{"at":[1.5,{"a":null}],"far":true}"#,
            ),
        ] {
            assert_eq!(read(text).as_deref(), Some(expected));
        }
        for text in [
            "", "other()", "now", "now(1)", "now(a=b)", "now() x", "now(a=\"", "1+1",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
        let deep = format!("now(a={}", "[".repeat(100_000));
        assert_eq!(read(&deep), None);
    }
}
