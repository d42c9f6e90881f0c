//! The events of an answer, as a splitter tells them.

use tasks::{ChatEvent, ToolCall};

/// Events, with neighbouring text joined.
#[derive(Default)]
pub(super) struct Out {
    text: String,
    reasoning: String,
    events: Vec<ChatEvent>,
}

impl Out {
    pub(super) fn say(&mut self, text: &str) {
        if !text.is_empty() {
            self.end_reasoning();
            self.text.push_str(text);
        }
    }

    pub(super) fn reason(&mut self, text: &str) {
        if !text.is_empty() {
            self.end_text();
            self.reasoning.push_str(text);
        }
    }

    pub(super) fn call(&mut self, call: ToolCall) {
        self.end_text();
        self.end_reasoning();
        self.events.push(ChatEvent::ToolCall(call));
    }

    fn end_text(&mut self) {
        if !self.text.is_empty() {
            let text = std::mem::take(&mut self.text);
            self.events.push(ChatEvent::Text(text));
        }
    }

    fn end_reasoning(&mut self) {
        if !self.reasoning.is_empty() {
            let text = std::mem::take(&mut self.reasoning);
            self.events.push(ChatEvent::Reasoning(text));
        }
    }

    pub(super) fn hand_over(&mut self, out: &mut Vec<ChatEvent>) {
        self.end_text();
        self.end_reasoning();
        out.append(&mut self.events);
    }
}
