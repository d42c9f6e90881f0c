//! What the authors published of Stable Diffusion 1.5 and XL, for a single file in their layout that stands
//! without the configurations of diffusers.

use serde_json::{Map, Value};

use crate::checkpoint::Checkpoint;
use crate::load::{Files, LoadError};

/// Where the parts lie in the authors' file: folders of diffusers, then prefixes of tensors.
const PARTS: [(&str, &str); 5] = [
    ("unet", "model.diffusion_model."),
    ("vae", "first_stage_model."),
    ("text_encoder", "cond_stage_model.transformer."),
    ("text_encoder", "conditioner.embedders.0.transformer."),
    ("text_encoder_2", "conditioner.embedders.1.model."),
];
/// A tensor that only files of XL have.
const XL_MARK: &str = "conditioner.embedders.1.model.ln_final.weight";
const INWARD: &str = "model.diffusion_model.input_blocks.0.0.weight";

const UNET: &str = r#"{"in_channels": 4, "out_channels": 4, "sample_size": 64, "block_out_channels": [320, 640, 1280, 1280],
"layers_per_block": 2, "cross_attention_dim": 768, "attention_head_dim": 8, "norm_num_groups": 32, "norm_eps": 1e-5,
"down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
"up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"]}"#;
const UNET_XL: &str = r#"{"in_channels": 4, "out_channels": 4, "sample_size": 128, "block_out_channels": [320, 640, 1280],
"layers_per_block": 2, "cross_attention_dim": 2048, "attention_head_dim": [5, 10, 20], "norm_num_groups": 32,
"norm_eps": 1e-5, "transformer_layers_per_block": [1, 2, 10], "addition_embed_type": "text_time",
"addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 2816,
"down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
"up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"]}"#;
const VAE: &str = r#"{"latent_channels": 4, "block_out_channels": [128, 256, 512, 512], "layers_per_block": 2,
"norm_num_groups": 32, "scaling_factor": 0.18215,
"down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D"],
"up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D"]}"#;
const CLIP_L: &str = r#"{"vocab_size": 49408, "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
"num_attention_heads": 12, "max_position_embeddings": 77, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5}"#;
const CLIP_G: &str = r#"{"vocab_size": 49408, "hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32,
"num_attention_heads": 20, "max_position_embeddings": 77, "hidden_act": "gelu", "layer_norm_eps": 1e-5,
"projection_dim": 1280}"#;
const PNDM: &str = r#"{"_class_name": "PNDMScheduler", "beta_start": 0.00085, "beta_end": 0.012,
"beta_schedule": "scaled_linear", "skip_prk_steps": true, "set_alpha_to_one": false, "steps_offset": 1}"#;
const EULER: &str = r#"{"_class_name": "EulerDiscreteScheduler", "beta_start": 0.00085, "beta_end": 0.012,
"beta_schedule": "scaled_linear", "steps_offset": 1, "timestep_spacing": "leading"}"#;

/// What files of the shape of SDXL have that want another prediction or other moments: NoobAI's, Playground's 2.5.
const TRAINED_OTHERWISE: [&str; 5] = [
    "v_pred",
    "ztsnr",
    "edm_mean",
    "edm_std",
    "edm_vpred.sigma_max",
];

/// The authors' file: the only one of tensors in the folder itself.
fn whole(files: &Files) -> Option<Result<Checkpoint, LoadError>> {
    let name = files.only("safetensors")?;
    Some(Checkpoint::open_files(files, &[name]))
}

/// The tensors of a part within the authors' file, if there is one.
pub(super) fn part(files: &Files, folder: &str) -> Option<Result<Checkpoint, LoadError>> {
    let whole = match whole(files)? {
        Ok(whole) => whole,
        Err(error) => return Some(Err(error)),
    };
    let holds = |prefix: &str| whole.names().any(|name| name.starts_with(prefix));
    let mut prefixes = PARTS.iter().filter(|(of, _)| *of == folder);
    let (_, prefix) = prefixes.find(|(_, prefix)| holds(prefix))?;
    Some(Ok(whole.within(prefix)))
}

/// The fields of a configuration that is not there, where the authors' file is.
pub(super) fn fields(files: &Files, folder: &str) -> Option<Result<Map<String, Value>, LoadError>> {
    let whole = match whole(files)? {
        Ok(whole) => whole,
        Err(error) => return Some(Err(error)),
    };
    // Of files whose shapes are the same: trained to predict something else than the noise, or by other moments.
    if let Some(mark) = TRAINED_OTHERWISE.iter().find(|mark| whole.has(mark)) {
        let detail = format!("tensor {mark:?} says that it was trained otherwise than SDXL itself");
        return Some(Err(LoadError::unsupported(whole.file(), detail)));
    }
    let is_xl = whole.has(XL_MARK);
    let text = match (folder, is_xl) {
        ("unet", false) => UNET,
        ("unet", true) => UNET_XL,
        ("vae", _) => VAE,
        ("text_encoder", _) => CLIP_L,
        ("text_encoder_2", true) => CLIP_G,
        ("scheduler", false) => PNDM,
        ("scheduler", true) => EULER,
        _ => return None,
    };
    let mut fields: Map<String, Value> = serde_json::from_str(text).ok()?;
    if is_xl && folder == "vae" {
        fields.insert("scaling_factor".into(), 0.13025.into());
    }
    // One that paints within pictures reads a mask and what it leaves, too.
    if let (Some(&[_, inputs, ..]), "unet") = (whole.shape(INWARD), folder) {
        fields.insert("in_channels".into(), inputs.into());
    }
    Some(Ok(fields))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::unet::UnetConfig;
    use crate::image::vae::VaeConfig;
    use candle_core::{DType, Device, Tensor};

    /// A file's own tensors say which of the published configurations are its.
    #[test]
    fn a_single_file_stands_for_its_configurations() {
        for (mark, inputs, context) in [(None, 9, 768), (Some(XL_MARK), 4, 2048)] {
            let folder = tempfile::tempdir().expect("a folder");
            let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu);
            let mut tensors = std::collections::HashMap::new();
            tensors.insert(INWARD.to_owned(), zeros(&[2, inputs, 3, 3]).expect("zeros"));
            if let Some(mark) = mark {
                tensors.insert(mark.to_owned(), zeros(&[2]).expect("zeros"));
            }
            let file = folder.path().join("any.safetensors");
            candle_core::safetensors::save(&tensors, file).expect("a file");
            let files = Files::new(folder.path().to_path_buf());
            let unet = UnetConfig::read(&files).expect("a UNet");
            assert_eq!((unet.inputs, unet.context), (inputs, context));
            let vae = VaeConfig::read(&files).expect("an autoencoder");
            assert_eq!(vae.scaling_factor < 0.15, mark.is_some());
            let scheduler = fields(&files, "scheduler")
                .expect("one")
                .expect("its fields");
            let is_euler = scheduler["_class_name"] == "EulerDiscreteScheduler";
            assert_eq!(is_euler, mark.is_some());
        }
    }
}
