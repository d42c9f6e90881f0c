//! Embeddings against transformers' numbers for a tiny BERT.

mod common;

use common::{cosine, device, golden, reference, reference_tensor};
use engine::model::BatchModel;
use models::bert::{self, Bert};
use models::{EncoderCompanion, Files};
use tasks::{EmbedRequest, Embedding, Failure, Overlong, Pooling};

const HIDDEN: usize = 48;

fn load() -> (std::sync::Arc<EncoderCompanion>, Bert) {
    bert::load(
        &Files::new(golden("tiny-bert-embed")),
        &device(),
        models::Quality::Exact,
    )
    .expect("a checkpoint")
}

fn request(text: &str, pooling: Pooling, width: usize) -> EmbedRequest {
    EmbedRequest {
        text: text.to_owned(),
        pooling,
        width,
        window: 512,
        overlong: Overlong::Truncate,
    }
}

fn embed(requests: Vec<EmbedRequest>) -> Vec<Embedding> {
    let (companion, mut model) = load();
    let prepare = |request| companion.embed(request).expect("prepared").work;
    let answers = model.run(requests.into_iter().map(prepare).collect());
    answers
        .into_iter()
        .map(|answer| answer.expect("an embedding"))
        .collect()
}

fn texts() -> Vec<String> {
    let texts = reference("tiny-bert-embed")["texts"].clone();
    serde_json::from_value(texts).expect("texts")
}

#[test]
fn golden_vectors_alone_and_in_a_batch() {
    for (pooling, tensor) in [
        (Pooling::Mean, "out_mean_normalized"),
        (Pooling::Cls, "out_cls_normalized"),
    ] {
        let expected = reference_tensor("tiny-bert-embed", tensor);
        let together = embed(
            texts()
                .iter()
                .map(|text| request(text, pooling, HIDDEN))
                .collect(),
        );
        for ((text, expected), together) in texts()
            .iter()
            .zip(expected.chunks_exact(HIDDEN))
            .zip(together)
        {
            let alone = embed(vec![request(text, pooling, HIDDEN)]).remove(0);
            for vector in [&alone.vector, &together.vector] {
                assert!(cosine(vector, expected) > 0.99999, "{text}");
                assert!(
                    common::greatest_difference(vector, expected) < 1e-4,
                    "{text}"
                );
            }
            assert_eq!(alone.vector, together.vector, "neighbours change no bit");
            assert_eq!(alone.tokens, together.tokens);
            assert_eq!(alone.truncated, 0);
        }
    }
}

#[test]
fn answers_come_in_order_whatever_the_lengths() {
    let long = "the quick brown fox jumps over the lazy dog ".repeat(12);
    let texts: Vec<String> = (0..9)
        .map(|n| {
            if n % 3 == 0 {
                long.clone()
            } else {
                format!("paris {n}")
            }
        })
        .collect();
    let request = |text: &String| {
        request(
            text,
            if text.len() > 20 {
                Pooling::Cls
            } else {
                Pooling::Mean
            },
            HIDDEN,
        )
    };
    let together = embed(texts.iter().map(request).collect());
    for (text, together) in texts.iter().zip(together) {
        let alone = embed(vec![request(text)]).remove(0);
        assert!(
            common::greatest_difference(&alone.vector, &together.vector) < 1e-5,
            "{text}"
        );
    }
    assert!(embed(Vec::new()).is_empty());
}

#[test]
fn wider_vectors_keep_every_cosine() {
    let widths = [HIDDEN, 64, 384, 1024];
    let all: Vec<Vec<Embedding>> = widths
        .iter()
        .map(|&width| {
            embed(
                texts()
                    .iter()
                    .map(|text| request(text, Pooling::Mean, width))
                    .collect(),
            )
        })
        .collect();
    for (width, vectors) in widths.iter().zip(&all) {
        for (i, a) in vectors.iter().enumerate() {
            assert_eq!(a.vector.len(), *width);
            let length = a.vector.iter().map(|number| number * number).sum::<f32>();
            assert!((length - 1.0).abs() < 1e-5);
            for (j, b) in vectors.iter().enumerate() {
                let narrow = cosine(&all[0][i].vector, &all[0][j].vector);
                assert!(
                    (cosine(&a.vector, &b.vector) - narrow).abs() < 1e-5,
                    "width {width}"
                );
            }
        }
    }
    let narrower = load().0.embed(request("paris", Pooling::Mean, HIDDEN - 1));
    assert!(matches!(narrower.err(), Some(Failure::Unavailable(_))));
}

#[test]
fn long_texts_are_cut_between_the_special_tokens_or_refused() {
    let (companion, _) = load();
    let text = "paris fox dog ".repeat(100);
    let whole = |overlong, window| {
        companion.embed(EmbedRequest {
            window,
            overlong,
            ..request(&text, Pooling::Mean, HIDDEN)
        })
    };
    let tokens = match whole(Overlong::Refuse, 512).err() {
        // The weights have 128 positions.
        Some(Failure::ContextExceeded {
            tokens,
            window: 128,
        }) => tokens,
        other => panic!("{other:?}"),
    };
    for (window, expected) in [(512, 128), (20, 20), (2, 2), (1, 1)] {
        let job = whole(Overlong::Truncate, window).expect("prepared");
        assert_eq!((job.cost, job.work.tokens().len()), (expected, expected));
        assert_eq!(job.work.tokens().first(), Some(&2), "[CLS]");
        if expected > 1 {
            assert_eq!(job.work.tokens().last(), Some(&3), "[SEP]");
        }
        let (companion, mut model) = load();
        let request = EmbedRequest {
            window,
            ..request(&text, Pooling::Mean, HIDDEN)
        };
        let answer = model
            .run(vec![companion.embed(request).expect("prepared").work])
            .remove(0)
            .expect("a vector");
        assert_eq!(
            (answer.tokens as usize, answer.truncated as usize),
            (expected, tokens - expected)
        );
    }
}
