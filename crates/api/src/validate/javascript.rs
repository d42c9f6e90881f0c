//! The parts of JavaScript that show in the validator's messages: how values become text, and in
//! which order an object's keys are walked.

use serde_json::{Map, Value};

/// The largest exponent (exclusive) that JavaScript writes without `e+` (ECMA-262, Number::toString).
const PLAIN_MAX_EXPONENT: i32 = 21;
/// The smallest exponent (exclusive) that JavaScript writes without `e-`.
const PLAIN_MIN_EXPONENT: i32 = -7;
/// Integer keys up to this one are array indices, and come first, in ascending order.
const INDEX_MAX: u64 = u32::MAX as u64 - 1;

/// A number as `String(number)` writes it.
pub(super) fn number(value: f64) -> String {
    if value == 0.0 {
        return "0".into(); // negative zero, too
    }
    let Some((digits, point)) = digits(value.abs()) else {
        return value.to_string(); // not finite: JSON has no such number
    };
    let exponent = point - 1;
    let text = if exponent <= PLAIN_MIN_EXPONENT || exponent >= PLAIN_MAX_EXPONENT {
        let fraction = &digits[1..];
        let dot = if fraction.is_empty() { "" } else { "." };
        let sign = if exponent < 0 { '-' } else { '+' };
        let lead = &digits[..1];
        format!("{lead}{dot}{fraction}e{sign}{}", exponent.abs())
    } else if point <= 0 {
        format!("0.{}{digits}", "0".repeat(-point as usize))
    } else if digits.len() <= point as usize {
        format!("{digits}{}", "0".repeat(point as usize - digits.len()))
    } else {
        let (whole, fraction) = digits.split_at(point as usize);
        format!("{whole}.{fraction}")
    };
    if value < 0.0 {
        format!("-{text}")
    } else {
        text
    }
}

/// The shortest digits of a positive number, and how many of them stand before the decimal point.
/// Between two equally near ones JavaScript takes the even one. So does the writer of JSON, and Rust's
/// own formatting does not.
fn digits(value: f64) -> Option<(String, i32)> {
    let text = serde_json::Number::from_f64(value)?.to_string();
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let digits = all.trim_start_matches('0');
    let zeros = i32::try_from(all.len() - digits.len()).ok()?;
    let point = i32::try_from(whole.len()).ok()? - zeros + exponent.parse::<i32>().ok()?;
    Some((digits.trim_end_matches('0').into(), point))
}

/// A value as a template literal writes it.
///
/// # Errors
/// JavaScript's own, for an object whose key `toString` hides the method of that name.
pub(super) fn text(value: &Value) -> Result<String, String> {
    match value {
        Value::Null => Ok("null".into()),
        Value::Bool(truth) => Ok(truth.to_string()),
        Value::Number(value) => Ok(number(value.as_f64().unwrap_or(f64::NAN))),
        Value::String(text) => Ok(text.clone()),
        Value::Array(items) => join(items),
        Value::Object(object) if object.contains_key("toString") => {
            Err("Cannot convert object to primitive value".into())
        }
        Value::Object(_) => Ok("[object Object]".into()),
    }
}

/// `array.join(",")`.
///
/// # Errors
/// As [`text`].
pub(super) fn join(items: &[Value]) -> Result<String, String> {
    let text = |item: &Value| match item {
        Value::Null => Ok(String::new()),
        item => text(item),
    };
    let items: Result<Vec<_>, String> = items.iter().map(text).collect();
    Ok(items?.join(","))
}

/// Whether every object has a member of this name, inherited, that is no JSON.
pub(super) fn is_inherited(name: &str) -> bool {
    matches!(
        name,
        "__defineGetter__"
            | "__defineSetter__"
            | "__lookupGetter__"
            | "__lookupSetter__"
            | "__proto__"
            | "constructor"
            | "hasOwnProperty"
            | "isPrototypeOf"
            | "propertyIsEnumerable"
            | "toLocaleString"
            | "toString"
            | "valueOf"
    )
}

/// An object's keys in the order of `Object.keys`: indices first, then as they came.
pub(super) fn keys(object: &Map<String, Value>) -> Vec<String> {
    let index = |key: &str| {
        key.parse::<u64>()
            .ok()
            .filter(|index| *index <= INDEX_MAX && index.to_string() == key)
    };
    let mut indices: Vec<_> = object.keys().filter_map(|key| index(key)).collect();
    indices.sort_unstable();
    let mut keys: Vec<_> = indices.iter().map(u64::to_string).collect();
    keys.extend(object.keys().filter(|key| index(key).is_none()).cloned());
    keys
}

/// Whether a value is falsy, and so ends a look-up of its members.
pub(super) fn is_falsy(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

/// Whether two values are the same by `===`; no two objects or arrays are.
pub(super) fn is_same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => left.as_f64() == right.as_f64(),
        (Value::Object(_) | Value::Array(_), _) => false,
        _ => left == right,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_ecma_262_says() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "0"),
            (1.0, "1"),
            (-5.0, "-5"),
            (0.6, "0.6"),
            (0.001, "0.001"),
            (9_999_999_999.0, "9999999999"),
            (1e21, "1e+21"),
            (1.5e300, "1.5e+300"),
            (123_456_789_012_345_680_000.0, "123456789012345680000"),
            (0.000_001, "0.000001"),
            (1e-7, "1e-7"),
            (-1.25e-9, "-1.25e-9"),
            (100.5, "100.5"),
            (6_880_349_021_607_205.0 / 4.0, "1720087255401801.2"), // .3 is as near, and odd
            (f64::MAX, "1.7976931348623157e+308"),
            (5e-324, "5e-324"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn index_keys_come_first_in_ascending_order() {
        let object = serde_json::json!({"b": 0, "10": 0, "2": 0, "01": 0, "a": 0, "4294967295": 0});
        let keys = keys(object.as_object().unwrap());
        assert_eq!(keys, ["2", "10", "b", "01", "a", "4294967295"]);
    }
}
