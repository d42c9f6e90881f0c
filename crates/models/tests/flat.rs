//! Decoders of packed weights on the CPU compute without tensors: what they compute is what tensors make of the
//! same file, and a step of a running model allocates nothing.
#![allow(unsafe_code)] // an allocator that counts

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use common::{argmax, cosine, families, greatest_difference};
use engine::model::{Recall, Rows, SequenceId, Span, Step, StepModel};
use engine::{Arrival, Caller, Limits, Mix, Schedule};
use models::Files;
use models::decoder::{CachePrecision, Decoder};
use models::device::Device;

/// Families without experts.
const DENSE: [&str; 12] = [
    "tiny-llama",
    "tiny-llama31-rope",
    "tiny-llama2-mha",
    "tiny-mistral",
    "tiny-mistral-window",
    "tiny-qwen2",
    "tiny-qwen3",
    "tiny-gemma",
    "tiny-gemma2",
    "tiny-gemma3",
    "tiny-phi",
    "tiny-falcon",
];
/// Streams of the steps.
const STREAMS: usize = 3;
/// Tokens of an answer.
const ANSWER: usize = 120;
/// Blocks of a stream, which lie apart.
const BLOCKS: usize = 4;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, counting what each thread takes.
struct Counting;

// SAFETY: all is the system's allocator's; counting touches a number of the thread only.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: as the caller promises.
        unsafe { System.realloc(place, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn step(streams: &[usize], start: usize, length: usize) -> Step {
    let token = |row: usize| ((start * 31 + row * 57) % 500) as u32;
    Step {
        tokens: (0..streams.len() * length).map(token).collect(),
        spans: streams
            .iter()
            .enumerate()
            .map(|(place, &stream)| Span {
                sequence: SequenceId(stream as u64),
                rows: place * length..(place + 1) * length,
                start,
                blocks: (0..BLOCKS)
                    .map(|block| (block * STREAMS + stream) as u32)
                    .collect(),
                logits: 1,
            })
            .collect(),
    }
}

fn steps() -> Vec<Step> {
    let all: Vec<usize> = (0..STREAMS).collect();
    let mut steps = vec![step(&all, 0, 45), step(&all, 45, 7)];
    steps.extend((52..BLOCKS * 32).map(|start| step(&all, start, 1)));
    steps
}

fn run(model: &mut Decoder, step: &Step) -> Rows {
    model.step(step).expect("a step")
}

#[test]
fn rows_without_tensors_are_those_of_tensors() {
    for name in DENSE {
        let folder = tempfile::tempdir().expect("a folder");
        let file = families::widened(name).bytes();
        std::fs::write(folder.path().join("model.gguf"), file).expect("written");
        let load = |cache| {
            let files = Files::new(folder.path().to_path_buf());
            Decoder::load_with(&files, &Device::Cpu, cache).expect("a decoder")
        };
        // A cache in full precision is one of tensors.
        let (mut flat, mut tensors) = (load(CachePrecision::Half), load(CachePrecision::Full));
        for step in steps() {
            let (ours, theirs) = (run(&mut flat, &step), run(&mut tensors, &step));
            assert_eq!(ours.width, theirs.width);
            let rows = ours.logits.chunks_exact(ours.width);
            for (ours, theirs) in rows.zip(theirs.logits.chunks_exact(theirs.width)) {
                assert!(cosine(ours, theirs) >= 0.999, "{name}");
                let largest = theirs[argmax(theirs) as usize].abs();
                // Halves in the cache, and inputs that round to the next step for their sake.
                let difference = greatest_difference(ours, theirs);
                assert!(
                    difference <= 0.05 * largest.max(1.0),
                    "{name}: {difference} of {largest}"
                );
            }
        }
    }
}

#[test]
fn a_step_of_a_running_model_allocates_nothing() {
    for name in DENSE {
        let folder = tempfile::tempdir().expect("a folder");
        let file = families::widened(name).bytes();
        std::fs::write(folder.path().join("model.gguf"), file).expect("written");
        let files = Files::new(folder.path().to_path_buf());
        let mut model = Decoder::load(&files, &Device::Cpu).expect("a decoder");
        let mut steps = steps();
        let running = steps.split_off(3);
        for step in steps {
            let rows = run(&mut model, &step);
            model.reuse(rows);
        }
        let before = ALLOCATIONS.get();
        for step in &running {
            let rows = run(&mut model, step);
            model.reuse(rows);
        }
        assert_eq!(ALLOCATIONS.get() - before, 0, "{name}");
    }
}

#[test]
fn a_row_has_the_same_bits_in_any_company_and_each_of_a_span_has_its_logits() {
    for name in DENSE {
        let folder = tempfile::tempdir().expect("a folder");
        let file = families::widened(name).bytes();
        std::fs::write(folder.path().join("model.gguf"), file).expect("written");
        let files = Files::new(folder.path().to_path_buf());
        let load = || Decoder::load(&files, &Device::Cpu).expect("a decoder");
        let (mut together, mut alone) = (load(), load());
        assert_eq!(together.recall(), Recall::Blocks);
        let bits =
            |logits: &[f32]| -> Vec<u32> { logits.iter().map(|logit| logit.to_bits()).collect() };
        for mut step in steps() {
            for span in &mut step.spans {
                span.logits = span.rows.len();
            }
            let rows = run(&mut together, &step);
            let mut logits = rows.logits.chunks_exact(rows.width);
            for span in &step.spans {
                // Token by token.
                for (place, row) in span.rows.clone().enumerate() {
                    let span = Span {
                        start: span.start + place,
                        rows: 0..1,
                        logits: 1,
                        ..span.clone()
                    };
                    let step = Step {
                        tokens: vec![step.tokens[row]],
                        spans: vec![span],
                    };
                    let own = run(&mut alone, &step);
                    let logits = logits.next().expect("logits of each row");
                    assert_eq!(bits(&own.logits), bits(logits), "{name}, row {row}");
                }
            }
            assert_eq!(logits.next(), None);
        }
    }
}

/// What follows a prompt, the likeliest token each time, where a step may guess so many; and the steps that it took.
fn answer(model: &mut Decoder, prompt: &[u32], drafts: usize) -> (Vec<u32>, usize) {
    let mut schedule = Schedule::new(Limits {
        cache: model.cache(),
        recall: model.recall(),
        step_tokens: 64,
        cut_tokens: 32,
        queue: 1,
        target: Duration::from_secs(1),
        mix: Mix::Mixed,
        drafts,
    });
    let id = SequenceId(0);
    let arrival = Arrival {
        prompt: prompt.to_vec(),
        max_new: ANSWER,
        caller: Caller::default(),
        adapter: Some(0),
    };
    schedule.add(id, arrival).expect("room");
    let (mut tokens, mut steps) = (Vec::new(), 0);
    while tokens.len() < ANSWER {
        let step = schedule.plan().step;
        let rows = run(model, &step);
        // As if rows cost next to nothing.
        schedule.completed(&step, Duration::from_millis(10));
        steps += 1;
        for logits in rows.logits.chunks_exact(rows.width) {
            let token = argmax(logits);
            tokens.push(token);
            if tokens.len() == ANSWER || !schedule.push(id, token) {
                break;
            }
        }
    }
    (tokens, steps)
}

#[test]
fn guesses_change_no_token_and_save_steps() {
    let mut saved = 0;
    for name in DENSE {
        let folder = tempfile::tempdir().expect("a folder");
        let file = families::widened(name).bytes();
        std::fs::write(folder.path().join("model.gguf"), file).expect("written");
        let files = Files::new(folder.path().to_path_buf());
        let mut model = Decoder::load(&files, &Device::Cpu).expect("a decoder");
        let prompt: Vec<u32> = (0..40).map(|at| 11 + at % 9 * 7).collect();
        let (plain, steps) = answer(&mut model, &prompt, 0);
        assert_eq!(steps, ANSWER, "a token a step");
        let (guessed, fewer) = answer(&mut model, &prompt, 8);
        assert_eq!(guessed, plain, "{name}");
        saved += steps - fewer;
    }
    assert!(saved > ANSWER, "{saved} steps are saved");
}
