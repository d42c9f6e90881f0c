//! How the families of models write what is no plain text: thinking, and calls of tools.
//!
//! The chat template of a checkpoint says which family it is; one that knows nothing of tools is told about them in
//! words ([`taught`]).

mod call;
mod json_end;
mod python;
mod splitter;
pub(super) mod taught;

use serde_json::Value;
use tasks::{Failure, Tool, ToolChoice};

pub(super) use splitter::Splitter;

use super::grammar::{self, Mark, literal};

/// What stands around the thinking of Qwen 3, QwQ, DeepSeek R1 and their kin.
pub(super) const THOUGHT_BEGINS: &str = "<think>";
/// See [`THOUGHT_BEGINS`].
pub(super) const THOUGHT_ENDS: &str = "</think>";

/// Tools that one request may offer.
const TOOLS_MAX: usize = 128;
/// Calls in one answer that has to have some.
const CALLS_MAX: usize = 8;

/// How a family writes its calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// `<tool_call>{"name", "arguments"}</tool_call>`: Hermes 2 Pro, Qwen 2.5 and 3, and whoever is told to.
    Hermes,
    /// `{"name", "parameters"}`, alone or behind `<|python_tag|>`: Llama 3.1 and later.
    Llama,
    /// `[TOOL_CALLS][{"name", "arguments"}]`: Mistral 7B v0.3 and later.
    Mistral,
    /// `[TOOL_CALLS]name[ARGS]{}`: Mistral since 2025.
    MistralNamed,
    /// The same object in a block of code: Gemma.
    Gemma,
}

impl Dialect {
    /// Of a chat template.
    pub(super) fn of(template: &str) -> Self {
        let has = |text: &str| template.contains(text);
        if has("[TOOL_CALLS]") && has("[ARGS]") {
            Self::MistralNamed
        } else if has("[TOOL_CALLS]") {
            Self::Mistral
        } else if has("<tool_call>") {
            Self::Hermes
        } else if has("<|python_tag|>") || has("<|start_header_id|>") && has("\"parameters\"") {
            Self::Llama
        } else if has("<start_of_turn>") {
            Self::Gemma
        } else {
            Self::Hermes
        }
    }

    /// What a call begins with.
    fn openings(self) -> &'static [&'static str] {
        match self {
            Self::Hermes => &["<tool_call>"],
            Self::Llama => &["<|python_tag|>"],
            Self::Mistral | Self::MistralNamed => &["[TOOL_CALLS]"],
            Self::Gemma => &["```tool_code", "```tool_call", "```json"],
        }
    }

    /// What ends it.
    fn closing(self) -> &'static str {
        match self {
            Self::Hermes => "</tool_call>",
            Self::Llama | Self::Mistral | Self::MistralNamed => "",
            Self::Gemma => "```",
        }
    }

    /// Whether an answer that is a JSON object is a call.
    fn calls_bare(self) -> bool {
        matches!(self, Self::Llama | Self::Gemma)
    }

    /// The key of the arguments.
    fn arguments(self) -> &'static str {
        if self == Self::Llama {
            "parameters"
        } else {
            "arguments"
        }
    }

    /// Special tokens that have to be seen.
    pub(super) fn special(self) -> &'static [&'static str] {
        match self {
            Self::Hermes => &["<tool_call>", "</tool_call>"],
            Self::Llama => &["<|python_tag|>"],
            Self::Mistral | Self::MistralNamed => &["[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"],
            Self::Gemma => &[],
        }
    }

    /// Where the arguments of a call that was not asked for begin to be held to their schemas.
    pub(super) fn marks(self) -> Vec<Mark> {
        let text = match self {
            Self::Hermes => "<tool_call>",
            Self::Llama => "<|python_tag|>",
            Self::Mistral | Self::MistralNamed => "[TOOL_CALLS]",
            Self::Gemma => "```tool_code",
        };
        let mut marks = vec![Mark {
            text,
            is_call: false,
        }];
        if self.calls_bare() {
            marks.push(Mark {
                text: "{\"name\"",
                is_call: true,
            });
        }
        marks
    }
}

/// What the grammar of an answer is made of.
pub(super) struct Calls<'a> {
    pub(super) dialect: Dialect,
    pub(super) tools: &'a [Tool],
    pub(super) choice: &'a ToolChoice,
    /// No more than one.
    pub(super) one_call: bool,
    /// The token of a special token's text, where the vocabulary has it.
    pub(super) special: &'a dyn Fn(&str) -> Option<u32>,
}

impl Calls<'_> {
    /// Whether a tool has to be called.
    pub(super) fn are_required(&self) -> bool {
        matches!(self.choice, ToolChoice::Required | ToolChoice::Named(_))
    }

    /// Rules `calls`: a whole answer of calls, its opening marks with it.
    ///
    /// # Errors
    /// [`Failure::BadInput`] for tools that cannot be called so.
    pub(super) fn whole(&self) -> Result<String, Failure> {
        let most = match self.choice {
            ToolChoice::Named(_) => 1,
            _ if self.one_call => 1,
            _ => CALLS_MAX,
        };
        let more = most - 1;
        let rest = |between: &str| match more {
            0 => String::new(),
            _ => format!(" ({between} call){{0,{more}}}"),
        };
        let calls = match self.dialect {
            Dialect::Hermes | Dialect::Gemma => format!("calls: call{}", rest("\"\\n\"")),
            Dialect::Llama => format!("calls: call{}", rest("\"; \"")),
            Dialect::Mistral => {
                let mark = self.mark("[TOOL_CALLS]");
                format!("calls: {mark} \" [\" call{} \"]\"", rest("\", \""))
            }
            Dialect::MistralNamed => format!("calls: call{}", rest("")),
        };
        let bodies = self.bodies("", " ")?;
        let call = match self.dialect {
            Dialect::Hermes => "call: \"<tool_call>\\n\" body \"\\n</tool_call>\"".into(),
            Dialect::Gemma => "call: \"```tool_code\\n\" body \"\\n```\"".into(),
            Dialect::Llama | Dialect::Mistral => "call: body".into(),
            Dialect::MistralNamed => format!("call: {} body", self.mark("[TOOL_CALLS]")),
        };
        Ok(format!("{calls}\n{call}\n{bodies}"))
    }

    /// Rules `calls`: what follows the mark of a call that was not asked for.
    ///
    /// # Errors
    /// As [`Calls::whole`].
    pub(super) fn begun(&self) -> Result<String, Failure> {
        let bodies = self.bodies("GAP?", "GAP?")?;
        let calls = match self.dialect {
            Dialect::Hermes => "calls: GAP? body GAP? \"</tool_call>\"",
            Dialect::Gemma => "calls: GAP? body GAP? \"```\"",
            Dialect::Llama => "calls: GAP? body",
            Dialect::MistralNamed => "calls: body",
            Dialect::Mistral if self.one_call => "calls: GAP? \"[\" body \"]\"",
            Dialect::Mistral => "calls: GAP? \"[\" body (\",\" GAP? body)* \"]\"",
        };
        Ok(format!("{calls}\n{bodies}"))
    }

    /// Rules `body`, and one for the arguments of each tool. `inner` stands inside braces and before signs, `outer`
    /// behind signs: a rule, or white space as it is.
    fn bodies(&self, inner: &str, outer: &str) -> Result<String, Failure> {
        let tools: Vec<&Tool> = match self.choice {
            ToolChoice::Named(name) => self.tools.iter().filter(|t| t.name == *name).collect(),
            _ => self.tools.iter().collect(),
        };
        if tools.is_empty() {
            let text = match self.choice {
                ToolChoice::Named(name) => format!("no tool is named {name}"),
                _ => "no tool is given to call".to_owned(),
            };
            return Err(Failure::BadInput(text));
        }
        if tools.len() > TOOLS_MAX {
            let many = tools.len();
            let text = format!("{many} tools: at most {TOOLS_MAX} are taken");
            return Err(Failure::BadInput(text));
        }
        let mut rules = Vec::new();
        let mut bodies = Vec::new();
        for (place, tool) in tools.into_iter().enumerate() {
            let schema = grammar::object(tool.parameters.as_ref()).map_err(|refused| {
                let name = &tool.name;
                Failure::BadInput(format!("the parameters of the tool {name}: {refused}"))
            })?;
            rules.push(format!("arguments_{place}: {}", grammar::rule(&schema)));
            let name = Value::from(tool.name.as_str()).to_string();
            let key = self.dialect.arguments();
            bodies.push(match self.dialect {
                Dialect::MistralNamed => format!(
                    "{} {} arguments_{place}",
                    literal(&tool.name),
                    self.mark("[ARGS]")
                ),
                _ if inner.is_empty() => {
                    let begin = format!("{{\"name\":{outer}{name},{outer}\"{key}\":{outer}");
                    format!("{} arguments_{place} \"}}\"", literal(&begin))
                }
                _ => {
                    let (name, key) = (literal(&name), literal(&format!("\"{key}\"")));
                    let word = literal("\"name\"");
                    format!(
                        "\"{{\" {inner} {word} {inner} \":\" {outer} {name} {inner} \",\" {outer} {key} {inner} \":\" \
                         {outer} arguments_{place} {inner} \"}}\""
                    )
                }
            });
        }
        Ok(format!(
            "body: {}\n{}",
            bodies.join(" | "),
            rules.join("\n")
        ))
    }

    /// A mark in a grammar: its special token, or its letters.
    fn mark(&self, text: &str) -> String {
        match (self.special)(text) {
            Some(token) => format!("<[{token}]>"),
            None => literal(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_tell_their_family() {
        for (template, dialect) in [
            ("{% if tools %}<tool_call>{% endif %}", Dialect::Hermes),
            ("<|start_header_id|>ipython<|python_tag|>", Dialect::Llama),
            ("[AVAILABLE_TOOLS] [TOOL_CALLS] [", Dialect::Mistral),
            ("[TOOL_CALLS]name[ARGS]", Dialect::MistralNamed),
            ("<start_of_turn>user", Dialect::Gemma),
            ("<|im_start|>user", Dialect::Hermes),
        ] {
            assert_eq!(Dialect::of(template), dialect, "{template}");
        }
    }
}
