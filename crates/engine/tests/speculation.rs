//! Answers are token for token what they are without guesses, whatever is done to their logits and however they end.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // test models panic and spawn as tests do

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use engine::model::{
    Admission, CacheShape, LogitRules, Prelude, Recall, Rows, SequenceId, Step, StepCompanion,
    StepModel, Writer,
};
use engine::{DRAFT_MAX_TOKENS, Engine, Lane, Likelihood, Loader};
use tasks::{Failure, Finish, Grade, Sampling, Served, Task, Usage};

const VOCABULARY: usize = 40;
/// Texts mostly repeat what stood so many tokens before.
const PERIOD: usize = 6;
/// What a step takes beside its rows: guesses pay.
const STEP: Duration = Duration::from_micros(200);
/// Ends an answer where it is sampled.
const END: u32 = 0;

/// Tokens of texts that repeat themselves.
struct Chatter;

impl Task for Chatter {
    type Request = Ask;
    type Event = Said;
    const NAME: &'static str = "chatter";
}

#[derive(Debug, Clone)]
struct Ask {
    prompt: Vec<u32>,
    new: usize,
    sampling: Sampling,
    rules: bool,
    /// An answer ends where its last three tokens add up to this.
    stop: Option<u32>,
    logprobs: Option<usize>,
}

#[derive(Debug, Clone, PartialEq)]
enum Said {
    Token(u32),
    Likely(Likelihood),
    /// With the tokens that are counted.
    Done(Finish, u32),
}

/// Its logits follow from every token in the cache up to a row, so that a wrong or a stale one shows.
struct Model {
    recall: Recall,
    blocks: usize,
    cache: HashMap<(u32, usize), u32>,
    /// Positions that each sequence has had computed.
    computed: HashMap<SequenceId, usize>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    live: AtomicUsize,
    guessed: AtomicUsize,
    /// Sequences that were computed again.
    again: AtomicUsize,
}

fn mixed(tokens: &[u32]) -> u64 {
    let mix = |sum: u64, &token: &u32| (sum ^ u64::from(token)).wrapping_mul(0x0100_0000_01b3);
    tokens.iter().fold(0xcbf2_9ce4_8422_2325, mix)
}

fn logits(seen: &[u32]) -> Vec<f32> {
    let sum = mixed(seen);
    let noise = |token: u32| (mixed(&[token, sum as u32, (sum >> 32) as u32]) >> 40) as f32;
    let mut logits: Vec<f32> = (0..VOCABULARY as u32)
        .map(|token| noise(token) / (1 << 24) as f32)
        .collect();
    logits[END as usize] -= 0.5;
    if let Some(before) = seen.len().checked_sub(PERIOD)
        && !sum.is_multiple_of(16)
    {
        logits[seen[before] as usize] += 3.0;
    }
    logits
}

impl StepModel for Model {
    fn cache(&self) -> CacheShape {
        CacheShape {
            blocks: self.blocks,
            sequences: 16,
        }
    }
    fn recall(&self) -> Recall {
        self.recall
    }
    fn admit(&mut self, _: SequenceId, _: Option<Prelude>) -> Result<(), Failure> {
        self.counts.live.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
    fn step(&mut self, step: &Step) -> Result<Rows, Failure> {
        let mut all = Vec::new();
        for span in &step.spans {
            let place = |at: usize| (span.blocks[at / 32], at % 32);
            let end = span.start + span.rows.len();
            for (row, at) in span.rows.clone().zip(span.start..) {
                self.cache.insert(place(at), step.tokens[row]);
            }
            let computed = self.computed.entry(span.sequence).or_default();
            // Not because guesses were wrong.
            if span.start + DRAFT_MAX_TOKENS < *computed {
                self.counts.again.fetch_add(1, Ordering::SeqCst);
            }
            *computed = end;
            let guessed = span.logits.saturating_sub(1);
            self.counts.guessed.fetch_add(guessed, Ordering::SeqCst);
            let seen: Vec<u32> = (0..end).map(|at| self.cache[&place(at)]).collect();
            for last in end - span.logits..end {
                all.extend(logits(&seen[..=last]));
            }
        }
        std::thread::sleep(STEP);
        Ok(Rows {
            width: VOCABULARY,
            logits: all,
        })
    }
    fn release(&mut self, _: SequenceId) {
        self.counts.live.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Takes away tokens by what was generated, and holds what it is told against what it was told before.
#[derive(Default)]
struct Rules {
    generated: Vec<u32>,
    chosen: Option<u32>,
}

impl LogitRules for Rules {
    fn apply(&mut self, generated: &[u32], logits: &mut [f32]) -> Result<(), Failure> {
        if !self.generated.is_empty() || !generated.is_empty() {
            let (last, before) = generated.split_last().unwrap();
            assert_eq!(before, self.generated, "token by token");
            assert!(self.chosen.is_none_or(|chosen| chosen == *last));
        }
        self.chosen = None;
        self.generated = generated.to_vec();
        for (token, logit) in logits.iter_mut().enumerate() {
            if (token as u64 + mixed(generated)).is_multiple_of(9) {
                *logit = f32::NEG_INFINITY;
            }
        }
        Ok(())
    }
    fn chosen(&mut self, token: u32) {
        self.chosen = Some(token);
    }
}

struct Companion;

#[derive(Default)]
struct Scribe {
    stop: Option<u32>,
    last: Vec<u32>,
    likely: Option<Likelihood>,
}

impl Writer<Chatter> for Scribe {
    fn likelihood(&mut self, likelihood: Likelihood) {
        self.likely = Some(likelihood);
    }
    fn token(&mut self, token: u32, out: &mut Vec<Said>) -> Option<Finish> {
        if token == END {
            return Some(Finish::Stop);
        }
        out.push(Said::Token(token));
        if let Some(likely) = self.likely.take() {
            assert_eq!(likely.chosen.token, token);
            out.push(Said::Likely(likely));
        }
        self.last.push(token);
        let last = self.last.iter().rev().take(3).sum();
        self.stop.filter(|&stop| stop == last).map(|_| Finish::Stop)
    }
    fn finish(&mut self, finish: Finish, usage: Usage, out: &mut Vec<Said>) {
        out.push(Said::Done(finish, usage.completion_tokens));
    }
}

impl StepCompanion<Chatter> for Companion {
    fn admit(&self, ask: Ask) -> Result<Admission<Chatter>, Failure> {
        let rules = || Box::<Rules>::default() as Box<dyn LogitRules>;
        Ok(Admission {
            tokens: ask.prompt,
            max_new_tokens: ask.new,
            sampling: ask.sampling,
            logprobs: ask.logprobs,
            rules: ask.rules.then(rules),
            adapter: None,
            prelude: None,
            writer: Box::new(Scribe {
                stop: ask.stop,
                ..Scribe::default()
            }),
        })
    }
}

struct TestLoader {
    recall: Recall,
    blocks: usize,
    counts: Arc<Counts>,
}

impl Loader for TestLoader {
    fn choose(&self, _: &str) -> Result<Served, Failure> {
        Ok(Served {
            weights: "chatter".into(),
            grade: Grade::Stub,
        })
    }
    fn load(&self, _: &Served) -> Result<Lane, Failure> {
        let model = Model {
            recall: self.recall,
            blocks: self.blocks,
            cache: HashMap::new(),
            computed: HashMap::new(),
            counts: self.counts.clone(),
        };
        Ok(Lane::steps::<Chatter>(Arc::new(Companion), model))
    }
}

fn engine(recall: Recall, blocks: usize) -> (Engine, Arc<Counts>) {
    let counts = Arc::<Counts>::default();
    let loader = TestLoader {
        recall,
        blocks,
        counts: counts.clone(),
    };
    (Engine::start(Arc::new(loader), "test").unwrap(), counts)
}

/// Its first `most` events.
async fn answer(engine: &Engine, ask: Ask, most: usize) -> Vec<Said> {
    let mut replies = engine.submit::<Chatter>("chatter", ask).await.unwrap();
    let mut said = Vec::new();
    while said.len() < most
        && let Some(event) = replies.next().await
    {
        said.push(event.unwrap());
    }
    said
}

/// All of them at once.
async fn together(engine: &Engine, asks: &[Ask]) -> Vec<Vec<Said>> {
    let jobs: Vec<_> = asks
        .iter()
        .cloned()
        .map(|ask| {
            let engine = engine.clone();
            tokio::spawn(async move { answer(&engine, ask, usize::MAX).await })
        })
        .collect();
    let mut all = Vec::new();
    for job in jobs {
        all.push(job.await.unwrap());
    }
    all
}

/// One after the other by steps of one token, in a cache that has room for all.
async fn alone(asks: &[Ask]) -> Vec<Vec<Said>> {
    let (engine, counts) = engine(Recall::Cuts, 512);
    let mut all = Vec::new();
    for ask in asks {
        all.push(answer(&engine, ask.clone(), usize::MAX).await);
    }
    assert_eq!(counts.guessed.load(Ordering::SeqCst), 0);
    all
}

/// Requests with everything that changes logits or ends an answer.
fn asks() -> Vec<Ask> {
    let plain = Ask {
        prompt: Vec::new(),
        new: 120,
        sampling: Sampling::greedy(),
        rules: false,
        stop: None,
        logprobs: None,
    };
    let sampled = |seed| Sampling {
        temperature: 0.7,
        top_p: Some(0.95),
        seed: Some(seed),
        ..Sampling::greedy()
    };
    let of_kind = |number: u64| {
        let base = plain.clone();
        match number % 8 {
            0 => base,
            1 => Ask {
                sampling: sampled(number),
                ..base
            },
            2 => Ask {
                rules: true,
                ..base
            },
            3 => Ask {
                rules: true,
                sampling: sampled(number),
                logprobs: Some(3),
                ..base
            },
            4 => Ask {
                sampling: Sampling {
                    repetition_penalty: Some(1.1),
                    frequency_penalty: Some(0.05),
                    presence_penalty: Some(0.2),
                    ..sampled(number)
                },
                ..base
            },
            5 => Ask {
                stop: Some(60),
                ..base
            },
            6 => Ask {
                new: 1 + number as usize % 13,
                ..base
            },
            _ => Ask {
                logprobs: Some(0),
                sampling: sampled(number),
                stop: Some(40),
                ..base
            },
        }
    };
    (0..48)
        .map(|number| Ask {
            prompt: (0..=number as u32 * 3)
                .map(|at| 1 + (at % PERIOD as u32 * 5 + number as u32) % 39)
                .collect(),
            ..of_kind(number)
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_what_they_are_without_guesses() {
    let asks = asks();
    let expected = alone(&asks).await;
    let (engine, counts) = engine(Recall::Blocks, 512);
    let told = together(&engine, &asks).await;
    for (number, (told, expected)) in told.iter().zip(&expected).enumerate() {
        assert_eq!(told, expected, "{number}: {:?}", asks[number]);
    }
    // However fast the machine is, guesses are tried now and then.
    eprintln!("GUESSED {}", counts.guessed.load(Ordering::SeqCst));
    assert!(counts.guessed.load(Ordering::SeqCst) > 50);
    let ends = |end: fn(&Said) -> bool| expected.iter().filter(|said| said.iter().any(end)).count();
    assert!(ends(|said| matches!(said, Said::Done(Finish::Stop, _))) > 5);
    assert!(ends(|said| matches!(said, Said::Done(Finish::Length, _))) > 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_of_sequences_that_gave_way_are_the_same() {
    let asks: Vec<Ask> = (0..6)
        .map(|number| Ask {
            prompt: (0..40).map(|at| 1 + (at % 6 * 5 + number) % 39).collect(),
            new: 440,
            ..asks()[2].clone()
        })
        .collect();
    let expected = alone(&asks).await;
    let (engine, counts) = engine(Recall::Blocks, 26);
    assert_eq!(together(&engine, &asks).await, expected);
    assert!(counts.again.load(Ordering::SeqCst) > 0, "some gave way");
    eprintln!("GUESSED {}", counts.guessed.load(Ordering::SeqCst));
    assert!(counts.guessed.load(Ordering::SeqCst) > 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_leaves_in_the_middle_of_guesses_frees_its_sequence() {
    let asks = asks();
    let expected = alone(&asks).await;
    let (engine, counts) = engine(Recall::Blocks, 512);
    for (number, ask) in asks.iter().enumerate() {
        let most = 1 + number % 30;
        let said = answer(&engine, ask.clone(), most).await;
        let first = expected[number].len().min(most);
        assert_eq!(said, expected[number][..first]);
    }
    // Whoever comes then finds everything free.
    assert_eq!(
        answer(&engine, asks[8].clone(), usize::MAX).await,
        expected[8]
    );
    for _ in 0..2000 {
        if counts.live.load(Ordering::SeqCst) == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("a sequence stays");
}
