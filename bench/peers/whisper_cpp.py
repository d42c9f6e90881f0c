"""whisper.cpp (by pywhispercpp) in a race of bench/compare.

whisper_cpp.py FOLDER SOUND CACHE: FOLDER holds the weights that ours reads (transformers' layout); its file for whisper.cpp is
written into CACHE once, matrices as Q8_0, what is not a matrix of a layer as whisper.cpp's own tool leaves it. Seconds of sound a
second, for each line `go`; the likeliest tokens, windows by themselves, no times of words, as ours.
"""

import ctypes
import json
import struct
import sys
import sysconfig
from pathlib import Path

import numpy as np
from faster_whisper.feature_extractor import FeatureExtractor

from hearing import race, samples

# Compiled by pip, its libraries lie where no loader looks for them.
for library in ("libggml-base.so", "libggml-cpu.so", "libggml.so", "libwhisper.so"):
    ctypes.CDLL(str(Path(sysconfig.get_path("purelib")) / library), ctypes.RTLD_GLOBAL)

from pywhispercpp.model import Model  # noqa: E402

MAGIC = 0x67676D6C
F32, F16, Q8_0 = 0, 1, 8
# ggml's number for files of mostly Q8_0, and the version of its formats.
MOSTLY_Q8_0, FORMATS_VERSION = 7, 2 * 1000
# OpenAI's names by transformers'.
NAMES = [
    ("self_attn.q_proj", "attn.query"), ("self_attn.k_proj", "attn.key"), ("self_attn.v_proj", "attn.value"),
    ("self_attn.out_proj", "attn.out"), ("self_attn_layer_norm", "attn_ln"), ("encoder_attn.q_proj", "cross_attn.query"),
    ("encoder_attn.k_proj", "cross_attn.key"), ("encoder_attn.v_proj", "cross_attn.value"),
    ("encoder_attn.out_proj", "cross_attn.out"), ("encoder_attn_layer_norm", "cross_attn_ln"), ("fc1", "mlp.0"),
    ("fc2", "mlp.2"), ("final_layer_norm", "mlp_ln"), ("embed_positions.weight", "positional_embedding"),
    ("embed_tokens", "token_embedding"), ("encoder.layer_norm", "encoder.ln_post"), ("decoder.layer_norm", "decoder.ln"),
    (".layers.", ".blocks."), ("model.", ""),
]


def tensors(path):
    """Names and float32 arrays of a safetensors file."""
    kinds = {"F32": np.float32, "F16": np.float16}
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        data = file.read()
    header.pop("__metadata__", None)
    for name, entry in header.items():
        if name != "proj_out.weight":  # the token embedding
            array = np.frombuffer(data[slice(*entry["data_offsets"])], kinds[entry["dtype"]])
            yield name, array.reshape(entry["shape"]).astype(np.float32)


def blocks(array):
    """As Q8_0: for each 32 numbers a scale in half precision, and bytes."""
    rows = array.reshape(-1, 32)
    scales = np.abs(rows).max(axis=1) / 127
    inverse = np.divide(1, scales, out=np.zeros_like(scales), where=scales > 0)
    codes = np.round(rows * inverse[:, None]).astype(np.int8)
    return np.concatenate([scales.astype(np.float16)[:, None].view(np.int8), codes], axis=1).tobytes()


def letters():
    """The bytes by the letters that stand for them in a byte-level vocabulary (Radford et al. 2019)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + at): byte for at, byte in enumerate(others)}


def convert(folder, out):
    config = json.loads((folder / "config.json").read_text())
    words = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    filters = np.ascontiguousarray(FeatureExtractor.get_mel_filters(16000, 400, config["num_mel_bins"]), np.float32)
    end = 50257 if config["vocab_size"] >= 51865 else 50256
    by_id = {number: word for word, number in words.items()}
    byte = letters()
    sizes = [
        "vocab_size", "max_source_positions", "d_model", "encoder_attention_heads", "encoder_layers",
        "max_target_positions", "d_model", "decoder_attention_heads", "decoder_layers", "num_mel_bins",
    ]  # fmt: skip
    part = out.with_suffix(".part")
    with open(part, "wb") as file:
        file.write(struct.pack("<12i", MAGIC, *(config[size] for size in sizes), MOSTLY_Q8_0 + FORMATS_VERSION))
        file.write(struct.pack("<2i", *filters.shape) + filters.tobytes())
        file.write(struct.pack("<i", end))
        for number in range(end):
            word = bytes(byte[letter] for letter in by_id.get(number, ""))
            file.write(struct.pack("<i", len(word)) + word)
        for name, array in tensors(folder / "model.safetensors"):
            for ours, theirs in NAMES:
                name = name.replace(ours, theirs, 1)
            if ".conv" in name and name.endswith("bias"):
                array = array[:, None]
            if array.ndim == 2 and "conv" not in name and "positional" not in name:
                kind, data = Q8_0, blocks(array)
            elif array.ndim > 2:
                kind, data = F16, array.astype(np.float16).tobytes()
            else:
                kind, data = F32, array.tobytes()
            title = name.encode()
            file.write(struct.pack(f"<{3 + array.ndim}i", array.ndim, len(title), kind, *array.shape[::-1]))
            file.write(title + data)
    part.rename(out)


def main():
    folder, sound = Path(sys.argv[1]), sys.argv[2]
    file = Path(sys.argv[3]) / f"{folder.name}-q8_0.bin"
    if not file.exists():
        convert(folder, file)
    numbers, seconds = samples(sound)
    model = Model(
        str(file),
        redirect_whispercpp_logs_to=None,
        n_threads=1,
        language="en",
        greedy={"best_of": 1},
        print_progress=False,
    )

    def hear():
        return "".join(segment.text for segment in model.transcribe(numbers))

    race(hear, seconds)


main()
