//! Whole answers of one stream as the engine makes them: the steps of its scheduler on a decoder, and its sampler.

use std::time::Instant;

use engine::model::{SequenceId, StepCompanion, StepModel};
use engine::{Arrival, Caller, Limits, Mix, Sampler, Schedule};
use models::decoder::{self, Decoder};
use models::device::Device;
use models::{ChatCompanion, Files};
use tasks::{ChatEvent, ChatOptions, ChatRequest, Message, Prompt, Sampling};

/// King James Version, Ruth and 1 Samuel.
const TEXT: &str = include_str!("../texts/ruth-and-samuel.txt");
/// Verses of a passage that is to be repeated, and between the first verses of two passages.
const PASSAGE_VERSES: usize = 6;
const PASSAGE_EVERY_VERSES: usize = 40;
const PASSAGES: usize = 4;
const QUESTIONS: [&str; 6] = [
    "Why is the sky blue?",
    "Write a short story about a sailor who finds an island.",
    "Explain how a bicycle stays upright.",
    "Give me three tips for learning a language.",
    "What happened in the year 1969?",
    "Describe a market in the early morning.",
];
/// Tokens of an answer at most.
const REPEATED_TOKENS: u32 = 200;
const CHAT_TOKENS: u32 = 120;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Requests of this kind: `repeat`, whose answers stand in their prompts, or `chat`. `None` for another.
#[must_use]
pub fn requests(kind: &str) -> Option<Vec<ChatRequest>> {
    let of = |text: String, max_tokens, sampling| ChatRequest {
        prompt: Prompt::Messages(vec![Message::text("user", text)]),
        max_tokens: Some(max_tokens),
        sampling,
        window: 8192,
        options: ChatOptions::default(),
    };
    let verses: Vec<&str> = TEXT.lines().collect();
    match kind {
        "repeat" => {
            let passages = verses.chunks(PASSAGE_EVERY_VERSES).take(PASSAGES);
            let asks = passages.map(|verses| {
                let passage = verses[..PASSAGE_VERSES].join("\n");
                let ask = format!("Repeat this text word for word:\n\n{passage}");
                of(ask, REPEATED_TOKENS, Sampling::greedy())
            });
            Some(asks.collect())
        }
        "chat" => {
            let asks = QUESTIONS.iter().enumerate().map(|(number, question)| {
                let sampling = Sampling {
                    temperature: 0.6,
                    seed: Some(number as u64),
                    ..Sampling::greedy()
                };
                of((*question).to_owned(), CHAT_TOKENS, sampling)
            });
            Some(asks.collect())
        }
        _ => None,
    }
}

/// A decoder with its scheduler.
pub struct Answers {
    companion: std::sync::Arc<ChatCompanion>,
    decoder: Decoder,
    schedule: Schedule,
    asked: u64,
    /// Tokens that steps guessed, and those of them that came true.
    pub guessed: usize,
    pub came_true: usize,
}

/// What an answer took.
#[derive(Debug)]
pub struct Answer {
    /// Tokens after the first.
    pub tokens: usize,
    /// From the first token to the last.
    pub seconds: f64,
    pub text: String,
}

impl Answers {
    /// Loads a decoder whose steps guess so many tokens of a sequence at most.
    pub fn load(folder: &str, drafts: usize) -> Result<Self> {
        let (companion, decoder) = decoder::load(&Files::new(folder.into()), &Device::Cpu)?;
        let limits = Limits {
            cache: decoder.cache(),
            recall: decoder.recall(),
            step_tokens: engine::STEP_MAX_TOKENS,
            cut_tokens: engine::CUT_TOKENS,
            queue: engine::QUEUE_MAX_JOBS,
            target: engine::INTER_TOKEN_TARGET,
            mix: Mix::Mixed,
            drafts,
        };
        Ok(Self {
            companion,
            decoder,
            schedule: Schedule::new(limits),
            asked: 0,
            guessed: 0,
            came_true: 0,
        })
    }

    /// Answers one request, for a tenant of its own: nothing of it is in the cache.
    pub fn answer(&mut self, request: ChatRequest) -> Result<Answer> {
        let mut admission = self.companion.admit(request)?;
        let id = SequenceId(self.asked);
        let arrival = Arrival {
            prompt: admission.tokens.clone(),
            max_new: admission.max_new_tokens,
            caller: Caller {
                tenant: self.asked,
                ..Caller::default()
            },
            adapter: Some(0),
        };
        self.asked += 1;
        let mut sampler = Sampler::new(admission.sampling, &admission.tokens, 0);
        let (mut tokens, mut begun, mut text) = (0, None, String::new());
        let mut events = Vec::new();
        self.schedule.add(id, arrival)?;
        self.decoder.admit(id, None)?;
        loop {
            let step = self.schedule.plan().step;
            let start = Instant::now();
            let mut rows = self.decoder.step(&step)?;
            self.schedule.completed(&step, start.elapsed());
            let mut is_next = !rows.logits.is_empty();
            self.guessed += step.logit_rows().count().saturating_sub(1);
            for (place, row) in rows.logits.chunks_exact_mut(rows.width).enumerate() {
                if !is_next {
                    break;
                }
                self.came_true += usize::from(place > 0);
                let token = sampler.next(row)?;
                let is_end = admission.writer.token(token, &mut events).is_some();
                for event in events.drain(..) {
                    if let ChatEvent::Text(more) = event {
                        text.push_str(&more);
                    }
                }
                tokens += 1;
                if is_end || tokens == admission.max_new_tokens {
                    self.schedule.remove(id);
                    self.decoder.release(id);
                    let begun: Instant = begun.unwrap_or_else(Instant::now);
                    return Ok(Answer {
                        tokens: tokens - 1,
                        seconds: begun.elapsed().as_secs_f64(),
                        text,
                    });
                }
                is_next = self.schedule.push(id, token);
            }
            if tokens > 0 {
                begun.get_or_insert_with(Instant::now);
            }
            self.decoder.reuse(rows);
        }
    }
}
