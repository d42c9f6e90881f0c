//! A sequence's tokens are its own: real and tiny checkpoints answer in company, from the cache, and after they had to
//! give way, as they answer alone.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // helpers of tests panic and spawn as tests do

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use engine::model::{CacheShape, Recall, SequenceId, StepModel};
use engine::{Arrival, Caller, Class, Engine, Lane, Limits, Loader, Mix, Schedule};
use models::device::Device;
use models::{Files, Fit};
use serde_json::Value;
use tasks::{
    Chat, ChatEvent, ChatOptions, ChatRequest, Failure, Grade, Message, Prompt, Sampling, Served,
    Usage,
};
use testkit::golden;

// Through the whole engine: SmolLM2-135M-Instruct.

struct SmolLm2;

const WEIGHTS: &str = "smollm2-135m-instruct";

impl Loader for SmolLm2 {
    fn choose(&self, _: &str) -> Result<Served, Failure> {
        Ok(Served {
            weights: WEIGHTS.into(),
            grade: Grade::Exact,
        })
    }
    fn load(&self, _: &Served) -> Result<Lane, Failure> {
        let files = Files::new(testkit::weights(WEIGHTS));
        models::load("llama", &files, &Device::Cpu, Fit::default())
            .map_err(|error| Failure::Unavailable(error.to_string()))
    }
}

fn ask(prompt: Prompt, max_tokens: u32, seed: Option<u64>) -> ChatRequest {
    let sampling = match seed {
        None => Sampling::greedy(),
        Some(_) => Sampling {
            temperature: 0.8,
            top_p: Some(0.9),
            seed,
            ..Sampling::greedy()
        },
    };
    ChatRequest {
        prompt,
        max_tokens: Some(max_tokens),
        sampling,
        window: 8192,
        options: ChatOptions::default(),
    }
}

async fn answer(engine: &Engine, tenant: u64, request: ChatRequest) -> (String, Usage) {
    let caller = Caller {
        tenant,
        ..Caller::default()
    };
    let mut replies = engine
        .submit_for::<Chat>(caller, WEIGHTS, request)
        .await
        .unwrap();
    let (mut text, mut counted) = (String::new(), Usage::default());
    while let Some(event) = replies.next().await {
        match event.unwrap() {
            ChatEvent::Text(more) => text.push_str(&more),
            ChatEvent::Done { usage, .. } => counted = usage,
            _ => {}
        }
    }
    (text, counted)
}

/// Prompts of 10 to some 350 tokens, answers of 8 to 39.
fn stream(number: u64) -> ChatRequest {
    let mut story = format!("Story {number}. ");
    for line in 0..number % 8 * (1 + number % 4) {
        let sailors = number * line;
        let _ = write!(story, "In year {line} a ship of {sailors} sailors left. ");
    }
    story.push_str("Write what happened next.");
    let prompt = Prompt::Messages(vec![Message::text("user", story)]);
    ask(
        prompt,
        8 + number as u32,
        (number % 2 == 1).then_some(number),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_two_streams_answer_as_each_does_alone() {
    const STREAMS: u64 = 32;
    let engine = Engine::start(Arc::new(SmolLm2), "cpu").unwrap();
    let mut alone = Vec::new();
    for number in 0..STREAMS {
        // A tenant of its own finds nothing in the cache.
        alone.push(answer(&engine, 1000 + number, stream(number)).await);
    }
    let together: Vec<_> = (0..STREAMS)
        .map(|number| {
            let engine = engine.clone();
            tokio::spawn(async move { answer(&engine, number % 5, stream(number)).await })
        })
        .collect();
    // Some that leave in the middle.
    let leaving: Vec<_> = (0..6)
        .map(|number| {
            let engine = engine.clone();
            tokio::spawn(async move {
                let request = stream(STREAMS + number);
                let mut replies = engine.submit::<Chat>(WEIGHTS, request).await.unwrap();
                for _ in 0..number {
                    replies.next().await;
                }
            })
        })
        .collect();
    for (number, (job, (text, usage))) in together.into_iter().zip(&alone).enumerate() {
        let (told, counted) = job.await.unwrap();
        assert_eq!(&told, text, "stream {number}");
        assert_eq!(counted.completion_tokens, usage.completion_tokens);
    }
    for job in leaving {
        job.await.unwrap();
    }
    // Once more, from the cache.
    let mut found = 0;
    for number in 0..STREAMS {
        let (text, usage) = answer(&engine, number % 5, stream(number)).await;
        assert_eq!(
            text, alone[number as usize].0,
            "stream {number} from the cache"
        );
        found += usage.cached_tokens;
    }
    assert!(found > 1000, "{found} tokens were in the cache");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversation_that_is_sent_again_is_found_in_the_cache() {
    let engine = Engine::start(Arc::new(SmolLm2), "cpu").unwrap();
    let mut turns = vec![Message::text(
        "system",
        "You are a guide in a museum of ships. You answer briefly, politely and with dates. "
            .repeat(3),
    )];
    let mut before = 0;
    for question in [
        "Which ship is the oldest?",
        "Who built it?",
        "Where did it sail?",
        "What was its end?",
    ] {
        turns.push(Message::text("user", question));
        let request = ask(Prompt::Messages(turns.clone()), 40, None);
        let (text, usage) = answer(&engine, 1, request.clone()).await;
        let (again, _) = answer(&engine, 77 + turns.len() as u64, request).await;
        assert_eq!(text, again, "the cache changes nothing");
        // All full blocks of the turn before, its prompt at least.
        assert!(
            usage.cached_tokens + 32 > before && usage.cached_tokens < usage.prompt_tokens,
            "{usage:?} after {before}"
        );
        assert_eq!(usage.cached_tokens % 32, 0);
        before = usage.prompt_tokens;
        turns.push(Message::text("assistant", text));
    }
    assert!(before > 150, "{before}");
}

#[test]
fn real_weights_say_the_same_with_guesses_and_without() {
    let files = Files::new(testkit::weights(WEIGHTS));
    let (companion, mut model) = models::decoder::load(&files, &Device::Cpu).unwrap();
    let ship =
        "The ship left the harbour on the third of May with forty sailors, two cooks and a cat. ";
    let prompts = [
        format!("Repeat this text word for word:\n\n{ship}{ship}"),
        format!("Write a story that begins like this: {ship}"),
        "Count from one to thirty in words.".to_owned(),
    ];
    let mut runs = Vec::new();
    for drafts in [0, 8] {
        let limits = Limits {
            cache: model.cache(),
            recall: model.recall(),
            step_tokens: 64,
            cut_tokens: 32,
            queue: 8,
            target: Duration::from_millis(50),
            mix: Mix::Mixed,
            drafts,
        };
        let mut company = Company::new(model, limits);
        for (id, prompt) in prompts.iter().enumerate() {
            let prompt = Prompt::Messages(vec![Message::text("user", prompt.clone())]);
            let tokens = companion.tokens(&prompt).unwrap();
            company.add(id as u64, Class::Default, &tokens, 80);
        }
        while company.step() {}
        model = company.model;
        runs.push((company.generated, company.came_true));
    }
    let [(plain, none), (guessed, right)] = &runs[..] else {
        panic!("two runs");
    };
    assert_eq!(guessed, plain);
    assert!(*none == 0 && *right > 10, "{right} guesses came true");
}

// The decoders of all families under the schedule itself, in a cache that is too small for them.

const TINY: [&str; 16] = [
    "tiny-llama",
    "tiny-llama31-rope",
    "tiny-llama2-mha",
    "tiny-mistral",
    "tiny-mistral-window",
    "tiny-mixtral",
    "tiny-qwen2",
    "tiny-qwen2-moe",
    "tiny-qwen3",
    "tiny-qwen3-moe",
    "tiny-gemma",
    "tiny-gemma2",
    "tiny-gemma3",
    "tiny-phi",
    "tiny-falcon",
    "tiny-gpt-oss",
];

fn reference(name: &str) -> Value {
    let path = golden(name).join("reference.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    let ids = value.as_array().unwrap().iter();
    ids.map(|id| id.as_u64().unwrap() as u32).collect()
}

fn argmax(row: &[f32]) -> u32 {
    let best = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    best.unwrap().0 as u32
}

/// Sequences and what each has generated.
struct Company<M> {
    model: M,
    schedule: Schedule,
    most: BTreeMap<SequenceId, usize>,
    generated: BTreeMap<SequenceId, Vec<u32>>,
    cached: BTreeMap<SequenceId, usize>,
    yields: usize,
    guessed: usize,
    came_true: usize,
}

impl<M: StepModel> Company<M> {
    fn new(model: M, limits: Limits) -> Self {
        Self {
            model,
            schedule: Schedule::new(limits),
            most: BTreeMap::new(),
            generated: BTreeMap::new(),
            cached: BTreeMap::new(),
            yields: 0,
            guessed: 0,
            came_true: 0,
        }
    }

    fn add(&mut self, id: u64, class: Class, prompt: &[u32], max_new: usize) {
        let id = SequenceId(id);
        let arrival = Arrival {
            prompt: prompt.to_vec(),
            max_new,
            caller: Caller {
                class,
                ..Caller::default()
            },
            adapter: Some(0),
        };
        self.schedule.add(id, arrival).unwrap();
        self.most.insert(id, max_new);
    }

    /// One step of the real model; false when there was nothing to do.
    fn step(&mut self) -> bool {
        let plan = self.schedule.plan();
        self.yields += plan.yielded.len();
        for start in &plan.starts {
            self.cached.insert(start.id, start.cached);
        }
        if plan.step.spans.is_empty() {
            return false;
        }
        let rows = self.model.step(&plan.step).unwrap();
        self.schedule
            .completed(&plan.step, Duration::from_millis(1));
        let mut rows = rows.logits.chunks_exact(rows.width);
        for span in &plan.step.spans {
            self.guessed += span.logits.saturating_sub(1);
            let mut says = rows.by_ref().take(span.logits);
            while says
                .next()
                .is_some_and(|row| self.push(span.sequence, argmax(row)))
            {
                self.came_true += 1;
            }
            says.for_each(drop);
        }
        true
    }

    /// Whether the step has computed what comes next as well.
    fn push(&mut self, id: SequenceId, token: u32) -> bool {
        let generated = self.generated.entry(id).or_default();
        generated.push(token);
        if generated.len() < self.most[&id] {
            return self.schedule.push(id, token);
        }
        self.schedule.remove(id);
        false
    }
}

/// Greedy tokens of the reference, in a cache of `blocks`, among others that begin alike, end early, and take each
/// other's blocks. How often sequences yielded, how many tokens were guessed, and how many guesses came true.
fn golden_path_in_company(name: &str, recall: Recall, blocks: usize) -> [usize; 3] {
    let path = ids(&reference(name)["greedy_ids"]);
    let prompt = ids(&reference(name)["prompt_ids"]);
    let expected = &path[prompt.len()..];
    let files = Files::new(golden(name));
    let model = models::decoder::Decoder::load(&files, &Device::Cpu).unwrap();
    let limits = Limits {
        cache: CacheShape {
            blocks,
            sequences: 8,
        },
        recall,
        step_tokens: 48,
        cut_tokens: 16,
        queue: 64,
        target: Duration::from_millis(50),
        mix: Mix::Mixed,
        drafts: 4,
    };
    let mut company = Company::new(model, limits);
    let noise = |seed: u32, count: u32| (0..count).map(move |n| (n * 7 + seed) % 500);
    // What stands in the cache: a conversation that begins with the path itself.
    company.add(0, Class::Batch, &path, 40);
    let long: Vec<u32> = noise(3, 90).collect();
    company.add(1, Class::Batch, &long, 60);
    for _ in 0..10 {
        company.step();
    }
    for round in 0..4 {
        let more: Vec<u32> = noise(round as u32 * 31, 40 + round as u32 * 9).collect();
        company.add(10 + round, Class::Default, &more, 50);
        company.add(20 + round, Class::Batch, &prompt, expected.len());
        // It has begun to answer when others come that are more urgent.
        for _ in 0..9 {
            company.step();
        }
        let with_path: Vec<u32> = path.iter().copied().chain(noise(9, 20)).collect();
        company.add(30 + round, Class::Interactive, &with_path, 30);
        let urgent: Vec<u32> = noise(round as u32, 100).collect();
        company.add(40 + round, Class::Interactive, &urgent, 120);
        for _ in 0..5 {
            company.step();
        }
        company.schedule.remove(SequenceId(10 + round)); // in whatever state it is
    }
    while company.step() {}
    for round in 0..4 {
        let generated = &company.generated[&SequenceId(20 + round)];
        assert_eq!(generated, expected, "{name}, {recall:?}, round {round}");
    }
    if recall == Recall::Blocks {
        let found = company.cached[&SequenceId(33)];
        assert!(found > 0, "{name}: the last finds what others began with");
    }
    [company.yields, company.guessed, company.came_true]
}

#[test]
fn golden_greedy_path_with_hits_cuts_yields_guesses_and_cancels_around_it() {
    let mut counts = [0; 3];
    for name in TINY {
        let [yields, guessed, _] = golden_path_in_company(name, Recall::Cuts, 40);
        assert_eq!([yields, guessed], [0, 0], "{name}");
        // Far too small: sequences give up their blocks to each other.
        let more = golden_path_in_company(name, Recall::Blocks, 13);
        for (count, more) in counts.iter_mut().zip(more) {
            *count += more;
        }
    }
    let [yields, guessed, came_true] = counts;
    assert!(yields >= TINY.len(), "{yields} sequences yielded");
    assert!(
        0 < came_true && came_true < guessed,
        "{came_true} of {guessed} guesses"
    );
}
