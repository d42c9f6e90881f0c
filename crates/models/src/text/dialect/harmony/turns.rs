//! Conversations as gpt-oss's chat template takes them.
//!
//! The template knows one developer turn, which comes first, and one call a turn, whose result is next. It leaves out
//! what it does not know without a word; here that is put into the form that it knows, or refused.

use tasks::{Failure, Message, Tool};

/// Stands for a developer's turn that is not the first: the template dresses it as a user's.
const PLACE: char = '\u{fdd0}';

/// Turns and tools for the template.
pub(in crate::text) struct Turns {
    pub(in crate::text) messages: Vec<Message>,
    pub(in crate::text) tools: Vec<Tool>,
    /// What the later developer turns say.
    instructions: Vec<String>,
}

impl Turns {
    /// # Errors
    /// [`Failure::BadInput`] for roles that the format does not have.
    pub(in crate::text) fn of(messages: &[Message], tools: &[Tool]) -> Result<Self, Failure> {
        // Nobody else writes what stands for a place.
        let clean = |text: &str| text.replace(PLACE, "\u{fffd}");
        let messages = messages.iter().cloned().map(|turn| Message {
            content: clean(&turn.content),
            reasoning: turn.reasoning.as_deref().map(clean),
            ..turn
        });
        let messages: Vec<Message> = messages.collect();
        let mut turns = Self {
            messages: Vec::new(),
            // The template joins every tool's description to other text.
            tools: tools
                .iter()
                .map(|tool| Tool {
                    description: Some(tool.description.clone().unwrap_or_default()),
                    ..tool.clone()
                })
                .collect(),
            instructions: Vec::new(),
        };
        let leading = messages.iter().take_while(|turn| instructs(turn));
        let first: Vec<_> = leading.map(|turn| turn.content.as_str()).collect();
        let mut rest = &messages[first.len()..];
        if !first.is_empty() {
            let text = first.join("\n\n");
            turns.messages.push(Message::text("developer", text));
        }
        while let Some((turn, later)) = rest.split_first() {
            rest = later;
            match turn.role.as_str() {
                "system" | "developer" => turns.instruct(&turn.content),
                "assistant" if !turn.tool_calls.is_empty() => {
                    let of_calls = |turn: &&Message| {
                        turn.role == "tool"
                            || turn.role == "assistant" && !turn.tool_calls.is_empty()
                    };
                    let length = 1 + later.iter().take_while(of_calls).count();
                    let first = messages.len() - later.len() - 1;
                    turns.call(&messages[first..first + length]);
                    rest = &messages[first + length..];
                }
                "user" | "assistant" | "tool" => turns.messages.push(turn.clone()),
                other => {
                    let text = format!(
                        "the role {other:?} is none of system, developer, user, assistant and tool"
                    );
                    return Err(Failure::BadInput(text));
                }
            }
        }
        Ok(turns)
    }

    /// Puts what has places into the rendered conversation.
    pub(in crate::text) fn put(&self, mut rendered: String) -> String {
        for (number, text) in self.instructions.iter().enumerate() {
            let place = format!("<|start|>user<|message|>{}", placed(number));
            let turn = format!("<|start|>developer<|message|># Instructions\n\n{text}");
            rendered = rendered.replacen(&place, &turn, 1);
        }
        rendered
    }

    fn instruct(&mut self, text: &str) {
        let place = placed(self.instructions.len());
        self.messages.push(Message::text("user", place));
        self.instructions.push(text.to_owned());
    }

    /// Calls and results that follow each other: each call gets a turn of its own, and its results behind it.
    fn call(&mut self, run: &[Message]) {
        let mut results: Vec<Option<&Message>> = run
            .iter()
            .map(|turn| Some(turn).filter(|turn| turn.role == "tool"))
            .collect();
        let calls = run.iter().flat_map(|turn| {
            let calls = turn.tool_calls.iter().enumerate();
            calls.map(move |(place, call)| (turn, place == 0, call))
        });
        for (turn, is_first, call) in calls {
            let thoughts = [turn.reasoning.as_deref(), Some(turn.content.as_str())];
            let thoughts = thoughts
                .into_iter()
                .flatten()
                .filter(|text| !text.is_empty());
            let thoughts: Vec<_> = thoughts.filter(|_| is_first).collect();
            self.messages.push(Message {
                reasoning: Some(thoughts.join("\n\n")).filter(|text| !text.is_empty()),
                tool_calls: vec![call.clone()],
                ..Message::text("assistant", "")
            });
            let answers = |result: &Message| match (&result.tool_call_id, &call.id) {
                (Some(of), Some(id)) => of == id,
                _ => true, // without ids they come in the order of the calls
            };
            if let Some(found) = results
                .iter_mut()
                .find(|result| result.is_some_and(answers))
            {
                self.messages.extend(found.take().cloned());
            }
        }
        // Results of calls that are not here follow the last one, as they came.
        self.messages.extend(results.into_iter().flatten().cloned());
    }
}

fn instructs(turn: &Message) -> bool {
    matches!(turn.role.as_str(), "system" | "developer")
}

fn placed(number: usize) -> String {
    format!("{PLACE}{number}{PLACE}")
}

#[cfg(test)]
mod tests {
    use tasks::{Json, ToolCall};

    use super::*;

    fn call(id: &str, name: &str) -> ToolCall {
        ToolCall {
            id: Some(id.into()).filter(|id: &String| !id.is_empty()),
            name: name.into(),
            arguments: Json("{}".into()),
        }
    }

    fn calling(calls: Vec<ToolCall>) -> Message {
        Message {
            tool_calls: calls,
            ..Message::text("assistant", "")
        }
    }

    fn result(of: &str, text: &str) -> Message {
        Message {
            tool_call_id: Some(of.into()).filter(|id: &String| !id.is_empty()),
            ..Message::text("tool", text)
        }
    }

    fn shown(messages: &[Message]) -> String {
        let turns = Turns::of(messages, &[]).expect("turns").messages;
        let shown = turns.iter().map(|turn| {
            let thought = turn.reasoning.as_deref().map(|text| format!("({text})"));
            let calls = turn
                .tool_calls
                .iter()
                .map(|call| format!("->{}", call.name));
            let calls: String = calls.collect();
            format!(
                "{}:{}{}{calls}",
                turn.role,
                turn.content,
                thought.unwrap_or_default()
            )
        });
        shown.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn each_call_is_a_turn_and_its_result_is_next() {
        let user = Message::text("user", "u");
        let both = calling(vec![call("1", "f"), call("2", "g")]);
        let wanted = "user:u assistant:->f tool:r1 assistant:->g tool:r2";
        let swapped = [
            user.clone(),
            both.clone(),
            result("2", "r2"),
            result("1", "r1"),
        ];
        assert_eq!(shown(&swapped), wanted);
        let unnamed = [
            user.clone(),
            calling(vec![call("", "f"), call("", "g")]),
            result("", "r1"),
            result("", "r2"),
        ];
        assert_eq!(shown(&unnamed), wanted);
        // Calls and results as items of their own.
        let items = [
            user.clone(),
            calling(vec![call("1", "f")]),
            calling(vec![call("2", "g")]),
            result("1", "r1"),
            result("2", "r2"),
            Message::text("assistant", "done"),
        ];
        assert_eq!(shown(&items), format!("{wanted} assistant:done"));
    }

    #[test]
    fn thoughts_stand_before_the_call_and_instructions_come_first() {
        let mut calls = calling(vec![call("1", "f"), call("2", "g")]);
        calls.content = "said".into();
        calls.reasoning = Some("hm".into());
        let messages = [
            Message::text("developer", "a"),
            Message::text("system", "b"),
            Message::text("user", "u"),
            calls,
        ];
        let wanted = "developer:a\n\nb user:u assistant:(hm\n\nsaid)->f assistant:->g";
        assert_eq!(shown(&messages), wanted);
        assert!(Turns::of(&[Message::text("wizard", "w")], &[]).is_err());
    }

    #[test]
    fn later_instructions_are_put_in_their_place() {
        let messages = [
            Message::text("user", "u"),
            Message::text("system", "s"),
            Message::text("user", "v"),
        ];
        let turns = Turns::of(&messages, &[]).expect("turns");
        let rendered = turns.messages.iter();
        let rendered: Vec<_> = rendered
            .map(|turn| format!("<|start|>{}<|message|>{}<|end|>", turn.role, turn.content))
            .collect();
        assert_eq!(
            turns.put(rendered.concat()),
            "<|start|>user<|message|>u<|end|><|start|>developer<|message|># Instructions\n\ns<|end|>\
             <|start|>user<|message|>v<|end|>"
        );
    }
}
