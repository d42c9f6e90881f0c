"""A folder in the layout of diffusers with a UNet of random 16-bit weights in the shape of Stable Diffusion 1.5, for
races where only speed counts.

shape_sd15.py GOLDEN OUT: tokenizer and scheduler are those of the folder GOLDEN (tests/golden/tiny-sd15); text
encoder and autoencoder are as small as they may be. OUT/operations gets the floating-point operations of one pass
over two latents of 64 by 64: a multiplication and an addition each.
"""

import json
import shutil
import sys
from pathlib import Path

import numpy as np

LEVELS, LAYERS, CONTEXT, TOKENS, HEADS = (320, 640, 1280, 1280), 2, 768, 77, 8
BATCH, SIDE = 2, 64
TIME = LEVELS[0] * 4


class File:
    """Tensors one after the other; the numbers come from one pool of normal ones."""

    def __init__(self, dtype):
        self.header, self.parts, self.at, self.dtype = {}, [], 0, dtype
        random = np.random.default_rng(0)
        self.pool = random.standard_normal(1 << 25, dtype=np.float32)
        self.starts = random.integers(0, 1 << 20, 1 << 16)
        self.operations = 0

    def add(self, name, shape, kind):
        self.header[name] = {
            "dtype": {np.float16: "F16", np.float32: "F32"}[self.dtype],
            "shape": shape,
            "data_offsets": [self.at, self.at + int(np.prod(shape)) * self.dtype().itemsize],
        }
        self.at = self.header[name]["data_offsets"][1]
        self.parts.append((shape, kind))

    def norm(self, name, channels):
        self.add(name + ".weight", [channels], 1.0)
        self.add(name + ".bias", [channels], 0.0)

    def layer(self, name, inputs, outputs, rows, side=None, bias=True):
        self.add(name + ".weight", [outputs, inputs] + ([side, side] if side else []), None)
        if bias:
            self.add(name + ".bias", [outputs], 0.0)
        self.operations += 2 * rows * inputs * outputs * (side or 1) ** 2

    def write(self, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.header).encode()
        text += b" " * (-len(text) % 8)
        with open(path, "wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for index, (shape, kind) in enumerate(self.parts):
                count = int(np.prod(shape))
                if kind is not None:
                    file.write(np.full(count, kind, self.dtype).tobytes())
                    continue
                start = int(self.starts[index])
                numbers = self.pool[start : start + count] / np.sqrt(count / shape[0])
                file.write(numbers.astype(self.dtype).tobytes())


def unet():
    file = File(np.float16)

    def resnet(name, inputs, outputs, side):
        rows = BATCH * side * side
        file.norm(name + ".norm1", inputs)
        file.layer(name + ".conv1", inputs, outputs, rows, 3)
        file.layer(name + ".time_emb_proj", TIME, outputs, BATCH)
        file.norm(name + ".norm2", outputs)
        file.layer(name + ".conv2", outputs, outputs, rows, 3)
        if inputs != outputs:
            file.layer(name + ".conv_shortcut", inputs, outputs, rows, 1)

    def attention(name, width, side):
        rows, texts, inner = BATCH * side * side, BATCH * TOKENS, width * 4
        file.norm(name + ".norm", width)
        file.layer(name + ".proj_in", width, width, rows, 1)
        block = name + ".transformer_blocks.0."
        for number in (1, 2, 3):
            file.norm(f"{block}norm{number}", width)
        for number, context, keys in ((1, width, rows), (2, CONTEXT, texts)):
            part = f"{block}attn{number}."
            file.layer(part + "to_q", width, width, rows, bias=False)
            file.layer(part + "to_k", context, width, keys, bias=False)
            file.layer(part + "to_v", context, width, keys, bias=False)
            file.layer(part + "to_out.0", width, width, rows)
            # Scores, and what they weigh.
            file.operations += 2 * 2 * rows * (keys // BATCH) * width
        file.layer(block + "ff.net.0.proj", width, inner * 2, rows)
        file.layer(block + "ff.net.2", inner, width, rows)
        file.layer(name + ".proj_out", width, width, rows, 1)

    first, last = LEVELS[0], LEVELS[-1]
    file.layer("conv_in", 4, first, BATCH * SIDE * SIDE, 3)
    file.layer("time_embedding.linear_1", first, TIME, BATCH)
    file.layer("time_embedding.linear_2", TIME, TIME, BATCH)
    channels, side, skips = first, SIDE, [first]
    for level, width in enumerate(LEVELS):
        for block in range(LAYERS):
            resnet(f"down_blocks.{level}.resnets.{block}", channels, width, side)
            if level < 3:
                attention(f"down_blocks.{level}.attentions.{block}", width, side)
            channels = width
            skips.append(width)
        if level < 3:
            side //= 2
            file.layer(f"down_blocks.{level}.downsamplers.0.conv", width, width, BATCH * side * side, 3)
            skips.append(width)
    resnet("mid_block.resnets.0", last, last, side)
    attention("mid_block.attentions.0", last, side)
    resnet("mid_block.resnets.1", last, last, side)
    for up, width in enumerate(reversed(LEVELS)):
        for block in range(LAYERS + 1):
            resnet(f"up_blocks.{up}.resnets.{block}", channels + skips.pop(), width, side)
            if up > 0:
                attention(f"up_blocks.{up}.attentions.{block}", width, side)
            channels = width
        if up < 3:
            side *= 2
            file.layer(f"up_blocks.{up}.upsamplers.0.conv", width, width, BATCH * side * side, 3)
    file.norm("conv_norm_out", first)
    file.layer("conv_out", first, 4, BATCH * SIDE * SIDE, 3)
    return file


def text_encoder(words):
    file = File(np.float32)
    file.add("text_model.embeddings.token_embedding.weight", [words, CONTEXT], None)
    file.add("text_model.embeddings.position_embedding.weight", [TOKENS, CONTEXT], None)
    layer = "text_model.encoder.layers.0."
    for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
        file.layer(f"{layer}self_attn.{name}", CONTEXT, CONTEXT, 0)
    file.layer(layer + "mlp.fc1", CONTEXT, CONTEXT, 0)
    file.layer(layer + "mlp.fc2", CONTEXT, CONTEXT, 0)
    for name in (layer + "layer_norm1", layer + "layer_norm2", "text_model.final_layer_norm"):
        file.norm(name, CONTEXT)
    return file


def main():
    golden, out = Path(sys.argv[1]), Path(sys.argv[2])
    for part in ("tokenizer", "scheduler", "vae"):
        shutil.copytree(golden / part, out / part, dirs_exist_ok=True)
    config = json.loads((golden / "unet" / "config.json").read_text())
    config.update(
        sample_size=SIDE, block_out_channels=LEVELS, layers_per_block=LAYERS, cross_attention_dim=CONTEXT,
        attention_head_dim=HEADS, norm_num_groups=32,
    )
    body = unet()
    body.write(out / "unet" / "diffusion_pytorch_model.fp16.safetensors")
    (out / "unet" / "config.json").write_text(json.dumps(config))
    config = json.loads((golden / "text_encoder" / "config.json").read_text())
    words = config["vocab_size"]
    config.update(hidden_size=CONTEXT, intermediate_size=CONTEXT, num_attention_heads=HEADS, num_hidden_layers=1)
    text_encoder(words).write(out / "text_encoder" / "model.safetensors")
    (out / "text_encoder" / "config.json").write_text(json.dumps(config))
    (out / "operations").write_text(f"{body.operations}\n")


main()
