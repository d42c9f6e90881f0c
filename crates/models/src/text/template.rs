//! Chat templates: the Jinja program of a checkpoint that dresses the turns of a conversation.
//!
//! They are written for Jinja2 with `trim_blocks`, `lstrip_blocks` and `loopcontrols`, as
//! transformers renders them, and call methods of Python's strings. They are programs out of a file
//! that was downloaded: they see the messages and nothing else, and have a bound on steps and output.

use std::io::{self, Write};

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind, Value, context};
use tasks::{Failure, Message};

use super::clock;

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

    /// Renders a conversation, ready for the answer. A template that refuses it, or does not end, is
    /// [`Failure::BadInput`].
    pub(crate) fn render(
        &self,
        messages: &[Message],
        thinking: Thinking<'_>,
    ) -> Result<String, Failure> {
        let messages: Vec<Value> = messages
            .iter()
            .map(|message| context! { role => message.role.as_str(), content => message.content.as_str() })
            .collect();
        let values = context! {
            messages,
            bos_token => self.bos.as_str(),
            eos_token => self.eos.as_str(),
            add_generation_prompt => true,
            tools => (),
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
        template.render(
            &turns.iter().map(turn).collect::<Vec<_>>(),
            Thinking::default(),
        )
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
            let rendered = template.render(&[], Thinking { enabled, effort });
            assert_eq!(rendered, Ok(expected.to_owned()));
        }
    }
}
