//! What the grammar of an answer says of calls.

use serde_json::Value;
use tasks::{Failure, Tool, ToolChoice};

use super::{Dialect, gemma4, kimi};
use crate::text::grammar::{self, literal};

/// Tools that one request may offer.
const TOOLS_MAX: usize = 128;
/// Calls in one answer that has to have some.
const CALLS_MAX: usize = 8;

/// What the grammar of an answer is made of.
pub(in crate::text) struct Calls<'a> {
    pub(in crate::text) dialect: Dialect,
    pub(in crate::text) tools: &'a [Tool],
    pub(in crate::text) choice: &'a ToolChoice,
    /// No more than one.
    pub(in crate::text) one_call: bool,
    /// The token of a special token's text, where the vocabulary has it.
    pub(in crate::text) special: &'a dyn Fn(&str) -> Option<u32>,
}

impl Calls<'_> {
    /// Whether a tool has to be called.
    pub(in crate::text) fn are_required(&self) -> bool {
        matches!(self.choice, ToolChoice::Required | ToolChoice::Named(_))
    }

    /// Rules `calls`: a whole answer of calls, its opening marks with it.
    ///
    /// # Errors
    /// [`Failure::BadInput`] for tools that cannot be called so.
    pub(in crate::text) fn whole(&self) -> Result<String, Failure> {
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
        let (open, close) = (self.opening(), self.closing());
        let calls = match self.dialect {
            Dialect::Hermes | Dialect::Gemma | Dialect::Tagged => {
                format!("calls: call{}", rest("\"\\n\""))
            }
            Dialect::Llama => format!("calls: call{}", rest("\"; \"")),
            Dialect::Mistral => format!("calls: {open} \" [\" call{} \"]\"", rest("\", \"")),
            Dialect::Dsml => {
                let line = "\"\\n\"";
                format!("calls: {open} {line} call{} {line} {close}", rest(line))
            }
            Dialect::Kimi => format!("calls: {open} call{} {close}", rest("")),
            Dialect::MistralNamed | Dialect::Paired | Dialect::Gemma4 | Dialect::Harmony => {
                format!("calls: call{}", rest(""))
            }
        };
        let bodies = self.bodies("", " ")?;
        let call = match self.dialect {
            Dialect::Hermes | Dialect::Tagged => {
                "call: \"<tool_call>\\n\" body \"\\n</tool_call>\"".into()
            }
            Dialect::Gemma => "call: \"```tool_code\\n\" body \"\\n```\"".into(),
            Dialect::MistralNamed => format!("call: {open} body"),
            Dialect::Paired | Dialect::Gemma4 => format!("call: {open} body {close}"),
            Dialect::Llama
            | Dialect::Mistral
            | Dialect::Dsml
            | Dialect::Kimi
            | Dialect::Harmony => "call: body".into(),
        };
        Ok(format!("{calls}\n{call}\n{bodies}"))
    }

    /// Rules `calls`: what follows the mark of a call that was not asked for.
    ///
    /// # Errors
    /// As [`Calls::whole`].
    pub(in crate::text) fn begun(&self) -> Result<String, Failure> {
        let bodies = self.bodies("GAP?", "GAP?")?;
        let close = self.closing();
        let calls = match self.dialect {
            Dialect::Hermes | Dialect::Gemma | Dialect::Tagged | Dialect::Paired => {
                format!("GAP? body GAP? {close}")
            }
            Dialect::Llama => "GAP? body".into(),
            Dialect::MistralNamed | Dialect::Harmony => "body".into(),
            Dialect::Mistral if self.one_call => "GAP? \"[\" body \"]\"".into(),
            Dialect::Mistral => "GAP? \"[\" body (\",\" GAP? body)* \"]\"".into(),
            Dialect::Gemma4 => format!("body {close}"),
            Dialect::Dsml | Dialect::Kimi if self.one_call => format!("GAP? body GAP? {close}"),
            Dialect::Dsml | Dialect::Kimi => format!("GAP? body (GAP? body)* GAP? {close}"),
        };
        Ok(format!("calls: {calls}\n{bodies}"))
    }

    /// What a call begins with, and what ends it, as rules.
    fn opening(&self) -> String {
        self.dialect
            .openings()
            .next()
            .map_or_else(String::new, |mark| self.mark(mark))
    }

    fn closing(&self) -> String {
        self.mark(self.dialect.closing(""))
    }

    /// The tools that the answer may call.
    ///
    /// # Errors
    /// [`Failure::BadInput`] where there is none, or too many.
    pub(super) fn chosen(&self) -> Result<Vec<&Tool>, Failure> {
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
        Ok(tools)
    }

    /// A rule `arguments_N` for the N-th of [`Calls::chosen`].
    pub(super) fn arguments(&self) -> Result<Vec<String>, Failure> {
        let tools = self.chosen()?.into_iter().enumerate();
        let rule = |(place, tool): (usize, &Tool)| {
            let schema = grammar::object(tool.parameters.as_ref()).map_err(|refused| {
                let name = &tool.name;
                Failure::BadInput(format!("the parameters of the tool {name}: {refused}"))
            })?;
            Ok(format!("arguments_{place}: {}", grammar::rule(&schema)))
        };
        tools.map(rule).collect()
    }

    /// Rules `body`, and one for the arguments of each tool. `inner` stands inside braces and before signs, `outer`
    /// behind signs: a rule, or white space as it is.
    fn bodies(&self, inner: &str, outer: &str) -> Result<String, Failure> {
        if let Some(notation) = self.dialect.notation() {
            let mark = |text: &str| self.mark(text);
            let tools = self.chosen()?.into_iter().enumerate();
            let rules = tools.map(|(place, tool)| notation.rules(place, tool, &mark));
            let rules = rules.collect::<Result<Vec<_>, _>>()?;
            return Ok(Self::either(&rules));
        }
        if self.dialect == Dialect::Gemma4 {
            let quote = self.mark(gemma4::QUOTE);
            let tools = self.chosen()?.into_iter().enumerate();
            let rules = tools.map(|(place, tool)| gemma4::rules(place, tool, &quote));
            let rules = rules.collect::<Result<Vec<_>, _>>()?;
            return Ok(format!(
                "{}\n{}",
                Self::either(&rules),
                gemma4::shared(&quote)
            ));
        }
        let rules = self.arguments()?;
        let mut bodies = Vec::new();
        for (place, tool) in self.chosen()?.into_iter().enumerate() {
            let name = Value::from(tool.name.as_str()).to_string();
            let key = self.dialect.arguments();
            bodies.push(match self.dialect {
                Dialect::Kimi => format!(
                    "{} {} /[0-9]{{1,4}}/ {} arguments_{place} {}",
                    self.mark(kimi::BEGIN),
                    literal(&format!("functions.{}:", tool.name)),
                    self.mark(kimi::ARGUMENTS),
                    self.mark(kimi::END)
                ),
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

    /// Rule `body`, which is one of `body_0` and its like.
    fn either(rules: &[String]) -> String {
        let bodies: Vec<_> = (0..rules.len())
            .map(|place| format!("body_{place}"))
            .collect();
        format!("body: {}\n{}", bodies.join(" | "), rules.join("\n"))
    }

    /// A mark in a grammar: its special token, or its letters.
    fn mark(&self, text: &str) -> String {
        match (self.special)(text) {
            Some(token) => format!("<[{token}]>"),
            None => literal(text),
        }
    }
}
