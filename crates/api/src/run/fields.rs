//! Fields of a validated input. What the validator lets through without a look (arrays of strings
//! where objects are wanted, for one) is refused here.

use catalog::ModelCard;
use serde_json::Value;
use tasks::Failure;

/// A field that says something: not absent, null, or an empty list or object.
pub(super) fn given<'a>(input: &'a Value, name: &str) -> Option<&'a Value> {
    input.get(name).filter(|value| match value {
        Value::Null => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => true,
    })
}

/// A number.
pub(super) fn number(input: &Value, name: &str) -> Option<f64> {
    input.get(name)?.as_f64()
}

/// A flag; one that is absent is false.
pub(super) fn flag(input: &Value, name: &str) -> bool {
    input.get(name).and_then(Value::as_bool).unwrap_or(false)
}

/// A text that must not be empty.
pub(super) fn text(value: &Value, name: &str) -> Result<String, Failure> {
    match value.as_str() {
        Some(text) if !text.is_empty() => Ok(text.into()),
        Some(_) => Err(Failure::BadInput(format!("{name} is empty"))),
        None => Err(Failure::BadInput(format!("{name} is no string"))),
    }
}

/// The items of a list.
pub(super) fn list<'a>(value: &'a Value, name: &str) -> Result<&'a [Value], Failure> {
    let items = value.as_array().map(Vec::as_slice);
    items.ok_or_else(|| Failure::BadInput(format!("{name} is no list")))
}

/// Refuses a field that the service understands and this server does not.
pub(super) fn refuse(input: &Value, name: &str) -> Result<(), Failure> {
    match given(input, name) {
        Some(_) => Err(unserved(name)),
        None => Ok(()),
    }
}

/// A field that the service understands and this server does not.
pub(super) fn unserved(name: &str) -> Failure {
    Failure::Unsupported(format!("{name} is not served by this version of hearth"))
}

/// A whole number of at least one; beyond 32 bits it saturates.
///
/// # Errors
/// [`Failure::BadInput`] for less.
pub(super) fn count(input: &Value, name: &str) -> Result<Option<u32>, Failure> {
    match number(input, name) {
        Some(number) if number < 1.0 => Err(Failure::BadInput(format!("{name} is {number}"))),
        number => Ok(number.map(|number| number as u32)),
    }
}

/// A seed; the same negative number is the same seed, too. What is no number is none.
pub(super) fn seed(input: &Value) -> Option<u64> {
    let seed = input.get("seed")?;
    let whole = seed
        .as_u64()
        .or_else(|| seed.as_i64().map(i64::cast_unsigned));
    whole.or_else(|| seed.as_f64().map(|seed| seed as i64 as u64)) // 1.0 is whole
}

/// The window of a model in tokens; of one whose card names none, that of its weights alone.
pub(super) fn window(card: &ModelCard) -> u32 {
    card.context_window.unwrap_or(u32::MAX)
}

/// A number rounded to so many places behind the point.
pub(super) fn rounded(number: f64, places: i32) -> f64 {
    let scale = 10_f64.powi(places);
    let rounded = (number * scale).round() / scale;
    if rounded == 0.0 { 0.0 } else { rounded } // no negative zero
}
