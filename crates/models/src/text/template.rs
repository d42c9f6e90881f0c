//! Chat templates: the Jinja program of a checkpoint that dresses the turns of a conversation.
//!
//! They are written for Jinja2 with `trim_blocks`, `lstrip_blocks` and `loopcontrols`, as
//! transformers renders them, and call methods of Python's strings. They are programs out of a file
//! that was downloaded: they see the messages and nothing else, and have a bound on steps and output.

use std::io::{self, Write};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde};
use minijinja::{Environment, Error, ErrorKind, Value, context};
use serde_json::json;
use tasks::{Failure, Message, Tool};

use super::dialect::taught::described;
use super::{clock, python_json};

/// Instructions that one rendering may take; a long conversation takes some thousands.
const FUEL: u64 = 5_000_000;
/// The longest text that may be rendered, in bytes.
const OUTPUT_MAX_BYTES: usize = 4 << 20;
/// The largest template, in bytes.
const SOURCE_MAX_BYTES: usize = 1 << 20;

/// A checked chat template.
pub(crate) struct Template {
    environment: Environment<'static>,
    source: String,
    bos: String,
    eos: String,
}

/// The texts of the tokens that templates may name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Marks {
    pub(crate) bos: String,
    pub(crate) eos: String,
}

/// Whether and how long a model is told to think, for templates that know of it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Thinking<'a> {
    pub(crate) enabled: Option<bool>,
    pub(crate) effort: Option<&'a str>,
}

impl Template {
    /// Parses a template; the error says what is wrong with it.
    pub(crate) fn new(source: String, marks: Marks) -> Result<Self, String> {
        if source.len() > SOURCE_MAX_BYTES {
            return Err(format!("the chat template has {} bytes", source.len()));
        }
        let mut environment = Environment::new();
        let mut syntax = SyntaxConfig::builder();
        let syntax = syntax
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()
            .map_err(|error| error.to_string())?;
        environment.set_syntax(syntax);
        environment.set_fuel(Some(FUEL));
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_filter("tojson", to_json);
        environment.add_function("raise_exception", refuse);
        environment.add_function("strftime_now", |pattern: String| clock::now(&pattern));
        environment
            .template_from_str(&source)
            .map_err(|error| format!("the chat template: {error}"))?;
        Ok(Self {
            environment,
            source,
            bos: marks.bos,
            eos: marks.eos,
        })
    }

    /// The program.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// Whether it writes tools into the prompt.
    pub(crate) fn knows_tools(&self) -> bool {
        self.source.contains("tools") || self.source.contains("tool_calls")
    }

    /// Renders a conversation, ready for the answer. A template that refuses it, or does not end, is
    /// [`Failure::BadInput`].
    pub(crate) fn render(
        &self,
        messages: &[Message],
        tools: &[Tool],
        thinking: Thinking<'_>,
    ) -> Result<String, Failure> {
        let as_object = self.render_as(messages, tools, thinking, Arguments::Object);
        let has_calls = messages.iter().any(|turn| !turn.tool_calls.is_empty());
        if as_object.is_ok() || !has_calls {
            return as_object;
        }
        // Some templates put the arguments of past calls together as text.
        self.render_as(messages, tools, thinking, Arguments::Text)
            .or(as_object)
    }

    fn render_as(
        &self,
        messages: &[Message],
        tools: &[Tool],
        thinking: Thinking<'_>,
        arguments: Arguments,
    ) -> Result<String, Failure> {
        let shortens = self.source.contains(SHORT_ID);
        let messages: Vec<Value> = messages
            .iter()
            .map(|message| turn(message, arguments, shortens))
            .collect();
        let tools = match tools {
            [] => Value::from(()),
            tools => Value::from(Serde(tools.iter().map(described).collect::<Vec<_>>())),
        };
        let values = context! {
            messages,
            bos_token => self.bos.as_str(),
            eos_token => self.eos.as_str(),
            add_generation_prompt => true,
            tools,
            documents => (),
            // Templates ask whether they are defined.
            enable_thinking => thinking.enabled.map_or(Value::UNDEFINED, Value::from),
            reasoning_effort => thinking.effort.map_or(Value::UNDEFINED, Value::from),
        };
        let mut output = Capped::default();
        let rendered = self
            .environment
            .template_from_str(&self.source)
            .and_then(|template| template.render_captured_to(values, &mut output).map(|_| ()));
        rendered.map_err(|error| {
            let detail = error
                .detail()
                .map_or_else(|| error.kind().to_string(), str::to_owned);
            Failure::BadInput(format!(
                "the model's chat template does not take these messages: {detail}"
            ))
        })?;
        String::from_utf8(output.bytes)
            .map_err(|error| Failure::Internal(format!("a chat template: {error}")))
    }
}

/// How a template reads the arguments of past calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arguments {
    Object,
    Text,
}

/// What Mistral's templates say of ids that are not as their tokenizer makes them.
const SHORT_ID: &str = "length 9";
/// Letters of such an id.
const SHORT_ID_CHARS: usize = 9;

/// A turn as templates read it.
fn turn(message: &Message, arguments: Arguments, shortens: bool) -> Value {
    let id = |id: &str| {
        if !shortens {
            return id.to_owned();
        }
        let letters = id.chars().rev().filter(char::is_ascii_alphanumeric);
        let short: String = letters.take(SHORT_ID_CHARS).collect();
        format!("{short:0>SHORT_ID_CHARS$}")
    };
    let mut turn = json!({"role": message.role, "content": message.content});
    if !message.tool_calls.is_empty() {
        let calls = message.tool_calls.iter().enumerate().map(|(place, call)| {
            let parsed: Option<serde_json::Value> = serde_json::from_str(&call.arguments.0).ok();
            let arguments = match parsed {
                Some(object) if arguments == Arguments::Object => object,
                _ => call.arguments.0.as_str().into(),
            };
            let made = format!("call{place:05}");
            json!({
                "id": id(call.id.as_deref().unwrap_or(&made)),
                "type": "function",
                "function": {"name": call.name, "arguments": arguments},
            })
        });
        turn["tool_calls"] = calls.collect();
    }
    if let Some(reasoning) = &message.reasoning {
        turn["thinking"] = reasoning.as_str().into();
    }
    if let Some(call) = &message.tool_call_id {
        turn["tool_call_id"] = id(call).into();
    }
    if let Some(name) = &message.name {
        turn["name"] = name.as_str().into();
    }
    Value::from(Serde(turn))
}

/// `tojson` as transformers has it: Python's spaces, letters as they are, and nothing escaped for HTML.
#[allow(clippy::needless_pass_by_value)] // how filters take their options
fn to_json(value: &Value, indent: Option<usize>, options: Kwargs) -> Result<String, Error> {
    let named: Option<usize> = options.get("indent")?;
    let value = serde_json::to_value(value)
        .map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))?;
    Ok(python_json::dumps(&value, indent.or(named)))
}

/// What templates call for conversations that they do not take.
fn refuse(message: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

/// Output up to [`OUTPUT_MAX_BYTES`].
#[derive(Default)]
struct Capped {
    bytes: Vec<u8>,
}

impl Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > OUTPUT_MAX_BYTES {
            return Err(io::Error::other("the rendered text is too long"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn render(source: &str, turns: &[(&str, &str)]) -> Result<String, Failure> {
        let marks = Marks {
            bos: "<s>".to_owned(),
            eos: "</s>".to_owned(),
        };
        let template = Template::new(source.to_owned(), marks).expect("a template");
        let turn = |(role, content): &(&str, &str)| Message::text(*role, *content);
        let turns: Vec<_> = turns.iter().map(turn).collect();
        template.render(&turns, &[], Thinking::default())
    }

    #[test]
    fn blocks_are_trimmed_and_methods_of_python_work() {
        let source = "{{ bos_token }}{% for message in messages %}\n  {% if message.role == 'user' %}\n\
            {{ message['content'].strip().split(',')[0] }}\n  {% endif %}\n{% endfor %}\n\
            {% if add_generation_prompt and tools is none %}go{{ eos_token }}{% endif %}";
        assert_eq!(
            render(source, &[("user", " a,b "), ("system", "c")]),
            Ok("<s>a\ngo</s>".to_owned())
        );
    }

    #[test]
    fn content_is_neither_escaped_nor_run() {
        let source = "{{ messages[0].content }}";
        let content = "<b>{{ 1 + 1 }}</b> & {% raw %}";
        assert_eq!(render(source, &[("user", content)]), Ok(content.to_owned()));
    }

    #[test]
    fn a_refusal_is_the_callers_fault_and_says_why() {
        let source = "{{ raise_exception('roles must alternate') }}";
        let Err(Failure::BadInput(text)) = render(source, &[]) else {
            panic!("it was not refused")
        };
        assert!(text.ends_with("roles must alternate"), "{text}");
    }

    #[test]
    fn endless_templates_are_stopped() {
        let began = Instant::now();
        for source in [
            "{% for a in range(99999) %}{% for b in range(99999) %}{% set c = a %}{% endfor %}{% endfor %}",
            "{% for a in range(99999) %}{{ 'x' * 99999 }}{% endfor %}",
            "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
            "{% for a in range(99999) %}{% include 'x' %}{% endfor %}",
            "{{ messages.__class__.__mro__ }}{{ ''.__class__() }}",
        ] {
            assert!(
                matches!(render(source, &[]), Err(Failure::BadInput(_))),
                "{source}"
            );
        }
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "{:?}",
            began.elapsed()
        );
    }

    #[test]
    fn templates_are_told_whether_to_think() {
        let source = "{% if enable_thinking is defined and enable_thinking is false %}no{% endif %}\
            {% if reasoning_effort is defined %}{{ reasoning_effort }}{% endif %}";
        let template = Template::new(source.to_owned(), Marks::default()).expect("a template");
        for (enabled, effort, expected) in [
            (None, None, ""),
            (Some(true), None, ""),
            (Some(false), None, "no"),
            (None, Some("high"), "high"),
        ] {
            let rendered = template.render(&[], &[], Thinking { enabled, effort });
            assert_eq!(rendered, Ok(expected.to_owned()));
        }
    }

    #[test]
    fn tools_and_calls_of_the_past_are_rendered_as_transformers_does() {
        let source = "{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}\
            {% for message in messages %}{% for call in message.tool_calls %}\
            {{ call.id }} {{ call.function.arguments | tojson }}{% endfor %}\
            {% if message.tool_call_id %} {{ message.tool_call_id }}{% endif %}{% endfor %}{# length 9 #}";
        let template = Template::new(source.to_owned(), Marks::default()).expect("a template");
        let tool = Tool {
            name: "f".into(),
            description: Some("<é> & 'x'".into()),
            parameters: Some(tasks::Json(
                r#"{"type":"object","properties":{"b":{},"a":{}}}"#.into(),
            )),
        };
        let call = tasks::ToolCall {
            id: Some("chatcmpl-tool-0123456789ab".into()),
            name: "f".into(),
            arguments: tasks::Json(r#"{"b":[1,2.5],"a":null}"#.into()),
        };
        let mut turn = Message::text("assistant", "");
        turn.tool_calls = vec![call];
        let mut result = Message::text("tool", "1");
        result.tool_call_id = Some("chatcmpl-tool-0123456789ab".into());
        let rendered = template.render(&[turn, result], &[tool], Thinking::default());
        let expected = concat!(
            r#"{"type": "function", "function": {"name": "f", "description": "<é> & 'x'", "#,
            r#""parameters": {"type": "object", "properties": {"b": {}, "a": {}}}}}"#,
            "\n",
            r#"ba9876543 {"b": [1, 2.5], "a": null} ba9876543"#,
        );
        assert_eq!(rendered, Ok(expected.to_owned()));
    }
}
