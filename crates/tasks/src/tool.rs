//! Tools that a model may call, and its calls.

use crate::Json;

/// A function that the model may ask its caller to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tool {
    /// The name to call it by.
    pub name: String,
    /// What it does.
    pub description: Option<String>,
    /// A JSON Schema of its arguments, an object.
    pub parameters: Option<Json>,
}

/// Whether tools have to be called.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ToolChoice {
    /// The model decides.
    #[default]
    Auto,
    /// No tool is called.
    None,
    /// Some tool is called.
    Required,
    /// This tool is called.
    Named(String),
}

/// A call of a tool: by the model in an answer, or in a turn of the past.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCall {
    /// What the result will be filed under, where the caller gave one.
    pub id: Option<String>,
    /// The tool.
    pub name: String,
    /// Its arguments, an object.
    pub arguments: Json,
}
