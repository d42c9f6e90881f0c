//! Strings that match a pattern: the shortest way through it, by its syntax tree.

use regex_syntax::hir::{Class, ClassUnicodeRange, Hir, HirKind};

use super::Unmet;

/// The longest string that is made for a pattern, in bytes.
const STRING_MAX_BYTES: usize = 4096;
/// Patterns within patterns.
const DEPTH_MAX: u32 = 64;
/// Letters that are taken where a class allows them.
const PREFERRED: &[char] = &['s', 'S', '1', '0', 'a', 'A', '-', '_', ' '];

/// A string that may match a pattern, at least `least_chars` long where its repetitions allow.
pub(super) fn example(pattern: &str, least_chars: usize) -> Result<String, Unmet> {
    let unknown = || Unmet::Unknown(format!("the pattern {pattern}"));
    let hir = regex_syntax::ParserBuilder::new()
        .nest_limit(DEPTH_MAX)
        .build()
        .parse(pattern)
        .map_err(|_| unknown())?;
    let mut text = String::new();
    for more in [0, 1, least_chars.min(STRING_MAX_BYTES)] {
        text.clear();
        walk(&hir, u32::try_from(more).unwrap_or(u32::MAX), &mut text).ok_or_else(unknown)?;
        if text.chars().count() >= least_chars {
            break;
        }
    }
    // Patterns are not anchored: what is missing may follow, if nothing says that the text ends.
    while text.chars().count() < least_chars && text.len() < STRING_MAX_BYTES {
        text.push('s');
    }
    Ok(text)
}

/// Writes what a pattern matches, with `more` rounds of each repetition than it needs. `None` where
/// that becomes too long, or nothing matches.
fn walk(hir: &Hir, more: u32, out: &mut String) -> Option<()> {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => {} // held against the text afterwards
        HirKind::Literal(literal) => out.push_str(std::str::from_utf8(&literal.0).ok()?),
        HirKind::Class(Class::Unicode(class)) => {
            let has = |letter: &char| {
                class
                    .iter()
                    .any(|range| (range.start()..=range.end()).contains(letter))
            };
            let first = || class.iter().next().map(ClassUnicodeRange::start);
            // Of a class of everything but some letters, the first is the null character.
            let printable = || (' '..='~').find(|letter| has(letter));
            let letter = PREFERRED.iter().copied().find(has).or_else(printable);
            out.push(letter.or_else(first)?);
        }
        HirKind::Class(Class::Bytes(_)) => return None,
        HirKind::Repetition(repetition) => {
            let most = repetition.max.unwrap_or(u32::MAX);
            for _ in 0..repetition.min.saturating_add(more).min(most) {
                let before = out.len();
                walk(&repetition.sub, more.min(1), out)?;
                if out.len() == before || out.len() >= STRING_MAX_BYTES {
                    break;
                }
            }
        }
        HirKind::Capture(capture) => walk(&capture.sub, more, out)?,
        HirKind::Concat(parts) => {
            for part in parts {
                walk(part, more, out)?;
            }
        }
        HirKind::Alternation(ways) => walk(ways.first()?, more, out)?,
    }
    (out.len() <= STRING_MAX_BYTES).then_some(())
}
