//! The validator beside the original: the same verdict, the same message, the same input with its
//! defaults, for every schema class.
//!
//! There are no differences within the inputs made here. Known ones lie beyond: a list behind a message
//! ends at 1000 texts or 1 MiB (the original's has no end), half surrogates and numbers beyond a double
//! are no JSON here, nesting ends at 128, and a default that the original writes into an array as a
//! property of it is not read back.
//!
//! `CABIDELA_CASES` sets the number of cases, `CABIDELA_SEED` the first seed: a case that differs is
//! printed with its seed, and is the first one of a run with that seed.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

mod generate;
mod made;
mod original;

use std::sync::mpsc::sync_channel;

use api::{Schema, validate};
use original::Verdict;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::Value;

/// Cases of a plain run.
const CASES: u64 = 50_000;
/// The first case's seed; each further one has the next.
const SEED: u64 = 1;
/// Cases that differ and are printed in full.
const SHOWN_MAX: usize = 5;
/// Cases on their way to the original.
const WAITING_MAX: usize = 4096;

/// JSON never passes here: its stream is an object without known properties, which counts as absent.
const NEVER_PASSES: &str = "asr-nova-3";

struct Subject {
    name: &'static str,
    document: Value,
    schema: Schema,
}

fn subjects() -> Vec<Subject> {
    let classes = api::published_inputs().map(|(name, document)| (name, document.clone()));
    let all = classes.chain(made::schemas());
    all.map(|(name, document)| Subject {
        name,
        schema: Schema::read(&document).unwrap_or_else(|error| panic!("{name}: {error}")),
        document,
    })
    .collect()
}

#[allow(clippy::disallowed_methods)] // how long to look is said from outside
fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name}={text}: no number")),
        Err(_) => default,
    }
}

/// The case of a seed: which subject, and its input.
fn case(seed: u64, subjects: &[Subject]) -> (usize, String) {
    let mut random = StdRng::seed_from_u64(seed);
    let index = (seed % subjects.len() as u64) as usize;
    let input = generate::input(&subjects[index].document, &mut random);
    // Node's line reader takes two characters for line ends that JSON leaves as they are.
    let text = input.to_string();
    let text = text
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029");
    (index, text)
}

fn ours(schema: &Schema, input: &str) -> Verdict {
    let mut value: Value = serde_json::from_str(input).unwrap();
    match validate(schema, &mut value) {
        Ok(()) => Verdict::Becomes(value),
        Err(message) => Verdict::Fails(message),
    }
}

#[test]
fn verdicts_messages_and_defaults_are_the_originals() {
    let (cases, first) = (
        setting("CABIDELA_CASES", CASES),
        setting("CABIDELA_SEED", SEED),
    );
    let subjects = subjects();
    assert!(subjects.len() > 42);
    let (mut questions, mut answers) = original::start();
    for subject in &subjects {
        questions.schema(subject.name, &subject.document);
    }
    let mut passed = vec![0_u64; subjects.len()];
    let mut failed = passed.clone();
    let mut differences = vec![0_u64; subjects.len()];
    let mut shown = 0;
    std::thread::scope(|scope| {
        let (send, receive) = sync_channel(WAITING_MAX);
        let subjects = &subjects;
        scope.spawn(move || {
            for seed in first..first + cases {
                let (index, input) = case(seed, subjects);
                questions.case(subjects[index].name, &input);
                send.send((seed, index, input)).unwrap();
            }
        });
        for (seed, index, input) in receive {
            let subject = &subjects[index];
            let (ours, theirs) = (ours(&subject.schema, &input), answers.next());
            match theirs {
                Verdict::Becomes(_) => passed[index] += 1,
                Verdict::Fails(_) => failed[index] += 1,
            }
            if is_same(&ours, &theirs) {
                continue;
            }
            differences[index] += 1;
            if shown < SHOWN_MAX {
                shown += 1;
                eprintln!("seed {seed}, {}, input {input}", subject.name);
                eprintln!("  original {theirs:?}\n  ours     {ours:?}");
            }
        }
    });
    answers.end();
    for (index, subject) in subjects.iter().enumerate() {
        let (passed, failed) = (passed[index], failed[index]);
        eprintln!(
            "{:24} {passed} passed, {failed} failed, {} differ",
            subject.name, differences[index]
        );
        if cases >= CASES {
            // Cases of both kinds, or the comparison says little.
            assert!(
                passed > 20 || subject.name == NEVER_PASSES,
                "{}",
                subject.name
            );
            assert!(failed > 20, "{}", subject.name);
        }
    }
    assert_eq!(differences.iter().sum::<u64>(), 0);
}

fn is_same(ours: &Verdict, theirs: &Verdict) -> bool {
    match (ours, theirs) {
        (Verdict::Becomes(ours), Verdict::Becomes(theirs)) => is_same_value(ours, theirs),
        _ => ours == theirs,
    }
}

/// Whether two values are the same to JavaScript, which wrote `theirs`: one type of numbers, and keys
/// that are indices first.
fn is_same_value(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Number(ours), Value::Number(theirs)) => ours.as_f64() == theirs.as_f64(),
        (Value::Array(ours), Value::Array(theirs)) => {
            let mut pairs = ours.iter().zip(theirs);
            ours.len() == theirs.len() && pairs.all(|(ours, theirs)| is_same_value(ours, theirs))
        }
        (Value::Object(ours), Value::Object(theirs)) => {
            let index = |key: &String| match key.parse::<u32>() {
                Ok(index) if index < u32::MAX && index.to_string() == *key => index,
                _ => u32::MAX,
            };
            let mut ours: Vec<_> = ours.iter().collect();
            ours.sort_by_key(|(key, _)| index(key));
            let mut pairs = ours.iter().zip(theirs);
            ours.len() == theirs.len()
                && pairs.all(|(ours, theirs)| ours.0 == theirs.0 && is_same_value(ours.1, theirs.1))
        }
        _ => ours == theirs,
    }
}
