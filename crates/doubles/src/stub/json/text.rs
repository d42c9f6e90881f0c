//! Strings: of a format, of a pattern, of a length.

use serde_json::{Map, Value};

use super::check::{length, malformed};
use super::{Document, Unmet, pattern};

/// The word of a stub that has nothing else to say.
const WORD: &str = "stub";

/// A string of each format of JSON Schema (2020-12 validation, section 7.3). Addresses and names are
/// those that are set aside for documents (RFC 2606, 3849, 5737).
const FORMATS: &[(&str, &str)] = &[
    ("date", "2026-01-02"),
    ("date-time", "2026-01-02T03:04:05Z"),
    ("duration", "P1D"),
    ("email", "stub@example.com"),
    ("hostname", "stub.example.com"),
    ("idn-email", "stub@example.com"),
    ("idn-hostname", "stub.example.com"),
    ("ipv4", "192.0.2.1"),
    ("ipv6", "2001:db8::1"),
    ("iri", "https://example.com/stub"),
    ("iri-reference", "https://example.com/stub"),
    ("json-pointer", "/stub"),
    ("regex", "stub"),
    ("relative-json-pointer", "0"),
    ("time", "03:04:05Z"),
    ("uri", "https://example.com/stub"),
    ("uri-reference", "https://example.com/stub"),
    ("uri-template", "https://example.com/{stub}"),
    ("uuid", "01234567-89ab-4cde-8f01-23456789abcd"),
];

/// What a string has to keep.
#[derive(Debug, Default)]
pub(super) struct Shape<'a> {
    least_chars: usize,
    most_chars: Option<usize>,
    patterns: Vec<&'a str>,
    format: Option<&'a str>,
}

impl<'a> Shape<'a> {
    /// Takes the shape of one more schema on.
    pub(super) fn take(&mut self, keywords: &'a Map<String, Value>) -> Result<(), Unmet> {
        let least = length(keywords, "minLength")?.unwrap_or(0);
        self.least_chars = self.least_chars.max(least);
        if let Some(most) = length(keywords, "maxLength")? {
            self.most_chars = Some(self.most_chars.map_or(most, |known| known.min(most)));
        }
        if let Some(pattern) = keywords.get("pattern") {
            let pattern = pattern.as_str().ok_or_else(|| malformed("pattern"))?;
            self.patterns.push(pattern);
        }
        let format = keywords.get("format").and_then(Value::as_str);
        self.format = self.format.or(format);
        Ok(())
    }

    /// Whether anything has to be kept.
    pub(super) fn is_any(&self) -> bool {
        self.least_chars > 0
            || self.most_chars.is_some()
            || self.format.is_some()
            || !self.patterns.is_empty()
    }

    /// Strings that may keep it, the best first. `hint` is what the string is called, `variant` tells
    /// apart those of one array.
    pub(super) fn candidates(
        &self,
        document: &Document<'_>,
        hint: &str,
        variant: u32,
    ) -> Result<Vec<String>, Unmet> {
        document.spend_bytes(self.least_chars)?;
        let known = FORMATS.iter().find(|(name, _)| Some(*name) == self.format);
        if let (Some((name, example)), []) = (known, &self.patterns[..]) {
            return Ok(vec![varied(name, example, variant)]);
        }
        let mut found = Vec::new();
        for pattern in &self.patterns {
            found.push(pattern::example(
                document,
                pattern,
                self.least_chars,
                variant,
            )?);
            // Where it has no classes, by its length.
            let least = self.least_chars.saturating_add(variant as usize);
            found.push(pattern::example(document, pattern, least, 0)?);
        }
        let hint = if hint.is_empty() { WORD } else { hint };
        let plain = match variant {
            0 => format!("stub {hint}"),
            more => format!("stub {hint} {more}"),
        };
        let tail = if variant == 0 {
            String::new()
        } else {
            variant.to_string()
        };
        for text in [plain, format!("{WORD}{tail}"), tail] {
            found.push(self.fitted(&text));
        }
        Ok(found)
    }

    /// The end of a text, or more than it, so that its length is allowed.
    fn fitted(&self, text: &str) -> String {
        let chars = text.chars().count();
        if let Some(most) = self.most_chars
            && chars > most
        {
            return text.chars().skip(chars - most).collect();
        }
        let missing = self.least_chars.saturating_sub(chars);
        "s".repeat(missing) + text
    }
}

/// An example of a format, another one for each variant where that is easy.
fn varied(format: &str, example: &str, variant: u32) -> String {
    if variant == 0 {
        return example.to_owned();
    }
    match format {
        "email" | "idn-email" | "hostname" | "idn-hostname" => {
            format!("stub{variant}{}", &example[4..])
        }
        "uuid" => format!("{variant:08x}{}", &example[8..]),
        "date" => format!("{}-01-02", 2026 + variant % 7000),
        "date-time" => format!("{}{}", 2026 + variant % 7000, &example[4..]),
        "time" => format!("{:02}:{:02}:05Z", variant / 60 % 24, variant % 60),
        "duration" => format!("P{}D", variant + 1),
        "ipv4" => format!("198.18.{}.{}", variant / 256 % 256, variant % 256),
        "ipv6" => format!("2001:db8::{:x}", variant % 0xffff + 2),
        "relative-json-pointer" => variant.to_string(),
        _ => format!("{example}{variant}"), // addresses and pointers can go on
    }
}
