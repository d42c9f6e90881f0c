"""faster-whisper in a race of bench/compare.

whisper.py FOLDER SOUND int8|float32: FOLDER is in CTranslate2's layout, SOUND a WAV file of 16 kHz. Seconds of
sound a second, for each line `go`; the likeliest tokens, windows by themselves, no times of words, as ours.
"""

import sys

from faster_whisper import WhisperModel

from hearing import race, samples


def main():
    folder, sound, kind = sys.argv[1:4]
    numbers, seconds = samples(sound)
    model = WhisperModel(folder, device="cpu", compute_type=kind, cpu_threads=1, num_workers=1)

    def hear():
        options = {"beam_size": 1, "language": "en", "condition_on_previous_text": False}
        return "".join(segment.text for segment in model.transcribe(numbers, **options)[0])

    race(hear, seconds)


main()
