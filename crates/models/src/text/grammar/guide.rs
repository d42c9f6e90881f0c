//! When a grammar holds: at once, after the thinking, or whenever the mark of a call was written.

use std::sync::Arc;

use engine::model::LogitRules;
use llguidance::toktrie::SimpleVob;
use tasks::Failure;

use super::held::Held;
use super::{Grammar, Machine};
use crate::text::bias::Bias;
use crate::text::dialect::{THOUGHT_BEGINS, THOUGHT_ENDS};

/// Bytes of free text that are looked at for marks at once: more than a mark and a token have.
const TAIL_MAX_BYTES: usize = 1024;

/// What a model writes before a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::text) struct Mark {
    pub(in crate::text) text: &'static str,
    /// It counts only where the answer begins, and is the beginning of the call itself.
    pub(in crate::text) is_call: bool,
}

/// Whether an answer begins with thinking, which no grammar constrains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::text) enum Thought {
    /// It does not.
    No,
    /// It may, if this token comes first.
    May(u32),
    /// The prompt has begun it already.
    Begun,
}

/// Holds one answer to a grammar.
pub(in crate::text) struct Guide {
    machine: Arc<Machine>,
    grammar: Grammar,
    /// Where the grammar begins to hold; without marks it holds from the beginning of the answer.
    marks: Vec<Mark>,
    bias: Option<Bias>,
    thought: Thought,
    /// Since it began to hold.
    active: Option<Held>,
    /// What went wrong with a token, to be told with the next mask.
    failed: Option<Failure>,
    /// Tokens that were looked at.
    seen: usize,
    /// The end of the free text.
    tail: Vec<u8>,
    /// Nothing but white space was written since the answer began.
    is_blank: bool,
}

impl Guide {
    pub(in crate::text) fn new(
        machine: Arc<Machine>,
        grammar: Grammar,
        marks: Vec<Mark>,
        thought: Thought,
        bias: Option<Bias>,
    ) -> Self {
        let holds = marks.is_empty() && thought != Thought::Begun;
        Self {
            machine,
            active: holds.then(|| grammar.begin()),
            failed: None,
            grammar,
            marks,
            bias,
            thought,
            seen: 0,
            tail: Vec::new(),
            is_blank: true,
        }
    }

    fn take(&mut self, token: u32) -> Result<(), Failure> {
        let is_first = self.seen == 0;
        self.seen += 1;
        if is_first && self.thought == Thought::May(token) {
            self.active = None;
            self.thought = Thought::Begun;
            return Ok(());
        }
        let Some(held) = &mut self.active else {
            self.watch(token);
            return Ok(());
        };
        held.take(token)?;
        if held.is_over() && !self.marks.is_empty() {
            // The call is whole; free text follows, perhaps another.
            self.active = None;
            self.tail.clear();
        }
        Ok(())
    }

    /// Looks for a mark in free text.
    fn watch(&mut self, token: u32) {
        self.tail.extend_from_slice(self.machine.bytes(token));
        while let Some(next) = self.found() {
            match next {
                Found::Thought { end } => {
                    self.tail.drain(..end);
                    self.thought = Thought::Begun;
                }
                Found::Answer { end } => {
                    self.tail.drain(..end);
                    self.thought = Thought::No;
                    self.is_blank = true;
                    if self.marks.is_empty() {
                        let rest = std::mem::take(&mut self.tail);
                        let begun = self.begun(&rest);
                        self.active = Some(begun.unwrap_or_else(|| self.grammar.begin()));
                        return;
                    }
                }
                Found::Call { begin } => {
                    let rest = self.tail.split_off(begin);
                    self.tail.clear();
                    self.is_blank = false;
                    // A token that goes beyond the mark may have begun something else than a call.
                    self.active = self.begun(&rest);
                    return;
                }
            }
        }
        self.is_blank &= self.tail.iter().all(u8::is_ascii_whitespace) || self.may_begin();
        if self.tail.len() > TAIL_MAX_BYTES {
            self.tail.drain(..self.tail.len() - TAIL_MAX_BYTES);
        }
    }

    /// The grammar after bytes that were written already.
    fn begun(&self, bytes: &[u8]) -> Option<Held> {
        self.grammar.behind(&self.machine.spell(bytes))
    }

    fn found(&self) -> Option<Found> {
        if self.thought == Thought::Begun {
            let end = find(&self.tail, THOUGHT_ENDS)?;
            return Some(Found::Answer { end });
        }
        let begun = self.tail.trim_ascii_start();
        let skipped = self.tail.len() - begun.len();
        if self.is_blank && begun.starts_with(THOUGHT_BEGINS.as_bytes()) {
            let end = skipped + THOUGHT_BEGINS.len();
            return Some(Found::Thought { end });
        }
        let at = |mark: &Mark| {
            if !mark.is_call {
                return find(&self.tail, mark.text);
            }
            let begins = self.is_blank && begun.starts_with(mark.text.as_bytes());
            begins.then_some(skipped)
        };
        let begin = self.marks.iter().filter_map(at).min()?;
        Some(Found::Call { begin })
    }

    /// What was written may still become something that begins an answer.
    fn may_begin(&self) -> bool {
        let begun = self.tail.trim_ascii_start();
        let calls = self.marks.iter().filter(|mark| mark.is_call);
        let mut texts = calls.map(|mark| mark.text).chain([THOUGHT_BEGINS]);
        texts.any(|text| text.as_bytes().starts_with(begun))
    }
}

/// A place in the free text.
enum Found {
    /// Thinking begins behind it.
    Thought { end: usize },
    /// The answer begins behind it.
    Answer { end: usize },
    /// A call begins there, its mark not counted.
    Call { begin: usize },
}

/// Where the first such text ends.
fn find(bytes: &[u8], text: &str) -> Option<usize> {
    let mut windows = bytes.windows(text.len());
    let begin = windows.position(|window| window == text.as_bytes())?;
    Some(begin + text.len())
}

impl LogitRules for Guide {
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
        let Some(held) = &mut self.active else {
            return Ok(());
        };
        let mask = held.mask()?;
        if let Thought::May(token) = self.thought
            && self.seen == 0
        {
            let mut mask = mask.clone();
            mask.allow_token(token);
            hide(&mask, logits);
        } else {
            hide(mask, logits);
        }
        Ok(())
    }

    fn chosen(&mut self, token: u32) {
        self.failed = self.take(token).err();
        if let (Some(held), Some(makers)) = (&mut self.active, &self.machine.makers) {
            held.make_ahead(makers);
        }
    }
}

/// Takes away what the mask does not allow.
pub(super) fn hide(mask: &SimpleVob, logits: &mut [f32]) {
    let words = mask.as_slice().iter().copied();
    // Tokens beyond the mask are none.
    let words = words.chain(std::iter::repeat(0));
    for (logits, word) in logits.chunks_mut(32).zip(words) {
        if word == 0 {
            logits.fill(f32::NEG_INFINITY);
        } else if word != u32::MAX {
            for (place, logit) in logits.iter_mut().enumerate() {
                if word & (1 << place) == 0 {
                    *logit = f32::NEG_INFINITY;
                }
            }
        }
    }
}
