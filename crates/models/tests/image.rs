//! Painters against diffusers: text encoders, UNets, transformer, autoencoder, samplers and whole pictures.
//!
//! Steps are compared relative to the size of their numbers: weights are random, so the latents of some samplers
//! grow to hundreds.
#![allow(clippy::unwrap_used)] // helpers of tests panic as tests do

mod common;

use candle_core::{DType, Device, Tensor};
use common::{copy, cosine, golden, reference, reference_tensor};
use models::image::scheduler::{Method, Prediction, SchedulerConfig, Spacing};
use models::image::{FluxPipeline, Given, Job, StableDiffusion};
use models::{Checkpoint, Files, Fit};

/// The least cosine of one pass, and of latents after all steps.
const PASS: f64 = 0.9999;
const STEPS: f64 = 0.9999;
/// Decibels, at least, of a picture against the reference's.
const DECIBELS: f64 = 60.0;

fn tensor(folder: &str, name: &str) -> Tensor {
    let files = Files::new(golden(folder));
    let checkpoint = Checkpoint::open_files(&files, &["reference.safetensors".to_owned()]).unwrap();
    let shape = checkpoint.shape(name).unwrap().to_vec();
    checkpoint
        .tensor(name, &shape, DType::F32, &common::device())
        .unwrap()
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// Holds numbers against the reference's.
fn near(folder: &str, name: &str, found: &Tensor, least: f64) {
    let wanted = reference_tensor(folder, name);
    let found = flat(found);
    let likeness = cosine(&found, &wanted);
    let size = wanted
        .iter()
        .fold(0.0_f32, |most, number| most.max(number.abs()));
    let off = common::greatest_difference(&found, &wanted) / size;
    assert!(
        likeness >= least && off < 1e-3,
        "{folder} {name}: cosine {likeness}, off by {off}"
    );
}

/// Holds a picture of about -1 to 1 against one of 0 to 1.
fn alike(folder: &str, name: &str, pixels: &Tensor) {
    let wanted = reference_tensor(folder, name);
    let pixels = flat(
        &((pixels + 1.0).unwrap() / 2.0)
            .unwrap()
            .clamp(0f32, 1f32)
            .unwrap(),
    );
    let squares = pixels
        .iter()
        .zip(&wanted)
        .map(|(a, b)| f64::from(a - b).powi(2))
        .sum::<f64>();
    let decibels = -10.0 * (squares / wanted.len() as f64).max(1e-20).log10();
    assert!(decibels >= DECIBELS, "{folder} {name}: {decibels} dB");
}

fn stable(folder: &str) -> StableDiffusion {
    StableDiffusion::load(
        &Files::new(golden(folder)),
        &common::device(),
        Fit::default(),
    )
    .unwrap()
}

fn job(folder: &str, steps: usize, guidance: f64) -> Job {
    let reference = reference(folder);
    Job {
        prompt: reference["prompt"].as_str().unwrap().to_owned(),
        negative: Some(reference["negative_prompt"].as_str().unwrap().to_owned()),
        size: (64, 64),
        steps,
        guidance,
        given: None,
    }
}

/// Paints with the reference's noise; gives all latents, one after the other, and the last ones.
fn paint(model: &StableDiffusion, job: &Job, noises: &[Tensor]) -> (Tensor, Tensor) {
    let mut noises = noises.iter();
    let mut steps = Vec::new();
    let mut noise = || Ok(noises.next().unwrap().clone());
    let mut progress = |step: usize, latents: &Tensor| {
        steps.push(latents.clone());
        step == steps.len()
    };
    let last = model
        .paint(job, &mut noise, &mut progress)
        .unwrap()
        .unwrap();
    (Tensor::cat(&steps, 0).unwrap(), last)
}

fn noises(folder: &str) -> Vec<Tensor> {
    let mut noises = vec![tensor(folder, "in_latents")];
    let more = tensor(folder, "in_noises");
    noises.extend((0..more.dim(0).unwrap()).map(|index| more.narrow(0, index, 1).unwrap()));
    noises
}

#[test]
fn golden_parts_of_stable_diffusion() {
    let folder = "tiny-sd15";
    let model = stable(folder);
    let reference = reference(folder);
    for (name, key) in [
        ("out_text_prompt", "prompt"),
        ("out_text_negative", "negative_prompt"),
        ("out_text_odd", "odd_prompt"),
    ] {
        let (rows, _) = model.encode(reference[key].as_str().unwrap()).unwrap();
        near(folder, name, &rows, PASS);
    }
    let text = || (tensor(folder, "out_text_prompt"), None);
    let latents = tensor(folder, "in_latents");
    let said = model.predict(&latents, 500.0, text(), [0.0; 6]).unwrap();
    near(folder, "out_unet_t500", &said, PASS);
    let odd = latents.narrow(2, 0, 7).unwrap().narrow(3, 0, 5).unwrap();
    let said = model.predict(&odd, 37.0, text(), [0.0; 6]).unwrap();
    near(folder, "out_unet_odd_size", &said, PASS);
    let moments = model.moments(&tensor(folder, "in_image")).unwrap();
    near(folder, "out_vae_moments", &moments, PASS);
    let scaled = (latents * 0.18215).unwrap();
    near(
        folder,
        "out_vae_decode",
        &model.decode(&scaled, None).unwrap(),
        PASS,
    );
}

#[test]
fn golden_samplers_of_stable_diffusion() {
    let folder = "tiny-sd15";
    let mut model = stable(folder);
    let own = model.scheduler.clone();
    assert_eq!(own.method, Method::Pndm);
    let of = |method, spacing| {
        let mut config = own.clone();
        config.method = method;
        config.spacing = spacing;
        config
    };
    let euler = of(Method::Euler, Spacing::Linspace);
    let dpm = of(Method::DpmPlusPlus2M, Spacing::Linspace);
    let mut ddim = of(Method::Ddim, Spacing::Leading);
    ddim.clips = true;
    let mut velocity = euler.clone();
    velocity.prediction = Prediction::Velocity;
    let karras = |config: &SchedulerConfig| {
        let mut config = config.clone();
        config.karras = true;
        config
    };
    let reference = reference(folder);
    for (name, scheduler) in [
        ("pndm", own.clone()),
        ("ddim", ddim),
        ("euler_karras", karras(&euler)),
        ("euler_velocity", velocity),
        (
            "euler_ancestral",
            of(Method::EulerAncestral, Spacing::Linspace),
        ),
        ("dpm_karras", karras(&dpm)),
        ("euler", euler),
        ("dpm", dpm),
        ("lcm", of(Method::Lcm, Spacing::Leading)),
    ] {
        let sampler = models::image::scheduler::sampler(&scheduler, 5, 0).unwrap();
        let moments: Vec<f64> = sampler
            .moments()
            .iter()
            .map(|&moment| f64::from(moment))
            .collect();
        let wanted = reference["timesteps"][name].as_array().unwrap();
        let wanted: Vec<f64> = wanted
            .iter()
            .map(|moment| moment.as_f64().unwrap())
            .collect();
        assert_eq!(moments.len(), wanted.len(), "{name}");
        let off = moments
            .iter()
            .zip(&wanted)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f64::max);
        assert!(off < 1e-3, "{name}: {moments:?}, not {wanted:?}");
        model.scheduler = scheduler;
        let (steps, last) = paint(&model, &job(folder, 5, 7.5), &noises(folder));
        near(folder, &format!("out_{name}_steps"), &steps, STEPS);
        alike(
            folder,
            &format!("out_{name}_image"),
            &model.decode(&last, None).unwrap(),
        );
    }
}

#[test]
fn golden_pictures_from_and_within_pictures() {
    let folder = "tiny-sd15";
    let mut model = stable(folder);
    model.scheduler.method = Method::Ddim;
    model.scheduler.clips = true;
    let given = |mask, strength| {
        Some(Given {
            picture: tensor(folder, "in_image"),
            mask,
            strength,
        })
    };
    let from = Job {
        given: given(None, 0.5),
        ..job(folder, 8, 7.5)
    };
    near(
        folder,
        "out_img2img_latents",
        &paint(&model, &from, &noises(folder)).1,
        STEPS,
    );
    let mask = || Some(tensor(folder, "in_mask"));
    let within = Job {
        given: given(mask(), 0.6),
        ..job(folder, 5, 7.5)
    };
    near(
        folder,
        "out_blend_latents",
        &paint(&model, &within, &noises(folder)).1,
        STEPS,
    );

    // The same folder with the UNet that reads the mask.
    let folder_of_nine = tempfile::tempdir().unwrap();
    copy(&golden(folder), folder_of_nine.path());
    copy(&golden("tiny-sd15-inpainting"), folder_of_nine.path());
    let files = Files::new(folder_of_nine.path().to_path_buf());
    let mut model = StableDiffusion::load(&files, &common::device(), Fit::default()).unwrap();
    model.scheduler.method = Method::Ddim;
    model.scheduler.clips = true;
    let within = Job {
        given: given(mask(), 1.0),
        ..job(folder, 5, 7.5)
    };
    near(
        folder,
        "out_inpaint_latents",
        &paint(&model, &within, &noises(folder)).1,
        STEPS,
    );
}

/// Puts the weights of all parts under the authors' names, in one file.
fn single_file(folder: &std::path::Path, names: &serde_json::Value) {
    let mut whole = std::collections::HashMap::new();
    for (part, names) in names.as_object().unwrap() {
        let file = folder.join(part);
        let mut file = ["diffusion_pytorch_model.safetensors", "model.safetensors"]
            .map(|name| file.join(name))
            .into_iter();
        let file = file.find(|file| file.is_file()).unwrap();
        let mut tensors = candle_core::safetensors::load(&file, &Device::Cpu).unwrap();
        std::fs::remove_file(file).unwrap();
        let mut thirds = std::collections::BTreeMap::new();
        for (name, to) in names.as_object().unwrap() {
            let tensor = tensors.remove(name).unwrap();
            let (to, kind) = match to {
                serde_json::Value::Array(pair) => (pair[0].as_str().unwrap(), Some(&pair[1])),
                to => (to.as_str().unwrap(), None),
            };
            match kind {
                None if to.contains(".attn_1.") && tensor.rank() == 2 => {
                    let point = tensor.unsqueeze(2).unwrap().unsqueeze(3).unwrap();
                    whole.insert(to.to_owned(), point);
                }
                None => {
                    whole.insert(to.to_owned(), tensor);
                }
                Some(third) if third.is_u64() => {
                    thirds.insert((to.to_owned(), third.as_u64().unwrap()), tensor);
                }
                Some(_) => {
                    let turned = tensor.t().unwrap().contiguous().unwrap();
                    whole.insert(to.to_owned(), turned);
                }
            }
        }
        assert!(tensors.is_empty(), "{part}: {:?}", tensors.keys());
        while let Some(((to, _), first)) = thirds.pop_first() {
            let rest = [1, 2].map(|third| thirds.remove(&(to.clone(), third)).unwrap());
            whole.insert(to, Tensor::cat(&[&first, &rest[0], &rest[1]], 0).unwrap());
        }
    }
    // What such files have beside the parts.
    let betas = Tensor::zeros(10, DType::F32, &Device::Cpu).unwrap();
    whole.insert("betas".to_owned(), betas);
    candle_core::safetensors::save(&whole, folder.join("v1-5-pruned.safetensors")).unwrap();
}

/// One file in the layout of the authors of Stable Diffusion has the same pictures.
#[test]
fn golden_single_files_of_stable_diffusion() {
    for (folder, name, steps, guidance) in [
        ("tiny-sd15", "pndm", 5, 7.5),
        ("tiny-sdxl", "euler_leading", 4, 5.0),
    ] {
        let copied = tempfile::tempdir().unwrap();
        copy(&golden(folder), copied.path());
        for file in ["reference.safetensors", "model_index.json"] {
            std::fs::remove_file(copied.path().join(file)).unwrap();
        }
        let names = std::fs::read(golden(folder).join("single_file.json")).unwrap();
        single_file(copied.path(), &serde_json::from_slice(&names).unwrap());
        let files = Files::new(copied.path().to_path_buf());
        let model = StableDiffusion::load(&files, &common::device(), Fit::default()).unwrap();
        let noises = [tensor(folder, "in_latents")];
        let (steps, last) = paint(&model, &job(folder, steps, guidance), &noises);
        near(folder, &format!("out_{name}_steps"), &steps, STEPS);
        let picture = model.decode(&last, None).unwrap();
        alike(folder, &format!("out_{name}_image"), &picture);
        let need = models::need("stable-diffusion", &files, &Device::Cpu, Fit::default()).unwrap();
        let parts = Files::new(golden(folder));
        let same = models::need("stable-diffusion", &parts, &Device::Cpu, Fit::default()).unwrap();
        assert_eq!(need, same);
    }
}

/// A UNet that reads the guidance, with a time of its own width, and a scheduler that was another before.
#[test]
fn golden_latent_consistency_with_guidance_as_an_input() {
    let folder = "tiny-sd15-lcm";
    let copied = tempfile::tempdir().unwrap();
    copy(&golden("tiny-sd15"), copied.path());
    copy(&golden(folder), copied.path());
    let files = Files::new(copied.path().to_path_buf());
    let mut model = StableDiffusion::load(&files, &common::device(), Fit::default()).unwrap();
    assert_eq!(model.scheduler.method, Method::Lcm);
    // The file says that it clips, and the pipeline that it does not.
    for (name, clips) in [("lcm", false), ("clipped", true)] {
        assert!(clips || !model.scheduler.clips);
        model.scheduler.clips = clips;
        let job = Job {
            negative: None,
            ..job(folder, 6, 8.0)
        };
        let (steps, last) = paint(&model, &job, &noises(folder));
        near(folder, &format!("out_{name}_steps"), &steps, STEPS);
        let picture = model.decode(&last, None).unwrap();
        alike(folder, &format!("out_{name}_image"), &picture);
    }
    // As many steps as its training had are made, and no more.
    let mut noise = || Ok(tensor(folder, "in_latents"));
    let many = Job {
        steps: 41,
        ..job(folder, 1, 8.0)
    };
    let refusal = model.paint(&many, &mut noise, &mut |_, _| true);
    let text = refusal.unwrap_err().to_string();
    assert!(text.contains("41 steps") && text.contains("40"), "{text}");
}

#[test]
fn golden_sdxl_and_its_lightning() {
    let folder = "tiny-sdxl";
    let mut model = stable(folder);
    let prompt = reference(folder)["prompt"].as_str().unwrap().to_owned();
    let (rows, pooled) = model.encode(&prompt).unwrap();
    near(folder, "out_text_prompt", &rows, PASS);
    near(folder, "out_pooled", pooled.as_ref().unwrap(), PASS);
    let latents = tensor(folder, "in_latents");
    let sizes: [f32; 6] = flat(&tensor(folder, "in_time_ids")).try_into().unwrap();
    let said = model
        .predict(&latents, 500.0, (rows, pooled), sizes)
        .unwrap();
    near(folder, "out_unet_t500", &said, PASS);
    let picture = |name: &str, model: &StableDiffusion, job: &Job| {
        let (steps, last) = paint(model, job, std::slice::from_ref(&latents));
        near(folder, &format!("out_{name}_steps"), &steps, STEPS);
        alike(
            folder,
            &format!("out_{name}_image"),
            &model.decode(&last, None).unwrap(),
        );
    };
    let with_negative = job(folder, 4, 5.0);
    let without = Job {
        negative: None,
        ..with_negative.clone()
    };
    picture("euler_leading", &model, &with_negative);
    picture("euler_no_negative", &model, &without);
    model.scheduler.spacing = Spacing::Trailing;
    model.is_guided = false;
    picture("lightning", &model, &without);
}

#[test]
fn golden_flux_in_both_layouts() {
    let folder = "tiny-flux-schnell";
    let tokens = reference(folder)["t5_max_length"].as_u64().unwrap() as usize;
    let single = tempfile::tempdir().unwrap();
    copy(&golden(folder), single.path());
    single_files(single.path());
    for path in [golden(folder), single.path().to_path_buf()] {
        let files = Files::new(path);
        let model = FluxPipeline::load(&files, &common::device(), Fit::default(), tokens).unwrap();
        let prompt = reference(folder)["prompt"].as_str().unwrap().to_owned();
        let (text, pooled) = model.encode(&prompt).unwrap();
        near(folder, "out_t5", &text, PASS);
        near(folder, "out_clip_pooled", &pooled, PASS);
        let latents = tensor(folder, "in_latents");
        let mut steps = Vec::new();
        let mut progress = |_: usize, latents: &Tensor| {
            steps.push(latents.clone());
            true
        };
        let mut noise = || Ok(latents.clone());
        let last = model.paint(&prompt, (64, 64), 4, &mut noise, &mut progress);
        near(
            folder,
            "out_flow_steps",
            &Tensor::cat(&steps, 0).unwrap(),
            STEPS,
        );
        let picture = model.decode(&last.unwrap().unwrap(), None).unwrap();
        alike(folder, "out_flow_image", &picture);
    }
}

/// What diffusers and the authors call the layers around the blocks.
const OUTER: [(&str, &str); 8] = [
    (
        "time_text_embed.timestep_embedder.linear_1",
        "time_in.in_layer",
    ),
    (
        "time_text_embed.timestep_embedder.linear_2",
        "time_in.out_layer",
    ),
    (
        "time_text_embed.text_embedder.linear_1",
        "vector_in.in_layer",
    ),
    (
        "time_text_embed.text_embedder.linear_2",
        "vector_in.out_layer",
    ),
    ("context_embedder", "txt_in"),
    ("x_embedder", "img_in"),
    ("proj_out", "final_layer.linear"),
    ("norm_out.linear", "final_layer.adaLN_modulation.1"),
];
/// The same within a double block; several layers become one.
const DOUBLE: &[(&str, &str)] = &[
    ("norm1.linear", "img_mod.lin"),
    ("norm1_context.linear", "txt_mod.lin"),
    ("attn.to_q attn.to_k attn.to_v", "img_attn.qkv"),
    (
        "attn.add_q_proj attn.add_k_proj attn.add_v_proj",
        "txt_attn.qkv",
    ),
    ("attn.norm_q", "img_attn.norm.query_norm"),
    ("attn.norm_k", "img_attn.norm.key_norm"),
    ("attn.norm_added_q", "txt_attn.norm.query_norm"),
    ("attn.norm_added_k", "txt_attn.norm.key_norm"),
    ("attn.to_out.0", "img_attn.proj"),
    ("attn.to_add_out", "txt_attn.proj"),
    ("ff.net.0.proj", "img_mlp.0"),
    ("ff.net.2", "img_mlp.2"),
    ("ff_context.net.0.proj", "txt_mlp.0"),
    ("ff_context.net.2", "txt_mlp.2"),
];
/// The same within a single block.
const SINGLE: &[(&str, &str)] = &[
    ("norm.linear", "modulation.lin"),
    ("attn.to_q attn.to_k attn.to_v proj_mlp", "linear1"),
    ("attn.norm_q", "norm.query_norm"),
    ("attn.norm_k", "norm.key_norm"),
    ("proj_out", "linear2"),
];

/// Puts the weights of transformer and autoencoder under the names of FLUX's authors, in their two files.
fn single_files(folder: &std::path::Path) {
    let read = |part: &str| {
        let file = folder
            .join(part)
            .join("diffusion_pytorch_model.safetensors");
        let tensors = candle_core::safetensors::load(&file, &Device::Cpu).unwrap();
        std::fs::remove_file(file).unwrap();
        tensors
    };
    let mut old = read("transformer");
    let mut new = std::collections::HashMap::new();
    let mut joined = |from: &[String], to: &str| {
        for leaf in ["weight", "bias"] {
            let parts: Vec<_> = from
                .iter()
                .filter_map(|name| old.remove(&format!("{name}.{leaf}")))
                .collect();
            if parts.is_empty() {
                continue;
            }
            let scale = to.ends_with("_norm");
            let name = if scale {
                format!("{to}.scale")
            } else {
                format!("{to}.{leaf}")
            };
            let mut whole = Tensor::cat(&parts, 0).unwrap();
            if to.starts_with("final_layer.ada") {
                // diffusers scales first, the authors shift first.
                let halves = whole.chunk(2, 0).unwrap();
                whole = Tensor::cat(&[&halves[1], &halves[0]], 0).unwrap();
            }
            new.insert(name, whole);
        }
    };
    for (from, to) in OUTER {
        joined(&[from.to_owned()], to);
    }
    for layer in 0..2 {
        for (kind, new, pairs) in [
            ("transformer_blocks", "double_blocks", DOUBLE),
            ("single_transformer_blocks", "single_blocks", SINGLE),
        ] {
            for (from, to) in pairs {
                let from: Vec<_> = from
                    .split(' ')
                    .map(|name| format!("{kind}.{layer}.{name}"))
                    .collect();
                joined(&from, &format!("{new}.{layer}.{to}"));
            }
        }
    }
    assert!(old.is_empty(), "{:?}", old.keys());
    candle_core::safetensors::save(&new, folder.join("flux1-schnell.safetensors")).unwrap();
    let renamed: std::collections::HashMap<_, _> = read("vae")
        .into_iter()
        .map(|(name, tensor)| {
            let name = autoencoder(&name);
            let is_matrix = name.contains("attn_1") && tensor.rank() == 2;
            let point = |tensor: Tensor| tensor.unsqueeze(2).unwrap().unsqueeze(3).unwrap();
            (name, if is_matrix { point(tensor) } else { tensor })
        })
        .collect();
    candle_core::safetensors::save(&renamed, folder.join("ae.safetensors")).unwrap();
}

/// The authors' name of a tensor of the autoencoder.
fn autoencoder(name: &str) -> String {
    let mut words: Vec<String> = name.split('.').map(str::to_owned).collect();
    if words[1].ends_with("_blocks") {
        let is_up = words[1] == "up_blocks";
        let level: usize = words[2].parse().unwrap();
        words[1] = if is_up { "up" } else { "down" }.into();
        words[2] = if is_up { 3 - level } else { level }.to_string();
        if words[3] == "resnets" {
            words[3] = "block".into();
        } else {
            words[3] = if is_up { "upsample" } else { "downsample" }.into();
            words.remove(4);
        }
    } else if words[1] == "mid_block" {
        words[1] = "mid".into();
        let number: usize = words[3].parse().unwrap();
        words[2] = if words[2] == "resnets" {
            format!("block_{}", number + 1)
        } else {
            "attn_1".into()
        };
        words.remove(3);
    }
    let words = words.into_iter().map(|word| match word.as_str() {
        "conv_shortcut" => "nin_shortcut".to_owned(),
        "conv_norm_out" => "norm_out".to_owned(),
        "group_norm" => "norm".to_owned(),
        "to_q" | "to_k" | "to_v" => word[3..].to_owned(),
        "to_out" => "proj_out".to_owned(),
        _ => word,
    });
    words
        .collect::<Vec<_>>()
        .join(".")
        .replace("proj_out.0.", "proj_out.")
}

/// Files of 16 bits are multiplied as they are on the CPU, and eight bits are near.
#[test]
fn golden_unet_in_half_precision_and_in_eight_bits() {
    let folder = "tiny-sd15";
    for (dtype, quality, least) in [
        (DType::F16, models::Quality::Exact, 0.9999),
        (DType::BF16, models::Quality::Exact, 0.999),
        (DType::F16, models::Quality::Fast, 0.999),
        (DType::F32, models::Quality::Fast, 0.999),
    ] {
        let copied = tempfile::tempdir().unwrap();
        copy(&golden(folder), copied.path());
        let file = copied
            .path()
            .join("unet/diffusion_pytorch_model.safetensors");
        let whole = candle_core::safetensors::load(&file, &Device::Cpu).unwrap();
        std::fs::remove_file(&file).unwrap();
        let half = whole
            .into_iter()
            .map(|(name, tensor)| (name, tensor.to_dtype(dtype).unwrap()));
        let half: std::collections::HashMap<_, _> = half.collect();
        let file = file.with_file_name("diffusion_pytorch_model.fp16.safetensors");
        candle_core::safetensors::save(&half, file).unwrap();
        let files = Files::new(copied.path().to_path_buf());
        let fit = Fit {
            quality,
            ..Fit::default()
        };
        let model = StableDiffusion::load(&files, &Device::Cpu, fit).unwrap();
        let text = (tensor(folder, "out_text_prompt"), None);
        let said = model
            .predict(&tensor(folder, "in_latents"), 500.0, text, [0.0; 6])
            .unwrap();
        let likeness = cosine(&flat(&said), &reference_tensor(folder, "out_unet_t500"));
        println!("{dtype:?} {quality:?}: {likeness}");
        assert!(likeness >= least, "{dtype:?} {quality:?}: {likeness}");
    }
}
