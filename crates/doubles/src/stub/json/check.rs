//! Whether a value satisfies a schema. Keywords that are not understood are refused, so that a yes
//! can be relied on.

use serde_json::{Map, Value};

use super::number::{self, Order};
use super::{Document, Unmet};

/// Schemas within schemas, and references, that are followed in one go.
const DEPTH_MAX: u32 = 96;

/// Keywords that say more than is understood here.
const UNKNOWN: &[&str] = &[
    "$dynamicRef",
    "$recursiveRef",
    "unevaluatedItems",
    "unevaluatedProperties",
];

impl Document<'_> {
    /// Whether `value` satisfies `schema`, a part of this document.
    pub(super) fn satisfies(&self, schema: &Value, value: &Value) -> Result<bool, Unmet> {
        self.holds(schema, value, 0)
    }

    fn holds(&self, schema: &Value, value: &Value, depth: u32) -> Result<bool, Unmet> {
        self.spend(1)?;
        if depth > DEPTH_MAX {
            return Err(Unmet::TooMuch);
        }
        let keywords = match schema {
            Value::Bool(all) => return Ok(*all),
            Value::Object(keywords) => keywords,
            _ => return Err(Unmet::Unknown("a schema that is no object".into())),
        };
        if let Some(word) = UNKNOWN.iter().find(|word| keywords.contains_key(**word)) {
            return Err(Unmet::Unknown((*word).into()));
        }
        if keywords.contains_key("$id") && !std::ptr::eq(schema, self.root) {
            return Err(Unmet::Unknown("$id within a schema".into())); // references would mean others
        }
        Ok(self.any_kind(keywords, value)?
            && match value {
                Value::Number(number) => number::is_within(keywords, number)?,
                Value::String(text) => self.text(keywords, text)?,
                Value::Array(items) => self.array(keywords, items, depth)?,
                Value::Object(members) => self.object(keywords, members, depth)?,
                Value::Null | Value::Bool(_) => true,
            }
            && self.combined(keywords, value, depth)?)
    }

    /// Keywords for every kind of value.
    fn any_kind(&self, keywords: &Map<String, Value>, value: &Value) -> Result<bool, Unmet> {
        if let Some(types) = keywords.get("type") {
            let is_one = match types {
                Value::String(name) => is_type(name, value)?,
                Value::Array(names) => {
                    let mut is_one = false;
                    for name in names {
                        let name = name.as_str().ok_or_else(|| malformed("type"))?;
                        is_one |= is_type(name, value)?;
                    }
                    is_one
                }
                _ => return Err(malformed("type")),
            };
            if !is_one {
                return Ok(false);
            }
        }
        if let Some(listed) = keywords.get("enum") {
            let listed = listed.as_array().ok_or_else(|| malformed("enum"))?;
            self.spend_value(value, listed.len())?;
            if !listed.iter().any(|one| is_equal(one, value)) {
                return Ok(false);
            }
        }
        let Some(only) = keywords.get("const") else {
            return Ok(true);
        };
        self.spend_value(value, 1)?;
        Ok(is_equal(only, value))
    }

    fn text(&self, keywords: &Map<String, Value>, text: &str) -> Result<bool, Unmet> {
        self.spend_bytes(text.len())?;
        if !has_length(keywords, "minLength", "maxLength", text.chars().count())? {
            return Ok(false);
        }
        match keywords.get("pattern") {
            None => Ok(true),
            Some(Value::String(pattern)) => self.matches(pattern, text),
            Some(_) => Err(malformed("pattern")),
        }
    }

    fn array(
        &self,
        keywords: &Map<String, Value>,
        items: &[Value],
        depth: u32,
    ) -> Result<bool, Unmet> {
        if !has_length(keywords, "minItems", "maxItems", items.len())? {
            return Ok(false);
        }
        if keywords.get("uniqueItems") == Some(&Value::Bool(true)) {
            for item in items {
                self.spend_value(item, items.len() / 2)?;
            }
            let twice = |(index, item): (usize, &Value)| {
                items[..index].iter().any(|other| is_equal(other, item))
            };
            if items.iter().enumerate().any(twice) {
                return Ok(false);
            }
        }
        let (first, rest) = tuple(keywords)?;
        for (index, item) in items.iter().enumerate() {
            if let Some(schema) = first.get(index).or(rest)
                && !self.holds(schema, item, depth + 1)?
            {
                return Ok(false);
            }
        }
        let Some(contained) = keywords.get("contains") else {
            return Ok(true);
        };
        let mut found = 0;
        for item in items {
            found += usize::from(self.holds(contained, item, depth + 1)?);
        }
        let least = length(keywords, "minContains")?.unwrap_or(1);
        let most = length(keywords, "maxContains")?.unwrap_or(usize::MAX);
        Ok((least..=most).contains(&found))
    }

    fn object(
        &self,
        keywords: &Map<String, Value>,
        members: &Map<String, Value>,
        depth: u32,
    ) -> Result<bool, Unmet> {
        if !has_length(keywords, "minProperties", "maxProperties", members.len())? {
            return Ok(false);
        }
        if !strings(keywords.get("required"), "required")?.all(|name| members.contains_key(name)) {
            return Ok(false);
        }
        let properties = table(keywords, "properties")?;
        let patterned = table(keywords, "patternProperties")?;
        for (name, member) in members {
            let mut is_known = false;
            if let Some(schema) = properties.and_then(|table| table.get(name)) {
                is_known = true;
                if !self.holds(schema, member, depth + 1)? {
                    return Ok(false);
                }
            }
            for (pattern, schema) in patterned.into_iter().flatten() {
                if self.matches(pattern, name)? {
                    is_known = true;
                    if !self.holds(schema, member, depth + 1)? {
                        return Ok(false);
                    }
                }
            }
            if let Some(schema) = keywords.get("additionalProperties").filter(|_| !is_known)
                && !self.holds(schema, member, depth + 1)?
            {
                return Ok(false);
            }
            if let Some(schema) = keywords.get("propertyNames")
                && !self.holds(schema, &Value::String(name.clone()), depth + 1)?
            {
                return Ok(false);
            }
        }
        self.dependent(keywords, members, depth)
    }

    /// Keywords that ask for more where a member is there.
    fn dependent(
        &self,
        keywords: &Map<String, Value>,
        members: &Map<String, Value>,
        depth: u32,
    ) -> Result<bool, Unmet> {
        for word in ["dependentRequired", "dependentSchemas", "dependencies"] {
            for (name, more) in table(keywords, word)?.into_iter().flatten() {
                if !members.contains_key(name) {
                    continue;
                }
                let holds = if more.is_array() {
                    strings(Some(more), word)?.all(|name| members.contains_key(name))
                } else {
                    {
                        let all = Value::Object(members.clone());
                        self.spend_value(&all, 1)?;
                        self.holds(more, &all, depth + 1)?
                    }
                };
                if !holds {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Keywords that join schemas.
    fn combined(
        &self,
        keywords: &Map<String, Value>,
        value: &Value,
        depth: u32,
    ) -> Result<bool, Unmet> {
        let holds = |schema: &Value| self.holds(schema, value, depth + 1);
        if let Some(reference) = keywords.get("$ref") {
            let reference = reference.as_str().ok_or_else(|| malformed("$ref"))?;
            if !holds(self.resolve(reference)?)? {
                return Ok(false);
            }
        }
        for schema in list(keywords, "allOf")?.into_iter().flatten() {
            if !holds(schema)? {
                return Ok(false);
            }
        }
        if let Some(schemas) = list(keywords, "anyOf")? {
            let mut found = false;
            for schema in schemas {
                found = found || holds(schema)?;
            }
            if !found {
                return Ok(false);
            }
        }
        if let Some(schemas) = list(keywords, "oneOf")? {
            let mut found = 0;
            for schema in schemas {
                found += usize::from(holds(schema)?);
            }
            if found != 1 {
                return Ok(false);
            }
        }
        if let Some(schema) = keywords.get("not")
            && holds(schema)?
        {
            return Ok(false);
        }
        let Some(condition) = keywords.get("if") else {
            return Ok(true);
        };
        let branch = if holds(condition)? { "then" } else { "else" };
        keywords.get(branch).map_or(Ok(true), holds)
    }
}

/// Equality of JSON Schema: 1 and 1.0 are the same, and the order of members does not count.
pub(super) fn is_equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => number::order(a, b) == Order::Same,
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_equal(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            let same = |(name, a): (&String, &Value)| b.get(name).is_some_and(|b| is_equal(a, b));
            a.len() == b.len() && a.iter().all(same)
        }
        _ => a == b,
    }
}

fn is_type(name: &str, value: &Value) -> Result<bool, Unmet> {
    Ok(match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "number" => value.is_number(),
        "integer" => value.as_number().is_some_and(number::is_whole),
        _ => return Err(Unmet::Unknown(format!("the type {name}"))),
    })
}

pub(super) fn malformed(keyword: &str) -> Unmet {
    Unmet::Unknown(format!("the value of {keyword}"))
}

/// A keyword whose value counts something.
pub(super) fn length(keywords: &Map<String, Value>, word: &str) -> Result<Option<usize>, Unmet> {
    let Some(value) = keywords.get(word) else {
        return Ok(None);
    };
    let number = value
        .as_f64()
        .filter(|number| number.fract() == 0.0 && *number >= 0.0);
    let number = number.ok_or_else(|| malformed(word))?;
    Ok(Some(number as usize)) // saturates
}

fn has_length(
    keywords: &Map<String, Value>,
    least: &str,
    most: &str,
    has: usize,
) -> Result<bool, Unmet> {
    let least = length(keywords, least)?.unwrap_or(0);
    let most = length(keywords, most)?.unwrap_or(usize::MAX);
    Ok((least..=most).contains(&has))
}

pub(super) fn list<'a>(
    keywords: &'a Map<String, Value>,
    word: &str,
) -> Result<Option<&'a Vec<Value>>, Unmet> {
    let list = |value: &'a Value| value.as_array().ok_or_else(|| malformed(word));
    keywords.get(word).map(list).transpose()
}

pub(super) fn table<'a>(
    keywords: &'a Map<String, Value>,
    word: &str,
) -> Result<Option<&'a Map<String, Value>>, Unmet> {
    let table = |value: &'a Value| value.as_object().ok_or_else(|| malformed(word));
    keywords.get(word).map(table).transpose()
}

/// The strings of a list; none where there is no list.
pub(super) fn strings<'a>(
    list: Option<&'a Value>,
    word: &str,
) -> Result<impl Iterator<Item = &'a str>, Unmet> {
    let items = match list {
        None => &[][..],
        Some(Value::Array(items)) => items,
        Some(_) => return Err(malformed(word)),
    };
    if items.iter().all(Value::is_string) {
        Ok(items.iter().filter_map(Value::as_str))
    } else {
        Err(malformed(word))
    }
}

/// The schemas of an array's first items, and of those after them: of 2020-12 (`prefixItems`,
/// `items`) or of the drafts before (`items` as a list, `additionalItems`).
pub(super) fn tuple(keywords: &Map<String, Value>) -> Result<(&[Value], Option<&Value>), Unmet> {
    if let Some(first) = list(keywords, "prefixItems")? {
        return Ok((first, keywords.get("items")));
    }
    Ok(match keywords.get("items") {
        Some(Value::Array(first)) => (first, keywords.get("additionalItems")),
        rest => (&[], rest),
    })
}
