//! Grammars of answers in channels.

use tasks::Failure;

use super::super::calls::Calls;
use super::Tokens;
use crate::text::grammar::{literal, rule};

impl Tokens {
    /// Grammars of a message, behind `<|start|>assistant`, and behind another message: thinking, whose text no grammar
    /// holds, or a call of one of `calls`, or an answer of the schema.
    ///
    /// # Errors
    /// [`Failure::BadInput`] for tools that cannot be called so.
    pub(in crate::text) fn messages(
        self,
        answer: Option<&serde_json::Value>,
        calls: Option<&Calls<'_>>,
    ) -> Result<[String; 2], Failure> {
        let [start, message, channel] = [self.start, self.message, self.channel].map(mark);
        let kind = self.kind();
        let mut messages = vec![format!("{channel} \"analysis\" {message}")];
        let mut rules = Vec::new();
        if let Some(schema) = answer {
            let kind = format!("({kind})?");
            messages.push(format!("{channel} \"final\" {kind} {message} answer"));
            rules.push(format!("answer: {}", rule(schema)));
        }
        if let Some(calls) = calls {
            for (place, tool) in calls.chosen()?.into_iter().enumerate() {
                // The recipient stands behind the channel, or before it.
                let to = format!("to=functions.{}", tool.name);
                let behind = literal(&format!("commentary {to}"));
                let before = literal(&format!(" {to}"));
                messages.push(format!(
                    "({channel} {behind} | {before} {channel} \"commentary\") {kind} {message} arguments_{place}"
                ));
            }
            rules.extend(calls.arguments()?);
        }
        let messages = format!("message: {}\n{}\n", messages.join(" | "), rules.join("\n"));
        Ok([
            format!("start: message\n{messages}"),
            format!("start: {start} \"assistant\" message\n{messages}"),
        ])
    }

    /// The grammar of a call that was not asked for: the name of its tool, `<|message|>`, and the arguments.
    ///
    /// # Errors
    /// As [`Tokens::messages`].
    pub(in crate::text) fn begun(self, calls: &Calls<'_>) -> Result<String, Failure> {
        let message = mark(self.message);
        let named = calls.chosen()?.into_iter().enumerate();
        let named = named.map(|(place, tool)| {
            let name = literal(&tool.name);
            format!("{name} {message} arguments_{place}")
        });
        let named: Vec<_> = named.collect();
        let rules = calls.arguments()?.join("\n");
        Ok(format!("start: {}\n{rules}\n", named.join(" | ")))
    }

    /// What says that the text is JSON.
    fn kind(self) -> String {
        format!("(\" \"? {} \"json\" | \" json\")", mark(self.constrain))
    }
}

fn mark(token: u32) -> String {
    format!("<[{token}]>")
}
