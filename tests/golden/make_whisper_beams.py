#!/usr/bin/env python3
"""make_whisper_beams.py TINY_EN BASE > whisper/beams.json - what openai/whisper hears with a beam search.

TINY_EN and BASE are the folders of whisper-tiny-en and whisper-base as `hearth pull` makes them. Their weights
are put into openai/whisper's own model, in float32, and its own `transcribe` is run at a temperature of zero.
Needs openai-whisper, torch, safetensors and numpy; the versions used are written into the file.
"""
import json
import re
import sys
import wave
from pathlib import Path

import numpy as np
import torch
import whisper
from safetensors.torch import load_file

CLIPS = Path(__file__).parent / "whisper"
RATE = 16_000
SOUNDS = {
    "whisper-tiny-en": [("jfk.wav", 2), ("jfk.wav", 5), ("austen-0930.wav", 5), ("austen-0930.wav", 12), ("long", 5)],
    "whisper-base": [("jfk.wav", 5), ("austen-0930.wav", 3), ("espeak-de.wav", 5), ("long", 5)],
}
NAMES = [
    (r"^model\.", ""), (r"\.layers\.", ".blocks."), (r"self_attn_layer_norm", "attn_ln"), (r"encoder_attn_layer_norm", "cross_attn_ln"),
    (r"final_layer_norm", "mlp_ln"), (r"^encoder\.layer_norm", "encoder.ln_post"), (r"^decoder\.layer_norm", "decoder.ln"),
    (r"self_attn\.", "attn."), (r"encoder_attn\.", "cross_attn."), (r"q_proj", "query"), (r"k_proj", "key"), (r"v_proj", "value"),
    (r"out_proj", "out"), (r"fc1", "mlp.0"), (r"fc2", "mlp.2"), (r"embed_positions\.weight", "positional_embedding"),
    (r"embed_tokens", "token_embedding"),
]


def renamed(name):
    for pattern, replacement in NAMES:
        name = re.sub(pattern, replacement, name)
    return name


def load(folder):
    config = json.loads((Path(folder) / "config.json").read_text())
    model = whisper.model.Whisper(whisper.model.ModelDimensions(
        config["num_mel_bins"], config["max_source_positions"], config["d_model"], config["encoder_attention_heads"],
        config["encoder_layers"], config["vocab_size"], config["max_target_positions"], config["d_model"],
        config["decoder_attention_heads"], config["decoder_layers"],
    ))
    tensors = load_file(Path(folder) / "model.safetensors")
    model.load_state_dict({renamed(name): tensor.float() for name, tensor in tensors.items()})
    return model.eval()


def clip(name):
    with wave.open(str(CLIPS / name)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (RATE, 1, 2)
        return np.frombuffer(file.readframes(file.getnframes()), np.int16)


def samples(name):
    if name != "long":
        return clip(name).astype(np.float32) / 32768
    parts = json.loads((CLIPS / "long.json").read_text())["parts"]
    joined = [piece for part, pause in parts for piece in (clip(part), np.zeros(int(pause * RATE), np.int16))]
    return np.concatenate(joined).astype(np.float32) / 32768


def main():
    torch.set_num_threads(1)
    models = {}
    for (name, sounds), folder in zip(SOUNDS.items(), sys.argv[1:3]):
        model, models[name] = load(folder), []
        for sound, beams in sounds:
            heard = whisper.transcribe(model, samples(sound), temperature=0.0, fp16=False, beam_size=beams)
            segments = [
                [round(s["start"], 2), round(s["end"], 2), s["text"], round(s["avg_logprob"], 5)] for s in heard["segments"]
            ]
            models[name].append({"file": sound, "beams": beams, "language": heard["language"], "segments": segments})
    made_with = f"openai-whisper {whisper.__version__} / torch {torch.__version__.split('+')[0]}, float32"
    print(json.dumps({"made_with": made_with, "models": models}, ensure_ascii=False))


main()
