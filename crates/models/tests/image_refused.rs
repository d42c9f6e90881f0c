//! What of a painter's files is refused at load, and by which word.
#![allow(clippy::unwrap_used)] // helpers of tests panic as tests do

mod common;

use candle_core::{DType, Device, Tensor};
use common::{copy, golden};
use models::image::{FluxPipeline, StableDiffusion};
use models::{Files, Fit};

/// What a configuration may be changed to, and the words of its refusal where they are not the field's name.
const REFUSED: &[(&str, &str, &str)] = &[
    (
        "tiny-sd15/unet/config.json",
        "_class_name",
        r#""UNet2DModel""#,
    ),
    ("tiny-sd15/unet/config.json", "act_fn", r#""gelu""#),
    (
        "tiny-sd15/unet/config.json",
        "addition_embed_type",
        r#""text""#,
    ),
    ("tiny-sd15/unet/config.json", "attention_head_dim", "0"),
    (
        "tiny-sd15/unet/config.json",
        "attention_head_dim/heads",
        "3",
    ),
    ("tiny-sd15/unet/config.json", "attention_type", r#""gated""#),
    (
        "tiny-sd15/unet/config.json",
        "block_out_channels/lists",
        "[]",
    ),
    (
        "tiny-sd15/unet/config.json",
        "block_out_channels",
        "[8, 16, 16, 18446744073709551615]",
    ),
    (
        "tiny-sd15/unet/config.json",
        "block_out_channels/shape",
        "[16, 16, 16, 16]",
    ),
    ("tiny-sd15/unet/config.json", "center_input_sample", "true"),
    (
        "tiny-sd15/unet/config.json",
        "class_embed_type",
        r#""timestep""#,
    ),
    (
        "tiny-sd15/unet/config.json",
        "class_embeddings_concat",
        "true",
    ),
    ("tiny-sd15/unet/config.json", "conv_in_kernel", "1"),
    ("tiny-sd15/unet/config.json", "conv_out_kernel", "5"),
    (
        "tiny-sd15/unet/config.json",
        "cross_attention_dim/attn2",
        "33",
    ),
    (
        "tiny-sd15/unet/config.json",
        "cross_attention_dim",
        "[32, 32, 32, 32]",
    ),
    (
        "tiny-sd15/unet/config.json",
        "cross_attention_norm",
        r#""layer_norm""#,
    ),
    (
        "tiny-sd15/unet/config.json",
        "down_block_types/lists",
        r#"["DownBlock2D"]"#,
    ),
    ("tiny-sd15/unet/config.json", "downsample_padding", "0"),
    ("tiny-sd15/unet/config.json", "dual_cross_attention", "true"),
    ("tiny-sd15/unet/config.json", "encoder_hid_dim", "32"),
    (
        "tiny-sd15/unet/config.json",
        "encoder_hid_dim_type",
        r#""text_proj""#,
    ),
    ("tiny-sd15/unet/config.json", "flip_sin_to_cos", "false"),
    ("tiny-sd15/unet/config.json", "freq_shift", "1"),
    ("tiny-sd15/unet/config.json", "in_channels/shape", "5"),
    ("tiny-sd15/unet/config.json", "layers_per_block", "[1, 1]"),
    (
        "tiny-sd15/unet/config.json",
        "layers_per_block/there is no tensor",
        "900",
    ),
    (
        "tiny-sd15/unet/config.json",
        "mid_block_only_cross_attention",
        "true",
    ),
    (
        "tiny-sd15/unet/config.json",
        "mid_block_scale_factor",
        "1.41",
    ),
    ("tiny-sd15/unet/config.json", "mid_block_type", "null"),
    (
        "tiny-sd15/unet/config.json",
        "mid_block_type",
        r#""UNetMidBlock2D""#,
    ),
    ("tiny-sd15/unet/config.json", "norm_eps", r#""small""#),
    ("tiny-sd15/unet/config.json", "norm_num_groups", "0"),
    ("tiny-sd15/unet/config.json", "norm_num_groups", "null"),
    ("tiny-sd15/unet/config.json", "norm_num_groups/groups", "3"),
    ("tiny-sd15/unet/config.json", "num_attention_heads", "2"),
    ("tiny-sd15/unet/config.json", "num_class_embeds", "4"),
    (
        "tiny-sd15/unet/config.json",
        "only_cross_attention",
        "[true, true, true, false]",
    ),
    ("tiny-sd15/unet/config.json", "resnet_out_scale_factor", "2"),
    ("tiny-sd15/unet/config.json", "resnet_skip_time_act", "true"),
    (
        "tiny-sd15/unet/config.json",
        "resnet_time_scale_shift",
        r#""scale_shift""#,
    ),
    (
        "tiny-sd15/unet/config.json",
        "reverse_transformer_layers_per_block",
        "[[1], [1], [1], [1]]",
    ),
    ("tiny-sd15/unet/config.json", "sample_size", "[8, 16]"),
    (
        "tiny-sd15/unet/config.json",
        "time_cond_proj_dim/cond_proj",
        "256",
    ),
    (
        "tiny-sd15/unet/config.json",
        "time_embedding_act_fn",
        r#""silu""#,
    ),
    (
        "tiny-sd15/unet/config.json",
        "time_embedding_dim/time_emb_proj",
        "48",
    ),
    (
        "tiny-sd15/unet/config.json",
        "time_embedding_type",
        r#""fourier""#,
    ),
    (
        "tiny-sd15/unet/config.json",
        "timestep_post_act",
        r#""silu""#,
    ),
    (
        "tiny-sd15/unet/config.json",
        "transformer_layers_per_block",
        "[[1], [1], [1], [1]]",
    ),
    (
        "tiny-sd15/vae/config.json",
        "_class_name",
        r#""AutoencoderTiny""#,
    ),
    ("tiny-sd15/vae/config.json", "act_fn", r#""mish""#),
    ("tiny-sd15/vae/config.json", "block_out_channels", "[]"),
    (
        "tiny-sd15/vae/config.json",
        "down_block_types",
        r#"["DownEncoderBlock2D"]"#,
    ),
    ("tiny-sd15/vae/config.json", "in_channels", "4"),
    ("tiny-sd15/vae/config.json", "latent_channels", "0"),
    (
        "tiny-sd15/vae/config.json",
        "latents_mean",
        "[0.1, 0.1, 0.1, 0.1]",
    ),
    (
        "tiny-sd15/vae/config.json",
        "latents_std",
        "[2.0, 2.0, 2.0, 2.0]",
    ),
    (
        "tiny-sd15/vae/config.json",
        "mid_block_add_attention",
        "false",
    ),
    ("tiny-sd15/vae/config.json", "out_channels", "1"),
    ("tiny-sd15/vae/config.json", "scaling_factor", "0"),
    ("tiny-sd15/vae/config.json", "shift_factor", "0.1"),
    (
        "tiny-sd15/vae/config.json",
        "up_block_types/AttnUpDecoderBlock2D",
        r#"["AttnUpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D"]"#,
    ),
    (
        "tiny-sd15/text_encoder/config.json",
        "hidden_act",
        r#""tanh""#,
    ),
    (
        "tiny-sd15/text_encoder/config.json",
        "max_position_embeddings",
        "0",
    ),
    (
        "tiny-sd15/text_encoder/config.json",
        "max_position_embeddings/model_max_length",
        "76",
    ),
    (
        "tiny-sd15/text_encoder/config.json",
        "model_type",
        r#""bert""#,
    ),
    (
        "tiny-sd15/text_encoder/config.json",
        "num_attention_heads/heads",
        "5",
    ),
    (
        "tiny-sd15/text_encoder/config.json",
        "num_hidden_layers",
        "1000000000",
    ),
    (
        "tiny-sd15/text_encoder/config.json",
        "num_hidden_layers/tensors",
        "2",
    ),
    (
        "tiny-sd15/text_encoder/config.json",
        "pruned_heads",
        r#"{"1": [0]}"#,
    ),
    (
        "tiny-sd15/text_encoder/config.json",
        "vocab_size/tokenizer",
        "12",
    ),
    (
        "tiny-sd15/tokenizer/tokenizer_config.json",
        "model_max_length",
        "512",
    ),
    (
        "tiny-sd15/tokenizer/tokenizer_config.json",
        "padding_side",
        r#""left""#,
    ),
    (
        "tiny-sd15/tokenizer/tokenizer_config.json",
        "truncation_side",
        r#""left""#,
    ),
    (
        "tiny-sd15/model_index.json",
        "requires_aesthetics_score",
        "true",
    ),
    (
        "tiny-sd15/model_index.json",
        "scheduler/HeunDiscreteScheduler",
        r#"["diffusers", "HeunDiscreteScheduler"]"#,
    ),
    (
        "tiny-sd15/model_index.json",
        "scheduler/flows",
        r#"["diffusers", "FlowMatchEulerDiscreteScheduler"]"#,
    ),
    ("PNDM", "beta_schedule", r#""squaredcos_cap_v2""#),
    ("PNDM", "beta_start", "-1"),
    ("PNDM", "num_train_timesteps", "0"),
    ("PNDM", "prediction_type", r#""sample""#),
    ("PNDM", "skip_prk_steps", "false"),
    ("PNDM", "steps_offset", "1000"),
    ("PNDM", "timestep_spacing", r#""even""#),
    ("PNDM", "trained_betas", "[0.1, 0.2]"),
    ("PNDM", "use_karras_sigmas", "true"),
    ("PNDM", "thresholding", "true"),
    ("DDIM", "clip_sample_range", "0"),
    ("DDIM", "rescale_betas_zero_snr", "true"),
    ("DDIM", "thresholding", "true"),
    ("DDIM", "use_karras_sigmas", "true"),
    ("EulerDiscrete", "final_sigmas_type", r#""sigma_min""#),
    ("EulerDiscrete", "interpolation_type", r#""log_linear""#),
    ("EulerDiscrete", "rescale_betas_zero_snr", "true"),
    ("EulerDiscrete", "sigma_max", "10"),
    ("EulerDiscrete", "sigma_min", "0.1"),
    ("EulerDiscrete", "timestep_type", r#""continuous""#),
    ("EulerDiscrete", "use_beta_sigmas", "true"),
    ("EulerDiscrete", "use_exponential_sigmas", "true"),
    ("EulerAncestralDiscrete", "use_karras_sigmas", "true"),
    (
        "DPMSolverMultistep",
        "algorithm_type",
        r#""sde-dpmsolver++""#,
    ),
    ("DPMSolverMultistep", "final_sigmas_type", r#""sigma_min""#),
    ("DPMSolverMultistep", "lambda_min_clipped", "-5.1"),
    ("DPMSolverMultistep", "solver_order", "3"),
    ("DPMSolverMultistep", "solver_type", r#""heun""#),
    ("DPMSolverMultistep", "use_flow_sigmas", "true"),
    ("DPMSolverMultistep", "use_lu_lambdas", "true"),
    ("DPMSolverMultistep", "variance_type", r#""learned_range""#),
    ("LCM", "original_inference_steps", "2000"),
    ("LCM", "prediction_type", r#""sample""#),
    ("LCM", "use_karras_sigmas", "true"),
    (
        "tiny-flux-schnell/transformer/config.json",
        "guidance_embeds",
        "true",
    ),
    (
        "tiny-flux-schnell/transformer/config.json",
        "patch_size",
        "2",
    ),
    (
        "tiny-flux-schnell/transformer/config.json",
        "axes_dims_rope",
        "[4, 4]",
    ),
    (
        "tiny-flux-schnell/text_encoder_2/config.json",
        "is_gated_act",
        "false",
    ),
    (
        "tiny-flux-schnell/text_encoder_2/config.json",
        "dense_act_fn",
        r#""mish""#,
    ),
    (
        "tiny-flux-schnell/text_encoder_2/config.json",
        "feed_forward_proj",
        r#""relu""#,
    ),
    ("FlowMatchEulerDiscrete", "invert_sigmas", "true"),
    ("FlowMatchEulerDiscrete", "max_image_seq_len/lengths", "256"),
    ("FlowMatchEulerDiscrete", "shift", "0"),
    ("FlowMatchEulerDiscrete", "shift_terminal", "0.1"),
    ("FlowMatchEulerDiscrete", "stochastic_sampling", "true"),
    ("FlowMatchEulerDiscrete", "time_shift_type", r#""linear""#),
    ("FlowMatchEulerDiscrete", "use_beta_sigmas", "true"),
    ("FlowMatchEulerDiscrete", "use_exponential_sigmas", "true"),
    ("FlowMatchEulerDiscrete", "use_karras_sigmas", "true"),
];

/// A golden folder with one field of one file set to a value; a scheduler is of a class.
fn changed(at: &str, field: &str, value: &str) -> (tempfile::TempDir, bool) {
    use serde_json::Value;
    let copied = tempfile::tempdir().unwrap();
    let (folder, file, class) = match at.split_once('/') {
        Some((folder, file)) => (folder, file, None),
        None if at.starts_with("Flow") => (
            "tiny-flux-schnell",
            "scheduler/scheduler_config.json",
            Some(at),
        ),
        None => ("tiny-sd15", "scheduler/scheduler_config.json", Some(at)),
    };
    copy(&golden(folder), copied.path());
    let set = |file: &str, key: &str, value: Value| {
        let path = copied.path().join(file);
        let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        config[key] = value;
        std::fs::write(&path, config.to_string()).unwrap();
    };
    if let Some(class) = class {
        let class = format!("{class}Scheduler");
        set(
            "model_index.json",
            "scheduler",
            serde_json::json!(["diffusers", class]),
        );
    }
    set(file, field, serde_json::from_str(value).unwrap());
    if field == "max_image_seq_len" {
        set(file, "use_dynamic_shifting", true.into());
    }
    (copied, folder == "tiny-flux-schnell")
}

fn loaded(folder: &tempfile::TempDir, is_flux: bool) -> Result<(), models::LoadError> {
    let files = Files::new(folder.path().to_path_buf());
    if is_flux {
        FluxPipeline::load(&files, &Device::Cpu, Fit::default(), 48).map(drop)
    } else {
        StableDiffusion::load(&files, &Device::Cpu, Fit::default()).map(drop)
    }
}

/// Every change of a configuration to what cannot be, or is not built, is refused at load by its name.
#[test]
fn what_configurations_ask_for_and_is_not_there_is_refused() {
    let mut wrong = Vec::new();
    for (at, field, value) in REFUSED {
        let (field, word) = field.split_once('/').unwrap_or((field, field));
        let (folder, is_flux) = changed(at, field, value);
        let text = match loaded(&folder, is_flux) {
            Ok(()) => "it was loaded".to_owned(),
            Err(refusal) => refusal.to_string(),
        };
        if !text.contains(word) {
            wrong.push(format!("{at}: {field} {value}: {text}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What changes nothing, or is the default in other words, is not.
#[test]
fn what_configurations_say_without_effect_is_taken() {
    for (at, field, value) in [
        ("tiny-sd15/unet/config.json", "dropout", "0.5"),
        ("tiny-sd15/unet/config.json", "act_fn", r#""swish""#),
        (
            "tiny-sd15/unet/config.json",
            "mid_block_scale_factor",
            "1.0",
        ),
        ("tiny-sd15/unet/config.json", "upcast_attention", "null"),
        ("tiny-sd15/unet/config.json", "a_field_of_tomorrow", "7"),
        ("tiny-sd15/vae/config.json", "force_upcast", "false"),
        ("PNDM", "clip_sample", "true"),
        ("DDIM", "algorithm_type", r#""deis""#),
        ("EulerDiscrete", "solver_type", r#""logrho""#),
        ("DPMSolverMultistep", "lambda_min_clipped", r#""-Infinity""#),
        ("DPMSolverMultistep", "euler_at_final", "true"),
        ("LCM", "timestep_spacing", r#""trailing""#),
        ("FlowMatchEulerDiscrete", "beta_start", "5"),
    ] {
        let (folder, is_flux) = changed(at, field, value);
        if let Err(refusal) = loaded(&folder, is_flux) {
            panic!("{at}: {field} {value}: {refusal}");
        }
    }
    // As Python writes the default of DPM-Solver.
    let (folder, _) = changed("DPMSolverMultistep", "lambda_min_clipped", "null");
    let file = folder.path().join("scheduler/scheduler_config.json");
    let text = std::fs::read_to_string(&file).unwrap();
    let text = text.replace(
        "\"lambda_min_clipped\":null",
        "\"lambda_min_clipped\": -Infinity",
    );
    assert!(text.contains("-Infinity"));
    std::fs::write(&file, text).unwrap();
    loaded(&folder, false).unwrap();
}

/// A tensor that no layer reads belongs to a model that is not built here.
#[test]
fn tensors_that_nobody_reads_are_refused() {
    for (file, name) in [
        (
            "unet/diffusion_pytorch_model",
            "down_blocks.0.attentions.0.transformer_blocks.0.fuser.alpha_attn",
        ),
        ("vae/diffusion_pytorch_model", "latents_std"),
        ("text_encoder/model", "text_model.prefix.weight"),
    ] {
        let (folder, _) = changed("PNDM", "steps_offset", "1");
        let path = folder.path().join(format!("{file}.safetensors"));
        let mut tensors = candle_core::safetensors::load(&path, &Device::Cpu).unwrap();
        let more = Tensor::zeros(2, DType::F32, &Device::Cpu).unwrap();
        tensors.insert(name.to_owned(), more);
        std::fs::remove_file(&path).unwrap();
        candle_core::safetensors::save(&tensors, &path).unwrap();
        let text = loaded(&folder, false).unwrap_err().to_string();
        assert!(text.contains(name), "{text}");
    }
}
