//! Harmony, how gpt-oss writes: a turn is some messages, each in a channel.
//!
//! `<|start|>assistant<|channel|>analysis<|message|>...<|end|>` is thinking, the channel `final` is the answer, and
//! `commentary` is a word before calls, or, where its header says `to=functions.NAME`, a call. The prompt ends behind
//! `<|start|>assistant`; `<|return|>` and `<|call|>` end the turn.
//!
//! After OpenAI, "Harmony response format" (github.com/openai/harmony, docs/format.md), and the chat template of
//! openai/gpt-oss-120b. Its marks are told by their token ids, so that an answer may spell them out.

mod channels;
mod rules;
mod turns;

use std::collections::BTreeSet;

use crate::text::Tokenizer;

pub(in crate::text) use channels::Channels;
pub(in crate::text) use turns::Turns;

/// What the names of a caller's functions begin with.
const FUNCTIONS: &str = "functions.";
/// What names the receiver of a message in its header.
const RECIPIENT: &str = "to=";
/// What a prompt ends with.
pub(in crate::text) const ANSWER_BEGINS: &str = "<|start|>assistant";
/// Tokens that end a turn.
const ENDS: [&str; 3] = ["<|return|>", "<|call|>", "<|endoftext|>"];

/// The tokens between the texts of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::text) struct Tokens {
    pub(in crate::text) start: u32,
    pub(in crate::text) end: u32,
    pub(in crate::text) message: u32,
    pub(in crate::text) channel: u32,
    pub(in crate::text) constrain: u32,
}

/// What a token of a message's frame says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::text) enum Mark {
    /// A message begins with its header: who speaks, and to whom.
    Start,
    /// The message is whole.
    End,
    /// The header is whole: its text follows.
    Message,
    /// The channel follows.
    Channel,
    /// The type of the text follows.
    Constrain,
}

impl Tokens {
    /// Those of a vocabulary that has them all.
    pub(in crate::text) fn of(tokenizer: &Tokenizer) -> Option<Self> {
        let id = |text: &str| tokenizer.token_to_id(text);
        Some(Self {
            start: id("<|start|>")?,
            end: id("<|end|>")?,
            message: id("<|message|>")?,
            channel: id("<|channel|>")?,
            constrain: id("<|constrain|>")?,
        })
    }

    /// The tokens that end a turn: those that were found and the format's own. What ends a message ends none.
    pub(in crate::text) fn ends(
        self,
        tokenizer: &Tokenizer,
        mut found: BTreeSet<u32>,
    ) -> BTreeSet<u32> {
        let own = ENDS.iter().filter_map(|text| tokenizer.token_to_id(text));
        found.extend(own);
        found.remove(&self.end);
        found
    }

    /// What a token says, if it is one of these.
    pub(in crate::text) fn mark(self, token: u32) -> Option<Mark> {
        [
            (self.start, Mark::Start),
            (self.end, Mark::End),
            (self.message, Mark::Message),
            (self.channel, Mark::Channel),
            (self.constrain, Mark::Constrain),
        ]
        .into_iter()
        .find_map(|(id, mark)| (id == token).then_some(mark))
    }
}

/// The function that a header speaks to: the recipient may stand beside the role or the channel.
pub(in crate::text) fn function(header: &str) -> Option<&str> {
    let mut words = header.split_whitespace();
    let recipient = words.find_map(|word| word.strip_prefix(RECIPIENT))?;
    Some(recipient.strip_prefix(FUNCTIONS).unwrap_or(recipient))
}

#[cfg(test)]
mod tests {
    use super::function;

    #[test]
    fn a_recipient_stands_anywhere_in_a_header() {
        for (header, named) in [
            ("assistant analysis", None),
            (" to=functions.f commentary json", Some("f")),
            ("assistant commentary to=functions.a.b json", Some("a.b")),
            ("assistant analysis to=python", Some("python")),
        ] {
            assert_eq!(function(header), named, "{header}");
        }
    }
}
