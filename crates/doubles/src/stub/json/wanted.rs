//! What several schemas want of one value: their keywords side by side, references and `allOf`
//! followed, and of each `anyOf` and `oneOf` one branch.

use serde_json::{Map, Value};

use super::check::{is_equal, length, list, malformed, strings, table, tuple};
use super::number::Limits;
use super::text::Shape;
use super::{Document, Unmet};

/// References and joins that are followed for one value.
const JOINS_MAX: usize = 256;

/// The types of JSON, the first of a schema without `type` first.
pub(super) const TYPES: [&str; 7] = [
    "object", "array", "string", "integer", "number", "boolean", "null",
];

/// Which branch is taken where there are several: the digits of a counter.
#[derive(Debug, Default, Clone)]
pub(super) struct Choices {
    /// The branch that is taken, and how many there are.
    taken: Vec<(usize, usize)>,
    next: usize,
}

impl Choices {
    fn choose(&mut self, branches: usize) -> usize {
        if self.next == self.taken.len() {
            self.taken.push((0, branches));
        }
        let (taken, _) = self.taken[self.next];
        self.next += 1;
        taken
    }

    /// The next combination; false after the last one.
    pub(super) fn advance(&mut self) -> bool {
        self.taken.truncate(self.next);
        self.next = 0;
        while let Some((taken, branches)) = self.taken.last_mut() {
            *taken += 1;
            if taken < branches {
                return true;
            }
            self.taken.pop();
        }
        false
    }
}

/// What is wanted.
#[derive(Default)]
pub(super) struct Wanted<'a> {
    /// By [`TYPES`]; `None`: any.
    types: Option<[bool; TYPES.len()]>,
    /// One of these.
    pub(super) listed: Option<Vec<&'a Value>>,
    /// Values that the schema's author suggests.
    pub(super) suggested: Vec<&'a Value>,
    pub(super) limits: Limits,
    pub(super) shape: Shape<'a>,
    pub(super) min_items: usize,
    pub(super) max_items: Option<usize>,
    pub(super) is_unique: bool,
    /// Schemas of the first items, and of the others.
    pub(super) first: Vec<Vec<&'a Value>>,
    pub(super) rest: Vec<&'a Value>,
    pub(super) contains: Vec<(&'a Value, usize)>,
    pub(super) min_members: usize,
    pub(super) required: Vec<&'a str>,
    /// In the order of the schemas.
    pub(super) properties: Vec<(&'a str, Vec<&'a Value>)>,
    pub(super) patterned: Vec<(&'a str, &'a Value)>,
    /// Of members that are not in `properties`.
    pub(super) additional: Vec<&'a Value>,
    pub(super) names: Vec<&'a Value>,
    joins: usize,
}

impl<'a> Wanted<'a> {
    /// What `schemas` want together. Deep down the plainest branches come first.
    pub(super) fn of(
        schemas: &[&'a Value],
        document: &Document<'a>,
        choices: &mut Choices,
        is_deep: bool,
    ) -> Result<Self, Unmet> {
        let mut wanted = Self::default();
        let mut joins = Joins {
            document,
            choices,
            is_deep,
            todo: schemas.iter().rev().copied().collect(),
        };
        while let Some(schema) = joins.todo.pop() {
            document.spend(1)?;
            wanted.joins += 1;
            if wanted.joins > JOINS_MAX {
                return Err(Unmet::Nothing); // a reference to itself
            }
            match schema {
                Value::Bool(true) => {}
                Value::Bool(false) => return Err(Unmet::Nothing),
                Value::Object(keywords) => {
                    wanted.take(keywords, document)?;
                    joins.follow(keywords)?;
                }
                _ => return Err(Unmet::Unknown("a schema that is no object".into())),
            }
        }
        Ok(wanted)
    }

    pub(super) fn allows(&self, name: &str) -> bool {
        let index = TYPES.iter().position(|known| *known == name);
        self.types
            .is_none_or(|types| index.is_some_and(|index| types[index]))
    }

    /// Whether a type is asked for by name.
    pub(super) fn names_type(&self) -> bool {
        self.types.is_some()
    }

    fn take(
        &mut self,
        keywords: &'a Map<String, Value>,
        document: &Document<'a>,
    ) -> Result<(), Unmet> {
        document.spend(keywords.len())?;
        self.take_types(keywords)?;
        let only = keywords.get("const").map(std::slice::from_ref);
        let listed = list(keywords, "enum")?.map(Vec::as_slice);
        for listed in only.into_iter().chain(listed) {
            document.spend(listed.len())?;
            self.listed = Some(match self.listed.take() {
                None => listed.iter().collect(),
                Some(known) => {
                    for one in &known {
                        document.spend_value(one, listed.len())?;
                    }
                    let both = |one: &&Value| listed.iter().any(|other| is_equal(one, other));
                    known.into_iter().filter(both).collect()
                }
            });
        }
        self.suggested.extend(keywords.get("default"));
        self.suggested.extend(
            keywords
                .get("examples")
                .and_then(Value::as_array)
                .and_then(|list| list.first()),
        );
        self.limits.take(keywords)?;
        self.shape.take(keywords)?;
        self.take_items(keywords)?;
        self.take_members(keywords, document)
    }

    fn take_types(&mut self, keywords: &Map<String, Value>) -> Result<(), Unmet> {
        let names: Vec<&str> = match keywords.get("type") {
            None => return Ok(()),
            Some(Value::String(name)) => vec![name],
            more => strings(more, "type")?.collect(),
        };
        let known = self.types.unwrap_or([true; TYPES.len()]);
        let mut types = known;
        for (allowed, name) in types.iter_mut().zip(TYPES) {
            // Every integer is a number too.
            *allowed &= names.contains(&name) || (name == "integer" && names.contains(&"number"));
        }
        self.types = Some(types);
        Ok(())
    }

    fn take_items(&mut self, keywords: &'a Map<String, Value>) -> Result<(), Unmet> {
        self.min_items = self
            .min_items
            .max(length(keywords, "minItems")?.unwrap_or(0));
        if let Some(most) = length(keywords, "maxItems")? {
            self.max_items = Some(self.max_items.map_or(most, |known| known.min(most)));
        }
        self.is_unique |= keywords.get("uniqueItems") == Some(&Value::Bool(true));
        let (first, rest) = tuple(keywords)?;
        for (index, schema) in first.iter().enumerate() {
            if index == self.first.len() {
                self.first.push(self.rest.clone());
            }
            self.first[index].push(schema);
        }
        if let Some(rest) = rest {
            for item in self.first.iter_mut().skip(first.len()) {
                item.push(rest);
            }
            self.rest.push(rest);
        }
        if let Some(contained) = keywords.get("contains") {
            let least = length(keywords, "minContains")?.unwrap_or(1);
            self.contains.push((contained, least));
        }
        Ok(())
    }

    fn take_members(
        &mut self,
        keywords: &'a Map<String, Value>,
        document: &Document<'a>,
    ) -> Result<(), Unmet> {
        let least = length(keywords, "minProperties")?.unwrap_or(0);
        self.min_members = self.min_members.max(least);
        self.required
            .extend(strings(keywords.get("required"), "required")?);
        for (name, schema) in table(keywords, "properties")?.into_iter().flatten() {
            document.spend(1 + self.properties.len() / 16)?;
            match self.properties.iter_mut().find(|(known, _)| known == name) {
                Some((_, schemas)) => schemas.push(schema),
                None => self.properties.push((name, vec![schema])),
            }
        }
        for (pattern, schema) in table(keywords, "patternProperties")?.into_iter().flatten() {
            self.patterned.push((pattern, schema));
        }
        self.additional.extend(keywords.get("additionalProperties"));
        self.names.extend(keywords.get("propertyNames"));
        for word in ["dependentRequired", "dependencies"] {
            for more in table(keywords, word)?.into_iter().flat_map(Map::values) {
                // To have all of them is the simplest way.
                if more.is_array() {
                    self.required.extend(strings(Some(more), word)?);
                }
            }
        }
        Ok(())
    }
}

/// The schemas that are still to be taken on.
struct Joins<'a, 'd> {
    document: &'d Document<'a>,
    choices: &'d mut Choices,
    is_deep: bool,
    todo: Vec<&'a Value>,
}

impl<'a> Joins<'a, '_> {
    /// Puts the schemas that this one joins on the list.
    fn follow(&mut self, keywords: &'a Map<String, Value>) -> Result<(), Unmet> {
        if let Some(reference) = keywords.get("$ref") {
            let reference = reference.as_str().ok_or_else(|| malformed("$ref"))?;
            self.todo.push(self.document.resolve(reference)?);
        }
        self.todo
            .extend(list(keywords, "allOf")?.into_iter().flatten().rev());
        for word in ["anyOf", "oneOf"] {
            if let Some(branches) = list(keywords, word)? {
                self.document.spend(branches.len())?;
                let mut branches: Vec<&Value> = branches.iter().collect();
                if self.is_deep {
                    branches.sort_by_key(|branch| weight(branch));
                }
                if branches.is_empty() {
                    return Err(Unmet::Nothing);
                }
                self.todo
                    .push(branches[self.choices.choose(branches.len())]);
            }
        }
        if let Some(condition) = keywords.get("if") {
            // Both ways are tried; which one counts is seen when the value is held against it all.
            if self.choices.choose(2) == 0 {
                self.todo.push(condition);
                self.todo.extend(keywords.get("then"));
            } else {
                self.todo.extend(keywords.get("else"));
            }
        }
        Ok(())
    }
}

/// How far a branch may lead: the end of it at once, or other schemas.
fn weight(branch: &Value) -> u8 {
    let Value::Object(keywords) = branch else {
        return 0;
    };
    if keywords.contains_key("const") || keywords.contains_key("enum") {
        return 0;
    }
    let joins = ["$ref", "allOf", "anyOf", "oneOf"];
    if joins.iter().any(|word| keywords.contains_key(*word)) {
        return 4;
    }
    match keywords.get("type").and_then(Value::as_str) {
        Some("null") => 0,
        Some("object") => 3,
        Some("array") => 2,
        _ => 1,
    }
}
