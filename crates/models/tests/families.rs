//! What the configuration of each family may say, and what is refused rather than left out.

mod common;

use common::families::converted;
use common::gguf::GgufFile;
use common::golden;
use models::decoder::{Block, Decoder, DecoderConfig, NormKind, Scaling};
use models::device::Device;
use models::{Files, LoadError};
use serde_json::{Value, json};

/// Loads a golden checkpoint whose configuration has one other value.
fn edited(name: &str, key: &str, value: Value) -> Result<DecoderConfig, LoadError> {
    let folder = tempfile::tempdir().expect("a folder");
    let bytes = std::fs::read(golden(name).join("config.json")).expect("config.json");
    let mut config: Value = serde_json::from_slice(&bytes).expect("JSON");
    config[key] = value;
    std::fs::write(folder.path().join("config.json"), config.to_string()).expect("written");
    std::fs::copy(
        golden(name).join("model.safetensors"),
        folder.path().join("model.safetensors"),
    )
    .expect("copied");
    let files = Files::new(folder.path().to_path_buf());
    Decoder::load(&files, &Device::Cpu).map(|decoder| decoder.config().clone())
}

fn gguf(file: &GgufFile) -> Result<DecoderConfig, LoadError> {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("model.gguf"), file.bytes()).expect("written");
    let files = Files::new(folder.path().to_path_buf());
    Decoder::load(&files, &Device::Cpu).map(|decoder| decoder.config().clone())
}

#[test]
fn unknown_values_are_refused() {
    for (name, key, value) in [
        ("tiny-llama", "model_type", json!("mamba")),
        ("tiny-gemma3", "model_type", json!("gemma3")),
        (
            "tiny-llama",
            "quantization_config",
            json!({"quant_method": "awq"}),
        ),
        ("tiny-mistral", "hidden_act", json!("gelu")),
        ("tiny-qwen2", "hidden_act", json!("relu")),
        (
            "tiny-qwen3",
            "rope_scaling",
            json!({"rope_type": "longrope"}),
        ),
        (
            "tiny-qwen3",
            "layer_types",
            json!(["full_attention", "linear_attention"]),
        ),
        ("tiny-gemma3", "use_bidirectional_attention", json!(true)),
        ("tiny-gemma2", "hidden_activation", json!("silu")),
        ("tiny-phi", "qk_layernorm", json!(true)),
        ("tiny-phi", "hidden_act", json!("silu")),
        ("tiny-falcon", "alibi", json!(true)),
        ("tiny-falcon", "new_decoder_architecture", json!(true)),
        ("tiny-falcon", "multi_query", json!(false)),
        ("tiny-falcon", "parallel_attn", json!(false)),
        ("tiny-gpt-oss", "hidden_act", json!("gelu")),
        (
            "tiny-llama31-rope",
            "rope_scaling",
            json!({"rope_type": "dynamic", "factor": 2, "original_max_position_embeddings": 64}),
        ),
    ] {
        let error = edited(name, key, value).expect_err(key);
        assert!(
            matches!(error, LoadError::Unsupported { .. }),
            "{name}, {key}: {error}"
        );
    }
}

#[test]
fn impossible_values_are_corrupt() {
    for (name, key, value) in [
        ("tiny-mixtral", "num_hidden_layers", json!(u64::MAX)),
        ("tiny-mixtral", "num_local_experts", json!(0)),
        ("tiny-mixtral", "num_local_experts", json!(u64::MAX)),
        ("tiny-mixtral", "num_experts_per_tok", json!(5)),
        ("tiny-mixtral", "num_experts_per_tok", json!(0)),
        ("tiny-qwen2-moe", "decoder_sparse_step", json!(0)),
        (
            "tiny-qwen2-moe",
            "shared_expert_intermediate_size",
            Value::Null,
        ),
        ("tiny-qwen3-moe", "moe_intermediate_size", json!(0)),
        ("tiny-mistral-window", "sliding_window", json!(0)),
        (
            "tiny-gemma3",
            "layer_types",
            json!(["full_attention", "sliding_attention"]),
        ),
        ("tiny-gemma2", "query_pre_attn_scalar", json!(-1)),
        ("tiny-gemma2", "final_logit_softcapping", json!(0)),
        ("tiny-gemma3", "rope_local_base_freq", json!(0)),
        ("tiny-phi", "partial_rotary_factor", json!(0)),
        ("tiny-phi", "partial_rotary_factor", json!(2)),
        ("tiny-phi", "partial_rotary_factor", json!(0.25)),
        ("tiny-gpt-oss", "swiglu_limit", json!(0)),
        (
            "tiny-gpt-oss",
            "rope_scaling",
            json!({"rope_type": "yarn", "factor": -1}),
        ),
    ] {
        let error = edited(name, key, value).expect_err(key);
        assert!(
            matches!(error, LoadError::Corrupt { .. }),
            "{name}, {key}: {error}"
        );
    }
}

#[test]
fn what_a_file_leaves_out_is_the_default_of_its_family() {
    let falcon = edited("tiny-falcon", "ffn_hidden_size", Value::Null).expect("a falcon");
    assert_eq!(falcon.intermediate, 4 * falcon.hidden);
    assert_eq!((falcon.kv_heads, falcon.block), (1, Block::Parallel));
    let gemma = edited("tiny-gemma3", "layer_types", Value::Null).expect("a gemma");
    let local = gemma.local.expect("sliding layers");
    assert_eq!(local.layers, [true; 3], "five of six");
    assert_eq!((local.rope.theta, gemma.rope.theta), (1e4, 1e6));
    let qwen = edited("tiny-qwen2", "use_sliding_window", json!(true)).expect("a qwen");
    assert_eq!(qwen.local, None, "no window is told");
    let llama = edited(
        "tiny-llama",
        "rope_scaling",
        json!({"rope_type": "dynamic", "factor": 2}),
    );
    assert_eq!(llama.expect("a llama").rope.scaling, Scaling::None);
    let phi = edited("tiny-phi", "hidden_act", json!("gelu_new")).expect("a phi");
    assert_eq!((phi.norm.kind, phi.rope.rotated), (NormKind::Layer, 6));
}

#[test]
fn a_gguf_file_says_what_its_configuration_says() {
    for name in [
        "tiny-mistral-window",
        "tiny-mixtral",
        "tiny-qwen2",
        "tiny-qwen2-moe",
        "tiny-qwen3",
        "tiny-qwen3-moe",
        "tiny-gemma",
        "tiny-gemma2",
        "tiny-gemma3",
        "tiny-phi",
        "tiny-falcon",
        "tiny-gpt-oss",
    ] {
        let told = Decoder::load(&Files::new(golden(name)), &Device::Cpu).expect("a decoder");
        let told = told.config().clone();
        let mut read = gguf(&converted(name)).expect("a decoder");
        // Seen from the tensors of a GGUF file.
        assert_eq!(read.tied_head, None);
        read.tied_head = told.tied_head;
        // Stored as float32.
        read.norm.epsilon = told.norm.epsilon;
        assert_eq!(read, told, "{name}");
    }
}

#[test]
fn unknown_metadata_is_refused() {
    let mut file = GgufFile::default();
    file.text("general.architecture", "rwkv6");
    assert!(matches!(gguf(&file), Err(LoadError::Unsupported { .. })));
    for (key, value) in [
        ("qwen2.attention.value_length", 8),
        ("qwen2.attention.key_length", 8),
        ("qwen2.expert_count", 4),
        ("qwen2.attention.sliding_window", u32::MAX),
    ] {
        let mut file = converted("tiny-qwen2");
        file.integer(key, value);
        let error = gguf(&file).expect_err(key);
        assert!(
            matches!(
                error,
                LoadError::Unsupported { .. } | LoadError::Corrupt { .. }
            ),
            "{key}: {error}"
        );
    }
    let mut file = converted("tiny-qwen2");
    file.text("qwen2.rope.scaling.type", "longrope");
    assert!(matches!(gguf(&file), Err(LoadError::Unsupported { .. })));
}
