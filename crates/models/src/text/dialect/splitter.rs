//! Tells thinking, answer and calls of tools apart while the text comes.
//!
//! Letter by letter, so that it does not matter how the text was cut. Text is held back only while it may be the
//! beginning of a mark or is part of a call; a call that turns out to be none is text.

use tasks::{ChatEvent, ToolCall};

use super::json_end::JsonEnd;
use super::out::Out;
use super::{
    Dialect, FUNCTION, FUNCTION_ENDS, Offer, THOUGHT_BEGINS, THOUGHT_ENDS, call, gemma4, kimi,
    python,
};

/// White space that is held back, in bytes; more is told as it comes.
const SPACE_MAX_BYTES: usize = 256;

/// What the text at hand belongs to.
#[derive(Debug)]
enum State {
    /// Nothing but white space came yet.
    Start,
    Thought,
    Answer,
    Call(Box<Call>),
    /// Behind a call: white space, what closes it, and signs between calls mean nothing.
    After {
        closing: &'static str,
    },
}

/// A call that is not whole.
#[derive(Debug, Default)]
struct Call {
    /// Its text, with what it began with.
    raw: String,
    /// Where its JSON begins within.
    json: Option<usize>,
    end: JsonEnd,
    /// Where the mark that it began with ends.
    mark: usize,
    /// What ends it.
    closing: &'static str,
}

/// The parts of one answer.
pub(in crate::text) struct Splitter {
    /// The tools that are offered.
    calls: Option<Offer>,
    thinks: bool,
    state: State,
    held: String,
    /// Thinking or calls came before: white space in front of the answer means nothing.
    follows: bool,
    told_calls: usize,
    has_reasoned: bool,
    out: Out,
}

impl Splitter {
    /// `calls`: the tools that are offered. `thinks`: thinking may come first; `in_thought`: the prompt has
    /// begun it.
    pub(in crate::text) fn new(calls: Option<Offer>, thinks: bool, in_thought: bool) -> Self {
        Self {
            calls,
            thinks,
            state: if in_thought {
                State::Thought
            } else {
                State::Start
            },
            held: String::new(),
            follows: in_thought,
            told_calls: 0,
            has_reasoned: false,
            out: Out::default(),
        }
    }

    /// Calls that were told.
    pub(in crate::text) fn told_calls(&self) -> usize {
        self.told_calls
    }

    /// Bytes at the end of the text so far whose meaning is open.
    pub(in crate::text) fn open_bytes(&self) -> usize {
        match &self.state {
            State::Call(call) => call.raw.len(),
            _ => self.held.len(),
        }
    }

    /// Takes more text.
    pub(in crate::text) fn push(&mut self, text: &str, out: &mut Vec<ChatEvent>) {
        for letter in text.chars() {
            self.letter(letter);
        }
        self.out.hand_over(out);
    }

    /// Tells what was held back, at the end of the answer.
    pub(in crate::text) fn finish(&mut self, out: &mut Vec<ChatEvent>) {
        let held = std::mem::take(&mut self.held);
        match std::mem::replace(&mut self.state, State::Answer) {
            State::Start => {
                if !(self.follows && held.trim_start().is_empty()) {
                    self.out.say(&held);
                }
            }
            State::Thought => self.out.reason(held.trim_end()),
            State::Answer => self.out.say(&held),
            State::Call(call) => {
                // What has no closing mark may be whole.
                let body = &call.raw[call.mark..];
                match self.read(body, call.json.is_none()) {
                    Some(calls) => self.tell(calls),
                    None => self.out.say(&call.raw),
                }
            }
            State::After { closing } => {
                let rest = held.trim_start();
                if !closing.starts_with(rest) {
                    self.out.say(&held);
                }
            }
        }
        self.out.hand_over(out);
    }

    fn letter(&mut self, letter: char) {
        if let State::Call(_) = self.state {
            self.in_call(letter);
            return;
        }
        self.held.push(letter);
        match self.state {
            State::Start => self.at_start(),
            State::Thought => self.in_thought(),
            State::Answer => self.in_answer(),
            State::After { closing } => self.after_call(closing),
            State::Call(_) => {}
        }
    }

    fn at_start(&mut self) {
        let begun = self.held.trim_start();
        if begun.is_empty() {
            if self.held.len() > SPACE_MAX_BYTES {
                self.begin_answer();
            }
            return;
        }
        let thought = self.thinks.then_some(THOUGHT_BEGINS);
        if thought == Some(begun) {
            self.held.clear();
            self.follows = true;
            self.thinks = false;
            self.state = State::Thought;
            return;
        }
        if self.opens(begun, true) {
            self.begin_call();
            return;
        }
        let may = thought.is_some_and(|thought| thought.starts_with(begun))
            || self.calls.as_ref().is_some_and(|offer| {
                let mut openings = offer.dialect.openings();
                openings.any(|opening| opening.starts_with(begun))
            });
        if !may {
            self.begin_answer();
        }
    }

    /// What was held is the answer's.
    fn begin_answer(&mut self) {
        if self.follows {
            self.held = self.held.trim_start().to_owned();
        }
        self.state = State::Answer;
        self.in_answer();
    }

    fn in_thought(&mut self) {
        if let Some(thought) = self.held.strip_suffix(THOUGHT_ENDS) {
            self.out.reason(thought.trim_end());
            self.held.clear();
            self.thinks = false;
            self.state = State::Start;
            return;
        }
        if !self.has_reasoned && self.held.trim_start().is_empty() {
            self.held.clear();
            return;
        }
        // White space before the end of thinking, and what may be the mark of it, wait.
        let mark = longest_begun(&self.held, THOUGHT_ENDS);
        let text = self.held[..self.held.len() - mark].trim_end();
        let told = text.len();
        if self.held.len() - told > SPACE_MAX_BYTES {
            let text = std::mem::take(&mut self.held);
            self.reason(&text);
        } else if told > 0 {
            let rest = self.held.split_off(told);
            let text = std::mem::replace(&mut self.held, rest);
            self.reason(&text);
        }
    }

    fn in_answer(&mut self) {
        loop {
            if self.held.is_empty() {
                return;
            }
            let Some(offer) = &self.calls else {
                break;
            };
            let held = self.held.as_str();
            // Within a text only the marks that nothing else begins with.
            let mut openings = offer
                .dialect
                .openings()
                .filter(|opening| *opening != FUNCTION);
            if let Some(opening) = openings.find(|opening| opening.starts_with(held)) {
                if opening == held {
                    self.begin_call();
                }
                return;
            }
            let first = self.held.remove(0);
            self.out.say(first.encode_utf8(&mut [0; 4]));
        }
        let held = std::mem::take(&mut self.held);
        self.out.say(&held);
    }

    fn after_call(&mut self, closing: &'static str) {
        let begun = self.held.trim_start();
        if begun.is_empty() {
            if self.held.len() > SPACE_MAX_BYTES {
                self.held.clear();
            }
            return;
        }
        if !closing.is_empty() && closing.starts_with(begun) {
            if closing == begun {
                self.held.clear();
                self.state = State::After { closing: "" };
            }
            return;
        }
        if matches!(begun, ";" | ",")
            && self
                .calls
                .as_ref()
                .is_some_and(|offer| offer.dialect.calls_bare())
        {
            self.held.clear();
            return;
        }
        if self.opens(begun, true) {
            self.begin_call();
            return;
        }
        self.follows = true;
        self.state = State::Start;
        self.at_start();
    }

    /// Whether a call begins so; objects alone are calls `at_start` only.
    fn opens(&self, begun: &str, at_start: bool) -> bool {
        self.calls.as_ref().is_some_and(|offer| {
            let mut openings = offer.dialect.openings();
            openings.any(|opening| opening == begun)
                || at_start && offer.dialect.calls_bare() && begun == "{"
        })
    }

    fn begin_call(&mut self) {
        let mut call = Call {
            raw: std::mem::take(&mut self.held),
            ..Call::default()
        };
        let opening = call.raw.trim_start();
        let dialect = self.calls.as_ref().map(|offer| offer.dialect);
        call.closing = dialect.map_or("", |dialect| dialect.closing(opening));
        if opening == FUNCTION {
            call.mark = call.raw.len() - FUNCTION.len(); // it is a part of the call
        } else if opening == "{" {
            call.mark = call.raw.len() - 1;
            call.json = Some(call.mark);
            call.end.push('{');
        } else {
            call.mark = call.raw.len();
        }
        self.state = State::Call(Box::new(call));
    }

    fn in_call(&mut self, letter: char) {
        let State::Call(call) = &mut self.state else {
            return;
        };
        let Some(Offer { dialect, .. }) = self.calls else {
            return;
        };
        call.raw.push(letter);
        if let Some(begin) = call.json {
            if call.end.push(letter) {
                let (body, closing) = (call.raw[call.mark..].to_owned(), call.closing);
                self.end_call(&body, closing, false);
            } else if matches!(letter, '"' | ':')
                && call.raw[call.mark..begin].trim().is_empty()
                && !call::may_be_call(&call.raw[begin..])
            {
                self.give_up();
            }
            return;
        }
        let begun = &call.raw[call.mark..];
        // Mistral's newer models write the name before the arguments.
        let may_be_named = matches!(dialect, Dialect::Mistral | Dialect::MistralNamed);
        let begins = match letter {
            '{' => may_be_named || begun.trim() == "{",
            '[' => begun.trim() == "[",
            _ => false,
        };
        if begins {
            call.json = Some(call.raw.len() - 1);
            call.end.push(letter);
            return;
        }
        // No JSON: what closes the call ends it.
        if call.closing.is_empty() {
            return;
        }
        let Some(body) = begun.strip_suffix(call.closing) else {
            return;
        };
        if call.closing == FUNCTION_ENDS {
            let body = begun.to_owned();
            self.end_call(&body, "</tool_call>", true);
        } else if dialect
            .notation()
            .is_none_or(|notation| notation.is_whole(body))
        {
            let body = body.to_owned();
            self.end_call(&body, "", true);
        }
    }

    /// The text of a call came to its end.
    fn end_call(&mut self, body: &str, closing: &'static str, is_code: bool) {
        match self.read(body, is_code) {
            Some(calls) => {
                self.tell(calls);
                self.state = State::After { closing };
            }
            // A list of Python's begins as one of JSON does, and ends where the call does.
            None => self.give_up(),
        }
    }

    /// What was taken for a call is text.
    fn give_up(&mut self) {
        if let State::Call(call) = std::mem::replace(&mut self.state, State::Answer) {
            let text = if self.follows {
                call.raw.trim_start()
            } else {
                &call.raw
            };
            self.out.say(text);
        }
    }

    fn read(&self, body: &str, is_code: bool) -> Option<Vec<ToolCall>> {
        let offer = self.calls.as_ref()?;
        let Offer { dialect, names, .. } = offer;
        let body = body.trim();
        let of_family = match dialect {
            Dialect::Kimi => kimi::calls(body, names),
            Dialect::Gemma4 => gemma4::calls(body, names),
            _ => dialect
                .notation()
                .and_then(|notation| notation.calls(body, offer)),
        };
        if of_family.is_some() {
            return of_family;
        }
        if matches!(dialect, Dialect::Mistral | Dialect::MistralNamed)
            && let Some(begin) = body.find('{').filter(|_| !body.starts_with(['[', '{']))
        {
            let (name, arguments) = body.split_at(begin);
            let name = name.split('[').next()?.trim();
            let arguments = serde_json::from_str(arguments).ok()?;
            return call::named(name, Some(arguments), names).map(|call| vec![call]);
        }
        let calls = call::calls(body, names);
        calls.or_else(|| python::calls(body, names).filter(|_| is_code || dialect.calls_bare()))
    }

    fn tell(&mut self, calls: Vec<ToolCall>) {
        self.told_calls += calls.len();
        self.follows = true;
        for call in calls {
            self.out.call(call);
        }
    }

    fn reason(&mut self, text: &str) {
        self.has_reasoned = true;
        self.out.reason(text);
    }
}

/// Bytes at the end of a text that a mark may begin with.
fn longest_begun(text: &str, mark: &str) -> usize {
    let lengths = (1..mark.len()).rev();
    let mut begun = lengths.filter(|length| text.ends_with(&mark[..*length]));
    begun.next().unwrap_or(0)
}

#[cfg(test)]
mod cases;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::cases::CASES;
    use super::*;

    fn tools() -> Vec<tasks::Tool> {
        let schema = r#"{"type":"object","properties":{"n":{"type":"integer"},"s":{"type":"string"},
            "l":{"type":"array"},"b":{"type":"boolean"},"o":{"anyOf":[{"type":"string"},{"type":"null"}]}}}"#;
        let tool = |name: &str, schema: Option<&str>| tasks::Tool {
            name: name.into(),
            description: None,
            parameters: schema.map(|schema| tasks::Json(schema.into())),
        };
        vec![tool("f", Some(schema)), tool("g", None)]
    }

    /// What the pieces come to: text and thoughts joined, calls as `name(arguments)`.
    fn told(dialect: Option<Dialect>, thinks: bool, pieces: &[&str]) -> Vec<String> {
        let calls = dialect.and_then(|dialect| Offer::of(dialect, &tools()));
        let mut splitter = Splitter::new(calls, thinks, false);
        let mut events = Vec::new();
        for piece in pieces {
            splitter.push(piece, &mut events);
        }
        splitter.finish(&mut events);
        let mut told: Vec<String> = Vec::new();
        for event in events {
            let (kind, text) = match event {
                ChatEvent::Text(text) => ("text ", text),
                ChatEvent::Reasoning(text) => ("thought ", text),
                ChatEvent::ToolCall(call) => ("call ", call.name + &call.arguments.0),
                _ => continue,
            };
            match told
                .last_mut()
                .filter(|last| last.starts_with(kind) && kind != "call ")
            {
                Some(last) => last.push_str(&text),
                None => told.push(format!("{kind}{text}")),
            }
        }
        told
    }

    #[test]
    fn it_does_not_matter_where_a_text_is_cut() {
        for (dialect, text, wanted) in CASES {
            let whole = told(Some(*dialect), true, &[text]);
            assert_eq!(&whole, wanted, "{text}");
            let cuts: Vec<_> = text.char_indices().map(|(place, _)| place).collect();
            for &cut in &cuts {
                let (before, after) = text.split_at(cut);
                assert_eq!(
                    told(Some(*dialect), true, &[before, after]),
                    whole,
                    "{before}|{after}"
                );
            }
            let letters: Vec<_> = text.split("").collect();
            assert_eq!(told(Some(*dialect), true, &letters), whole, "{text}");
        }
    }

    #[test]
    fn text_is_held_back_only_while_it_may_be_a_mark() {
        let offer = Offer::of(Dialect::Hermes, &tools());
        let mut splitter = Splitter::new(offer, true, false);
        let mut said = |piece: &str| {
            let mut events = Vec::new();
            splitter.push(piece, &mut events);
            let texts = events.into_iter().map(|event| match event {
                ChatEvent::Text(text) => text,
                other => format!("{other:?}"),
            });
            texts.collect::<String>()
        };
        let pieces = ["Hi", " <to", "ol ", "<b", "> <", "tool_call", "s>"];
        let told = pieces.map(&mut said);
        assert_eq!(told, ["Hi", " ", "<tool ", "<b", "> ", "", "<tool_calls>"]);
    }

    #[test]
    fn without_tools_and_thoughts_text_is_left_alone() {
        let text = "\n <think>a</think>\n<tool_call>{}";
        assert_eq!(told(None, false, &[text]), [format!("text {text}")]);
        assert_eq!(
            told(None, true, &["<think>a</think>\n\n  b"]),
            ["thought a", "text b"]
        );
        let mut splitter = Splitter::new(None, true, true);
        let mut events = Vec::new();
        splitter.push("hm </th", &mut events);
        splitter.finish(&mut events);
        assert_eq!(events.last(), Some(&ChatEvent::Reasoning(" </th".into())));
    }

    proptest! {
        #[test]
        fn whatever_comes_nothing_is_lost_or_told_twice(
            parts in prop::collection::vec(
                prop::sample::select(vec![
                    "<tool_call>", "</tool_call>", "{", "}", "\"name\"", ":", "\"f\"", ",", "[", "]", "\\", "\"",
                    "<think>", "</think>", "```json", "```", "[TOOL_CALLS]", "[ARGS]", "<|python_tag|>", "f(", ")",
                    " ", "\n", "é", "arguments", "{\"name\":\"f\",\"arguments\":{}}",
                ]),
                0..24,
            ),
            kind in 0_usize..5,
        ) {
            let dialect = [Dialect::Hermes, Dialect::Llama, Dialect::Mistral, Dialect::MistralNamed, Dialect::Gemma][kind];
            let text = parts.concat();
            let whole = told(Some(dialect), true, &[&text]);
            prop_assert_eq!(&told(Some(dialect), true, &parts), &whole);
            let letters: Vec<_> = text.split("").collect();
            prop_assert_eq!(&told(Some(dialect), true, &letters), &whole);
            // Thoughts of nothing are told by nothing.
            if !text.contains("<think>") && whole.iter().all(|told| told.starts_with("text ")) && !text.starts_with(char::is_whitespace) && whole.len() == 1 {
                prop_assert_eq!(&whole[0][5..], text.as_str());
            }
        }
    }
}
