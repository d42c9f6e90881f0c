//! Adapters against the same weights merged by torch, alone and beside rows of others; what no adapter can be.

mod common;

use std::path::Path;
use std::sync::Arc;

use common::{Sequence, argmax, cosine, golden, ids, reference, reference_tensor, step};
use engine::model::{SequenceId, StepCompanion, StepModel};
use models::decoder::{Decoder, load_within};
use models::device::Device;
use models::{ChatCompanion, Files, Fit};
use serde_json::{Value, json};
use tasks::{ChatOptions, ChatRequest, Failure, Lora, Prompt, Sampling};

const FOLDER: &str = "tiny-llama-lora";
const STEPS: usize = 32;

fn open(files: &Files) -> (Arc<ChatCompanion>, Decoder) {
    let fit = Fit {
        adapters: true,
        ..Fit::default()
    };
    load_within(files, &Device::Cpu, fit).expect("a decoder")
}

fn request(name: &str, folder: Option<&Path>) -> ChatRequest {
    ChatRequest {
        prompt: Prompt::Raw("a".to_owned()),
        max_tokens: Some(1),
        sampling: Sampling::greedy(),
        window: 256,
        options: ChatOptions {
            lora: Some(Lora {
                name: name.to_owned(),
                folder: folder.map(Path::to_owned),
            }),
            ..ChatOptions::default()
        },
    }
}

/// Takes a sequence in, with an adapter of the golden folder or none.
fn admit(companion: &ChatCompanion, model: &mut Decoder, id: u64, adapter: Option<&str>) {
    let admission = adapter.map(|name| {
        let folder = golden(FOLDER).join(name);
        companion
            .admit(request(name, Some(&folder)))
            .expect("an adapter")
    });
    let prelude = admission.and_then(|admission| admission.prelude);
    assert_eq!(prelude.is_some(), adapter.is_some());
    model.admit(SequenceId(id), prelude).expect("taken in");
}

/// The greedy path of a reference, and its logits before each new token.
struct Wanted {
    path: Vec<u32>,
    logits: Option<Vec<f32>>,
}

fn wanted(adapter: Option<&str>) -> Wanted {
    let reference = reference(FOLDER);
    match adapter {
        None => Wanted {
            path: ids(&reference["base"]["greedy_ids"]),
            logits: None,
        },
        Some(name) => Wanted {
            path: ids(&reference["adapters"][name]["greedy_ids"]),
            logits: Some(reference_tensor(FOLDER, name)),
        },
    }
}

/// The greedy paths of sequences side by side, against torch's.
fn check(companion: &ChatCompanion, model: &mut Decoder, adapters: &[Option<&str>]) {
    let prompt = ids(&reference(FOLDER)["prompt_ids"]);
    let places: [fn(usize) -> u32; 5] = [
        |block| 5 * block as u32,
        |block| 5 * block as u32 + 1,
        |block| 5 * block as u32 + 2,
        |block| 5 * block as u32 + 3,
        |block| 5 * block as u32 + 4,
    ];
    let mut sequences: Vec<Sequence> = Vec::new();
    for (place, adapter) in adapters.iter().enumerate() {
        admit(companion, model, place as u64, *adapter);
        sequences.push(Sequence::new(place as u64, &prompt, places[place]));
    }
    let wanted: Vec<_> = adapters.iter().map(|adapter| wanted(*adapter)).collect();
    let mut rows = prompt.len();
    for at in 0..STEPS {
        let mut parts: Vec<_> = sequences.iter_mut().map(|one| (one, rows)).collect();
        let logits = step(model, &mut parts);
        for ((sequence, wanted), row) in sequences.iter_mut().zip(&wanted).zip(&logits) {
            if let Some(expected) = &wanted.logits {
                let expected = &expected[at * row.len()..][..row.len()];
                assert!(cosine(row, expected) >= 0.9999, "{adapters:?} at {at}");
            }
            let next = wanted.path[prompt.len() + at];
            assert_eq!(argmax(row), next, "{adapters:?} at {at}");
            sequence.tokens.push(next);
        }
        rows = 1;
    }
    for place in 0..adapters.len() {
        model.release(SequenceId(place as u64));
    }
}

#[test]
fn golden_adapters_alone_and_in_one_batch() {
    let folder = tempfile::tempdir().expect("a folder");
    let gguf = common::families::converted("tiny-llama").bytes();
    std::fs::write(folder.path().join("model.gguf"), gguf).expect("written");
    for files in [
        Files::new(golden("tiny-llama")),
        // The rows of its queries and keys lie in another order.
        Files::new(folder.path().to_path_buf()),
    ] {
        let (companion, mut model) = open(&files);
        for adapter in [Some("all"), Some("some"), None] {
            check(&companion, &mut model, &[adapter]);
        }
        let mixed = [Some("some"), None, Some("all"), Some("some"), None];
        check(&companion, &mut model, &mixed);
    }
}

#[test]
fn an_adapter_is_known_by_one_name_as_long_as_it_is_there() {
    let (companion, _) = open(&Files::new(golden("tiny-llama")));
    let id = |name: &str| {
        let folder = golden(FOLDER).join(name);
        let admission = companion.admit(request(name, Some(&folder)));
        admission.expect("an adapter").adapter
    };
    let (all, some) = (id("all"), id("some"));
    assert!(all.is_some() && some.is_some() && all != some);
    assert_eq!((id("all"), id("some")), (all, some));
    assert!(![all, some].contains(&Some(0)), "the model alone");
}

#[test]
fn memory_for_adapters_is_set_aside_and_held_to() {
    let files = Files::new(golden("tiny-llama"));
    let need = |adapters| {
        let fit = Fit {
            adapters,
            ..Fit::default()
        };
        let need = models::need("llama", &files, &Device::Cpu, fit);
        need.expect("a need").weights_bytes
    };
    // Rank 32 in each projection of two layers: 4 of attention, 3 behind it.
    let widths = (48 + 48) + 2 * (48 + 24) + (48 + 48) + 3 * (48 + 96);
    let room = need(true) - need(false);
    assert_eq!(room, 2 * 32 * 4 * widths);

    // Of so many copies of one adapter some fit; those that are held stay.
    let (companion, _) = open(&files);
    let bytes = 2 * 4 * 4 * widths;
    let fit = (room / bytes) as usize;
    let folders: Vec<_> = (0..fit + 2).map(|_| copy("all", |_| {})).collect();
    let take = |place: usize| companion.admit(request("copy", Some(folders[place].path())));
    let mut held: Vec<_> = (0..fit).map(|place| take(place).expect("room")).collect();
    assert_eq!(take(fit).err(), Some(Failure::Busy));
    held.remove(0);
    take(fit).expect("the room of the first");
    let again = take(0).expect("the room of the last");
    assert!(again.adapter > held.last().and_then(|held| held.adapter));
}

/// A copy of a golden adapter with another configuration.
fn copy(name: &str, change: impl FnOnce(&mut Value)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let from = golden(FOLDER).join(name);
    let config = std::fs::read(from.join("adapter_config.json")).expect("a file");
    let mut config: Value = serde_json::from_slice(&config).expect("JSON");
    change(&mut config);
    std::fs::write(
        folder.path().join("adapter_config.json"),
        config.to_string(),
    )
    .expect("written");
    let weights = "adapter_model.safetensors";
    std::fs::copy(from.join(weights), folder.path().join(weights)).expect("copied");
    folder
}

#[test]
fn what_no_adapter_of_the_model_can_be_is_refused_in_words() {
    let (companion, _) = open(&Files::new(golden("tiny-llama")));
    let refusal = |companion: &ChatCompanion, folder: Option<&Path>| match companion
        .admit(request("mine", folder))
        .err()
    {
        Some(Failure::Unsupported(text)) => text,
        other => panic!("{other:?}"),
    };
    for (change, why) in [
        (json!({"use_dora": true}), "use_dora"),
        (json!({"bias": "all"}), "bias"),
        (json!({"modules_to_save": ["lm_head"]}), "modules_to_save"),
        (json!({"fan_in_fan_out": true}), "fan_in_fan_out"),
        (json!({"peft_type": "IA3"}), "peft_type"),
        (json!({"r": 5}), "shape"),
        (json!({"r": 64}), "a rank of 64"),
        (json!({"r": 0}), "a rank of 0"),
        (json!({"r": "4"}), "adapter_config.json"),
        (json!({"rank_pattern": {"q_.*": 2}}), "pattern"),
        (json!({"alpha_pattern": {"q_proj": "x"}}), "alpha_pattern"),
    ] {
        let folder = copy("all", |config| {
            for (name, value) in change.as_object().expect("fields") {
                config[name] = value.clone();
            }
        });
        let text = refusal(&companion, Some(folder.path()));
        assert!(text.contains(why) && text.contains("mine"), "{text}");
    }
    let empty = tempfile::tempdir().expect("a folder");
    assert!(refusal(&companion, Some(empty.path())).contains("missing"));
    let cut = copy("all", |_| {});
    let weights = cut.path().join("adapter_model.safetensors");
    let bytes = std::fs::read(&weights).expect("a file");
    for length in [0, 7, 100, bytes.len() - 1] {
        std::fs::write(&weights, &bytes[..length]).expect("written");
        refusal(&companion, Some(cut.path()));
    }
    assert!(refusal(&companion, None).contains("service's own"));

    // Another model's shapes, a model of experts, and one that was loaded without room for adapters.
    let all = golden(FOLDER).join("all");
    let (other, _) = open(&Files::new(golden("tiny-qwen3")));
    assert!(refusal(&other, Some(&all)).contains("shape"));
    let (experts, _) = open(&Files::new(golden("tiny-mixtral")));
    assert!(refusal(&experts, Some(&all)).contains("not served"));
    let alone = models::decoder::load(&Files::new(golden("tiny-llama")), &Device::Cpu);
    let (alone, _) = alone.expect("a decoder");
    assert!(refusal(&alone, Some(&all)).contains("not served"));
}
