#!/usr/bin/env python3
"""make_tiny_whisper.py OUT - the golden folders tiny-whisper and tiny-whisper-v3.

Whisper with random weights in the layout of the Hugging Face checkpoints (80 and 128 mel bins),
and what transformers computes with it in float32 on the CPU. Needs torch, transformers,
safetensors and tokenizers; the versions used are written into reference.json. The same versions
give the same bytes: random numbers are seeded by the folder's name.

The weights come as two files with an index, so that the tests read a checkpoint in shards as well.
"""
import json
import math
import os
import sys
import zlib

import torch
import transformers
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

TEXT = [
    "The quick brown fox jumps over the lazy dog.",
    "Hello, world! How are you today?",
    "Ask not what your country can do for you, ask what you can do for your country.",
    "Workers run your code on a network of machines near the user.",
    "Guten Morgen. Heute ist ein schöner Tag. Buenos días. Привет мир. 你好世界",
] * 4
LANGUAGES = ["en", "zh", "de", "es", "ru", "ko", "fr", "ja", "pt"]
TIMESTAMPS = 1501
KEPT_FRAMES = 100
KEPT_POSITIONS = 200


def tokenizer():
    """Byte-level BPE with Whisper's special tokens in Whisper's order; like the real ones it has
    no tokens for the timestamps, which follow <|notimestamps|> all the same."""
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    t.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    t.train_from_iterator(TEXT, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False))
    special = ["<|endoftext|>", "<|startoftranscript|>"] + ["<|%s|>" % code for code in LANGUAGES]
    special += ["<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]
    t.add_special_tokens([AddedToken(token, special=True) for token in special])
    return t


def randomise(model):
    """Weights large enough that every layer matters; the encoder's sinusoids stay."""
    for name, p in model.named_parameters():
        p.requires_grad_(False)
        if name.endswith("encoder.embed_positions.weight"):
            continue
        if p.ndim >= 2:
            p.copy_(torch.randn(p.shape) * (0.4 if "embed" in name else 1.0 / math.sqrt(p[0].numel())))
        elif bool((p == 1).all()):
            p.copy_(1 + 0.1 * torch.randn(p.shape))
        else:
            p.copy_(0.1 * torch.randn(p.shape))
    return model.eval()


def make(out, name, bins):
    folder = os.path.join(out, name)
    os.makedirs(folder, exist_ok=True)
    torch.manual_seed(zlib.crc32(name.encode()) & 0x7FFFFFFF)
    t = tokenizer()
    t.save(os.path.join(folder, "tokenizer.json"))
    end, start, none = (t.token_to_id(s) for s in ("<|endoftext|>", "<|startoftranscript|>", "<|notimestamps|>"))
    config = transformers.WhisperConfig(
        vocab_size=none + 1 + TIMESTAMPS, num_mel_bins=bins, d_model=32, encoder_layers=2, decoder_layers=2,
        encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=64, decoder_ffn_dim=64,
        max_source_positions=1500, max_target_positions=64, decoder_start_token_id=start, eos_token_id=end,
        bos_token_id=end, pad_token_id=end, suppress_tokens=[1, 2, start, none - 2, none - 3],
        begin_suppress_tokens=[t.token_to_id("\u0120"), end], attn_implementation="eager")
    model = randomise(transformers.WhisperForConditionalGeneration(config))
    model.save_pretrained(folder, max_shard_size="400KB")
    # A rising tone in noise, 3 s.
    n = 3 * 16000
    pcm = 0.3 * torch.sin(2 * math.pi * 440 * torch.arange(n) / 16000) * torch.linspace(0, 1, n) + 0.02 * torch.randn(n)
    pcm = (pcm * 32767).round().to(torch.int16)
    extractor = transformers.WhisperFeatureExtractor(feature_size=bins)
    mel = extractor((pcm.float() / 32768).numpy(), sampling_rate=16000, return_tensors="pt").input_features
    ids = [start, t.token_to_id("<|en|>"), t.token_to_id("<|transcribe|>"), none, 50, 60, 70]
    seen = model(input_features=mel, decoder_input_ids=torch.tensor([ids]))
    greedy = ids[:4]
    for _ in range(16):
        logits = model(input_features=mel, decoder_input_ids=torch.tensor([greedy]), use_cache=False).logits
        greedy.append(int(logits[0, -1].argmax()))
    save_file({
        "in_pcm_i16": pcm,
        "out_mel": mel[0, :, :KEPT_FRAMES].contiguous(),
        "out_encoder": seen.encoder_last_hidden_state[0, :KEPT_POSITIONS].contiguous(),
        "out_logits": seen.logits[0].contiguous(),
    }, os.path.join(folder, "reference.safetensors"))
    reference = {
        "made_with": "torch %s, transformers %s, float32, CPU" % (torch.__version__.split("+")[0], transformers.__version__),
        "note": "in_pcm_i16 / 32768 at 16 kHz, padded with silence to 30 s, gives out_mel (its first %d frames), from which "
                "the encoder makes out_encoder (its first %d positions); out_logits are those after each of decoder_ids; "
                "greedy_ids are 4 given ids and then the likeliest, no rules applied" % (KEPT_FRAMES, KEPT_POSITIONS),
        "decoder_ids": ids,
        "greedy_ids": greedy,
    }
    with open(os.path.join(folder, "reference.json"), "w", encoding="utf-8") as f:
        json.dump(reference, f, indent=1)
        f.write("\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    os.environ["HF_HUB_OFFLINE"] = "1"
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for name, bins in (("tiny-whisper", 80), ("tiny-whisper-v3", 128)):
        make(sys.argv[1], name, bins)
