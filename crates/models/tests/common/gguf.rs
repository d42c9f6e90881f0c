//! Writes GGUF files, sound and unsound, after ggml's docs/gguf.md.

use models::device::Device;
use models::{Checkpoint, Files};
use serde_json::Value;

/// A file in the making.
#[derive(Default)]
pub(crate) struct GgufFile {
    entries: Vec<u8>,
    entry_count: u64,
    infos: Vec<u8>,
    tensor_count: u64,
    data: Vec<u8>,
}

pub(crate) fn text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

impl GgufFile {
    pub(crate) fn entry(&mut self, key: &str, kind: u32, value: &[u8]) -> &mut Self {
        text(&mut self.entries, key);
        self.entries.extend(kind.to_le_bytes());
        self.entries.extend(value);
        self.entry_count += 1;
        self
    }

    pub(crate) fn integer(&mut self, key: &str, value: u32) -> &mut Self {
        self.entry(key, 4, &value.to_le_bytes())
    }

    pub(crate) fn float(&mut self, key: &str, value: f32) -> &mut Self {
        self.entry(key, 6, &value.to_le_bytes())
    }

    pub(crate) fn boolean(&mut self, key: &str, value: bool) -> &mut Self {
        self.entry(key, 7, &[u8::from(value)])
    }

    pub(crate) fn text(&mut self, key: &str, value: &str) -> &mut Self {
        let mut bytes = Vec::new();
        text(&mut bytes, value);
        self.entry(key, 8, &bytes)
    }

    pub(crate) fn texts(&mut self, key: &str, values: &[String]) -> &mut Self {
        let mut bytes = Vec::new();
        for value in values {
            text(&mut bytes, value);
        }
        self.array(key, 8, values.len(), &bytes)
    }

    pub(crate) fn integers(&mut self, key: &str, values: &[i32]) -> &mut Self {
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        self.array(key, 5, values.len(), &bytes)
    }

    pub(crate) fn floats(&mut self, key: &str, values: &[f32]) -> &mut Self {
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        self.array(key, 6, values.len(), &bytes)
    }

    fn array(&mut self, key: &str, kind: u32, count: usize, elements: &[u8]) -> &mut Self {
        let mut bytes = kind.to_le_bytes().to_vec();
        bytes.extend((count as u64).to_le_bytes());
        bytes.extend(elements);
        self.entry(key, 9, &bytes)
    }

    /// A float32 tensor; the outermost dimension first.
    pub(crate) fn tensor(&mut self, name: &str, shape: &[usize], numbers: &[f32]) -> &mut Self {
        assert_eq!(shape.iter().product::<usize>(), numbers.len());
        let offset = self.data.len();
        self.data
            .extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        self.info(name, shape, 0, offset as u64)
    }

    /// What the file says of a tensor, true or not.
    pub(crate) fn info(
        &mut self,
        name: &str,
        shape: &[usize],
        kind: u32,
        offset: u64,
    ) -> &mut Self {
        self.data.resize(self.data.len().next_multiple_of(32), 0);
        text(&mut self.infos, name);
        self.infos.extend((shape.len() as u32).to_le_bytes());
        for &size in shape.iter().rev() {
            self.infos.extend((size as u64).to_le_bytes());
        }
        self.infos.extend(kind.to_le_bytes());
        self.infos.extend(offset.to_le_bytes());
        self.tensor_count += 1;
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(3u32.to_le_bytes());
        bytes.extend(self.tensor_count.to_le_bytes());
        bytes.extend(self.entry_count.to_le_bytes());
        bytes.extend(&self.entries);
        bytes.extend(&self.infos);
        bytes.resize(bytes.len().next_multiple_of(32), 0);
        bytes.extend(&self.data);
        bytes
    }
}

/// A tiny Llama of the golden folders as llama.cpp's converter would store it, its tokenizer too.
pub(crate) fn tiny_llama(name: &str) -> GgufFile {
    tiny_llama_with(name, |file| golden_tokenizer(name, file))
}

/// The same with another tokenizer.
pub(crate) fn tiny_llama_with(name: &str, tokenizer: impl FnOnce(&mut GgufFile)) -> GgufFile {
    let mut file = GgufFile::default();
    let config = json(name, "config.json");
    entries(&config, &mut file);
    tokenizer(&mut file);
    tensors(name, &config, &mut file);
    file
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

fn entries(config: &Value, file: &mut GgufFile) {
    file.text("general.architecture", "llama")
        .integer("llama.block_count", number(&config["num_hidden_layers"]))
        .integer(
            "llama.context_length",
            number(&config["max_position_embeddings"]),
        )
        .integer("llama.embedding_length", number(&config["hidden_size"]))
        .integer(
            "llama.feed_forward_length",
            number(&config["intermediate_size"]),
        )
        .integer(
            "llama.attention.head_count",
            number(&config["num_attention_heads"]),
        )
        .integer(
            "llama.attention.head_count_kv",
            number(&config["num_key_value_heads"]),
        )
        .integer("llama.rope.dimension_count", number(&config["head_dim"]))
        .integer("llama.vocab_size", number(&config["vocab_size"]))
        .float(
            "llama.rope.freq_base",
            config["rope_theta"].as_f64().expect("a number") as f32,
        )
        .float(
            "llama.attention.layer_norm_rms_epsilon",
            config["rms_norm_eps"].as_f64().expect("a number") as f32,
        );
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
    let id = |mark: &str| number(&vocabulary[marks[mark].as_str().expect("a mark")]);
    file.text("tokenizer.ggml.model", "gpt2")
        .text("tokenizer.ggml.pre", "gpt-2")
        .texts("tokenizer.ggml.tokens", &tokens)
        .integers("tokenizer.ggml.token_type", &types)
        .texts("tokenizer.ggml.merges", &merges)
        .integer("tokenizer.ggml.bos_token_id", id("bos_token"))
        .integer("tokenizer.ggml.eos_token_id", id("eos_token"))
        .boolean("tokenizer.ggml.add_bos_token", true)
        .text("tokenizer.chat_template", &word(&marks["chat_template"]));
}

fn tensors(name: &str, config: &Value, file: &mut GgufFile) {
    let checkpoint = Checkpoint::open(&Files::new(super::golden(name))).expect("a checkpoint");
    let mut names: Vec<_> = checkpoint.names().map(str::to_owned).collect();
    names.sort();
    for name in names {
        let shape = checkpoint.shape(&name).expect("a shape").to_vec();
        let tensor = checkpoint
            .tensor(&name, &shape, candle_core::DType::F32, &Device::Cpu)
            .expect("a tensor");
        let mut numbers: Vec<f32> = tensor
            .flatten_all()
            .and_then(|flat| flat.to_vec1())
            .expect("numbers");
        let heads = match name.rsplit('.').nth(1) {
            Some("q_proj") => number(&config["num_attention_heads"]),
            Some("k_proj") => number(&config["num_key_value_heads"]),
            _ => 0,
        };
        if heads > 0 {
            numbers = pairs(&numbers, heads as usize, shape[0], shape[1]);
        }
        file.tensor(&llama_cpp_name(&name), &shape, &numbers);
    }
    if config["rope_scaling"].is_object() {
        file.tensor(
            "rope_freqs.weight",
            &[number(&config["head_dim"]) as usize / 2],
            &divisors(config),
        );
    }
}

/// llama.cpp's converter lays the rows that rotate together side by side.
fn pairs(numbers: &[f32], heads: usize, rows: usize, width: usize) -> Vec<f32> {
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

fn llama_cpp_name(name: &str) -> String {
    let inner = [
        ("input_layernorm", "attn_norm"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("post_attention_layernorm", "ffn_norm"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
        ("model.embed_tokens", "token_embd"),
        ("model.norm", "output_norm"),
        ("lm_head", "output"),
    ];
    let name = name.replace("model.layers.", "blk.");
    inner
        .iter()
        .fold(name, |name, (from, to)| name.replace(from, to))
}
