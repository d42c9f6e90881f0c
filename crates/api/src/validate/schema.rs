//! A JSON Schema, parsed once into the form that the walk reads.

use serde_json::{Map, Value};

use super::pattern::Pattern;

/// Keywords that the validator does not look at.
const ANNOTATIONS: &[&str] = &[
    "title",
    "description",
    "format",
    "contentType",
    "minItems",
    "maxItems",
];

/// A schema or a part of one.
#[derive(Debug, Default)]
pub struct Schema {
    pub(super) kind: Kind,
    pub(super) not: Option<Box<Schema>>,
    /// Branches, each with the type of the schema above where it names none itself.
    pub(super) one_of: Option<Vec<Schema>>,
    /// As `one_of`.
    pub(super) any_of: Option<Vec<Schema>>,
    /// All parts laid over each other: of a key that several have, the last one's value counts.
    pub(super) all_of: Option<Box<Schema>>,
    pub(super) properties: Option<Vec<(String, Schema)>>,
    pub(super) items: Option<Box<Schema>>,
    pub(super) additional: Option<Additional>,
    pub(super) unevaluated: Option<Additional>,
    pub(super) required: Option<Vec<String>>,
    pub(super) constant: Option<Value>,
    pub(super) choices: Option<Vec<Value>>,
    pub(super) default: Option<Value>,
    pub(super) pattern: Option<Pattern>,
    pub(super) bounds: Bounds,
}

/// The `type` keyword.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    /// There is no such keyword.
    #[default]
    Free,
    /// A branch of a list whose parent has no type either: the keyword is there without a value,
    /// and no value is of that type.
    Undefined,
    Named(String),
}

impl Kind {
    pub(super) fn is(&self, name: &str) -> bool {
        matches!(self, Self::Named(kind) if kind == name)
    }
}

/// What `additionalProperties` or `unevaluatedProperties` says.
#[derive(Debug)]
pub(super) enum Additional {
    Refused,
    Allowed(Box<Schema>),
}

/// The keywords that hold a number.
#[derive(Debug, Default)]
pub(super) struct Bounds {
    pub(super) minimum: Option<f64>,
    pub(super) maximum: Option<f64>,
    pub(super) above: Option<f64>,
    pub(super) below: Option<f64>,
    pub(super) multiple_of: Option<f64>,
    pub(super) min_length: Option<f64>,
    pub(super) max_length: Option<f64>,
    pub(super) min_properties: Option<f64>,
    pub(super) max_properties: Option<f64>,
}

impl Schema {
    /// Reads a schema.
    ///
    /// # Errors
    /// The keyword that is not known, or whose value is of the wrong form: nothing of a schema is
    /// passed over in silence.
    pub fn read(value: &Value) -> Result<Self, String> {
        match value {
            Value::Object(keywords) => Self::from_keywords(keywords, Kind::Free),
            Value::Bool(true) => Ok(Self::default()), // anything goes
            other => Err(format!("{other} is no schema")),
        }
    }

    /// Reads keywords; `kind` is the type where they name none.
    fn from_keywords(keywords: &Map<String, Value>, kind: Kind) -> Result<Self, String> {
        let mut schema = Self {
            kind,
            ..Self::default()
        };
        if let Some(name) = keywords.get("type") {
            schema.kind = Kind::Named(text("type", name)?);
        }
        for (keyword, value) in keywords {
            schema
                .take(keyword, value, keywords)
                .map_err(|error| format!("{keyword}: {error}"))?;
        }
        Ok(schema)
    }

    fn take(
        &mut self,
        keyword: &str,
        value: &Value,
        keywords: &Map<String, Value>,
    ) -> Result<(), String> {
        let within = |value| Self::read(value).map(Box::new).map(Some);
        match keyword {
            "type" => {}
            "not" => self.not = within(value)?,
            "items" => self.items = within(value)?,
            "oneOf" => self.one_of = Some(branches(keywords, list(value)?)?),
            "anyOf" => self.any_of = Some(branches(keywords, list(value)?)?),
            "allOf" => self.all_of = Some(Box::new(branch(keywords, list(value)?)?)),
            "properties" => {
                let properties = value.as_object().ok_or("no object")?;
                let read = |(name, schema): (&String, &Value)| {
                    let schema = Self::read(schema).map_err(|error| format!("{name}: {error}"))?;
                    Ok((name.clone(), schema))
                };
                self.properties = Some(properties.iter().map(read).collect::<Result<_, String>>()?);
            }
            "additionalProperties" => self.additional = Some(additional(value)?),
            "unevaluatedProperties" => self.unevaluated = Some(additional(value)?),
            "required" => {
                let names = list(value)?.iter().map(|name| text(keyword, name));
                self.required = Some(names.collect::<Result<_, _>>()?);
            }
            "const" => self.constant = Some(value.clone()),
            "enum" => self.choices = Some(list(value)?.to_vec()),
            "default" => self.default = Some(value.clone()),
            "pattern" => self.pattern = Some(Pattern::read(&text(keyword, value)?)?),
            keyword if ANNOTATIONS.contains(&keyword) => {}
            keyword => {
                let bound = self.bounds.named(keyword).ok_or("no known keyword")?;
                *bound = Some(value.as_f64().ok_or("no number")?);
            }
        }
        Ok(())
    }
}

impl Bounds {
    fn named(&mut self, keyword: &str) -> Option<&mut Option<f64>> {
        Some(match keyword {
            "minimum" => &mut self.minimum,
            "maximum" => &mut self.maximum,
            "exclusiveMinimum" => &mut self.above,
            "exclusiveMaximum" => &mut self.below,
            "multipleOf" => &mut self.multiple_of,
            "minLength" => &mut self.min_length,
            "maxLength" => &mut self.max_length,
            "minProperties" => &mut self.min_properties,
            "maxProperties" => &mut self.max_properties,
            _ => return None,
        })
    }
}

fn text(keyword: &str, value: &Value) -> Result<String, String> {
    let text = value.as_str().map(String::from);
    text.ok_or_else(|| format!("{value} is no text of {keyword}"))
}

fn list(value: &Value) -> Result<&[Value], String> {
    let items = value.as_array().map(Vec::as_slice);
    items.ok_or_else(|| "no list".into())
}

fn branches(parent: &Map<String, Value>, parts: &[Value]) -> Result<Vec<Schema>, String> {
    let read = |part| branch(parent, std::slice::from_ref(part));
    parts.iter().map(read).collect()
}

/// Lays parts over the type of the schema that holds them.
fn branch(parent: &Map<String, Value>, parts: &[Value]) -> Result<Schema, String> {
    let kind = match parent.get("type") {
        Some(name) => Kind::Named(text("type", name)?),
        None => Kind::Undefined,
    };
    let mut keywords = Map::new();
    for part in parts {
        let own = part.as_object().ok_or("a part that is no object")?;
        keywords.extend(own.clone());
    }
    Schema::from_keywords(&keywords, kind)
}

fn additional(value: &Value) -> Result<Additional, String> {
    match value {
        Value::Bool(false) => Ok(Additional::Refused),
        schema => Ok(Additional::Allowed(Box::new(Schema::read(schema)?))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nothing_of_a_schema_is_passed_over() {
        for (schema, wanted) in [
            (json!({"minimun": 1}), "minimun: no known keyword"),
            (json!({"$ref": "#/$defs/a"}), "$ref: no known keyword"),
            (
                json!({"properties": {"a": {"minimum": "1"}}}),
                "properties: a: minimum: no number",
            ),
            (
                json!({"oneOf": [{"if": {}}]}),
                "oneOf: if: no known keyword",
            ),
            (
                json!({"type": ["string", "null"]}),
                "[\"string\",\"null\"] is no text of type",
            ),
            (json!({"items": [1]}), "items: [1] is no schema"),
            (
                json!({"pattern": "a.b"}),
                "pattern: the pattern a.b has a dot, which is not read",
            ),
        ] {
            assert_eq!(Schema::read(&schema).unwrap_err(), wanted);
        }
    }
}
