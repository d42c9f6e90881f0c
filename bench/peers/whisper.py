"""faster-whisper in a race of bench/compare.

whisper.py FOLDER SOUND int8|float32: FOLDER is in CTranslate2's layout, SOUND a WAV file of 16 kHz. Seconds of
sound a second, for each line `go`; the likeliest tokens, windows by themselves, no times of words, as ours.
"""

import sys
import time
import wave

import numpy as np
from faster_whisper import WhisperModel


def main():
    folder, sound, kind = sys.argv[1:4]
    with wave.open(sound) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(np.float32) / 32768
        seconds = file.getnframes() / file.getframerate()
    model = WhisperModel(folder, device="cpu", compute_type=kind, cpu_threads=1, num_workers=1)

    def hear():
        options = {"beam_size": 1, "language": "en", "condition_on_previous_text": False}
        return "".join(segment.text for segment in model.transcribe(samples, **options)[0])

    print(hear()[:200], file=sys.stderr)
    print("ready", flush=True)
    for line in sys.stdin:
        if line.strip() != "go":
            break
        start = time.perf_counter()
        hear()
        print(seconds / (time.perf_counter() - start), flush=True)


main()
