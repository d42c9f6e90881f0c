//! Calls of Gemma 4: `call:NAME{key:value,...}`, in a notation of its own.
//!
//! Texts stand between `<|"|>`, keys bare, and the rest is as in JSON; after the chat template of google/gemma-4-31B-it.

use serde_json::{Map, Number, Value};
use tasks::{Failure, Tool, ToolCall};

use super::call::named;
use super::offer::is_text;
use crate::text::grammar::{self, literal};

/// What texts stand between.
pub(super) const QUOTE: &str = "<|\"|>";
/// What a call begins with.
const CALL: &str = "call:";
/// How deep lists and maps may go.
const DEPTH_MAX: usize = 32;

/// The call of such a text; `None` for anything else, and for tools that nobody offered.
pub(super) fn calls(text: &str, names: &[String]) -> Option<Vec<ToolCall>> {
    let text = text.trim().strip_prefix(CALL)?;
    let begin = text.find('{')?;
    let (name, rest) = text.split_at(begin);
    let mut reader = Reader { rest };
    let arguments = reader.value(0)?;
    let is_whole = reader.rest.trim().is_empty();
    let call = named(name.trim(), Some(arguments).filter(|_| is_whole), names)?;
    is_whole.then(|| vec![call])
}

/// A rule `body_N` of the call of a tool. Arguments come in the order of the schema, those that have to be there first;
/// `quote` is the mark of texts. Lists and maps are held to the notation only.
///
/// # Errors
/// [`Failure::BadInput`] for a schema that is not taken.
pub(super) fn rules(place: usize, tool: &Tool, quote: &str) -> Result<String, Failure> {
    let schema = grammar::object(tool.parameters.as_ref()).map_err(|why| {
        let name = &tool.name;
        Failure::BadInput(format!("the parameters of the tool {name}: {why}"))
    })?;
    let none = Map::new();
    let properties = schema["properties"].as_object().unwrap_or(&none);
    let required = schema["required"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let unknown = required.iter().filter_map(Value::as_str);
    if let Some(name) = { unknown }.find(|name| !properties.contains_key(*name)) {
        return Err(Failure::BadInput(format!(
            "the parameters of the tool {}: {name:?} is required and has no schema",
            tool.name
        )));
    }
    let mut rules = Vec::new();
    let (mut first, mut later) = (Vec::new(), Vec::new());
    for (number, (key, value)) in properties.iter().enumerate() {
        let rule = format!("argument_{place}_{number}");
        let words = value["enum"].as_array().map(Vec::as_slice);
        let words = words.unwrap_or_default().iter().chain(value.get("const"));
        let words: Vec<_> = words.filter_map(Value::as_str).map(literal).collect();
        let written = match &value["type"] {
            _ if is_text(value) && !words.is_empty() => {
                format!("{quote} ({}) {quote}", words.join(" | "))
            }
            _ if is_text(value) => "notation_text".into(),
            Value::String(kind) if matches!(kind.as_str(), "integer" | "number" | "boolean") => {
                rules.push(format!("{rule}_json: {}", grammar::rule(value)));
                format!("{rule}_json")
            }
            _ => "notation_value".into(),
        };
        rules.push(format!("{rule}: {} {written}", literal(&format!("{key}:"))));
        if required.contains(&Value::from(key.as_str())) {
            first.push(rule);
        } else {
            later.push(rule);
        }
    }
    let more = |rules: &[String]| {
        let rules = rules.iter().map(|rule| format!(" (\",\" {rule})?"));
        rules.collect::<Vec<_>>().concat()
    };
    let arguments = if first.is_empty() {
        let begins = (0..later.len()).map(|from| later[from].clone() + &more(&later[from + 1..]));
        let begins: Vec<_> = begins.collect();
        let begins = begins.join(" | ");
        if begins.is_empty() {
            begins
        } else {
            format!("({begins})?")
        }
    } else {
        first.join(" \",\" ") + &more(&later)
    };
    let begin = literal(&format!("{CALL}{}{{", tool.name));
    let body = format!("body_{place}: {begin} {arguments} \"}}\"");
    rules.insert(0, body);
    Ok(rules.join("\n"))
}

/// The rules that those of [`rules`] share.
pub(super) fn shared(quote: &str) -> String {
    let text = if quote.starts_with('<') {
        format!("notation_text: {quote} notation_letters {quote}\nnotation_letters: /(.|\\n)*/")
    } else {
        format!(
            "notation_text: {quote} notation_letters\nnotation_letters[suffix={quote}]: /(.|\\n)*/"
        )
    };
    format!(
        "{text}\n\
         notation_value: notation_text | /-?(0|[1-9][0-9]{{0,17}})(\\.[0-9]{{1,18}})?/ | \"true\" | \"false\" | \"null\" | notation_list \
         | notation_map\n\
         notation_list: \"[\" (notation_value (\",\" notation_value)*)? \"]\"\n\
         notation_map: \"{{\" (notation_member (\",\" notation_member)*)? \"}}\"\n\
         notation_member: /[A-Za-z0-9_ -]{{1,64}}/ \":\" notation_value"
    )
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn sign(&mut self, sign: &str) -> bool {
        match self.rest.trim_start().strip_prefix(sign) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn until(&mut self, end: &str) -> Option<&'a str> {
        let (before, behind) = self.rest.split_once(end)?;
        self.rest = behind;
        Some(before)
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth > DEPTH_MAX {
            return None;
        }
        if self.sign(QUOTE) {
            return self.until(QUOTE).map(Value::from);
        }
        if self.sign("{") {
            let mut members = Map::new();
            while !self.sign("}") {
                let key = if self.sign(QUOTE) {
                    let key = self.until(QUOTE)?;
                    self.sign(":").then_some(key)?
                } else {
                    self.until(":")?.trim()
                };
                members.insert(key.to_owned(), self.value(depth + 1)?);
                if !self.sign(",") && !self.rest.trim_start().starts_with('}') {
                    return None;
                }
            }
            return Some(Value::Object(members));
        }
        if self.sign("[") {
            let mut items = Vec::new();
            while !self.sign("]") {
                items.push(self.value(depth + 1)?);
                if !self.sign(",") && !self.rest.trim_start().starts_with(']') {
                    return None;
                }
            }
            return Some(Value::Array(items));
        }
        let text = self.rest.trim_start();
        let end = text.find([',', '}', ']']).unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        self.rest = rest;
        match word.trim() {
            "true" => Some(Value::Bool(true)),
            "false" => Some(Value::Bool(false)),
            "null" | "None" => Some(Value::Null),
            number => number.parse::<Number>().ok().map(Value::Number),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_notation_is_read() {
        let names = ["f".to_owned()];
        let read = |text: &str| {
            let calls = calls(text, &names)?;
            Some(calls[0].arguments.0.clone())
        };
        for (text, wanted) in [
            ("call:f{}", "{}"),
            (
                "call:f{a:<|\"|>x, {y}: \"z\"<|\"|>,b:[1,-2.5,true],c:{d:null,<|\"|>e e<|\"|>:<|\"|><|\"|>}}",
                r#"{"a":"x, {y}: \"z\"","b":[1,-2.5,true],"c":{"d":null,"e e":""}}"#,
            ),
        ] {
            assert_eq!(read(text).as_deref(), Some(wanted));
        }
        let deep = format!("call:f{{a:{}", "[".repeat(100_000));
        for text in [
            "",
            "call:g{}",
            "f{}",
            "call:f{a:x}",
            "call:f{a:1",
            "call:f{} x",
            &deep,
        ] {
            assert_eq!(read(text), None);
        }
    }
}
