//! When a grammar holds in an answer of channels: in what has to come, and in the arguments of a call that was begun.

use std::sync::Arc;

use engine::model::LogitRules;
use llguidance::Matcher;
use tasks::Failure;

use super::Machine;
use super::guide::{hide, unmet};
use crate::text::bias::Bias;
use crate::text::dialect::harmony::{Mark, Tokens, function};

/// The longest header that is looked at, in bytes.
const HEADER_MAX_BYTES: usize = 256;

/// What an answer in channels is held to.
pub(in crate::text) enum Hold {
    /// To a grammar of its messages, of the first and of each later one; thinking is free.
    Messages { first: Matcher, later: Matcher },
    /// To nothing but the arguments of the calls it makes: the grammar of the tool's name and of what follows.
    Arguments { call: Matcher, names: Vec<String> },
}

/// What holds at a place.
enum State {
    Held(Box<Matcher>),
    /// Thinking, behind which something has to come.
    Thought,
    /// The header of a message of any kind.
    Header(Vec<u8>),
    Free,
}

/// Holds one answer in channels to its rules.
pub(in crate::text) struct ChannelGuide {
    machine: Arc<Machine>,
    tokens: Tokens,
    /// Tokens that end an answer.
    ends: Arc<[u32]>,
    hold: Hold,
    state: State,
    bias: Option<Bias>,
    /// Tokens that were looked at.
    seen: usize,
}

impl ChannelGuide {
    pub(in crate::text) fn new(
        machine: Arc<Machine>,
        (tokens, ends): (Tokens, Arc<[u32]>),
        hold: Hold,
        bias: Option<Bias>,
    ) -> Self {
        let state = match &hold {
            Hold::Messages { first, .. } => State::Held(Box::new(first.deep_clone())),
            Hold::Arguments { .. } => State::Header(Vec::new()),
        };
        Self {
            machine,
            tokens,
            ends,
            hold,
            state,
            bias,
            seen: 0,
        }
    }

    fn take(&mut self, token: u32) -> Result<(), Failure> {
        let mark = self.tokens.mark(token);
        let next = match (&mut self.state, &self.hold) {
            (State::Held(matcher), hold) => {
                matcher.consume_token(token).map_err(unmet)?;
                match hold {
                    // A header that ends a grammar is that of thinking.
                    Hold::Messages { .. }
                        if mark == Some(Mark::Message) && matcher.is_stopped() =>
                    {
                        State::Thought
                    }
                    Hold::Arguments { .. } if matcher.is_stopped() => State::Free,
                    _ => return Ok(()),
                }
            }
            (State::Thought, Hold::Messages { later, .. }) if mark == Some(Mark::End) => {
                State::Held(Box::new(later.deep_clone()))
            }
            (State::Header(header), Hold::Arguments { call, names }) => match mark {
                Some(Mark::Message) => begun(&self.machine, header, call, names, token),
                Some(_) => {
                    header.push(b' ');
                    return Ok(());
                }
                None => {
                    header.extend_from_slice(self.machine.bytes(token));
                    header.truncate(HEADER_MAX_BYTES);
                    return Ok(());
                }
            },
            (State::Free, _) if mark == Some(Mark::Start) => State::Header(Vec::new()),
            _ => return Ok(()),
        };
        self.state = next;
        Ok(())
    }

    /// Thinking ends as a message does, and nothing else may.
    fn keep_thinking(&self, logits: &mut [f32]) {
        let Tokens {
            start,
            message,
            channel,
            constrain,
            end: _,
        } = self.tokens;
        let marks = [start, message, channel, constrain];
        for &token in self.ends.iter().chain(&marks) {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit = f32::NEG_INFINITY;
            }
        }
    }
}

/// The state behind a header: held where it is that of a call.
fn begun(
    machine: &Machine,
    header: &[u8],
    call: &Matcher,
    names: &[String],
    message: u32,
) -> State {
    let header = String::from_utf8_lossy(header);
    let named = function(&header).filter(|named| names.iter().any(|name| name == named));
    let Some(name) = named else {
        return State::Free;
    };
    let mut tokens = machine.spell(name.as_bytes());
    tokens.push(message);
    let mut matcher = call.deep_clone();
    match matcher.consume_tokens(&tokens) {
        Ok(()) => State::Held(Box::new(matcher)),
        Err(_) => State::Free,
    }
}

impl LogitRules for ChannelGuide {
    fn apply(&mut self, generated: &[u32], logits: &mut [f32]) -> Result<(), Failure> {
        for &token in generated.get(self.seen..).unwrap_or_default() {
            self.seen += 1;
            self.take(token)?;
        }
        if let Some(bias) = &mut self.bias {
            bias.apply(generated, logits)?;
        }
        match &mut self.state {
            State::Held(matcher) => {
                let mask = matcher.compute_mask_or_eos().map_err(unmet)?;
                hide(&mask, logits);
            }
            State::Thought => self.keep_thinking(logits),
            State::Header(_) | State::Free => {}
        }
        Ok(())
    }
}
