//! What OpenCLIP's files call the tensors that transformers names otherwise.

/// A tensor that only such files have.
pub(super) const MARK: &str = "transformer.resblocks.0.ln_1.weight";

/// Parts of names: transformers', then OpenCLIP's.
const PARTS: [(&str, &str); 11] = [
    ("text_model.embeddings.token_embedding.", "token_embedding."),
    (
        "text_model.embeddings.position_embedding.weight",
        "positional_embedding",
    ),
    ("text_model.final_layer_norm.", "ln_final."),
    ("text_projection.weight", "text_projection"),
    ("text_model.encoder.layers.", "transformer.resblocks."),
    (".layer_norm1.", ".ln_1."),
    (".layer_norm2.", ".ln_2."),
    (".self_attn.in_proj.", ".attn.in_proj_"),
    (".self_attn.", ".attn."),
    (".mlp.fc1.", ".mlp.c_fc."),
    (".mlp.fc2.", ".mlp.c_proj."),
];

/// The name in such a file.
pub(super) fn name(name: &str) -> String {
    let parts = PARTS.iter();
    parts.fold(name.to_owned(), |name, (new, old)| name.replace(new, old))
}
