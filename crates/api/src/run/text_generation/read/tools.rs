//! Tools, and whether they have to be called.

use serde_json::Value;
use tasks::{Failure, Json, Tool, ToolChoice};

use crate::errors::Refusal;
use crate::run::fields::{given, list, unserved};

/// Tools in every spelling: `tools` with `{name, description, parameters}` bare or under
/// `function`, then `functions`. A function of the legacy classes has `code` in place of words; the
/// model reads that as its description.
///
/// # Errors
/// [`Failure::BadInput`] for a tool without a name, [`Failure::Unsupported`] for kinds of tools that
/// no engine here knows.
pub(super) fn tools(input: &Value) -> Result<Vec<Tool>, Refusal> {
    let mut tools = Vec::new();
    if let Some(given) = given(input, "tools") {
        for given in list(given, "tools")? {
            tools.push(tool(given)?);
        }
    }
    if let Some(functions) = given(input, "functions") {
        for function in list(functions, "functions")? {
            tools.push(self::function(function)?);
        }
    }
    Ok(tools)
}

fn tool(tool: &Value) -> Result<Tool, Refusal> {
    match tool["type"].as_str() {
        None | Some("function") => Ok(function(tool.get("function").unwrap_or(tool))?),
        // A bare tool may be a schema of its own kind; its name tells it from OpenAI's others.
        Some(_) if tool["name"].is_string() && tool["parameters"].is_object() => {
            Ok(function(tool)?)
        }
        Some("custom") => Err(unserved("tools[].custom").into()),
        Some(kind) => Err(unserved(&format!("tools[].type {kind:?}")).into()),
    }
}

fn function(function: &Value) -> Result<Tool, Failure> {
    let name = function["name"].as_str().filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| Failure::BadInput("a tool lacks its name".into()))?;
    let words = function["description"].as_str();
    Ok(Tool {
        name: name.into(),
        description: words.or_else(|| function["code"].as_str()).map(Into::into),
        parameters: match &function["parameters"] {
            parameters @ Value::Object(_) => Some(Json(parameters.to_string())),
            _ => None,
        },
    })
}

/// `tool_choice`, or `function_call` of older callers. Tools that are not among the allowed are
/// left out of `tools`.
///
/// # Errors
/// [`Failure::BadInput`] for a tool that is not among `tools`, and for words that are none.
pub(super) fn choice(input: &Value, tools: &mut Vec<Tool>) -> Result<ToolChoice, Refusal> {
    let wanted = given(input, "tool_choice").or_else(|| given(input, "function_call"));
    let Some(wanted) = wanted else {
        return Ok(ToolChoice::Auto);
    };
    if let Some(word) = wanted.as_str() {
        return mode(word);
    }
    match wanted["type"].as_str() {
        None | Some("function") => {
            let name = name(wanted).ok_or_else(|| unclear(wanted))?;
            check(name, tools)?;
            Ok(ToolChoice::Named(name.into()))
        }
        Some("allowed_tools") => {
            let allowed = wanted.get("allowed_tools").unwrap_or(wanted);
            let listed = list(&allowed["tools"], "allowed_tools.tools")?;
            let names: Vec<_> = listed.iter().filter_map(name).collect();
            for name in &names {
                check(name, tools)?;
            }
            tools.retain(|tool| names.contains(&tool.name.as_str()));
            mode(allowed["mode"].as_str().unwrap_or("auto"))
        }
        Some("custom") => Err(unserved("tool_choice.custom").into()),
        Some(_) => Err(unclear(wanted).into()),
    }
}

fn mode(word: &str) -> Result<ToolChoice, Refusal> {
    match word {
        "auto" => Ok(ToolChoice::Auto),
        "none" => Ok(ToolChoice::None),
        "required" => Ok(ToolChoice::Required),
        _ => Err(Failure::BadInput(format!("tool_choice is {word:?}")).into()),
    }
}

fn name(named: &Value) -> Option<&str> {
    named.get("function").unwrap_or(named)["name"].as_str()
}

fn check(name: &str, tools: &[Tool]) -> Result<(), Failure> {
    if tools.iter().any(|tool| tool.name == name) {
        return Ok(());
    }
    let text = format!("tool_choice names {name:?}, which is not among the tools");
    Err(Failure::BadInput(text))
}

fn unclear(choice: &Value) -> Failure {
    Failure::BadInput(format!("tool_choice is {choice}"))
}
