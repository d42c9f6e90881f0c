//! What the tensors of a checkpoint are called, and how they lie in it.

/// Names of tensors, without `.weight` and `.bias`; those of a layer without its prefix.
#[derive(Debug)]
pub(crate) struct Layout {
    /// Comes before the number of a layer.
    pub(crate) layers: &'static str,
    pub(crate) embedding: &'static str,
    pub(crate) final_norm: &'static str,
    pub(crate) head: &'static str,
    pub(crate) attention_norm: &'static str,
    pub(crate) query: &'static str,
    pub(crate) key: &'static str,
    pub(crate) value: &'static str,
    /// Queries, keys and values one below the other, where a checkpoint has them so.
    pub(crate) fused: &'static str,
    pub(crate) output: &'static str,
    pub(crate) query_norm: &'static str,
    pub(crate) key_norm: &'static str,
    /// The whole name.
    pub(crate) sinks: &'static str,
    pub(crate) attention_post_norm: &'static str,
    pub(crate) feed_forward_norm: &'static str,
    pub(crate) feed_forward_post_norm: &'static str,
    pub(crate) feed_forward: Trio,
    pub(crate) router: &'static str,
    pub(crate) experts: ExpertTensors,
    pub(crate) shared: Trio,
    pub(crate) shared_gate: &'static str,
    /// Added to the weights of norms: Gemma's checkpoints hold what a weight is above one.
    pub(crate) norm_offset: f64,
    /// llama.cpp stores the rows of queries and keys of some families so that the pairs that rotate
    /// together lie side by side; everywhere else, as here, they lie half a head apart.
    pub(crate) in_pairs: bool,
}

/// The projections of a feed-forward.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trio {
    pub(crate) gate: &'static str,
    pub(crate) up: &'static str,
    pub(crate) down: &'static str,
}

/// How a checkpoint holds its experts.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ExpertTensors {
    /// Each its own tensors, the number of the expert after this prefix.
    Separate(&'static str, Trio),
    /// One tensor for all, `[experts, out, in]` (llama.cpp).
    Stacked(Trio),
    /// One tensor for all, `[experts, in, out]`, gate and up in turns in one (GPT-OSS). Whole names.
    Transposed {
        gate_up: &'static str,
        down: &'static str,
    },
}

const GATED: Trio = Trio {
    gate: "gate_proj",
    up: "up_proj",
    down: "down_proj",
};

/// `LlamaForCausalLM` and what was made after it.
pub(crate) static LLAMA: Layout = Layout {
    layers: "model.layers",
    embedding: "model.embed_tokens",
    final_norm: "model.norm",
    head: "lm_head",
    attention_norm: "input_layernorm",
    query: "self_attn.q_proj",
    key: "self_attn.k_proj",
    value: "self_attn.v_proj",
    fused: "self_attn.qkv_proj",
    output: "self_attn.o_proj",
    query_norm: "self_attn.q_norm",
    key_norm: "self_attn.k_norm",
    sinks: "self_attn.sinks",
    attention_post_norm: "",
    feed_forward_norm: "post_attention_layernorm",
    feed_forward_post_norm: "",
    feed_forward: Trio {
        gate: "mlp.gate_proj",
        up: "mlp.up_proj",
        down: "mlp.down_proj",
    },
    router: "mlp.gate",
    experts: ExpertTensors::Separate("mlp.experts", GATED),
    shared: Trio {
        gate: "mlp.shared_expert.gate_proj",
        up: "mlp.shared_expert.up_proj",
        down: "mlp.shared_expert.down_proj",
    },
    shared_gate: "mlp.shared_expert_gate",
    norm_offset: 0.0,
    in_pairs: false,
};

/// `GemmaForCausalLM`.
pub(crate) static GEMMA: Layout = Layout {
    norm_offset: 1.0,
    ..LLAMA
};

/// `Gemma2ForCausalLM` and `Gemma3ForCausalLM`.
pub(crate) static GEMMA2: Layout = Layout {
    attention_post_norm: "post_attention_layernorm",
    feed_forward_norm: "pre_feedforward_layernorm",
    feed_forward_post_norm: "post_feedforward_layernorm",
    ..GEMMA
};

/// `MixtralForCausalLM`.
pub(crate) static MIXTRAL: Layout = Layout {
    router: "block_sparse_moe.gate",
    experts: ExpertTensors::Separate(
        "block_sparse_moe.experts",
        Trio {
            gate: "w1",
            up: "w3",
            down: "w2",
        },
    ),
    ..LLAMA
};

/// `PhiForCausalLM`.
pub(crate) static PHI: Layout = Layout {
    final_norm: "model.final_layernorm",
    output: "self_attn.dense",
    feed_forward: Trio {
        gate: "",
        up: "mlp.fc1",
        down: "mlp.fc2",
    },
    ..LLAMA
};

/// `FalconForCausalLM`.
pub(crate) static FALCON: Layout = Layout {
    layers: "transformer.h",
    embedding: "transformer.word_embeddings",
    final_norm: "transformer.ln_f",
    fused: "self_attention.query_key_value",
    output: "self_attention.dense",
    feed_forward: Trio {
        gate: "",
        up: "mlp.dense_h_to_4h",
        down: "mlp.dense_4h_to_h",
    },
    ..LLAMA
};

/// `GptOssForCausalLM`.
pub(crate) static GPT_OSS: Layout = Layout {
    router: "mlp.router",
    experts: ExpertTensors::Transposed {
        gate_up: "mlp.experts.gate_up_proj",
        down: "mlp.experts.down_proj",
    },
    ..LLAMA
};

/// llama.cpp's names, `gguf-py/gguf/constants.py`.
pub(crate) static GGUF: Layout = Layout {
    layers: "blk",
    embedding: "token_embd",
    final_norm: "output_norm",
    head: "output",
    attention_norm: "attn_norm",
    query: "attn_q",
    key: "attn_k",
    value: "attn_v",
    fused: "attn_qkv",
    output: "attn_output",
    query_norm: "attn_q_norm",
    key_norm: "attn_k_norm",
    sinks: "attn_sinks.weight",
    attention_post_norm: "post_attention_norm",
    feed_forward_norm: "ffn_norm",
    feed_forward_post_norm: "post_ffw_norm",
    feed_forward: Trio {
        gate: "ffn_gate",
        up: "ffn_up",
        down: "ffn_down",
    },
    router: "ffn_gate_inp",
    experts: ExpertTensors::Stacked(Trio {
        gate: "ffn_gate_exps",
        up: "ffn_up_exps",
        down: "ffn_down_exps",
    }),
    shared: Trio {
        gate: "ffn_gate_shexp",
        up: "ffn_up_shexp",
        down: "ffn_down_shexp",
    },
    shared_gate: "ffn_gate_inp_shexp",
    norm_offset: 0.0,
    in_pairs: false,
};

/// The families whose queries and keys llama.cpp's converter lays in pairs.
pub(crate) static GGUF_IN_PAIRS: Layout = Layout {
    in_pairs: true,
    ..GGUF
};

/// llama.cpp names GPT-OSS's norm before the experts as one after attention.
pub(crate) static GGUF_GPT_OSS: Layout = Layout {
    feed_forward_norm: "post_attention_norm",
    ..GGUF
};
