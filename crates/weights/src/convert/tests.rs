//! The conversion of Whisper on a made-up model, read back by the safetensors crate.

use std::collections::BTreeMap;

use super::{ConvertError, run};

// The crate's own tests use all of it.
#[allow(dead_code)]
#[path = "../../tests/common/ct2.rs"]
mod ct2;

fn inputs(model: Vec<u8>, vocabulary: u32) -> Vec<Vec<u8>> {
    let tokenizer = ct2::tokenizer(vocabulary).into_bytes();
    vec![model, ct2::CONFIG.as_bytes().to_vec(), tokenizer]
}

fn english(
    change: impl FnOnce(&mut Vec<ct2::Made>),
) -> Result<BTreeMap<&'static str, Vec<u8>>, ConvertError> {
    let mut variables = ct2::variables(ct2::ENGLISH_VOCABULARY);
    change(&mut variables);
    let inputs = inputs(ct2::model(&variables), ct2::ENGLISH_VOCABULARY);
    let outputs = run("ct2-whisper", &inputs)?;
    Ok(outputs
        .into_iter()
        .map(|(name, pieces)| (name, pieces.concat()))
        .collect())
}

fn data(name: &str) -> Vec<u8> {
    let variables = ct2::variables(ct2::ENGLISH_VOCABULARY);
    let found = variables.into_iter().find(|made| made.name == name);
    found.unwrap_or_else(|| panic!("{name}")).data
}

#[test]
fn the_result_holds_the_tensors_of_a_hugging_face_checkpoint() {
    let outputs = english(|_| ()).unwrap();
    let file = safetensors::SafeTensors::deserialize(&outputs["model.safetensors"]).unwrap();
    let mut names: Vec<String> = file.names().into_iter().map(str::to_owned).collect();
    names.sort();
    let mut expected = Vec::new();
    for (side, attentions) in [
        ("encoder", &["self_attn"][..]),
        ("decoder", &["self_attn", "encoder_attn"][..]),
    ] {
        let layer = format!("model.{side}.layers.0");
        expected.push(format!("model.{side}.embed_positions.weight"));
        for kind in ["weight", "bias"] {
            expected.push(format!("model.{side}.layer_norm.{kind}"));
            for part in ["fc1", "fc2", "final_layer_norm"] {
                expected.push(format!("{layer}.{part}.{kind}"));
            }
            for attention in attentions {
                expected.push(format!("{layer}.{attention}_layer_norm.{kind}"));
                for head in ["q", "v", "out"] {
                    expected.push(format!("{layer}.{attention}.{head}_proj.{kind}"));
                }
            }
            for convolution in ["conv1", "conv2"] {
                if side == "encoder" {
                    expected.push(format!("model.encoder.{convolution}.{kind}"));
                }
            }
        }
        for attention in attentions {
            expected.push(format!("{layer}.{attention}.k_proj.weight"));
        }
    }
    expected.push("model.decoder.embed_tokens.weight".to_owned());
    expected.sort();
    assert_eq!(names, expected);
}

#[test]
fn fused_rows_come_apart_in_the_order_query_key_value() {
    let outputs = english(|_| ()).unwrap();
    let file = safetensors::SafeTensors::deserialize(&outputs["model.safetensors"]).unwrap();
    let bytes = |name: &str| file.tensor(name).unwrap().data().to_vec();
    let width = ct2::WIDTH as usize;
    let (square, row) = (2 * width * width, 2 * width);
    let weight = data("encoder/layer_0/self_attention/linear_0/weight");
    for (index, head) in ["q", "k", "v"].into_iter().enumerate() {
        let name = format!("model.encoder.layers.0.self_attn.{head}_proj.weight");
        assert_eq!(bytes(&name), weight[index * square..(index + 1) * square]);
        assert_eq!(file.tensor(&name).unwrap().shape(), [width, width]);
    }
    let bias = data("decoder/layer_0/attention/linear_1/bias");
    let name = "model.decoder.layers.0.encoder_attn.v_proj.bias";
    assert_eq!(bytes(name), bias[row..]);
    let name = "model.decoder.layers.0.encoder_attn.k_proj.weight";
    let fused = data("decoder/layer_0/attention/linear_1/weight");
    assert_eq!(bytes(name), fused[..square]);
}

#[test]
fn every_cut_of_the_model_is_a_typed_error() {
    let model = ct2::model(&ct2::variables(ct2::ENGLISH_VOCABULARY));
    // Every byte of the first variables' heads, then steps that hit every part of the rest.
    let cuts = (0..300).chain((300..model.len()).step_by(37));
    for cut in cuts {
        let inputs = inputs(model[..cut].to_vec(), ct2::ENGLISH_VOCABULARY);
        let error = run("ct2-whisper", &inputs).unwrap_err();
        assert!(
            matches!(error, ConvertError::Truncated { .. }),
            "{cut}: {error}"
        );
    }
}

#[test]
fn a_variable_without_a_place_is_refused() {
    let error = english(|variables| {
        let mut extra = variables[0].clone();
        extra.name = "encoder/adapter/weight".to_owned();
        variables.push(extra);
    });
    let expected = ConvertError::Unmapped("encoder/adapter/weight".to_owned());
    assert_eq!(error.unwrap_err(), expected);
}

#[test]
fn a_missing_variable_is_named() {
    let name = "decoder/layer_0/attention/linear_2/bias";
    let error = english(|variables| variables.retain(|made| made.name != name));
    assert_eq!(error.unwrap_err(), ConvertError::Missing(name.to_owned()));
}

#[test]
fn a_key_bias_and_quantised_weights_are_refused() {
    let name = "encoder/layer_0/self_attention/linear_0/bias";
    let of = |variables: &mut Vec<ct2::Made>| {
        let index = variables.iter().position(|made| made.name == name);
        index.unwrap_or_else(|| panic!("{name}"))
    };
    let bias = english(|variables| {
        let index = of(variables);
        variables[index].data[2 * ct2::WIDTH as usize] = 1;
    });
    let quantised = english(|variables| {
        let index = of(variables);
        variables[index].kind = 1;
        variables[index].data.truncate(3 * ct2::WIDTH as usize);
    });
    for error in [bias.unwrap_err(), quantised.unwrap_err()] {
        assert!(
            matches!(&error, ConvertError::Variable { name: found, .. } if found == name),
            "{error}"
        );
    }
}

#[test]
fn a_tokenizer_of_another_model_is_refused() {
    let model = ct2::model(&ct2::variables(ct2::ENGLISH_VOCABULARY));
    let inputs = inputs(model, ct2::ENGLISH_VOCABULARY + 1);
    let error = run("ct2-whisper", &inputs).unwrap_err();
    assert!(
        matches!(
            error,
            ConvertError::Json {
                file: "tokenizer.json",
                ..
            }
        ),
        "{error}"
    );
}
