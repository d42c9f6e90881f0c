//! What the authors' own files call the tensors that diffusers names otherwise.

/// The name in a file of before diffusers 0.18, whose attention had other words.
pub(super) fn deprecated(name: &str) -> String {
    [
        ("to_q.", "query."),
        ("to_k.", "key."),
        ("to_v.", "value."),
        ("to_out.0.", "proj_attn."),
    ]
    .iter()
    .fold(name.to_owned(), |name, (new, old)| name.replace(new, old))
}

/// The name in `ae.safetensors` of an autoencoder with so many levels.
pub(super) fn original(name: &str, levels: usize) -> String {
    let mut name = name.to_owned();
    for level in 0..levels {
        let up = levels - 1 - level;
        for (new, old) in [
            (
                format!("down_blocks.{level}.resnets."),
                format!("down.{level}.block."),
            ),
            (
                format!("down_blocks.{level}.downsamplers.0."),
                format!("down.{level}.downsample."),
            ),
            (
                format!("up_blocks.{level}.resnets."),
                format!("up.{up}.block."),
            ),
            (
                format!("up_blocks.{level}.upsamplers.0."),
                format!("up.{up}.upsample."),
            ),
        ] {
            name = name.replace(&new, &old);
        }
    }
    [
        ("mid_block.resnets.0.", "mid.block_1."),
        ("mid_block.resnets.1.", "mid.block_2."),
        ("mid_block.attentions.0.", "mid.attn_1."),
        ("attn_1.group_norm.", "attn_1.norm."),
        ("attn_1.to_q.", "attn_1.q."),
        ("attn_1.to_k.", "attn_1.k."),
        ("attn_1.to_v.", "attn_1.v."),
        ("attn_1.to_out.0.", "attn_1.proj_out."),
        ("conv_shortcut.", "nin_shortcut."),
        ("conv_norm_out.", "norm_out."),
    ]
    .iter()
    .fold(name, |name, (new, old)| name.replace(new, old))
}
