#!/usr/bin/env python3
"""make_tiny_image.py OUT [name...] - the golden folders of the painters: tiny-sd15, tiny-sd15-inpainting
and tiny-sd15-lcm (UNets for it, the latter reads the guidance and has a scheduler), tiny-sdxl, tiny-flux-schnell.

Pipelines with random weights in the layout of diffusers, and what diffusers and transformers compute with
them in float32 on the CPU. Needs torch, transformers, diffusers, safetensors and tokenizers; the versions
used are written into reference.json. The same versions give the same numbers: random numbers are seeded by
the folder's name. Noise that a pipeline draws is an input here, named in_*; what an encoder of pictures gives
is its mean.
"""
import json
import math
import os
import sys
import zlib

import diffusers as D
import torch
import transformers as T
from diffusers.pipelines.stable_diffusion import pipeline_stable_diffusion_inpaint as inpaint
from diffusers.schedulers import scheduling_euler_ancestral_discrete, scheduling_lcm
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)
PROMPT, NEGATIVE = "A photo of an astronaut riding a horse on the moon", "low quality"
ODD = "A CAFÉ, it's 3 o'clock!  日本 🙂\n" + "the horse on the moon, " * 20
CORPUS = [PROMPT, "The quick brown fox jumps over the lazy dog.", "What is the capital of France?",
          "Workers run your code on a network of machines near the user."] * 4


def seed(name):
    torch.manual_seed(zlib.crc32(name.encode()) & 0x7FFFFFFF)


def reinit(model):
    """Weights large enough that every layer matters to the output."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.ndim >= 2:
                table = any(k in name for k in ("embed", "shared", "relative_attention_bias"))
                p.copy_(torch.randn(p.shape) * (0.4 if table else 1.0 / math.sqrt(p[0].numel())))
            elif bool((p == 1).all()):
                p.copy_(1 + 0.1 * torch.randn(p.shape))
            else:
                p.copy_(0.1 * torch.randn(p.shape))
    for p in model.parameters():
        p.requires_grad_(False)
    return model.eval()


def write(path, value):
    with open(path, "w", encoding="utf-8") as f:
        json.dump(value, f, ensure_ascii=False, indent=1)
        f.write("\n")


def references(folder, tensors, more):
    save_file({k: v.contiguous().clone() for k, v in tensors.items()}, os.path.join(folder, "reference.safetensors"))
    made = "torch %s, transformers %s, diffusers %s" % (torch.__version__.split("+")[0], T.__version__, D.__version__)
    write(os.path.join(folder, "reference.json"), dict(made_with=made, prompt=PROMPT, negative_prompt=NEGATIVE, **more))


def clip_tokenizer(folder):
    os.makedirs(folder, exist_ok=True)
    letters = list(T.models.clip.tokenization_clip.bytes_to_unicode().values())
    merges = ["t h", "th e</w>", "a n", "o n</w>", "a s", "r o", "h o", "ho r", "s e</w>", "hor se</w>", "o f</w>", "p h", "ph o", "t o</w>"]
    words = letters + [c + "</w>" for c in letters] + ["".join(m.split()) for m in merges] + ["<|startoftext|>", "<|endoftext|>"]
    write(os.path.join(folder, "vocab.json"), {w: i for i, w in enumerate(words)})
    with open(os.path.join(folder, "merges.txt"), "w", encoding="utf-8") as f:
        f.write("#version: 0.2\n" + "\n".join(merges) + "\n")
    return T.CLIPTokenizerFast(os.path.join(folder, "vocab.json"), os.path.join(folder, "merges.txt"), model_max_length=77), len(words)


def keep(folder, files):
    """Either form of the tokeniser, as repositories have one or the other."""
    for name in ("tokenizer.json", "vocab.json", "merges.txt", "special_tokens_map.json"):
        path = os.path.join(folder, name)
        if name not in files and os.path.exists(path):
            os.remove(path)


def ids(tokenizer, text):
    return tokenizer(text, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids


def clip_text(words, projects=False, hidden=32):
    config = T.CLIPTextConfig(vocab_size=words, hidden_size=hidden, intermediate_size=2 * hidden, num_hidden_layers=3, num_attention_heads=4,
                              max_position_embeddings=77, projection_dim=hidden, hidden_act="gelu" if projects else "quick_gelu",
                              bos_token_id=words - 2, eos_token_id=words - 1, pad_token_id=words - 1)
    return reinit((T.CLIPTextModelWithProjection if projects else T.CLIPTextModel)(config))


def autoencoder(latents=4, **more):
    return reinit(D.AutoencoderKL(in_channels=3, out_channels=3, latent_channels=latents, block_out_channels=(8, 8, 16, 16), layers_per_block=1, norm_num_groups=4,
                                  down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4, sample_size=64, **more))


def unet15(channels, **more):
    sizes = dict(sample_size=8, in_channels=channels, out_channels=4, layers_per_block=1, block_out_channels=(8, 16, 16, 16), norm_num_groups=4,
                 cross_attention_dim=32, attention_head_dim=2, down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
                 up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3)
    return reinit(D.UNet2DConditionModel(**{**sizes, **more}))


def paint(pipe, out, name, latents, **more):
    """Runs a pipeline; keeps the latents after each step, and the picture in 0..1."""
    steps = []
    done = pipe(PROMPT, latents=latents.clone(), width=64, height=64, output_type="pt",
                callback_on_step_end=lambda p, i, t, kw: (steps.append(kw["latents"].clone()), kw)[1], **more)
    out["out_%s_steps" % name], out["out_%s_image" % name] = torch.cat(steps), done.images
    return [float(t) for t in pipe.scheduler.timesteps]


def sd15(folder):
    tokenizer, words = clip_tokenizer(os.path.join(folder, "tokenizer"))
    text, vae, unet = clip_text(words), autoencoder(scaling_factor=0.18215), unet15(4)
    scheduler = D.PNDMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", num_train_timesteps=1000, skip_prk_steps=True, steps_offset=1, set_alpha_to_one=False)
    pipe = D.StableDiffusionPipeline(vae=vae, text_encoder=text, tokenizer=tokenizer, unet=unet, scheduler=scheduler, safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    pipe.save_pretrained(folder)
    keep(os.path.join(folder, "tokenizer"), ("vocab.json", "merges.txt"))
    pipe.set_progress_bar_config(disable=True)
    out, moments = {}, {}
    for name, words in (("prompt", PROMPT), ("negative", NEGATIVE), ("odd", ODD)):
        out["out_text_" + name] = text(ids(tokenizer, words))[0]
    latents = torch.randn(1, 4, 8, 8)
    picture = torch.rand(1, 3, 64, 64) * 2 - 1
    noises = [torch.randn(1, 4, 8, 8) for _ in range(6)]
    out["in_latents"], out["in_image"], out["in_noises"] = latents, picture, torch.cat(noises)
    out["out_unet_t500"] = unet(latents, torch.tensor([500]), out["out_text_prompt"]).sample
    out["out_unet_odd_size"] = unet(latents[:, :, :7, :5], torch.tensor([37]), out["out_text_prompt"]).sample
    out["out_vae_decode"], out["out_vae_moments"] = vae.decode(latents).sample, vae.encode(picture).latent_dist.parameters
    config = scheduler.config
    feed = []

    def drawn(*_, **__):
        return feed.pop(0)
    scheduling_lcm.randn_tensor = scheduling_euler_ancestral_discrete.randn_tensor = drawn
    for name, made in (
            ("pndm", scheduler),
            ("ddim", D.DDIMScheduler.from_config(config)),
            ("euler", D.EulerDiscreteScheduler.from_config(config)),
            ("euler_karras", D.EulerDiscreteScheduler.from_config(config, use_karras_sigmas=True)),
            ("euler_velocity", D.EulerDiscreteScheduler.from_config(config, prediction_type="v_prediction")),
            ("euler_ancestral", D.EulerAncestralDiscreteScheduler.from_config(config)),
            ("dpm", D.DPMSolverMultistepScheduler.from_config(config)),
            ("dpm_karras", D.DPMSolverMultistepScheduler.from_config(config, use_karras_sigmas=True)),
            ("lcm", D.LCMScheduler.from_config(config))):
        pipe.scheduler = made
        feed[:] = noises
        moments[name] = paint(pipe, out, name, latents, negative_prompt=NEGATIVE, num_inference_steps=5, guidance_scale=7.5)
    # From a picture: strength 0.5 of 8 steps.
    made = D.DDIMScheduler.from_config(config)
    made.set_timesteps(8)
    clean, times = vae.encode(picture).latent_dist.mode() * 0.18215, made.timesteps[4:]
    x, both = made.add_noise(clean, latents, times[:1]), torch.cat([out["out_text_negative"], out["out_text_prompt"]])
    for t in times:
        a, b = unet(torch.cat([x, x]), t, both).sample.chunk(2)
        x = made.step(a + 7.5 * (b - a), t, x).prev_sample
    out["out_img2img_latents"] = x
    # Within a picture, with this UNet and with the one that reads the mask.
    mask = torch.zeros(1, 1, 64, 64)
    mask[:, :, 16:48, 24:] = 1
    out["in_mask"] = mask
    inpaint.retrieve_latents = lambda made, generator=None, sample_mode=None: made.latent_dist.mode()
    inpaint.randn_tensor = lambda *_, **__: latents.clone()
    seed("tiny-sd15-inpainting")
    for name, body, strength in (("blend", unet, 0.6), ("inpaint", unet15(9), 1.0)):
        painter = D.StableDiffusionInpaintPipeline(vae=vae, text_encoder=text, tokenizer=tokenizer, unet=body, scheduler=D.DDIMScheduler.from_config(config), safety_checker=None, feature_extractor=None, requires_safety_checker=False)
        painter.set_progress_bar_config(disable=True)
        done = painter(PROMPT, image=(picture + 1) / 2, mask_image=mask, negative_prompt=NEGATIVE, num_inference_steps=5, strength=strength, guidance_scale=7.5, width=64, height=64, output_type="latent")
        out["out_%s_latents" % name] = done.images
    references(folder, out, {"odd_prompt": ODD, "guidance_scale": 7.5, "timesteps": moments})


def sd15_inpainting(folder):
    unet15(9).save_pretrained(os.path.join(folder, "unet"))


def sd15_lcm(folder):
    """Beside tiny-sd15, which has to be made before. Its scheduler has fields of others that it was before."""
    unet = unet15(4, time_cond_proj_dim=10, time_embedding_dim=24, upcast_attention=True, block_out_channels=(8, 16),
                  down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"))
    unet.save_pretrained(os.path.join(folder, "unet"))
    other = D.DPMSolverMultistepScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", num_train_timesteps=1000, steps_offset=1, timestep_spacing="trailing")
    scheduler = D.LCMScheduler.from_config(other.config, original_inference_steps=40, timestep_scaling=8.0, clip_sample=True, clip_sample_range=1.5)
    scheduler.save_pretrained(os.path.join(folder, "scheduler"))
    # The pipeline's constructor takes the clipping away.
    pipe = D.StableDiffusionPipeline.from_pretrained(os.path.join(folder, "..", "tiny-sd15"), unet=unet, scheduler=scheduler, safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    pipe.save_config(folder)
    latents, noises = torch.randn(1, 4, 8, 8), [torch.randn(1, 4, 8, 8) for _ in range(6)]
    out = {"in_latents": latents, "in_noises": torch.cat(noises)}
    moments, feed = {}, []
    scheduling_lcm.randn_tensor = lambda *_, **__: feed.pop(0)
    for name, clips in (("lcm", False), ("clipped", True)):
        if clips:
            pipe.scheduler = D.LCMScheduler.from_config(scheduler.config, clip_sample=True)
        feed[:] = noises
        moments[name] = paint(pipe, out, name, latents, num_inference_steps=6, guidance_scale=8.0)
    references(folder, out, {"guidance_scale": 8.0, "timesteps": moments})


def sdxl(folder):
    tokenizer, words = clip_tokenizer(os.path.join(folder, "tokenizer"))
    tokenizer_2, _ = clip_tokenizer(os.path.join(folder, "tokenizer_2"))
    tokenizer_2.pad_token = "!"
    text, text_2, vae = clip_text(words), clip_text(words, True), autoencoder(scaling_factor=0.13025)
    unet = reinit(D.UNet2DConditionModel(sample_size=8, in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=(8, 16, 16), norm_num_groups=4, cross_attention_dim=64,
                                         attention_head_dim=(2, 4, 4), transformer_layers_per_block=(1, 1, 2), addition_embed_type="text_time", addition_time_embed_dim=8,
                                         projection_class_embeddings_input_dim=32 + 6 * 8, use_linear_projection=True,
                                         down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D")))
    scheduler = D.EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", num_train_timesteps=1000, steps_offset=1, timestep_spacing="leading")
    pipe = D.StableDiffusionXLPipeline(vae=vae, text_encoder=text, text_encoder_2=text_2, tokenizer=tokenizer, tokenizer_2=tokenizer_2, unet=unet, scheduler=scheduler,
                                       force_zeros_for_empty_prompt=True, add_watermarker=False)
    pipe.save_pretrained(folder)
    keep(os.path.join(folder, "tokenizer"), ("tokenizer.json",))
    keep(os.path.join(folder, "tokenizer_2"), ("vocab.json", "merges.txt"))
    pipe.set_progress_bar_config(disable=True)
    latents = torch.randn(1, 4, 8, 8)
    prompt, _, pooled, _ = pipe.encode_prompt(PROMPT, negative_prompt=NEGATIVE, do_classifier_free_guidance=True, num_images_per_prompt=1, device="cpu")
    sizes = pipe._get_add_time_ids((64, 64), (0, 0), (64, 64), torch.float32, 32)
    out = {"in_latents": latents, "in_time_ids": sizes, "out_text_prompt": prompt, "out_pooled": pooled,
           "out_unet_t500": unet(latents, torch.tensor([500]), prompt, added_cond_kwargs={"text_embeds": pooled, "time_ids": sizes}).sample}
    moments = {"euler_leading": paint(pipe, out, "euler_leading", latents, negative_prompt=NEGATIVE, num_inference_steps=4, guidance_scale=5.0),
               "euler_no_negative": paint(pipe, out, "euler_no_negative", latents, num_inference_steps=4, guidance_scale=5.0)}
    pipe.scheduler = D.EulerDiscreteScheduler.from_config(scheduler.config, timestep_spacing="trailing")
    moments["lightning"] = paint(pipe, out, "lightning", latents, num_inference_steps=4, guidance_scale=0.0)
    references(folder, out, {"guidance_scale": 5.0, "timesteps": moments})


def t5_tokenizer(folder):
    os.makedirs(folder, exist_ok=True)
    t = Tokenizer(models.Unigram())
    t.normalizer, t.pre_tokenizer, t.decoder = normalizers.Sequence([normalizers.NFKC()]), pre_tokenizers.Metaspace(), decoders.Metaspace()
    t.train_from_iterator(CORPUS, trainers.UnigramTrainer(vocab_size=120, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False))
    return T.PreTrainedTokenizerFast(tokenizer_object=t, eos_token="</s>", pad_token="<pad>", unk_token="<unk>", model_max_length=64)


def flux(folder):
    tokenizer, words = clip_tokenizer(os.path.join(folder, "tokenizer"))
    tokenizer_2 = t5_tokenizer(os.path.join(folder, "tokenizer_2"))
    from tokenizers.processors import TemplateProcessing
    tokenizer_2._tokenizer.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    text, vae = clip_text(words), autoencoder(16, scaling_factor=0.3611, shift_factor=0.1159, use_quant_conv=False, use_post_quant_conv=False)
    text_2 = reinit(T.T5EncoderModel(T.T5Config(vocab_size=len(tokenizer_2), d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, feed_forward_proj="gated-gelu", dense_act_fn="gelu_new", is_encoder_decoder=False, use_cache=False)))
    body = reinit(D.FluxTransformer2DModel(patch_size=1, in_channels=64, num_layers=2, num_single_layers=2, attention_head_dim=16, num_attention_heads=2, joint_attention_dim=32,
                                           pooled_projection_dim=32, guidance_embeds=False, axes_dims_rope=(4, 6, 6)))
    scheduler = D.FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=1.0, use_dynamic_shifting=False, base_shift=0.5, max_shift=1.15, base_image_seq_len=256, max_image_seq_len=4096)
    pipe = D.FluxPipeline(scheduler=scheduler, vae=vae, text_encoder=text, tokenizer=tokenizer, text_encoder_2=text_2, tokenizer_2=tokenizer_2, transformer=body)
    pipe.save_pretrained(folder)
    keep(os.path.join(folder, "tokenizer"), ("tokenizer.json",))
    pipe.set_progress_bar_config(disable=True)
    prompt, pooled, places = pipe.encode_prompt(PROMPT, None, device="cpu", max_sequence_length=48)
    latents = torch.randn(1, 16, 8, 8)
    packed, grid = pipe._pack_latents(latents, 1, 16, 8, 8), pipe._prepare_latent_image_ids(1, 4, 4, "cpu", torch.float32)
    out = {"in_latents": latents, "out_t5": prompt, "out_clip_pooled": pooled,
           "out_transformer_t05": body(hidden_states=packed, timestep=torch.tensor([0.5]), encoder_hidden_states=prompt, pooled_projections=pooled, txt_ids=places, img_ids=grid, guidance=None).sample}
    moments = {"flow": paint(pipe, out, "flow", packed, num_inference_steps=4, guidance_scale=0.0, max_sequence_length=48)}
    pipe.scheduler = D.FlowMatchEulerDiscreteScheduler.from_config(scheduler.config, use_dynamic_shifting=True)
    moments["dynamic"] = paint(pipe, out, "dynamic", packed, num_inference_steps=4, guidance_scale=0.0, max_sequence_length=48)
    references(folder, out, {"t5_max_length": 48, "timesteps": moments})


MODELS = {"tiny-sd15": sd15, "tiny-sd15-inpainting": sd15_inpainting, "tiny-sd15-lcm": sd15_lcm, "tiny-sdxl": sdxl, "tiny-flux-schnell": flux}

if __name__ == "__main__":
    for name in sys.argv[2:] or MODELS:
        folder = os.path.join(sys.argv[1], name)
        os.makedirs(folder, exist_ok=True)
        seed(name)
        MODELS[name](folder)
        print(name)
