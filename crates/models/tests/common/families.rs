//! Tiny checkpoints of the golden folders as llama.cpp's converter would store them
//! (`convert_hf_to_gguf.py`; the names are those of `gguf.TensorNameMap`).

use models::device::Device;
use models::{Checkpoint, Files};
use serde_json::Value;

use super::gguf::GgufFile;

/// A number of each expert stands behind this part of a name.
const EXPERTS: [&str; 2] = [".mlp.experts.", ".block_sparse_moe.experts."];

/// A checkpoint with its tokenizer.
pub(crate) fn converted(name: &str) -> GgufFile {
    converted_with(name, |file| golden_tokenizer(name, file))
}

/// The same with another tokenizer.
pub(crate) fn converted_with(name: &str, tokenizer: impl FnOnce(&mut GgufFile)) -> GgufFile {
    let mut file = GgufFile::default();
    let config = json(name, "config.json");
    entries(&config, &mut file);
    tokenizer(&mut file);
    tensors(name, &config, |_| true, &mut file);
    file
}

/// A checkpoint without those tensors whose new names are not wanted.
pub(crate) fn converted_where(name: &str, wanted: impl Fn(&str) -> bool) -> GgufFile {
    let mut file = GgufFile::default();
    let config = json(name, "config.json");
    entries(&config, &mut file);
    golden_tokenizer(name, &mut file);
    tensors(name, &config, wanted, &mut file);
    file
}

/// A checkpoint of the same family whose matrices have whole blocks of inputs, in eight bits (ggml's Q8_0): its
/// numbers are those of the golden one, again and again.
pub(crate) fn widened(name: &str) -> GgufFile {
    let mut file = GgufFile::default();
    let mut config = json(name, "config.json");
    let golden = config.clone();
    for key in [
        "hidden_size",
        "head_dim",
        "intermediate_size",
        "ffn_hidden_size",
    ] {
        if let Some(size) = config[key].as_u64() {
            config[key] = wide(size as usize).into();
        }
    }
    entries(&config, &mut file);
    golden_tokenizer(name, &mut file);
    let family = architecture(&config);
    let checkpoint = Checkpoint::open(&Files::new(super::golden(name))).expect("a checkpoint");
    let mut names: Vec<_> = checkpoint.names().map(str::to_owned).collect();
    names.sort();
    let all = names
        .iter()
        .flat_map(|name| stored(name, read(&checkpoint, name), &golden));
    for (name, numbers) in all {
        let shape: Vec<usize> = numbers.shape.iter().map(|&size| wide(size)).collect();
        let count = shape.iter().product();
        let flat: Vec<f32> = numbers.flat.iter().copied().cycle().take(count).collect();
        let name = llama_cpp_name(&name, family);
        match shape[..] {
            [_, inner] if inner % 32 == 0 => {
                file.raw(&name, &shape, 8, &eight_bits(&flat));
            }
            _ => {
                file.tensor(&name, &shape, &flat);
            }
        }
    }
    if config["rope_scaling"]["rope_type"] == "llama3" {
        let half = number(&config["head_dim"]) as usize / 2;
        file.tensor("rope_freqs.weight", &[half], &divisors(&config));
    }
    file
}

/// Sizes that are no whole blocks of 32 grow by a third.
fn wide(size: usize) -> usize {
    if size.is_multiple_of(12) && !size.is_multiple_of(32) {
        size / 3 * 4
    } else {
        size
    }
}

/// ggml's Q8_0: a scale in half precision and 32 signed bytes.
fn eight_bits(numbers: &[f32]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for block in numbers.chunks_exact(32) {
        let most = block
            .iter()
            .fold(0.0_f32, |most, number| most.max(number.abs()));
        let scale = half::f16::from_f32(most / 127.0);
        bytes.extend(scale.to_le_bytes());
        let inverse = if most > 0.0 {
            scale.to_f32().recip()
        } else {
            0.0
        };
        bytes.extend(
            block
                .iter()
                .map(|number| (number * inverse).round() as i8 as u8),
        );
    }
    bytes
}

fn json(name: &str, file: &str) -> Value {
    serde_json::from_slice(&std::fs::read(super::golden(name).join(file)).expect("a file"))
        .expect("JSON")
}

fn word(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

fn number(value: &Value) -> u32 {
    value.as_u64().expect("a number") as u32
}

/// The word of `general.architecture`.
fn architecture(config: &Value) -> &'static str {
    match config["model_type"].as_str().expect("a model_type") {
        "llama" | "mistral" | "mixtral" => "llama",
        "granite" => "granite",
        "qwen2" => "qwen2",
        "qwen2_moe" => "qwen2moe",
        "qwen3" => "qwen3",
        "qwen3_moe" => "qwen3moe",
        "gemma" => "gemma",
        "gemma2" => "gemma2",
        "gemma3_text" => "gemma3",
        "phi" => "phi2",
        "falcon" => "falcon",
        "gpt_oss" => "gpt-oss",
        other => panic!("{other} has no architecture"),
    }
}

/// Keys of config.json and the entries that they become, where they are there.
const INTEGERS: [(&str, &str); 13] = [
    ("num_hidden_layers", "block_count"),
    ("max_position_embeddings", "context_length"),
    ("hidden_size", "embedding_length"),
    ("intermediate_size", "feed_forward_length"),
    ("ffn_hidden_size", "feed_forward_length"),
    ("num_attention_heads", "attention.head_count"),
    ("head_dim", "attention.key_length"),
    ("head_dim", "attention.value_length"),
    ("num_local_experts", "expert_count"),
    ("num_experts", "expert_count"),
    ("num_experts_per_tok", "expert_used_count"),
    ("moe_intermediate_size", "expert_feed_forward_length"),
    (
        "shared_expert_intermediate_size",
        "expert_shared_feed_forward_length",
    ),
];
const FLOATS: [(&str, &str); 11] = [
    ("rope_theta", "rope.freq_base"),
    ("rms_norm_eps", "attention.layer_norm_rms_epsilon"),
    ("layer_norm_eps", "attention.layer_norm_epsilon"),
    ("layer_norm_epsilon", "attention.layer_norm_epsilon"),
    ("attn_logit_softcapping", "attn_logit_softcapping"),
    ("final_logit_softcapping", "final_logit_softcapping"),
    ("attention_multiplier", "attention.scale"),
    ("embedding_multiplier", "embedding_scale"),
    ("residual_multiplier", "residual_scale"),
    ("logits_scaling", "logit_scale"),
    ("rope_local_base_freq", "rope.freq_base_swa"),
];

fn entries(config: &Value, file: &mut GgufFile) {
    let family = architecture(config);
    let key = |key: &str| format!("{family}.{key}");
    file.text("general.architecture", family);
    for (told, entry) in INTEGERS {
        if let Some(value) = config[told].as_u64() {
            file.integer(&key(entry), value as u32);
        }
    }
    for (told, entry) in FLOATS {
        if let Some(value) = config[told].as_f64() {
            file.float(&key(entry), value as f32);
        }
    }
    let heads = number(&config["num_attention_heads"]);
    let kv_heads = match family {
        "falcon" => 1,
        _ => config["num_key_value_heads"]
            .as_u64()
            .map_or(heads, |n| n as u32),
    };
    file.integer(&key("attention.head_count_kv"), kv_heads);
    let size = config["head_dim"]
        .as_u64()
        .map_or(number(&config["hidden_size"]) / heads, |size| size as u32);
    if family == "llama" {
        file.integer(&key("vocab_size"), number(&config["vocab_size"]));
        file.integer(&key("rope.dimension_count"), size);
    }
    if family == "gpt-oss" {
        let experts = number(&config["intermediate_size"]);
        file.integer(&key("expert_feed_forward_length"), experts);
    }
    if let Some(normalised) = config["norm_topk_prob"].as_bool() {
        file.boolean(&key("expert_weights_norm"), normalised);
    }
    if let Some(part) = config["partial_rotary_factor"].as_f64() {
        let rotated = (f64::from(size) * part) as u32;
        file.integer(&key("rope.dimension_count"), rotated);
    }
    if let Some(window) = config["sliding_window"].as_u64() {
        file.integer(&key("attention.sliding_window"), window as u32);
    }
    if family == "gemma3" {
        // One layer of so many sees everything.
        let kinds = config["layer_types"].as_array().expect("layer_types");
        let full = kinds.iter().position(|kind| kind == "full_attention");
        let pattern = full.expect("a layer that sees everything") as u32 + 1;
        file.integer(&key("attention.sliding_window_pattern"), pattern);
    }
    let scaling = &config["rope_scaling"];
    if scaling["rope_type"] == "yarn" {
        let original = number(&scaling["original_max_position_embeddings"]);
        let factor = scaling["factor"].as_f64().expect("a factor") as f32;
        file.text(&key("rope.scaling.type"), "yarn")
            .float(&key("rope.scaling.factor"), factor)
            .integer(&key("rope.scaling.original_context_length"), original);
    }
}

fn golden_tokenizer(name: &str, file: &mut GgufFile) {
    let (tokenizer, marks) = (
        json(name, "tokenizer.json"),
        json(name, "tokenizer_config.json"),
    );
    let vocabulary = tokenizer["model"]["vocab"]
        .as_object()
        .expect("a vocabulary");
    let mut tokens = vec![String::new(); vocabulary.len()];
    for (token, id) in vocabulary {
        tokens[number(id) as usize].clone_from(token);
    }
    let mut types = vec![1; tokens.len()];
    for added in tokenizer["added_tokens"].as_array().expect("added tokens") {
        types[number(&added["id"]) as usize] = 3;
    }
    let merges = tokenizer["model"]["merges"].as_array().expect("merges");
    let merges: Vec<String> = merges
        .iter()
        .map(|pair| format!("{} {}", word(&pair[0]), word(&pair[1])))
        .collect();
    let id = |mark: &str| marks[mark].as_str().map(|mark| number(&vocabulary[mark]));
    file.text("tokenizer.ggml.model", "gpt2")
        .text("tokenizer.ggml.pre", "gpt-2")
        .texts("tokenizer.ggml.tokens", &tokens)
        .integers("tokenizer.ggml.token_type", &types)
        .texts("tokenizer.ggml.merges", &merges)
        .boolean("tokenizer.ggml.add_bos_token", id("bos_token").is_some())
        .text("tokenizer.chat_template", &word(&marks["chat_template"]));
    for (mark, key) in [("bos_token", "bos"), ("eos_token", "eos")] {
        if let Some(id) = id(mark) {
            file.integer(&format!("tokenizer.ggml.{key}_token_id"), id);
        }
    }
}

/// A tensor of the checkpoint.
#[derive(Clone)]
struct Numbers {
    shape: Vec<usize>,
    flat: Vec<f32>,
}

fn tensors(name: &str, config: &Value, wanted: impl Fn(&str) -> bool, file: &mut GgufFile) {
    let checkpoint = Checkpoint::open(&Files::new(super::golden(name))).expect("a checkpoint");
    let family = architecture(config);
    let mut names: Vec<_> = checkpoint.names().map(str::to_owned).collect();
    names.sort();
    for name in &names {
        let mut numbers = read(&checkpoint, name);
        let Some(stacked) = stacked_name(name) else {
            for (name, numbers) in stored(name, numbers, config) {
                let name = llama_cpp_name(&name, family);
                if wanted(&name) {
                    file.tensor(&name, &numbers.shape, &numbers.flat);
                }
            }
            continue;
        };
        // All experts of a layer become one tensor, at the first of them.
        if !name.contains(".experts.0.") {
            continue;
        }
        let count = config["num_experts"].as_u64();
        let count = count.unwrap_or_else(|| config["num_local_experts"].as_u64().expect("experts"));
        for expert in 1..count {
            let next = name.replace(".experts.0.", &format!(".experts.{expert}."));
            numbers.flat.extend(read(&checkpoint, &next).flat);
        }
        numbers.shape.insert(0, count as usize);
        file.tensor(
            &llama_cpp_name(&stacked, family),
            &numbers.shape,
            &numbers.flat,
        );
    }
    if config["rope_scaling"]["rope_type"] == "llama3" {
        file.tensor(
            "rope_freqs.weight",
            &[number(&config["head_dim"]) as usize / 2],
            &divisors(config),
        );
    }
}

fn read(checkpoint: &Checkpoint, name: &str) -> Numbers {
    let shape = checkpoint.shape(name).expect("a shape").to_vec();
    let tensor = checkpoint
        .tensor(name, &shape, candle_core::DType::F32, &Device::Cpu)
        .expect("a tensor");
    let flat = tensor
        .flatten_all()
        .and_then(|flat| flat.to_vec1())
        .expect("numbers");
    Numbers { shape, flat }
}

/// The name of all experts together, for a tensor of one.
fn stacked_name(name: &str) -> Option<String> {
    let (before, after) = EXPERTS.iter().find_map(|part| name.split_once(part))?;
    let (expert, after) = after.split_once('.')?;
    expert.parse::<u32>().ok()?;
    Some(format!("{before}.experts.{after}"))
}

/// The tensors that one tensor becomes.
fn stored(name: &str, mut numbers: Numbers, config: &Value) -> Vec<(String, Numbers)> {
    let family = architecture(config);
    let heads = match name.rsplit('.').nth(1) {
        Some("q_proj") => number(&config["num_attention_heads"]),
        Some("k_proj") => number(&config["num_key_value_heads"]),
        _ => 0,
    };
    if heads > 0 && ["llama", "granite"].contains(&family) {
        numbers.flat = pairs(&numbers.flat, heads as usize, &numbers.shape);
    }
    if family.starts_with("gemma") && name.ends_with("norm.weight") {
        numbers.flat.iter_mut().for_each(|weight| *weight += 1.0);
    }
    if name.ends_with("shared_expert_gate.weight") {
        numbers.shape.remove(0);
    }
    match name.rsplit('.').next() {
        Some("sinks") => vec![(format!("{name}.weight"), numbers)],
        Some("down_proj") => vec![(format!("{name}.weight"), transposed(&numbers, 0, 1))],
        Some("down_proj_bias") => vec![(name.replace("_bias", ".bias"), numbers)],
        Some(last @ ("gate_up_proj" | "gate_up_proj_bias")) => {
            let part = if last.ends_with("bias") {
                "bias"
            } else {
                "weight"
            };
            let name = |half: &str| name.replace(last, &format!("{half}.{part}"));
            let half = |which| {
                if part == "bias" {
                    let mut half = numbers.clone();
                    half.shape[1] /= 2;
                    half.flat = numbers
                        .flat
                        .iter()
                        .copied()
                        .skip(which)
                        .step_by(2)
                        .collect();
                    half
                } else {
                    transposed(&numbers, which, 2)
                }
            };
            vec![(name("gate_proj"), half(0)), (name("up_proj"), half(1))]
        }
        _ => vec![(name.to_owned(), numbers)],
    }
}

/// `[experts, in, columns]` to `[experts, out, in]`, with every `step`-th column from `first`.
fn transposed(numbers: &Numbers, first: usize, step: usize) -> Numbers {
    let [experts, inner, columns] = numbers.shape[..] else {
        panic!("not the weights of experts");
    };
    let mut flat = Vec::new();
    for expert in 0..experts {
        for column in (first..columns).step_by(step) {
            let at = |row: usize| (expert * inner + row) * columns + column;
            flat.extend((0..inner).map(|row| numbers.flat[at(row)]));
        }
    }
    Numbers {
        shape: vec![experts, columns / step, inner],
        flat,
    }
}

/// llama.cpp's converter lays the rows that rotate together side by side.
fn pairs(numbers: &[f32], heads: usize, shape: &[usize]) -> Vec<f32> {
    let (rows, width) = (shape[0], shape.get(1).copied().unwrap_or(1));
    let size = rows / heads;
    let source = |row: usize| {
        let (head, place) = (row / size, row % size);
        head * size + place % 2 * (size / 2) + place / 2
    };
    (0..rows)
        .flat_map(|row| numbers[source(row) * width..][..width].iter().copied())
        .collect()
}

/// `rope_freqs` as llama.cpp's converter makes them for Llama 3.1.
fn divisors(config: &Value) -> Vec<f32> {
    let scaling = |key: &str| config["rope_scaling"][key].as_f64().expect("a number");
    let (low, high, original) = (
        scaling("low_freq_factor"),
        scaling("high_freq_factor"),
        scaling("original_max_position_embeddings"),
    );
    let size = config["head_dim"].as_f64().expect("a number");
    let theta = config["rope_theta"].as_f64().expect("a number");
    let divisor = |index: usize| {
        let wavelength = 2.0 * std::f64::consts::PI * theta.powf(2.0 * index as f64 / size);
        if wavelength < original / high {
            1.0
        } else if wavelength > original / low {
            scaling("factor") as f32
        } else {
            let smooth = (original / wavelength - low) / (high - low);
            (1.0 / ((1.0 - smooth) / scaling("factor") + smooth)) as f32
        }
    };
    (0..size as usize / 2).map(divisor).collect()
}

/// Parts of names, longer ones before those that they contain.
const NAMES: [(&str, &str); 39] = [
    ("model.layers.", "blk."),
    ("transformer.h.", "blk."),
    ("model.embed_tokens", "token_embd"),
    ("transformer.word_embeddings", "token_embd"),
    ("model.norm", "output_norm"),
    ("model.final_layernorm", "output_norm"),
    ("transformer.ln_f", "output_norm"),
    ("lm_head", "output"),
    ("input_layernorm", "attn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("self_attn.dense", "attn_output"),
    ("self_attn.sinks", "attn_sinks"),
    ("self_attention.query_key_value", "attn_qkv"),
    ("self_attention.dense", "attn_output"),
    ("pre_feedforward_layernorm", "ffn_norm"),
    ("post_feedforward_layernorm", "post_ffw_norm"),
    ("mlp.shared_expert_gate", "ffn_gate_inp_shexp"),
    ("mlp.shared_expert.gate_proj", "ffn_gate_shexp"),
    ("mlp.shared_expert.up_proj", "ffn_up_shexp"),
    ("mlp.shared_expert.down_proj", "ffn_down_shexp"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
    ("mlp.fc1", "ffn_up"),
    ("mlp.fc2", "ffn_down"),
    ("mlp.dense_h_to_4h", "ffn_up"),
    ("mlp.dense_4h_to_h", "ffn_down"),
    ("mlp.router", "ffn_gate_inp"),
    ("block_sparse_moe.gate", "ffn_gate_inp"),
    ("mlp.gate", "ffn_gate_inp"),
    ("experts.w1", "ffn_gate_exps"),
    ("experts.w3", "ffn_up_exps"),
    ("experts.w2", "ffn_down_exps"),
    ("mlp.experts", "experts"),
];

fn llama_cpp_name(name: &str, family: &str) -> String {
    let norm = match family {
        "gemma2" | "gemma3" | "gpt-oss" => "post_attention_norm",
        _ => "ffn_norm",
    };
    let experts = ["gate", "up", "down"].map(|part| {
        let (from, to) = (format!("experts.{part}_proj"), format!("ffn_{part}_exps"));
        (from, to)
    });
    let name = NAMES
        .iter()
        .fold(name.to_owned(), |name, (from, to)| name.replace(from, to));
    let name = name.replace("post_attention_layernorm", norm);
    experts
        .iter()
        .fold(name, |name, (from, to)| name.replace(from, to))
}
