//! What a model fulfils, for each of the three shapes of work.
//!
//! The engine counts tokens, blocks and jobs; tensors, vocabularies and sample rates stay with the
//! model. A model comes in two halves: a *companion* that is shared by all threads and prepares
//! requests (templates, tokenising, decoding of audio), and the model proper, which one device
//! thread owns.

use std::any::Any;
use std::ops::Range;

use tasks::{Failure, Finish, Sampling, Task, Usage};

use crate::direct::Answer;
use crate::likelihood::Likelihood;

/// Tokens in a block of the KV cache.
pub const BLOCK_TOKENS: usize = 32;

/// Names a live sequence of one model; never used twice in a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SequenceId(pub u64);

/// What a model was given at admission beside its tokens, such as the features of an audio window.
/// Made by the companion, opened by the model; opaque to the engine.
pub type Prelude = Box<dyn Any + Send>;

/// What may be used again of a model's KV cache, which depends on what the bits of a row depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recall {
    /// Nothing: a row depends on more than the tokens before it.
    Nothing,
    /// Prompts that were cut at the same positions: a row is rounded by the size of the products that it is computed
    /// in. A sequence keeps its blocks until it ends, as computing it again could round otherwise.
    Cuts,
    /// Every full block: a row depends on its token, its position and the cache only, to the bit. A sequence may give up
    /// its blocks and be computed again.
    Blocks,
}

/// The size of a model's KV cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheShape {
    /// Blocks of [`BLOCK_TOKENS`] positions that may be in use at once.
    pub blocks: usize,
    /// Sequences that may be live at once, and rows of one step whose logits may be wanted.
    pub sequences: usize,
}

/// The part of a step that belongs to one sequence: a chunk of its prompt, or its newest token and guesses of those
/// that come after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Whose rows these are.
    pub sequence: SequenceId,
    /// Its rows within [`Step::tokens`].
    pub rows: Range<usize>,
    /// Position of the first row within the sequence. Positions before it are in the cache.
    pub start: usize,
    /// The sequence's blocks in order: position `p` lives in `blocks[p / BLOCK_TOKENS]`, at offset
    /// `p % BLOCK_TOKENS`. Covers the rows of this span.
    pub blocks: Vec<u32>,
    /// So many of its last rows have their logits wanted; no more than it has rows.
    pub logits: usize,
}

impl Span {
    /// Its rows within [`Step::tokens`] whose logits are wanted.
    pub fn logit_rows(&self) -> Range<usize> {
        self.rows.end.saturating_sub(self.logits)..self.rows.end
    }
}

/// One forward pass over a ragged batch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Step {
    /// Token ids of all rows, span after span.
    pub tokens: Vec<u32>,
    /// Which rows belong to which sequence, in row order, without gaps.
    pub spans: Vec<Span>,
}

impl Step {
    /// The rows whose logits are wanted, in order.
    pub fn logit_rows(&self) -> impl Iterator<Item = usize> {
        self.spans.iter().flat_map(Span::logit_rows)
    }
}

/// Logits of the rows that were asked for, in their order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rows {
    /// Size of the vocabulary.
    pub width: usize,
    /// `[rows of Step::logit_rows, width]`, row-major.
    pub logits: Vec<f32>,
}

/// A model that generates token by token for many sequences at once.
pub trait StepModel: Send {
    /// The size of its KV cache, fixed for its life.
    fn cache(&self) -> CacheShape;
    /// What of the cache may be used again, fixed for its life.
    fn recall(&self) -> Recall {
        Recall::Nothing
    }
    /// Takes a sequence in before its first step. An error fails this sequence only.
    fn admit(&mut self, sequence: SequenceId, prelude: Option<Prelude>) -> Result<(), Failure>;
    /// Runs one step. An error fails every sequence of the step.
    fn step(&mut self, step: &Step) -> Result<Rows, Failure>;
    /// Takes back what a step returned, for its memory's sake.
    fn reuse(&mut self, _rows: Rows) {}
    /// Forgets a sequence; called once for each admitted one, however it ended.
    fn release(&mut self, sequence: SequenceId);
}

/// Changes logits before a token is sampled: a grammar, or Whisper's rules for timestamps.
pub trait LogitRules: Send {
    /// `logits` is one row, the width of the vocabulary; `generated` are the tokens so far.
    ///
    /// # Errors
    /// What keeps the rules from being held to, which fails this sequence.
    fn apply(&mut self, generated: &[u32], logits: &mut [f32]) -> Result<(), Failure>;
    /// The token that the next step computes, with which `generated` ends in the next [`LogitRules::apply`]: what that
    /// needs may be made on another thread while the device works. Must not wait.
    fn chosen(&mut self, _token: u32) {}
}

/// Turns the tokens of one sequence into the events of its task.
pub trait Writer<T: Task>: Send {
    /// Called once before the first token: so many tokens of the prompt were in the cache.
    fn begin(&mut self, _cached_tokens: u32) {}
    /// How likely the next token was; called before [`Writer::token`] where [`Admission::logprobs`] asks for it.
    fn likelihood(&mut self, _likelihood: Likelihood) {}
    /// Takes the next token; pushes what it completes. `Some` ends the sequence.
    fn token(&mut self, token: u32, out: &mut Vec<T::Event>) -> Option<Finish>;
    /// Called once at the end unless the sequence failed or its reader left: flushes what was held
    /// back and pushes the last event.
    fn finish(&mut self, finish: Finish, usage: Usage, out: &mut Vec<T::Event>);
}

/// A request made ready for the token loop.
pub struct Admission<T: Task> {
    /// The prompt's token ids; at least one.
    pub tokens: Vec<u32>,
    /// The most tokens to generate; at least one. The companion has checked that they fit the window.
    pub max_new_tokens: usize,
    /// How to choose tokens.
    pub sampling: Sampling,
    /// Whether the writer is told how likely each token was, with so many of the likeliest in its place.
    pub logprobs: Option<usize>,
    /// Changes logits before sampling.
    pub rules: Option<Box<dyn LogitRules>>,
    /// Names what the prelude adds to the model, where it is all that the cache depends on beside the tokens: sequences of
    /// one adapter share what they have in common. Not 0, which is the model alone.
    pub adapter: Option<u64>,
    /// What the model needs beside the tokens.
    pub prelude: Option<Prelude>,
    /// Turns tokens into events.
    pub writer: Box<dyn Writer<T>>,
}

/// The shared half of a step model. Runs off the device thread, on many threads.
pub trait StepCompanion<T: Task>: Send + Sync {
    /// Prepares a request: template, tokenising, decoding.
    fn admit(&self, request: T::Request) -> Result<Admission<T>, Failure>;
    /// Whether [`StepCompanion::admit`] takes this request no longer than a millisecond and waits for nothing, so that
    /// it may be prepared on a thread that serves others as well: handing it to another takes a tenth of that.
    fn is_brief(&self, _request: &T::Request) -> bool {
        false
    }
}

/// A job made ready for a batch.
pub struct Job<J> {
    /// What the model reads.
    pub work: J,
    /// Its share of a batch, in tokens.
    pub cost: usize,
}

/// The shared half of a batch model. Runs off the device thread, on many threads.
pub trait BatchCompanion<T: Task>: Send + Sync {
    /// What the model reads, such as token ids.
    type Work: Send + 'static;
    /// Prepares a request.
    fn prepare(&self, request: T::Request) -> Result<Job<Self::Work>, Failure>;
}

/// A model that answers many jobs with one forward pass.
pub trait BatchModel<T: Task>: Send {
    /// What [`BatchCompanion::prepare`] made.
    type Work: Send + 'static;
    /// The tokens that a batch may hold; a single job above it runs alone.
    fn budget(&self) -> usize;
    /// Answers each job, in order; as many answers as jobs.
    fn run(&mut self, batch: Vec<Self::Work>) -> Vec<Result<T::Event, Failure>>;
}

/// The shared half of a session model. Runs off the device thread, on many threads.
pub trait SessionCompanion<T: Task>: Send + Sync {
    /// What a session begins with.
    type Work: Send + 'static;
    /// Prepares a request.
    fn prepare(&self, request: T::Request) -> Result<Self::Work, Failure>;
}

/// What came of a session's piece of work.
#[derive(Debug)]
pub enum Said<E> {
    /// A piece of its answer.
    Event(E),
    /// Its answer is whole.
    End,
    /// It has no answer.
    Failed(Failure),
}

/// A model that works on long jobs side by side and keeps their states.
pub trait SessionModel<T: Task>: Send {
    /// What [`SessionCompanion::prepare`] made.
    type Work: Send + 'static;
    /// Sessions that may live at once, at least one.
    fn sessions(&self) -> usize;
    /// Takes a session in. An error fails this session only; it is not alive then.
    fn begin(&mut self, session: SequenceId, work: Self::Work) -> Result<(), Failure>;
    /// One bounded piece of work for the live sessions, of which each gets its share in the end. Gives
    /// what came of it, in order; those that ended or failed are told so by [`SessionModel::end`].
    fn turn(&mut self) -> Vec<(SequenceId, Said<T::Event>)>;
    /// Forgets a session; called once for each that lives, however it ended.
    fn end(&mut self, session: SequenceId);
}

/// A model without a device, whose answers cost next to nothing. Runs on many threads.
pub trait DirectModel<T: Task>: Send + Sync {
    /// Answers a request.
    ///
    /// # Errors
    /// What is wrong with the request as a whole.
    fn answer(&self, request: T::Request) -> Result<Answer<T::Event>, Failure>;
}
