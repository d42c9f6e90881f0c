#!/usr/bin/env python3
"""make_tiny_text.py OUT - the golden folders of the decoders (tiny-llama, tiny-mistral, tiny-qwen2,
tiny-gemma, ...; the tables below) and tiny-bert-embed.

Models with random weights in the layout of the Hugging Face checkpoints, and what transformers
computes with them in float32 on the CPU. Needs torch, transformers, safetensors and tokenizers;
the versions used are written into reference.json. The same versions give the same numbers: random
numbers are seeded by the folder's name.
"""
import json
import math
import os
import sys
import zlib

import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

CORPUS = [
    "The quick brown fox jumps over the lazy dog.", "Hello, world! How are you today?",
    "What is the capital of France? The capital of France is Paris.", "You are a helpful assistant.",
    "Write a short story about a robot that learns to paint.", "1 2 3 4 5 6 7 8 9 0 100 2024",
    "def main():\n    print('hello')\n    return 0\n",
    "Workers run your code on a network of machines near the user.",
    "A photo of an astronaut riding a horse on the moon, high quality, detailed.",
    "Je suis heureux. Guten Morgen. Buenos dias. Привет мир. 你好世界 🙂"] * 4
CHATS = [
    [{"role": "user", "content": "Hello, how are you?"}],
    [{"role": "system", "content": "You are a helpful assistant."}, {"role": "user", "content": "What is 2+2?"},
     {"role": "assistant", "content": "4"}, {"role": "user", "content": "And 3+3?"}]]
PROMPT = "The quick brown fox jumps over the lazy dog. What is the capital of France?"
SENTENCES = ["Hello, world! How are you today?", "The quick brown fox jumps over the lazy dog.", "Paris"]
# Special tokens, start, end and a shortened chat template of each family.
LLAMA3 = (
    ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
    "<|begin_of_text|>", "<|eot_id|>",
    "{{- bos_token }}{%- for message in messages %}{{- '<|start_header_id|>' + message['role'] + "
    "'<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}")
LLAMA2 = (
    ["<unk>", "<s>", "</s>", "[INST]", "[/INST]"], "<s>", "</s>",
    "{{- bos_token }}{%- if messages[0]['role'] == 'system' %}{%- set sys = messages[0]['content'] %}"
    "{%- set loop_messages = messages[1:] %}{%- else %}{%- set sys = none %}{%- set loop_messages = messages %}"
    "{%- endif %}{%- for message in loop_messages %}{%- if message['role'] == 'user' %}"
    "{%- if loop.last and sys is not none %}{{- '[INST] ' + sys + '\\n\\n' + message['content'] + ' [/INST]' }}"
    "{%- else %}{{- '[INST] ' + message['content'] + ' [/INST]' }}{%- endif %}"
    "{%- else %}{{- ' ' + message['content'] + eos_token }}{%- endif %}{%- endfor %}")
CHATML = (
    ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], None, "<|im_end|>",
    "{%- for message in messages %}{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + "
    "'\\n' }}{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}")
GEMMA = (
    ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"], "<bos>", "<end_of_turn>",
    "{{ bos_token }}{%- if messages[0]['role'] == 'system' %}{%- set first = messages[0]['content'] + '\\n\\n' %}"
    "{%- set msgs = messages[1:] %}{%- else %}{%- set first = '' %}{%- set msgs = messages %}{%- endif %}"
    "{%- for message in msgs %}{%- set role = 'model' if message['role'] == 'assistant' else message['role'] %}"
    "{{- '<start_of_turn>' + role + '\\n' + (first if loop.first else '') + message['content'] | trim + "
    "'<end_of_turn>\\n' }}{%- endfor %}{%- if add_generation_prompt %}{{- '<start_of_turn>model\\n' }}{%- endif %}")
LLAMA = dict(hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=256)
STRETCHED = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
             "original_max_position_embeddings": 64}
YARN = {"rope_type": "yarn", "factor": 4.0, "beta_fast": 32.0, "beta_slow": 1.0, "truncate": False,
        "original_max_position_embeddings": 64}
EXPERTS = dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32, decoder_sparse_step=1, norm_topk_prob=True)
LOCAL_EXPERTS = dict(num_local_experts=4, num_experts_per_tok=2, intermediate_size=48)
LAYERS = ["sliding_attention", "sliding_attention", "full_attention"]
FALCON = dict(hidden_size=48, num_hidden_layers=2, num_attention_heads=4, multi_query=True, parallel_attn=True, bias=False,
              alibi=False, new_decoder_architecture=False, max_position_embeddings=256)
# Folder: words of transformers' classes, tokens, shape.
DECODERS = {
    "tiny-llama": ("Llama", LLAMA3, dict(LLAMA, tie_word_embeddings=False)),
    "tiny-llama31-rope": ("Llama", LLAMA3, dict(LLAMA, tie_word_embeddings=True, rope_theta=500000.0,
                                                max_position_embeddings=512, rope_scaling=STRETCHED)),
    "tiny-llama2-mha": ("Llama", LLAMA2, dict(LLAMA, num_key_value_heads=4, rms_norm_eps=1e-5)),
    "tiny-mistral": ("Mistral", LLAMA2, dict(LLAMA, sliding_window=None, head_dim=16)),
    "tiny-mistral-window": ("Mistral", LLAMA2, dict(LLAMA, sliding_window=8)),
    "tiny-mixtral": ("Mixtral", LLAMA2, dict(LLAMA, sliding_window=None, **LOCAL_EXPERTS)),
    "tiny-qwen2": ("Qwen2", CHATML, dict(LLAMA, tie_word_embeddings=True, use_sliding_window=False)),
    "tiny-qwen2-moe": ("Qwen2Moe", CHATML, dict(LLAMA, shared_expert_intermediate_size=48, **EXPERTS)),
    "tiny-qwen3": ("Qwen3", CHATML, dict(LLAMA, head_dim=16, tie_word_embeddings=True)),
    "tiny-qwen3-moe": ("Qwen3Moe", CHATML, dict(LLAMA, head_dim=16, **EXPERTS)),
    "tiny-gemma": ("Gemma", GEMMA, dict(LLAMA, head_dim=16, num_key_value_heads=1)),
    "tiny-gemma2": ("Gemma2", GEMMA, dict(LLAMA, head_dim=16, sliding_window=8, query_pre_attn_scalar=16)),
    "tiny-gemma3": ("Gemma3", GEMMA, dict(LLAMA, head_dim=16, sliding_window=8, query_pre_attn_scalar=16,
                                          num_hidden_layers=3, layer_types=LAYERS)),
    "tiny-phi": ("Phi", CHATML, dict(LLAMA, partial_rotary_factor=0.5, num_key_value_heads=4)),
    "tiny-falcon": ("Falcon", CHATML, FALCON),
    "tiny-gpt-oss": ("GptOss", CHATML, dict(LLAMA, head_dim=16, sliding_window=8, rope_scaling=YARN, **LOCAL_EXPERTS)),
}


def write(path, value):
    with open(path, "w", encoding="utf-8") as file:
        json.dump(value, file, ensure_ascii=False, indent=1)
        file.write("\n")


def random_weights(model):
    """Large enough that every layer matters to the output."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim >= 2:
                scale = 0.4 if "embed" in name or "shared" in name else 1.0 / math.sqrt(weight[0].numel())
                weight.copy_(torch.randn(weight.shape) * scale)
            elif bool((weight == 1).all()):
                weight.copy_(1 + 0.1 * torch.randn(weight.shape))
            else:
                weight.copy_(0.1 * torch.randn(weight.shape))
    return model.requires_grad_(False).eval()


def put(folder, tensors, reference):
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()},
              os.path.join(folder, "reference.safetensors"))
    made_with = "torch %s, transformers %s, float32, CPU" % (torch.__version__.split("+")[0], transformers.__version__)
    write(os.path.join(folder, "reference.json"), dict(made_with=made_with, **reference))


def byte_level_tokenizer(special, bos):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=512, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    if bos is None:
        return tokenizer
    tokenizer.post_processor = processors.TemplateProcessing(
        single=bos + " $A", pair="%s $A %s:1 $B:1" % (bos, bos), special_tokens=[(bos, tokenizer.token_to_id(bos))])
    return tokenizer


def decoder(folder, name):
    family, (special, bos, eos, template), shape = DECODERS[name]
    tokenizer = byte_level_tokenizer(special, bos)
    torch.manual_seed(zlib.crc32(name.encode()) & 0x7FFFFFFF)
    words = "Gemma3Text" if family == "Gemma3" else family
    config = getattr(transformers, words + "Config")(
        vocab_size=tokenizer.get_vocab_size(), bos_token_id=tokenizer.token_to_id(bos) if bos else None,
        eos_token_id=tokenizer.token_to_id(eos), pad_token_id=None, **shape)
    config._attn_implementation = "eager"
    model = random_weights(getattr(transformers, family + "ForCausalLM")(config))
    model.generation_config.eos_token_id = config.eos_token_id
    model.save_pretrained(folder)
    tokenizer.save(os.path.join(folder, "tokenizer.json"))
    marks = {"bos_token": bos, "eos_token": eos, "chat_template": template,
             "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": config.max_position_embeddings}
    write(os.path.join(folder, "tokenizer_config.json"), marks)
    fast = transformers.PreTrainedTokenizerFast(tokenizer_file=os.path.join(folder, "tokenizer.json"),
                                                **{mark: text for mark, text in marks.items() if text})
    ids = fast(PROMPT)["input_ids"][:24]
    out = model(input_ids=torch.tensor([ids]), output_hidden_states=True, use_cache=False)
    greedy = list(ids)
    for _ in range(24):
        greedy.append(int(model(input_ids=torch.tensor([greedy]), use_cache=False).logits[0, -1].argmax()))
    chats = []
    for messages in CHATS:
        rendered = fast.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        chats.append({"messages": messages, "rendered": rendered,
                      "input_ids": fast(rendered, add_special_tokens=False)["input_ids"]})
    put(folder, {"in_input_ids": torch.tensor([ids]), "out_logits": out.logits},
        {"note": "greedy_ids: %d prompt ids, then 24 argmax ids, eos ignored" % len(ids), "prompt_ids": ids,
         "greedy_ids": greedy, "chat": chats, "tolerance": 2e-4})


def word_piece_tokenizer():
    text = " ".join(CORPUS).lower()
    for mark in ".,?!":
        text = text.replace(mark, " ")
    words = sorted({word for word in text.split() if word.isascii()})
    letters = sorted(set("abcdefghijklmnopqrstuvwxyz0123456789.,!?'()-:+"))
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = special + letters + ["##" + letter for letter in letters] + [word for word in words if len(word) > 1]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in special])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return tokenizer


def bert(folder, name):
    tokenizer = word_piece_tokenizer()
    tokenizer.save(os.path.join(folder, "tokenizer.json"))
    torch.manual_seed(zlib.crc32(name.encode()) & 0x7FFFFFFF)
    config = transformers.BertConfig(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=48, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=96, max_position_embeddings=128, attn_implementation="eager")
    model = random_weights(transformers.BertModel(config))
    model.save_pretrained(folder)
    rows = [tokenizer.encode(sentence).ids for sentence in SENTENCES]
    length = max(map(len, rows))
    ids = torch.tensor([row + [0] * (length - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows])
    hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
    weights = mask[..., None].float()
    mean = (hidden * weights).sum(1) / weights.sum(1)
    put(folder, {"in_input_ids": ids, "in_attention_mask": mask, "out_cls_normalized": F.normalize(hidden[:, 0]),
                 "out_mean_normalized": F.normalize(mean)}, {"texts": SENTENCES, "tolerance": 1e-4})


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for name in [*DECODERS, "tiny-bert-embed"]:
        folder = os.path.join(sys.argv[1], name)
        os.makedirs(folder, exist_ok=True)
        (decoder if name in DECODERS else bert)(folder, name)


if __name__ == "__main__":
    main()
