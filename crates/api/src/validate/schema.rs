//! A JSON Schema, parsed once into the form that the walk reads.

use serde_json::{Map, Value};

use super::javascript;

/// A schema or a part of one.
#[derive(Debug, Default)]
pub(crate) struct Schema {
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

/// A `pattern`; one that is no regular expression here matches nothing, as in the original.
#[derive(Debug)]
pub(super) struct Pattern {
    pub(super) source: String,
    pub(super) regex: Option<regex::Regex>,
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
    /// Reads a schema; keywords that the validator does not know are passed over.
    pub(crate) fn read(value: &Value) -> Self {
        match value {
            Value::Object(keywords) => Self::from_keywords(keywords),
            _ => Self::default(), // `true`: anything goes
        }
    }

    /// Whether a body of raw bytes can stand for the whole input.
    pub(crate) fn takes_bytes(value: &Value) -> bool {
        let branches = value.get("oneOf").and_then(Value::as_array);
        branches
            .into_iter()
            .flatten()
            .any(|branch| branch["type"] == "string" && branch["format"] == "binary")
    }

    /// The type that an input of this name is declared to have, in whatever branch.
    pub(crate) fn kind_of(&self, name: &str) -> Option<&str> {
        let own = self.properties.iter().flatten();
        let found = own
            .filter(|(known, _)| known == name)
            .map(|(_, schema)| match &schema.kind {
                Kind::Named(kind) => kind,
                Kind::Free | Kind::Undefined => "",
            })
            .next();
        let branches = || self.one_of.iter().flatten();
        found.or_else(|| branches().find_map(|branch| branch.kind_of(name)))
    }

    fn from_keywords(keywords: &Map<String, Value>) -> Self {
        let within = |key: &str| keywords.get(key).map(|value| Box::new(Self::read(value)));
        let branches = |key: &str| {
            let list = keywords.get(key)?.as_array()?;
            Some(list.iter().map(|part| branch(keywords, [part])).collect())
        };
        let number = |key: &str| keywords.get(key).and_then(Value::as_f64);
        Self {
            kind: match keywords.get("type") {
                None => Kind::Free,
                Some(Value::Null) => Kind::Undefined, // see `branch`
                Some(name) => Kind::Named(javascript::text(name)),
            },
            not: within("not"),
            one_of: branches("oneOf"),
            any_of: branches("anyOf"),
            all_of: keywords
                .get("allOf")
                .and_then(Value::as_array)
                .map(|parts| Box::new(branch(keywords, parts))),
            properties: keywords
                .get("properties")
                .and_then(Value::as_object)
                .map(|properties| {
                    let read =
                        |(name, schema): (&String, &Value)| (name.clone(), Self::read(schema));
                    properties.iter().map(read).collect()
                }),
            items: within("items"),
            additional: keywords.get("additionalProperties").map(additional),
            unevaluated: keywords.get("unevaluatedProperties").map(additional),
            required: keywords
                .get("required")
                .and_then(Value::as_array)
                .map(|names| {
                    let name = |name: &Value| javascript::text(name);
                    names.iter().map(name).collect()
                }),
            constant: keywords.get("const").cloned(),
            choices: keywords.get("enum").and_then(Value::as_array).cloned(),
            default: keywords.get("default").cloned(),
            pattern: keywords
                .get("pattern")
                .and_then(Value::as_str)
                .map(|source| Pattern {
                    source: source.into(),
                    regex: regex::Regex::new(source).ok(),
                }),
            bounds: Bounds {
                minimum: number("minimum"),
                maximum: number("maximum"),
                above: number("exclusiveMinimum"),
                below: number("exclusiveMaximum"),
                multiple_of: number("multipleOf"),
                min_length: number("minLength"),
                max_length: number("maxLength"),
                min_properties: number("minProperties"),
                max_properties: number("maxProperties"),
            },
        }
    }
}

/// Lays parts over the type of the schema that holds them.
fn branch<'a>(parent: &Map<String, Value>, parts: impl IntoIterator<Item = &'a Value>) -> Schema {
    let mut keywords = Map::new();
    // `null` stands for a keyword that is there without a value; no schema file writes it.
    let kind = parent.get("type").cloned().unwrap_or(Value::Null);
    keywords.insert("type".into(), kind);
    for part in parts {
        let own = part.as_object().into_iter().flatten();
        keywords.extend(own.map(|(key, value)| (key.clone(), value.clone())));
    }
    Schema::from_keywords(&keywords)
}

fn additional(value: &Value) -> Additional {
    match value {
        Value::Bool(false) => Additional::Refused,
        schema => Additional::Allowed(Box::new(Schema::read(schema))),
    }
}
