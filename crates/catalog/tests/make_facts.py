#!/usr/bin/env python3
"""Writes facts.tsv from a catalogue.json of the Workers AI contract: one line a model, `-` where nothing is known.

    ./make_facts.py CATALOGUE_JSON > facts.tsv

models.toml is written by hand; tests/facts.rs holds it against this table.
"""

import json
import re
import sys
from decimal import Decimal

FLAGS = (
    "lora function_calling json_mode async_queue reasoning vision beta partner realtime "
    "require_workers_paid private_access"
).split()

# The contract describes an output in words; hearth names it.
OUTPUTS = {
    "legacy {response}": "legacy",
    "openai chat.completion": "chat-completion",
    "openai chat.completion or text_completion": "completion",
    "responses or openai chat.completion": "responses",
    "llama-guard": "llama-guard",
    "embedding {shape,data}": "embedding",
    "rerank {response:[{id,score}]}": "rerank",
    "[{label,score}]": "labels",
    "asr {text,word_count,words,vtt}": "asr",
    "asr-turbo {transcription_info,text,word_count,segments,vtt}": "asr-turbo",
    "deepgram {results}": "deepgram",
    "websocket messages": "websocket",
    "asr {text,duration}": "asr-text",
    "{is_complete,probability}": "turn",
    "{audio: base64} or audio/mpeg": "audio",
    "audio bytes": "audio-bytes",
    "{image: base64}": "image",
    "image bytes": "image-bytes",
    "{translated_text}": "translated-text",
    "{translations}": "translations",
    "{summary}": "summary",
    "[{label,score,box}]": "boxes",
    "{description}": "description",
    "moondream": "moondream",
    "clef {answers,usage}": "clef",
}

# What a number counts, by the unit of the price (that of the neurons is not always told apart).
UNITS = {
    "per M tokens (USD)": {"input": "input", "output": "output", "cached_input": "cached_input"},
    "per M input tokens (USD)": {"input": "input"},
    "per audio minute (USD)": {"value": "minute", "websocket": "websocket_minute"},
    "per 1k characters (USD)": {"value": "thousand_characters"},
    "USD per 512x512 tile / per step": {"tile": "tile", "step": "step"},
    "USD per tile / step": {"tile": "tile", "step": "step"},
    "USD per input / output tile-step": {"input": "input_tile_step", "output": "output_tile_step"},
    "USD per input / output tile": {"input": "input_tile", "output": "output_tile"},
    "USD": {key: key for key in ("first_megapixel", "next_megapixel", "input_megapixel")},
    "USD per M images": {"value": "million_images"},
}


def rate(value, unit):
    if value is None:
        return None
    numbers = {UNITS[unit][key]: Decimal(repr(number)) for key, number in value.items() if key != "unit"}
    return " ".join(f"{key}={number.normalize():f}" for key, number in sorted(numbers.items()))


def effort(note):
    found = re.search(r"reasoning_effort ([a-z|]+),? default ([a-z]+)(, mandatory)?", note)
    if not found:
        return None
    return f"{found[1]} {found[2]}" + (" mandatory" if found[3] else "")


def row(model):
    note = model.get("note") or ""
    flags = [flag for flag in FLAGS if model[flag]]
    if "licence agreement" in note:
        flags.append("licence_agreement")
    successor = re.search(r"answered by (\S+) after deprecation", note)
    unit = (model["price"] or {}).get("unit")
    return {
        "name": model["id"],
        "id": model["uuid"],
        "source": model["source"],
        "author": model["author"],
        "task": model["task"],
        "task_id": model["task_id"],
        "schema": model["schema_class"],
        "output": OUTPUTS[model["output_class"]],
        "context_window": model["context_window"],
        "max_tokens": model["default_max_tokens"],
        "max_max_tokens": model["max_max_tokens"],
        "output_dimensions": model.get("output_dimensions"),
        "flags": " ".join(flags) or None,
        "reasoning_effort": effort(note),
        "price": rate(model["price"], unit),
        "neurons": rate(model["neurons"], unit),
        "deprecated_on": (model["deprecated_on"] or "")[: len("YYYY-MM-DD")] or None,
        "answered_by": f"@cf/{model['author']}/{successor[1]}" if successor else None,
    }


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        rows = [row(model) for model in json.load(file)["models"]]
    print("\t".join(rows[0]))
    for cells in rows:
        print("\t".join("-" if cell is None else str(cell) for cell in cells.values()))


if __name__ == "__main__":
    main()
