//! How likely the tokens of an answer were, told with the text that they come to.
//!
//! A token waits as long as its text does: for the rest of a character, for what may become a stop text, for what may
//! be the mark of a call. What of its text is never told is not told of it.

use std::collections::VecDeque;
use std::sync::Arc;

use engine::{Likelihood, Scored};
use tasks::{ChatEvent, Logprob, TokenLogprobs};

use super::spelling::Spelling;
use crate::text::Tokenizer;

/// The tokens of one answer whose text was not told yet.
pub(super) struct Logprobs {
    tokenizer: Arc<Tokenizer>,
    spelling: Spelling,
    waiting: VecDeque<Waiting>,
    /// Told with the next piece.
    ready: Vec<TokenLogprobs>,
    /// Bytes of text that tokens came to.
    written: usize,
    /// Bytes of it that passed the gate for stop texts.
    told: usize,
}

/// A token and where its text lies in the answer.
struct Waiting {
    logprobs: TokenLogprobs,
    begin: usize,
    /// `None`: its text is not whole.
    end: Option<usize>,
}

impl Logprobs {
    pub(super) fn new(tokenizer: &Arc<Tokenizer>) -> Self {
        Self {
            spelling: Spelling::of(tokenizer),
            tokenizer: Arc::clone(tokenizer),
            waiting: VecDeque::new(),
            ready: Vec::new(),
            written: 0,
            told: 0,
        }
    }

    /// The next token.
    pub(super) fn token(&mut self, likelihood: &Likelihood) {
        let spelt = |scored: &Scored| Logprob {
            bytes: self.bytes(scored.token).into(),
            logprob: scored.logprob,
        };
        let logprobs = TokenLogprobs {
            token: spelt(&likelihood.chosen),
            top: likelihood.top.iter().map(spelt).collect(),
        };
        self.waiting.push_back(Waiting {
            logprobs,
            begin: self.written,
            end: None,
        });
    }

    /// The newest token ends the answer, and is no part of it.
    pub(super) fn end_token(&mut self) {
        self.waiting.pop_back();
    }

    /// The tokens so far come to this text. A token without text of its own belongs to the next one that has some.
    pub(super) fn text(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        self.written += text.len();
        for waiting in self.waiting.iter_mut().rev() {
            if waiting.end.is_some() {
                break;
            }
            waiting.end = Some(self.written);
        }
    }

    /// So many more bytes of the text have passed the gate.
    pub(super) fn told(&mut self, bytes: usize) {
        self.told += bytes;
    }

    /// Tells, in front of the events from `first`, of the tokens whose text is all told but for `open` bytes.
    pub(super) fn tell(&mut self, open: usize, first: usize, out: &mut Vec<ChatEvent>) {
        let told = self.told.saturating_sub(open);
        while let Some(waiting) = self.waiting.pop_front() {
            if waiting.end.is_none_or(|end| end > told) {
                self.waiting.push_front(waiting);
                break;
            }
            self.ready.push(waiting.logprobs);
        }
        if out.len() > first {
            self.hand_over(first, out);
        }
    }

    /// The same at the end of the answer, of all that is left: but for what a stop text cut off, if one did.
    pub(super) fn finish(&mut self, is_cut: bool, first: usize, out: &mut Vec<ChatEvent>) {
        let told = self.told;
        let left = self.waiting.drain(..);
        let left = left.filter(|waiting| !is_cut || waiting.begin < told);
        self.ready.extend(left.map(|waiting| waiting.logprobs));
        self.hand_over(first, out);
    }

    fn hand_over(&mut self, first: usize, out: &mut Vec<ChatEvent>) {
        if !self.ready.is_empty() {
            let ready = std::mem::take(&mut self.ready);
            out.insert(first, ChatEvent::Logprobs(ready));
        }
    }

    /// The bytes of a token: none for an id without one. Added tokens, special ones among them, are their text.
    fn bytes(&self, token: u32) -> Vec<u8> {
        let added = self.tokenizer.get_added_vocabulary();
        if let Some(added) = added.get_added_tokens_decoder().get(&token) {
            return added.content.clone().into_bytes();
        }
        let word = self.tokenizer.id_to_token(token);
        word.map_or_else(Vec::new, |word| self.spelling.bytes(&word))
    }
}
