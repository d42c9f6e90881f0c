//! Calls whose arguments stand one by one between marks, their names and values as text.
//!
//! Qwen3-Coder and its successors, Nemotron 3: `<function=NAME><parameter=KEY>\nVALUE\n</parameter></function>`. GLM 4.5
//! and later: `NAME<arg_key>KEY</arg_key><arg_value>VALUE</arg_value>`. DeepSeek V3.2 and later:
//! `<｜DSML｜invoke name="NAME"><｜DSML｜parameter name="KEY" string="true">VALUE</｜DSML｜parameter></｜DSML｜invoke>`. After
//! the chat templates of these checkpoints. What type a value has, the tool's schema says.

use serde_json::{Map, Value};
use tasks::{Failure, Tool, ToolCall};

use super::call::named;
use super::offer::{Offer, is_text, typed};
use crate::text::grammar::{self, literal};

/// How a family writes the parts of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Notation {
    /// Around the name of the tool; the second may be missing where there are no arguments.
    name: [&'static str; 2],
    /// Around the name of an argument.
    key: [&'static str; 2],
    /// Before a value that is a text, and before any other.
    value: [&'static str; 2],
    /// Behind a value.
    value_end: &'static str,
    /// Behind the arguments.
    end: &'static str,
    /// Behind each part; a reader takes any white space there, and a value has a line of its own.
    line: &'static str,
}

pub(super) const TAGGED: Notation = Notation {
    name: ["<function=", ">"],
    key: ["<parameter=", ">"],
    value: ["", ""],
    value_end: "</parameter>",
    end: "</function>",
    line: "\n",
};
pub(super) const PAIRED: Notation = Notation {
    name: ["", ""],
    key: ["<arg_key>", "</arg_key>"],
    value: ["<arg_value>", "<arg_value>"],
    value_end: "</arg_value>",
    end: "",
    line: "",
};
pub(super) const DSML: Notation = Notation {
    name: ["<｜DSML｜invoke name=\"", "\">"],
    key: ["<｜DSML｜parameter name=\"", "\""],
    value: [" string=\"true\">", " string=\"false\">"],
    value_end: "</｜DSML｜parameter>",
    end: "</｜DSML｜invoke>",
    line: "",
};

impl Notation {
    /// Whether a text ends as a whole call does: a value may hold what closes calls.
    pub(super) fn is_whole(self, body: &str) -> bool {
        let end = if self.end.is_empty() { self.value_end } else { self.end };
        let body = body.trim_end();
        body.ends_with(end) || self.end.is_empty() && !body.contains(self.key[0])
    }

    /// The calls of a text; `None` for anything else, and for tools that nobody offered.
    pub(super) fn calls(self, body: &str, offer: &Offer) -> Option<Vec<ToolCall>> {
        let mut rest = body.trim();
        let mut calls = Vec::new();
        while !rest.is_empty() {
            calls.push(self.call(&mut rest, offer)?);
            rest = rest.trim_start();
        }
        (!calls.is_empty()).then_some(calls)
    }

    fn call(self, rest: &mut &str, offer: &Offer) -> Option<ToolCall> {
        pass(rest, self.name[0])?;
        let name = match self.name[1] {
            // Up to the first argument.
            "" => {
                let end = rest.find(self.key[0]).unwrap_or(rest.len());
                let (name, behind) = rest.split_at(end);
                *rest = behind;
                name
            }
            end => until(rest, end)?,
        };
        let name = name.trim();
        let mut arguments = Map::new();
        loop {
            *rest = rest.trim_start();
            if !rest.starts_with(self.key[0]) {
                break;
            }
            pass(rest, self.key[0])?;
            let key = until(rest, self.key[1])?.trim();
            let [text, other] = self.value;
            // Where both begin alike the schema says which it is.
            let says = text != other;
            *rest = if says { rest } else { rest.trim_start() };
            let is_other = says && rest.starts_with(other);
            pass(rest, if is_other { other } else { text })?;
            let mut value = until(rest, self.value_end)?;
            if !self.line.is_empty() {
                value = value.strip_prefix('\n').unwrap_or(value);
                value = value.strip_suffix('\n').unwrap_or(value);
            }
            let value = match says {
                true if is_other => serde_json::from_str(value.trim()).ok()?,
                true => Value::String(value.to_owned()),
                false => typed(value, offer.schema(name, key)),
            };
            arguments.insert(key.to_owned(), value);
        }
        pass(rest, self.end)?;
        named(name, Some(Value::Object(arguments)), &offer.names)
    }

    /// A rule `body_N` of the call of a tool, and those that it needs. Arguments come in the order of the schema; `mark`
    /// writes a mark.
    ///
    /// # Errors
    /// [`Failure::BadInput`] for a schema that is not taken.
    pub(super) fn rules(
        self,
        place: usize,
        tool: &Tool,
        mark: &dyn Fn(&str) -> String,
    ) -> Result<String, Failure> {
        let refused = |why: String| {
            let name = &tool.name;
            Failure::BadInput(format!("the parameters of the tool {name}: {why}"))
        };
        let schema = grammar::object(tool.parameters.as_ref());
        let schema = schema.map_err(|why| refused(why.to_string()))?;
        let none = Map::new();
        let properties = schema["properties"].as_object().unwrap_or(&none);
        let required = schema["required"].as_array().map(Vec::as_slice).unwrap_or_default();
        if let Some(name) = required.iter().filter_map(Value::as_str).find(|name| !properties.contains_key(*name)) {
            return Err(refused(format!("{name:?} is required and has no schema")));
        }
        let line = |text: &str| literal(&format!("{text}{}", self.line));
        let mut parts = vec![literal(self.name[0]), literal(&tool.name)];
        if !self.name[1].is_empty() {
            parts.push(line(self.name[1]));
        }
        let mut rules = Vec::new();
        for (number, (key, value)) in properties.iter().enumerate() {
            let rule = format!("argument_{place}_{number}");
            let has_line = !self.line.is_empty();
            let optional = if required.contains(&Value::from(key.as_str())) { "" } else { "?" };
            parts.push(format!("{rule}{optional}"));
            let begins = [mark(self.key[0]), literal(key), mark(self.key[1])].join(" ");
            let is_text = is_text(value);
            let opening = self.value[usize::from(!is_text)];
            let mut opening = if opening.is_empty() { String::new() } else { mark(opening) };
            if has_line {
                opening += &literal(self.line);
            }
            let closing = mark(self.value_end);
            let constants = value["enum"].as_array().cloned();
            let constants = constants.or_else(|| value.get("const").map(|one| vec![one.clone()]));
            let (value, closing) = match constants.filter(|_| is_text) {
                Some(words) => {
                    let words = words.iter().filter_map(Value::as_str).map(literal);
                    let words = words.collect::<Vec<_>>().join(" | ");
                    (format!("({words})"), if has_line { line_end(self) } else { closing })
                }
                None if is_text => {
                    let end = format!("{}{}", if has_line { "\n" } else { "" }, self.value_end);
                    let is_token = closing.starts_with('<');
                    let ends = if is_token { String::new() } else { format!("[suffix={}]", literal(&end)) };
                    rules.push(format!("{rule}_text{ends}: /(?s:.*)/"));
                    (format!("{rule}_text"), if is_token { closing } else { literal(self.line) })
                }
                None => {
                    let schema = with_definitions(value, &schema);
                    rules.push(format!("{rule}_json: {}", grammar::rule(&schema)));
                    (format!("{rule}_json"), if has_line { line_end(self) } else { closing })
                }
            };
            rules.push(format!("{rule}: {begins} {opening} {value} {closing}"));
        }
        if !self.end.is_empty() {
            parts.push(literal(self.end));
        }
        Ok(format!("body_{place}: {}\n{}", parts.join(" "), rules.join("\n")))
    }
}

fn line_end(notation: Notation) -> String {
    literal(&format!("{0}{1}{0}", notation.line, notation.value_end))
}

/// A part of a schema with the definitions that it may refer to.
fn with_definitions(part: &Value, schema: &Value) -> Value {
    let mut part = part.clone();
    if let Some(keywords) = part.as_object_mut() {
        for name in ["$defs", "definitions"] {
            if let Some(definitions) = schema.get(name) {
                keywords.entry(name).or_insert_with(|| definitions.clone());
            }
        }
    }
    part
}

fn pass(rest: &mut &str, text: &str) -> Option<()> {
    *rest = rest.strip_prefix(text)?;
    Some(())
}

fn until<'a>(rest: &mut &'a str, end: &str) -> Option<&'a str> {
    let (before, behind) = rest.split_once(end)?;
    *rest = behind;
    Some(before)
}
