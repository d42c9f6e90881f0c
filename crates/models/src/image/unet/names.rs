//! What the authors' files of Stable Diffusion call the tensors of the UNet that diffusers names otherwise.
//!
//! The authors count input and output blocks through all levels: each level's residual blocks, then what halves
//! or doubles the size. The parts of a block have numbers.

/// A tensor that only files with the authors' names have.
pub(super) const MARK: &str = "input_blocks.0.0.weight";

/// The layers around the blocks: diffusers' names, then the authors'.
const OUTER: [(&str, &str); 10] = [
    ("conv_in.", "input_blocks.0.0."),
    ("time_embedding.linear_1.", "time_embed.0."),
    ("time_embedding.linear_2.", "time_embed.2."),
    ("add_embedding.linear_1.", "label_emb.0.0."),
    ("add_embedding.linear_2.", "label_emb.0.2."),
    ("conv_norm_out.", "out.0."),
    ("conv_out.", "out.2."),
    ("mid_block.resnets.0.", "middle_block.0."),
    ("mid_block.attentions.0.", "middle_block.1."),
    ("mid_block.resnets.1.", "middle_block.2."),
];
/// The layers of a residual block. An attention's have the same names.
const RESNET: [(&str, &str); 6] = [
    ("norm1.", "in_layers.0."),
    ("conv1.", "in_layers.2."),
    ("time_emb_proj.", "emb_layers.1."),
    ("norm2.", "out_layers.0."),
    ("conv2.", "out_layers.3."),
    ("conv_shortcut.", "skip_connection."),
];

/// The authors' name of a tensor of a UNet with so many residual blocks at each level. `attends` says whether a
/// level of the way up has attention, the coarsest first.
pub(super) fn original(name: &str, blocks: usize, attends: &[bool]) -> String {
    if let Some((new, old)) = OUTER.iter().find(|(new, _)| name.starts_with(new)) {
        return inner(&format!("{old}{}", &name[new.len()..]));
    }
    let mut words = name.splitn(5, '.');
    let mut next = || words.next().unwrap_or_default();
    let (way, level, kind, index, rest) = (next(), next(), next(), next(), next());
    let (Ok(level), Ok(index)) = (level.parse::<usize>(), index.parse::<usize>()) else {
        return name.to_owned();
    };
    let has_attention = attends.get(level).copied().unwrap_or(false);
    match (way, kind) {
        ("down_blocks", "downsamplers") => {
            let place = (level + 1) * (blocks + 1);
            format!("input_blocks.{place}.0.op.{}", after_conv(rest))
        }
        ("down_blocks", _) => {
            let place = level * (blocks + 1) + index + 1;
            let part = usize::from(kind == "attentions");
            inner(&format!("input_blocks.{place}.{part}.{rest}"))
        }
        ("up_blocks", "upsamplers") => {
            let place = level * (blocks + 1) + blocks;
            let part = 1 + usize::from(has_attention);
            format!("output_blocks.{place}.{part}.conv.{}", after_conv(rest))
        }
        ("up_blocks", _) => {
            let place = level * (blocks + 1) + index;
            let part = usize::from(kind == "attentions");
            inner(&format!("output_blocks.{place}.{part}.{rest}"))
        }
        _ => name.to_owned(),
    }
}

fn after_conv(rest: &str) -> &str {
    rest.strip_prefix("conv.").unwrap_or(rest)
}

/// The parts of a residual block by their numbers.
fn inner(name: &str) -> String {
    for (new, old) in RESNET {
        let parts = name.rsplit_once('.').map_or("", |(before, _)| before);
        if parts.ends_with(new.trim_end_matches('.')) && !name.contains("transformer_blocks") {
            return name.replace(&format!(".{new}"), &format!(".{old}"));
        }
    }
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pairs as diffusers' conversion of a file of Stable Diffusion 1.5 has them.
    #[test]
    fn names_are_those_of_the_authors_files() {
        let attends = [false, true, true, true];
        for (new, old) in [
            ("conv_in.weight", "input_blocks.0.0.weight"),
            (
                "down_blocks.0.resnets.0.norm1.weight",
                "input_blocks.1.0.in_layers.0.weight",
            ),
            (
                "down_blocks.0.attentions.1.proj_in.bias",
                "input_blocks.2.1.proj_in.bias",
            ),
            (
                "down_blocks.0.downsamplers.0.conv.bias",
                "input_blocks.3.0.op.bias",
            ),
            (
                "down_blocks.1.resnets.0.conv_shortcut.weight",
                "input_blocks.4.0.skip_connection.weight",
            ),
            (
                "down_blocks.3.resnets.1.time_emb_proj.weight",
                "input_blocks.11.0.emb_layers.1.weight",
            ),
            (
                "mid_block.resnets.1.conv2.weight",
                "middle_block.2.out_layers.3.weight",
            ),
            (
                "mid_block.attentions.0.transformer_blocks.0.norm1.weight",
                "middle_block.1.transformer_blocks.0.norm1.weight",
            ),
            (
                "up_blocks.0.upsamplers.0.conv.weight",
                "output_blocks.2.1.conv.weight",
            ),
            (
                "up_blocks.1.attentions.2.norm.weight",
                "output_blocks.5.1.norm.weight",
            ),
            (
                "up_blocks.1.upsamplers.0.conv.weight",
                "output_blocks.5.2.conv.weight",
            ),
            (
                "up_blocks.3.resnets.2.conv1.bias",
                "output_blocks.11.0.in_layers.2.bias",
            ),
            ("conv_norm_out.bias", "out.0.bias"),
            ("conv_out.bias", "out.2.bias"),
        ] {
            assert_eq!(original(new, 2, &attends), old, "{new}");
        }
    }
}
