//! Tells the messages of one answer apart, by their channels, while its tokens come.

use tasks::ChatEvent;

use super::super::call;
use super::super::out::Out;
use super::{Mark, function};
use crate::text::stop::StopGate;

/// The longest header, in bytes; what is longer is none.
const HEADER_MAX_BYTES: usize = 256;
/// What stands between two messages of a kind.
const BETWEEN: &str = "\n\n";

/// What the text at hand belongs to.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// The header of a message, whose parts are kept apart by spaces.
    Header(String),
    Thought,
    Answer,
    /// Arguments of the named function.
    Call {
        name: String,
        arguments: String,
    },
    /// Behind a message.
    Between,
}

/// The parts of one answer.
pub(in crate::text) struct Channels {
    /// The names of the tools that may be called.
    names: Vec<String>,
    place: Place,
    /// Texts that end the answer: each message is looked at by itself.
    gate: StopGate,
    /// A mark came.
    is_framed: bool,
    has_reasoned: bool,
    has_said: bool,
    told_calls: usize,
    /// Bytes of text that went past the gate since somebody asked.
    passed: usize,
    /// Bytes of the header so far: whether they are text is not decided yet.
    in_header: usize,
    out: Out,
}

impl Channels {
    /// For an answer that begins within the header of its first message, or, where `is_raw`, within a text.
    pub(in crate::text) fn new(names: Vec<String>, gate: StopGate, is_raw: bool) -> Self {
        Self {
            names,
            place: if is_raw {
                Place::Answer
            } else {
                Place::Header(String::new())
            },
            gate,
            is_framed: false,
            has_reasoned: false,
            has_said: false,
            told_calls: 0,
            passed: 0,
            in_header: 0,
            out: Out::default(),
        }
    }

    /// Calls that were told.
    pub(in crate::text) fn told_calls(&self) -> usize {
        self.told_calls
    }

    /// Whether a text came that ends the answer.
    pub(in crate::text) fn is_shut(&self) -> bool {
        self.gate.is_shut()
    }

    /// Bytes of text that no text of stop holds back, since the last time.
    pub(in crate::text) fn take_passed(&mut self) -> usize {
        std::mem::take(&mut self.passed)
    }

    /// Bytes of those that wait for the end of a call.
    pub(in crate::text) fn open_bytes(&self) -> usize {
        match &self.place {
            Place::Call { arguments, .. } => arguments.len(),
            _ => 0,
        }
    }

    /// Takes more text.
    pub(in crate::text) fn push(&mut self, text: &str, out: &mut Vec<ChatEvent>) {
        if !text.is_empty() {
            self.take(text);
        }
        self.out.hand_over(out);
    }

    /// Takes a mark.
    pub(in crate::text) fn mark(&mut self, mark: Mark, out: &mut Vec<ChatEvent>) {
        self.is_framed = true;
        match (mark, &mut self.place) {
            (Mark::Message, Place::Header(header)) => {
                let header = std::mem::take(header);
                self.begin(&header);
            }
            (Mark::Channel | Mark::Constrain, Place::Header(header)) => header.push(' '),
            // Within a text these say nothing.
            (Mark::Message | Mark::Constrain, _) => {}
            (Mark::End, _) => self.end(),
            // With a channel a message goes on that forgot its beginning.
            (Mark::Start | Mark::Channel, _) => {
                self.end();
                self.place = Place::Header(String::new());
            }
        }
        self.out.hand_over(out);
    }

    /// Tells what was held back, at the end of the answer.
    pub(in crate::text) fn finish(&mut self, out: &mut Vec<ChatEvent>) {
        if let Place::Header(header) = &mut self.place
            && !self.is_framed
        {
            // An answer without any frame is text.
            let text = std::mem::take(header);
            self.in_header = 0;
            self.place = Place::Answer;
            self.take(&text);
        }
        self.end();
        self.out.hand_over(out);
    }

    fn take(&mut self, text: &str) {
        match &mut self.place {
            Place::Between => self.passed += text.len(),
            Place::Header(header) => {
                header.push_str(text);
                self.in_header += text.len();
                if header.len() > HEADER_MAX_BYTES {
                    let text = std::mem::take(header);
                    self.in_header = 0;
                    self.place = Place::Answer;
                    self.take(&text);
                }
            }
            Place::Call { arguments, .. } => {
                arguments.push_str(text);
                self.passed += text.len();
            }
            Place::Thought => {
                let text = self.gate.push(text);
                self.passed += text.len();
                self.out.reason(&text);
                self.has_reasoned |= !text.is_empty();
            }
            Place::Answer => {
                let text = self.gate.push(text);
                self.passed += text.len();
                self.out.say(&text);
                self.has_said |= !text.is_empty();
            }
        }
    }

    /// A message begins behind its header.
    fn begin(&mut self, header: &str) {
        self.passed += std::mem::take(&mut self.in_header);
        self.place = match function(header) {
            Some(name) if self.names.iter().any(|known| known == name) => Place::Call {
                name: name.to_owned(),
                arguments: String::new(),
            },
            // Tools that nobody offered are asked for within thoughts, as the model was taught.
            _ => {
                let is_thought = header.split_whitespace().any(|word| word == "analysis");
                if is_thought {
                    Place::Thought
                } else {
                    Place::Answer
                }
            }
        };
        match self.place {
            Place::Thought if self.has_reasoned => self.out.reason(BETWEEN),
            Place::Answer if self.has_said => self.out.say(BETWEEN),
            _ => {}
        }
    }

    /// The text of a message is whole.
    fn end(&mut self) {
        self.passed += std::mem::take(&mut self.in_header);
        let held = self.gate.renew();
        self.passed += held.len();
        match std::mem::replace(&mut self.place, Place::Between) {
            Place::Thought => self.out.reason(&held),
            Place::Answer => self.out.say(&held),
            Place::Call { name, arguments } => {
                let parsed = match arguments.trim() {
                    "" => Ok(None),
                    text => serde_json::from_str(text).map(Some),
                };
                let call = parsed.ok();
                match call.and_then(|parsed| call::named(&name, parsed, &self.names)) {
                    Some(call) => {
                        self.told_calls += 1;
                        self.out.call(call);
                    }
                    // No object: what is no call is text.
                    None => self.out.say(&arguments),
                }
            }
            Place::Header(_) | Place::Between => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The marks of a transcript and the texts between them, in order.
    fn pieces(transcript: &str) -> Vec<Result<Mark, &str>> {
        const MARKS: [(&str, Mark); 5] = [
            ("<|start|>", Mark::Start),
            ("<|end|>", Mark::End),
            ("<|message|>", Mark::Message),
            ("<|channel|>", Mark::Channel),
            ("<|constrain|>", Mark::Constrain),
        ];
        let mut pieces = Vec::new();
        let mut rest = transcript;
        loop {
            let found = MARKS
                .iter()
                .filter_map(|(text, mark)| Some((rest.find(text)?, text, mark)));
            let Some((place, text, mark)) = found.min_by_key(|(place, ..)| *place) else {
                pieces.push(Err(rest));
                return pieces;
            };
            pieces.push(Err(&rest[..place]));
            pieces.push(Ok(*mark));
            rest = &rest[place + text.len()..];
        }
    }

    /// What a transcript comes to, each of its texts cut into two at `cut`; letter by letter where it is none.
    fn told(transcript: &str, cut: Option<usize>, stops: &[&str]) -> Vec<String> {
        let names = vec!["get_weather".to_owned(), "now".to_owned()];
        let gate = StopGate::new(stops.iter().map(ToString::to_string).collect());
        let mut channels = Channels::new(names, gate, false);
        let mut events = Vec::new();
        for piece in pieces(transcript) {
            match (piece, cut) {
                (Ok(mark), _) => channels.mark(mark, &mut events),
                (Err(text), Some(cut)) if text.is_char_boundary(cut) => {
                    channels.push(&text[..cut], &mut events);
                    channels.push(&text[cut..], &mut events);
                }
                (Err(text), Some(_)) => channels.push(text, &mut events),
                (Err(text), None) => {
                    for letter in text.chars() {
                        channels.push(letter.encode_utf8(&mut [0; 4]), &mut events);
                    }
                }
            }
            if channels.is_shut() {
                break;
            }
        }
        channels.finish(&mut events);
        let mut told: Vec<String> = Vec::new();
        for event in events {
            let (kind, text) = match event {
                ChatEvent::Text(text) => ("text ", text),
                ChatEvent::Reasoning(text) => ("thought ", text),
                ChatEvent::ToolCall(call) => ("call ", call.name + &call.arguments.0),
                _ => continue,
            };
            assert!(!text.is_empty(), "an event without text");
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

    /// Transcripts of the published format (see [`super::super`]), without the token that ends the turn, and what
    /// they come to.
    const CASES: &[(&str, &[&str])] = &[
        (
            "<|channel|>analysis<|message|>User asks: \"What is 2 + 2?\" Simple arithmetic. Provide answer.<|end|>\
             <|start|>assistant<|channel|>final<|message|>2 + 2 = 4.",
            &[
                "thought User asks: \"What is 2 + 2?\" Simple arithmetic. Provide answer.",
                "text 2 + 2 = 4.",
            ],
        ),
        (
            "<|channel|>analysis<|message|>Need to use function get_weather.<|end|><|start|>assistant<|channel|>\
             commentary to=functions.get_weather <|constrain|>json<|message|>{\"location\":\"San Francisco\"}",
            &[
                "thought Need to use function get_weather.",
                "call get_weather{\"location\":\"San Francisco\"}",
            ],
        ),
        // The recipient beside the role; a type without its mark.
        (
            " to=functions.get_weather<|channel|>commentary json<|message|>{\"location\": \"Tokyo\"}",
            &["call get_weather{\"location\":\"Tokyo\"}"],
        ),
        // A preamble, and calls that follow each other.
        (
            "<|channel|>analysis<|message|>long<|end|><|start|>assistant<|channel|>commentary<|message|>**Plan**:\n1. é\
             <|end|><|start|>assistant<|channel|>commentary to=functions.now<|constrain|>json<|message|>{}<|end|>\
             <|start|>assistant to=functions.now<|channel|>commentary<|message|>",
            &[
                "thought long",
                "text **Plan**:\n1. é",
                "call now{}",
                "call now{}",
            ],
        ),
        // Thoughts, and texts, of two messages are paragraphs.
        (
            "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>analysis<|message|>b<|end|><|start|>\
             assistant<|channel|>commentary<|message|>c<|end|><|start|>assistant<|channel|>final <|constrain|>json\
             <|message|>{\"d\":1}",
            &["thought a\n\nb", "text c\n\n{\"d\":1}"],
        ),
        // What is no call of an offered tool, or no object, is text; the model's own tools are thoughts.
        (
            "<|channel|>commentary to=functions.other json<|message|>{\"a\":1}",
            &["text {\"a\":1}"],
        ),
        (
            "<|channel|>commentary to=functions.now json<|message|>{\"a\": 1",
            &["text {\"a\": 1"],
        ),
        (
            "<|channel|>analysis to=python code<|message|>print(1)<|end|><|start|>assistant<|channel|>final<|message|>1",
            &["thought print(1)", "text 1"],
        ),
        // Frames that are not whole.
        (
            "<|channel|>final<|message|>a<|channel|>final<|message|>b",
            &["text a\n\nb"],
        ),
        (
            "<|channel|>final<|message|>a<|message|>b<|constrain|>c",
            &["text abc"],
        ),
        ("<|channel|>analysis", &[]),
        (
            "<|channel|>analysis<|message|>x<|end|>lost<|start|>assistant",
            &["thought x"],
        ),
        ("no frame", &["text no frame"]),
        ("", &[]),
    ];

    #[test]
    fn transcripts_come_to_the_same_wherever_they_are_cut() {
        for (transcript, wanted) in CASES {
            assert_eq!(&told(transcript, None, &[]), wanted, "{transcript}");
            for cut in 0..=transcript.len() {
                assert_eq!(
                    &told(transcript, Some(cut), &[]),
                    wanted,
                    "{transcript} at {cut}"
                );
            }
        }
    }

    #[test]
    fn stop_texts_are_looked_for_in_texts_and_not_in_frames() {
        for (transcript, stop, wanted) in [
            (CASES[0].0, "analysis", CASES[0].1),
            (CASES[0].0, "= ", &[CASES[0].1[0], "text 2 + 2 "][..]),
            (CASES[1].0, "location", CASES[1].1),
            // Not across messages.
            (
                "<|channel|>analysis<|message|>aE<|end|><|start|>assistant<|channel|>final<|message|>ND",
                "END",
                &["thought aE", "text ND"],
            ),
        ] {
            for cut in (0..=transcript.len()).map(Some).chain([None]) {
                assert_eq!(
                    told(transcript, cut, &[stop]),
                    wanted,
                    "{transcript} at {cut:?}"
                );
            }
        }
    }

    #[test]
    fn every_byte_is_told_of_once_however_often_somebody_asks() {
        for transcript in CASES
            .iter()
            .map(|case| case.0)
            .chain(["no", &"x".repeat(600)])
        {
            let (mut channels, mut events) = (
                Channels::new(vec!["now".to_owned()], StopGate::new(Vec::new()), false),
                Vec::new(),
            );
            let (mut written, mut passed) = (0, 0);
            for piece in pieces(transcript) {
                match piece {
                    Ok(mark) => channels.mark(mark, &mut events),
                    Err(text) => {
                        for letter in text.chars() {
                            channels.push(letter.encode_utf8(&mut [0; 4]), &mut events);
                            written += letter.len_utf8();
                            passed += channels.take_passed();
                        }
                    }
                }
                passed += channels.take_passed();
            }
            channels.finish(&mut events);
            assert_eq!(passed + channels.take_passed(), written, "{transcript}");
        }
    }

    #[test]
    fn a_header_without_an_end_is_text_and_not_held_for_ever() {
        let long = "x".repeat(HEADER_MAX_BYTES + 1);
        let mut channels = Channels::new(Vec::new(), StopGate::new(Vec::new()), false);
        let mut events = Vec::new();
        channels.push(&long, &mut events);
        assert_eq!(events, [ChatEvent::Text(long)]);
        let mut raw = Channels::new(Vec::new(), StopGate::new(Vec::new()), true);
        let mut events = Vec::new();
        raw.push("a", &mut events);
        assert_eq!(events, [ChatEvent::Text("a".into())]);
    }
}
