//! Which tool is called, and with what.

use std::collections::BTreeSet;

use tasks::{ChatOptions, Failure, Json, Message, Tool, ToolCall, ToolChoice};

use super::json;

/// Letters that a word must have to link a tool to a question.
const WORD_MIN_CHARS: usize = 3;

/// Words that link nothing.
const COMMON: &[&str] = &[
    "and", "are", "can", "for", "from", "get", "has", "have", "how", "its", "not", "that", "the",
    "this", "use", "what", "when", "which", "who", "will", "with", "you", "your",
];

/// Whether a turn is what a tool said.
pub(super) fn is_result(turn: &Message) -> bool {
    turn.role == "tool" || turn.role == "function"
}

/// The call that answers a question: of the tool that has to be called, or of the first whose name
/// or description shares a word with the question. A turn of a tool is answered in text, unless a
/// call is required.
pub(super) fn call(
    options: &ChatOptions,
    asked: &str,
    last: Option<&Message>,
) -> Result<Option<ToolCall>, Failure> {
    let tools = &options.tools;
    let likeliest = || tools.iter().find(|tool| is_about(tool, asked));
    let tool = match &options.tool_choice {
        ToolChoice::None => None,
        ToolChoice::Auto if last.is_some_and(is_result) => None,
        ToolChoice::Auto => likeliest(),
        ToolChoice::Required => match likeliest().or(tools.first()) {
            Some(tool) => Some(tool),
            None => return Err(Failure::BadInput("no tool is given to call".into())),
        },
        ToolChoice::Named(name) => match tools.iter().find(|tool| tool.name == *name) {
            Some(tool) => Some(tool),
            None => return Err(Failure::BadInput(format!("no tool is named {name}"))),
        },
    };
    let Some(tool) = tool else {
        return Ok(None);
    };
    let arguments = match &tool.parameters {
        None => "{}".to_owned(),
        Some(schema) => json::object(&schema.0).map_err(|unmet| {
            Failure::BadInput(format!("the parameters of the tool {}: {unmet}", tool.name))
        })?,
    };
    Ok(Some(ToolCall {
        id: None,
        name: tool.name.clone(),
        arguments: Json(arguments),
    }))
}

fn is_about(tool: &Tool, asked: &str) -> bool {
    let asked = words(asked);
    let description = tool.description.as_deref().unwrap_or_default();
    !asked.is_disjoint(&words(&tool.name)) || !asked.is_disjoint(&words(description))
}

/// The words of a text in lower case; `getWeather` and `get_weather` have two.
fn words(text: &str) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    let mut word = String::new();
    let mut was_lower = false;
    for letter in text.chars().chain([' ']) {
        let begins = letter.is_uppercase() && was_lower;
        if begins || !letter.is_alphanumeric() {
            let found = std::mem::take(&mut word);
            if found.chars().count() >= WORD_MIN_CHARS && !COMMON.contains(&found.as_str()) {
                words.insert(found);
            }
        }
        if letter.is_alphanumeric() {
            word.extend(letter.to_lowercase());
        }
        was_lower = letter.is_lowercase();
    }
    words
}
