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
    /// Behind each part; a reader takes any white space there.
    line: &'static str,
    /// Values stand on lines of their own.
    on_lines: bool,
}

pub(super) const TAGGED: Notation = Notation {
    name: ["<function=", ">"],
    key: ["<parameter=", ">"],
    value: ["", ""],
    value_end: "</parameter>",
    end: "</function>",
    line: "\n",
    on_lines: true,
};
pub(super) const PAIRED: Notation = Notation {
    name: ["", ""],
    key: ["<arg_key>", "</arg_key>"],
    value: ["<arg_value>", "<arg_value>"],
    value_end: "</arg_value>",
    end: "",
    line: "",
    on_lines: false,
};
pub(super) const DSML: Notation = Notation {
    name: ["<｜DSML｜invoke name=\"", "\">"],
    key: ["<｜DSML｜parameter name=\"", "\""],
    value: [" string=\"true\">", " string=\"false\">"],
    value_end: "</｜DSML｜parameter>",
    end: "</｜DSML｜invoke>",
    line: "\n",
    on_lines: false,
};

impl Notation {
    /// Whether a text ends as a whole call does: a value may hold what closes calls.
    pub(super) fn is_whole(self, body: &str) -> bool {
        let end = if self.end.is_empty() {
            self.value_end
        } else {
            self.end
        };
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
            // White space in front of a mark means nothing; without one it is the value's.
            if !says && !text.is_empty() {
                *rest = rest.trim_start();
            }
            let is_other = says && rest.starts_with(other);
            pass(rest, if is_other { other } else { text })?;
            let mut value = until(rest, self.value_end)?;
            if self.on_lines {
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
        let required = schema["required"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        if let Some(name) = required
            .iter()
            .filter_map(Value::as_str)
            .find(|name| !properties.contains_key(*name))
        {
            return Err(refused(format!("{name:?} is required and has no schema")));
        }
        let line = |text: &str| format!("{text}{}", self.line);
        let name = format!("{}{}{}", self.name[0], tool.name, line(self.name[1]));
        let mut parts = vec![literal(&name)];
        let mut rules = Vec::new();
        for (number, (key, value)) in properties.iter().enumerate() {
            let rule = format!("argument_{place}_{number}");
            let is_required = required.contains(&Value::from(key.as_str()));
            parts.push(format!("{rule}{}", if is_required { "" } else { "?" }));
            let is_text = is_text(value);
            let break_before = if self.on_lines { "\n" } else { "" };
            let begins = [
                mark(self.key[0]),
                literal(key),
                mark(self.key[1]),
                mark(self.value[usize::from(!is_text)]),
                literal(break_before),
            ];
            // An empty literal is none.
            let begins = begins.into_iter().filter(|part| part != "\"\"");
            let begins = begins.collect::<Vec<_>>().join(" ");
            let end = mark(self.value_end);
            let (end, behind) = if end.starts_with('<') {
                (None, end)
            } else {
                (
                    Some(format!("{break_before}{}", self.value_end)),
                    String::new(),
                )
            };
            let closing = end
                .as_ref()
                .map_or(behind.clone(), |end| literal(&line(end)));
            let words = value["enum"]
                .as_array()
                .map(Vec::as_slice)
                .unwrap_or_default();
            let words = words
                .iter()
                .chain(value.get("const"))
                .filter_map(Value::as_str);
            let words: Vec<_> = words.map(literal).collect();
            let rest = if !is_text {
                let schema = with_definitions(value, &schema);
                rules.push(format!("{rule}_value: {}", grammar::rule(&schema)));
                format!("{rule}_value {closing}")
            } else if !words.is_empty() {
                format!("({}) {closing}", words.join(" | "))
            } else if let Some(end) = end {
                // The text goes on to the first mark of its end, which is a part of it.
                let end = literal(&line(&end));
                rules.push(format!("{rule}_value[suffix={end}]: /(.|\\n)*/"));
                format!("{rule}_value")
            } else {
                rules.push(format!("{rule}_value: /(.|\\n)*/"));
                format!("{rule}_value {behind}")
            };
            rules.push(format!("{rule}: {begins} {rest}"));
        }
        if !self.end.is_empty() {
            parts.push(literal(self.end));
        }
        Ok(format!(
            "body_{place}: {}\n{}",
            parts.join(" "),
            rules.join("\n")
        ))
    }
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
