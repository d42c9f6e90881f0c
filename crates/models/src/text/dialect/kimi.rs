//! Calls of Kimi K2 and its successors: a section of calls, each with the number that the template gives it.
//!
//! `<|tool_call_begin|>functions.NAME:0<|tool_call_argument_begin|>{}<|tool_call_end|>`, after the chat template of
//! moonshotai/Kimi-K2-Thinking.

use serde_json::Value;
use tasks::ToolCall;

use super::call::named;

pub(super) const BEGIN: &str = "<|tool_call_begin|>";
pub(super) const ARGUMENTS: &str = "<|tool_call_argument_begin|>";
pub(super) const END: &str = "<|tool_call_end|>";

/// The calls of a section; `None` for anything else, and for tools that nobody offered.
pub(super) fn calls(section: &str, names: &[String]) -> Option<Vec<ToolCall>> {
    let mut rest = section.trim();
    let mut calls = Vec::new();
    while !rest.is_empty() {
        let (call, behind) = rest.strip_prefix(BEGIN)?.split_once(END)?;
        rest = behind.trim_start();
        let (name, arguments) = call.split_once(ARGUMENTS)?;
        let name = name.trim();
        let name = name.strip_prefix("functions.").unwrap_or(name);
        let name = name.rsplit_once(':').map_or(name, |(name, _)| name);
        let arguments: Value = serde_json::from_str(arguments).ok()?;
        calls.push(named(name, Some(arguments), names)?);
    }
    (!calls.is_empty()).then_some(calls)
}
