//! JSON Schemas of strangers: bounded, and without what means nothing, before a grammar is made of them.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use tasks::Json;

/// The largest schema, in bytes.
const SCHEMA_MAX_BYTES: usize = 256 << 10;
/// How deep a schema may go.
const SCHEMA_MAX_DEPTH: usize = 64;
/// Schemas that are referred to. The library follows references one within another, each as deep as a schema may go.
const REFERENCES_MAX: usize = 64;
/// The longest pattern, in bytes.
const PATTERN_MAX_BYTES: usize = 2048;
/// The most of anything that is counted: letters, items, properties. A grammar has a rule for each.
const COUNT_MAX: u64 = 10_000;

/// Formats that JSON Schema defines (2020-12, validation, section 7.3). Any other is an annotation, as `int32` is in
/// OpenAPI, and says nothing of the text.
const FORMATS: [&str; 19] = [
    "date-time",
    "date",
    "time",
    "duration",
    "email",
    "idn-email",
    "hostname",
    "idn-hostname",
    "ipv4",
    "ipv6",
    "uri",
    "uri-reference",
    "iri",
    "iri-reference",
    "uuid",
    "uri-template",
    "json-pointer",
    "relative-json-pointer",
    "regex",
];

/// Keywords whose value is a schema, schemas by name, and a list of schemas.
const ONE: [&str; 9] = [
    "items",
    "additionalItems",
    "additionalProperties",
    "unevaluatedItems",
    "unevaluatedProperties",
    "propertyNames",
    "contains",
    "not",
    "contentSchema",
];
const NAMED: [&str; 5] = [
    "properties",
    "patternProperties",
    "$defs",
    "definitions",
    "dependentSchemas",
];
const LISTED: [&str; 5] = ["allOf", "anyOf", "oneOf", "prefixItems", "items"];
/// Keywords that count.
const COUNTS: [&str; 6] = [
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
];
/// Keywords that join the schema beside them to another.
const JOINS: [&str; 4] = ["$ref", "anyOf", "oneOf", "$dynamicRef"];
/// Keywords that say something of an object's properties.
const OF_OBJECTS: [&str; 4] = [
    "properties",
    "required",
    "additionalProperties",
    "patternProperties",
];

/// Why a schema is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::text) enum Refused {
    #[error("the schema is no JSON: {0}")]
    NoJson(String),
    #[error("the schema is no object")]
    NoSchema,
    #[error("the schema {0}")]
    TooMuch(String),
}

/// A schema ready to become a rule.
pub(in crate::text) fn checked(schema: &Json) -> Result<Value, Refused> {
    let bytes = schema.0.len();
    if bytes > SCHEMA_MAX_BYTES {
        let text = format!("has {bytes} bytes: at most {SCHEMA_MAX_BYTES} are taken");
        return Err(Refused::TooMuch(text));
    }
    let schema: Value =
        serde_json::from_str(&schema.0).map_err(|error| Refused::NoJson(error.to_string()))?;
    let mut schema = match schema {
        Value::Object(_) => schema,
        Value::Bool(true) => json!({}),
        _ => return Err(Refused::NoSchema),
    };
    let mut walk = Walk::default();
    walk.check(&mut schema, 0)?;
    if walk.references.len() > REFERENCES_MAX {
        let text = format!("refers to more than {REFERENCES_MAX} schemas");
        return Err(Refused::TooMuch(text));
    }
    let astray = |reference: &&String| referred(&schema, reference).is_none();
    if let Some(reference) = walk.references.iter().find(astray) {
        return Err(Refused::TooMuch(format!("has no schema at {reference:?}")));
    }
    if !walk.joins {
        close(&mut schema);
    }
    Ok(schema)
}

/// The same for the arguments of a tool: an object, without properties where the tool has no schema.
pub(in crate::text) fn object(schema: Option<&Json>) -> Result<Value, Refused> {
    let Some(schema) = schema else {
        return Ok(json!({"type": "object", "properties": {}, "additionalProperties": false}));
    };
    let mut schema = checked(schema)?;
    if let Some(keywords) = schema.as_object_mut()
        && !keywords.contains_key("type")
        && !JOINS.iter().any(|join| keywords.contains_key(*join))
    {
        keywords.insert("type".into(), "object".into());
        if keywords.contains_key("properties") {
            close(&mut schema);
        }
    }
    Ok(schema)
}

/// The schema within `root` that a reference leads to by keywords that [`Walk`] follows: what is reached by others
/// was not looked at.
fn referred<'a>(root: &'a Value, reference: &str) -> Option<&'a Value> {
    let pointer = reference.strip_prefix('#')?;
    if pointer.contains('%') || !(pointer.is_empty() || pointer.starts_with('/')) {
        return None;
    }
    let mut at = root;
    let mut parts = pointer.split('/').skip(1);
    while let Some(keyword) = parts.next() {
        at = match at.get(keyword)? {
            Value::Object(members) if NAMED.contains(&keyword) => {
                members.get(&parts.next()?.replace("~1", "/").replace("~0", "~"))?
            }
            Value::Array(list) if LISTED.contains(&keyword) => {
                list.get(parts.next()?.parse::<usize>().ok()?)?
            }
            value @ Value::Object(_) if ONE.contains(&keyword) => value,
            _ => return None,
        };
    }
    Some(at)
}

/// What was found on the way.
#[derive(Default)]
struct Walk {
    /// Some schema is met together with another: closing it would say something of both.
    joins: bool,
    references: BTreeSet<String>,
}

impl Walk {
    fn check(&mut self, schema: &mut Value, depth: usize) -> Result<(), Refused> {
        if depth > SCHEMA_MAX_DEPTH {
            let text = format!("is nested more than {SCHEMA_MAX_DEPTH} deep");
            return Err(Refused::TooMuch(text));
        }
        let Value::Object(keywords) = schema else {
            return Ok(());
        };
        keywords.remove("x-guidance");
        let is_known = |format: &str| FORMATS.contains(&format);
        let format = keywords.get("format").and_then(Value::as_str);
        if format.is_some_and(|format| !is_known(format)) {
            keywords.remove("format");
        }
        self.bounds(keywords)?;
        if let Some(reference) = keywords.get("$ref").and_then(Value::as_str) {
            self.references.insert(reference.to_owned());
        }
        for (keyword, value) in keywords.iter_mut() {
            let keyword = keyword.as_str();
            match value {
                Value::Object(members) if NAMED.contains(&keyword) => {
                    for member in members.values_mut() {
                        self.check(member, depth + 1)?;
                    }
                }
                Value::Array(list) if LISTED.contains(&keyword) => {
                    for branch in list {
                        self.check(branch, depth + 1)?;
                    }
                }
                Value::Object(_) if ONE.contains(&keyword) => self.check(value, depth + 1)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn bounds(&mut self, keywords: &Map<String, Value>) -> Result<(), Refused> {
        let has = |keyword: &&str| keywords.contains_key(*keyword);
        self.joins |=
            keywords.contains_key("allOf") || JOINS.iter().any(has) && OF_OBJECTS.iter().any(has);
        for keyword in COUNTS {
            let count = keywords.get(keyword).and_then(Value::as_f64);
            if count.is_some_and(|count| count > COUNT_MAX as f64) {
                let text = format!("has a {keyword} above {COUNT_MAX}");
                return Err(Refused::TooMuch(text));
            }
        }
        let mut patterns: Vec<&str> = Vec::new();
        patterns.extend(keywords.get("pattern").and_then(Value::as_str));
        if let Some(Value::Object(members)) = keywords.get("patternProperties") {
            patterns.extend(members.keys().map(String::as_str));
        }
        if patterns.iter().any(|text| text.len() > PATTERN_MAX_BYTES) {
            let text = format!("has a pattern of more than {PATTERN_MAX_BYTES} bytes");
            return Err(Refused::TooMuch(text));
        }
        Ok(())
    }
}

/// Objects that name properties get no others, where the schema does not say: a small model would not stop inventing
/// them. Such an answer satisfies the schema, too.
fn close(schema: &mut Value) {
    let Value::Object(keywords) = schema else {
        return;
    };
    let named = keywords.get("properties").and_then(Value::as_object);
    let required = keywords.get("required").and_then(Value::as_array);
    let are_named = |properties: &Map<String, Value>| {
        required.is_none_or(|required| {
            let names = required.iter().filter_map(Value::as_str);
            names.into_iter().all(|name| properties.contains_key(name))
        })
    };
    let counts =
        keywords.contains_key("minProperties") || keywords.contains_key("patternProperties");
    if named.is_some_and(|named| !named.is_empty() && are_named(named)) && !counts {
        keywords
            .entry("additionalProperties")
            .or_insert(Value::Bool(false));
    }
    for (keyword, value) in keywords.iter_mut() {
        let keyword = keyword.as_str();
        match value {
            Value::Object(members) if NAMED.contains(&keyword) => {
                members.values_mut().for_each(close);
            }
            Value::Array(list) if LISTED.contains(&keyword) => list.iter_mut().for_each(close),
            Value::Object(_) if ONE.contains(&keyword) => close(value),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(schema: &Value) -> Result<Value, Refused> {
        super::checked(&Json(schema.to_string()))
    }

    #[test]
    fn objects_are_closed_unless_another_schema_is_met_as_well() {
        let open = json!({"properties": {"format": {"properties": {"a": {}}}}});
        assert_eq!(
            checked(&open),
            Ok(json!({
                "properties": {"format": {"properties": {"a": {}}, "additionalProperties": false}},
                "additionalProperties": false
            }))
        );
        for kept in [
            json!({"allOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}}]}),
            json!({"properties": {"a": {}}, "anyOf": [{"required": ["a"]}]}),
            json!({"properties": {"a": {}}, "required": ["b"]}),
            json!({"properties": {"a": {}}, "additionalProperties": {"type": "string"}}),
            json!({"properties": {"a": {}}, "minProperties": 2}),
        ] {
            assert_eq!(checked(&kept), Ok(kept));
        }
    }

    #[test]
    fn references_to_schemas_within_are_taken() {
        for reference in ["#", "#/$defs/a~1b", "#/properties/p/items", "#/anyOf/0"] {
            let schema = json!({
                "properties": {"p": {"items": {"type": "string"}}, "q": {"$ref": reference}},
                "anyOf": [{"type": "object"}],
                "$defs": {"a/b": {"type": "integer"}},
            });
            assert_eq!(checked(&schema), Ok(schema));
        }
    }

    #[test]
    fn formats_of_others_are_annotations() {
        let schema = json!({"properties": {"n": {"type": "integer", "format": "int32"},
            "d": {"format": "date"}}, "additionalProperties": true, "x-guidance": {"lenient": true}});
        let expected = json!({"properties": {"n": {"type": "integer"}, "d": {"format": "date"}},
            "additionalProperties": true});
        assert_eq!(checked(&schema), Ok(expected));
    }

    #[test]
    fn hostile_schemas_are_refused_before_they_are_read() {
        let mut deep = json!({});
        for _ in 0..SCHEMA_MAX_DEPTH + 2 {
            deep = json!({ "items": deep });
        }
        let mut chain = Map::new();
        for at in 0..=REFERENCES_MAX {
            let next = json!({ "$ref": format!("#/$defs/{at}") });
            chain.insert(format!("{}", at + 1), next);
        }
        let chain = json!({"$ref": "#/$defs/65", "$defs": chain});
        let aside = json!({"$ref": "#/zz", "zz": {"minLength": 1e15}});
        let list = json!({"$ref": "#/properties/0", "properties": [{"minLength": 1e15}]});
        let coded = json!({"$ref": "#/$defs/a%2Fzz", "$defs": {"a%2Fzz": {}, "a": {"zz": {}}}});
        let long = json!({"pattern": "a".repeat(PATTERN_MAX_BYTES + 1)});
        let large = json!({"enum": vec!["x".repeat(1000); 1000]});
        for schema in [
            deep,
            chain,
            aside,
            list,
            coded,
            long,
            large,
            json!({"maxLength": 1e15}),
            json!(false),
            json!([]),
        ] {
            assert!(checked(&schema).is_err());
        }
        assert!(super::checked(&Json("{".into())).is_err());
    }
}
