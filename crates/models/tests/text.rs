//! Prompts to tokens and tokens to text, against transformers.

mod common;

use std::sync::Arc;

use common::{golden, ids, reference};
use engine::model::StepCompanion;
use models::device::Device;
use models::{ChatCompanion, Files, decoder};
use tasks::{
    ChatEvent, ChatOptions, ChatRequest, Failure, Finish, Message, Prompt, Sampling, Usage,
};

fn companion(name: &str) -> Arc<ChatCompanion> {
    decoder::load(&Files::new(golden(name)), &Device::Cpu)
        .expect("a checkpoint")
        .0
}

fn request(prompt: Prompt, max_tokens: u32, window: u32) -> ChatRequest {
    ChatRequest {
        prompt,
        max_tokens: Some(max_tokens),
        sampling: Sampling::greedy(),
        window,
        options: ChatOptions::default(),
    }
}

fn messages(value: &serde_json::Value) -> Vec<Message> {
    let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
    let turns = value.as_array().expect("messages").iter();
    turns
        .map(|turn| Message::text(text(&turn["role"]), text(&turn["content"])))
        .collect()
}

#[test]
fn golden_chats_are_rendered_and_tokenised() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["tiny-llama", "tiny-llama2-mha"] {
        std::fs::write(
            folder.path().join("model.gguf"),
            common::families::converted(name).bytes(),
        )
        .expect("written");
        let from_gguf = decoder::load(&Files::new(folder.path().to_path_buf()), &Device::Cpu)
            .expect("a GGUF")
            .0;
        for companion in [companion(name), from_gguf] {
            for chat in reference(name)["chat"].as_array().expect("chats") {
                let messages = messages(&chat["messages"]);
                let rendered = companion.text().render(&messages).expect("rendered");
                assert_eq!(
                    rendered,
                    chat["rendered"].as_str().expect("a text"),
                    "{name}"
                );
                let tokens = companion
                    .tokens(&Prompt::Messages(messages))
                    .expect("tokens");
                assert_eq!(tokens, ids(&chat["input_ids"]), "{name}");
            }
        }
    }
}

#[test]
fn a_raw_prompt_has_only_the_start_token_before_it() {
    let companion = companion("tiny-llama");
    let prompt = "The quick brown fox jumps over the lazy dog. What is the capital of France?";
    let tokens = companion
        .tokens(&Prompt::Raw(prompt.to_owned()))
        .expect("tokens");
    assert_eq!(tokens, ids(&reference("tiny-llama")["prompt_ids"]));
    assert_eq!(companion.tokens(&Prompt::Raw(String::new())), Ok(vec![0]));
}

#[test]
fn the_window_is_the_smaller_one_and_counts_the_answer() {
    let companion = companion("tiny-llama");
    let prompt = || Prompt::Raw("The quick brown fox".to_owned());
    let tokens = companion.tokens(&prompt()).expect("tokens").len();
    let admission = companion
        .admit(request(prompt(), 256 - tokens as u32, 100_000))
        .expect("it fits");
    assert_eq!(admission.max_new_tokens, 256 - tokens);
    let over = companion.admit(request(prompt(), 257 - tokens as u32, 100_000));
    assert_eq!(
        over.err(),
        Some(Failure::ContextExceeded {
            tokens: 257,
            window: 256
        })
    );
    let over = companion.admit(request(prompt(), 50, 32));
    assert_eq!(
        over.err(),
        Some(Failure::ContextExceeded {
            tokens: tokens + 50,
            window: 32
        })
    );
}

/// Writes tokens, then finishes; the events of each token and of the end.
fn write(companion: &ChatCompanion, tokens: &[u32]) -> Vec<Vec<ChatEvent>> {
    let admission = companion.admit(request(Prompt::Raw("a".to_owned()), 9, 256));
    let mut writer = admission.expect("an admission").writer;
    let mut events = Vec::new();
    for &token in tokens {
        let mut out = Vec::new();
        assert_eq!(writer.token(token, &mut out), None);
        events.push(out);
    }
    let mut out = Vec::new();
    writer.finish(
        Finish::Length,
        Usage {
            prompt_tokens: 2,
            completion_tokens: tokens.len() as u32,
            cached_tokens: 0,
        },
        &mut out,
    );
    events.push(out);
    events
}

fn joined(events: &[Vec<ChatEvent>]) -> String {
    let text = |event: &ChatEvent| {
        if let ChatEvent::Text(text) = event {
            text.clone()
        } else {
            String::new()
        }
    };
    events.iter().flatten().map(text).collect()
}

#[test]
fn text_comes_in_whole_characters() {
    for name in ["tiny-llama", "tiny-llama2-mha"] {
        let companion = companion(name);
        for text in [
            " Hello world",
            "a🙂b",
            "👩‍👩‍👧‍👦 你好 Привет",
            "\u{fffd}\u{fffd} x",
            "  two  \n\n spaces ",
        ] {
            let tokens = companion.text().tokens(text, false).expect("tokens");
            assert!(tokens.len() > 2, "the tokens split characters");
            let events = write(&companion, &tokens);
            assert_eq!(joined(&events), text, "{name}");
            if !text.contains('\u{fffd}') {
                for event in events.iter().flatten() {
                    let split = matches!(event, ChatEvent::Text(text) if text.contains('\u{fffd}') || text.is_empty());
                    assert!(!split, "{name}: {event:?}");
                }
            }
            let usage = Usage {
                prompt_tokens: 2,
                completion_tokens: tokens.len() as u32,
                cached_tokens: 0,
            };
            let done = ChatEvent::Done {
                finish: Finish::Length,
                usage,
            };
            assert_eq!(
                events
                    .iter()
                    .flatten()
                    .filter(|event| **event == done)
                    .count(),
                1
            );
            assert_eq!(events.last().and_then(|last| last.last()), Some(&done));
        }
    }
}

#[test]
fn an_unfinished_character_is_told_at_the_end_and_junk_is_not_held_for_ever() {
    let companion = companion("tiny-llama");
    let smile = companion.text().tokens("🙂", false).expect("tokens");
    assert!(smile.len() > 1);
    let events = write(&companion, &smile[..1]);
    let read = ChatEvent::Read {
        prompt_tokens: prompt_tokens(&companion),
        cached_tokens: 0,
    };
    assert_eq!(events[0], [read]);
    assert_eq!(joined(&events), "\u{fffd}");
    let events = write(&companion, &[smile[0]; 40]);
    assert!(events[1..40].iter().any(|events| !events.is_empty()));
    // An id without a token, and special tokens, are silent.
    assert_eq!(joined(&write(&companion, &[9999, 2, 3])), "");
}

/// Tokens of the prompt that [`write`] continues.
fn prompt_tokens(companion: &ChatCompanion) -> u32 {
    let tokens = companion.tokens(&Prompt::Raw("a".to_owned()));
    tokens.expect("tokens").len() as u32
}

#[test]
fn a_stop_text_ends_the_answer_across_tokens_and_no_part_of_it_is_told() {
    for name in ["tiny-llama", "tiny-llama2-mha"] {
        let companion = companion(name);
        for (stops, text, wanted) in [
            (&[" world"][..], "Hello world and more", "Hello"),
            (&["🙂", "zzz"], "a zz🙂b", "a zz"),
            (&["never"], "it is nev", "it is nev"),
        ] {
            let mut asked = request(Prompt::Raw("a".to_owned()), 99, 256);
            asked.options.stop = stops.iter().map(ToString::to_string).collect();
            let mut writer = companion.admit(asked).expect("an admission").writer;
            let (mut told, mut out) = (String::new(), Vec::new());
            let mut finish = Finish::Length;
            for token in companion.text().tokens(text, false).expect("tokens") {
                if let Some(end) = writer.token(token, &mut out) {
                    finish = end;
                    break;
                }
                told += &joined(&[std::mem::take(&mut out)]);
                assert!(wanted.starts_with(&told), "{name}: {told:?} was told");
            }
            writer.finish(finish, Usage::default(), &mut out);
            assert_eq!(told + &joined(&[out]), wanted, "{name}");
            let stopped = if wanted == text {
                Finish::Length
            } else {
                Finish::Stop
            };
            assert_eq!(finish, stopped);
        }
    }
}

#[test]
fn biases_reach_the_logits_of_known_tokens() {
    let companion = companion("tiny-llama");
    let biased = |token| {
        let mut asked = request(Prompt::Raw("a".to_owned()), 9, 256);
        asked.options.logit_bias = vec![(token, 3.0)];
        companion.admit(asked)
    };
    let mut rules = biased(1).expect("an admission").rules.expect("rules");
    let mut logits = [0.0, 0.0];
    rules.apply(&[], &mut logits).expect("applied");
    assert!(logits.map(f32::to_bits) == [0.0_f32, 3.0].map(f32::to_bits));
    assert!(matches!(biased(u32::MAX).err(), Some(Failure::BadInput(_))));
}

#[test]
fn end_tokens_end_the_turn() {
    // eos of the configuration, and the tokens that such models use beside it.
    for (name, ends) in [("tiny-llama", vec![4, 1]), ("tiny-llama2-mha", vec![2])] {
        for end in ends {
            let admission = companion(name).admit(request(Prompt::Raw("a".to_owned()), 9, 256));
            let mut writer = admission.expect("an admission").writer;
            let mut out = Vec::new();
            assert_eq!(writer.token(end, &mut out), Some(Finish::Stop), "{name}");
            assert!(matches!(out[..], [ChatEvent::Read { .. }]), "{out:?}");
        }
    }
}

#[test]
fn a_template_that_refuses_is_bad_input() {
    let folder = tempfile::tempdir().expect("a folder");
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        std::fs::copy(golden("tiny-llama").join(file), folder.path().join(file)).expect("copied");
    }
    let load = || decoder::load(&Files::new(folder.path().to_path_buf()), &Device::Cpu);
    let ask = |companion: &ChatCompanion| {
        let message = Message::text("tool", "x");
        companion
            .admit(request(Prompt::Messages(vec![message]), 1, 256))
            .err()
    };
    let without = ask(&load().expect("a checkpoint").0);
    assert!(
        matches!(without, Some(Failure::BadInput(_))),
        "no template: {without:?}"
    );
    let template = "{% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('no tools') }}{% endif %}{% endfor %}";
    std::fs::write(folder.path().join("chat_template.jinja"), template).expect("written");
    let refused = ask(&load().expect("a checkpoint").0);
    assert!(
        matches!(&refused, Some(Failure::BadInput(text)) if text.contains("no tools")),
        "{refused:?}"
    );
}
