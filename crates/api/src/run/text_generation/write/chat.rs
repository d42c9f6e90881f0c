//! `chat.completion` of the chat classes: keys in the order of the alphabet, and usage with neurons.

use serde::Serialize;
use serde_json::{Value, json};
use tasks::{ChatEvent, Failure, TokenLogprobs, Usage};

use super::{Dress, call_words, finish_word, hex, logprobs, since_1970};
use crate::run::events::{Lines, Scribe, padding, sum};
use crate::run::text_generation::outcome::Outcome;
use crate::run::text_generation::usage::FullUsage;

pub(super) fn write(dress: &Dress, outcomes: Vec<Outcome>, usage: Usage) -> Value {
    let choice = |(index, outcome): (usize, Outcome)| {
        json!({
            "finish_reason": finish_word(outcome.finish, !outcome.calls.is_empty()),
            "index": index,
            "logprobs": logprobs::write(dress.logprobs, &outcome.logprobs),
            "message": message(outcome),
        })
    };
    let choices: Vec<_> = outcomes.into_iter().enumerate().map(choice).collect();
    json!({
        "choices": choices,
        "created": since_1970().as_secs(),
        "id": hex(),
        "model": dress.model,
        "object": "chat.completion",
        "usage": FullUsage::of(usage, dress.rate),
    })
}

fn message(outcome: Outcome) -> Value {
    let Outcome {
        text,
        reasoning,
        calls,
        ..
    } = outcome;
    let says_nothing = text.is_empty() && !(calls.is_empty() && reasoning.is_empty());
    let mut message = json!({
        "content": if says_nothing { Value::Null } else { Value::String(text) },
    });
    if !reasoning.is_empty() {
        message["reasoning_content"] = reasoning.into();
    }
    message["role"] = "assistant".into();
    if !calls.is_empty() {
        message["tool_calls"] = calls.iter().map(call_words).collect();
    }
    message
}

/// What was told of one choice.
#[derive(Debug, Default)]
struct Told {
    has_begun: bool,
    called: usize,
    /// Tokens that chunks have counted.
    tokens: u32,
    /// Whether the prompt was counted.
    prompt: bool,
    /// Of the tokens of the next chunk.
    logprobs: Vec<TokenLogprobs>,
}

/// What a frame of a stream is.
#[derive(Serialize)]
struct Chunk<'a, D> {
    choices: &'a [Choice<'a, D>],
    created: u64,
    id: &'a str,
    model: &'a str,
    object: &'static str,
    p: &'static str,
    usage: FullUsage,
}

/// More of a choice.
#[derive(Serialize)]
struct Choice<'a, D> {
    delta: D,
    finish_reason: Option<&'a str>,
    index: usize,
    logprobs: Value,
    /// No text to stop at is told.
    matched_stop: (),
}

/// The delta of a token.
#[derive(Serialize)]
struct Content<'a> {
    content: &'a str,
}

/// The frames of a stream.
pub(super) struct Stream {
    is_native: bool,
    dress: Dress,
    id: String,
    created: u64,
    told: Vec<Told>,
    usages: Vec<Usage>,
}

impl Stream {
    pub(super) fn new(is_native: bool, dress: Dress, choices: usize) -> Self {
        Self {
            is_native,
            dress,
            id: hex(),
            created: since_1970().as_secs(),
            told: (0..choices).map(|_| Told::default()).collect(),
            usages: Vec::new(),
        }
    }

    fn chunk<'a, D>(&'a self, choices: &'a [Choice<'a, D>], usage: FullUsage) -> Chunk<'a, D> {
        Chunk {
            choices,
            created: self.created,
            id: &self.id,
            model: &self.dress.model,
            object: "chat.completion.chunk",
            p: padding(),
            usage,
        }
    }

    /// A chunk with more of a choice, and what that added to the count.
    fn push(
        &mut self,
        index: usize,
        (delta, finish): (impl Serialize, Option<&str>),
        added: Usage,
        out: &mut Lines,
    ) -> Result<(), Failure> {
        let tokens = std::mem::take(&mut self.told[index].logprobs);
        let choice = Choice {
            delta,
            finish_reason: finish,
            index,
            logprobs: logprobs::write(!tokens.is_empty(), &tokens),
            matched_stop: (),
        };
        out.push(&self.chunk(&[choice], FullUsage::of_chunk(added, self.dress.rate)))
    }

    /// The first chunk of a choice. The first of all counts the prompt, where the model has told it.
    fn begin(&mut self, index: usize, prompt: Usage, out: &mut Lines) -> Result<(), Failure> {
        if std::mem::replace(&mut self.told[index].has_begun, true) {
            return Ok(());
        }
        let delta = json!({"content": "", "reasoning_content": null, "role": "assistant"});
        let added = if index == 0 { prompt } else { Usage::default() };
        self.told[index].prompt = added.prompt_tokens > 0;
        self.push(index, (delta, None), added, out)
    }

    /// A chunk for a token, or for the few that make a character.
    fn say(&mut self, index: usize, delta: impl Serialize, out: &mut Lines) -> Result<(), Failure> {
        self.begin(index, Usage::default(), out)?;
        self.told[index].tokens = self.told[index].tokens.saturating_add(1);
        let added = Usage {
            completion_tokens: 1,
            ..Usage::default()
        };
        self.push(index, (delta, None), added, out)
    }
}

impl Scribe for Stream {
    type Event = ChatEvent;

    fn tell(&mut self, index: usize, event: ChatEvent, out: &mut Lines) -> Result<bool, Failure> {
        match event {
            ChatEvent::Read {
                prompt_tokens,
                cached_tokens,
            } => {
                let prompt = Usage {
                    prompt_tokens,
                    completion_tokens: 0,
                    cached_tokens,
                };
                self.begin(index, prompt, out)?;
            }
            ChatEvent::Logprobs(more) => {
                self.begin(index, Usage::default(), out)?;
                self.told[index].logprobs.extend(more);
            }
            ChatEvent::Text(text) => {
                self.say(index, Content { content: &text }, out)?;
            }
            ChatEvent::Reasoning(text) => {
                self.say(index, json!({"reasoning_content": text}), out)?;
            }
            ChatEvent::ToolCall(call) => {
                let place = self.told[index].called;
                if self.dress.one_call && place > 0 {
                    return Ok(false);
                }
                self.told[index].called += 1;
                let mut words = call_words(&call);
                let (id, function) = (words["id"].take(), words["function"].take());
                let words =
                    json!({"function": function, "id": id, "index": place, "type": "function"});
                self.say(index, json!({"tool_calls": [words]}), out)?;
            }
            ChatEvent::Done { finish, usage } => {
                self.begin(index, usage_of_prompt(usage), out)?;
                let told = &self.told[index];
                let word = finish_word(finish, told.called > 0);
                // What no chunk has counted: end tokens, and the prompt of a model that told it late.
                let counts_prompt = index == 0 && !told.prompt;
                let rest = Usage {
                    completion_tokens: usage.completion_tokens.saturating_sub(told.tokens),
                    ..if counts_prompt {
                        usage
                    } else {
                        Usage::default()
                    }
                };
                let delta = json!({"reasoning_content": null});
                self.push(index, (delta, Some(word)), rest, out)?;
                self.usages.push(usage);
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn close(&mut self, out: &mut Lines) -> Result<(), Failure> {
        let usage = sum(self.usages.iter().copied());
        let rate = self.dress.rate;
        if self.is_native {
            // Chunks tell what they add, and this one adds nothing; the tail tells the sum.
            let nothing = FullUsage::of_chunk(Usage::default(), rate);
            out.push(&self.chunk::<Value>(&[], nothing))?;
            out.push(&json!({"response": "", "usage": FullUsage::of(usage, rate)}))?;
        } else if self.dress.includes_usage {
            out.push(&self.chunk::<Value>(&[], FullUsage::of(usage, rate)))?;
        }
        Ok(())
    }
}

fn usage_of_prompt(usage: Usage) -> Usage {
    Usage {
        completion_tokens: 0,
        ..usage
    }
}
