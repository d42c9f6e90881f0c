//! Strings that match a pattern: the shortest way through it, by its syntax tree.

use std::cmp::Ordering;

use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, Hir, HirKind};

use super::{Document, Unmet};

/// The longest string that is made for a pattern, in bytes.
const STRING_MAX_BYTES: usize = 4096;
/// Patterns within patterns.
const DEPTH_MAX: u32 = 64;
/// Letters that are taken where a class allows them.
const PREFERRED: &[char] = &['s', 'S', '1', '0', 'a', 'A', '-', '_', ' '];

/// A string that may match a pattern, at least `least_chars` long where its repetitions allow.
/// Another `variant` is another string, where classes of letters allow that.
pub(super) fn example(
    document: &Document<'_>,
    pattern: &str,
    least_chars: usize,
    variant: u32,
) -> Result<String, Unmet> {
    document.spend(pattern.len())?;
    let unknown = || Unmet::Unknown(format!("the pattern {pattern}"));
    let hir = regex_syntax::ParserBuilder::new()
        .nest_limit(DEPTH_MAX)
        .build()
        .parse(pattern)
        .map_err(|_| unknown())?;
    let mut text = String::new();
    for more in [0, 1, least_chars.min(STRING_MAX_BYTES)] {
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        let mut walk = Walk {
            variant,
            out: String::new(),
        };
        walk.take(&hir, more).ok_or_else(unknown)?;
        text = walk.out;
        if text.chars().count() >= least_chars {
            break;
        }
    }
    document.spend(text.len())?;
    // Patterns are not anchored: what is missing may follow, if nothing says that the text ends.
    while text.chars().count() < least_chars && text.len() < STRING_MAX_BYTES {
        text.push('s');
    }
    Ok(text)
}

/// A way through a pattern.
struct Walk {
    /// What is left of the variant: each class takes a digit of it.
    variant: u32,
    out: String,
}

impl Walk {
    /// Writes what a pattern matches, with `more` rounds of each repetition than it needs. `None`
    /// where that becomes too long, or nothing matches.
    fn take(&mut self, hir: &Hir, more: u32) -> Option<()> {
        match hir.kind() {
            HirKind::Empty | HirKind::Look(_) => {} // held against the text afterwards
            HirKind::Literal(literal) => self.out.push_str(std::str::from_utf8(&literal.0).ok()?),
            HirKind::Class(Class::Unicode(class)) => {
                let letter = self.letter(class)?;
                self.out.push(letter);
            }
            HirKind::Class(Class::Bytes(_)) => return None,
            HirKind::Repetition(repetition) => {
                let most = repetition.max.unwrap_or(u32::MAX);
                for _ in 0..repetition.min.saturating_add(more).min(most) {
                    let before = self.out.len();
                    self.take(&repetition.sub, more.min(1))?;
                    if self.out.len() == before || self.out.len() >= STRING_MAX_BYTES {
                        break;
                    }
                }
            }
            HirKind::Capture(capture) => self.take(&capture.sub, more)?,
            HirKind::Concat(parts) => {
                for part in parts {
                    self.take(part, more)?;
                }
            }
            HirKind::Alternation(ways) => self.take(ways.first()?, more)?,
        }
        (self.out.len() <= STRING_MAX_BYTES).then_some(())
    }

    /// A letter of a class, a printable one where it has any: of a class of everything but some
    /// letters, the first is the null character.
    fn letter(&mut self, class: &ClassUnicode) -> Option<char> {
        let has = |letter: &char| {
            let place = |range: &ClassUnicodeRange| match letter {
                letter if range.end() < *letter => Ordering::Less,
                letter if range.start() > *letter => Ordering::Greater,
                _ => Ordering::Equal,
            };
            class.ranges().binary_search_by(place).is_ok()
        };
        let printable = (' '..='~').filter(|letter| !PREFERRED.contains(letter));
        let letters: Vec<char> = PREFERRED
            .iter()
            .copied()
            .chain(printable)
            .filter(has)
            .collect();
        if letters.is_empty() {
            return class.iter().next().map(ClassUnicodeRange::start);
        }
        let digit = self.variant as usize % letters.len();
        self.variant /= letters.len() as u32;
        letters.get(digit).copied()
    }
}
