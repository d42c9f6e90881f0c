//! The walk through a schema beside a value.
//!
//! It copies the order of checks of the original, and its side effects: which errors a failed
//! branch leaves in the list of a later message, and which branch's defaults are written.

use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;

use serde_json::{Map, Value, json};

use super::failures::Failures;
use super::javascript::{self, number};
use super::schema::{Additional, Kind, Schema};
use super::value::{is_binary, out_of_bounds, types};

/// One validation of one value.
pub(super) struct Walk<'v> {
    root: &'v mut Value,
    /// Where the walk stands, from the root.
    path: Vec<String>,
    failures: Failures,
}

/// What a part of the walk inherits from the part above it.
#[derive(Clone, Default)]
struct Scope<'s> {
    /// Messages carry no list of earlier errors.
    is_quiet: bool,
    /// Defaults wait until the list of branches around them has been decided.
    defers: bool,
    /// Values that pass count as evaluated, for `required` after an `allOf`.
    carries: bool,
    /// Defaults that wait. Shared with the parts above until a list takes them out.
    waiting: Rc<RefCell<Pending<'s>>>,
    /// Paths that count as present.
    evaluated: Rc<RefCell<HashSet<String>>>,
}

/// Defaults that wait, of which a list within may have written the first ones already: writing them
/// again, as the original does, would take the square of their number of steps.
#[derive(Default)]
struct Pending<'s> {
    list: Vec<Waiting<'s>>,
    written: usize,
}

/// A default that is not written yet.
#[derive(Clone)]
struct Waiting<'s> {
    path: Vec<String>,
    value: &'s Value,
    evaluated: Rc<RefCell<HashSet<String>>>,
}

impl<'v> Walk<'v> {
    pub(super) fn over(root: &'v mut Value) -> Self {
        Self {
            root,
            path: Vec::new(),
            failures: Failures::default(),
        }
    }

    pub(super) fn check(mut self, schema: &Schema) -> Result<(), String> {
        self.part(schema, &mut Scope::default()).map(|_| ())
    }

    /// Checks the value at the path; gives the number of matches.
    fn part<'s>(&mut self, schema: &'s Schema, scope: &mut Scope<'s>) -> Result<usize, String> {
        if let Some(not) = &schema.not
            && self.part(not, &mut scope.clone()).is_ok()
        {
            return Err(self.message(scope, format!("not at '{}' not met", self.place())));
        }
        if let Some(branches) = &schema.one_of {
            let matches = self.list(branches, scope, |matches| matches != 1)?;
            if matches != 1 && self.path.is_empty() {
                return Err(self.message(scope, format!("oneOf at '/' not met, {matches} matches")));
            }
            return Ok(usize::from(matches == 1));
        }
        if let Some(branches) = &schema.any_of {
            let matches = self.list(branches, scope, |matches| matches != 0)?;
            if matches == 0 && self.path.is_empty() {
                return Err(self.message(scope, "anyOf at '/' not met".into()));
            }
            return Ok(usize::from(matches != 0));
        }
        if let Some(all) = &schema.all_of {
            let mut inner = scope.clone();
            inner.carries = true;
            if let Err(error) = self.part(all, &mut inner) {
                if self.path.is_empty() {
                    return Err(error);
                }
                self.failures.keep(&error);
                return Ok(0);
            }
        }
        let value = self.value();
        if schema.kind.is("array")
            && !value.is_some_and(|value| value.is_string() || is_binary(value))
        {
            return self.items(schema, scope);
        }
        if schema.kind.is("object") || schema.properties.is_some() {
            return self.object(schema, scope);
        }
        if value.is_some() {
            return self.scalar(schema, scope);
        }
        if let Some(default) = &schema.default {
            let waiting = Waiting {
                path: self.path.clone(),
                value: default,
                evaluated: scope.evaluated.clone(),
            };
            if scope.defers {
                scope.waiting.borrow_mut().list.push(waiting);
            } else {
                self.write(&waiting)?;
            }
        }
        Ok(0)
    }

    /// Tries branches until `is_decided`; the defaults of those that passed are then written.
    fn list<'s>(
        &mut self,
        branches: &'s [Schema],
        scope: &mut Scope<'s>,
        is_decided: fn(usize) -> bool,
    ) -> Result<usize, String> {
        let mut matches = 0;
        let mut passed = Vec::new();
        for branch in branches {
            let mut inner = scope.clone();
            inner.is_quiet = true;
            inner.defers = true;
            inner.carries = false;
            match self.part(branch, &mut inner) {
                Ok(more) => {
                    matches += more;
                    if is_decided(matches) {
                        break;
                    }
                    let count = scope.waiting.borrow().list.len();
                    passed.push((Rc::clone(&scope.waiting), count));
                }
                Err(error) => self.failures.keep(&error),
            }
            scope.waiting = Rc::default();
        }
        for (pending, count) in passed {
            let mut pending = pending.borrow_mut();
            while pending.written < count {
                self.write(&pending.list[pending.written])?;
                pending.written += 1;
            }
        }
        scope.waiting = Rc::default();
        Ok(matches)
    }

    /// Walks the members of an array, or of an object where an array is wanted.
    fn items<'s>(&mut self, schema: &'s Schema, scope: &Scope<'s>) -> Result<usize, String> {
        let keys = match self.value() {
            Some(Value::Array(items)) => (0..items.len()).map(|index| index.to_string()).collect(),
            Some(Value::Object(object)) => javascript::keys(object),
            _ => Vec::new(),
        };
        let mut matches = 0;
        for key in keys {
            let Some(items) = &schema.items else {
                let message = format!("No schema for path '{}/{key}'", self.path_text());
                return Err(self.message(scope, message));
            };
            matches += self.member(key, items, &mut scope.clone())?;
        }
        Ok(matches)
    }

    fn member<'s>(
        &mut self,
        key: String,
        schema: &'s Schema,
        scope: &mut Scope<'s>,
    ) -> Result<usize, String> {
        self.path.push(key);
        let result = self.part(schema, scope);
        self.path.pop();
        result
    }

    fn object<'s>(&mut self, schema: &'s Schema, scope: &mut Scope<'s>) -> Result<usize, String> {
        self.count_properties(schema, scope)?;
        let mut present = HashSet::new();
        let mut matches = 0;
        for (name, property) in schema.properties.iter().flatten() {
            if self.member(name.clone(), property, &mut scope.clone())? > 0 {
                present.insert(format!("{}/{name}", self.path_text()));
                matches += 1;
            }
        }
        if let Some(additional) = &schema.additional {
            matches += self.additional(additional, scope, &present)?;
        }
        if let Some(additional) = &schema.unevaluated {
            let mut all = scope.evaluated.borrow().clone();
            all.extend(present.iter().cloned());
            scope.evaluated = Rc::new(RefCell::new(all.clone()));
            matches += self.additional(additional, scope, &all)?;
        }
        if let Some(required) = &schema.required {
            let path = self.path_text();
            let evaluated = scope.evaluated.borrow();
            let is_there = |name: &String| {
                let name = format!("{path}/{name}");
                present.contains(&name) || evaluated.contains(&name)
            };
            if !required.iter().all(is_there) {
                let names = required.join(",");
                let message = format!("required properties at '{}' are '{names}'", self.place());
                return Err(self.message(scope, message));
            }
        }
        Ok(usize::from(matches > 0))
    }

    /// `minProperties` and `maxProperties`. The original counts those of the whole input, whatever
    /// object the keyword stands in, and names the minimum in both messages.
    fn count_properties(&self, schema: &Schema, scope: &Scope) -> Result<(), String> {
        let (minimum, maximum) = (schema.bounds.min_properties, schema.bounds.max_properties);
        if minimum.or(maximum).is_none() {
            return Ok(());
        }
        let count = match &*self.root {
            Value::Null => {
                return Err("Cannot convert undefined or null to object".into());
            }
            Value::Object(object) => object.len(),
            Value::Array(items) => items.len(),
            Value::String(text) => text.encode_utf16().count(),
            _ => 0,
        };
        let wanted = minimum.map_or("undefined".into(), number);
        let wrong = if minimum.is_some_and(|minimum| (count as f64) < minimum) {
            "minProperties"
        } else if maximum.is_some_and(|maximum| count as f64 > maximum) {
            "maxProperties"
        } else {
            return Ok(());
        };
        let message = format!("{wrong} at '{}' is {wanted}, got {count}", self.place());
        Err(self.message(scope, message))
    }

    /// Checks the properties whose paths are not in `evaluated`; gives the number that matched.
    fn additional<'s>(
        &mut self,
        additional: &'s Additional,
        scope: &Scope<'s>,
        evaluated: &HashSet<String>,
    ) -> Result<usize, String> {
        let keys = match self.value() {
            Some(Value::Object(object)) => javascript::keys(object),
            _ => Vec::new(),
        };
        let path = self.path_text();
        let paths = keys.iter().map(|key| format!("{path}/{key}"));
        let others: Vec<_> = paths.filter(|path| !evaluated.contains(path)).collect();
        let schema = match additional {
            Additional::Refused if others.is_empty() => return Ok(0),
            Additional::Refused => {
                let names = others.join(", ");
                let message = format!(
                    "Additional or unevaluated properties '{names}' at '{}' not allowed",
                    self.place()
                );
                return Err(self.message(scope, message));
            }
            Additional::Allowed(schema) => schema,
        };
        let Some(object) = self.value_mut() else {
            return Ok(0);
        };
        let mut matches = 0;
        for path in others {
            // Paths within start anew at this object, at what follows the last slash of the key.
            let name = path.rsplit('/').next().unwrap_or_default().to_owned();
            let is_inherited = javascript::is_inherited(&name) && object.get(&name).is_none();
            // What is inherited has no members that a schema names, as an empty object has none.
            let mut inherited = is_inherited.then(|| json!({&name: {}}));
            let mut inner = Walk::over(inherited.as_mut().unwrap_or(object));
            if inner.member(name, schema, &mut Scope::default())? > 0 {
                matches += 1;
                scope.evaluated.borrow_mut().insert(format!("/{path}"));
            }
        }
        Ok(matches)
    }

    /// Checks a value that is there and is not walked into.
    fn scalar(&self, schema: &Schema, scope: &Scope) -> Result<usize, String> {
        let Some(value) = self.value() else {
            return Ok(0);
        };
        let fail = |message: String| Err(self.message(scope, message));
        let place = self.place();
        let has_no_type = matches!(schema.kind, Kind::Free | Kind::Undefined);
        if let Some(constant) = &schema.constant {
            if !javascript::is_same(value, constant) {
                let (value, constant) = (javascript::text(value)?, javascript::text(constant)?);
                return fail(format!(
                    "const {value} doesn't match {constant} at '{place}'"
                ));
            }
            if has_no_type {
                return Ok(1);
            }
        }
        if let Some(choices) = &schema.choices {
            if !choices
                .iter()
                .any(|choice| javascript::is_same(value, choice))
            {
                let (value, choices) = (javascript::text(value)?, javascript::join(choices)?);
                return fail(format!("enum {value} not in {choices} at '{place}'"));
            }
            if has_no_type {
                return Ok(1);
            }
        }
        let types = types(value);
        let wanted = match &schema.kind {
            Kind::Free => None,
            Kind::Undefined => Some("undefined"),
            Kind::Named(name) => Some(name.as_str()),
        };
        if let Some(wanted) = wanted
            && (schema.kind == Kind::Undefined || !types.contains(&wanted))
        {
            let types: Vec<_> = types.iter().map(|name| format!("'{name}'")).collect();
            let types = types.join(",");
            return fail(format!(
                "Type mismatch of '{place}', '{wanted}' not in {types}"
            ));
        }
        if let Some(message) = out_of_bounds(schema, value, &place) {
            return fail(message);
        }
        if let Some(pattern) = &schema.pattern {
            let is_met = javascript::text(value).is_ok_and(|text| pattern.is_in(&text));
            if !is_met {
                return fail(format!("'{place}' failed test {} patttern", pattern.source));
            }
        }
        if scope.carries {
            scope.evaluated.borrow_mut().insert(place);
        }
        Ok(1)
    }

    /// Writes a default; what stands in its way is reported in JavaScript's words.
    fn write(&mut self, waiting: &Waiting) -> Result<(), String> {
        let mut at = Some(&mut *self.root);
        let last = waiting.path.len().saturating_sub(1);
        for (depth, key) in waiting.path.iter().enumerate() {
            at = match at {
                Some(Value::Object(object)) if depth == last => {
                    object.insert(key.clone(), waiting.value.clone());
                    None
                }
                Some(Value::Object(object)) => Some(
                    object
                        .entry(key.clone())
                        .or_insert_with(|| Map::new().into()),
                ),
                Some(Value::Array(items)) => key
                    .parse::<usize>()
                    .ok()
                    .and_then(|index| items.get_mut(index)),
                Some(Value::Null) => {
                    return Err(format!("Cannot read properties of null (reading '{key}')"));
                }
                Some(scalar) => {
                    let kind = types(scalar).first().copied().unwrap_or_default();
                    let value = javascript::text(scalar)?;
                    return Err(format!(
                        "Cannot create property '{key}' on {kind} '{value}'"
                    ));
                }
                None => None,
            };
        }
        let path = joined(&waiting.path);
        waiting.evaluated.borrow_mut().insert(path);
        Ok(())
    }

    fn value(&self) -> Option<&Value> {
        let mut at = &*self.root;
        for key in &self.path {
            at = match at {
                value if javascript::is_falsy(value) => return None,
                Value::Object(object) => object.get(key)?,
                Value::Array(items) => items.get(key.parse::<usize>().ok()?)?,
                _ => return None,
            };
        }
        Some(at)
    }

    fn value_mut(&mut self) -> Option<&mut Value> {
        let mut at = &mut *self.root;
        for key in &self.path {
            at = match at {
                Value::Object(object) => object.get_mut(key)?,
                Value::Array(items) => items.get_mut(key.parse::<usize>().ok()?)?,
                _ => return None,
            };
        }
        Some(at)
    }

    /// The path as text; empty at the root.
    fn path_text(&self) -> String {
        joined(&self.path)
    }

    /// The path as messages write it.
    fn place(&self) -> String {
        if self.path.is_empty() {
            "/".into()
        } else {
            self.path_text()
        }
    }

    /// A message, with the list of earlier failures where the scope has it carry one.
    fn message(&self, scope: &Scope, message: String) -> String {
        if scope.is_quiet {
            message
        } else {
            message + &self.failures.after_message()
        }
    }
}

/// A path as text.
fn joined(path: &[String]) -> String {
    path.iter().flat_map(|key| ["/", key]).collect()
}
