"""What peers that hear speech have in common in a race of bench/compare."""

import sys
import time
import wave

import numpy as np


def samples(sound):
    """The numbers of a WAV file of 16 kHz, and how many seconds they last."""
    with wave.open(sound) as file:
        numbers = np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(np.float32) / 32768
        return numbers, file.getnframes() / file.getframerate()


def race(hear, seconds):
    """Hears once, then once for each line `go`, and answers with seconds of sound a second."""
    print(hear()[:200], file=sys.stderr)
    print("ready", flush=True)
    for line in sys.stdin:
        if line.strip() != "go":
            break
        start = time.perf_counter()
        hear()
        print(seconds / (time.perf_counter() - start), flush=True)
