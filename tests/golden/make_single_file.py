#!/usr/bin/env python3
"""make_single_file.py GOLDEN - writes GOLDEN/tiny-sd15/single_file.json and GOLDEN/tiny-sdxl/single_file.json: what the
tensors of these folders are called in a file in the layout of Stable Diffusion's authors.

Each name of diffusers or transformers has one of the authors', or a list: a name, and which third of its rows. A
"T" after the name: the matrix lies the other way. Names are made here by the authors' numbering, and held against
diffusers' own conversion: it has to make the same tensors of a file so named. Needs torch, diffusers, safetensors.
"""
import json
import os
import sys

import torch
from diffusers.loaders import single_file_utils as S
from safetensors.torch import load_file
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

RESNET = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0", "conv2": "out_layers.3", "conv_shortcut": "skip_connection"}
OUTER = {"conv_in": "input_blocks.0.0", "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2", "add_embedding.linear_1": "label_emb.0.0",
         "add_embedding.linear_2": "label_emb.0.2", "conv_norm_out": "out.0", "conv_out": "out.2"}
LAYER = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "self_attn.out_proj": "attn.out_proj", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}


def unet(config):
    """The authors' prefix of each of diffusers', block by block as the authors count them."""
    names, per_level = dict(OUTER), config["layers_per_block"]

    def add(new, old, attention):
        for part, number in RESNET.items():
            names["%s.resnets.%d.%s" % (*new, part)] = "%s.0.%s" % (old, number)
        if attention:
            names["%s.attentions.%d" % new] = old + ".1"
    place = 1
    for level, kind in enumerate(config["down_block_types"]):
        for block in range(per_level):
            add(("down_blocks.%d" % level, block), "input_blocks.%d" % place, "Attn" in kind)
            place += 1
        if level + 1 < len(config["down_block_types"]):
            names["down_blocks.%d.downsamplers.0.conv" % level] = "input_blocks.%d.0.op" % place
            place += 1
    for new, old in (("resnets.0", 0), ("resnets.1", 2)):
        for part, number in RESNET.items():
            names["mid_block.%s.%s" % (new, part)] = "middle_block.%d.%s" % (old, number)
    names["mid_block.attentions.0"] = "middle_block.1"
    place = 0
    for level, kind in enumerate(config["up_block_types"]):
        for block in range(per_level + 1):
            add(("up_blocks.%d" % level, block), "output_blocks.%d" % place, "Attn" in kind)
            if block == per_level and level + 1 < len(config["up_block_types"]):
                names["up_blocks.%d.upsamplers.0.conv" % level] = "output_blocks.%d.%d.conv" % (place, 2 if "Attn" in kind else 1)
            place += 1
    return names


def vae(levels):
    names = {"quant_conv": "quant_conv", "post_quant_conv": "post_quant_conv"}
    for half, way, mark in (("encoder", "down", "downsample"), ("decoder", "up", "upsample")):
        for leaf in ("conv_in", "conv_out"):
            names["%s.%s" % (half, leaf)] = "%s.%s" % (half, leaf)
        names[half + ".conv_norm_out"] = half + ".norm_out"
        for level in range(levels):
            old = level if way == "down" else levels - 1 - level
            for block in range(3):
                for part in ("norm1", "conv1", "norm2", "conv2"):
                    names["%s.%s_blocks.%d.resnets.%d.%s" % (half, way, level, block, part)] = "%s.%s.%d.block.%d.%s" % (half, way, old, block, part)
                names["%s.%s_blocks.%d.resnets.%d.conv_shortcut" % (half, way, level, block)] = "%s.%s.%d.block.%d.nin_shortcut" % (half, way, old, block)
            names["%s.%s_blocks.%d.%srs.0.conv" % (half, way, level, mark)] = "%s.%s.%d.%s.conv" % (half, way, old, mark)
        for number in (0, 1):
            for part in ("norm1", "conv1", "norm2", "conv2"):
                names["%s.mid_block.resnets.%d.%s" % (half, number, part)] = "%s.mid.block_%d.%s" % (half, number + 1, part)
        for new, old in (("group_norm", "norm"), ("to_q", "q"), ("to_k", "k"), ("to_v", "v"), ("to_out.0", "proj_out")):
            names["%s.mid_block.attentions.0.%s" % (half, new)] = "%s.mid.attn_1.%s" % (half, old)
    return names


def open_clip(name):
    if name == "text_projection.weight":
        return ["text_projection", "T"]
    name = name.removeprefix("text_model.")
    for new, old in (("embeddings.token_embedding", "token_embedding"), ("embeddings.position_embedding.weight", "positional_embedding"), ("final_layer_norm", "ln_final")):
        if name.startswith(new):
            return name.replace(new, old)
    number, rest = name.removeprefix("encoder.layers.").split(".", 1)
    for third, letter in enumerate("qkv"):
        if rest.startswith("self_attn.%s_proj." % letter):
            return ["transformer.resblocks.%s.attn.in_proj_%s" % (number, rest.split(".")[-1]), third]
    part, leaf = rest.rsplit(".", 1)
    return "transformer.resblocks.%s.%s.%s" % (number, LAYER[part], leaf)


def named(tensors, prefixes, before):
    out = {}
    for name in tensors:
        new = max((p for p in prefixes if name.startswith(p + ".")), key=len)
        out[name] = before + prefixes[new] + name[len(new):]
    return out


def whole(parts, names):
    """The file: tensors by the authors' names."""
    out, thirds = {}, {}
    for part, tensors in parts.items():
        for name, tensor in tensors.items():
            to = names[part][name]
            if isinstance(to, str):
                square = part == "vae" and ".attn_1." in to and tensor.ndim == 2
                out[to] = tensor[:, :, None, None] if square else tensor
            elif to[1] == "T":
                out[to[0]] = tensor.T.contiguous()
            else:
                thirds.setdefault(to[0], {})[to[1]] = tensor
    for name, three in thirds.items():
        out[name] = torch.cat([three[0], three[1], three[2]])
    return out


def same(made, tensors):
    made = {k: v for k, v in made.items() if not k.endswith("position_ids")}
    assert made.keys() == tensors.keys(), sorted(made.keys() ^ tensors.keys())[:8]
    for name, tensor in tensors.items():
        assert torch.equal(made[name].reshape(tensor.shape), tensor), name


def make(folder, is_xl):
    def load(part, stem):
        return load_file(os.path.join(folder, part, stem + ".safetensors"))

    def config(part):
        with open(os.path.join(folder, part, "config.json"), encoding="utf-8") as f:
            return json.load(f)
    parts = {"unet": load("unet", "diffusion_pytorch_model"), "vae": load("vae", "diffusion_pytorch_model"), "text_encoder": load("text_encoder", "model")}
    before = "conditioner.embedders.0.transformer." if is_xl else "cond_stage_model.transformer."
    names = {"unet": named(parts["unet"], unet(config("unet")), "model.diffusion_model."), "vae": named(parts["vae"], vae(4), "first_stage_model."),
             "text_encoder": {name: before + name for name in parts["text_encoder"]}}
    if is_xl:
        parts["text_encoder_2"], second = load("text_encoder_2", "model"), "conditioner.embedders.1.model."
        names["text_encoder_2"] = {}
        for name in parts["text_encoder_2"]:
            to = open_clip(name)
            names["text_encoder_2"][name] = second + to if isinstance(to, str) else [second + to[0], to[1]]
    file = whole(parts, names)
    same(S.convert_ldm_unet_checkpoint(dict(file), config("unet")), parts["unet"])
    same(S.convert_ldm_vae_checkpoint(dict(file), config("vae")), parts["vae"])
    same(S.convert_ldm_clip_checkpoint(dict(file), remove_prefix=before), parts["text_encoder"])
    if is_xl:
        # Its map of layers is of 32; what matters is that each layer's names are known.
        model = CLIPTextModelWithProjection(CLIPTextConfig.from_dict(config("text_encoder_2")))
        same(S.convert_open_clip_checkpoint(model, dict(file), second), parts["text_encoder_2"])
    with open(os.path.join(folder, "single_file.json"), "w", encoding="utf-8") as f:
        json.dump(names, f, indent=0)
        f.write("\n")


make(os.path.join(sys.argv[1], "tiny-sd15"), False)
make(os.path.join(sys.argv[1], "tiny-sdxl"), True)
