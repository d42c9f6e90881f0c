#!/usr/bin/env python3
"""make_whisper_long.py TINY_EN BASE > whisper/long.json - what faster-whisper hears in more than a window.

TINY_EN and BASE are folders in CTranslate2's layout: the packages that models.toml names for whisper-tiny-en
and whisper-base hold them. The sound is put together of the clips in whisper/. Needs faster-whisper and
numpy; the versions used are written into the file.
"""
import json
import sys
import wave
from pathlib import Path

import ctranslate2
import faster_whisper
import numpy as np

CLIPS = Path(__file__).parent / "whisper"
RATE = 16_000
# A clip, and the seconds of silence behind it.
PARTS = [
    ("jfk.wav", 1.0), ("austen-0930.wav", 0.6), ("jfk.wav", 3.0), ("austen-0930.wav", 1.4), ("austen-0930.wav", 0.5),
    ("jfk.wav", 0.8), ("austen-0930.wav", 2.0), ("jfk.wav", 0.3),
]


def samples(name):
    with wave.open(str(CLIPS / name)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (RATE, 1, 2)
        return np.frombuffer(file.readframes(file.getnframes()), np.int16)


def main():
    pieces = []
    for name, pause in PARTS:
        pieces += [samples(name), np.zeros(int(pause * RATE), np.int16)]
    sound = np.concatenate(pieces).astype(np.float32) / 32768
    models = {}
    for name, folder in zip(("whisper-tiny-en", "whisper-base"), sys.argv[1:3]):
        model = faster_whisper.WhisperModel(folder, device="cpu", compute_type="float32", cpu_threads=1)
        segments = list(model.transcribe(sound, beam_size=1, word_timestamps=True)[0])
        models[name] = {
            "text": "".join(segment.text for segment in segments),
            "segments": [[round(segment.start, 2), round(segment.end, 2)] for segment in segments],
            "words": [[w.word, round(float(w.start), 2), round(float(w.end), 2)] for s in segments for w in s.words],
        }
    made_with = f"faster-whisper {faster_whisper.__version__} / ctranslate2 {ctranslate2.__version__}, float32, beam_size=1"
    print(json.dumps({"made_with": made_with, "parts": PARTS, "models": models}, ensure_ascii=False))


main()
