//! Promises of the sampler, held against exact probabilities.
#![allow(clippy::unwrap_used)] // helpers of tests panic as tests do

use engine::{LEAST_LOGPROB, Likelihood, Sampler};
use tasks::Sampling;

fn counts(sampling: &Sampling, logits: &[f32], draws: usize) -> Vec<f64> {
    let mut counts = vec![0.0; logits.len()];
    let mut sampler = Sampler::new(sampling.clone(), &[], 11);
    for _ in 0..draws {
        counts[sampler.next(&mut logits.to_vec()).unwrap() as usize] += 1.0 / draws as f64;
    }
    counts
}

fn hot() -> Sampling {
    Sampling {
        temperature: 1.0,
        ..Sampling::greedy()
    }
}

#[test]
fn frequencies_follow_the_softmax() {
    let logits = [0.0_f32, 1.0, 2.0, -1.0];
    let total: f64 = logits.iter().map(|&l| f64::from(l).exp()).sum();
    for (got, logit) in counts(&hot(), &logits, 40_000).iter().zip(logits) {
        let expected = f64::from(logit).exp() / total;
        assert!((got - expected).abs() < 0.01, "{got} against {expected}");
    }
}

#[test]
fn top_k_and_top_p_keep_the_head_only() {
    let logits: Vec<f32> = (0..500).map(|i| ((i * 37) % 500) as f32 / 100.0).collect();
    let top_k = Sampling {
        top_k: Some(3),
        ..hot()
    };
    let kept = counts(&top_k, &logits, 3_000);
    assert_eq!(kept.iter().filter(|&&c| c > 0.0).count(), 3);
    // Two tokens of 0.5 and 0.3 reach 0.75; the third is out.
    let logits = [0.5_f32.ln(), 0.3_f32.ln(), 0.2_f32.ln()];
    let top_p = Sampling {
        top_p: Some(0.75),
        ..hot()
    };
    let kept = counts(&top_p, &logits, 10_000);
    assert!((kept[0] - 0.625).abs() < 0.02 && kept[2] == 0.0, "{kept:?}");
}

#[test]
fn a_wide_nucleus_over_a_flat_vocabulary_keeps_its_share() {
    let kept = counts(
        &Sampling {
            top_p: Some(0.5),
            ..hot()
        },
        &[0.0; 1000],
        20_000,
    );
    let alive = kept.iter().filter(|&&c| c > 0.0).count();
    assert_eq!(alive, 500);
}

#[test]
fn the_same_seed_gives_the_same_tokens_and_another_seed_others() {
    let draw = |seed| {
        let mut sampler = Sampler::new(
            Sampling {
                seed: Some(seed),
                ..hot()
            },
            &[],
            rand::random(),
        );
        (0..64)
            .map(|_| sampler.next(&mut vec![0.0; 100]).unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(draw(5), draw(5));
    assert_ne!(draw(5), draw(6));
}

#[test]
fn penalties_move_the_choice() {
    let greedy = Sampling::greedy();
    let mut plain = Sampler::new(greedy.clone(), &[1], 0);
    assert_eq!(plain.next(&mut [1.0, 1.2, 0.0]).unwrap(), 1);
    let repetition = Sampling {
        repetition_penalty: Some(1.5),
        ..greedy.clone()
    };
    let mut sampler = Sampler::new(repetition, &[1], 0);
    assert_eq!(sampler.next(&mut [1.0, 1.2, 0.0]).unwrap(), 0);
    let presence = Sampling {
        presence_penalty: Some(0.5),
        ..greedy
    };
    let mut sampler = Sampler::new(presence, &[1], 0);
    assert_eq!(
        sampler.next(&mut [1.0, 1.2, 0.0]).unwrap(),
        1,
        "the prompt does not count"
    );
    assert_eq!(sampler.next(&mut [1.0, 1.2, 0.0]).unwrap(), 0);
}

#[test]
fn logits_that_are_not_numbers_are_a_failure_or_are_passed_over() {
    for sampling in [Sampling::greedy(), hot()] {
        let mut sampler = Sampler::new(sampling, &[], 0);
        assert!(sampler.next(&mut [f32::NAN; 4]).is_err());
        assert!(sampler.next(&mut [f32::NEG_INFINITY; 4]).is_err());
        assert_eq!(
            sampler
                .next(&mut [f32::NAN, 1.0, f32::NEG_INFINITY])
                .unwrap(),
            1
        );
        assert_eq!(sampler.next(&mut [0.0, f32::INFINITY]).unwrap(), 1);
        assert!(sampler.next(&mut []).is_err());
    }
}

#[test]
fn likelihoods_are_of_the_whole_softmax_and_the_likeliest_come_first() {
    // Probabilities 1/2, 1/8, 1/4, 1/8, and two of none.
    let ln = |p: f32| p.ln() + 3.0;
    let logits = [
        ln(0.5),
        ln(0.125),
        ln(0.25),
        ln(0.125),
        f32::NEG_INFINITY,
        f32::NAN,
    ];
    for count in 0..8 {
        let told = Likelihood::of(&logits, 2, count);
        assert_eq!(told.chosen.token, 2);
        assert!((told.chosen.logprob - 0.25_f32.ln()).abs() < 1e-6);
        let top: Vec<_> = told.top.iter().map(|scored| scored.token).collect();
        assert_eq!(top, [0, 2, 1, 3, 4][..count.min(5)]);
        let wanted = [0.5_f32, 0.25, 0.125, 0.125].map(f32::ln);
        for (scored, wanted) in told.top.iter().zip(wanted) {
            assert!((scored.logprob - wanted).abs() < 1e-6);
        }
        for chosen in [4, 5, 6] {
            let told = Likelihood::of(&logits, chosen, 0);
            assert!(told.chosen.logprob <= LEAST_LOGPROB, "{told:?}");
        }
    }
    let certain = Likelihood::of(&[0.0, f32::INFINITY, 1.0], 1, 2);
    assert!(certain.chosen.logprob >= 0.0 && certain.top[1].logprob <= LEAST_LOGPROB);
}
