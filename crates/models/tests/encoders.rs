//! Encoders beside BERT against transformers' numbers for tiny ones: XLM-RoBERTa, rerankers, DistilBERT,
//! EmbeddingGemma and Qwen3 Embedding; and files that are not what they say.

mod common;

use std::path::Path;

use common::{cosine, device, golden, greatest_difference, ids, reference, reference_tensor};
use engine::model::BatchModel;
use models::device::Device;
use models::{EncoderCompanion, EncoderWork, Files, Fit, LoadError, Quality, bert, sentence};
use serde_json::{Value, json};
use tasks::{
    Classes, ClassifyRequest, Embed, EmbedRequest, Embedding, Failure, Overlong, Pooling,
    Relevance, RerankRequest,
};

const HIDDEN: usize = 48;

fn strings(name: &str, key: &str) -> Vec<String> {
    serde_json::from_value(reference(name)[key].clone()).expect("texts")
}

fn request(text: &str) -> EmbedRequest {
    EmbedRequest {
        text: text.to_owned(),
        pooling: Pooling::Cls,
        width: HIDDEN,
        window: 512,
        overlong: Overlong::Truncate,
    }
}

/// The vectors of texts, made together and each alone, which has to be the same.
fn vectors(
    companion: &EncoderCompanion,
    model: &mut dyn BatchModel<Embed, Work = EncoderWork>,
    texts: &[String],
) -> Vec<Vec<f32>> {
    let prepare = |text: &String| companion.embed(request(text)).expect("prepared").work;
    let mut run = |batch| -> Vec<Embedding> {
        let answers = model.run(batch).into_iter();
        answers.map(|answer| answer.expect("a vector")).collect()
    };
    let together = run(texts.iter().map(prepare).collect());
    for (text, together) in texts.iter().zip(&together) {
        let alone = run(vec![prepare(text)]);
        let off = greatest_difference(&alone[0].vector, &together.vector);
        assert!(off < 1e-5, "{text}: {off}");
    }
    together.into_iter().map(|made| made.vector).collect()
}

#[test]
fn golden_xlm_roberta_vectors() {
    let name = "tiny-xlmr-embed";
    let (exact, fast) = (Quality::Exact, Quality::Fast);
    for (quality, least) in [(exact, 0.99999), (fast, 0.995)] {
        let (companion, mut model) =
            bert::load(&Files::new(golden(name)), &device(), quality).expect("a checkpoint");
        let texts = strings(name, "texts");
        let expected = reference_tensor(name, "out_cls_normalized");
        let made = vectors(&companion, &mut model, &texts);
        for (made, expected) in made.iter().zip(expected.chunks_exact(HIDDEN)) {
            assert!(cosine(made, expected) >= least, "{quality:?}");
        }
        // Positions begin at 2 of 130.
        let whole = companion.embed(EmbedRequest {
            overlong: Overlong::Refuse,
            ..request(&"Paris ".repeat(200))
        });
        assert!(matches!(
            whole.err(),
            Some(Failure::ContextExceeded { window: 128, .. })
        ));
        let cut = companion.embed(request(&"Paris ".repeat(200)));
        let cut = cut.expect("prepared").work;
        assert_eq!(cut.tokens().len(), 128);
        assert_eq!(cut.tokens().last(), Some(&2), "</s>");
        assert!(model.run(vec![cut]).remove(0).is_ok());
    }
}

fn pairs(name: &str) -> Vec<(String, String)> {
    serde_json::from_value(reference(name)["pairs"].clone()).expect("pairs")
}

fn rerank(name: &str, quality: Quality, pairs: &[(String, String)]) -> Vec<Relevance> {
    let (companion, mut model) =
        bert::load_reranker(&Files::new(golden(name)), &device(), quality).expect("a checkpoint");
    let prepare = |(query, context): &(String, String)| {
        let request = RerankRequest {
            query: query.as_str().into(),
            context: context.clone(),
            window: 512,
        };
        companion.rerank(&request).expect("prepared").work
    };
    let answers = model.run(pairs.iter().map(prepare).collect());
    let answers = answers.into_iter();
    answers.map(|answer| answer.expect("a score")).collect()
}

#[test]
fn golden_scores_of_rerankers() {
    for name in ["tiny-bert-reranker", "tiny-xlmr-reranker"] {
        let expected = reference_tensor(name, "out_scores");
        let logits = reference_tensor(name, "out_logits");
        for (quality, most) in [(Quality::Exact, 1e-4), (Quality::Fast, 0.05)] {
            let scores = rerank(name, quality, &pairs(name));
            let scores: Vec<f32> = scores.iter().map(|made| made.score).collect();
            let off = greatest_difference(&scores, &expected);
            assert!(off < most, "{name}, {quality:?}: {off}");
            let back: Vec<f32> = scores.iter().map(|p| (p / (1.0 - p)).ln()).collect();
            let least = if quality == Quality::Exact {
                0.9999
            } else {
                0.99
            };
            assert!(cosine(&back, &logits) >= least, "{name}: {back:?}");
        }
    }
}

#[test]
fn a_pair_is_cut_from_its_longer_text() {
    for (name, begin, end, room) in [
        ("tiny-bert-reranker", 2, 3, 128),
        ("tiny-xlmr-reranker", 0, 2, 128),
    ] {
        let files = Files::new(golden(name));
        let (companion, _) =
            bert::load_reranker(&files, &Device::Cpu, Quality::Exact).expect("a checkpoint");
        let job = |query: &str, context: &str, window| {
            companion.rerank(&RerankRequest {
                query: query.into(),
                context: context.into(),
                window,
            })
        };
        let query = "What is the capital of France?";
        let long = "paris fox dog ".repeat(200);
        let short = job(query, "Paris", 512).expect("prepared").work;
        let cut = job(query, &long, 512).expect("prepared").work;
        assert_eq!(cut.tokens().len(), room, "{name}");
        assert_eq!(cut.tokens().first(), Some(&begin));
        assert_eq!(cut.tokens().last(), Some(&end));
        let same = short.tokens().iter().zip(cut.tokens());
        let same = same.take_while(|(a, b)| a == b).count();
        assert!(same > 7, "{name}: the query is whole");
        assert_eq!(job(&long, &long, 20).expect("prepared").cost, 20);
        assert!(matches!(
            job(query, &long, 2).err(),
            Some(Failure::Unavailable(_))
        ));
        let made = rerank(name, Quality::Exact, &[(query.into(), long)]);
        assert_eq!(made[0].tokens as usize, room);
        assert!(made[0].truncated > 400 && (0.0..=1.0).contains(&made[0].score));
    }
}

#[test]
fn golden_probabilities_of_distilbert() {
    let name = "tiny-distilbert-sst2";
    let texts = strings(name, "texts");
    let expected = reference_tensor(name, "out_probabilities");
    for (quality, most) in [(Quality::Exact, 1e-4), (Quality::Fast, 0.05)] {
        let (companion, mut model) =
            bert::load_classifier(&Files::new(golden(name)), &device(), quality)
                .expect("a checkpoint");
        let prepare = |text: &String| {
            let text = text.clone();
            let request = ClassifyRequest { text, window: 512 };
            companion.classify(&request).expect("prepared").work
        };
        let answers = model.run(texts.iter().map(prepare).collect()).into_iter();
        let answers: Vec<Classes> = answers.map(|answer| answer.expect("classes")).collect();
        for (classes, expected) in answers.iter().zip(expected.chunks_exact(2)) {
            let labels: Vec<_> = classes.scores.iter().map(|s| s.label.as_str()).collect();
            assert_eq!(labels, ["NEGATIVE", "POSITIVE"]);
            let scores: Vec<f32> = classes.scores.iter().map(|s| s.score).collect();
            let off = greatest_difference(&scores, expected);
            assert!(off < most, "{quality:?}: {off}");
        }
    }
}

#[test]
fn golden_vectors_of_sentence_transformers() {
    for (name, long) in [("tiny-embeddinggemma", 256), ("tiny-qwen3-embedding", 256)] {
        for (quality, least) in [(Quality::Exact, 0.9999), (Quality::Fast, 0.99)] {
            let fit = Fit {
                quality,
                ..Fit::default()
            };
            let (companion, mut model) =
                sentence::load(&Files::new(golden(name)), fit).expect("a checkpoint");
            let texts = strings(name, "texts");
            let inputs = reference(name)["input_ids"].clone();
            for (text, expected) in texts.iter().zip(inputs.as_array().expect("lists")) {
                let work = companion.embed(request(text)).expect("prepared").work;
                assert_eq!(work.tokens(), ids(expected), "{name}: {text}");
            }
            let expected = reference_tensor(name, "out_normalized");
            let made = vectors(&companion, &mut model, &texts);
            assert_eq!(made.len() * HIDDEN, expected.len());
            for (made, expected) in made.iter().zip(expected.chunks_exact(HIDDEN)) {
                let found = cosine(made, expected);
                assert!(found >= least, "{name}, {quality:?}: {found}");
            }
            let work = companion.embed(request(&"Paris ".repeat(300)));
            let work = work.expect("prepared").work;
            assert_eq!(work.tokens().len(), long);
            assert!(model.run(vec![work]).remove(0).is_ok());
        }
    }
}

#[test]
fn a_default_prompt_comes_before_each_text_and_a_shorter_window_holds() {
    let folder = copy("tiny-embeddinggemma");
    let prompts =
        json!({"prompts": {"document": "title: none | text: "}, "default_prompt_name": "document"});
    write(folder.path(), "config_sentence_transformers.json", &prompts);
    let fit = Fit {
        window: Some(40),
        ..Fit::default()
    };
    let files = Files::new(folder.path().to_path_buf());
    let (companion, _) = sentence::load(&files, fit).expect("a checkpoint");
    let (plain, _) =
        sentence::load(&Files::new(golden("tiny-embeddinggemma")), fit).expect("a checkpoint");
    let tokens = |companion: &EncoderCompanion, text: &str| {
        let work = companion.embed(request(text)).expect("prepared").work;
        work.tokens().to_vec()
    };
    assert_eq!(
        tokens(&companion, "Paris"),
        tokens(&plain, "title: none | text: Paris")
    );
    assert_eq!(tokens(&plain, &"Paris ".repeat(90)).len(), 40);
}

#[test]
fn needs_hold_the_weights_and_fewer_bits_need_less() {
    for row in models::ARCHITECTURES {
        let is_encoder = ["bert", "xlm-roberta", "distilbert", "-embedding"];
        if !is_encoder.iter().any(|word| row.name.contains(word)) {
            continue;
        }
        let files = Files::new(golden(row.golden));
        let need = |quality, window| {
            let fit = Fit {
                quality,
                window,
                ..Fit::default()
            };
            models::need(row.name, &files, &Device::Cpu, fit).expect("a need")
        };
        let exact = need(Quality::Exact, None);
        let stored = ["model.safetensors", "pytorch_model.bin"]
            .iter()
            .find_map(|name| std::fs::metadata(golden(row.golden).join(name)).ok());
        let stored = stored.expect("a file").len() as f64;
        let ratio = exact.weights_bytes as f64 / stored;
        assert!((0.9..1.25).contains(&ratio), "{}: {exact}", row.name);
        assert!(need(Quality::Fast, None).weights_bytes < exact.weights_bytes);
        assert!(exact.activation_bytes > 100_000, "{exact}");
        assert!(need(Quality::Exact, Some(8)).total_bytes() <= exact.total_bytes());
    }
}

fn copy(name: &str) -> tempfile::TempDir {
    fn into(from: &Path, to: &Path) {
        for entry in std::fs::read_dir(from).expect("a folder") {
            let entry = entry.expect("an entry");
            let to = to.join(entry.file_name());
            if entry.path().is_dir() {
                std::fs::create_dir(&to).expect("made");
                into(&entry.path(), &to);
            } else {
                std::fs::copy(entry.path(), to).expect("copied");
            }
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    into(&golden(name), folder.path());
    folder
}

fn write(folder: &Path, file: &str, value: &Value) {
    std::fs::write(folder.join(file), value.to_string()).expect("written");
}

fn loaded(name: &str, folder: &Path) -> Result<(), LoadError> {
    let row = models::ARCHITECTURES.iter().find(|row| row.golden == name);
    let files = Files::new(folder.to_path_buf());
    let row = row.expect("a row").name;
    models::load(row, &files, &Device::Cpu, Fit::default()).map(|_| ())
}

/// A folder, a file in it, a key and a value that contradict the others.
const CONTRADICTIONS: &str = r#"
tiny-xlmr-embed config.json pad_token_id 129
tiny-xlmr-embed config.json pad_token_id 18446744073709551615
tiny-xlmr-embed config.json type_vocab_size 2
tiny-xlmr-embed config.json hidden_size 96
tiny-bert-reranker config.json vocab_size 10
tiny-bert-reranker config.json id2label {"0":"A","1":"B"}
tiny-distilbert-sst2 config.json id2label {"0":"A"}
tiny-distilbert-sst2 config.json n_heads 5
tiny-distilbert-sst2 config.json hidden_dim 95
tiny-embeddinggemma config.json head_dim 32
tiny-embeddinggemma config.json num_hidden_layers 4
tiny-embeddinggemma 2_Dense/config.json in_features 47
tiny-embeddinggemma 2_Dense/config.json out_features 95
tiny-embeddinggemma 2_Dense/config.json out_features 18446744073709551615
tiny-embeddinggemma 3_Dense/config.json bias true
tiny-embeddinggemma config_sentence_transformers.json default_prompt_name "none"
tiny-qwen3-embedding config.json intermediate_size 97
tiny-qwen3-embedding config.json num_key_value_heads 3
"#;

/// The same, where the value asks for something that is not built.
const UNKNOWN: &str = r#"
tiny-xlmr-embed config.json model_type "electra"
tiny-xlmr-embed config.json hidden_act "swish"
tiny-embeddinggemma config.json model_type "llama"
tiny-embeddinggemma config.json attn_logit_softcapping 50.0
tiny-embeddinggemma 2_Dense/config.json activation_function "ReLU"
tiny-qwen3-embedding 1_Pooling/config.json pooling_mode_max_tokens true
tiny-qwen3-embedding 1_Pooling/config.json pooling_mode_lasttoken false
"#;

fn refusal(case: &str) -> Option<LoadError> {
    let mut words = case.split(' ');
    let mut word = || words.next().expect("a word");
    let (name, file, key, value) = (word(), word(), word(), word());
    let folder = copy(name);
    let text = std::fs::read(folder.path().join(file)).expect("a file");
    let mut json: Value = serde_json::from_slice(&text).expect("JSON");
    json[key] = serde_json::from_str(value).expect("JSON");
    write(folder.path(), file, &json);
    loaded(name, folder.path()).err()
}

#[test]
fn a_configuration_must_fit_its_file() {
    for case in CONTRADICTIONS.lines().filter(|line| !line.is_empty()) {
        let refused = refusal(case);
        let is_corrupt = matches!(refused, Some(LoadError::Corrupt { .. }));
        assert!(is_corrupt, "{case}: {refused:?}");
    }
    for case in UNKNOWN.lines().filter(|line| !line.is_empty()) {
        let refused = refusal(case);
        let is_unsupported = matches!(refused, Some(LoadError::Unsupported { .. }));
        assert!(is_unsupported, "{case}: {refused:?}");
    }
}

#[test]
fn modules_and_vocabularies_are_not_trusted() {
    let module = |path: &str, kind: &str| json!({"path": path, "type": kind});
    let transformer = module("", "sentence_transformers.models.Transformer");
    let pooling = module("1_Pooling", "sentence_transformers.models.Pooling");
    for (modules, is_corrupt) in [
        (json!([]), true),
        (json!([transformer]), true),
        (json!([transformer, module("../x", "models.Pooling")]), true),
        (json!([transformer, module("/etc", "models.Pooling")]), true),
        (json!(vec![transformer.clone(); 1000]), true),
        (json!({"a": 1}), true),
        (json!([transformer, pooling, pooling]), false),
        (
            json!([transformer, pooling, module("2_X", "models.LSTM")]),
            false,
        ),
        (json!([module("2_Dense", "models.Dense"), pooling]), false),
    ] {
        let folder = copy("tiny-qwen3-embedding");
        write(folder.path(), "modules.json", &modules);
        match loaded("tiny-qwen3-embedding", folder.path()) {
            Err(LoadError::Corrupt { .. }) if is_corrupt => {}
            Err(LoadError::Unsupported { .. }) if !is_corrupt => {}
            other => panic!("{modules}: {other:?}"),
        }
    }
    for vocabulary in [
        String::new(),
        "[PAD]\n[UNK]\n[CLS]\n".to_owned(),
        "\u{0}".repeat(10),
        "[UNK]\n[CLS]\n[SEP]\n".to_owned() + &"x\n".repeat(200),
    ] {
        let folder = copy("tiny-distilbert-sst2");
        std::fs::write(folder.path().join("vocab.txt"), &vocabulary).expect("written");
        let refused = loaded("tiny-distilbert-sst2", folder.path());
        assert!(
            matches!(refused, Err(LoadError::Corrupt { .. })),
            "{refused:?}"
        );
    }
    let folder = copy("tiny-distilbert-sst2");
    std::fs::remove_file(folder.path().join("vocab.txt")).expect("removed");
    let refused = loaded("tiny-distilbert-sst2", folder.path());
    assert!(matches!(refused, Err(LoadError::Missing { .. })));
}

#[test]
fn a_file_of_pytorch_is_read_as_data_and_not_trusted() {
    let name = "tiny-xlmr-embed";
    let whole = std::fs::read(golden(name).join("pytorch_model.bin")).expect("a file");
    let folder = copy(name);
    let load = |bytes: &[u8]| {
        std::fs::write(folder.path().join("pytorch_model.bin"), bytes).expect("written");
        loaded(name, folder.path())
    };
    load(&whole).expect("a checkpoint");
    for length in (0..whole.len())
        .step_by(9973)
        .chain([1, 2, 21, 22, whole.len() - 1])
    {
        let refused = load(&whole[..length]);
        assert!(
            matches!(
                refused,
                Err(LoadError::Corrupt { .. } | LoadError::Unsupported { .. })
            ),
            "cut at {length}: {refused:?}"
        );
    }
    // The description at the beginning, and the list of records at the end.
    let mut random = 1u64;
    for round in 0..400 {
        let mut bytes = whole.clone();
        for _ in 0..3 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let at = (random >> 33) as usize % 4200;
            let at = if round % 2 == 0 {
                at
            } else {
                whole.len() - 1 - at
            };
            bytes[at] = (random >> 25) as u8;
        }
        let _ = load(&bytes);
    }
    let text = |text: &str| {
        let at = whole
            .windows(text.len())
            .position(|part| part == text.as_bytes());
        at.expect("it is there")
    };
    let mut bytes = whole.clone();
    bytes[text("FloatStorage")] = b'X';
    assert!(matches!(load(&bytes), Err(LoadError::Unsupported { .. })));
    bytes = whole.clone();
    bytes[text("little")] = b'b';
    assert!(matches!(load(&bytes), Err(LoadError::Unsupported { .. })));
}

#[test]
fn a_checkpoint_without_the_head_is_refused() {
    let embedder = Files::new(golden("tiny-bert-embed"));
    let refused = bert::load_reranker(&embedder, &Device::Cpu, Quality::Exact).err();
    assert!(matches!(refused, Some(LoadError::Unsupported { .. })));
    let classifier = Files::new(golden("tiny-distilbert-sst2"));
    let refused = bert::load_reranker(&classifier, &Device::Cpu, Quality::Exact).err();
    assert!(matches!(refused, Some(LoadError::Unsupported { .. })));
    let reranker = Files::new(golden("tiny-bert-reranker"));
    let refused = bert::load_classifier(&reranker, &Device::Cpu, Quality::Exact).err();
    assert!(matches!(refused, Some(LoadError::Unsupported { .. })));
    // Its tokens see later ones: it writes no text.
    let refused =
        models::decoder::Decoder::load(&Files::new(golden("tiny-embeddinggemma")), &Device::Cpu);
    assert!(matches!(refused, Err(LoadError::Unsupported { .. })));
}
