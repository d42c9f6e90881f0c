#!/usr/bin/env python3
"""make_tiny_lora.py GOLDEN - the folder tiny-llama-lora: LoRA adapters of tiny-llama, and what torch computes with them.

An adapter is random and in PEFT's layout (adapter_config.json, adapter_model.safetensors). Its reference is transformers'
model with each weight W replaced by W + scale * B A, scale being alpha / r, or alpha / sqrt(r) with use_rslora (Hu et al.
2021; Kalajdzievski 2023), in float32 on the CPU. Beside them are the base model's greedy path and, for each of its tokens,
torch's log_softmax of the logits: of the token and of the five likeliest. Needs torch, transformers and safetensors.
"""
import json
import math
import os
import sys
import zlib

import torch
import transformers
from safetensors.torch import save_file

ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
ADAPTERS = {
    "all": dict(r=4, lora_alpha=8, target_modules=ALL),
    "some": dict(r=8, lora_alpha=4, target_modules=["q_proj", "v_proj"], use_rslora=True, rank_pattern={"v_proj": 2},
                 alpha_pattern={"v_proj": 6}),
}
STEPS = 32
TOP = 5


def write(path, value):
    with open(path, "w", encoding="utf-8") as file:
        json.dump(value, file, indent=1)
        file.write("\n")


def load(folder):
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, torch_dtype=torch.float32, attn_implementation="eager")
    return model.requires_grad_(False).eval()


def adapt(model, folder, config):
    """Writes an adapter and merges it into the model."""
    tensors = {}
    for name, module in model.named_modules():
        word = name.rsplit(".", 1)[-1]
        if word not in config["target_modules"]:
            continue
        rank = config.get("rank_pattern", {}).get(word, config["r"])
        alpha = config.get("alpha_pattern", {}).get(word, config["lora_alpha"])
        scale = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
        outer, inner = module.weight.shape
        a = torch.randn(rank, inner) / math.sqrt(inner)
        b = torch.randn(outer, rank) * 0.4 / scale
        tensors["base_model.model.%s.lora_A.weight" % name] = a
        tensors["base_model.model.%s.lora_B.weight" % name] = b
        module.weight.copy_(module.weight + scale * (b @ a))
    os.makedirs(folder, exist_ok=True)
    save_file(tensors, os.path.join(folder, "adapter_model.safetensors"), metadata={"format": "pt"})
    whole = dict(base_model_name_or_path="tiny-llama", bias="none", fan_in_fan_out=False, inference_mode=True,
                 init_lora_weights=True, layers_pattern=None, layers_to_transform=None, lora_dropout=0.0, model_type="llama",
                 modules_to_save=None, peft_type="LORA", rank_pattern={}, alpha_pattern={}, revision=None,
                 task_type="CAUSAL_LM", use_dora=False, use_rslora=False)
    write(os.path.join(folder, "adapter_config.json"), dict(whole, **config))


def greedy(model, ids):
    ids, rows = list(ids), []
    for _ in range(STEPS):
        row = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]
        rows.append(row)
        ids.append(int(row.argmax()))
    return ids, torch.stack(rows)


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    base, out = os.path.join(sys.argv[1], "tiny-llama"), os.path.join(sys.argv[1], "tiny-llama-lora")
    with open(os.path.join(base, "reference.json"), encoding="utf-8") as file:
        prompt = json.load(file)["prompt_ids"]
    path, rows = greedy(load(base), prompt)
    tokens = []
    for token, row in zip(path[len(prompt):], torch.log_softmax(rows, -1)):
        top = row.topk(TOP)
        tokens.append(dict(token=token, logprob=float(row[token]), top_ids=top.indices.tolist(), top_logprobs=top.values.tolist()))
    reference = dict(made_with="torch %s, transformers %s, float32, CPU" % (torch.__version__.split("+")[0], transformers.__version__),
                     note="greedy_ids: the prompt of tiny-llama, then %d argmax ids, eos ignored; logits before each" % STEPS,
                     prompt_ids=prompt, base=dict(greedy_ids=path, tokens=tokens), adapters={})
    logits = {}
    for name, config in ADAPTERS.items():
        model = load(base)
        torch.manual_seed(zlib.crc32(name.encode()) & 0x7FFFFFFF)
        adapt(model, os.path.join(out, name), config)
        path, rows = greedy(model, prompt)
        reference["adapters"][name] = dict(greedy_ids=path)
        logits[name] = rows.contiguous().clone()
    save_file(logits, os.path.join(out, "reference.safetensors"))
    write(os.path.join(out, "reference.json"), reference)


if __name__ == "__main__":
    main()
