//! Amounts as people write them: `8GB`, `512MiB`; `5m`, `90s`, `forever`.

use std::time::Duration;

/// The units of memory, in bytes; a letter alone is what `free` and Docker mean by it.
const SIZES: &[(&str, u64)] = &[
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("k", 1 << 10),
    ("m", 1 << 20),
    ("g", 1 << 30),
    ("b", 1),
    ("", 1),
];

/// The units of time, in milliseconds.
const TIMES: &[(&str, u64)] = &[
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
    ("", 1_000),
];

/// Bytes.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    amount(text, SIZES).ok_or_else(|| {
        format!("{text:?} is no size; write it like 8GB, 512MB or 2GiB (a bare number is bytes)")
    })
}

/// How long an idle model stays; `None`: for ever.
pub(crate) fn keep_alive(text: &str) -> Result<Option<Duration>, String> {
    if text.trim().eq_ignore_ascii_case("forever") {
        return Ok(None);
    }
    amount(text, TIMES).map(|millis| Some(Duration::from_millis(millis))).ok_or_else(|| {
        format!("{text:?} is no time; write it like 5m, 90s, 0 or forever (a bare number is seconds)")
    })
}

/// A number, perhaps with a decimal point, and a unit.
fn amount(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let (number, unit) = text.split_at(
        text.find(|c: char| c.is_ascii_alphabetic())
            .unwrap_or(text.len()),
    );
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    let number = number.trim();
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(*factor);
    }
    // Digits on both sides of the point: no sign, no exponent, no infinity.
    let (whole, part) = number.split_once('.')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let value: f64 = number
        .parse()
        .ok()
        .filter(|_| digits(whole) && digits(part))?;
    let value = value * *factor as f64;
    (value < u64::MAX as f64).then_some(value as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in [
            ("0", 0),
            ("1234", 1234),
            ("8GB", 8_000_000_000),
            ("8 gb", 8_000_000_000),
            ("512MiB", 512 << 20),
            ("1.5g", 3 << 29),
            ("2k", 2048),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "GB",
            "-1",
            "1e9",
            "1.GB",
            ".5GB",
            "8 GB please",
            "inf",
            "99999999999GB",
            "5µ",
        ] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_are_read() {
        for (text, time) in [
            ("0", Some(Duration::ZERO)),
            ("90", Some(Duration::from_secs(90))),
            ("5m", Some(Duration::from_mins(5))),
            ("250ms", Some(Duration::from_millis(250))),
            ("1.5h", Some(Duration::from_mins(90))),
            ("forever", None),
        ] {
            assert_eq!(keep_alive(text), Ok(time), "{text}");
        }
        for text in ["", "-1", "5 minutes", "ever"] {
            assert!(keep_alive(text).is_err(), "{text}");
        }
    }
}
