//! When a grammar holds in an answer of channels: in what has to come, and in the arguments of a call that was begun.

use std::sync::Arc;

use engine::model::LogitRules;
use tasks::Failure;

use super::guide::hide;
use super::held::Held;
use super::{Grammar, Machine};
use crate::text::bias::Bias;
use crate::text::dialect::harmony::{Mark, Tokens, function};

/// The longest header that is looked at, in bytes.
const HEADER_MAX_BYTES: usize = 256;

/// What an answer in channels is held to.
pub(in crate::text) enum Hold {
    /// To a grammar of its messages, of the first and of each later one; thinking is free.
    Messages {
        first: Box<Grammar>,
        later: Box<Grammar>,
    },
    /// To nothing but the arguments of the calls it makes: the grammar of the tool's name and of what follows.
    Arguments {
        call: Box<Grammar>,
        names: Vec<String>,
    },
}

/// What holds at a place.
enum State {
    Held(Box<Held>),
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
    /// What went wrong with a token, to be told with the next mask.
    failed: Option<Failure>,
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
            Hold::Messages { first, .. } => State::Held(Box::new(first.begin())),
            Hold::Arguments { .. } => State::Header(Vec::new()),
        };
        Self {
            machine,
            tokens,
            ends,
            hold,
            state,
            bias,
            failed: None,
            seen: 0,
        }
    }

    fn take(&mut self, token: u32) -> Result<(), Failure> {
        self.seen += 1;
        let mark = self.tokens.mark(token);
        let next = match (&mut self.state, &self.hold) {
            (State::Held(held), hold) => {
                held.take(token)?;
                match hold {
                    // A header that ends a grammar is that of thinking.
                    Hold::Messages { .. } if mark == Some(Mark::Message) && held.is_over() => {
                        State::Thought
                    }
                    Hold::Arguments { .. } if held.is_over() => State::Free,
                    _ => return Ok(()),
                }
            }
            (State::Thought, Hold::Messages { later, .. }) if mark == Some(Mark::End) => {
                State::Held(Box::new(later.begin()))
            }
            (State::Header(header), Hold::Arguments { call, names }) => match mark {
                Some(Mark::Message) => begun(&self.machine, header, call, names, token),
                Some(Mark::Start) => State::Header(Vec::new()),
                Some(Mark::End) => State::Free,
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
            // As whoever reads the answer takes them for the beginning of a message.
            (State::Free, _) if matches!(mark, Some(Mark::Start | Mark::Channel)) => {
                State::Header(Vec::new())
            }
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
    call: &Grammar,
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
    let held = call.behind(&tokens);
    held.map_or(State::Free, |held| State::Held(Box::new(held)))
}

impl LogitRules for ChannelGuide {
    fn apply(&mut self, generated: &[u32], logits: &mut [f32]) -> Result<(), Failure> {
        for &token in generated.get(self.seen..).unwrap_or_default() {
            self.take(token)?;
        }
        if let Some(failure) = self.failed.take() {
            return Err(failure);
        }
        if let Some(bias) = &mut self.bias {
            bias.apply(generated, logits)?;
        }
        match &mut self.state {
            State::Held(held) => hide(held.mask()?, logits),
            State::Thought => self.keep_thinking(logits),
            State::Header(_) | State::Free => {}
        }
        Ok(())
    }

    fn chosen(&mut self, token: u32) {
        self.failed = self.take(token).err();
        if let (State::Held(held), Some(makers)) = (&mut self.state, &self.machine.makers) {
            held.make_ahead(makers);
        }
    }
}
