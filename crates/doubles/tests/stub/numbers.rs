//! Vectors, scores and probabilities.

use proptest::prelude::*;
use tasks::{
    Classify, ClassifyRequest, Decide, DecideRequest, Embed, EmbedRequest, Failure, Json, Overlong,
    Pooling, QuestionKind, Rerank, RerankRequest,
};

use crate::ask::one;

fn asked(text: &str, width: usize) -> EmbedRequest {
    EmbedRequest {
        text: text.into(),
        pooling: Pooling::Mean,
        width,
        window: 512,
        overlong: Overlong::Truncate,
    }
}

fn vector(text: &str, width: usize) -> Vec<f32> {
    one::<Embed>(asked(text, width)).unwrap().vector
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn relevance(query: &str, context: &str) -> f32 {
    let request = RerankRequest {
        query: query.into(),
        context: context.into(),
        window: 512,
    };
    one::<Rerank>(request).unwrap().score
}

fn classify(text: &str) -> [f32; 2] {
    let request = ClassifyRequest {
        text: text.into(),
        window: 512,
    };
    let scores = one::<Classify>(request).unwrap().scores;
    assert_eq!(
        [&scores[0].label, &scores[1].label],
        ["NEGATIVE", "POSITIVE"]
    );
    [scores[0].score, scores[1].score]
}

#[test]
fn texts_that_share_words_are_nearer_than_others() {
    for width in [384, 768, 1024] {
        let cat = vector("The cat sleeps on the warm sofa", width);
        let near = vector("a cat is sleeping on a sofa", width);
        let far = vector("quarterly revenue grew by four percent", width);
        assert!(cosine(&cat, &near) > cosine(&cat, &far) + 0.2, "{width}");
    }
    let query = "how tall is the eiffel tower";
    let good = relevance(query, "The Eiffel Tower is 330 metres tall.");
    let bad = relevance(query, "Bananas are rich in potassium.");
    assert!(good > 0.5 && bad < 0.1, "{good} {bad}");
}

#[test]
fn poolings_do_not_mix() {
    let cls = EmbedRequest {
        pooling: Pooling::Cls,
        ..asked("one and the same text", 768)
    };
    let cls = one::<Embed>(cls).unwrap().vector;
    assert!(cosine(&cls, &vector("one and the same text", 768)).abs() < 0.5);
}

#[test]
fn a_text_beyond_the_window_is_cut_or_refused() {
    let mut request = asked(&"word ".repeat(100), 8);
    request.window = 12;
    let answer = one::<Embed>(request.clone()).unwrap();
    assert_eq!((answer.tokens, answer.truncated), (12, 91)); // the last space is a token
    assert_eq!(answer.vector, vector(&"word ".repeat(10), 8));
    request.overlong = Overlong::Refuse;
    assert_eq!(
        one::<Embed>(request.clone()),
        Err(Failure::ContextExceeded {
            tokens: 103,
            window: 12
        })
    );
    for width in [0, usize::MAX] {
        request.width = width;
        assert!(matches!(
            one::<Embed>(request.clone()),
            Err(Failure::Unsupported(_))
        ));
    }
}

#[test]
fn pleased_and_displeased_texts_are_told_apart() {
    assert!(classify("I love this, it is great")[1] > 0.9);
    assert!(classify("A terrible waste, the worst")[0] > 0.9);
}

proptest! {
    #[test]
    fn vectors_have_their_width_and_unit_length_and_repeat(text in "\\PC{0,200}", width in 1..1100_usize) {
        let first = vector(&text, width);
        prop_assert_eq!(first.len(), width);
        let length: f64 = first.iter().map(|x| f64::from(*x).powi(2)).sum();
        prop_assert!((length - 1.0).abs() < 1e-4, "{}", length);
        prop_assert_eq!(first, vector(&text, width));
    }

    #[test]
    fn scores_and_probabilities_are_shares(
        text in "\\PC{0,200}",
        other in "\\PC{0,200}",
        options in prop::collection::vec(("[a-z]{1,5}", "\\PC{0,20}"), 1..255),
    ) {
        prop_assert!((0.0..=1.0).contains(&relevance(&text, &other)));
        prop_assert!((classify(&text).iter().sum::<f32>() - 1.0).abs() < 1e-5);
        let request = DecideRequest {
            state: Json(serde_json::json!(text).to_string()).into(),
            kind: QuestionKind::Choice,
            instructions: other,
            options: options.clone(),
            images: [].into(),
            window: 512,
        };
        let first = one::<Decide>(request.clone()).unwrap();
        prop_assert_eq!(first.probabilities.len(), options.len());
        prop_assert!((first.probabilities.iter().sum::<f32>() - 1.0).abs() < 1e-4);
        prop_assert!(first.probabilities.iter().all(|p| *p > 0.0));
        prop_assert_eq!(first, one::<Decide>(request).unwrap());
    }
}
