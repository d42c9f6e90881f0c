//! Tokenizers from the metadata of a GGUF file: the kinds that no golden checkpoint has.

mod common;

use std::sync::Arc;

use common::families::converted_with;
use common::gguf::GgufFile;
use models::device::Device;
use models::{ChatCompanion, Files, LoadError, decoder};
use tasks::Prompt;

fn load(tokenizer: impl FnOnce(&mut GgufFile)) -> Result<Arc<ChatCompanion>, LoadError> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = converted_with("tiny-llama", tokenizer);
    // Any name will do where it is the only one.
    std::fs::write(folder.path().join("any-name.Q8_0.gguf"), file.bytes()).expect("written");
    decoder::load(&Files::new(folder.path().to_path_buf()), &Device::Cpu)
        .map(|(companion, _)| companion)
}

/// A byte in the alphabet of byte-level BPE (Radford et al. 2019): printable ones are themselves.
fn byte_letters() -> Vec<String> {
    let printable = |byte: u32| matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
    let mut others = 0x100..;
    let letter = |byte| {
        let code = if printable(byte) {
            Some(byte)
        } else {
            others.next()
        };
        code.and_then(char::from_u32).expect("a letter").to_string()
    };
    (0..256).map(letter).collect()
}

#[test]
fn llama3_cuts_numbers_by_three_digits_and_takes_whole_words_as_they_are() {
    let mut tokens = byte_letters();
    let words = ["123", "1234", "Ġhello", "<|begin_of_text|>", "<|eot_id|>"];
    tokens.extend(words.map(str::to_owned));
    let id = |text: &str| {
        tokens
            .iter()
            .position(|token| token == text)
            .expect("a token") as u32
    };
    let types: Vec<i32> = tokens
        .iter()
        .map(|token| if token.starts_with("<|") { 3 } else { 1 })
        .collect();
    let companion = load(|file| {
        file.text("tokenizer.ggml.model", "gpt2")
            .text("tokenizer.ggml.pre", "llama-bpe")
            .texts("tokenizer.ggml.tokens", &tokens)
            .integers("tokenizer.ggml.token_type", &types)
            .texts("tokenizer.ggml.merges", &["h e".to_owned()])
            .integer("tokenizer.ggml.bos_token_id", id("<|begin_of_text|>"));
    });
    // The merge makes a token that is not in the vocabulary.
    assert!(matches!(companion.err(), Some(LoadError::Corrupt { .. })));
    let companion = load(|file| {
        file.text("tokenizer.ggml.model", "gpt2")
            .text("tokenizer.ggml.pre", "llama-bpe")
            .texts("tokenizer.ggml.tokens", &tokens)
            .integers("tokenizer.ggml.token_type", &types)
            .texts("tokenizer.ggml.merges", &[])
            .integer("tokenizer.ggml.bos_token_id", id("<|begin_of_text|>"));
    })
    .expect("a checkpoint");
    let tokens = companion.tokens(&Prompt::Raw("12345 hello<|eot_id|>".to_owned()));
    let expected = ["<|begin_of_text|>", "123", "4", "5", "Ġhello", "<|eot_id|>"];
    assert_eq!(tokens, Ok(expected.map(id).to_vec()));
}

#[test]
fn qwen2_takes_digits_one_by_one_and_gpt4o_cuts_before_capitals() {
    let mut tokens = byte_letters();
    let words = ["12", "Hello", "World", "lo", "oW", "Ã©"];
    tokens.extend(words.map(str::to_owned));
    let types = vec![1; tokens.len()];
    let id = |text: &&str| {
        let found = tokens.iter().position(|token| token == text);
        found.expect("a token") as u32
    };
    let merges: Vec<String> = ["1 2", "l o", "o W", "Ã ©"].map(str::to_owned).to_vec();
    for (pre, text, expected) in [
        ("qwen2", "12", vec!["1", "2"]),
        ("deepseek-r1-qwen", "12", vec!["1", "2"]),
        // Composed to one letter first.
        ("qwen2", "e\u{301}", vec!["Ã©"]),
        ("qwen2", "loW", vec!["lo", "W"]),
        ("gpt-4o", "12", vec!["12"]),
        ("gpt-4o", "HelloWorld", vec!["Hello", "World"]),
        ("gpt-4o", "oW", vec!["o", "W"]),
    ] {
        let companion = load(|file| {
            file.text("tokenizer.ggml.model", "gpt2")
                .text("tokenizer.ggml.pre", pre)
                .texts("tokenizer.ggml.tokens", &tokens)
                .integers("tokenizer.ggml.token_type", &types)
                .texts("tokenizer.ggml.merges", &merges);
        })
        .expect("a checkpoint");
        let expected: Vec<u32> = expected.iter().map(id).collect();
        let tokens = companion.tokens(&Prompt::Raw(text.to_owned()));
        assert_eq!(tokens, Ok(expected), "{pre}: {text}");
    }
}

fn sentence_piece(file: &mut GgufFile, tokens: &[String], scores: &[f32]) {
    let types: Vec<i32> = tokens
        .iter()
        .map(|token| match token.as_str() {
            "<unk>" => 2,
            "<s>" | "</s>" => 3,
            byte if byte.starts_with("<0x") => 6,
            _ => 1,
        })
        .collect();
    file.text("tokenizer.ggml.model", "llama")
        .texts("tokenizer.ggml.tokens", tokens)
        .integers("tokenizer.ggml.token_type", &types)
        .floats("tokenizer.ggml.scores", scores)
        .integer("tokenizer.ggml.bos_token_id", 1)
        .integer("tokenizer.ggml.eos_token_id", 2)
        .integer("tokenizer.ggml.unknown_token_id", 0);
}

#[test]
fn sentence_piece_merges_the_best_score_first_and_falls_back_to_bytes() {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(str::to_owned).to_vec();
    tokens.extend((0..256).map(|byte| format!("<0x{byte:02X}>")));
    // The better merge of "abc" is b with c, although a with b stands first.
    let pieces = ["ab", "bc", "▁a", "▁", "a", "b", "c", "▁▁"];
    tokens.extend(pieces.map(str::to_owned));
    let mut scores = vec![0.0; 259];
    scores.extend([-2.0, -1.0, -3.0, -100.0, -101.0, -102.0, -103.0, -4.0]);
    let companion = load(|file| sentence_piece(file, &tokens, &scores)).expect("a checkpoint");
    let id = |text: &str| {
        tokens
            .iter()
            .position(|token| token == text)
            .expect("a token") as u32
    };
    for (text, expected) in [
        ("abc", vec!["<s>", "▁a", "bc"]),
        ("ab ab", vec!["<s>", "▁", "ab", "▁", "ab"]),
        ("é", vec!["<s>", "▁", "<0xC3>", "<0xA9>"]),
        ("a  a", vec!["<s>", "▁a", "▁", "▁a"]),
    ] {
        let expected: Vec<u32> = expected.into_iter().map(id).collect();
        let tokens = companion
            .tokens(&Prompt::Raw(text.to_owned()))
            .expect("tokens");
        // "▁▁" scores below "▁a", so the second space stays with its letter.
        assert_eq!(tokens, expected, "{text}");
    }
    let short = load(|file| sentence_piece(file, &tokens, &scores[1..]));
    assert!(
        matches!(short.err(), Some(LoadError::Corrupt { .. })),
        "a score is missing"
    );
}

#[test]
fn tokenizers_that_are_not_built_here_are_named() {
    for (model, pre) in [("bert", ""), ("gpt2", "tekken")] {
        let error = load(|file| {
            file.text("tokenizer.ggml.model", model)
                .text("tokenizer.ggml.pre", pre)
                .texts("tokenizer.ggml.tokens", &["a".to_owned()]);
        });
        let Some(error @ LoadError::Unsupported { .. }) = error.err() else {
            panic!("{model} was taken")
        };
        assert!(
            error
                .to_string()
                .contains(if pre.is_empty() { model } else { pre }),
            "{error}"
        );
    }
}
