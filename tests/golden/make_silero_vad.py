#!/usr/bin/env python3
"""make_silero_vad.py MODEL > silero-vad/reference.json - what onnxruntime and faster-whisper hear of voice.

MODEL is silero_vad_16k_op15.onnx of the package silero-vad that models.toml names. For each sound: the
probability of voice of each 512 samples as onnxruntime computes it, the stretches of voice into which
faster-whisper cuts the sound by these probabilities, and times among what is kept with the times in the sound
that faster-whisper makes of them. Sounds without parts are probabilities only. Needs faster-whisper,
onnxruntime and numpy; the versions used are written into the file.
"""
import json
import sys
import wave
from pathlib import Path

import faster_whisper
import faster_whisper.vad as vad
import numpy as np
import onnxruntime

CLIPS = Path(__file__).parent / "whisper"
RATE, WINDOW, CONTEXT = 16_000, 512, 64
# Parts: a clip whole, or seconds of silence or noise.
SOUNDS = {
    "jfk": [["jfk.wav", 0]],
    "austen": [["austen-0930.wav", 0]],
    "german": [["espeak-de.wav", 0]],
    "silence": [["silence", 2.0]],
    "noise": [["noise", 3.0]],
    "pauses": [
        ["silence", 3.1], ["austen-0930.wav", 0], ["silence", 1.3], ["austen-0930.wav", 0], ["silence", 4.2], ["noise", 2.6],
        ["austen-0930.wav", 0], ["silence", 3.0],
    ],
    "whole windows": [["austen-0930.wav", 0], ["silence", 2.048 + 0.032 * 7]],
}


def samples(parts):
    joined = []
    for name, seconds in parts:
        count = round(seconds * RATE)
        if name == "silence":
            joined.append(np.zeros(count, np.int16))
        elif name == "noise":
            state, noise = 1, []
            for _ in range(count):
                state = (state * 1_664_525 + 1_013_904_223) % 2**32
                noise.append((state >> 18) - 8_192)
            joined.append(np.array(noise, np.int16))
        else:
            with wave.open(str(CLIPS / name)) as file:
                assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (RATE, 1, 2)
                joined.append(np.frombuffer(file.readframes(file.getnframes()), np.int16))
    return np.concatenate(joined).astype(np.float32) / 32768


def probabilities(session, sound):
    sound = np.pad(sound, (0, WINDOW - len(sound) % WINDOW))
    state, context, found = np.zeros((2, 1, 128), np.float32), np.zeros((1, CONTEXT), np.float32), []
    for start in range(0, len(sound), WINDOW):
        seen = np.concatenate([context, sound[None, start : start + WINDOW]], 1)
        probability, state = session.run(None, {"input": seen, "state": state, "sr": np.array(RATE)})
        context = seen[:, -CONTEXT:]
        found.append(round(float(probability.ravel()[0]), 5))
    return found


def made(seed):
    """Probabilities that stay around a level for a while, many of them near to the thresholds."""
    random = np.random.default_rng(seed)
    found = []
    while len(found) < 900:
        level, windows = random.choice([0.02, 0.33, 0.42, 0.52, 0.9]), random.integers(1, 120)
        found += list(np.clip(level + random.normal(0, 0.06, windows), 0, 1).round(5))
    return [float(p) for p in found]


def cut(found, length):
    """faster-whisper's stretches, with the model replaced by what it found."""
    vad.get_vad_model = lambda: lambda _: np.array(found, np.float32)
    return vad.get_speech_timestamps(np.zeros(length, np.float32))


def entry(name, parts, found, length):
    stretches = cut(found, length)
    kept = sum(s["end"] - s["start"] for s in stretches) / RATE
    places = vad.SpeechTimestampsMap(stretches, RATE)
    times = [round(kept * part, 3) for part in (0, 0.13, 0.37, 0.5, 0.71, 0.93)] if stretches else []
    return {
        "name": name,
        "parts": parts,
        "samples": length,
        "probabilities": found,
        "stretches": [[s["start"], s["end"]] for s in stretches],
        "times": [[t, end, places.get_original_time(t, is_end=end)] for t in times for end in (False, True)],
    }


def main():
    session = onnxruntime.InferenceSession(sys.argv[1])
    sounds = []
    for name, parts in SOUNDS.items():
        sound = samples(parts)
        sounds.append(entry(name, parts, probabilities(session, sound), len(sound)))
    for seed in range(4):
        found = made(seed)
        sounds.append(entry(f"made {seed}", None, found, (len(found) - 1) * WINDOW + seed * 100))
    made_with = f"onnxruntime {onnxruntime.__version__}, faster-whisper {faster_whisper.__version__}"
    print(json.dumps({"made_with": made_with, "sounds": sounds}))


main()
