//! Inputs for a schema: valid ones, valid ones with a fault or two, and absurd ones.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::{Map, Value, json};

/// Depth of lists around a value that is deep: below the parser's own bound (128).
const DEEP: usize = 90;

/// Keys that mean something to JavaScript, to paths, or to the walk.
const KEYS: &[&str] = &[
    "x",
    "",
    "0",
    "7",
    "01",
    "4294967294",
    "4294967295",
    "a/b",
    "a/type",
    "/",
    "length",
    "é",
    "😀",
    "__proto__",
    "constructor",
    "toString",
    "a/constructor",
    "a b",
    "null",
];

/// A text below this is made 700 times as long; twice would reach the bound of a message.
const LONG_MAX_BYTES: usize = 1000;

const TEXTS: &[&str] = &[
    "",
    "a",
    "ab",
    "😀",
    "é",
    "e\u{301}",
    "true",
    "1",
    "null",
    "user",
    "system",
    "text",
    "clef",
    "\u{FEFF}clef\u{a0}",
    "\u{85}clef",
    "data:x",
    "123456789",
    "a\"b\\c\n",
    "\u{2028}",
    "\u{0}",
];

/// One input of a schema.
pub(crate) fn input(schema: &Value, random: &mut StdRng) -> Value {
    match random.random_range(0..100) {
        0..30 => valid(schema, random),
        30..80 => {
            let mut value = valid(schema, random);
            for _ in 0..random.random_range(1..=2) {
                spoil(&mut value, schema, random);
            }
            value
        }
        80..95 => loose(schema, random, 0),
        _ => absurd(random, 0),
    }
}

fn chance(random: &mut StdRng, percent: u32) -> bool {
    random.random_range(0..100) < percent
}

fn pick<'a>(list: &'a Value, random: &mut StdRng) -> Option<&'a Value> {
    list.as_array()?.choose(random)
}

/// All parts of an `allOf` as one.
fn laid_over(parts: &[Value]) -> Value {
    let parts = parts.iter().filter_map(Value::as_object).cloned();
    parts.flatten().collect::<Map<_, _>>().into()
}

/// An input that passes, as far as a schema can be satisfied by looking at one keyword at a time.
fn valid(schema: &Value, random: &mut StdRng) -> Value {
    make(schema, random, 0, 0)
}

/// An input made of the schema with something else in every fifth place.
fn loose(schema: &Value, random: &mut StdRng, depth: usize) -> Value {
    make(schema, random, 20, depth)
}

fn make(schema: &Value, random: &mut StdRng, percent_wrong: u32, depth: usize) -> Value {
    if chance(random, percent_wrong) {
        return absurd(random, 3);
    }
    for list in ["oneOf", "anyOf"] {
        if let Some(branch) = pick(&schema[list], random) {
            return make(branch, random, percent_wrong, depth);
        }
    }
    if let Some(parts) = schema["allOf"].as_array() {
        return make(&laid_over(parts), random, percent_wrong, depth);
    }
    if let Some(constant) = schema.get("const") {
        return constant.clone();
    }
    if let Some(choice) = pick(&schema["enum"], random) {
        return choice.clone();
    }
    let kind = schema["type"].as_str();
    match kind {
        Some("string") => text(schema, random),
        Some("number" | "integer") => number(schema, kind == Some("integer"), random),
        Some("boolean") => random.random::<bool>().into(),
        Some("null") => Value::Null,
        Some("array") => {
            let count = *[0, 1, 1, 2, 3].choose(random).unwrap_or(&1);
            let item = |_| make(&schema["items"], random, percent_wrong, depth + 1);
            (0..count).map(item).collect()
        }
        _ if kind == Some("object") || !schema["properties"].is_null() => {
            object(schema, random, percent_wrong, depth)
        }
        _ => absurd(random, 3),
    }
}

fn object(schema: &Value, random: &mut StdRng, percent_wrong: u32, depth: usize) -> Value {
    let mut object = Map::new();
    let required: Vec<_> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .collect();
    // Now and then every optional field is there; else a few are.
    let percent = *[5, 20, 20, 50, 90].choose(random).unwrap_or(&20);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let is_required = required.iter().any(|required| *required == name);
        let percent = if is_required {
            100 - percent_wrong / 2
        } else {
            percent
        };
        if chance(random, percent) {
            let value = make(property, random, percent_wrong, depth + 1);
            object.insert(name.clone(), value);
        }
    }
    if schema["additionalProperties"].is_object() {
        for _ in 0..random.random_range(0..3) {
            let key = KEYS.choose(random).copied().unwrap_or_default();
            let value = make(
                &schema["additionalProperties"],
                random,
                percent_wrong,
                depth + 1,
            );
            object.insert(key.into(), value);
        }
    }
    if chance(random, percent_wrong) {
        let key = KEYS.choose(random).copied().unwrap_or_default();
        object.insert(key.into(), absurd(random, 3));
    }
    if chance(random, 15) {
        let mut fields: Vec<_> = object.into_iter().collect();
        rand::seq::SliceRandom::shuffle(&mut fields[..], random);
        return fields.into_iter().collect::<Map<_, _>>().into();
    }
    object.into()
}

fn text(schema: &Value, random: &mut StdRng) -> Value {
    let pattern = schema["pattern"].as_str().unwrap_or_default();
    let fitting: &[&str] = match pattern {
        "" => &["a", "hello", "😀", "true"],
        _ if pattern.contains("clef") => &["clef", " clef-flash\n", "\u{FEFF}clef\u{a0}"],
        _ if pattern.contains("ata") || pattern.contains("[Aa]") => &["data:x", "data", "DATA:"],
        _ => &["123456789", "-abcdefGH1-", "42"],
    };
    let mut text = String::from(*fitting.choose(random).unwrap_or(&"a"));
    let bounds = ["minLength", "maxLength"].map(|bound| schema[bound].as_u64());
    if let ([Some(length), _] | [_, Some(length)], true) = (bounds, chance(random, 10)) {
        // On the bound, in UTF-16 units, in one-unit or two-unit characters.
        let length = usize::try_from(length).unwrap_or_default().min(3000);
        text = if random.random::<bool>() {
            "b".repeat(length)
        } else {
            "😀".repeat(length / 2) + &"b".repeat(length % 2)
        };
    }
    text.into()
}

fn number(schema: &Value, is_whole: bool, random: &mut StdRng) -> Value {
    let bound = |names: [&str; 2], other| {
        let mut found = names.iter().filter_map(|name| schema[*name].as_f64());
        found.next().unwrap_or(other)
    };
    let least = bound(["minimum", "exclusiveMinimum"], 0.0);
    let most = bound(["maximum", "exclusiveMaximum"], least + 10.0);
    let within = least + (most - least) * random.random::<f64>();
    let value = *[least, most, within, within.floor(), least + 1.0]
        .choose(random)
        .unwrap_or(&least);
    if is_whole {
        whole(value.floor())
    } else {
        as_json(value)
    }
}

/// Whole numbers as JSON writes them most; `1.0` comes from `as_json`.
fn whole(value: f64) -> Value {
    if value.abs() < 9e15 {
        (value as i64).into()
    } else {
        as_json(value)
    }
}

fn as_json(value: f64) -> Value {
    serde_json::Number::from_f64(value).map_or(Value::Null, Value::Number)
}

/// Any number: small, huge, tiny, with any bits.
fn any_number(random: &mut StdRng) -> Value {
    match random.random_range(0..8) {
        0..3 => random.random_range(-3..300).into(),
        3 => as_json(f64::from(random.random_range(-40..40)) / 8.0),
        4 => [
            json!(u64::MAX),
            json!(i64::MIN),
            json!(9_007_199_254_740_993_u64),
            json!(-0.0),
        ]
        .choose(random)
        .cloned()
        .unwrap_or_default(),
        5 => [
            json!(1e21),
            json!(1e-7),
            json!(123e18),
            json!(5e-324),
            json!(1.7e308),
            json!(1.0),
        ]
        .choose(random)
        .cloned()
        .unwrap_or_default(),
        _ => as_json(f64::from_bits(random.random())),
    }
}

/// Any value.
fn absurd(random: &mut StdRng, depth: usize) -> Value {
    let most = if depth < 5 { 14 } else { 8 };
    match random.random_range(0..most) {
        0 => Value::Null,
        1 => random.random::<bool>().into(),
        2..5 => any_number(random),
        5..8 => TEXTS.choose(random).copied().unwrap_or_default().into(),
        8 => (0..random.random_range(0..4))
            .map(|_| any_number(random))
            .collect(),
        9 => json!([1, "a", null, {}]),
        10 | 11 => {
            let count = random.random_range(0..4);
            (0..count).map(|_| absurd(random, depth + 1)).collect()
        }
        12 if chance(random, 3) => {
            let mut value = absurd(random, 5);
            for _ in 0..DEEP {
                value = json!([value]);
            }
            value
        }
        _ => {
            let mut object = Map::new();
            for _ in 0..random.random_range(0..4) {
                let key = KEYS.choose(random).copied().unwrap_or_default();
                object.insert(key.into(), absurd(random, depth + 1));
            }
            object.into()
        }
    }
}

/// Makes one fault somewhere in a value.
fn spoil(value: &mut Value, schema: &Value, random: &mut StdRng) {
    // Two forms of an input at once, which a `oneOf` at the root refuses.
    if chance(random, 10)
        && let (Value::Object(object), Value::Object(other)) = (&mut *value, valid(schema, random))
    {
        object.extend(other);
        return;
    }
    let mut at = value;
    while chance(random, 70) && has_parts(at) {
        let parts: Vec<&mut Value> = match at {
            Value::Object(object) => object.values_mut().collect(),
            Value::Array(items) => items.iter_mut().collect(),
            _ => return,
        };
        let index = random.random_range(0..parts.len());
        let Some(part) = parts.into_iter().nth(index) else {
            return;
        };
        at = part;
    }
    *at = fault(at, random);
}

fn has_parts(value: &Value) -> bool {
    match value {
        Value::Object(object) => !object.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    }
}

fn fault(value: &Value, random: &mut StdRng) -> Value {
    let which = random.random_range(0..100);
    match (which, value) {
        (0..15, _) => Value::Null,
        (15..30, _) => absurd(random, 3),
        (30..36, _) => json!([value]),
        (36..42, _) => json!({"x": value}),
        (42..48, Value::String(text)) => json!([text]),
        (_, Value::Number(number)) => {
            let number = number.as_f64().unwrap_or_default();
            let step = *[1.0, -1.0, 0.5, 1e6, -1e6].choose(random).unwrap_or(&1.0);
            match which % 4 {
                0 => whole(number + step),
                1 => as_json(number + step),
                2 => number.to_string().into(),
                _ => any_number(random),
            }
        }
        (_, Value::String(text)) => match which % 4 {
            0 => "".into(),
            1 => format!("{text}😀").into(),
            2 if text.len() < LONG_MAX_BYTES => text.repeat(700).into(),
            _ => TEXTS.choose(random).copied().unwrap_or_default().into(),
        },
        (_, Value::Array(items)) => {
            let mut items = items.clone();
            match which % 5 {
                // As `JSON.stringify` writes a typed array.
                0 => {
                    let keyed = items.into_iter().enumerate();
                    return keyed
                        .map(|(i, item)| (i.to_string(), item))
                        .collect::<Map<_, _>>()
                        .into();
                }
                1 => items.push(absurd(random, 3)),
                2 => items.insert(0, absurd(random, 3)),
                3 => items = items.into_iter().take(1).cycle().take(20).collect(),
                _ => items.clear(),
            }
            items.into()
        }
        (_, Value::Object(object)) => {
            let mut object = object.clone();
            let name = object
                .keys()
                .nth(random.random_range(0..object.len().max(1)))
                .cloned();
            let key = KEYS.choose(random).copied().unwrap_or_default();
            match (which % 5, name) {
                (0..3, Some(name)) => drop(object.shift_remove(&name)),
                (3, Some(name)) => {
                    let value = object.shift_remove(&name).unwrap_or_default();
                    object.insert(key.into(), value);
                }
                _ => drop(object.insert(key.into(), absurd(random, 3))),
            }
            object.into()
        }
        (_, Value::Bool(truth)) => match which % 3 {
            0 => truth.to_string().into(),
            1 => u8::from(*truth).into(),
            _ => (!truth).into(),
        },
        (_, Value::Null) => absurd(random, 3),
    }
}
