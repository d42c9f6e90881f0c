//! How the families of models write what is no plain text: thinking, and calls of tools.
//!
//! The chat template of a checkpoint says which family it is; one that knows nothing of tools is told about them in
//! words ([`taught`]).

mod call;
mod calls;
mod gemma4;
pub(super) mod harmony;
mod json_end;
mod keyed;
mod kimi;
mod offer;
mod out;
mod python;
mod splitter;
pub(super) mod taught;

pub(super) use calls::Calls;
pub(super) use offer::Offer;
pub(super) use splitter::Splitter;

use super::grammar::Mark;
use keyed::Notation;

/// What stands around the thinking of Qwen 3, QwQ, DeepSeek R1 and their kin.
pub(super) const THOUGHT_BEGINS: &str = "<think>";
/// See [`THOUGHT_BEGINS`].
pub(super) const THOUGHT_ENDS: &str = "</think>";

/// A call of [`Dialect::Tagged`], which is one without more around it.
const FUNCTION: &str = "<function=";
/// See [`FUNCTION`].
const FUNCTION_ENDS: &str = "</function>";

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
    /// `<tool_call><function=NAME><parameter=KEY>VALUE</parameter></function></tool_call>`: Qwen3-Coder, Qwen 3.5 and
    /// later, Nemotron 3.
    Tagged,
    /// `<tool_call>NAME<arg_key>KEY</arg_key><arg_value>VALUE</arg_value></tool_call>`: GLM 4.5 and later.
    Paired,
    /// `<｜DSML｜invoke name="NAME">` and its like: DeepSeek V3.2 and later.
    Dsml,
    /// `<|tool_call_begin|>functions.NAME:0<|tool_call_argument_begin|>{}`: Kimi K2 and later.
    Kimi,
    /// `<|tool_call>call:NAME{}<tool_call|>`, in a notation of its own: Gemma 4.
    Gemma4,
    /// Messages in channels: gpt-oss. See [`harmony`], which does all that the others share.
    Harmony,
}

impl Dialect {
    /// Of a chat template.
    pub(super) fn of(template: &str) -> Self {
        let has = |text: &str| template.contains(text);
        if has("<|channel|>") && has("<|message|>") {
            Self::Harmony
        } else if has("[TOOL_CALLS]") && has("[ARGS]") {
            Self::MistralNamed
        } else if has("[TOOL_CALLS]") {
            Self::Mistral
        } else if has("<function=") && has("<parameter=") {
            Self::Tagged
        } else if has("<arg_key>") {
            Self::Paired
        } else if has("｜DSML｜") {
            Self::Dsml
        } else if has(kimi::BEGIN) {
            Self::Kimi
        } else if has("<|tool_call>") {
            Self::Gemma4
        } else if has("<tool_call>") {
            Self::Hermes
        } else if has("<|python_tag|>")
            || has("<|python_start|>")
            || has("<|start_header_id|>") && has("\"parameters\"")
        {
            Self::Llama
        } else if has("<start_of_turn>") {
            Self::Gemma
        } else {
            Self::Hermes
        }
    }

    /// What a call begins with, and what ends it.
    fn frames(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Hermes | Self::Paired => &[("<tool_call>", "</tool_call>")],
            // The smaller ones forget the first mark now and then.
            Self::Tagged => &[("<tool_call>", "</tool_call>"), (FUNCTION, FUNCTION_ENDS)],
            Self::Llama => &[
                ("<|python_tag|>", ""),
                ("<|python_start|>", "<|python_end|>"),
            ],
            Self::Mistral | Self::MistralNamed => &[("[TOOL_CALLS]", "")],
            Self::Gemma => &[
                ("```tool_code", "```"),
                ("```tool_call", "```"),
                ("```json", "```"),
            ],
            Self::Dsml => &[
                ("<｜DSML｜tool_calls>", "</｜DSML｜tool_calls>"),
                ("<｜DSML｜function_calls>", "</｜DSML｜function_calls>"),
            ],
            Self::Kimi => &[("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>")],
            Self::Gemma4 => &[("<|tool_call>", "<tool_call|>")],
            Self::Harmony => &[],
        }
    }

    /// What a call begins with.
    fn openings(self) -> impl Iterator<Item = &'static str> {
        self.frames().iter().map(|(opening, _)| *opening)
    }

    /// What ends a call that began so; what ends one that began without a mark.
    fn closing(self, opening: &str) -> &'static str {
        let frames = self.frames();
        let frame = frames.iter().find(|(begins, _)| *begins == opening);
        frame.or(frames.first()).map_or("", |(_, closing)| *closing)
    }

    /// The usual frame of calls.
    #[cfg(test)]
    pub(super) fn frame(self) -> (&'static str, &'static str) {
        self.frames().first().copied().unwrap_or_default()
    }

    /// The notation of families whose arguments stand one by one.
    fn notation(self) -> Option<Notation> {
        match self {
            Self::Tagged => Some(keyed::TAGGED),
            Self::Paired => Some(keyed::PAIRED),
            Self::Dsml => Some(keyed::DSML),
            _ => None,
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
            Self::Hermes | Self::Tagged => &["<tool_call>", "</tool_call>"],
            Self::Llama => &["<|python_tag|>", "<|python_start|>", "<|python_end|>"],
            Self::Mistral | Self::MistralNamed => &["[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"],
            Self::Gemma | Self::Harmony => &[],
            Self::Paired => &[
                "<tool_call>",
                "</tool_call>",
                "<arg_key>",
                "</arg_key>",
                "<arg_value>",
                "</arg_value>",
            ],
            Self::Dsml => &["｜DSML｜"],
            Self::Kimi => &[
                "<|tool_calls_section_begin|>",
                "<|tool_calls_section_end|>",
                kimi::BEGIN,
                kimi::ARGUMENTS,
                kimi::END,
            ],
            Self::Gemma4 => &["<|tool_call>", "<tool_call|>", gemma4::QUOTE],
        }
    }

    /// Where the arguments of a call that was not asked for begin to be held to their schemas.
    pub(super) fn marks(self) -> Vec<Mark> {
        // A block of JSON may be an answer.
        let openings = self.openings().filter(|text| *text != "```json");
        let mut marks: Vec<_> = openings
            .map(|text| Mark {
                text,
                is_call: text == FUNCTION,
            })
            .collect();
        if self.calls_bare() {
            marks.push(Mark {
                text: "{\"name\"",
                is_call: true,
            });
        }
        marks
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
            ("<|channel|>analysis<|message|>", Dialect::Harmony),
            (
                "<tool_call>\n<function=example>\n<parameter=one>",
                Dialect::Tagged,
            ),
            ("<tool_call>{name}<arg_key>{key}</arg_key>", Dialect::Paired),
            ("{%- set dsml_token = '｜DSML｜' -%}", Dialect::Dsml),
            ("<|tool_call_begin|>{{ id }}", Dialect::Kimi),
            ("'<|tool_call>call:' + name", Dialect::Gemma4),
            (
                "<|header_start|>assistant<|header_end|>{{ '<|python_start|>' }}",
                Dialect::Llama,
            ),
            ("<|im_start|>user", Dialect::Hermes),
        ] {
            assert_eq!(Dialect::of(template), dialect, "{template}");
        }
    }
}
